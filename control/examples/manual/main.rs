//! Writes the manual pages and the shell completions: `cargo run -p control --example manual -- DIR [DATE]`. Made from the command lines
//! themselves, from the table of bypassctl's words, and from the commented reference configuration.

mod completions;
mod configuration;
mod pages;
mod roff;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The reference configuration, whose comments are the manual of the file.
const REFERENCE: &str = include_str!("../../../configs/pci-appliance.toml");

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let Some(place) = args.next().map(PathBuf::from) else {
        eprintln!("usage: manual DIR [DATE]   (DATE as in 2026-01-31: of the pages)");
        return ExitCode::from(2);
    };
    let date = args.next().map(|date| date.to_string_lossy().into_owned()).unwrap_or_default();
    match write(&place, &date) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("manual: cannot write below {}: {error}", place.display());
            ExitCode::FAILURE
        }
    }
}

/// Pages into `man`, completions into `bash`, `zsh` and `fish`.
fn write(place: &Path, date: &str) -> io::Result<()> {
    let put = |folder: &str, name: &str, text: &str| {
        let folder = place.join(folder);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), text)
    };
    for page in pages::all(date, REFERENCE) {
        put("man", &page.file, &page.text)?;
    }
    for script in completions::all() {
        put(script.folder, &script.file, &script.text)?;
    }
    Ok(())
}
