//! Who confines a NIC's DMA: the IOMMU, its groups, and our right to use them. Of no concern without a PCI device.

use super::context::examples;
use super::devices::{is_bifurcated, is_unconfined, is_vfio_loaded};
use super::{Check, Context, Family, Verdict, check};
use crate::device::PciDevice;
use crate::eal_args::Memory;
use crate::host::Access;

pub(super) const CHECKS: &[Check] = &[
    check("iommu", Family::Iommu, "IOMMU", iommu),
    check("no-iommu-mode", Family::Iommu, "no-IOMMU mode", no_iommu_mode),
    check("iova-memory", Family::Iommu, "memory for DMA", iova_memory),
    check("iommu-group", Family::Iommu, "IOMMU group", group),
    check("vfio-rights", Family::Iommu, "rights on vfio", vfio_rights),
];

const NO_IOMMU: &str = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
const NO_PCI: &str = "no PCI device was named";
const NO_VFIO: &str = "no device for vfio-pci was named";

fn groups_exist(context: &Context<'_>) -> bool {
    !context.host.names("/sys/kernel/iommu_groups").is_empty() || !context.host.names("/sys/class/iommu").is_empty()
}

fn no_iommu_is_on(context: &Context<'_>) -> bool {
    context.host.text(NO_IOMMU).is_some_and(|mode| matches!(mode.as_str(), "Y" | "1"))
}

/// Devices that are to belong to vfio-pci.
fn concerned(context: &Context<'_>) -> Vec<PciDevice> {
    let for_vfio = |device: &&PciDevice| !is_bifurcated(context, device) && !is_unconfined(context, device);
    context.pci().iter().filter(for_vfio).cloned().collect()
}

/// A change of the kernel's command line, as Debian's grub takes it.
pub(super) fn grub_command(arguments: &str) -> String {
    format!(
        "echo 'GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX {arguments}\"' >> /etc/default/grub.d/bypassd.cfg && update-grub && reboot"
    )
}

fn iommu(context: &Context<'_>) -> Vec<Verdict> {
    if concerned(context).is_empty() {
        return vec![Verdict::skipped(if context.pci().is_empty() { NO_PCI } else { "no device is for vfio-pci" })];
    }
    if groups_exist(context) {
        return vec![Verdict::ok("the kernel has IOMMU groups")];
    }
    let intel = context.host.text("/proc/cpuinfo").is_none_or(|text| text.contains("GenuineIntel"));
    let arguments = if intel { "intel_iommu=on iommu=pt" } else { "amd_iommu=on iommu=pt" };
    let verdict = if no_iommu_is_on(context) {
        Verdict::warning(
            "there is no IOMMU: nothing confines the NIC's DMA, not even when bypassd is killed",
            grub_command(arguments),
        )
    } else {
        Verdict::failure("there is no IOMMU, without which vfio-pci gives no device away", grub_command(arguments))
            .or(format!("switch it on in the firmware (VT-d, AMD-Vi); or without protection: echo 1 > {NO_IOMMU}"))
    };
    vec![verdict]
}

fn no_iommu_mode(context: &Context<'_>) -> Vec<Verdict> {
    let verdict = match context.host.text(NO_IOMMU) {
        None => Verdict::skipped("the kernel has no such mode, or vfio is not loaded"),
        Some(_) if !no_iommu_is_on(context) => Verdict::ok("off"),
        Some(_) if groups_exist(context) => Verdict::warning(
            "on, although there is an IOMMU: any program that may open /dev/vfio can read and write all memory by DMA",
            format!("echo 0 > {NO_IOMMU}"),
        ),
        Some(_) if context.pci().is_empty() => Verdict::ok("on; no PCI device was named"),
        Some(_) => Verdict::warning(
            "on: the NIC reaches all memory, also after bypassd was killed",
            format!("echo 0 > {NO_IOMMU}"),
        )
        .or("keep it on a machine without IOMMU, and take care"),
    };
    vec![verdict]
}

