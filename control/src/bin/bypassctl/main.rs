//! `bypassctl`, see [`control::ctl`]; its prompt is here.

mod prompt;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use control::ctl::{self, CtlArgs};
use control::settings::Environment;

fn main() -> ExitCode {
    let args = CtlArgs::parse();
    let environment = Environment::of_process();
    // Not locked: the prompt writes to the terminal by itself.
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let status = if args.asks_the_input() && io::stdin().is_terminal() {
        prompt::run(args.session(&environment), &mut out, &mut err)
    } else {
        ctl::run(&args, &environment, &mut io::stdin().lock(), &mut out, &mut err)
    };
    match status.and_then(|status| out.flush().map(|()| status)) {
        Ok(status) => ExitCode::from(status),
        // `bypassctl show sessions | head` is no mistake.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(ctl::NOT_DONE),
    }
}
