//! Each decision, from settings and machine facts that are made up.

use clap::Parser;

use super::*;
use crate::args::{Cli, Command};
use crate::config::ConfigFile;
use crate::machine::Hugepages;
use crate::settings::Environment;

fn settings(words: &str, text: &str) -> Settings {
    let words = ["bypassd", "run", "--address", "0=192.0.2.1/24"].into_iter().chain(words.split_whitespace());
    let Command::Run(args) = Cli::try_parse_from(words).unwrap().command else { panic!("it runs") };
    let file = ConfigFile::parse(std::path::Path::new("x.toml"), text.to_owned()).unwrap();
    Settings::resolve(args, Some(&file), &Environment::default()).unwrap()
}

fn machine(cpus: &[u16], hugepages_2m: u64) -> Machine {
    Machine {
        allowed_cpus: cpus.to_vec(),
        hugepages: vec![Hugepages { page_kib: 2048, total: hugepages_2m, available: hugepages_2m }],
        hugetlbfs_mounted: true,
        pid: 42,
    }
}

fn planned(words: &str, text: &str, machine: &Machine) -> EalPlan {
    plan(&settings(words, text), machine).unwrap()
}

/// The vector as one text, so that a flag and its value can be looked for together.
fn line(words: &str, machine: &Machine) -> String {
    planned(words, "", machine).args.join(" ")
}

const NULL: &str = "--vdev net_null0";

#[test]
fn the_whole_vector_with_hugepages() {
    let plan = planned("--vdev net_null0,copy=1 -l 0-2", "", &machine(&[0, 1, 2], 512));
    assert_eq!(
        plan.args.join(" "),
        "bypassd -l 0-2 --main-lcore 0 --in-memory --file-prefix bypassd-42 --vdev net_null0,copy=1 --no-pci"
    );
    assert_eq!(plan.lcores, LcorePlan::Chosen { control: 0, workers: vec![1, 2] });
    assert_eq!((plan.memory, plan.shares_cpu, plan.idle_sleep_us), (Memory::Huge, false, 0));
}

#[test]
fn the_whole_vector_without_hugepages() {
    let plan = planned(NULL, "", &machine(&[0, 1], 0));
    assert_eq!(
        plan.args.join(" "),
        "bypassd -l 0,1 --main-lcore 0 --no-huge -m 133 --no-shconf --file-prefix bypassd-42 --vdev net_null0 --no-pci"
    );
    assert_eq!(plan.memory, Memory::Ordinary);
    assert!(plan.notes.iter().any(|note| note.contains("no hugepages are free")), "{:?}", plan.notes);
}

#[test]
fn the_first_lcore_named_is_controls() {
    let plan = planned(&format!("{NULL} -l 3,1-2"), "", &machine(&[0, 1, 2, 3], 0));
    assert_eq!(plan.lcores, LcorePlan::Chosen { control: 3, workers: vec![1, 2] });
    assert!(plan.args.join(" ").contains("-l 3,1-2 --main-lcore 3"));
    let plan = planned(&format!("{NULL} -l 11@1,10@0"), "", &machine(&[0, 1], 0));
    assert_eq!(plan.lcores, LcorePlan::Chosen { control: 11, workers: vec![10] });
    assert!(plan.args.join(" ").contains("--lcores 11@1,10@0 --main-lcore 11"));
}

#[test]
fn without_lcores_the_first_two_allowed_cpus_are_taken() {
    let line_on = |cpus: &[u16]| line(NULL, &machine(cpus, 0));
    assert!(line_on(&[2, 5, 6]).contains("-l 2,5 --main-lcore 2"));
    assert!(line_on(&[2, 200]).contains("--lcores 0@2,1@200 --main-lcore 0"));
    assert_eq!(plan(&settings(NULL, ""), &machine(&[], 0)), Err(EalError::NoCpus));
}

