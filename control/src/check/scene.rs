//! Made-up machines for tests, each a tree in a directory of its own on which every check is content; a test then spoils one thing.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use clap::Parser;
use dataplane::dpdk;
use tempfile::TempDir;

use super::{Context, Finding, Report, Versions, When, all, examine};
use crate::args::{Cli, Command};
use crate::config::ConfigFile;
use crate::host::Host;
use crate::settings::{Environment, Settings};

/// A machine, and the run that is meant for it.
pub(super) struct Scene {
    _directory: TempDir,
    pub(super) host: Host,
    /// Flags of `bypassd run`.
    pub(super) flags: String,
    /// The configuration file.
    pub(super) config: String,
    pub(super) environment: Environment,
    pub(super) versions: Versions,
}

/// The NIC of [`Scene::appliance`].
pub(super) const NIC: &str = "0000:03:00.0";
const NIC_PLACE: &str = "/sys/bus/pci/devices/0000:03:00.0";

const APPLIANCE: &str = "root = \"/srv/boot\"\naddress = [\"198.51.100.1/24\", \"2001:db8::1/64\"]\n\
    [eal]\nallow = [\"0000:03:00.0\"]\nlcores = \"0,2-3\"\nhuge = true\nfile_prefix = \"boot\"\nsecondary_processes = true\n\
    [control]\nsocket = \"/run/bypassd/control.sock\"\ngroup = \"bypassd\"\n";

const LAB: &str = "root = \"/srv/boot\"\naddress = { 0 = [\"198.51.100.1/24\"], 1 = [\"203.0.113.1/24\"], 2 = [\"10.0.0.1/8\"] }\n\
    [eal]\nvdev = [\"net_af_packet0,iface=veth0\", \"net_tap1,iface=boot0\", \"net_virtio_user2,path=/dev/vhost-net\"]\nhuge = false\n\
    [worker]\nidle_sleep_us = 50\n";

