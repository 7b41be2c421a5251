//! Shows that the gate can fail, and that it fails only where it should: this program runs itself on counts that were taken before
//! and on baselines that were changed on purpose, and looks at its exit status. Also counts one scenario twice.

use super::callgrind::{self, CallgrindError};
use super::record::{Record, RecordError};
use super::scenarios;
use std::path::Path;
use std::process::Command;
use std::{env, io};
use thiserror::Error;

/// Two counts of the same program may differ by one instruction in this many: 0.1 %.
const REPEAT_ONE_IN: u64 = 1_000;

/// What the gate did wrong.
#[derive(Debug, Error)]
pub(crate) enum Broken {
    #[error("self-test: {what}: exit status {status:?} and the words `{words}` were due, but it said\n{said}")]
    Verdict { what: &'static str, status: i32, words: &'static str, said: String },
    #[error("self-test: {name} counted twice: {first} and {second} instructions")]
    Unsteady { name: &'static str, first: u64, second: u64 },
    #[error(transparent)]
    Callgrind(#[from] CallgrindError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("this program does not start itself: {0}")]
    Start(io::Error),
}

/// One changed baseline, and what the gate has to make of it.
struct Case {
    what: &'static str,
    /// Makes the baseline out of the counts.
    change: fn(&mut Record),
    status: i32,
    words: &'static str,
}

const CASES: &[Case] = &[
    Case { what: "the same counts", change: |_| {}, status: 0, words: "Passed: " },
    Case {
        what: "a baseline 2 % lower",
        change: |baseline| scale(baseline, "", 98.0),
        status: 1,
        words: "FAILED: more than",
    },
    Case {
        what: "one scenario's baseline 2 % lower",
        change: |baseline| scale(baseline, "ack_stray", 98.0),
        status: 1,
        words: "above the baseline: ack_stray.",
    },
    Case { what: "a baseline 0.5 % lower", change: |baseline| scale(baseline, "", 99.5), status: 0, words: "Passed: " },
    Case { what: "a baseline 2 % higher", change: |baseline| scale(baseline, "", 102.0), status: 0, words: "Better: " },
    Case {
        what: "another compiler, and a baseline 2 % lower",
        change: |baseline| {
            scale(baseline, "", 98.0);
            "another".clone_into(&mut baseline.environment.rustc);
        },
        status: 0,
        words: "skipped: ",
    },
    Case {
        what: "a scenario that the baseline lacks",
        change: |baseline| baseline.counts.retain(|name, _| name != "rrq"),
        status: 1,
        words: "measurement: rrq.",
    },
    Case {
        what: "a scenario that is only in the baseline",
        change: |baseline| {
            if let Some(&count) = baseline.counts.get("rrq") {
                baseline.counts.insert("gone".to_owned(), count);
            }
        },
        status: 1,
        words: "measurement: gone.",
    },
];

/// Multiplies the counts of one scenario, or of all of them, by that many per cent.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "counts far below 2^52"
)]
fn scale(record: &mut Record, name: &str, percent: f64) {
    for (_, count) in record.counts.iter_mut().filter(|(each, _)| name.is_empty() || *each == name) {
        count.instructions = (count.instructions as f64 * percent / 100.0) as u64;
    }
}

/// Runs all cases on these counts.
pub(crate) fn run(counts: &Record, folder: &Path) -> Result<(), Broken> {
    let program = env::current_exe().map_err(Broken::Start)?;
    let counts_path = folder.join("self-test-counts.json");
    let baseline_path = folder.join("self-test-baseline.json");
    counts.write(&counts_path)?;
    for case in CASES {
        let mut baseline = counts.clone();
        (case.change)(&mut baseline);
        baseline.write(&baseline_path)?;
        let mut command = Command::new(&program);
        command.arg("--counts").arg(&counts_path).arg("--baseline").arg(&baseline_path);
        let output = command.output().map_err(Broken::Start)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let &Case { what, status, words, .. } = case;
        if output.status.code() != Some(status) || !said.contains(words) {
            return Err(Broken::Verdict { what, status, words, said });
        }
        println!("ok: {what}: exit status {status}, `{words}`");
    }
    repeat(folder)
}

/// Counts one scenario twice.
fn repeat(folder: &Path) -> Result<(), Broken> {
    let Some(scenario) = scenarios::ALL.first() else { return Ok(()) };
    let name = scenario.name;
    let first = callgrind::measure(scenario, folder)?.count.instructions;
    let second = callgrind::measure(scenario, folder)?.count.instructions;
    if first.abs_diff(second) * REPEAT_ONE_IN > first {
        return Err(Broken::Unsteady { name, first, second });
    }
    println!("ok: {name} counted twice: {first} and {second} instructions");
    Ok(())
}
