//! Files of runs and the content, spoiled one by one.

use super::{Case, Scene, Status};

pub(super) const CASES: &[Case] = &[
    Case {
        check: "runtime-folder",
        scene: Scene::appliance,
        provoke: |scene| scene.mode("/run/bypassd", 0o755),
        status: Status::Failure,
        cause: "this user may make nothing in /run/bypassd, and DPDK keeps its files there",
        mend: "mkdir -p /run/bypassd/dpdk && chown 4242 /run/bypassd/dpdk",
    },
    Case {
        check: "runtime-folder",
        scene: Scene::lab,
        provoke: |scene| scene.mode("/run/bypassd", 0o755),
        status: Status::Warning,
        cause: "DPDK's telemetry will have no socket",
        mend: "mkdir -p /run/bypassd/dpdk",
    },
    Case {
        check: "file-prefix",
        scene: Scene::appliance,
        provoke: |scene| {
            scene.write("/run/bypassd/dpdk/boot/config", "");
            scene.lock("/run/bypassd/dpdk/boot/config", 77);
        },
        status: Status::Failure,
        cause: "testpmd (77) runs with the file prefix boot",
        mend: "kill 77",
    },
    Case {
        check: "stale-runs",
        scene: Scene::appliance,
        provoke: |scene| {
            scene.write("/run/bypassd/dpdk/bypassd-78/config", "");
            scene.write("/run/bypassd/dpdk/bypassd-79/config", "");
            scene.write("/proc/79/comm", "bypassd");
            scene.folder("/run/bypassd/dpdk", 0o777);
        },
        status: Status::Warning,
        cause: "/run/bypassd/dpdk/bypassd-78 are left of runs that were killed",
        mend: "rm -r /run/bypassd/dpdk/bypassd-78",
    },
    Case {
        check: "stale-hugepages",
        scene: Scene::appliance,
        provoke: |scene| {
            for file in ["bypassd-78map_0", "bypassd-78map_1", "rtemap_0", "boot-map"] {
                scene.write(&format!("/dev/hugepages/{file}"), "");
            }
        },
        status: Status::Warning,
        cause: "2 files of killed runs keep hugepages: /dev/hugepages/bypassd-78map_*",
        mend: "rm /dev/hugepages/bypassd-78map_*",
    },
    Case {
        check: "control-socket",
        scene: Scene::appliance,
        provoke: |scene| {
            scene.write("/run/bypassd/control.sock.lock", "");
            scene.lock("/run/bypassd/control.sock.lock", 77);
        },
        status: Status::Failure,
        cause: "another bypassd answers at /run/bypassd/control.sock",
        mend: "bypassctl --control /run/bypassd/control.sock stop",
    },
    Case {
        check: "control-socket",
        scene: Scene::appliance,
        provoke: |scene| scene.write("/run/bypassd/control.sock", "notes"),
        status: Status::Failure,
        cause: "/run/bypassd/control.sock is there and is no socket",
        mend: "mv /run/bypassd/control.sock /run/bypassd/control.sock.old",
    },
    Case {
        check: "control-folder",
        scene: Scene::appliance,
        provoke: |scene| scene.replace("/run/bypassd/control.sock", "/run/deep/down/control.sock"),
        status: Status::Failure,
        cause: "/run/deep/down is not there, and the control socket goes there",
        mend: "mkdir -p /run/deep/down && chown 4242 /run/deep/down",
    },
    Case {
        check: "control-group",
        scene: Scene::appliance,
        provoke: |scene| scene.replace("group = \"bypassd\"", "group = \"boot\""),
        status: Status::Failure,
        cause: "there is no group `boot` in /etc/group",
        mend: "groupadd --system boot",
    },
    Case {
        check: "content-root",
        scene: Scene::appliance,
        provoke: |scene| scene.remove("/srv"),
        status: Status::Failure,
        cause: "the root /srv/boot does not exist",
        mend: "mkdir -p /srv/boot",
    },
    Case {
        check: "content-root",
        scene: Scene::appliance,
        provoke: |scene| {
            scene.remove("/srv/boot");
            scene.link("/srv/boot", "current");
        },
        status: Status::Failure,
        cause: "the root /srv/boot is a symlink to current, which does not exist",
        mend: "mkdir -p /srv/current",
    },
    Case {
        check: "content-root",
        scene: Scene::appliance,
        provoke: |scene| {
            scene.remove("/srv/boot");
            scene.folder("/srv/boot", 0o755);
        },
        status: Status::Warning,
        cause: "nothing in /srv/boot can be served",
        mend: "cp -r",
    },
    Case {
        check: "content-size",
        scene: Scene::lab,
        // EAL has 133 MiB of it.
        provoke: |scene| {
            scene.write("/proc/meminfo", "MemAvailable: 137216 kB\n");
            scene.write("/srv/boot/big", &"x".repeat(2 << 20));
        },
        status: Status::Warning,
        cause: "3 files, 3 MiB in memory, the largest of 2.00 MiB, which the cache budget of 819.20 KiB (1.00 MiB of available memory) \
                does not hold: it is refused",
        mend: "du -ah /srv/boot",
    },
    Case {
        check: "content-unreadable",
        scene: Scene::appliance,
        provoke: |scene| {
            scene.mode("/srv/boot/images", 0o750);
            scene.mode("/srv/boot/pxelinux.0", 0o640);
        },
        status: Status::Warning,
        cause: "2 are not served, because others may not read them: pxelinux.0, images",
        mend: "chmod -R o+rX /srv/boot",
    },
    Case {
        check: "content-writable",
        scene: Scene::appliance,
        provoke: |scene| scene.mode("/srv/boot/images/kernel", 0o666),
        status: Status::Warning,
        cause: "anybody on this machine may change 1 of what machines boot from: images/kernel",
        mend: "chmod -R o-w /srv/boot",
    },
    Case {
        check: "content-links",
        scene: Scene::appliance,
        provoke: |scene| {
            scene.link("/srv/boot/shadow", "../../etc/group");
            scene.link("/srv/boot/gone", "nowhere");
        },
        status: Status::Warning,
        cause: "2 lead nowhere, in circles or out of the root, and are not served: shadow, gone",
        mend: "find /srv/boot -type l",
    },
    Case {
        check: "content-names",
        scene: Scene::appliance,
        provoke: |scene| {
            scene.replace("[control]", "[names]\nfold_case = true\n[control]");
            scene.write("/srv/boot/PXELINUX.0", "");
        },
        status: Status::Warning,
        cause: "1 differ from others by letter case alone",
        mend: "ls -lbR /srv/boot",
    },
];

#[test]
fn a_prefix_in_use_does_not_matter_to_a_run_that_shares_nothing() {
    let mut scene = Scene::appliance();
    scene.replace("secondary_processes = true\n", "");
    scene.write("/run/bypassd/dpdk/boot/config", "");
    scene.lock("/run/bypassd/dpdk/boot/config", 77);
    assert_eq!(scene.findings("file-prefix")[0].status, Status::Ok);
}

#[test]
fn a_run_of_another_container_is_told_by_its_lock() {
    let scene = Scene::appliance();
    scene.write("/run/bypassd/dpdk/bypassd-78/config", "");
    assert_eq!(scene.findings("stale-runs")[0].status, Status::Warning);
    scene.lock("/run/bypassd/dpdk/bypassd-78/config", 0);
    assert_eq!(scene.findings("stale-runs")[0].status, Status::Ok);
}

#[test]
fn a_socket_that_a_killed_run_left_is_replaced() {
    let scene = Scene::appliance();
    drop(std::os::unix::net::UnixListener::bind(scene.host.path("/run/bypassd/control.sock")).unwrap());
    let found = &scene.findings("control-socket")[0];
    assert!(found.status == Status::Ok && found.cause.contains("left of a run that was killed"), "{found:?}");
}
