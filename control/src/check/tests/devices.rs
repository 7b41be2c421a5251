//! Devices, links and the kernel's rights, spoiled one by one.

use super::super::scene::NIC;
use super::{Case, Scene, Status};

pub(super) const CASES: &[Case] = &[
    Case {
        check: "pci-device",
        scene: Scene::appliance,
        provoke: |scene| scene.replace("0000:03:00.0", "0000:04:00.0"),
        status: Status::Failure,
        cause: "there is no such PCI device",
        mend: "dpdk-devbind.py --status-dev net",
    },
    Case {
        check: "pci-device",
        scene: Scene::appliance,
        provoke: |scene| scene.write("/sys/bus/pci/devices/0000:03:00.0/class", "0x010802"),
        status: Status::Failure,
        cause: "it is no network controller (class 0x010802)",
        mend: "dpdk-devbind.py --status-dev net",
    },
    Case {
        check: "vfio-module",
        scene: Scene::appliance,
        provoke: |scene| {
            scene.give_nic_to_kernel();
            scene.remove("/sys/bus/pci/drivers/vfio-pci");
        },
        status: Status::Failure,
        cause: "it is not loaded",
        mend: "modprobe vfio-pci",
    },
    Case {
        check: "driver-binding",
        scene: Scene::appliance,
        provoke: |scene| scene.give_nic_to_kernel(),
        status: Status::Failure,
        cause: "bound to ixgbe, so DPDK cannot have it; the kernel uses it as eth1",
        mend: "ip link set eth1 down && dpdk-devbind.py -b vfio-pci 0000:03:00.0",
    },
    Case {
        check: "driver-binding",
        scene: Scene::appliance,
        provoke: |scene| scene.remove("/sys/bus/pci/devices/0000:03:00.0/driver"),
        status: Status::Failure,
        cause: "bound to no driver",
        mend: "dpdk-devbind.py -b vfio-pci 0000:03:00.0",
    },
    Case {
        check: "driver-binding",
        scene: Scene::appliance,
        provoke: |scene| scene.bind(NIC, "uio_pci_generic"),
        status: Status::Warning,
        cause: "bound to uio_pci_generic, which lets the NIC reach all memory",
        mend: "dpdk-devbind.py -b vfio-pci 0000:03:00.0",
    },
    Case {
        check: "driver-binding",
        scene: Scene::appliance,
        // A ConnectX-5.
        provoke: |scene| {
            scene.write("/sys/bus/pci/devices/0000:03:00.0/vendor", "0x15b3");
            scene.write("/sys/bus/pci/devices/0000:03:00.0/device", "0x1017");
        },
        status: Status::Failure,
        cause: "bound to vfio-pci, but DPDK works beside this device's own kernel driver",
        mend: "dpdk-devbind.py -b mlx5_core 0000:03:00.0",
    },
    Case {
        check: "default-route",
        scene: Scene::appliance,
        provoke: |scene| {
            scene.give_nic_to_kernel();
            let route = "head\neth1\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\n";
            scene.write("/proc/net/route", route);
        },
        status: Status::Failure,
        cause: "this is your default route: it leads through eth1",
        mend: "bypassd run --allow-default-route",
    },
    Case {
        check: "default-route",
        scene: Scene::lab,
        provoke: |scene| {
            scene.write("/proc/net/route", "head\nveth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\n");
        },
        status: Status::Warning,
        cause: "leads through veth0: the kernel sees all frames too",
        mend: "ip link add veth0",
    },
    Case {
        check: "pmd",
        scene: Scene::appliance,
        provoke: |scene| scene.write("/sys/bus/pci/devices/0000:03:00.0/device", "0x1234"),
        status: Status::Failure,
        cause: "takes 8086:1234",
        mend: "apt install librte-meta-net",
    },
    Case {
        check: "pmd",
        scene: Scene::lab,
        provoke: |scene| scene.replace("net_tap1,iface=boot0", "net_tpa1"),
        status: Status::Failure,
        cause: "makes a net_tpa",
        mend: "apt install librte-meta-net",
    },
    Case {
        check: "pmd",
        scene: Scene::lab,
        provoke: |scene| scene.remove(dataplane::dpdk::driver_directory()),
        status: Status::Failure,
        cause: "is not there, so DPDK has no drivers at all",
        mend: "apt install librte-meta-net",
    },
    Case {
        check: "interface",
        scene: Scene::lab,
        provoke: |scene| scene.write("/proc/net/dev", "  lo: 0\n"),
        status: Status::Failure,
        cause: "there is no interface veth0",
        mend: "ip link add veth0 type veth peer name veth0-peer",
    },
    Case {
        check: "link",
        scene: Scene::lab,
        provoke: |scene| scene.write("/sys/class/net/veth0/flags", "0x1002\n"),
        status: Status::Warning,
        cause: "veth0 is down",
        mend: "ip link set veth0 up",
    },
    Case {
        check: "link",
        scene: Scene::lab,
        provoke: |scene| scene.write("/sys/class/net/veth0/carrier", "0\n"),
        status: Status::Warning,
        cause: "veth0 is up, but has no carrier",
        mend: "ethtool veth0",
    },
    Case {
        check: "numa",
        scene: Scene::appliance,
        provoke: |scene| scene.write("/sys/bus/pci/devices/0000:03:00.0/numa_node", "1\n"),
        status: Status::Warning,
        cause: "the NIC is on node 1, but worker CPUs 2,3 are not",
        mend: "bypassd run -l 4,5,6",
    },
    Case {
        check: "tun-device",
        scene: Scene::lab,
        provoke: |scene| scene.remove("/dev/net/tun"),
        status: Status::Failure,
        cause: "/dev/net/tun is not there",
        mend: "modprobe tun",
    },
    Case {
        check: "tun-device",
        scene: Scene::lab,
        provoke: |scene| scene.mode("/dev/net/tun", 0o600),
        status: Status::Failure,
        cause: "this user may not open /dev/net/tun",
        mend: "chmod 0666 /dev/net/tun",
    },
    Case {
        check: "capabilities",
        scene: Scene::lab,
        provoke: |scene| {
            scene.write(
                "/proc/self/status",
                "Uid:\t4242\t4242\t4242\t4242\nCapEff:\t0000000000002000\nCpus_allowed_list:\t0-7\n",
            )
        },
        status: Status::Failure,
        cause: "CAP_NET_ADMIN is missing",
        mend: "setcap cap_net_admin+ep /",
    },
    Case {
        check: "interface-name",
        scene: Scene::lab,
        provoke: |scene| scene.add_interface("boot0"),
        status: Status::Failure,
        cause: "boot0 is there already, and is no tap",
        mend: "ip link delete boot0",
    },
    Case {
        check: "interface-name",
        scene: Scene::lab,
        provoke: |scene| {
            scene.add_interface("boot0");
            scene.write("/sys/class/net/boot0/tun_flags", "0x1002\n");
        },
        status: Status::Failure,
        cause: "the tap boot0 is there, and a program has it open",
        mend: "bypassctl stop",
    },
    Case {
        check: "vhost-endpoint",
        scene: Scene::lab,
        provoke: |scene| scene.remove("/dev/vhost-net"),
        status: Status::Failure,
        cause: "/dev/vhost-net is not there",
        mend: "modprobe vhost-net",
    },
    Case {
        check: "vhost-endpoint",
        scene: Scene::lab,
        provoke: |scene| scene.replace("net_virtio_user2,path=/dev/vhost-net", "net_vhost2,iface=/run/qemu/vhost.sock"),
        status: Status::Failure,
        cause: "the folder /run/qemu is not there",
        mend: "mkdir -p /run/qemu",
    },
];

