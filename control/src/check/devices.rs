//! Whether the devices are there, belong to a driver that lets DPDK have them, are not the kernel's way out, and have a link.

use super::context::{examples, join};
use super::kernel_network::default_route_interfaces;
use super::{Check, Context, Family, Verdict, check, drivers};
use crate::device::{PciDevice, Vdev};

pub(super) const CHECKS: &[Check] = &[
    check("pci-device", Family::Devices, "PCI device", present),
    check("vfio-module", Family::Devices, "module vfio-pci", module),
    check("driver-binding", Family::Devices, "kernel driver of", binding),
    check("default-route", Family::Devices, "default route", default_route),
    check("pmd", Family::Devices, "DPDK driver for", drivers::pmd),
    check("interface", Family::Devices, "interface behind", interface),
    check("link", Family::Devices, "link of", link),
    check("numa", Family::Devices, "NUMA node of", numa),
];

const NO_PCI: &str = "no PCI device was named";
/// Drivers that stay: DPDK works beside them, through libibverbs.
const BIFURCATED: &[&str] = &["mlx4_core", "mlx5_core", "mana"];
const MELLANOX: &str = "0x15b3";
const USERSPACE_WITHOUT_IOMMU: &[&str] = &["igb_uio", "uio_pci_generic"];

fn place(device: &PciDevice) -> String {
    format!("/sys/bus/pci/devices/{}", device.address())
}

fn driver(context: &Context<'_>, device: &PciDevice) -> Option<String> {
    context.host.link_name(format!("{}/driver", place(device)))
}

/// Whether the device is to stay with its kernel driver.
pub(super) fn is_bifurcated(context: &Context<'_>, device: &PciDevice) -> bool {
    driver(context, device).is_some_and(|name| BIFURCATED.contains(&name.as_str()))
        || context.host.text(format!("{}/vendor", place(device))).as_deref() == Some(MELLANOX)
}

/// Whether the module is there, loaded or built in.
pub(super) fn is_vfio_loaded(context: &Context<'_>) -> bool {
    context.host.exists("/sys/bus/pci/drivers/vfio-pci") || context.host.exists("/sys/module/vfio_pci")
}

/// The kernel's interfaces of a PCI device, virtio's included.
fn interfaces_of(context: &Context<'_>, device: &PciDevice) -> Vec<String> {
    let place = place(device);
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

fn each<'a>(context: &'a Context<'_>, verdict: impl Fn(&'a PciDevice) -> Verdict) -> Vec<Verdict> {
    if context.pci().is_empty() {
        return vec![Verdict::skipped(NO_PCI)];
    }
    context.pci().iter().map(|device| verdict(device).about(device.address())).collect()
}

fn present(context: &Context<'_>) -> Vec<Verdict> {
    each(context, |device| {
        let place = place(device);
        if !context.host.exists("/sys/bus/pci/devices") {
            return Verdict::skipped("the kernel does not show its PCI devices");
        }
        if !context.host.exists(&place) {
            return Verdict::failure("there is no such PCI device", "dpdk-devbind.py --status-dev net")
                .or("lspci -D lists the addresses; a virtual function is made first: echo 1 > .../sriov_numvfs");
        }
        // Base class 02: network controller (PCI Code and ID Assignment Specification).
        match context.host.text(format!("{place}/class")) {
            Some(class) if !class.starts_with("0x02") => Verdict::failure(
                format!("it is no network controller (class {class})"),
                "dpdk-devbind.py --status-dev net",
            ),
            class => Verdict::ok("it is there").fact("class", class),
        }
    })
}

fn module(context: &Context<'_>) -> Vec<Verdict> {
    let other = |device: &PciDevice| {
        is_bifurcated(context, device)
            || driver(context, device).is_some_and(|name| USERSPACE_WITHOUT_IOMMU.contains(&name.as_str()))
    };
    let verdict = if context.pci().is_empty() {
        Verdict::skipped(NO_PCI)
    } else if context.pci().iter().all(other) {
        Verdict::skipped("no device needs it")
    } else if is_vfio_loaded(context) {
        Verdict::ok("loaded")
    } else {
        Verdict::failure("it is not loaded, so no device can be bound to it", "modprobe vfio-pci")
            .or("echo vfio-pci > /etc/modules-load.d/vfio-pci.conf, for the next boot")
    };
    vec![verdict]
}

