//! `bypassd`, see [`control::args`].

use std::process::ExitCode;

use clap::Parser;
use control::appliance;
use control::args::{Cli, Command};
use control::machine::Machine;
use control::settings::Environment;
use control::startup;

fn main() -> ExitCode {
    let Command::Run(args) = Cli::parse().command;
    let launch = match startup::prepare(args, &Environment::of_process(), &Machine::look()) {
        Ok(launch) => launch,
        Err(error) => {
            eprintln!("bypassd: {error}");
            return ExitCode::from(error.exit_status());
        }
    };
    match appliance::run(&launch) {
        Ok(outcome) => {
            eprintln!("bypassd: {outcome}");
            ExitCode::from(outcome.exit_status())
        }
        Err(error) => {
            eprintln!("bypassd: {error}");
            ExitCode::FAILURE
        }
    }
}
