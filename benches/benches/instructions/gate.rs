//! The gate: counts every scenario, compares with the baseline, prints a table, answers by its exit status.

use super::Args;
use super::callgrind::{self, CallgrindError};
use super::environment::Environment;
use super::record::{Count, Record, RecordError};
use super::scenarios::{self, PlayError, Scenario};
use super::self_test::{self, Broken};
use super::verdict::{Change, LIMIT_PERCENT, Line, compare};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{env, fs, io, thread};
use thiserror::Error;

/// Why there is no verdict.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Play(#[from] PlayError),
    #[error(transparent)]
    Callgrind(#[from] CallgrindError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    SelfTest(#[from] Broken),
    #[error("{}: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("there is no scenario `{0}`; there are: {1}")]
    Unknown(String, String),
}

/// Does what the arguments say.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gate");
    fs::create_dir_all(&folder).map_err(|source| Failure::Folder { path: folder.clone(), source })?;
    let baseline_path = args.baseline.clone().unwrap_or_else(baseline_path);
    let last = folder.join("counts.json");
    if args.self_test {
        let record = if last.exists() { Record::read(&last)? } else { measure(scenarios::ALL, &folder)? };
        self_test::run(&record, &folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    let scenarios = chosen(args.only.as_deref())?;
    let mut now = match &args.counts {
        Some(path) => Record::read(path)?,
        None => measure(scenarios, &folder)?,
    };
    if args.counts.is_none() && args.only.is_none() {
        now.write(&last)?;
    }
    let mut baseline = if args.accept && !baseline_path.exists() { None } else { Some(Record::read(&baseline_path)?) };
    if let (Some(name), Some(baseline)) = (&args.only, &mut baseline) {
        baseline.counts.retain(|other, _| other == name);
        now.counts.retain(|other, _| other == name);
    }
    let lines = compare(baseline.as_ref(), &now);
    print_table(&lines);
    if args.accept {
        now.write(&baseline_path)?;
        println!("\nAccepted: this is the baseline now. Commit benches/baseline with what changed it.");
        return Ok(ExitCode::SUCCESS);
    }
    let differences = baseline.map(|each| each.environment.differences(&now.environment)).unwrap_or_default();
    Ok(conclude(&lines, &differences))
}

fn baseline_path() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| "benches".into());
    PathBuf::from(package).join("baseline/instructions.json")
}

fn chosen(only: Option<&str>) -> Result<&'static [Scenario], Failure> {
    let all = scenarios::ALL;
    let Some(name) = only else { return Ok(all) };
    let names: Vec<&str> = all.iter().map(|each| each.name).collect();
    match names.iter().position(|&each| each == name) {
        Some(place) => Ok(&all[place..=place]),
        None => Err(Failure::Unknown(name.to_owned(), names.join(" "))),
    }
}

/// Counts scenarios, as many at a time as there are CPUs: what is counted does not depend on the time it takes.
fn measure(scenarios: &[Scenario], folder: &Path) -> Result<Record, Failure> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let work = || {
        while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = callgrind::measure(scenario, folder);
            results.lock().unwrap_or_else(PoisonError::into_inner).push((scenario.name, result));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let mut counts = BTreeMap::new();
    let mut dpdk = String::new();
    for (name, result) in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
        let measured = result?;
        counts.insert(name.to_owned(), measured.count);
        dpdk = measured.dpdk;
    }
    Ok(Record { environment: Environment::here(dpdk), counts })
}

fn print_table(lines: &[Line]) {
    let number =
        |count: Option<Count>| count.map_or_else(|| "-".to_owned(), |count| format!("{:.1}", count.per_packet()));
    println!("Instructions per packet:");
    println!("{:<15} {:>9} {:>9} {:>9} {:>6}", "", "baseline", "now", "change", "limit");
    for line in lines {
        let about = scenarios::ALL.iter().find(|each| each.name == line.name).map_or("", |each| each.about);
        let percent = line.percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent:+.2} %"));
        println!(
            "{:<15} {:>9} {:>9} {percent:>9} {:>6}  {:<7} {about}",
            line.name,
            number(line.before),
            number(line.now),
            format!("+{LIMIT_PERCENT} %"),
            line.change.word(),
        );
    }
}

/// The last words, and the exit status.
fn conclude(lines: &[Line], differences: &[String]) -> ExitCode {
    println!();
    if !differences.is_empty() {
        println!(
            "skipped: an exact count compares only with one from the same environment, and the baseline's was another:"
        );
        differences.iter().for_each(|difference| println!("  {difference}"));
        println!("A baseline from here: configs/gate.sh --accept");
        return ExitCode::SUCCESS;
    }
    let names = |wanted: fn(Change) -> bool| {
        let names: Vec<&str> = lines.iter().filter(|line| wanted(line.change)).map(|line| line.name.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    if let Some(better) = names(|change| change == Change::Better) {
        println!("Better: {better}. Keep it: accept it with configs/gate.sh --accept");
    }
    if let Some(unknown) = names(|change| matches!(change, Change::New | Change::Gone)) {
        println!(
            "FAILED: not in both baseline and measurement: {unknown}. Where that is meant: configs/gate.sh --accept"
        );
    }
    if let Some(worse) = names(|change| change == Change::Worse) {
        println!("FAILED: more than {LIMIT_PERCENT} % above the baseline: {worse}.");
        println!(
            "Where the instructions are: configs/gate.sh --annotate NAME. Where they are worth it: configs/gate.sh --accept"
        );
    }
    if lines.iter().any(|line| line.change.fails()) {
        return ExitCode::FAILURE;
    }
    println!("Passed: {} scenarios, none more than {LIMIT_PERCENT} % above the baseline.", lines.len());
    ExitCode::SUCCESS
}
