//! `bypassd`, see [`control::args`].

use std::process::ExitCode;

use clap::Parser;
use control::appliance;
use control::args::{Cli, Command};
use control::leftovers;
use control::log::Logging;
use control::machine::Machine;
use control::notice::{say, say_error};
use control::settings::Environment;
use control::startup;

fn main() -> ExitCode {
    let Command::Run(args) = Cli::parse().command;
    let environment = Environment::of_process();
    let runtime_base = environment.eal_runtime_base();
    for path in leftovers::sweep(&runtime_base, leftovers::is_alive) {
        say(format_args!("bypassd: removed {}, left by a run that was killed", path.display()));
    }
    let launch = match startup::prepare(args, &environment, &Machine::look()) {
        Ok(launch) => launch,
        Err(error) => {
            say(format_args!("bypassd: {error}"));
            return ExitCode::from(error.exit_status());
        }
    };
    let _log = Logging::start(&launch.settings.log);
    let ended = appliance::run(&launch);
    // EAL leaves its directory behind, and by now it is ours no more.
    leftovers::remove_own(&runtime_base);
    match ended {
        Ok(outcome) => {
            say(format_args!("bypassd: {outcome}"));
            ExitCode::from(outcome.exit_status())
        }
        Err(error) => {
            say_error(format_args!("bypassd: {error}"));
            ExitCode::FAILURE
        }
    }
}
