//! The manual pages and completions as their readers see them: man, mandoc and bash, where they are there.

#[path = "../examples/manual/completions.rs"]
mod completions;
#[path = "../examples/manual/configuration.rs"]
mod configuration;
#[path = "../examples/manual/pages.rs"]
mod pages;
#[path = "../examples/manual/roff.rs"]
mod roff;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use control::config::ConfigFile;

const REFERENCE: &str = include_str!("../../configs/pci-appliance.toml");

/// The pages in a folder of their own.
fn written() -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |page: pages::Page| {
        let path = dir.path().join(page.file);
        fs::write(&path, page.text).expect("written");
        path
    };
    let paths = pages::all("2026-01-31", REFERENCE).into_iter().map(write).collect();
    (dir, paths)
}

/// What a tool says; `None`, and a word about it, where it is not there.
fn tool(command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("skipped: {command:?}: {error}");
            None
        }
    }
}

fn shown(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

#[test]
fn there_is_a_page_for_each_program_and_word_and_for_the_file() {
    let (_dir, paths) = written();
    let names: Vec<_> = paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    for name in ["bypassd.8", "bypassd-run.8", "bypassctl.1", "bypassd.toml.5"] {
        assert!(names.contains(&name), "{name} is missing in {names:?}");
    }
}

#[test]
fn mandoc_and_man_find_no_mistake() {
    let (_dir, paths) = written();
    for path in paths {
        if let Some(output) = tool(Command::new("mandoc").args(["-Tlint", "-W", "warning"]).arg(&path)) {
            assert!(output.status.success(), "{}", shown(&output));
        }
        let mut man = Command::new("man");
        man.args(["--warnings=all", "--local-file", "--encoding=utf8"]).arg(&path).env("MANWIDTH", "100");
        if let Some(output) = tool(&mut man) {
            assert!(output.status.success() && output.stderr.is_empty(), "{}", shown(&output));
        }
    }
}

#[test]
fn the_pages_say_what_a_reader_looks_for() {
    let (_dir, paths) = written();
    for (name, parts) in [
        ("bypassd-run.8", &["--kernel-interface", "net_tap0,iface=boot0", "max_sessions 64000", "Exit status"][..]),
        ("bypassctl.1", &["show port stats", "--json", "Exit status"]),
        ("bypassd.toml.5", &["drain_seconds = 30  (default)", "zero_copy_min_bytes", "[limits]", "kernel_interface"]),
    ] {
        let path = paths.iter().find(|path| path.ends_with(name)).unwrap();
        let mut mandoc = Command::new("mandoc");
        let Some(output) = tool(mandoc.args(["-Tutf8", "-Owidth=160"]).arg(path)) else { return };
        // Bold is struck twice.
        let plain = shown(&output).chars().fold(String::new(), |mut text, c| {
            if c == '\u{8}' {
                text.pop();
            } else {
                text.push(c);
            }
            text
        });
        for part in parts {
            assert!(plain.contains(part), "{part} is missing in {name}:\n{plain}");
        }
    }
}

#[test]
fn every_key_of_the_reference_is_in_the_page() {
    let page = pages::all("", REFERENCE).pop().unwrap().text;
    let values = ConfigFile::parse("pci-appliance.toml".as_ref(), REFERENCE.to_owned());
    assert!(values.is_ok(), "the reference is a configuration");
    let keys = REFERENCE.lines().map(|line| line.strip_prefix('#').unwrap_or(line));
    let keys =
        keys.filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase())).filter_map(|line| line.split_once(" ="));
    let mut count = 0;
    for (key, _) in keys {
        assert!(page.contains(&format!("\\fB{}\\fR", key.replace('-', "\\-"))), "{key}");
        count += 1;
    }
    assert!(count > 30, "{count} keys");
}

/// What bash offers behind these words, the last of which is being typed.
fn offered(words: &[&str]) -> Option<String> {
    let dir = tempfile::tempdir().expect("a folder");
    for script in completions::all().into_iter().filter(|script| script.folder == "bash") {
        fs::write(dir.path().join(script.file), script.text).expect("written");
    }
    let (program, last) = (words[0], words[words.len() - 1]);
    let before = words[words.len() - 2];
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let line = format!(
        "source {program} && COMP_WORDS=({}) COMP_CWORD={} && _{program} {program} '{last}' '{before}' && echo \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words.len() - 1
    );
    let output = tool(Command::new("bash").args(["--norc", "-c", &line]).current_dir(dir.path()))?;
    assert!(output.status.success() && output.stderr.is_empty(), "{line}: {}", shown(&output));
    Some(shown(&output))
}

#[test]
fn bash_completes_flags_and_words() {
    for (words, parts) in [
        (&["bypassd", ""][..], &["run"][..]),
        (&["bypassd", "run", "--kern"], &["--kernel-interface"]),
        (&["bypassctl", "sh"], &["show"]),
        (&["bypassctl", "show", ""], &["workers", "port", "drops"]),
        (&["bypassctl", "show", "port", "stats", "a"], &["all"]),
    ] {
        let Some(offered) = offered(words) else { return };
        for part in parts {
            assert!(offered.split_whitespace().any(|word| word == *part), "{words:?} offers {offered}");
        }
    }
}
