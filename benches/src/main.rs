//! `bypassbench`: measures bypassd, and any other TFTP server. Sends only where it is told to, is bounded, and stops by itself.

mod ladder;
mod load;
mod peers;
mod storm;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Measures bypassd: cycles per packet against a bare port, storms of clients, stock servers side by side.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 120)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ladder(ladder::Args),
    Load(load::Args),
    Storm(storm::Args),
    Peers(peers::Args),
}

fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        Command::Ladder(args) => ladder::run(&args).map_err(|error| error.to_string()),
        Command::Load(args) => load::run(&args).map_err(|error| error.to_string()),
        Command::Storm(args) => storm::run(&args).map_err(|error| error.to_string()),
        Command::Peers(args) => peers::run(&args).map_err(|error| error.to_string()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bypassbench: {error}");
            ExitCode::FAILURE
        }
    }
}