/// Ordinary pages have no physical address that stays, so a NIC reaches them only through an IOMMU (IOVA as virtual addresses).
fn iova_memory(context: &Context<'_>) -> Vec<Verdict> {
    let none = context.pci().iter().all(|device| is_bifurcated(context, device));
    let verdict = match (none, context.plan.memory, groups_exist(context)) {
        (true, ..) => Verdict::skipped(if context.pci().is_empty() { NO_PCI } else { NO_VFIO }),
        (_, Memory::Given, _) => Verdict::skipped("raw EAL arguments say where memory comes from"),
        (_, _, true) => Verdict::ok("an IOMMU translates"),
        (_, Memory::Huge, false) => Verdict::ok("hugepages stay where they are"),
        (_, Memory::Ordinary, false) => Verdict::failure(
            "ordinary memory and no IOMMU: a NIC cannot reach it",
            context.machine.reserve_command(context.plan.needed_mib),
        ),
    };
    vec![verdict]
}

/// vfio gives a group away only when no device in it belongs to a kernel driver.
fn group(context: &Context<'_>) -> Vec<Verdict> {
    let devices = concerned(context);
    if devices.is_empty() {
        return vec![Verdict::skipped(NO_VFIO)];
    }
    let verdict = |device: &PciDevice| {
        let address = device.address();
        let place = format!("/sys/bus/pci/devices/{address}/iommu_group");
        let Some(number) = context.host.link_name(&place) else {
            return Verdict::skipped("it is in none").about(address);
        };
        let driver = |other: &String| context.host.link_name(format!("/sys/bus/pci/devices/{other}/driver"));
        // Bridges may stay (vfio_pci_core: only endpoints matter), and devices without a driver.
        let bound = |other: &String| {
            *other != address
                && driver(other).is_some_and(|name| !matches!(name.as_str(), "vfio-pci" | "pcieport" | "pci-stub"))
        };
        let others: Vec<String> = context.host.names(format!("{place}/devices")).into_iter().filter(bound).collect();
        let verdict = if others.is_empty() {
            Verdict::ok(format!("group {number} is its own, or free"))
        } else {
            Verdict::failure(
                format!(
                    "group {number} also has {}, which a kernel driver holds; vfio gives groups away only whole",
                    examples(&others)
                ),
                format!("dpdk-devbind.py -b vfio-pci {}", others.join(" ")),
            )
            .or("put the NIC into another slot")
        };
        verdict.about(address).fact("group", number)
    };
    devices.iter().map(verdict).collect()
}

fn vfio_rights(context: &Context<'_>) -> Vec<Verdict> {
    let devices = concerned(context);
    if devices.is_empty() {
        return vec![Verdict::skipped(NO_VFIO)];
    }
    let bound_groups = devices.iter().filter_map(|device| {
        let place = format!("/sys/bus/pci/devices/{}", device.address());
        let bound = context.host.link_name(format!("{place}/driver"))? == "vfio-pci";
        let number = context.host.link_name(format!("{place}/iommu_group"))?;
        let prefix = if groups_exist(context) && !no_iommu_is_on(context) { "" } else { "noiommu-" };
        let node = format!("/dev/vfio/{prefix}{number}");
        // With the mode on and an IOMMU there, either may be.
        let node = if context.host.exists(&node) { node } else { format!("/dev/vfio/{number}") };
        bound.then_some(node)
    });
    let nodes: Vec<String> = std::iter::once("/dev/vfio/vfio".to_owned()).chain(bound_groups).collect();
    let verdict = |node: &String| match context.host.allows(node, Access::ReadWrite) {
        Some(true) => Verdict::ok("may be opened").about(node),
        Some(false) => {
            let who = context.identity.uid.map_or_else(|| "\"$USER\"".to_owned(), |uid| uid.to_string());
            Verdict::failure("this user may not open it", format!("chown {who} {node}"))
                .or("a udev rule keeps it so: SUBSYSTEM==\"vfio\", GROUP=\"bypassd\", MODE=\"0660\"")
                .about(node)
        }
        None if !is_vfio_loaded(context) => Verdict::skipped("vfio-pci is not loaded").about(node),
        None => Verdict::failure("it is not there, although vfio-pci is loaded", "udevadm trigger").about(node),
    };
    nodes.iter().map(verdict).collect()
}
