//! A reload for people: `bypassctl reload` and the log say the same.

use std::io::{self, Write};

use super::escaped;
use crate::protocol::{Reloaded, SettingChange};

/// One line on the files, one on what it cost, one for each setting.
///
/// # Errors
/// `out` cannot be written to.
pub fn write_reloaded(out: &mut dyn Write, reloaded: &Reloaded) -> io::Result<()> {
    let Reloaded { generation, files, bytes, added, changed, removed, unchanged, .. } = reloaded;
    if reloaded.renewed {
        writeln!(
            out,
            "generation {generation}: {added} added, {changed} changed, {removed} removed, {unchanged} unchanged"
        )?;
        writeln!(
            out,
            "{files} file(s), {bytes} bytes in {} pages; {} read ({} bytes), {} not read again",
            escaped(&reloaded.page_kind),
            reloaded.read_files,
            reloaded.read_bytes,
            reloaded.reused_files
        )?;
    } else {
        writeln!(out, "no file has changed: generation {generation} stays, {files} file(s), {bytes} bytes")?;
    }
    if reloaded.left_out > 0 {
        writeln!(out, "left out: {} (show files)", reloaded.left_out)?;
    }
    let swapped = reloaded.swap_us as f64 / 1e3;
    writeln!(out, "loaded in {:.3} s, taken over by all workers in {swapped:.3} ms", reloaded.load_seconds)?;
    for change in &reloaded.settings {
        writeln!(out, "{}", described("now", change))?;
    }
    for change in &reloaded.needs_restart {
        writeln!(out, "{}", described("needs a restart", change))?;
    }
    Ok(())
}

fn described(what: &str, SettingChange { key, old, new }: &SettingChange) -> String {
    format!("{what}: {} = {} (was {})", escaped(key), escaped(new), escaped(old))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(reloaded: &Reloaded) -> String {
        let mut out = Vec::new();
        write_reloaded(&mut out, reloaded).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_reload_says_what_is_new_and_what_it_could_not_change() {
        let change = |key: &str| SettingChange { key: key.to_owned(), old: "1".to_owned(), new: "2\u{1b}".to_owned() };
        let reloaded = Reloaded {
            generation: 7,
            renewed: true,
            files: 3,
            bytes: 99,
            changed: 2,
            unchanged: 1,
            read_files: 2,
            read_bytes: 66,
            reused_files: 1,
            page_kind: "ordinary".to_owned(),
            load_seconds: 0.25,
            swap_us: 1_500,
            settings: vec![change("timers.tries")],
            needs_restart: vec![change("worker.mtu")],
            ..Reloaded::default()
        };
        assert_eq!(
            shown(&reloaded),
            "generation 7: 0 added, 2 changed, 0 removed, 1 unchanged\n\
             3 file(s), 99 bytes in ordinary pages; 2 read (66 bytes), 1 not read again\n\
             loaded in 0.250 s, taken over by all workers in 1.500 ms\n\
             now: timers.tries = 2\\u{1b} (was 1)\nneeds a restart: worker.mtu = 2\\u{1b} (was 1)\n"
        );
        let same =
            Reloaded { renewed: false, left_out: 4, settings: Vec::new(), needs_restart: Vec::new(), ..reloaded };
        assert!(shown(&same).starts_with("no file has changed: generation 7 stays, 3 file(s), 99 bytes\nleft out: 4"));
    }
}
