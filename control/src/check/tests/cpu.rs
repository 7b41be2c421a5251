//! CPUs and clocks, spoiled one by one.

use super::{Case, Scene, Status};

pub(super) const CASES: &[Case] = &[
    Case {
        check: "lcores-allowed",
        scene: Scene::appliance,
        provoke: |scene| scene.replace("0,2-3", "0,9"),
        status: Status::Failure,
        cause: "CPU 9 of `0,9` is not among those that this process may use (0,1,2,3,4,5,6,7)",
        mend: "bypassd run -l 0,1",
    },
    Case {
        check: "lcores-allowed",
        scene: Scene::lab,
        provoke: |scene| scene.remove("/proc/self/status"),
        status: Status::Failure,
        cause: "cannot find out which CPUs this process may use",
        mend: "bypassd run -l 0-1",
    },
    Case {
        check: "lcores-online",
        scene: Scene::appliance,
        provoke: |scene| scene.write("/sys/devices/system/cpu/online", "0-1,3-7\n"),
        status: Status::Failure,
        cause: "CPUs 2 are switched off",
        mend: "for cpu in 2; do echo 1 >",
    },
    Case {
        check: "lcores-online",
        scene: Scene::appliance,
        provoke: |scene| scene.replace("0,2-3", "0,2,9"),
        status: Status::Failure,
        cause: "CPUs 9 do not exist",
        mend: "bypassd run -l 0,1,2",
    },
    Case {
        check: "lcores-shared",
        scene: Scene::appliance,
        provoke: |scene| scene.replace("0,2-3", "0@0,1@0,2@2"),
        status: Status::Warning,
        cause: "lcores share a CPU, so a worker without work sleeps for 50 us",
        mend: "bypassd run -l 0,1,2",
    },
    Case {
        check: "lcores-shared",
        scene: Scene::lab,
        provoke: |scene| scene.write("/proc/self/status", "Cpus_allowed_list:\t5\n"),
        status: Status::Warning,
        cause: "lcores share a CPU",
        mend: "nproc --all",
    },
    Case {
        check: "isolated-cpus",
        scene: Scene::appliance,
        provoke: |scene| scene.write("/sys/devices/system/cpu/isolated", "3\n"),
        status: Status::Warning,
        cause: "worker CPUs 2 are shared with other programs",
        mend: "isolcpus=2,3 nohz_full=2,3 rcu_nocbs=2,3",
    },
    Case {
        check: "governor",
        scene: Scene::appliance,
        provoke: |scene| scene.write("/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave\n"),
        status: Status::Warning,
        cause: "worker CPUs 3 have the governor powersave",
        mend: "for cpu in 3; do echo performance >",
    },
    Case {
        check: "smt-siblings",
        scene: Scene::appliance,
        provoke: |scene| {
            for cpu in [2, 3] {
                scene.write(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"), "2-3\n");
            }
        },
        status: Status::Warning,
        cause: "workers on CPUs 2 and 3 share a core",
        mend: "bypassd run -l 0,1,2",
    },
    Case {
        check: "clock-source",
        scene: Scene::appliance,
        provoke: |scene| scene.write("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n"),
        status: Status::Warning,
        cause: "hpet: the kernel did not trust the TSC",
        mend: "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource",
    },
    Case {
        check: "clock-source",
        scene: Scene::appliance,
        provoke: |scene| {
            scene.write("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n");
            scene.write("/sys/devices/system/clocksource/clocksource0/available_clocksource", "hpet acpi_pm\n");
        },
        status: Status::Warning,
        cause: "hpet: the kernel found the TSC unfit",
        mend: "tsc=reliable",
    },
    Case {
        check: "invariant-tsc",
        scene: Scene::appliance,
        provoke: |scene| scene.write("/proc/cpuinfo", "flags : fpu tsc constant_tsc\n"),
        status: Status::Warning,
        cause: "this CPU does not promise nonstop_tsc",
        mend: "max_cstate=1",
    },
];

#[test]
fn workers_that_sleep_need_no_cpus_to_themselves() {
    let scene = Scene::lab();
    scene.write("/sys/devices/system/cpu/isolated", "\n");
    scene.write("/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave\n");
    for id in ["isolated-cpus", "governor"] {
        let found = &scene.findings(id)[0];
        assert!(found.status == Status::Ok && found.skipped, "{found:?}");
    }
}

#[test]
fn the_clock_of_a_virtual_machine_is_no_fault() {
    let scene = Scene::appliance();
    scene.write("/sys/devices/system/clocksource/clocksource0/current_clocksource", "kvm-clock\n");
    assert_eq!(scene.findings("clock-source")[0].status, Status::Ok);
}

#[test]
fn two_mistakes_are_both_told() {
    let mut scene = Scene::appliance();
    scene.replace("0,2-3", "0,9");
    scene.write("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "0\n");
    for id in ["lcores-allowed", "hugepages"] {
        assert_eq!(scene.findings(id)[0].status, Status::Failure, "{id}");
    }
}
