//! What the kernel has to let us do: tap interfaces, packet sockets, vhost; and names that must be free.

use super::kernel_network::has_interface;
use super::{Check, Context, Family, Verdict, check};
use crate::device::Vdev;
use crate::host::{Access, Capability};

pub(super) const CHECKS: &[Check] = &[
    check("tun-device", Family::Kernel, "/dev/net/tun", tun_device),
    check("capabilities", Family::Kernel, "capabilities", capabilities),
    check("interface-name", Family::Kernel, "tap name", interface_name),
    check("vhost-endpoint", Family::Kernel, "vhost peer", vhost_endpoint),
];

const TUN: &str = "/dev/net/tun";

/// Taps that are going to be made: what for, and their name, where one was given.
fn taps<'a>(context: &'a Context<'_>) -> Vec<(&'a str, Option<&'a str>)> {
    let of_vdev =
        |vdev: &'a Vdev| matches!(vdev.driver(), "net_tap" | "net_tun").then(|| (vdev.name(), vdev.argument("iface")));
    let kernel = context.settings.kernel_interface.as_ref().map(|name| ("kernel interface", Some(name.as_str())));
    context.vdevs().iter().filter_map(of_vdev).chain(kernel).collect()
}

fn tun_device(context: &Context<'_>) -> Vec<Verdict> {
    if taps(context).is_empty() {
        return vec![Verdict::skipped("no tap is made")];
    }
    let verdict = match context.host.allows(TUN, Access::ReadWrite) {
        Some(true) => Verdict::ok("may be opened"),
        Some(false) => Verdict::failure(format!("this user may not open {TUN}"), format!("chmod 0666 {TUN}")),
        None => Verdict::failure(format!("{TUN} is not there, and a tap is made with it"), "modprobe tun")
            .or("in a container: --device /dev/net/tun"),
    };
    vec![verdict]
}

/// What a device needs, and why.
fn needs(vdev: &Vdev) -> &'static [(Capability, &'static str)] {
    const ADMIN: (Capability, &str) = (Capability::NetAdmin, "CAP_NET_ADMIN");
    const RAW: (Capability, &str) = (Capability::NetRaw, "CAP_NET_RAW");
    match vdev.driver() {
        "net_tap" | "net_tun" => &[ADMIN],
        "net_af_packet" => &[RAW],
        "net_pcap" if super::links::interface_of(vdev).is_some() => &[RAW],
        "net_af_xdp" => &[RAW, ADMIN],
        _ => &[],
    }
}

fn capabilities(context: &Context<'_>) -> Vec<Verdict> {
    let mut needed: Vec<(Capability, &str)> =
        context.vdevs().iter().flat_map(|vdev| needs(vdev).iter().copied()).collect();
    if context.settings.kernel_interface.is_some() {
        needed.push((Capability::NetAdmin, "CAP_NET_ADMIN"));
    }
    let mut names: Vec<&str> = needed.iter().map(|&(_, name)| name).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return vec![Verdict::skipped("no device needs any")];
    }
    if context.identity.uid.is_none() {
        return vec![Verdict::skipped("/proc/self/status does not tell which ones are there")];
    }
    let mut missing: Vec<&str> =
        needed.iter().filter(|&&(capability, _)| !context.identity.has(capability)).map(|&(_, name)| name).collect();
    missing.sort_unstable();
    missing.dedup();
    let verdict = if missing.is_empty() {
        Verdict::ok(format!("{} are there", names.join(", ")))
    } else {
        let program = std::env::current_exe().map_or_else(|_| "bypassd".to_owned(), |path| path.display().to_string());
        Verdict::failure(
            format!("{} is missing for the devices that were named", missing.join(", ")),
            format!("setcap {}+ep {program}", missing.join(",").to_ascii_lowercase()),
        )
        .or("run it as root, or with AmbientCapabilities= in its unit")
    };
    vec![verdict.fact("missing", missing)]
}

/// A tap gets its name from us, so nobody else may have it; one that was made before to stay may be taken over.
fn interface_name(context: &Context<'_>) -> Vec<Verdict> {
    let named: Vec<(&str, &str)> = taps(context).into_iter().filter_map(|(what, name)| Some((what, name?))).collect();
    if named.is_empty() {
        return vec![Verdict::skipped("no interface is made under a name of ours")];
    }
    let verdict = |&(what, name): &(&str, &str)| {
        let place = format!("/sys/class/net/{name}");
        let verdict = if has_interface(context.host, name) != Some(true) {
            Verdict::ok(format!("{name} is free"))
        } else if context.host.exists(format!("{place}/tun_flags")) {
            if context.host.text(format!("{place}/carrier")).as_deref() == Some("1") {
                Verdict::failure(format!("the tap {name} is there, and a program has it open"), "bypassctl stop")
                    .or("choose another name")
            } else {
                Verdict::ok(format!("{name} is a tap that nobody uses; it is taken over"))
            }
        } else if context.host.exists(&place) {
            Verdict::failure(format!("{name} is there already, and is no tap"), format!("ip link delete {name}"))
                .or("choose another name")
        } else {
            Verdict::skipped(format!("{name} is there already; the kernel does not tell what it is"))
        };
        verdict.about(what).fact("interface", name)
    };
    named.iter().map(verdict).collect()
}

/// Sockets and devices through which a guest or another process is reached.
fn vhost_endpoint(context: &Context<'_>) -> Vec<Verdict> {
    let endpoint = |vdev: &Vdev| {
        let verdict = match vdev.driver() {
            "net_virtio_user" => {
                let path = vdev.argument("path")?;
                match context.host.allows(path, Access::ReadWrite) {
                    Some(true) => Verdict::ok(format!("{path} may be opened")),
                    Some(false) => {
                        Verdict::failure(format!("this user may not open {path}"), format!("chmod o+rw {path}"))
                    }
                    // As a server it makes the socket itself.
                    None if vdev.argument("server") == Some("1") => Verdict::ok(format!("{path} is going to be made")),
                    None if path == "/dev/vhost-net" => {
                        Verdict::failure(format!("{path} is not there"), "modprobe vhost-net")
                    }
                    None => Verdict::failure(format!("nobody waits at {path}"), format!("ls -l {path}"))
                        .or("start the peer first, or say server=1"),
                }
            }
            "net_vhost" => {
                let path = vdev.argument("iface")?;
                let folder = std::path::Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty())?;
                match context.host.allows(folder, Access::Populate) {
                    Some(true) => Verdict::ok(format!("{path} can be made")),
                    Some(false) => Verdict::failure(
                        format!("this user may make no socket in {}", folder.display()),
                        format!("chmod o+wx {}", folder.display()),
                    ),
                    None => Verdict::failure(
                        format!("the folder {} is not there", folder.display()),
                        format!("mkdir -p {}", folder.display()),
                    ),
                }
            }
            _ => return None,
        };
        Some(verdict.about(vdev.name()))
    };
    let verdicts: Vec<Verdict> = context.vdevs().iter().filter_map(endpoint).collect();
    if verdicts.is_empty() { vec![Verdict::skipped("no vhost or virtio-user device was named")] } else { verdicts }
}
