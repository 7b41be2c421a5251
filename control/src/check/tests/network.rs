//! The kernel's addresses and sockets in our way.

use super::{Case, Scene, Status};

/// The kernel has 198.51.100.1 on an interface.
fn share_address(scene: &Scene, interface: &str) {
    scene.write("/proc/net/fib_trie", "Main:\n     |-- 198.51.100.1\n        /32 host LOCAL\n");
    let route = format!("head\n{interface}\t006433C6\t00000000\t0001\t0\t0\t0\t00FFFFFF\n");
    scene.write("/proc/net/route", &route);
}

/// A program waits on UDP port 69 of all addresses.
fn add_tftp_server(scene: &Scene) {
    scene.write(
        "/proc/net/udp",
        "  sl  local_address\n  10: 00000000:0045 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 4711 2 0 0\n",
    );
    scene.write("/proc/99/comm", "in.tftpd\n");
    scene.link("/proc/99/fd/3", "socket:[4711]");
}

pub(super) const CASES: &[Case] = &[
    Case {
        check: "address-conflict",
        scene: Scene::lab,
        provoke: |scene| share_address(scene, "veth0"),
        status: Status::Failure,
        cause: "the kernel has it too, on the same link (veth0)",
        mend: "ip address del 198.51.100.1 dev veth0",
    },
    Case {
        check: "address-conflict",
        scene: Scene::appliance,
        provoke: |scene| share_address(scene, "eth0"),
        status: Status::Warning,
        cause: "the kernel has it too, on eth0",
        mend: "ip address del 198.51.100.1 dev eth0",
    },
    Case {
        check: "address-conflict",
        scene: Scene::appliance,
        provoke: |scene| scene.write("/proc/net/if_inet6", "20010db8000000000000000000000001 04 40 00 82 eth0\n"),
        status: Status::Warning,
        cause: "the kernel has it too, on eth0",
        mend: "ip address del 2001:db8::1 dev eth0",
    },
    Case {
        check: "tftp-port",
        scene: Scene::lab,
        provoke: |scene| {
            share_address(scene, "veth0");
            add_tftp_server(scene);
        },
        status: Status::Warning,
        cause: "in.tftpd (99) serves it too, on 198.51.100.1",
        mend: "systemctl disable --now tftpd-hpa",
    },
    Case {
        check: "tftp-port",
        scene: Scene::appliance,
        provoke: |scene| {
            scene.flags = "--kernel-interface boot0".to_owned();
            add_tftp_server(scene);
            scene.remove("/proc/99");
        },
        status: Status::Warning,
        cause: "a program serves it too, but nothing reaches it through boot0",
        mend: "fuser -k -n udp 69",
    },
    Case {
        check: "network-overlap",
        scene: Scene::lab,
        provoke: |scene| scene.replace("10.0.0.1/8", "203.0.113.129/25"),
        status: Status::Warning,
        cause: "203.0.113.129/25 of port 2 are in one network",
        mend: "bypassd run --address 1=203.0.113.1/24",
    },
];

#[test]
fn the_kernel_interface_may_carry_our_address() {
    let mut scene = Scene::appliance();
    scene.flags = "--kernel-interface boot0".to_owned();
    share_address(&scene, "boot0");
    assert_eq!(scene.findings("address-conflict")[0].status, Status::Ok);
}

#[test]
fn a_server_on_other_addresses_is_left_alone() {
    let scene = Scene::lab();
    add_tftp_server(&scene);
    let found = &scene.findings("tftp-port")[0];
    assert!(found.status == Status::Ok && found.cause.contains("on addresses that are not ours"), "{found:?}");
}
