//! Whether the kernel's interfaces that devices stand on are there, up, and not the kernel's own way out.

use super::kernel_network::{default_route_interfaces, has_interface};
use super::{Context, Verdict};
use crate::device::{PciDevice, Vdev};

/// The kernel's interfaces of a PCI device, virtio's included.
pub(super) fn interfaces_of(context: &Context<'_>, device: &PciDevice) -> Vec<String> {
    let place = format!("/sys/bus/pci/devices/{}", device.address());
    let mut found = context.host.names(format!("{place}/net"));
    for name in context.host.names(&place).iter().filter(|name| name.starts_with("virtio")) {
        found.extend(context.host.names(format!("{place}/{name}/net")));
    }
    found
}

/// The kernel's interface that a virtual device uses, by the name of the driver's argument.
pub(super) fn interface_of(vdev: &Vdev) -> Option<&str> {
    match vdev.driver() {
        "net_af_packet" | "net_af_xdp" | "net_pcap" => {
            ["iface", "rx_iface", "rx_iface_in"].into_iter().find_map(|name| vdev.argument(name))
        }
        "net_tap" => vdev.argument("remote"),
        _ => None,
    }
}

/// A NIC that DPDK takes is lost to the kernel, and so is whoever came in through it.
pub(super) fn default_route(context: &Context<'_>) -> Vec<Verdict> {
    let ways = default_route_interfaces(context.host);
    let mut concerned: Vec<(String, Vec<String>, bool)> =
        context.pci().iter().map(|device| (device.address(), interfaces_of(context, device), true)).collect();
    concerned.extend(context.vdevs().iter().filter_map(|vdev| {
        // A packet socket gets copies; the others take the frames.
        let takes = matches!(vdev.driver(), "net_af_xdp" | "net_tap");
        Some((vdev.name().to_owned(), vec![interface_of(vdev)?.to_owned()], takes))
    }));
    if concerned.is_empty() {
        return vec![Verdict::skipped("no device of the kernel's is taken")];
    }
    let verdict = |(subject, interfaces, takes): &(String, Vec<String>, bool)| {
        let way = interfaces.iter().find(|name| ways.contains(name));
        let verdict = match way {
            None => Verdict::ok("leads elsewhere"),
            Some(name) if context.settings.eal.allow_default_route => {
                Verdict::ok(format!("leads through {name}, which may be taken: allow_default_route"))
            }
            Some(name) if !takes => Verdict::warning(
                format!("leads through {name}: the kernel sees all frames too, and answers for addresses that it shares"),
                "ip link add veth0 type veth peer name veth1",
            )
            .or("--allow-default-route, if that is meant"),
            Some(name) => Verdict::failure(
                format!("this is your default route: it leads through {name}, and with the NIC your connection would be gone"),
                "bypassd run --allow-default-route ...",
            )
            .or("name another NIC; lead the route through another one first; or give the kernel its frames back (--kernel-interface)"),
        };
        verdict.about(subject).fact("interfaces", interfaces.clone())
    };
    concerned.iter().map(verdict).collect()
}

/// Whether an interface was set up (IFF_UP); `None`: the kernel does not tell.
pub(super) fn is_up(context: &Context<'_>, interface: &str) -> Option<bool> {
    let flags = context.host.text(format!("/sys/class/net/{interface}/flags"))?;
    u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok().map(|flags| flags & 1 != 0)
}

/// Virtual devices that use an interface, with it.
fn on_interfaces<'a>(context: &'a Context<'_>) -> Vec<(&'a Vdev, &'a str)> {
    context.vdevs().iter().filter_map(|vdev| Some((vdev, interface_of(vdev)?))).collect()
}

pub(super) fn interface(context: &Context<'_>) -> Vec<Verdict> {
    let used = on_interfaces(context);
    if used.is_empty() {
        return vec![Verdict::skipped("no device uses an interface of the kernel")];
    }
    let verdict = |(vdev, name): &(&Vdev, &str)| {
        let verdict = match has_interface(context.host, name) {
            Some(true) => Verdict::ok(format!("{name} is there")),
            Some(false) => Verdict::failure(
                format!("there is no interface {name}"),
                format!("ip link add {name} type veth peer name {}", peer_name(name)),
            )
            .or("name one that is there (ip -brief link)"),
            None => Verdict::skipped("the kernel does not show its interfaces"),
        };
        verdict.about(vdev.name()).fact("interface", *name)
    };
    used.iter().map(verdict).collect()
}

/// A name for the other end, within the 15 characters that the kernel takes.
fn peer_name(name: &str) -> String {
    let short: String = name.chars().take(10).collect();
    format!("{short}-peer")
}

pub(super) fn link(context: &Context<'_>) -> Vec<Verdict> {
    let mut seen: Vec<(String, String)> =
        on_interfaces(context).into_iter().map(|(vdev, name)| (vdev.name().to_owned(), name.to_owned())).collect();
    let mut verdicts = Vec::new();
    for device in context.pci() {
        let interfaces = interfaces_of(context, device);
        if interfaces.is_empty() {
            let why = "the kernel does not have it; `bypassctl show port stats all` tells once bypassd runs";
            verdicts.push(Verdict::skipped(why).about(device.address()));
        }
        seen.extend(interfaces.into_iter().map(|name| (device.address(), name)));
    }
    verdicts.extend(seen.into_iter().map(|(subject, name)| {
        let place = format!("/sys/class/net/{name}");
        let verdict = match (is_up(context, &name), context.host.text(format!("{place}/carrier")).as_deref()) {
            (None, _) => Verdict::skipped(format!("{name} is not there")),
            (Some(false), _) => Verdict::warning(format!("{name} is down"), format!("ip link set {name} up")),
            (_, Some("0")) => Verdict::warning(format!("{name} is up, but has no carrier"), format!("ethtool {name}"))
                .or("plug its cable in, or set its peer up"),
            (_, Some("1")) => Verdict::ok(format!("{name} is up and has a carrier")),
            _ => Verdict::skipped(format!("{name} is up; the kernel does not tell its carrier")),
        };
        verdict.about(subject)
    }));
    if verdicts.is_empty() {
        verdicts.push(Verdict::skipped("no device with a link that could be seen"));
    }
    verdicts
}
