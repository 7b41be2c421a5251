//! What comes with the service: the unit, its user and folder, checked against the program and, where they are there, by systemd's own tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use control::defaults;
use control::supervisor::Policy;

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

fn text(name: &str) -> String {
    fs::read_to_string(configs().join(name)).expect(name)
}

/// The assignments of a unit's section, in order.
fn section(unit: &str, title: &str) -> Vec<(String, String)> {
    let lines = unit.lines().skip_while(|line| *line != format!("[{title}]")).skip(1);
    let assignments = lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.starts_with('#'));
    assignments.filter_map(|line| line.split_once('=')).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn value(unit: &[(String, String)], key: &str) -> String {
    let [(_, value)] = &unit.iter().filter(|(name, _)| name == key).collect::<Vec<_>>()[..] else {
        panic!("{key} is not there once")
    };
    value.clone()
}

/// A tool's output; `None`, and a word about it, where the tool is not there.
fn tool(command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("skipped: {command:?}: {error}");
            None
        }
    }
}

fn assert_succeeded(output: &Output) {
    let shown = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy);
    assert!(output.status.success(), "{}{}", shown[0], shown[1]);
}

#[test]
fn the_unit_says_of_every_setting_what_breaks_without_it() {
    let unit = text("systemd/bypassd.service");
    let table: Vec<&str> = unit.lines().take_while(|line| *line != "[Unit]").collect();
    for (key, _) in section(&unit, "Service") {
        let row = table.iter().find(|line| line.split_whitespace().any(|word| word.starts_with(&format!("{key}="))));
        assert!(row.is_some_and(|row| row.len() > 40), "{key} has no row");
    }
    for row in table.iter().filter(|line| line.starts_with("# ") && line.contains("= ")) {
        for key in row.split_whitespace().filter_map(|word| word.strip_suffix('=')) {
            assert!(unit.lines().any(|line| line.starts_with(&format!("{key}="))), "{key} is explained but not set");
        }
    }
}

#[test]
fn the_unit_fits_the_program() {
    let unit = text("systemd/bypassd.service");
    let service = section(&unit, "Service");
    assert_eq!(value(&service, "Type"), "notify");
    assert!(value(&service, "ExecReload").contains("-HUP"));
    let seconds: u64 = value(&service, "TimeoutStopSec").parse().unwrap();
    assert!(seconds > u64::from(defaults::DRAIN_SECONDS) + 2 * Policy::STOP.as_secs(), "a drain would be cut off");
    let user = value(&service, "User");
    assert_eq!(value(&service, "Group"), user);
    assert_eq!(value(&service, "CapabilityBoundingSet"), "");
    assert!(text("systemd/sysusers.conf").contains(&format!("\nu {user} ")));
    assert!(text("systemd/vfio.rules").contains(&format!("GROUP=\"{user}\"")));
    let runtime = format!("/run/{}", value(&service, "RuntimeDirectory"));
    assert_eq!(runtime, defaults::CONTROL_DIRECTORY, "where bypassctl looks");
    // The packaged configuration, the unit and the folder agree on the content root.
    let root = value(&section(&unit, "Unit"), "RequiresMountsFor");
    assert!(text("debian/bypassd.toml").contains(&format!("\nroot = \"{root}\"\n")));
    assert!(text("systemd/tmpfiles.conf").contains(&format!("\nd {root} 0755 root root")));
}

/// A copy that names a program which is there, in a folder of its own; with the drop-in or without.
fn unit_to_check(lab: bool) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    let unit = text("systemd/bypassd.service").replace("/usr/bin/bypassd", "/bin/true");
    // Manual pages are looked for on this machine.
    let unit: Vec<&str> = unit.lines().filter(|line| !line.starts_with("Documentation=")).collect();
    let path = dir.path().join("bypassd.service");
    fs::write(&path, unit.join("\n")).expect("written");
    if lab {
        let drop_ins = dir.path().join("bypassd.service.d");
        fs::create_dir(&drop_ins).expect("written");
        fs::copy(configs().join("systemd/lab.conf"), drop_ins.join("lab.conf")).expect("written");
    }
    (dir, path)
}

#[test]
fn systemd_takes_the_unit_and_finds_it_hardened() {
    for lab in [false, true] {
        let (_dir, path) = unit_to_check(lab);
        let Some(verified) = tool(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path)) else {
            return;
        };
        assert_succeeded(&verified);
        assert_eq!(String::from_utf8_lossy(&verified.stderr), "", "a warning");
        let mut security = Command::new("systemd-analyze");
        let security = security.args(["security", "--no-pager", "--offline=yes", "--threshold=30"]).arg(&path);
        assert_succeeded(&tool(security).expect("it was there just now"));
    }
}

#[test]
fn systemd_makes_the_user_and_the_content_root() {
    let root = tempfile::tempdir().unwrap();
    for (folder, file) in [("sysusers", "sysusers.conf"), ("tmpfiles", "tmpfiles.conf")] {
        let place = root.path().join(format!("usr/lib/{folder}.d"));
        fs::create_dir_all(&place).unwrap();
        fs::copy(configs().join("systemd").join(file), place.join("bypassd.conf")).unwrap();
    }
    fs::create_dir(root.path().join("etc")).unwrap();
    let Some(users) = tool(Command::new("systemd-sysusers").arg("--root").arg(root.path())) else { return };
    assert_succeeded(&users);
    let passwd = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    assert!(passwd.starts_with("bypassd:") && passwd.contains("/nologin"), "{passwd}");
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| std::os::unix::fs::MetadataExt::uid(&process) == 0);
    if !is_root {
        eprintln!("skipped: systemd-tmpfiles gives the folder to root, which takes root");
        return;
    }
    let mut tmpfiles = Command::new("systemd-tmpfiles");
    let Some(made) = tool(tmpfiles.arg("--create").arg("--root").arg(root.path())) else { return };
    assert_succeeded(&made);
    assert!(root.path().join("srv/tftp").is_dir());
}
