//! The verdict: counts of today against the baseline's, one line each, and an exit status.

use super::Args;
use super::callgrind::{self, CallgrindError};
use super::environment::Environment;
use super::record::{Count, Record, RecordError};
use super::scenarios::{self, PlayError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs, io};
use thiserror::Error;

/// By how much a count may grow, in per cent.
const LIMIT_PERCENT: f64 = 1.0;

/// Why there is no verdict.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Play(#[from] PlayError),
    #[error(transparent)]
    Callgrind(#[from] CallgrindError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("{}: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("there is no scenario `{0}`; there are: {1}")]
    Unknown(String, String),
}

/// Measures, or reads what was measured, and compares.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let baseline = args.baseline.clone().unwrap_or_else(baseline_path);
    let record = match &args.measured {
        Some(path) => Record::read(path)?,
        None => measure(args.only.as_deref())?,
    };
    if args.accept {
        record.write(&baseline)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn baseline_path() -> PathBuf {
    PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| "benches".into()))
        .join("baseline/instructions.json")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("gate")
}

fn measure(only: Option<&str>) -> Result<Record, Failure> {
    let folder = folder();
    fs::create_dir_all(&folder).map_err(|source| Failure::Folder { path: folder.clone(), source })?;
    let mut counts = BTreeMap::new();
    let mut dpdk = String::new();
    for scenario in scenarios::ALL.iter().filter(|each| only.is_none_or(|name| name == each.name)) {
        let measured = callgrind::measure(scenario, &folder)?;
        println!("{:<16} {:>10.1}  {}", scenario.name, measured.count.per_packet(), scenario.about);
        counts.insert(scenario.name.to_owned(), measured.count);
        dpdk = measured.dpdk;
    }
    Ok(Record { environment: Environment::here(dpdk), counts })
}
