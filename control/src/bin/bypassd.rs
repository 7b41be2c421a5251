//! `bypassd`, see [`control::args`].

use std::io;
use std::process::ExitCode;

use clap::Parser;
use control::appliance;
use control::args::{CheckArgs, Cli, Command, RunArgs};
use control::check::{self, Status, Versions};
use control::host::Host;
use control::leftovers;
use control::log::Logging;
use control::map_test::{self, MapTestArgs};
use control::notice::{say, say_error, warn};
use control::settings::Environment;
use control::startup;
use control::supervisor::Outcome;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run(args),
        Command::Check(args) => check(args),
        Command::MapTest(args) => map_test(&args),
    }
}

fn check(args: CheckArgs) -> ExitCode {
    let environment = Environment::of_process();
    match check::command::run(args, &environment, &Host::this(), Versions::of_process(), &mut io::stdout()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            say(format_args!("bypassd: cannot write to standard output: {error}"));
            ExitCode::from(2)
        }
    }
}

fn map_test(args: &MapTestArgs) -> ExitCode {
    match map_test::run(args, &mut io::stdout(), &mut io::stderr()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            say(format_args!("bypassd: cannot write to standard output: {error}"));
            ExitCode::from(2)
        }
    }
}

fn run(args: RunArgs) -> ExitCode {
    let environment = Environment::of_process();
    let runtime_base = environment.eal_runtime_base();
    for path in leftovers::sweep(&runtime_base, leftovers::is_alive) {
        say(format_args!("bypassd: removed {}, left by a run that was killed", path.display()));
    }
    let (launch, log) = match startup::begin(args, &environment, &Host::this()) {
        Ok((launch, report)) => {
            let log = Logging::start(&launch.settings.log);
            for line in report.lines(Status::Warning) {
                warn(format_args!("bypassd: {line}"));
            }
            (launch, log)
        }
        Err(error) => {
            say(format_args!("bypassd: {error}"));
            return ExitCode::from(error.exit_status());
        }
    };
    let ended = appliance::run(&launch, Some(&log));
    // EAL leaves its directory behind, and by now it is ours no more.
    leftovers::remove_own(&runtime_base);
    match ended {
        Ok(outcome) => {
            match outcome {
                Outcome::AsAsked => say(format_args!("bypassd: {outcome}")),
                Outcome::Failed(_) => say_error(format_args!("bypassd: {outcome}")),
            }
            ExitCode::from(outcome.exit_status())
        }
        Err(error) => {
            say_error(format_args!("bypassd: {error}"));
            ExitCode::FAILURE
        }
    }
}
