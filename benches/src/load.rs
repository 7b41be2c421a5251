//! How long a tree takes to load, against `cat` of the same files from a warm page cache; what a file costs in memory, and what
//! finding one costs. Sends nothing; what it writes it removes.

mod lookup;
mod tree;

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dataplane::files::{BuildError, LoadError, LoadOptions, load};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use thiserror::Error;

use lookup::LookupCost;

/// How long a tree takes to load, against cat of the same files; what a file costs in memory and to find.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Bytes of the tree to make (K, M, G: powers of 1000; Ki, Mi, Gi: of 1024).
    #[arg(long, default_value = "2G", value_parser = parse_bytes, conflicts_with = "root")]
    bytes: u64,
    /// Files of the tree to make.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000), conflicts_with = "root")]
    files: u64,
    /// Load this tree, and make none.
    #[arg(long)]
    root: Option<PathBuf>,
    /// Where to make the tree; the default is the system's directory for temporary files.
    #[arg(long, conflicts_with = "root")]
    directory: Option<PathBuf>,
    /// Rounds of cat and load in turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Threads that load; the default is what bypassd uses.
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Load into explicit 2 MiB hugepages where there are enough.
    #[arg(long)]
    hugepages: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Why there is no result.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error(
        "not enough {what} for this tree: {needed} bytes needed, {available} available; give smaller --bytes or another --directory"
    )]
    TooSmall { what: &'static str, needed: u64, available: u64 },
    #[error("cannot make or read the tree: {0}")]
    Tree(#[source] io::Error),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Catalogue(#[from] BuildError),
    #[error("cat read {cat_bytes} bytes, the load {load_bytes}: the tree changes, or not all of it may be served")]
    NotTheSame { cat_bytes: u64, load_bytes: u64 },
    #[error("cannot write the result: {0}")]
    Json(#[from] serde_json::Error),
}

/// Times of one thing over all rounds, in seconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Times {
    min_s: f64,
    median_s: f64,
    max_s: f64,
    /// Processor time of all threads, which other programs on the machine stretch less.
    median_cpu_s: f64,
}

impl Times {
    fn of(rounds: Vec<(Duration, Duration)>) -> Self {
        let (mut wall, mut cpu): (Vec<_>, Vec<_>) = rounds.into_iter().unzip();
        wall.sort_unstable();
        cpu.sort_unstable();
        let at = |times: &[Duration], index: usize| times.get(index).map_or(0.0, Duration::as_secs_f64);
        Self {
            min_s: at(&wall, 0),
            median_s: at(&wall, wall.len() / 2),
            max_s: at(&wall, wall.len().saturating_sub(1)),
            median_cpu_s: at(&cpu, cpu.len() / 2),
        }
    }
}

/// Wall and processor time of an act.
fn timed<T>(act: impl FnOnce() -> T) -> ((Duration, Duration), T) {
    let (started, cpu) = (Instant::now(), cpu_time());
    let result = act();
    ((started.elapsed(), cpu_time().saturating_sub(cpu)), result)
}

/// Of all threads of this process.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[derive(Debug, Serialize)]
struct Outcome {
    files: u64,
    bytes: u64,
    rounds: u32,
    threads: Option<NonZeroUsize>,
    pages: String,
    cat: Times,
    load: Times,
    /// Into memory that nobody warmed; not among the rounds.
    first_load_s: f64,
    /// Of the medians.
    load_over_cat: f64,
    /// Of the fastest rounds.
    load_over_cat_min: f64,
    index_bytes_per_file: f64,
    sums_bytes_per_file: f64,
    sums_percent_of_bytes: f64,
    lookups: [LookupCost; 2],
    lookup_growth: f64,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let made = match &args.root {
        Some(_) => None,
        None => {
            let parent = args.directory.clone().unwrap_or_else(std::env::temp_dir);
            Some(tree::make(&parent, args.bytes, args.files, 1)?)
        }
    };
    let root = made.as_ref().map(|made| made.path().to_owned()).or_else(|| args.root.clone()).unwrap_or_default();
    let root = fs::canonicalize(root).map_err(Failure::Tree)?;
    let outcome = measure(args, &root)?;
    if let Some(made) = made {
        made.close().map_err(Failure::Tree)?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&outcome)?);
    } else {
        print(&outcome);
    }
    Ok(())
}