fn binding(context: &Context<'_>) -> Vec<Verdict> {
    each(context, |device| {
        let address = device.address();
        if !context.host.exists(place(device)) {
            return Verdict::skipped("there is no such PCI device");
        }
        let id = |file: &str| context.host.text(format!("{}/{file}", place(device))).unwrap_or_default();
        let own = if u32::from_str_radix(id("device").trim_start_matches("0x"), 16).is_ok_and(|id| id < 0x1011) {
            "mlx4_core"
        } else {
            "mlx5_core"
        };
        let bifurcated = is_bifurcated(context, device);
        match driver(context, device).as_deref() {
            Some(name) if BIFURCATED.contains(&name) => {
                Verdict::ok(format!("{name}, beside which DPDK works: it stays")).fact("driver", name)
            }
            found if bifurcated => Verdict::failure(
                format!("{}, but DPDK works beside this device's own kernel driver", bound_to(found)),
                format!("dpdk-devbind.py -b {own} {address}"),
            ),
            Some("vfio-pci") => Verdict::ok("vfio-pci").fact("driver", "vfio-pci"),
            Some(name) if USERSPACE_WITHOUT_IOMMU.contains(&name) => Verdict::warning(
                format!("bound to {name}, which lets the NIC reach all memory, also after bypassd was killed"),
                format!("modprobe vfio-pci && dpdk-devbind.py -b vfio-pci {address}"),
            )
            .fact("driver", name),
            found => {
                let up: Vec<String> = interfaces_of(context, device)
                    .into_iter()
                    .filter(|name| is_up(context, name) == Some(true))
                    .collect();
                // dpdk-devbind.py refuses an interface with routes.
                let down: String = up.iter().map(|name| format!("ip link set {name} down && ")).collect();
                let kernel =
                    if up.is_empty() { String::new() } else { format!("; the kernel uses it as {}", examples(&up)) };
                Verdict::failure(
                    format!("{}, so DPDK cannot have it{kernel}", bound_to(found)),
                    format!("{down}dpdk-devbind.py -b vfio-pci {address}"),
                )
                .or(format!("driverctl set-override {address} vfio-pci, which the next boot keeps"))
                .fact("driver", found)
            }
        }
    })
}

fn bound_to(driver: Option<&str>) -> String {
    driver.map_or_else(|| "bound to no driver".to_owned(), |name| format!("bound to {name}"))
}

/// A NIC that DPDK takes is lost to the kernel, and so is whoever came in through it.
fn default_route(context: &Context<'_>) -> Vec<Verdict> {
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
fn is_up(context: &Context<'_>, interface: &str) -> Option<bool> {
    let flags = context.host.text(format!("/sys/class/net/{interface}/flags"))?;
    u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok().map(|flags| flags & 1 != 0)
}

/// Virtual devices that use an interface, with it.
fn on_interfaces<'a>(context: &'a Context<'_>) -> Vec<(&'a Vdev, &'a str)> {
    context.vdevs().iter().filter_map(|vdev| Some((vdev, interface_of(vdev)?))).collect()
}

fn interface(context: &Context<'_>) -> Vec<Verdict> {
    let used = on_interfaces(context);
    if used.is_empty() {
        return vec![Verdict::skipped("no device uses an interface of the kernel")];
    }
    let verdict = |(vdev, name): &(&Vdev, &str)| {
        let verdict = if context.host.exists(format!("/sys/class/net/{name}")) {
            Verdict::ok(format!("{name} is there"))
        } else if context.host.exists("/sys/class/net") {
            Verdict::failure(
                format!("there is no interface {name}"),
                format!("ip link add {name} type veth peer name {}", peer_name(name)),
            )
            .or("name one that is there (ip -brief link)")
        } else {
            Verdict::skipped("the kernel does not show its interfaces")
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

fn link(context: &Context<'_>) -> Vec<Verdict> {
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

fn numa(context: &Context<'_>) -> Vec<Verdict> {
    let nodes = context.nodes();
    each(context, |device| {
        let node: Option<i32> = context.host.number(format!("{}/numa_node", place(device)));
        let Some(node) = node.and_then(|node| u16::try_from(node).ok()) else {
            return Verdict::skipped("the firmware does not tell it");
        };
        let cpus = nodes.iter().find(|(number, _)| *number == node).map(|(_, cpus)| cpus.clone()).unwrap_or_default();
        let workers = context.worker_cpus();
        let far: Vec<u16> = workers.iter().copied().filter(|cpu| !cpus.contains(cpu)).collect();
        let verdict = if nodes.len() < 2 {
            Verdict::ok("there is one node only")
        } else if workers.is_empty() {
            Verdict::skipped("raw EAL arguments say the lcores")
        } else if far.is_empty() {
            Verdict::ok(format!("node {node}, as the workers' CPUs are"))
        } else {
            let near: Vec<u16> = cpus.into_iter().filter(|cpu| context.machine.allowed_cpus.contains(cpu)).collect();
            let enough: Vec<u16> = near.into_iter().take(context.plan.placed.len()).collect();
            Verdict::warning(
                format!(
                    "the NIC is on node {node}, but worker CPUs {} are not: each frame crosses between them",
                    join(&far)
                ),
                format!("bypassd run -l {} ...", if enough.is_empty() { "0-1".to_owned() } else { join(&enough) }),
            )
            .or("put the NIC into a slot of the workers' node")
        };
        verdict.fact("node", node)
    })
}