fn take_default_route(scene: &Scene) {
    scene.give_nic_to_kernel();
    scene.write("/proc/net/route", "head\nbr0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\n");
    scene.write("/sys/class/net/br0/lower_eth1/x", "");
}

#[test]
fn nobody_is_told_to_cut_himself_off() {
    let scene = Scene::appliance();
    take_default_route(&scene);
    let binding = &scene.findings("driver-binding")[0];
    assert!(
        binding.cause.ends_with("it is your default route")
            || binding.mend.as_deref() == Some("dpdk-devbind.py --status-dev net")
    );
    assert_eq!(scene.findings("default-route")[0].status, Status::Failure, "a bridge's NIC");
}

#[test]
fn the_default_route_may_be_given_away_by_flag_or_file() {
    for (flags, key) in [("--allow-default-route", ""), ("", "allow_default_route = true\n")] {
        let mut scene = Scene::appliance();
        take_default_route(&scene);
        scene.flags = flags.to_owned();
        scene.replace("[control]", &format!("{key}[control]"));
        let found = scene.findings("default-route");
        assert!(found[0].status == Status::Ok && found[0].cause.contains("may be taken"), "{found:?}");
    }
}

#[test]
fn a_bifurcated_driver_stays() {
    let scene = Scene::appliance();
    scene.write("/sys/bus/pci/devices/0000:03:00.0/vendor", "0x15b3");
    scene.write("/sys/bus/pci/devices/0000:03:00.0/device", "0x1017");
    scene.bind(NIC, "mlx5_core");
    scene.remove("/sys/bus/pci/drivers/vfio-pci");
    scene.remove("/dev/vfio");
    for id in ["driver-binding", "vfio-module", "vfio-rights", "iommu", "pmd"] {
        assert_eq!(scene.findings(id)[0].status, Status::Ok, "{id}");
    }
}

#[test]
fn a_tap_that_nobody_uses_is_taken_over() {
    let scene = Scene::lab();
    scene.add_interface("boot0");
    scene.write("/sys/class/net/boot0/tun_flags", "0x1002\n");
    scene.write("/sys/class/net/boot0/carrier", "0\n");
    assert_eq!(scene.findings("interface-name")[0].status, Status::Ok);
}

#[test]
fn the_kernel_interface_is_a_tap_too() {
    let mut scene = Scene::appliance();
    assert!(scene.findings("tun-device")[0].skipped);
    scene.flags = "--kernel-interface boot0".to_owned();
    assert_eq!(scene.findings("tun-device")[0].status, Status::Failure);
    assert!(scene.findings("capabilities")[0].cause.contains("CAP_NET_ADMIN are there"));
    assert!(scene.findings("pmd").iter().any(|finding| finding.cause == "net_tap"));
}
