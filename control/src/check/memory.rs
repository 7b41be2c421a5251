//! Whether there is memory for EAL: hugepages on the right nodes, a hugetlbfs where files are made, the limit of locked memory.

use std::path::PathBuf;

use super::context::join;
use super::{Check, Context, Family, Verdict, check};
use crate::defaults;
use crate::eal_args::{self, EalError, MOUNT, Memory};
use crate::host::{Access, Capability};
use crate::machine;

pub(super) const CHECKS: &[Check] = &[
    check("hugepages", Family::Memory, "hugepages", hugepages),
    check("hugepages-per-node", Family::Memory, "hugepages per node", hugepages_per_node),
    check("hugetlbfs", Family::Memory, "hugetlbfs", hugetlbfs),
    check("ordinary-memory", Family::Memory, "ordinary memory", ordinary_memory),
    check("memlock", Family::Memory, "locked memory", memlock),
];

const GIVEN: &str = "raw EAL arguments say where memory comes from";

fn hugepages(context: &Context<'_>) -> Vec<Verdict> {
    let lacking = context.lacking.iter().find(|error| matches!(error, EalError::NoHugepages { .. }));
    let (free, needed) = (context.machine.hugepage_mib(), context.plan.needed_mib);
    let verdict = match (context.plan.memory, lacking) {
        (_, Some(error)) => Verdict::refused(error.advice()),
        (Memory::Given, None) => return vec![Verdict::skipped(GIVEN)],
        (Memory::Huge, None) => Verdict::ok(format!("{free} MiB are free, {needed} MiB are needed")),
        (Memory::Ordinary, None) if context.settings.eal.huge == Some(false) => {
            Verdict::ok(format!("eal.huge is false: {needed} MiB of ordinary pages are used"))
        }
        (Memory::Ordinary, None) => {
            let enough = free >= needed;
            let cause = if enough {
                format!("{free} MiB are free, but no hugetlbfs is mounted for them")
            } else {
                format!("{free} MiB are free and {needed} MiB are needed, so ordinary pages are used, which are slower")
            };
            let mend = if enough { MOUNT.to_owned() } else { context.machine.reserve_command(needed) };
            Verdict::warning(cause, mend).or("set eal.huge = false, if that is meant")
        }
    };
    vec![verdict.fact("free_mib", free).fact("needed_mib", needed)]
}

/// A worker's frame buffers come from the node of its lcore, and from no other (`rte_pktmbuf_pool_create`).
fn hugepages_per_node(context: &Context<'_>) -> Vec<Verdict> {
    let nodes = context.nodes();
    if !context.uses_hugepages() {
        return vec![Verdict::skipped("no hugepages are used")];
    }
    if nodes.len() < 2 {
        return vec![Verdict::skipped("there is one node only")];
    }
    let pool_mib = eal_args::pool_bytes(context.settings).div_ceil(1 << 20);
    let free_in = |node: &(u16, Vec<u16>)| {
        let sizes = machine::hugepages(context.host, &format!("/sys/devices/system/node/node{}/hugepages", node.0));
        sizes.iter().map(|pages| pages.available.saturating_mul(pages.page_kib)).sum::<u64>() / 1024
    };
    if nodes.iter().map(free_in).sum::<u64>() < context.machine.hugepage_mib() {
        return vec![Verdict::skipped("pages come by overcommit, from whichever node")];
    }
    let verdict = |(node, cpus): (u16, Vec<u16>)| {
        let on_node = |lcore: &&crate::lcores::Lcore| lcore.cpus.first().is_some_and(|cpu| cpus.contains(cpu));
        let workers: Vec<u16> = context.workers().iter().filter(on_node).map(|lcore| lcore.id).collect();
        let is_controls = context.plan.placed.first().filter(on_node).is_some();
        let pools_mib = pool_mib.saturating_mul(u64::try_from(workers.len()).unwrap_or(u64::MAX));
        let base_mib = if is_controls { defaults::EAL_BASE_MIB } else { 0 };
        let needed = pools_mib.saturating_add(base_mib);
        let place = format!("/sys/devices/system/node/node{node}/hugepages");
        let sizes = machine::hugepages(context.host, &place);
        let free = free_in(&(node, Vec::new()));
        let verdict = match sizes.first() {
            _ if needed == 0 => Verdict::ok("no lcore is on this node"),
            None => Verdict::skipped(format!("{place} is not there")),
            Some(_) if free >= needed => Verdict::ok(format!("{free} MiB are free, {needed} MiB are needed")),
            Some(pages) => {
                let missing = (needed - free).saturating_mul(1024).div_ceil(pages.page_kib.max(1));
                let (total, page_kib) = (pages.total.saturating_add(missing), pages.page_kib);
                let whose =
                    if workers.is_empty() { "control".to_owned() } else { format!("lcores {}", join(&workers)) };
                let cause = format!("{free} MiB are free, but {needed} MiB are needed for {whose}");
                let mend = format!("echo {total} > {place}/hugepages-{page_kib}kB/nr_hugepages");
                if free < pools_mib {
                    Verdict::failure(format!("{cause}: frame buffers come from the lcore's own node"), mend)
                        .or("choose lcores of another node (-l)")
                } else {
                    Verdict::warning(format!("{cause}: the rest comes from another node"), mend)
                }
            }
        };
        verdict.about(format!("node {node}")).fact("free_mib", free).fact("needed_mib", needed)
    };
    nodes.into_iter().map(verdict).collect()
}

