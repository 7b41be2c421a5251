//! `bypassctl`: says words to a running bypassd and shows the answer, as tables for people or as JSON for programs. One command, a
//! file of them, or what comes down a pipe; the prompt (in the binary) says its lines through the same [`Session`].

mod batch;
pub mod complete;
mod follow;
mod interrupt;
mod rates;
mod session;
mod top;

use std::io::{self, BufRead, Write};
use std::path::PathBuf;

use clap::Parser;

pub use batch::split;
pub use rates::PortRate;
pub use session::{Said, Screen, Session};

use crate::settings::Environment;
use crate::words;

/// Done.
pub const DONE: u8 = 0;
/// The daemon was not reached or refused.
pub const NOT_DONE: u8 = 1;
/// The words or flags mean nothing.
pub const WRONG_USAGE: u8 = 2;

fn words_help() -> String {
    format!(
        "Words:\n{}\n\nExamples:\n  bypassctl                       a prompt with history, completion (Tab) and help\n  \
         bypassctl show workers\n  bypassctl --json show stats | jq .dropped\n  bypassctl --file checks.txt\n  bypassctl drain\n\n\
         Without words on a pipe it reads commands line by line; `#` begins a comment.\n\
         Exit status: 0 done, 1 bypassd was not reached or refused, 2 wrong usage.",
        words::help(&[]).join("\n")
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

    /// Say the lines of a file, up to the first that fails
    #[arg(long, value_name = "FILE", conflicts_with = "words")]
    pub file: Option<PathBuf>,

    /// With a file or a pipe: go on after a line that fails
    #[arg(long)]
    pub keep_going: bool,

    /// What to ask or order; nothing at a terminal: a prompt
    #[arg(value_name = "WORDS")]
    pub words: Vec<String>,
}

impl CtlArgs {
    /// Whether neither words nor a file are given, so that the input says what to do.
    #[must_use]
    pub fn asks_the_input(&self) -> bool {
        self.words.is_empty() && self.file.is_none()
    }

    /// A session as the flags ask for it.
    #[must_use]
    pub fn session(&self, environment: &Environment) -> Session {
        Session::new(self.control.clone(), environment.clone(), self.json, self.keep_going)
    }
}

/// Says the words, the file, or else the lines of `input`; returns the exit status.
///
/// # Errors
/// `out` or `err` cannot be written to.
pub fn run(
    args: &CtlArgs,
    environment: &Environment,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let mut session = args.session(environment);
    let mut screen = Screen::new(out, err);
    let said = match &args.file {
        Some(file) => session.load(file, &mut screen)?,
        None if args.words.is_empty() => session.say_lines(input, "stdin", &mut screen)?,
        None => session.say(&args.words, &mut screen)?,
    };
    Ok(said.status)
}
