//! Files as an operator meets them: the examples in `configs/`, and mistakes with their file, line and column.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use control::args::{Cli, Command};
use control::config::ConfigFile;
use control::eal_args::{LcorePlan, Memory};
use control::log::LogSettings;
use control::machine::{Hugepages, Machine};
use control::rules::{AccessTable, NetworkTable, reply_ports};
use control::settings::{Environment, FilesSettings, Limits, Names, Settings, Timers, WorkerSettings};
use control::startup::{Launch, StartupError, prepare};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs").join(name)
}

fn machine() -> Machine {
    Machine {
        allowed_cpus: (0..8).collect(),
        hugepages: vec![Hugepages { page_kib: 2048, total: 512, available: 512 }],
        hugetlbfs_mounted: true,
        pid: 7,
    }
}

fn launch(words: &[&str]) -> Result<Launch, StartupError> {
    let cli = Cli::try_parse_from([&["bypassd", "run"], words].concat()).expect("the words are right");
    let Command::Run(args) = cli.command else { panic!("it runs") };
    prepare(args, &Environment { is_root: true, ..Environment::default() }, &machine())
}

fn launch_example(name: &str) -> Launch {
    launch(&["--config", example(name).to_str().expect("a plain path")]).expect("the example is right")
}

#[test]
fn the_tap_lab_is_right() {
    let Launch { settings, eal, .. } = launch_example("tap-lab.toml");
    assert_eq!(settings.eal.vdevs[0].driver(), "net_tap");
    assert_eq!((eal.memory, eal.idle_sleep_us), (Memory::Ordinary, 50));
    assert!(eal.args.contains(&"--no-pci".to_owned()));
}

#[test]
fn the_veth_lab_is_right() {
    let Launch { settings, eal, .. } = launch_example("veth-lab.toml");
    assert_eq!(settings.eal.vdevs[0].driver(), "net_af_packet");
    assert_eq!(settings.addresses.len(), 2);
    assert_eq!(eal.lcores, LcorePlan::Chosen { control: 0, workers: vec![1] });
}

#[test]
fn the_pci_appliance_is_right() {
    let Launch { settings, eal, .. } = launch_example("pci-appliance.toml");
    assert_eq!((settings.addresses.len(), settings.eal.allow.len()), (3, 2));
    assert_eq!(
        eal.args.join(" "),
        "bypassd -l 0,2-5 --main-lcore 0 -m 512 --in-memory --file-prefix bypassd -a 0000:03:00.0 -a 0000:03:00.1"
    );
}

#[test]
fn one_nic_for_everything_is_right() {
    let Launch { settings, eal, .. } = launch_example("one-nic.toml");
    assert_eq!(settings.kernel_interface.map(|name| name.to_string()).as_deref(), Some("boot0"));
    assert_eq!((settings.eal.allow.len(), eal.memory), (1, Memory::Huge));
}

#[test]
fn two_nics_of_which_one_serves_is_right() {
    let Launch { settings, eal, .. } = launch_example("two-nics.toml");
    assert_eq!((settings.kernel_interface, settings.eal.allow.len()), (None, 1));
    assert_eq!(eal.lcores, LcorePlan::Chosen { control: 0, workers: vec![2, 3] });
    assert_eq!(settings.timers.drain_seconds, 60);
}

#[test]
fn the_packages_configuration_is_right() {
    let Launch { settings, .. } = launch_example("debian/bypassd.toml");
    assert_eq!(settings.root, Path::new("/srv/tftp"));
    assert_eq!((settings.control.mode, settings.control.group.as_deref()), (0o660, Some("bypassd")));
}

/// None is forgotten, and each explains itself.
#[test]
fn every_example_is_taken_and_commented() {
    let entries = fs::read_dir(example("")).unwrap().map(|entry| entry.unwrap().path());
    let examples: Vec<_> = entries.filter(|path| path.extension().is_some_and(|suffix| suffix == "toml")).collect();
    assert!(examples.len() >= 5, "{examples:?}");
    for path in examples {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# ") && text.matches("\n#").count() >= 3, "{}", path.display());
        ConfigFile::parse(&path, text).unwrap();
    }
}