fn hugetlbfs(context: &Context<'_>) -> Vec<Verdict> {
    if !context.makes_hugepage_files() {
        return vec![Verdict::skipped("no files are made in it")];
    }
    let mounts: Vec<_> = context.host.mounts().into_iter().filter(|mount| mount.kind == "hugetlbfs").collect();
    let Some(mount) = mounts.first() else {
        return vec![Verdict::failure(
            "no hugetlbfs is mounted, and hugepages that others share are files in it",
            MOUNT,
        )];
    };
    let place = mount.place.display();
    // Without the option the kernel's default size.
    let page_kib = mount.option("pagesize").and_then(size_kib).or_else(|| default_page_kib(context));
    let free =
        |kib: u64| context.machine.hugepages.iter().find(|pages| pages.page_kib == kib).map(|pages| pages.available);
    let verdict = match (context.host.allows(&mount.place, Access::Populate), page_kib.and_then(free), page_kib) {
        (Some(false), ..) => Verdict::failure(
            format!("hugetlbfs is mounted on {place}, but this user may not make files there"),
            match context.identity.uid {
                Some(uid) => format!("chown {uid} {place}"),
                None => format!("chmod 1777 {place}"),
            },
        )
        .or("leave eal.secondary_processes out, and no files are made"),
        (_, Some(0), Some(kib)) => Verdict::failure(
            format!("hugetlbfs on {place} is for pages of {kib} KiB, of which none is free"),
            format!(
                "echo {} > /sys/kernel/mm/hugepages/hugepages-{kib}kB/nr_hugepages",
                (context.plan.needed_mib * 1024).div_ceil(kib.max(1))
            ),
        )
        .or("mount another one with pagesize= of the pages that are free"),
        _ => Verdict::ok(format!("mounted on {place}")),
    };
    vec![verdict.fact("place", place.to_string())]
}

/// `2M`, `1G` or `2048K`, in KiB.
fn size_kib(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().ok()?;
    match unit.chars().next().map(|unit| unit.to_ascii_uppercase()) {
        Some('G') => number.checked_mul(1 << 20),
        Some('M') => number.checked_mul(1 << 10),
        Some('K') => Some(number),
        _ => Some(number / 1024),
    }
}

fn default_page_kib(context: &Context<'_>) -> Option<u64> {
    meminfo_kib(context, "Hugepagesize:")
}

/// A line of `/proc/meminfo`.
pub(super) fn meminfo_kib(context: &Context<'_>, name: &str) -> Option<u64> {
    let text = context.host.text("/proc/meminfo")?;
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

fn ordinary_memory(context: &Context<'_>) -> Vec<Verdict> {
    let needed = context.plan.needed_mib;
    let verdict = match (context.plan.memory, meminfo_kib(context, "MemAvailable:").map(|kib| kib / 1024)) {
        (Memory::Given, _) => return vec![Verdict::skipped(GIVEN)],
        (Memory::Huge, _) => return vec![Verdict::skipped("EAL uses hugepages")],
        (Memory::Ordinary, None) => return vec![Verdict::skipped("/proc/meminfo does not say what is available")],
        (Memory::Ordinary, Some(available)) if available < needed => Verdict::failure(
            format!("{available} MiB are available and {needed} MiB are needed for EAL"),
            "bypassd run -l 0-1 ...",
        )
        .or("fewer lcores, a smaller worker.frames, or more memory"),
        (Memory::Ordinary, Some(available)) => {
            Verdict::ok(format!("{available} MiB are available, {needed} MiB are needed"))
                .fact("available_mib", available)
        }
    };
    vec![verdict.fact("needed_mib", needed)]
}

/// vfio pins all memory that a NIC may reach, and counts it against the limit (`VFIO_IOMMU_MAP_DMA`).
fn memlock(context: &Context<'_>) -> Vec<Verdict> {
    if context.pci().is_empty() {
        return vec![Verdict::skipped("no PCI device, so no memory is pinned for DMA")];
    }
    if context.identity.has(Capability::IpcLock) {
        return vec![Verdict::ok("CAP_IPC_LOCK: no limit")];
    }
    let limits = context.host.text("/proc/self/limits").unwrap_or_default();
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max locked memory")?.split_whitespace().next());
    let needed = context.plan.needed_mib;
    let verdict = match limit.map(|limit| (limit, limit.parse::<u64>())) {
        None => Verdict::skipped("/proc/self/limits does not tell"),
        Some(("unlimited", _)) => Verdict::ok("no limit"),
        Some((_, Ok(bytes))) if bytes >> 20 >= needed.max(1) => {
            Verdict::ok(format!("{} MiB may be locked, {needed} MiB are needed", bytes >> 20))
        }
        Some((bytes, _)) => Verdict::failure(
            format!("{bytes} bytes may be locked, but vfio pins {needed} MiB and what is served for the NIC"),
            "prlimit --pid $$ --memlock=unlimited:unlimited",
        )
        .or("LimitMEMLOCK=infinity in the unit"),
    };
    vec![verdict.fact("needed_mib", needed)]
}

/// Where hugetlbfs is mounted.
pub(super) fn hugetlbfs_places(context: &Context<'_>) -> Vec<PathBuf> {
    context.host.mounts().into_iter().filter(|mount| mount.kind == "hugetlbfs").map(|mount| mount.place).collect()
}
