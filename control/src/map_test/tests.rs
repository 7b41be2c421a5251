//! The command from its words to its exit status.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use clap::Parser;

use super::*;
use crate::args::{Cli, Command};

const CONFIG: &str = r#"
    [access]
    default_action = "deny"
    [[client]]
    prefix = "10.0.0.0/8"
    [[client]]
    prefix = "10.1.0.0/16"
    root = ["lab", "by/{mac}", "/"]
    max_blksize = 1024
    options = ["tsize", "blksize"]
    [[client]]
    mac = "52:54:00"
    prefix = "10.3.0.0/16"
    allow = false
    [[remap]]
    name = "old/*"
    to = 'boot/\1'
    [[remap]]
    name = "lab/**"
    then = "refuse"
    [limits]
    max_window_blocks = 16
"#;

fn lab() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    for (name, content, mode) in
        [("boot/x64", "common", 0o644), ("lab/boot/x64", "lab's own", 0o644), ("private", "x", 0o600)]
    {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    for place in ["", "boot", "lab", "lab/boot"] {
        fs::set_permissions(root.join(place), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(folder.path().join("c.toml"), CONFIG).unwrap();
    folder
}

/// Standard output, standard error, exit status.
fn said(folder: &Path, words: &[&str]) -> (String, String, u8) {
    let (root, config) = (folder.join("root"), folder.join("c.toml"));
    let flags = ["bypassd", "map-test", "--root", root.to_str().unwrap(), "--config", config.to_str().unwrap()];
    let Command::MapTest(args) = Cli::parse_from(flags.iter().chain(words)).command else { panic!("map-test") };
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let status = run(&args, &mut out, &mut errors).unwrap();
    (String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap(), status)
}

#[test]
fn a_file_that_is_served_is_explained_step_by_step() {
    let folder = lab();
    let (out, errors, status) = said(folder.path(), &["\\old//x64", "10.1.2.3"]);
    assert_eq!((errors.as_str(), status), ("", 0));
    assert_eq!(
        out,
        "client   10.1.2.3: [[client]] number 2, by 10.1.0.0/16: allowed\n\
         \x20        (rules for MAC addresses were left out: give one with --mac)\n\
         name     \\old//x64\n\
         \x20        old/x64 (as rules see it)\n\
         remap 1  boot/x64\n\
         remap 2  does not apply\n\
         look up  lab/boot/x64: a file\n\
         served   lab/boot/x64, 9 bytes\n\
         options  blksize up to 1024, tsize\n"
    );
    let (out, _, status) = said(folder.path(), &["old/x64", "10.2.2.3"]);
    assert!(out.contains("number 1, by 10.0.0.0/8") && out.contains("served   boot/x64, 6 bytes"), "{out}");
    assert!(out.contains("blksize up to 1468") && out.contains("windowsize up to 16 blocks"), "{out}");
    assert_eq!(status, 0);
}

#[test]
fn what_is_not_served_has_its_reason_and_status_1() {
    let folder = lab();
    for (words, part) in [
        (&["old/x64", "192.0.2.1"][..], "no [[client]] names it"),
        (&["old/x64", "192.0.2.1"], "answer   none"),
        (&["old/x64", "10.3.0.1"], "number 3, by 10.3.0.0/16: denied"),
        (&["old/x64", "10.1.2.3", "--mac", "52:54:00:12:34:56"], "by 52:54:00: denied"),
        (&["lab/boot/x64", "10.0.0.1"], "ERROR 2: [[remap]] number 2 refuses it"),
        (&["private", "10.0.0.1"], "ERROR 2: not readable by others"),
        (&["absent", "10.1.0.1"], "ERROR 1: no such file"),
        (&["absent", "10.1.0.1"], "root 2   is named after what is not known"),
        (&["absent", "10.1.0.1", "--mac", "02:00:00:00:00:01"], "look up  by/02-00-00-00-00-01/absent: nothing"),
        (&["../x", "10.0.0.1"], "ERROR 2: the name climbs out of the root"),
        (&["boot", "10.0.0.1"], "ERROR 2: a directory"),
        (&["\x01", "10.0.0.1"], "name     \\x01"),
    ] {
        let (out, errors, status) = said(folder.path(), words);
        assert!(out.contains(part), "{words:?}\n{out}{errors}");
        assert_eq!(status, 1, "{words:?}\n{out}");
    }
}

#[test]
fn programs_get_json() {
    let folder = lab();
    let (out, _, status) = said(folder.path(), &["old/x64", "10.1.2.3", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(status, 0);
    assert_eq!(json["served"], true);
    assert_eq!(json["file"], "lab/boot/x64");
    assert_eq!(json["rule"], 2);
    assert_eq!(json["steps"][1]["step"], "applied");
    assert_eq!(json["grant"]["max_blksize"], 1_024);
    let (out, _, status) = said(folder.path(), &["x", "192.0.2.1", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &json["answer"]["kind"], &json["allowed"]), (1, &"nothing".into(), &false.into()));
}

#[test]
fn wrong_usage_is_status_2() {
    let folder = lab();
    fs::write(folder.path().join("c.toml"), "[[remap]]\nname = \"a\"\n").unwrap();
    let (out, errors, status) = said(folder.path(), &["x", "10.0.0.1"]);
    assert_eq!((out.as_str(), status), ("", 2));
    assert!(errors.contains("c.toml:2:") && errors.contains("does nothing"), "{errors}");
    fs::write(folder.path().join("c.toml"), "").unwrap();
    let (_, errors, status) = said(folder.path(), &["x", "10.0.0.1", "--mac", "52:54:00"]);
    assert!(status == 2 && errors.contains("write all six bytes"), "{errors}");
    fs::remove_dir_all(folder.path().join("root")).unwrap();
    let (_, errors, status) = said(folder.path(), &["x", "10.0.0.1"]);
    assert!(status == 2 && errors.contains("does not exist"), "{errors}");
}