/// Uncommented, every default shown in the reference example is a known key with the value that it has anyway.
#[test]
fn the_pci_appliance_shows_the_true_defaults() {
    let path = example("pci-appliance.toml");
    let text = fs::read_to_string(&path).unwrap();
    let is_default = |line: &&str| line.starts_with('#') && line.as_bytes().get(1).is_some_and(u8::is_ascii_lowercase);
    let shown = text.lines().filter(is_default).count();
    let uncommented: Vec<&str> = text.lines().map(|line| if is_default(&line) { &line[1..] } else { line }).collect();
    let values = ConfigFile::parse(&path, uncommented.join("\n")).unwrap().values;
    assert_eq!(values.limits, Limits::default());
    assert_eq!(values.timers, Timers::default());
    assert_eq!(values.names, Names::default());
    assert_eq!(values.files, FilesSettings::default());
    assert_eq!(values.worker, WorkerSettings::default());
    assert_eq!((values.control.mode, values.root.as_deref()), (0o600, Some(Path::new("/tftp"))));
    assert!(values.eal.vdev.is_empty() && values.eal.extra.is_empty() && !values.eal.secondary_processes);
    assert!(!values.eal.allow_default_route);
    assert_eq!(values.access, AccessTable::default());
    assert_eq!(values.network, NetworkTable { reply_ports: Some((1_024, 65_535)), single_port: false });
    assert_eq!(reply_ports(&values.network), reply_ports(&NetworkTable::default()));
    assert_eq!(LogSettings { transfer_file: None, ..values.log }, LogSettings::default());
    // 9 limits, 5 timers, 2 each of names, access and network, 3 of files, 6 each of the worker and the log; root; 4 of EAL; mode and
    // group; metrics.
    assert_eq!(shown, 43);
}

fn message(text: &str, words: &[&str]) -> (String, u8) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("bypassd.toml");
    fs::write(&path, text).expect("written");
    let error =
        launch(&[&["--config", path.to_str().expect("a plain path")], words].concat()).expect_err("it is wrong");
    (error.to_string().replace(dir.path().to_str().expect("a plain path"), "DIR"), error.exit_status())
}

#[test]
fn a_mistake_is_shown_with_file_line_and_column() {
    let (message, status) =
        message("address = [\"192.0.2.1/24\"]\n[eal]\nvdev = [\"net_null0\"]\n[timers]\n  retransmit_min = 5\n", &[]);
    assert_eq!(
        message,
        "DIR/bypassd.toml:5:3: timers.retransmit_min: unknown key\n 5 |   retransmit_min = 5\n   |   ^\n \
         help: did you mean `retransmit_min_ms`?"
    );
    assert_eq!(status, 2);
}

#[test]
fn a_contradiction_is_shown_at_the_key_that_is_wrong() {
    let text = "address = [\"192.0.2.1/24\"]\n[eal]\nvdev = [\"net_null0\", \"net_null1\"]\n";
    let (in_file, status) = message(text, &[]);
    assert!(in_file.starts_with("DIR/bypassd.toml:1:11: address: 192.0.2.1/24 does not say"), "{in_file}");
    assert_eq!(status, 2);
    let (by_flag, _) = message(text, &["--address", "10.0.0.1/8"]);
    assert!(by_flag.starts_with("10.0.0.1/8 does not say"), "a flag has no line: {by_flag}");
}

#[test]
fn what_the_machine_lacks_is_no_usage_error() {
    let (message, status) =
        message("address = [\"192.0.2.1/24\"]\n[eal]\nvdev = [\"net_null0\"]\nlcores = \"0,9\"\n", &[]);
    assert!(message.contains("CPU 9") && message.contains("0,1,2,3,4,5,6,7"), "{message}");
    assert_eq!(status, 1);
}

#[test]
fn a_missing_file_is_named() {
    let error = launch(&["--config", "/nonexistent/bypassd.toml"]).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/bypassd.toml"), "{error}");
    assert_eq!(error.exit_status(), 2);
}

/// The merged settings depend on nothing but file, flags and environment.
#[test]
fn no_file_and_flags_alone_do() {
    let Launch { settings, .. } = launch(&["--vdev", "net_null0", "--address", "192.0.2.1/24"]).unwrap();
    let Settings { root, control, .. } = settings;
    assert_eq!(
        (root.as_path(), control.socket.as_path()),
        (Path::new("/tftp"), Path::new("/run/bypassd/control.sock"))
    );
}
