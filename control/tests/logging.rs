//! The log of a process. There is one per process, so each case runs in a child: this test binary, told by its environment what to do.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::process::Command;

use control::log::{LogFormat, LogLevel, LogSettings, Logging};
use control::notice::{Lines, say, say_error, warn};

const CASE: &str = "BYPASSD_TEST_LOG";

/// What a child says on standard error.
fn said(case: &str) -> String {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "the_child", "--nocapture", "--test-threads=1"])
        .env(CASE, case)
        .output()
        .unwrap();
    assert!(child.status.success(), "{child:?}");
    String::from_utf8(child.stderr).unwrap()
}

#[test]
#[ignore = "run by the other tests in a process of its own"]
fn the_child() {
    use std::io::Write;

    let Ok(case) = std::env::var(CASE) else { return };
    match case.as_str() {
        "none" => say("before there is a log"),
        "level" => {
            let log = Logging::start(&LogSettings { level: LogLevel::Warn, ..LogSettings::default() });
            say("one");
            warn("two");
            log.set_level(LogLevel::Info);
            say("three");
            log.set_level(LogLevel::Error);
            warn("four");
            say_error("five");
        }
        "json" => {
            let _log = Logging::start(&LogSettings { format: LogFormat::Json, ..LogSettings::default() });
            warn("a \"quoted\" word\u{1b}");
        }
        "lines" => {
            let _log = Logging::start(&LogSettings::default());
            let mut lines = Lines::default();
            write!(lines, "worker count").unwrap();
            writeln!(lines, " is {}", 2).unwrap();
            write!(lines, "two\nthree\nand an unfinished one").unwrap();
        }
        other => panic!("{other}"),
    }
}

#[test]
fn before_there_is_a_log_lines_go_to_standard_error() {
    assert_eq!(said("none"), "before there is a log\n");
}

#[test]
fn the_level_can_be_changed_while_it_runs() {
    assert_eq!(said("level"), "two\nthree\nfive\n");
}

#[test]
fn json_has_one_object_per_line() {
    let text = said("json");
    let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
    assert_eq!((line["level"].as_str(), line["message"].as_str()), (Some("WARN"), Some("a \"quoted\" word\u{1b}")));
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn what_writes_lines_gets_lines() {
    assert_eq!(said("lines"), "worker count is 2\ntwo\nthree\n");
}
