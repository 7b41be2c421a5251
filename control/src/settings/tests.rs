//! Merging, and each thing that does not fit together.

use super::*;
use crate::args::{Cli, Command};
use clap::Parser;

fn args(words: &str) -> RunArgs {
    let words = ["bypassd", "run"].into_iter().chain(words.split_whitespace());
    let Command::Run(args) = Cli::try_parse_from(words).unwrap().command else { panic!("it runs") };
    args
}

fn file(text: &str) -> ConfigFile {
    ConfigFile::parse(Path::new("x.toml"), text.to_owned()).unwrap()
}

fn resolve(words: &str, text: &str) -> Result<Settings, SettingsError> {
    Settings::resolve(args(words), Some(&file(text)), &Environment { is_root: true, ..Environment::default() })
}

const ONE: &str = "--vdev net_null0 --address 192.0.2.1/24";

#[test]
fn without_a_file_everything_has_its_default() {
    let environment = Environment { is_root: true, ..Environment::default() };
    let settings = Settings::resolve(args(ONE), None, &environment).unwrap();
    assert_eq!(settings.root, Path::new("/tftp"));
    assert_eq!(settings.control.socket, Path::new("/run/bypassd/control.sock"));
    assert_eq!((settings.control.mode, &settings.control.group), (0o600, &None));
    assert_eq!(settings.addresses, [(PortIndex(0), "192.0.2.1/24".parse().unwrap())]);
    assert_eq!((settings.limits, settings.timers), (Limits::default(), Timers::default()));
    assert_eq!((settings.worker, settings.names), (WorkerSettings::default(), Names::default()));
    assert_eq!((settings.exit_when_idle, settings.eal.lcores), (None, None));
    assert_eq!(settings.files, FilesSettings { budget: Budget::Percent(80), preload: Vec::new(), watch_seconds: 0 });
}

#[test]
fn flags_override_the_file() {
    let text = "root = \"/a\"\naddress = [\"10.0.0.1/8\"]\nexit_when_idle_seconds = 9\n\
                [eal]\nallow = [\"03:00.0\"]\nlcores = \"0-3\"\nextra = [\"--log-level\", \"8\"]\n[control]\nsocket = \"/a/s\"\n";
    let from_file = resolve("", text).unwrap();
    assert_eq!((from_file.root.as_path(), from_file.eal.allow.len()), (Path::new("/a"), 1));
    assert_eq!(from_file.exit_when_idle, Some(Duration::from_secs(9)));
    let words = format!("{ONE} --root /b -l 0-1 --control /b/s --exit-when-idle 3 -- -m 64");
    let merged = resolve(&words, text).unwrap();
    assert_eq!(merged.root, Path::new("/b"));
    assert_eq!(merged.control.socket, Path::new("/b/s"));
    assert!(merged.eal.allow.is_empty(), "a device by flag replaces all devices of the file");
    assert_eq!(merged.addresses.len(), 1);
    assert_eq!(merged.eal.lcores.unwrap().as_str(), "0-1");
    assert_eq!(merged.exit_when_idle, Some(Duration::from_secs(3)));
    assert_eq!(merged.eal.extra, ["--log-level", "8", "-m", "64"], "raw arguments add up, the command line's last");
}

#[test]
fn the_budget_of_the_files_is_the_flag_s_or_the_file_s() {
    let text = "[files]\nbudget = 4096\npreload = [\"pxelinux*\", \"*.efi\"]\n";
    let from_file = resolve(ONE, text).unwrap().files;
    assert_eq!((from_file.budget, from_file.preload.len()), (Budget::Bytes(4096), 2));
    let merged = resolve(&format!("{ONE} --cache-budget 30%"), text).unwrap().files;
    assert_eq!((merged.budget, merged.preload.len()), (Budget::Percent(30), 2), "the patterns stay");
}