impl Scene {
    /// Two nodes, an IOMMU, and a NIC that belongs to vfio-pci; the run is that of an unprivileged user.
    pub(super) fn appliance() -> Self {
        let scene = Self::bare(APPLIANCE);
        scene.write("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "N\n");
        scene.write("/sys/kernel/iommu_groups/15/type", "DMA\n");
        scene.write("/sys/kernel/iommu_groups/15/devices/0000:03:00.0/x", "");
        scene.write("/sys/bus/pci/drivers/vfio-pci/new_id", "");
        scene.write("/sys/bus/pci/drivers/ixgbe/new_id", "");
        for (file, text) in [("class", "0x020000"), ("vendor", "0x8086"), ("device", "0x10fb"), ("numa_node", "0")] {
            scene.write(&format!("{NIC_PLACE}/{file}"), text);
        }
        scene.bind(NIC, "vfio-pci");
        scene.link(&format!("{NIC_PLACE}/iommu_group"), "../../../../kernel/iommu_groups/15");
        scene.write("/dev/vfio/vfio", "");
        scene.write("/dev/vfio/15", "");
        scene
    }

    /// The same machine with devices that are made of software.
    pub(super) fn lab() -> Self {
        let scene = Self::bare(LAB);
        scene.write("/dev/net/tun", "");
        scene.write("/dev/vhost-net", "");
        scene.add_interface("veth0");
        scene
    }

    fn bare(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let scene = Self {
            host: Host::below(directory.path()),
            _directory: directory,
            flags: String::new(),
            config: config.to_owned(),
            environment: Environment { runtime_directory: Some("/run/bypassd".into()), ..Environment::default() },
            versions: Versions { built: "22.11.4".to_owned(), running: "22.11.11".to_owned() },
        };
        scene.write_proc();
        scene.write_sys();
        for folder in ["/run/bypassd", "/dev/hugepages"] {
            scene.folder(folder, 0o777);
        }
        scene.write("/etc/group", "root:x:0:\nbypassd:x:999:\n");
        scene.write("/srv/boot/pxelinux.0", "boot");
        scene.write("/srv/boot/images/kernel", "kernel");
        scene.driver("ixgbe", "[[32902, 4347, 65535, 65535]]");
        scene.driver("mlx5", "[[5555, 4119, 65535, 65535]]");
        for name in ["tap", "af_packet", "virtio_user", "null"] {
            scene.driver(name, "[]");
        }
        scene
    }

    fn write_proc(&self) {
        self.write("/proc/sys/kernel/osrelease", "6.1.0-18-amd64\n");
        // CAP_NET_ADMIN and CAP_NET_RAW; not the ones that lift modes and limits.
        self.write(
            "/proc/self/status",
            "Uid:\t4242\t4242\t4242\t4242\nGid:\t4242\t4242\t4242\t4242\nGroups:\t4242\nCapEff:\t0000000000003000\nCpus_allowed_list:\t0-7\n",
        );
        self.write("/proc/self/limits", "Max locked memory         unlimited            unlimited            bytes\n");
        self.write("/proc/self/maps", "7f00-7f01 r-xp 0 fe:00 1 /usr/lib/x86_64-linux-gnu/librte_eal.so.23.0\n");
        self.write("/proc/self/mounts", "proc /proc proc rw 0 0\nnodev /dev/hugepages hugetlbfs rw,pagesize=2M 0 0\n");
        self.write("/proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\nHugepagesize: 2048 kB\n");
        self.write("/proc/cpuinfo", "vendor_id\t: GenuineIntel\nflags\t\t: fpu tsc constant_tsc nonstop_tsc\n");
        self.write("/proc/locks", "");
        self.write("/proc/net/dev", "Inter-| Receive\n face |bytes\n    lo: 0\n  eth0: 0\n");
        self.write(
            "/proc/net/route",
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\n",
        );
        self.write("/proc/net/udp", "  sl  local_address\n");
    }

    fn write_sys(&self) {
        for (place, pages) in
            [("/sys/kernel/mm", 512), ("/sys/devices/system/node/node0", 256), ("/sys/devices/system/node/node1", 256)]
        {
            for file in ["nr_hugepages", "free_hugepages"] {
                self.write(&format!("{place}/hugepages/hugepages-2048kB/{file}"), &format!("{pages}\n"));
            }
        }
        self.write("/sys/devices/system/node/node0/cpulist", "0-3\n");
        self.write("/sys/devices/system/node/node1/cpulist", "4-7\n");
        self.write("/sys/devices/system/cpu/online", "0-7\n");
        self.write("/sys/devices/system/cpu/isolated", "1-7\n");
        for cpu in 0..8 {
            let place = format!("/sys/devices/system/cpu/cpu{cpu}");
            self.write(&format!("{place}/topology/thread_siblings_list"), &format!("{cpu}\n"));
            self.write(&format!("{place}/cpufreq/scaling_governor"), "performance\n");
        }
        let clock = "/sys/devices/system/clocksource/clocksource0";
        self.write(&format!("{clock}/current_clocksource"), "tsc\n");
        self.write(&format!("{clock}/available_clocksource"), "tsc hpet acpi_pm\n");
    }

    /// A file that everybody may read and write.
    pub(super) fn write(&self, path: &str, text: &str) {
        let place = self.host.path(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, text).unwrap();
        let mode = if path.starts_with("/srv") { 0o644 } else { 0o666 };
        fs::set_permissions(place, fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(super) fn folder(&self, path: &str, mode: u32) {
        fs::create_dir_all(self.host.path(path)).unwrap();
        self.mode(path, mode);
    }

    pub(super) fn mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.host.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(super) fn link(&self, path: &str, target: &str) {
        let place = self.host.path(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        drop(fs::remove_file(&place));
        std::os::unix::fs::symlink(target, place).unwrap();
    }

    /// A file or a whole folder.
    pub(super) fn remove(&self, path: &str) {
        let place = self.host.path(path);
        if place.is_dir() && !place.is_symlink() { fs::remove_dir_all(place) } else { fs::remove_file(place) }.unwrap();
    }

    /// Binds a PCI device to a driver of the kernel.
    pub(super) fn bind(&self, device: &str, driver: &str) {
        self.link(&format!("/sys/bus/pci/devices/{device}/driver"), &format!("../../drivers/{driver}"));
    }

    /// An interface that is up.
    pub(super) fn add_interface(&self, name: &str) {
        let known = self.host.text("/proc/net/dev").unwrap();
        self.write("/proc/net/dev", &format!("{known}\n  {name}: 0\n"));
        self.write(&format!("/sys/class/net/{name}/flags"), "0x1003\n");
        self.write(&format!("/sys/class/net/{name}/carrier"), "1\n");
    }

    /// The kernel has the NIC, as `eth1`.
    pub(super) fn give_nic_to_kernel(&self) {
        self.bind(NIC, "ixgbe");
        self.add_interface("eth1");
        self.write(&format!("{NIC_PLACE}/net/eth1/x"), "");
    }

    /// A running process that holds a lock on a file.
    pub(super) fn lock(&self, path: &str, pid: u32) {
        let found = fs::metadata(self.host.path(path)).unwrap();
        let (major, minor) = (rustix::fs::major(found.dev()), rustix::fs::minor(found.dev()));
        self.write(
            "/proc/locks",
            &format!("1: POSIX  ADVISORY  WRITE {pid} {major:02x}:{minor:02x}:{} 0 EOF\n", found.ino()),
        );
        self.write(&format!("/proc/{pid}/comm"), "testpmd\n");
    }

    fn driver(&self, name: &str, pci_ids: &str) {
        let path = Path::new(dpdk::driver_directory()).join(format!("librte_net_{name}.so"));
        let text = format!("ELF\0PMD_INFO_STRING= {{\"name\": \"net_{name}\", \"pci_ids\": {pci_ids}}}\0");
        self.write(path.to_str().unwrap(), &text);
    }

    /// Says something else in the configuration.
    pub(super) fn replace(&mut self, from: &str, to: &str) {
        assert!(self.config.contains(from), "{from}");
        self.config = self.config.replace(from, to);
    }

    /// Everything that is found.
    pub(super) fn report(&self, when: When) -> Report {
        self.look(|context| examine(context, when).findings)
    }

    /// What one check finds.
    pub(super) fn findings(&self, id: &str) -> Vec<Finding> {
        let check = all().find(|check| check.id == id).unwrap();
        self.look(|context| (check.look)(context).into_iter().map(|verdict| verdict.of(check)).collect()).findings
    }

    fn look(&self, look: impl FnOnce(&Context<'_>) -> Vec<Finding>) -> Report {
        let words = ["bypassd", "run"].into_iter().chain(self.flags.split_whitespace());
        let Command::Run(args) = Cli::parse_from(words).command else { panic!("it runs") };
        let file = ConfigFile::parse(Path::new("x.toml"), self.config.clone()).unwrap();
        let settings = Settings::resolve(args, Some(&file), &self.environment).unwrap();
        let findings = look(&Context::new(&self.host, &self.environment, &settings, self.versions.clone()));
        let place = self.host.path("/");
        let place = place.to_str().unwrap().trim_end_matches('/');
        for finding in &findings {
            assert!(!format!("{finding:?}").contains(place), "a path of the test's own: {finding:?}");
        }
        Report { findings }
    }
}
