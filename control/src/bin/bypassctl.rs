//! `bypassctl`, see [`control::ctl`].

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;
use control::ctl::{self, CtlArgs};
use control::settings::Environment;

fn main() -> ExitCode {
    let args = CtlArgs::parse();
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    let status = ctl::run(args, &Environment::of_process(), &mut out, &mut err).and_then(|status| {
        out.flush()?;
        Ok(status)
    });
    match status {
        Ok(status) => ExitCode::from(status),
        // `bypassctl show sessions | head` is no mistake.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(ctl::NOT_DONE),
    }
}
