//! Whether the NICs are there, belong to a driver that lets DPDK have them, and are near the workers.

use super::context::{examples, join};
use super::kernel_network::default_route_interfaces;
use super::links::{self, interfaces_of, is_up};
use super::{Check, Context, Family, Verdict, check, drivers};
use crate::device::PciDevice;

pub(super) const CHECKS: &[Check] = &[
    check("pci-device", Family::Devices, "PCI device", present),
    check("vfio-module", Family::Devices, "module vfio-pci", module),
    check("default-route", Family::Devices, "default route", links::default_route),
    check("driver-binding", Family::Devices, "kernel driver", binding),
    check("pmd", Family::Devices, "DPDK driver", drivers::pmd),
    check("interface", Family::Devices, "interface", links::interface),
    check("link", Family::Devices, "link", links::link),
    check("numa", Family::Devices, "NUMA node", numa),
];

const NO_PCI: &str = "no PCI device was named";
/// Drivers that stay: DPDK works beside them, through libibverbs.
const BIFURCATED: &[&str] = &["mlx4_core", "mlx5_core", "mana"];
const MELLANOX: &str = "0x15b3";
/// Drivers that give a NIC away without an IOMMU.
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

/// Whether the device belongs to a driver that needs no IOMMU.
pub(super) fn is_unconfined(context: &Context<'_>, device: &PciDevice) -> bool {
    driver(context, device).is_some_and(|name| USERSPACE_WITHOUT_IOMMU.contains(&name.as_str()))
}

/// Whether the module is there, loaded or built in.
pub(super) fn is_vfio_loaded(context: &Context<'_>) -> bool {
    context.host.exists("/sys/bus/pci/drivers/vfio-pci") || context.host.exists("/sys/module/vfio_pci")
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
    let other = |device: &PciDevice| is_bifurcated(context, device) || is_unconfined(context, device);
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
            found => held(context, device, found).fact("driver", found),
        }
    })
}

/// A device that the kernel has, and has to give away.
fn held(context: &Context<'_>, device: &PciDevice, driver: Option<&str>) -> Verdict {
    let address = device.address();
    let up: Vec<String> =
        interfaces_of(context, device).into_iter().filter(|name| is_up(context, name) == Some(true)).collect();
    let kernel = if up.is_empty() { String::new() } else { format!("; the kernel uses it as {}", examples(&up)) };
    let cause = format!("{}, so DPDK cannot have it{kernel}", bound_to(driver));
    let ways = default_route_interfaces(context.host);
    if up.iter().any(|name| ways.contains(name)) && !context.settings.eal.allow_default_route {
        // No command here that cuts off whoever types it.
        return Verdict::failure(format!("{cause}, and it is your default route"), "dpdk-devbind.py --status-dev net")
            .or("name another NIC");
    }
    // dpdk-devbind.py refuses an interface with routes.
    let down: String = up.iter().map(|name| format!("ip link set {name} down && ")).collect();
    Verdict::failure(cause, format!("{down}dpdk-devbind.py -b vfio-pci {address}"))
        .or(format!("driverctl set-override {address} vfio-pci, which the next boot keeps"))
}

fn bound_to(driver: Option<&str>) -> String {
    driver.map_or_else(|| "bound to no driver".to_owned(), |name| format!("bound to {name}"))
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