#[test]
fn a_single_core_is_shared_and_the_worker_sleeps() {
    for (words, cpus) in
        [(NULL.to_owned(), &[7][..]), (format!("{NULL} -l 7"), &[6, 7, 8]), (format!("{NULL} -l 3@7"), &[7])]
    {
        let plan = planned(&words, "", &machine(cpus, 0));
        assert!(plan.args.join(" ").contains("--lcores 0@7,1@7 --main-lcore 0"), "{:?}", plan.args);
        assert_eq!(plan.lcores, LcorePlan::Chosen { control: 0, workers: vec![1] });
        assert!(plan.shares_cpu);
        assert_eq!(plan.idle_sleep_us, defaults::SHARED_CPU_IDLE_SLEEP_US);
        assert!(plan.notes.iter().any(|note| note.contains("sleeps for 50 us")));
    }
    let configured = planned(NULL, "[worker]\nidle_sleep_us = 7\n", &machine(&[7], 0));
    assert_eq!((configured.shares_cpu, configured.idle_sleep_us), (true, 7));
    let alone = planned(NULL, "[worker]\nidle_sleep_us = 7\n", &machine(&[6, 7], 0));
    assert_eq!((alone.shares_cpu, alone.idle_sleep_us), (false, 7));
}

#[test]
fn sharing_is_seen_in_longer_lists_too() {
    for (list, shares) in [
        ("0@0,1@1,2@1", true),
        ("(0-1)@(0,1)", false),
        ("(0-2)@(0,1)", true),
        ("0@0,1@0,2@(1-2)", true),
        ("0@0,1@(0,1)", false),
    ] {
        let plan = planned(&format!("{NULL} -l {list}"), "", &machine(&[0, 1, 2], 0));
        assert_eq!(plan.shares_cpu, shares, "{list}");
    }
}

#[test]
fn a_cpu_outside_of_the_mask_is_refused() {
    let error = plan(&settings(&format!("{NULL} -l 0-2"), ""), &machine(&[0, 1], 0)).unwrap_err();
    assert_eq!(error, EalError::CpuNotAllowed { cpu: 2, list: "0-2".to_owned(), allowed: "0,1".to_owned() });
    assert!(plan(&settings(&format!("{NULL} -l 10@0,11@2"), ""), &machine(&[0, 1], 0)).is_err());
}

#[test]
fn hugepages_are_used_when_there_are_enough() {
    let memory = |text: &str, pages| plan(&settings(NULL, text), &machine(&[0, 1], pages)).map(|plan| plan.memory);
    // 133 MiB are needed.
    assert_eq!(memory("", 67), Ok(Memory::Huge));
    assert_eq!(memory("", 66), Ok(Memory::Ordinary));
    assert_eq!(memory("[eal]\nhuge = false\n", 512), Ok(Memory::Ordinary));
    assert!(matches!(memory("[eal]\nhuge = true\n", 66), Err(EalError::NoHugepages { needed_mib: 133, .. })));
    assert_eq!(memory("[eal]\nmemory_mib = 1024\n", 511), Ok(Memory::Ordinary));
    let more = planned(NULL, "[eal]\nmemory_mib = 1024\n", &machine(&[0, 1], 512));
    assert!(more.args.join(" ").contains("-m 1024 --in-memory"));
}

#[test]
fn more_workers_and_larger_frames_need_more_memory() {
    let needed = |words: &str, text: &str| {
        let plan = planned(words, text, &machine(&[0, 1, 2, 3], 0));
        let at = plan.args.iter().position(|arg| arg == "-m").unwrap();
        plan.args[at + 1].parse::<u64>().unwrap()
    };
    let (two, four) = (needed(NULL, ""), needed(&format!("{NULL} -l 0-3"), ""));
    assert!(four > two);
    assert!(needed(NULL, "[worker]\nmtu = 9000\n") > 2 * (two - defaults::EAL_BASE_MIB) + defaults::EAL_BASE_MIB);
}

#[test]
fn hugepages_without_a_mount_do_when_they_are_anonymous() {
    let unmounted = Machine { hugetlbfs_mounted: false, ..machine(&[0, 1], 512) };
    assert_eq!(planned(NULL, "", &unmounted).memory, Memory::Huge);
    let shared = planned(NULL, "[eal]\nsecondary_processes = true\n", &unmounted);
    assert_eq!(shared.memory, Memory::Ordinary);
    assert!(shared.notes.iter().any(|note| note.contains("no hugetlbfs is mounted")));
}

