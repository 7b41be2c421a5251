//! Cycles per ACK→DATA pair on three rungs over one port pair: a bare loop, a null responder, the full engine.
//!
//! All rungs stand on links of the same kind with the same pool, burst and frames, are measured in turn (R0, R1, R2, R0 again),
//! and answer the same generator, which is never inside the measured time (see `case`). Every kind of reply is checked to the
//! last byte before it is measured; a wrong one fails the run.

mod case;
mod content;
mod generator;
mod hugepages;
mod latency;
mod memory;
mod one_block;
mod report;
mod rungs;
mod scaling;
mod setup;
mod statistics;
mod verify;
mod vhost;
mod vhost_peer;

use case::{CaseError, Clock, Effort, Point};
use content::{Layout, Regime};
use dataplane::files::Catalogue;
use generator::Shape;
use report::{MachineFacts, Report};
use setup::{Machine, SetupError};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use thiserror::Error;
use vhost::VhostError;
use vhost_peer::PeerError;

/// Largest block that a jumbo frame carries, in bytes.
const BLKSIZE_MAX: i64 = 8_960;

/// Most clients that have addresses.
const SESSIONS_MAX: u32 = 4_000_000;

/// Cycles per ACK→DATA pair on three rungs over one port pair: a bare loop, a null responder, the full engine.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Block sizes, in bytes [default: 512,1428,8192].
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(8..=BLKSIZE_MAX))]
    blksize: Vec<u16>,
    /// Window sizes, in blocks [default: 1,16].
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=16))]
    windowsize: Vec<u16>,
    /// Few files, or several times the last-level cache in random order [default: hot,cold].
    #[arg(long, value_delimiter = ',')]
    content: Vec<Regime>,
    /// Live sessions, such as 1k, 100k, 1M [default: 1k,100k,1M].
    #[arg(long, value_delimiter = ',', value_parser = parse_sessions)]
    sessions: Vec<u32>,
    /// Rounds over all rungs [default: 12].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Windows of one millisecond per rung and round.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    windows: u32,
    /// A few cases in a few seconds; what is given besides is kept.
    #[arg(long)]
    quick: bool,
    /// Leave out the one-block transfers, the memory of a session, the second worker and the latency.
    #[arg(long)]
    only_pairs: bool,
    /// CPU to measure on.
    #[arg(long, default_value_t = 0)]
    cpu: u32,
    /// Rings in one process, or `net_vhost` and `net_virtio_user` in two (block sizes and rounds apply).
    #[arg(long, value_enum, default_value_t = PortKind::Ring)]
    port: PortKind,
    /// Be the generator of another process.
    #[arg(long, hide = true)]
    vhost_peer: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What lies between server and generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum PortKind {
    Ring,
    Vhost,
}

/// Why there is no result.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// EAL, pools.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// One of the cases.
    #[error("{what}: {error}")]
    Case {
        /// Which.
        what: String,
        /// Why.
        error: CaseError,
    },
    /// The topology of two processes.
    #[error(transparent)]
    Vhost(#[from] VhostError),
    /// Its generator.
    #[error("generator: {0}")]
    Peer(#[from] PeerError),
    /// JSON could not be written.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if let (Some(sockets), Some(&blksize)) = (&args.vhost_peer, args.blksize.first()) {
        return Ok(vhost_peer::run(sockets, blksize, args.cpu)?);
    }
    let report = match args.port {
        PortKind::Ring => run_on_rings(args)?,
        PortKind::Vhost => run_on_vhost(args)?,
    };
    if args.json {
        println!("{}", report.to_json()?);
    } else {
        print!("{report}");
    }
    Ok(())
}

fn effort(args: &Args) -> Effort {
    Effort { rounds: args.rounds.unwrap_or(if args.quick { 10 } else { 12 }), windows: args.windows }
}

/// A report without results.
fn begin_report(port: &'static str, machine: &Machine, clock: &Clock, effort: &Effort) -> Report {
    Report {
        port,
        machine: MachineFacts {
            cpu: cpu_model(),
            tsc_hz: machine.tsc.hz(),
            last_level_cache_bytes: content::last_level_cache_bytes(),
            tsc_reading_cycles: clock.reading_cost,
        },
        rounds: effort.rounds,
        cases: Vec::new(),
        one_block: None,
        bytes_per_session: None,
        scaling: None,
        latency: None,
    }
}

fn run_on_vhost(args: &Args) -> Result<Report, Failure> {
    let effort = effort(args);
    let blksizes = if args.blksize.is_empty() { &[512, 1428][..] } else { &args.blksize };
    // The pages are given back behind everything that lies in them.
    let (_reservation, mut machine, peer_cpu) = vhost::start(args.cpu)?;
    let clock = Clock::new(machine.tsc);
    let mut report = begin_report("net_vhost and net_virtio_user", &machine, &clock, &effort);
    for &blksize in blksizes {
        eprintln!("ladder: vhost, blksize {blksize}");
        let case = vhost::measure(&mut machine, &clock, blksize, peer_cpu, effort.rounds, effort.windows)?;
        report.cases.push(case);
    }
    Ok(report)
}

