//! `bypassctl`: says words to a running bypassd and shows the answer, as tables for people or as JSON for programs.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Parser;

use crate::client;
use crate::protocol::{RawReply, Request};
use crate::settings::Environment;
use crate::tables;
use crate::words::{self, Command, Does, Local};

/// Done.
pub const DONE: u8 = 0;
/// The daemon was not reached or refused.
pub const NOT_DONE: u8 = 1;
/// The words or flags mean nothing.
pub const WRONG_USAGE: u8 = 2;

fn words_help() -> String {
    let lines = words::help(&[]);
    format!(
        "Words:\n{}\n\nExamples:\n  bypassctl show workers\n  bypassctl --json show stats | jq .dropped\n  bypassctl drain\n\n\
         Exit status: 0 done, 1 bypassd was not reached or refused, 2 wrong usage.",
        lines.join("\n")
    )
}

/// `bypassctl`.
#[derive(Debug, Parser)]
#[command(name = "bypassctl", version, about = "Asks and orders a running bypassd", after_help = words_help())]
pub struct CtlArgs {
    /// Socket of the daemon [default: $RUNTIME_DIRECTORY/control.sock or, unless root, $XDG_RUNTIME_DIR/bypassd/control.sock;
    /// then /run/bypassd/control.sock]
    #[arg(long, value_name = "SOCKET")]
    pub control: Option<PathBuf>,

    /// Print the answer as JSON
    #[arg(long)]
    pub json: bool,

    /// What to ask or order
    #[arg(value_name = "WORDS")]
    pub words: Vec<String>,
}

/// Runs it; returns the exit status.
///
/// # Errors
/// `out` or `err` cannot be written to.
pub fn run(args: CtlArgs, environment: &Environment, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    let command = match Command::parse(&args.words) {
        Ok(command) => command,
        Err(error) => {
            writeln!(err, "bypassctl: {error}\nhelp: {}", error.help())?;
            return Ok(WRONG_USAGE);
        }
    };
    let asks = match command.word.does {
        Does::Asks(asks) => asks,
        Does::Local(Local::Help) => return help(&command, out, err),
    };
    let path = args.control.unwrap_or_else(|| {
        let places = environment.client_sockets();
        let found = places.iter().find(|place| place.symlink_metadata().is_ok()).or_else(|| places.last());
        found.cloned().unwrap_or_else(|| environment.control_socket())
    });
    let value = match client::ask(&path, &Request { words: args.words }, asks.patient) {
        Ok(RawReply::Ok(value)) => value,
        Ok(RawReply::Error(refusal)) => {
            if args.json {
                serde_json::to_writer_pretty(&mut *err, &refusal)?;
                writeln!(err)?;
            } else {
                writeln!(err, "bypassctl: {}", tables::escaped(&refusal.message))?;
                if !refusal.help.is_empty() {
                    writeln!(err, "help: {}", tables::escaped(&refusal.help))?;
                }
            }
            return Ok(NOT_DONE);
        }
        Err(error) => {
            writeln!(err, "bypassctl: {error}")?;
            return Ok(NOT_DONE);
        }
    };
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &value)?;
        writeln!(out)?;
        return Ok(DONE);
    }
    match (asks.decode)(value) {
        Ok(body) => tables::write(out, &body)?,
        Err(error) => {
            writeln!(err, "bypassctl: bypassd is of another version, its answer is not understood: {error}")?;
            writeln!(err, "help: use the bypassctl of the same version, or --json")?;
            return Ok(NOT_DONE);
        }
    }
    Ok(DONE)
}

fn help(command: &Command, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    let about: Vec<String> = command.arguments.texts("WORD").map(str::to_owned).collect();
    let lines = words::help(&about);
    if lines.is_empty() {
        writeln!(err, "bypassctl: nothing begins with `{}`\nhelp: say `help`", tables::escaped(&about.join(" ")))?;
        return Ok(WRONG_USAGE);
    }
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    Ok(DONE)
}
