//! Facts about this machine that decide EAL's arguments: CPUs that the process may use, free hugepages, hugetlbfs mounts. Reads, changes nothing.

use crate::host::Host;

/// Hugepages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hugepages {
    /// Size of one page, in KiB.
    pub page_kib: u64,
    /// Pages that the system has reserved, used ones included.
    pub total: u64,
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
    /// Looks at a machine. What cannot be read counts as absent.
    #[must_use]
    pub fn look(host: &Host) -> Self {
        Self {
            allowed_cpus: host.identity().cpus,
            hugepages: hugepages(host, "/sys/kernel/mm/hugepages"),
            hugetlbfs_mounted: host.mounts().iter().any(|mount| mount.kind == "hugetlbfs"),
            pid: std::process::id(),
        }
    }

    /// Memory in available hugepages of all sizes, in MiB.
    #[must_use]
    pub fn hugepage_mib(&self) -> u64 {
        self.hugepages.iter().map(|pages| pages.available.saturating_mul(pages.page_kib)).sum::<u64>() / 1024
    }

    /// The command that makes so much memory available in hugepages, beside those that are used already.
    #[must_use]
    pub fn reserve_command(&self, mib: u64) -> String {
        let smallest = self.hugepages.iter().min_by_key(|pages| pages.page_kib);
        let (page_kib, total) = smallest.map_or((2_048, 0), |pages| (pages.page_kib, pages.total));
        let missing = mib.saturating_sub(self.hugepage_mib()).saturating_mul(1024).div_ceil(page_kib.max(1));
        let pages = total.saturating_add(missing);
        format!("echo {pages} > /sys/kernel/mm/hugepages/hugepages-{page_kib}kB/nr_hugepages")
    }
}

/// The sizes in a directory of the kernel's, the smallest first.
#[must_use]
pub fn hugepages(host: &Host, directory: &str) -> Vec<Hugepages> {
    let mut found: Vec<Hugepages> = host
        .names(directory)
        .iter()
        .filter_map(|name| {
            let page_kib = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let count = |file: &str| -> u64 { host.number(format!("{directory}/{name}/{file}")).unwrap_or(0) };
            // As EAL counts them (get_num_hugepages): free and not promised, and what overcommit would still add.
            let free = count("free_hugepages").saturating_sub(count("resv_hugepages"));
            let overcommit = count("nr_overcommit_hugepages").saturating_sub(count("surplus_hugepages"));
            Some(Hugepages { page_kib, total: count("nr_hugepages"), available: free + overcommit })
        })
        .collect();
    found.sort_by_key(|pages| pages.page_kib);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hugepages_are_counted_as_eal_counts_them() {
        let directory = tempfile::tempdir().unwrap();
        let host = Host::below(directory.path());
        for (size, files) in [
            (
                "hugepages-2048kB",
                &[("free_hugepages", "10\n"), ("resv_hugepages", "3\n"), ("nr_hugepages", "12\n")][..],
            ),
            (
                "hugepages-1048576kB",
                &[("free_hugepages", "0\n"), ("nr_overcommit_hugepages", "4\n"), ("surplus_hugepages", "1\n")],
            ),
            ("something-else", &[("free_hugepages", "99\n")]),
        ] {
            let size = host.path("/sys/kernel/mm/hugepages").join(size);
            std::fs::create_dir_all(&size).unwrap();
            for (file, text) in files {
                std::fs::write(size.join(file), text).unwrap();
            }
        }
        let machine = Machine::look(&host);
        assert_eq!(
            machine.hugepages,
            [
                Hugepages { page_kib: 2048, total: 12, available: 7 },
                Hugepages { page_kib: 1_048_576, total: 0, available: 3 }
            ]
        );
        assert_eq!(machine.hugepage_mib(), 14 + 3 * 1024);
        assert!(hugepages(&host, "/sys/absent").is_empty());
        assert_eq!(
            machine.reserve_command(4 * 1024),
            format!("echo {} > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", 12 + (1024 - 14) / 2)
        );
    }

    #[test]
    fn a_hugetlbfs_mount_is_told_by_its_type() {
        let directory = tempfile::tempdir().unwrap();
        let host = Host::below(directory.path());
        std::fs::create_dir_all(host.path("/proc/self")).unwrap();
        let mounted = |text: &str| {
            std::fs::write(host.path("/proc/self/mounts"), text).unwrap();
            Machine::look(&host).hugetlbfs_mounted
        };
        assert!(mounted("proc /proc proc rw 0 0\nhugetlbfs /dev/hugepages hugetlbfs rw,pagesize=2M 0 0\n"));
        assert!(!mounted("hugetlbfs /mnt/hugetlbfs tmpfs rw 0 0\n"));
    }

    #[test]
    fn this_machine_has_at_least_one_cpu() {
        let machine = Machine::look(&Host::this());
        assert!(!machine.allowed_cpus.is_empty());
        assert_eq!(machine.pid, std::process::id());
    }
}
