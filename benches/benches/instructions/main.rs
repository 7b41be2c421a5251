//! Counts the instructions that the dataplane spends on a packet, exactly, and says whether they grew: run it through
//! `configs/gate.sh`. Measures no time and needs neither hugepages, a NIC nor root.
//!
//! The program runs itself under callgrind, once for each [scenario](scenarios), and reads the counts from callgrind's files.

mod callgrind;
mod environment;
mod frames;
mod gate;
mod record;
mod rig;
mod scenarios;
mod self_test;
mod verdict;

use clap::Parser;
use std::process::ExitCode;

/// Instructions per packet of the dataplane, against the committed baseline.
#[derive(Debug, Parser)]
#[command(name = "configs/gate.sh", max_term_width = 120)]
struct Args {
    /// Measure, then make what was measured the new baseline.
    #[arg(long, conflicts_with = "self_test")]
    accept: bool,
    /// Only this scenario; compares what it can.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["accept", "self_test"])]
    only: Option<String>,
    /// Show that the gate can fail: compare the last measurement with baselines that were changed on purpose.
    #[arg(long)]
    self_test: bool,
    /// The baseline to compare with.
    #[arg(long, value_name = "FILE", hide = true)]
    baseline: Option<std::path::PathBuf>,
    /// Compare what was measured before, instead of measuring.
    #[arg(long, value_name = "FILE", hide = true)]
    counts: Option<std::path::PathBuf>,
    /// Play one scenario: what runs under callgrind.
    #[arg(long, value_name = "NAME", hide = true)]
    play: Option<String>,
    /// `cargo bench` adds it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match &args.play {
        Some(name) => scenarios::play(name).map(|()| ExitCode::SUCCESS).map_err(gate::Failure::from),
        None => gate::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("configs/gate.sh: {error}");
        ExitCode::FAILURE
    })
}