#[test]
fn secondary_processes_are_a_choice() {
    let text = "[eal]\nsecondary_processes = true\n";
    for pages in [0, 512] {
        let line = planned(NULL, text, &machine(&[0, 1], pages)).args.join(" ");
        assert!(!line.contains("--in-memory") && !line.contains("--no-shconf"), "{line}");
    }
}

#[test]
fn what_the_operator_gave_is_never_added() {
    let machine = machine(&[0, 1], 512);
    for (raw, absent) in [
        ("-l 1", &["-l 0,1", "--main-lcore"][..]),
        ("-l1", &["-l 0,1", "--main-lcore"]),
        ("-c 3", &["-l ", "--main-lcore"]),
        ("--lcores=0@1", &["-l ", "--main-lcore"]),
        ("--main-lcore 1", &["--main-lcore 0"]),
        ("--file-prefix mine", &["bypassd-42"]),
        ("--file-prefix=mine", &["bypassd-42"]),
        ("--no-huge", &["--in-memory", "--no-shconf", "-m "]),
        ("--legacy-mem", &["--in-memory"]),
        ("--huge-unlink=never", &["--in-memory"]),
        ("--proc-type primary", &["--in-memory"]),
        ("-b 0000:00:01.0", &["--no-pci"]),
        ("-a 0000:00:01.0", &["--no-pci"]),
    ] {
        let line = line(&format!("{NULL} -- {raw}"), &machine);
        assert!(line.ends_with(raw), "raw arguments come last: {line}");
        let ours = line.strip_suffix(raw).unwrap();
        assert!(absent.iter().all(|flag| !ours.contains(flag)), "{raw}: {ours}");
    }
    for raw in ["--no-pci", "--in-memory"] {
        assert_eq!(line(&format!("{NULL} -- {raw}"), &machine).matches(raw).count(), 1);
    }
    // EAL refuses -l twice; a value that looks like no flag is none.
    assert!(line(&format!("{NULL} -- --log-level lib.l:8"), &machine).contains("-l 0,1"));
}

#[test]
fn memory_flags_take_the_memory_decision_over() {
    let plan = planned(&format!("{NULL} -- -m 64"), "", &machine(&[0, 1], 0));
    assert_eq!(plan.memory, Memory::Given);
    assert!(!plan.args.iter().any(|arg| arg == "--no-huge"));
    assert!(plan.notes.iter().any(|note| note == "memory: as given after `--`"));
}

#[test]
fn raw_lcores_leave_the_plan_open() {
    let plan = planned(&format!("{NULL} -- -l 1"), "", &machine(&[0, 1], 0));
    assert_eq!((plan.lcores, plan.shares_cpu), (LcorePlan::Given, false));
}

#[test]
fn pci_is_probed_only_for_what_was_allowed() {
    let pci = line("-a 0000:03:00.0 --vdev net_null0 --address 1=10.0.0.1/8", &machine(&[0, 1], 512));
    assert!(pci.contains("-a 0000:03:00.0") && !pci.contains("--no-pci"), "{pci}");
    assert!(line("-- --vdev net_null0", &machine(&[0, 1], 512)).contains("--no-pci"));
    let ordinary = planned("-a 0000:03:00.0", "", &machine(&[0, 1], 0));
    assert!(ordinary.notes.iter().any(|note| note.contains("IOMMU")));
}

#[test]
fn shared_memory_devices_get_single_file_segments() {
    let segments = |words: &str, pages| line(words, &machine(&[0, 1], pages)).matches("--single-file-segments").count();
    assert_eq!(segments("--vdev net_virtio_user0,path=/s", 512), 1);
    assert_eq!(segments("--vdev net_memif0,role=client", 512), 1);
    assert_eq!(segments("--vdev net_memif0 -- --single-file-segments", 512), 1);
    assert_eq!(segments("--vdev net_virtio_user0,path=/s", 0), 0);
    assert_eq!(segments("--vdev net_vhost0,iface=/s", 512), 0);
    let vhost = planned("--vdev net_vhost0,iface=/s", "", &machine(&[0, 1], 512));
    assert!(vhost.notes.iter().any(|note| note.contains("share=on")));
}
