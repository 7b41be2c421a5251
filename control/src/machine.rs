//! Facts about this machine that decide EAL's arguments: CPUs that the process may use, free hugepages, hugetlbfs mounts. Reads, changes nothing.

use std::path::Path;

use rustix::thread::{CpuSet, sched_getaffinity};

/// Hugepages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hugepages {
    /// Size of one page, in KiB.
    pub page_kib: u64,
    /// Pages that EAL could take now.
    pub available: u64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// CPU numbers of the affinity mask, ascending.
    pub allowed_cpus: Vec<u16>,
    /// One entry for each size that the kernel knows.
    pub hugepages: Vec<Hugepages>,
    /// Whether a hugetlbfs is mounted.
    pub hugetlbfs_mounted: bool,
    /// Our process id.
    pub pid: u32,
}

impl Machine {
    /// Looks at this machine. What cannot be read counts as absent.
    #[must_use]
    pub fn look() -> Self {
        Self {
            allowed_cpus: allowed_cpus(),
            hugepages: hugepages(Path::new("/sys/kernel/mm/hugepages")),
            hugetlbfs_mounted: std::fs::read_to_string("/proc/mounts").is_ok_and(|text| has_hugetlbfs(&text)),
            pid: std::process::id(),
        }
    }

    /// Memory in available hugepages of all sizes, in MiB.
    #[must_use]
    pub fn hugepage_mib(&self) -> u64 {
        self.hugepages.iter().map(|pages| pages.available.saturating_mul(pages.page_kib)).sum::<u64>() / 1024
    }
}

fn allowed_cpus() -> Vec<u16> {
    match sched_getaffinity(None) {
        Ok(mask) => {
            (0..CpuSet::MAX_CPU).filter(|&cpu| mask.is_set(cpu)).filter_map(|cpu| u16::try_from(cpu).ok()).collect()
        }
        Err(_) => Vec::new(),
    }
}

fn hugepages(sizes: &Path) -> Vec<Hugepages> {
    let Ok(entries) = std::fs::read_dir(sizes) else { return Vec::new() };
    let mut found: Vec<Hugepages> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name();
            let page_kib = name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let count = |file: &str| -> u64 {
                std::fs::read_to_string(entry.path().join(file))
                    .ok()
                    .and_then(|text| text.trim().parse().ok())
                    .unwrap_or(0)
            };
            // As EAL counts them (get_num_hugepages): free and not promised, and what overcommit would still add.
            let free = count("free_hugepages").saturating_sub(count("resv_hugepages"));
            let overcommit = count("nr_overcommit_hugepages").saturating_sub(count("surplus_hugepages"));
            Some(Hugepages { page_kib, available: free + overcommit })
        })
        .collect();
    found.sort_by_key(|pages| pages.page_kib);
    found
}

fn has_hugetlbfs(mounts: &str) -> bool {
    mounts.lines().any(|line| line.split(' ').nth(2) == Some("hugetlbfs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hugepages_are_counted_as_eal_counts_them() {
        let dir = tempfile::tempdir().unwrap();
        for (size, files) in [
            ("hugepages-2048kB", &[("free_hugepages", "10\n"), ("resv_hugepages", "3\n")][..]),
            (
                "hugepages-1048576kB",
                &[("free_hugepages", "0\n"), ("nr_overcommit_hugepages", "4\n"), ("surplus_hugepages", "1\n")],
            ),
            ("something-else", &[("free_hugepages", "99\n")]),
        ] {
            std::fs::create_dir(dir.path().join(size)).unwrap();
            for (file, text) in files {
                std::fs::write(dir.path().join(size).join(file), text).unwrap();
            }
        }
        let found = hugepages(dir.path());
        assert_eq!(
            found,
            [Hugepages { page_kib: 2048, available: 7 }, Hugepages { page_kib: 1_048_576, available: 3 }]
        );
        let machine = Machine { allowed_cpus: vec![0], hugepages: found, hugetlbfs_mounted: false, pid: 1 };
        assert_eq!(machine.hugepage_mib(), 14 + 3 * 1024);
        assert!(hugepages(&dir.path().join("absent")).is_empty());
    }

    #[test]
    fn a_hugetlbfs_mount_is_told_by_its_type() {
        assert!(has_hugetlbfs("proc /proc proc rw 0 0\nhugetlbfs /dev/hugepages hugetlbfs rw,pagesize=2M 0 0\n"));
        assert!(!has_hugetlbfs("hugetlbfs /mnt/hugetlbfs tmpfs rw 0 0\n"));
    }

    #[test]
    fn this_machine_has_at_least_one_cpu() {
        let machine = Machine::look();
        assert!(!machine.allowed_cpus.is_empty());
        assert_eq!(machine.pid, std::process::id());
    }
}