fn run_on_rings(args: &Args) -> Result<Report, Failure> {
    let points = points(args);
    let effort = effort(args);
    let began = Instant::now();
    let second_cpu = if args.only_pairs { None } else { setup::second_cpu(args.cpu) };
    let mut machine = Machine::start(args.cpu, second_cpu)?;
    let clock = Clock::new(machine.tsc);
    let mut report = begin_report("net_ring", &machine, &clock, &effort);
    let cache_bytes = report.machine.last_level_cache_bytes;
    if !args.only_pairs {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error| Failure::Case { what, error }
        };
        // First, while this process has given nothing back that an allocation could use again.
        let sessions = points.iter().map(|point| point.sessions).max().unwrap_or(0);
        eprintln!("ladder: memory of {sessions} sessions");
        report.bytes_per_session =
            memory::bytes_per_session(&mut machine, &clock, sessions).map_err(failed("memory"))?;
        eprintln!("ladder: one-block transfers");
        let plain = one_block::measure(&mut machine, &clock, &effort, false).map_err(failed("one block"))?;
        let oack = one_block::measure(&mut machine, &clock, &effort, true).map_err(failed("one block, OACK"))?;
        report.one_block = Some((plain, oack));
        eprintln!("ladder: two workers");
        report.scaling = Some(scaling::measure(&mut machine, &clock, &effort).map_err(failed("two workers"))?);
        eprintln!("ladder: latency at half load");
        report.latency = Some(latency::measure(&mut machine, &clock, &effort).map_err(failed("latency"))?);
    }
    let mut kept: Option<(Layout, Arc<Catalogue>)> = None;
    for (number, point) in points.iter().enumerate() {
        let Point { blksize, windowsize, regime, sessions } = *point;
        let what = format!("blksize {blksize}, windowsize {windowsize}, {regime:?}, {sessions} sessions");
        eprintln!("ladder: {}/{} after {:.0} s: {what}", number + 1, points.len(), began.elapsed().as_secs_f64());
        let layout = Layout::of(regime, blksize, windowsize, sessions, cache_bytes);
        let shape = Shape { blksize, windowsize, layout, tsize: false };
        let mut measure = || {
            let catalogue = catalogue(&mut kept, layout)?;
            case::measure(&mut machine, &clock, point, &shape, &effort, &catalogue)
        };
        report.cases.push(measure().map_err(|error| Failure::Case { what, error })?);
    }
    Ok(report)
}

/// Keeps the last catalogue, so that only one is in memory at a time.
fn catalogue(kept: &mut Option<(Layout, Arc<Catalogue>)>, layout: Layout) -> Result<Arc<Catalogue>, CaseError> {
    if let Some((_, catalogue)) = kept.as_ref().filter(|(other, _)| *other == layout) {
        return Ok(Arc::clone(catalogue));
    }
    *kept = None;
    let catalogue = Arc::new(layout.build()?);
    *kept = Some((layout, Arc::clone(&catalogue)));
    Ok(catalogue)
}

/// All cases, those with the same content next to each other.
fn points(args: &Args) -> Vec<Point> {
    fn or<T: Clone>(given: &[T], quick: bool, few: &[T], all: &[T]) -> Vec<T> {
        let chosen = if !given.is_empty() {
            given
        } else if quick {
            few
        } else {
            all
        };
        chosen.to_vec()
    }
    let blksizes = or(&args.blksize, args.quick, &[512, 1428], &[512, 1428, 8192]);
    let windowsizes = or(&args.windowsize, args.quick, &[1], &[1, 16]);
    let regimes = or(&args.content, args.quick, &[Regime::Hot], &[Regime::Hot, Regime::Cold]);
    let sessions = or(&args.sessions, args.quick, &[1_000, 100_000], &[1_000, 100_000, 1_000_000]);
    let mut points = Vec::new();
    for &blksize in &blksizes {
        for &regime in &regimes {
            for &sessions in &sessions {
                for &windowsize in &windowsizes {
                    points.push(Point { blksize, windowsize, regime, sessions });
                }
            }
        }
    }
    points
}

fn parse_sessions(text: &str) -> Result<u32, String> {
    let (digits, factor) = match text.strip_suffix(['k', 'K', 'M']) {
        Some(digits) if text.ends_with('M') => (digits, 1_000_000),
        Some(digits) => (digits, 1_000),
        None => (text, 1),
    };
    let number: u32 = digits.parse().map_err(|_| format!("`{text}` is no number such as 1000, 100k or 1M"))?;
    match number.checked_mul(factor) {
        Some(sessions @ 32..=SESSIONS_MAX) => Ok(sessions),
        _ => Err(format!("from 32 to {SESSIONS_MAX} sessions can be had")),
    }
}

fn cpu_model() -> String {
    fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| "unknown CPU".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_counts_may_be_short() {
        assert_eq!(parse_sessions("1000"), Ok(1_000));
        assert_eq!(parse_sessions("100k"), Ok(100_000));
        assert_eq!(parse_sessions("1M"), Ok(1_000_000));
        for wrong in ["", "k", "5M", "31", "1G", "-1", "99999999999", "5000000k"] {
            assert!(parse_sessions(wrong).is_err(), "{wrong}");
        }
    }
}
