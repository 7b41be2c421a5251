//! Software, memory and IOMMU, spoiled one by one.

use super::{Case, Scene, Status};

pub(super) const CASES: &[Case] = &[
    Case {
        check: "kernel-version",
        scene: Scene::appliance,
        provoke: |scene| scene.write("/proc/sys/kernel/osrelease", "5.4.0-150-generic\n"),
        status: Status::Failure,
        cause: "kernel 5.4.0-150-generic is older than 5.6",
        mend: "apt install --install-recommends linux-image-amd64",
    },
    Case {
        check: "dpdk-version",
        scene: Scene::appliance,
        provoke: |scene| scene.versions.running = "23.11.0".to_owned(),
        status: Status::Warning,
        cause: "DPDK 23.11.0 is loaded, but bypassd was built against 22.11.4",
        mend: "cargo build",
    },
    Case {
        check: "hugepages",
        scene: Scene::appliance,
        provoke: |scene| scene.write("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "3\n"),
        status: Status::Failure,
        cause: "eal.huge is set, but 6 MiB of hugepages are free and 152 MiB are needed",
        // 512 in all, 3 free; 73 more make 76 free.
        mend: "echo 585 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
    },
    Case {
        check: "hugepages",
        scene: Scene::appliance,
        provoke: |scene| {
            scene.replace("huge = true\n", "");
            scene.write("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "0\n");
        },
        status: Status::Warning,
        cause: "ordinary pages are used",
        mend: "echo 588 >",
    },
    Case {
        check: "hugepages-per-node",
        scene: Scene::appliance,
        provoke: |scene| {
            scene.replace("0,2-3", "0,2,5");
            scene.write("/sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages", "0\n");
            scene.write("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "512\n");
        },
        status: Status::Failure,
        cause: "0 MiB are free, but 19 MiB are needed for lcores 5",
        mend: "echo 266 > /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages",
    },
    Case {
        check: "hugetlbfs",
        scene: Scene::appliance,
        provoke: |scene| scene.write("/proc/self/mounts", "proc /proc proc rw 0 0\n"),
        status: Status::Failure,
        cause: "no hugetlbfs is mounted",
        mend: "mount -t hugetlbfs",
    },
    Case {
        check: "hugetlbfs",
        scene: Scene::appliance,
        provoke: |scene| scene.mode("/dev/hugepages", 0o755),
        status: Status::Failure,
        cause: "hugetlbfs is mounted on /dev/hugepages, but this user may not make files there",
        mend: "chown 4242 /dev/hugepages",
    },
    Case {
        check: "hugetlbfs",
        scene: Scene::appliance,
        provoke: |scene| {
            scene.write("/proc/self/mounts", "nodev /dev/hugepages hugetlbfs rw,pagesize=1024M 0 0\n");
            scene.write("/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages", "0\n");
        },
        status: Status::Failure,
        cause: "pages of 1048576 KiB, of which none is free",
        mend: "echo 1 > /sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages",
    },
    Case {
        check: "ordinary-memory",
        scene: Scene::lab,
        provoke: |scene| scene.write("/proc/meminfo", "MemAvailable: 65536 kB\n"),
        status: Status::Failure,
        cause: "64 MiB are available and 133 MiB are needed",
        mend: "bypassd run -l 0-1",
    },
    Case {
        check: "memlock",
        scene: Scene::appliance,
        provoke: |scene| {
            scene.write(
                "/proc/self/limits",
                "Max locked memory         8388608              8388608              bytes\n",
            )
        },
        status: Status::Failure,
        cause: "8388608 bytes may be locked, but vfio pins",
        mend: "prlimit --pid $$ --memlock=unlimited",
    },
    Case {
        check: "iommu",
        scene: Scene::appliance,
        provoke: |scene| scene.remove("/sys/kernel/iommu_groups"),
        status: Status::Failure,
        cause: "there is no IOMMU",
        mend: "intel_iommu=on iommu=pt",
    },
    Case {
        check: "iommu",
        scene: Scene::appliance,
        provoke: |scene| {
            scene.remove("/sys/kernel/iommu_groups");
            scene.write("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
            scene.write("/proc/cpuinfo", "vendor_id : AuthenticAMD\n");
        },
        status: Status::Warning,
        cause: "nothing confines the NIC's DMA",
        mend: "amd_iommu=on",
    },
    Case {
        check: "no-iommu-mode",
        scene: Scene::appliance,
        provoke: |scene| scene.write("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n"),
        status: Status::Warning,
        cause: "on, although there is an IOMMU",
        mend: "echo 0 > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
    },
    Case {
        check: "no-iommu-mode",
        scene: Scene::appliance,
        provoke: |scene| {
            scene.remove("/sys/kernel/iommu_groups");
            scene.write("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "1\n");
        },
        status: Status::Warning,
        cause: "the NIC reaches all memory",
        mend: "echo 0 >",
    },
    Case {
        check: "iova-memory",
        scene: Scene::appliance,
        provoke: |scene| {
            scene.remove("/sys/kernel/iommu_groups");
            scene.replace("huge = true", "huge = false");
        },
        status: Status::Failure,
        cause: "ordinary memory and no IOMMU",
        mend: "nr_hugepages",
    },
    Case {
        check: "iommu-group",
        scene: Scene::appliance,
        provoke: |scene| {
            scene.write("/sys/kernel/iommu_groups/15/devices/0000:03:00.1/x", "");
            scene.write("/sys/bus/pci/devices/0000:03:00.1/class", "0x020000");
            scene.bind("0000:03:00.1", "ixgbe");
        },
        status: Status::Failure,
        cause: "group 15 also has 0000:03:00.1",
        mend: "dpdk-devbind.py -b vfio-pci 0000:03:00.1",
    },
    Case {
        check: "vfio-rights",
        scene: Scene::appliance,
        provoke: |scene| scene.mode("/dev/vfio/15", 0o600),
        status: Status::Failure,
        cause: "this user may not open it",
        mend: "chown 4242 /dev/vfio/15",
    },
    Case {
        check: "vfio-rights",
        scene: Scene::appliance,
        provoke: |scene| scene.remove("/dev/vfio/vfio"),
        status: Status::Failure,
        cause: "it is not there, although vfio-pci is loaded",
        mend: "udevadm trigger",
    },
];

#[test]
fn a_bridge_in_the_group_may_stay() {
    let scene = Scene::appliance();
    scene.write("/sys/kernel/iommu_groups/15/devices/0000:00:01.0/x", "");
    scene.write("/sys/bus/pci/devices/0000:00:01.0/class", "0x060400");
    scene.bind("0000:00:01.0", "pcieport");
    assert_eq!(scene.findings("iommu-group")[0].status, Status::Ok);
}

#[test]
fn locked_memory_has_no_limit_for_those_who_may_lock() {
    let scene = Scene::appliance();
    scene.write("/proc/self/limits", "Max locked memory         65536              65536              bytes\n");
    scene.write("/proc/self/status", "CapEff:\t0000000000004000\nCpus_allowed_list:\t0-7\n");
    assert_eq!(scene.findings("memlock")[0].status, Status::Ok);
}

#[test]
fn a_repair_release_of_dpdk_is_the_same() {
    let mut scene = Scene::appliance();
    scene.versions.running = "22.11.99".to_owned();
    assert_eq!(scene.findings("dpdk-version")[0].status, Status::Ok);
}
