//! Runs this program under callgrind and reads what was counted.

use super::record::Count;
use super::rig::COUNTED;
use super::scenarios::Scenario;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};
use thiserror::Error;

/// Why there is no count.
#[derive(Debug, Error)]
pub(crate) enum CallgrindError {
    #[error("valgrind does not run ({0}): configs/setup.sh installs it")]
    Start(io::Error),
    #[error("{scenario} failed under valgrind, {status}:\n{errors}")]
    Ended { scenario: &'static str, status: std::process::ExitStatus, errors: String },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{scenario} left no count: `{missing}` is missing")]
    NoCount { scenario: &'static str, missing: &'static str },
}

/// One scenario's count.
pub(crate) struct Measured {
    pub(crate) count: Count,
    /// The DPDK that ran.
    pub(crate) dpdk: String,
}

/// Plays a scenario under callgrind; its profile stays in `folder`.
pub(crate) fn measure(scenario: &Scenario, folder: &Path) -> Result<Measured, CallgrindError> {
    let profile = folder.join(format!("{}.callgrind", scenario.name));
    let program = env::current_exe().map_err(CallgrindError::Start)?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--fair-sched=no", "--error-exitcode=0"])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(program)
        .args(["--play", scenario.name])
        // A count must not depend on who asks for it.
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .output()
        .map_err(CallgrindError::Start)?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(CallgrindError::Ended { scenario: scenario.name, status: output.status, errors });
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let text = fs::read_to_string(&profile).map_err(|source| CallgrindError::File { path: profile, source })?;
    let missing = |missing| CallgrindError::NoCount { scenario: scenario.name, missing };
    let number = |text: &str, key| find(text, key).and_then(|value| value.parse().ok()).filter(|&n: &u64| n > 0);
    Ok(Measured {
        count: Count {
            instructions: number(&text, "totals: ").ok_or_else(|| missing("totals"))?,
            packets: number(&said, "packets ").ok_or_else(|| missing("packets"))?,
        },
        dpdk: find(&said, "dpdk ").ok_or_else(|| missing("dpdk"))?.to_owned(),
    })
}

fn find<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim)
}