#[test]
fn addresses_find_their_ports() {
    let two = "--vdev net_null0 --vdev net_null1";
    let settings = resolve(&format!("{two} --address 1=10.0.0.1/8 --address 0=192.0.2.1/24"), "").unwrap();
    assert_eq!(settings.addresses[0].0, PortIndex(1));
    for (words, key, part) in [
        (format!("{two} --address 10.0.0.1/8"), "address", "0=10.0.0.1/8"),
        (format!("{two} --address 0=10.0.0.1/8"), "address", "port 1 has no address"),
        (format!("{two} --address 2=10.0.0.1/8"), "address", "0 to 1"),
        (format!("{two} --address 0=10.0.0.1/8 --address 1=10.0.0.1/16"), "address", "twice"),
        ("--vdev net_null0".to_owned(), "address", "no address"),
        ("--address 10.0.0.1/8".to_owned(), "eal", "no device"),
        ("--vdev net_null0 --vdev net_null0,copy=1 --address 10.0.0.1/8".to_owned(), "eal", "net_null0 is given twice"),
        (
            "-a 3:00.0 --address 10.0.0.1/8".replace("3:", "03:") + " -a 0000:03:00.0",
            "eal",
            "0000:03:00.0 is given twice",
        ),
        (
            format!("{two} --address 0=10.0.0.1/8 --address 1=192.0.2.1/24 --kernel-interface k0"),
            "kernel_interface",
            "one port",
        ),
        (format!("{ONE} -- a -- b"), "eal.extra", "second `--`"),
    ] {
        let error = resolve(&words, "").unwrap_err();
        assert_eq!(error.key, key, "{words}");
        assert!(error.to_string().contains(part), "{words}: {error}");
    }
}

#[test]
fn devices_in_raw_arguments_leave_the_number_of_ports_open() {
    let settings = resolve("--address 10.0.0.1/8 -- --vdev net_null0", "").unwrap();
    assert_eq!(settings.addresses[0].0, PortIndex(0));
    assert!(resolve("--address 7=10.0.0.1/8 -- --vdev=net_null0", "").is_ok());
}

#[test]
fn values_that_contradict_each_other_are_placed_in_the_file() {
    for (text, key, line) in [
        ("[limits]\nmax_sessions = 10\nmax_unproven = 11\n", "limits.max_unproven", Some(3)),
        ("[limits]\nmax_sessions = 10\n", "limits.max_unproven", None),
        ("[limits]\nidle_seconds = 10\ntotal_seconds = 9\n", "limits.idle_seconds", Some(2)),
        ("[timers]\nretransmit_min_ms = 2000\n", "timers.retransmit_min_ms", Some(2)),
        ("\n[timers]\nretransmit_initial_ms = 9000\n", "timers.retransmit_initial_ms", Some(3)),
        ("[worker]\nframes = 1023\n", "worker.frames", Some(2)),
        ("[eal]\nextra = [\"a\\u0000b\"]\n", "eal.extra", Some(2)),
        ("[eal]\nfile_prefix = \"../x\"\n", "eal.file_prefix", Some(2)),
    ] {
        let error = resolve(ONE, text).unwrap_err();
        assert_eq!(error.key, key, "{error}");
        assert_eq!(error.place.as_ref().map(|place| place.line), line, "{error}");
    }
    let error = resolve(ONE, "[timers]\nretransmit_min_ms = 2000\n").unwrap_err().to_string();
    assert!(error.starts_with("x.toml:2:21: timers.retransmit_min_ms: 2000 is more than"), "{error}");
}

#[test]
fn a_socket_path_must_fit_into_a_socket_address() {
    let fits = format!("/{}", "x".repeat(106));
    assert!(resolve(&format!("{ONE} --control {fits}"), "").is_ok());
    let error = resolve(&format!("{ONE} --control {fits}x"), "").unwrap_err();
    assert_eq!(error.kind, SettingsErrorKind::SocketPath { len: 108, max: 107 });
}

#[test]
fn the_socket_goes_where_the_environment_says() {
    let socket = |systemd: Option<&str>, session: Option<&str>, is_root| {
        let environment = Environment {
            runtime_directory: systemd.map(Into::into),
            xdg_runtime_dir: session.map(Into::into),
            is_root,
        };
        environment.control_socket().display().to_string()
    };
    assert_eq!(socket(Some("/run/x:/run/y"), Some("/run/user/1"), false), "/run/x/control.sock");
    assert_eq!(socket(None, Some("/run/user/1"), false), "/run/user/1/bypassd/control.sock");
    assert_eq!(socket(None, Some("/run/user/0"), true), "/run/bypassd/control.sock");
    assert_eq!(socket(None, None, false), "/run/bypassd/control.sock");
    let user = Environment { xdg_runtime_dir: Some("/run/user/1".into()), ..Environment::default() };
    assert_eq!(user.client_sockets().len(), 2, "a user's own daemon, then the system's");
}