fn measure(args: &Args, root: &std::path::Path) -> Result<Outcome, Failure> {
    let options = LoadOptions { hugepages: args.hugepages, threads: args.threads, ..LoadOptions::default() };
    // One of each: the page cache must be warm. A first load also finds out what the memory itself costs: a virtual machine's host
    // may have to give it, and takes back what lies free for seconds.
    tree::cat(root).map_err(Failure::Tree)?;
    let (first, loaded) = timed(|| load(root, &options, &mut |_| ()));
    let (catalogue, report) = loaded?;
    let files = report.files().max(1) as f64;
    let sums = catalogue.sums_bytes() as f64;
    let index = catalogue.overhead_bytes() as f64 - sums;

    let mut kept = Some(catalogue);
    let (mut cats, mut loads) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        let (time, result) = timed(|| tree::cat(root));
        let (_, cat_bytes) = result.map_err(Failure::Tree)?;
        cats.push(time);
        // Held until now, so that its memory is what the next load gets.
        drop(kept.take());
        let (time, loaded) = timed(|| load(root, &options, &mut |_| ()));
        let (catalogue, report) = loaded?;
        loads.push(time);
        if cat_bytes != report.bytes() {
            return Err(Failure::NotTheSame { cat_bytes, load_bytes: report.bytes() });
        }
        kept = Some(catalogue);
    }
    drop(kept);
    let (cat, load) = (Times::of(cats), Times::of(loads));
    let lookups = lookup::measure([100, 100_000], args.rounds)?;
    Ok(Outcome {
        files: report.files(),
        bytes: report.bytes(),
        rounds: args.rounds,
        threads: args.threads,
        pages: report.page_kind().to_string(),
        cat,
        load,
        first_load_s: first.0.as_secs_f64(),
        load_over_cat: load.median_s / cat.median_s,
        load_over_cat_min: load.min_s / cat.min_s,
        index_bytes_per_file: index / files,
        sums_bytes_per_file: sums / files,
        sums_percent_of_bytes: 100.0 * sums / report.bytes().max(1) as f64,
        lookups,
        lookup_growth: lookups[1].lookup_ns() / lookups[0].lookup_ns(),
    })
}

fn print(outcome: &Outcome) {
    let Outcome { files, bytes, rounds, pages, cat, load, .. } = outcome;
    println!("{files} files, {bytes} bytes, in {pages}; {rounds} rounds, seconds as least / median / most, processor");
    for (name, times) in [("cat", cat), ("load", load)] {
        let Times { min_s, median_s, max_s, median_cpu_s } = times;
        let rate = *bytes as f64 / median_s / 1e9;
        println!("{name:5} {min_s:8.3} {median_s:8.3} {max_s:8.3} {median_cpu_s:8.3}   {rate:.2} GB/s");
    }
    println!(
        "load / cat: {:.2} by medians, {:.2} by the least; the first load, into memory that was not warm, took {:.3}",
        outcome.load_over_cat, outcome.load_over_cat_min, outcome.first_load_s
    );
    println!(
        "memory per file beside its bytes: {:.1} bytes of index, {:.1} of sums ({:.2} % of the bytes)",
        outcome.index_bytes_per_file, outcome.sums_bytes_per_file, outcome.sums_percent_of_bytes
    );
    for cost in &outcome.lookups {
        println!(
            "look-up among {:6} files: {:.1} ns, and {:.1} ns to normalise the name",
            cost.files(),
            cost.lookup_ns(),
            cost.parse_ns()
        );
    }
    println!("growth of the look-up: {:.2}", outcome.lookup_growth);
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" => 1,
        "K" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        other => return Err(format!("unknown unit {other}; there are K, M, G, Ki, Mi, Gi")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{digits:?} is no whole number"))?;
    number.checked_mul(unit).filter(|&bytes| bytes < 1 << 47).ok_or_else(|| "that is too many bytes".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_units() {
        for (text, bytes) in [("0", 0), ("17", 17), ("2G", 2_000_000_000), ("3Ki", 3072), ("1Mi", 1 << 20)] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "G", "1T", "-1", "1.5G", "99999999999G"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_small_tree_is_measured_and_removed() {
        let parent = tempfile::tempdir().unwrap();
        let made = tree::make(parent.path(), 3_000_000, 1_100, 1).unwrap();
        let (files, bytes) = tree::cat(made.path()).unwrap();
        assert_eq!(files, 1_100);
        assert!((2_500_000..3_500_000).contains(&bytes), "{bytes}");
        made.close().unwrap();
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
        let error = tree::make(parent.path(), 1 << 46, 10, 1).unwrap_err();
        assert!(matches!(error, Failure::TooSmall { .. }), "{error}");
    }
}
