//! bypassd and stock servers side by side on one veth link: rates, and the CPU time of the whole machine per unit of work.
//!
//! It makes two network namespaces with a veth pair between them (offloads off), a tree of files, and runs each server in turn on a
//! core of its own; the client, the same for all, has another core, keeps a number of transfers running and compares every byte.
//! Everything is removed at the end, on errors and on SIGINT and SIGTERM too. It sends nowhere else.
//!
//! # What the CPU figures hold
//! Over a veth the kernel is the bottleneck, so that rates say little; CPU time per transfer does. All of the machine's time is taken
//! (user, nice, system, irq, softirq of `/proc/stat`), less what the idle machine used before the round (bounded), less the CPU time
//! of the client's thread. This leaves the server's processes, forks and exits included, and the kernel's work for them.
//!
//! A frame on a veth crosses in a softirq in the context of its sender. So the link and the server's receive path up to its socket
//! are in the client's share, and the link and the client's receive path are in the server's, for all servers alike; the
//! second figure, with the client in it, has both. Where the kernel accounts interrupts apart (`CONFIG_IRQ_TIME_ACCOUNTING`), the
//! client's softirqs are in the first figure too, again for all alike.
//!
//! bypassd's worker polls: its core is busy whether it works or not. Its whole core at the rate that client and link allow is an
//! upper bound. What its work costs are the turns of its loop that had a frame (`busy_us` of `show workers`, which it counts by the
//! clock that it reads anyway); softirqs that were put off to ksoftirqd are added. Of that, the system time of its thread is the
//! link's: `net_af_packet` receives from a ring in shared memory and calls the kernel to send; turns without a frame call nothing.

mod accounting;
mod client;
mod content;
mod lab;
mod measure;
mod report;
mod server;
mod transfer;

use accounting::SoftirqThreads;
use content::Content;
use lab::Lab;
use measure::{Bench, Sample, Scenario};
use report::{Figure, Outcome, Report, ratios};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;
use server::{Kind, Running};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use thiserror::Error;

/// Measures bypassd, tftpd-hpa, atftpd and dnsmasq side by side on one veth link: rates, and the machine's CPU time per transfer
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Servers, in the order of a round
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Bypassd, Kind::TftpdHpa, Kind::Atftpd, Kind::Dnsmasq])]
    servers: Vec<Kind>,

    /// What the clients do
    #[arg(
        long, value_enum, value_delimiter = ',',
        default_values_t = [
            Scenario::OneBlock, Scenario::OneBlockOptions, Scenario::Blocks1428, Scenario::Windows16, Scenario::Blocks512
        ]
    )]
    scenarios: Vec<Scenario>,

    /// Transfers at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=256))]
    clients: u16,

    /// Rounds over all servers; the figures are medians over them
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rounds: u16,

    /// Length of one measurement; the kernel counts in ticks of 10 ms
    #[arg(long, value_name = "SECS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,

    /// CPU of the server [default: the second one that this process may use]
    #[arg(long, value_name = "CPU")]
    server_cpu: Option<usize>,

    /// CPU of the client [default: the first one]
    #[arg(long, value_name = "CPU")]
    client_cpu: Option<usize>,

    /// bypassd's binary [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    bypassd: Option<PathBuf>,

    /// JSON with all rounds, instead of a table
    #[arg(long)]
    json: bool,
}

/// Why there is no result.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// Namespaces are root's.
    #[error("peers makes network namespaces and needs root\nhelp: sudo {0}")]
    NotRoot(String),
    /// One core for the server, one for the client.
    #[error(
        "peers needs two CPUs: {0}\nhelp: name them with --server-cpu and --client-cpu, or allow more (taskset, AllowedCPUs=)"
    )]
    Cpus(String),
    /// None of the servers is there.
    #[error("there is no server to measure: {0}")]
    NoServer(String),
    /// A command of the lab failed.
    #[error("{command}: {why}")]
    Command {
        /// Its words.
        command: String,
        /// What it said.
        why: String,
    },
    /// A server did not begin to serve.
    #[error("{name} does not serve; the end of its log:\n{log}")]
    Server {
        /// Which one.
        name: &'static str,
        /// Its last lines.
        log: String,
    },
    /// bypassd's control socket gives no answer.
    #[error(transparent)]
    Control(#[from] control::client::ClientError),
    /// bypassd's answer is none.
    #[error("bypassd does not tell what its workers do: {0}\nhelp: build both together: cargo build --release")]
    Answer(String),
    /// The system refused something.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// SIGINT or SIGTERM.
    #[error("interrupted; everything is taken down")]
    Interrupted,
}

/// Where server and client run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Cpus {
    server: usize,
    client: usize,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let report = measure_all(args)?;
    let text = if args.json {
        let json = serde_json::to_string_pretty(&report);
        json.map_err(|error| Failure::System { what: "cannot write JSON".to_owned(), source: error.into() })? + "\n"
    } else {
        report.table()
    };
    let written = io::stdout().lock().write_all(text.as_bytes());
    written.map_err(|source| Failure::System { what: "cannot write the result".to_owned(), source })
}

fn measure_all(args: &Args) -> Result<Report, Failure> {
    let command = command_line();
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::NotRoot(command));
    }
    let cpus = cpus(args)?;
    let mut notes = Vec::new();
    let servers = present(args, &mut notes)?;
    let system = |what: &str| {
        let what = what.to_owned();
        move |source: io::Error| Failure::System { what, source }
    };
    let cancelled = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&cancelled)).map_err(system("cannot take over signals"))?;
    }

    let content = Content::build().map_err(system("cannot write the files to serve"))?;
    let work = tempfile::tempdir().map_err(system("cannot make a folder for logs"))?;
    let lab = Lab::build()?;
    let _client = lab.visit_client()?;
    pin(cpus.client).map_err(system("cannot pin the client"))?;
    let bench = Bench {
        content: &content,
        softirqs: SoftirqThreads::find().map_err(system("cannot look through /proc"))?,
        cancelled: &cancelled,
        clients: args.clients.into(),
        length: Duration::from_secs(args.seconds.into()),
    };
    let mut rounds = Rounds { samples: BTreeMap::new(), baselines: Vec::new() };
    for round in 1..=args.rounds {
        for (kind, program) in &servers {
            progress(format_args!("round {round} of {}: {}", args.rounds, kind.name()));
            rounds.baselines.push(bench.baseline()?);
            let start = || Running::start(*kind, program, &lab, &content, work.path(), cpus, &cancelled);
            rounds.measure(&bench, *kind, &args.scenarios, start)?;
        }
    }
    Ok(rounds.report(args, command, cpus, notes))
}

/// What was measured so far.
struct Rounds {
    samples: BTreeMap<(Scenario, Kind), Vec<Sample>>,
    baselines: Vec<f64>,
}

impl Rounds {
    /// One server through all scenarios.
    fn measure<'a>(
        &mut self,
        bench: &Bench<'_>,
        kind: Kind,
        scenarios: &[Scenario],
        start: impl FnOnce() -> Result<Running<'a>, Failure>,
    ) -> Result<(), Failure> {
        let server = start()?;
        let baseline = self.baselines.last().copied().unwrap_or_default();
        for &scenario in scenarios {
            let sample = bench.measure(&server, scenario, baseline)?;
            if bench.cancelled.load(Ordering::Relaxed) {
                return Err(Failure::Interrupted);
            }
            self.samples.entry((scenario, kind)).or_default().extend(sample);
        }
        Ok(())
    }

    fn report(self, args: &Args, command: String, cpus: Cpus, mut notes: Vec<String>) -> Report {
        let nothing = Figure { median: 0.0, min: 0.0, max: 0.0 };
        let count = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let steal = |sample: &Sample| sample.steal_ns / (sample.seconds * 1e9 * count) * 100.0;
        let steal_percent = Figure::of(self.samples.values().flatten().map(steal)).unwrap_or(nothing);
        for ((scenario, kind), samples) in &self.samples {
            notes.extend(trouble(*scenario, *kind, samples));
        }
        let results: Vec<Outcome> =
            self.samples.into_iter().map(|((scenario, kind), samples)| Outcome::new(kind, scenario, samples)).collect();
        Report {
            command,
            clients: args.clients.into(),
            seconds: f64::from(args.seconds),
            cpus,
            baseline_percent: Figure::of(self.baselines.iter().map(|share| share * 100.0)).unwrap_or(nothing),
            steal_percent,
            ratios: ratios(&results),
            results,
            notes,
        }
    }
}

/// A line about what went wrong in a server's measurements, if something did.
fn trouble(scenario: Scenario, kind: Kind, samples: &[Sample]) -> Option<String> {
    let what = scenario.title().split(':').next().unwrap_or_default();
    if samples.is_empty() {
        return Some(format!("{what}, {}: n/a, it grants no windowsize.", kind.name()));
    }
    let timeouts: u64 = samples.iter().map(|sample| sample.timeouts).sum();
    let failures: u64 = samples.iter().map(|sample| sample.failures).sum();
    let strays: u64 = samples.iter().map(|sample| sample.strays).sum();
    let mistake = samples.iter().find_map(|sample| sample.mistake.as_deref());
    if timeouts + failures + strays == 0 && mistake.is_none() {
        return None;
    }
    let example = mistake.map_or_else(String::new, |mistake| format!("; for example: {mistake}"));
    Some(format!(
        "{what}, {}: {timeouts} packets were sent again after a second of silence, {strays} late repeats for earlier\n\
         transfers came in, {failures} transfers failed{example}.",
        kind.name()
    ))
}

/// The servers that are there; a note with the remedy about each that is not.
fn present(args: &Args, notes: &mut Vec<String>) -> Result<Vec<(Kind, PathBuf)>, Failure> {
    let mut found = Vec::new();
    for &kind in &args.servers {
        match kind.locate(args.bypassd.as_deref()) {
            Some(program) => found.push((kind, program)),
            None => {
                let note = format!("{} is not here and was left out; this brings it: {}", kind.name(), kind.remedy());
                progress(&note);
                notes.push(note);
            }
        }
    }
    if found.is_empty() { Err(Failure::NoServer(notes.join("; "))) } else { Ok(found) }
}

/// The client's CPU and the server's: as asked, else the first two of the affinity mask.
fn cpus(args: &Args) -> Result<Cpus, Failure> {
    let mask = sched_getaffinity(None)
        .map_err(|error| Failure::System { what: "cannot read the CPU affinity".to_owned(), source: error.into() })?;
    let allowed: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| mask.is_set(cpu)).collect();
    choose_cpus(&allowed, args.client_cpu, args.server_cpu).map_err(Failure::Cpus)
}

fn choose_cpus(allowed: &[usize], client: Option<usize>, server: Option<usize>) -> Result<Cpus, String> {
    let other_than = |taken: Option<usize>| allowed.iter().copied().find(|&cpu| Some(cpu) != taken);
    let client = client.or_else(|| other_than(server)).ok_or("none is allowed")?;
    let server = server.or_else(|| other_than(Some(client))).ok_or("only one is allowed")?;
    match [client, server].into_iter().find(|cpu| !allowed.contains(cpu)) {
        Some(cpu) => Err(format!("CPU {cpu} is not allowed")),
        None if client == server => Err("server and client cannot share one".to_owned()),
        None => Ok(Cpus { server, client }),
    }
}

/// Pins the calling thread.
fn pin(cpu: usize) -> io::Result<()> {
    let mut mask = CpuSet::new();
    mask.set(cpu);
    Ok(sched_setaffinity(None, &mask)?)
}

/// As it was typed, the program by its name.
fn command_line() -> String {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    let name =
        Path::new(&program).file_name().map_or_else(|| program.clone(), |name| name.to_string_lossy().into_owned());
    std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ")
}

/// To standard error, which is no result. Nobody may read it.
fn progress(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn args(words: &[&str]) -> Args {
        Cli::parse_from([&["peers"], words].concat()).args
    }

    #[test]
    fn cpus_are_the_first_two_unless_they_are_named() {
        let chosen = |allowed: &[usize], client, server| {
            choose_cpus(allowed, client, server).map(|cpus| (cpus.client, cpus.server))
        };
        assert_eq!(chosen(&[0, 1], None, None), Ok((0, 1)));
        assert_eq!(chosen(&[4, 6, 7], None, Some(4)), Ok((6, 4)));
        assert_eq!(chosen(&[4, 6, 7], Some(6), None), Ok((6, 4)));
        assert_eq!(chosen(&[4, 6, 7], Some(7), Some(6)), Ok((7, 6)));
        for (allowed, client, server) in
            [(&[][..], None, None), (&[3], None, None), (&[0, 1], Some(1), Some(1)), (&[0, 1], Some(2), None)]
        {
            assert!(chosen(allowed, client, server).is_err(), "{allowed:?} {client:?} {server:?}");
        }
    }

    #[test]
    fn all_servers_and_scenarios_are_the_default() {
        let all = args(&[]);
        assert_eq!((all.servers.len(), all.scenarios.len(), all.rounds, all.clients), (4, 5, 5, 64));
        let some = args(&["--servers", "dnsmasq,bypassd", "--scenarios", "windows-16"]);
        assert_eq!(some.servers, [Kind::Dnsmasq, Kind::Bypassd]);
        assert_eq!(some.scenarios, [Scenario::Windows16]);
    }

    #[test]
    fn a_missing_server_is_named_with_its_remedy() {
        let mut notes = Vec::new();
        let missing = args(&["--servers", "bypassd", "--bypassd", "/nowhere/bypassd"]);
        let error = present(&missing, &mut notes).unwrap_err().to_string();
        assert!(error.contains("bypassd is not here") && error.contains("cargo build --release"), "{error}");
    }

    /// The whole way, against whatever stock server is installed; needs root.
    #[test]
    fn a_short_run_measures_and_leaves_nothing_behind() {
        if !rustix::process::geteuid().is_root() {
            progress("skipped: not root");
            return;
        }
        let mut short =
            args(&["--rounds", "1", "--seconds", "1", "--clients", "4", "--scenarios", "one-block,windows-16"]);
        short.servers = vec![Kind::Dnsmasq, Kind::Atftpd];
        short.servers.retain(|kind| kind.locate(None).is_some());
        if short.servers.is_empty() || cpus(&short).is_err() {
            progress("skipped: no stock server (configs/setup.sh --peers), or one CPU only");
            return;
        }
        let report = measure_all(&short).unwrap();
        let small: Vec<&Outcome> =
            report.results.iter().filter(|result| result.scenario == Scenario::OneBlock).collect();
        assert_eq!(small.len(), short.servers.len());
        for result in small {
            let sample = &result.rounds[0];
            assert!(sample.transfers > 0 && sample.bytes == 400 * sample.blocks, "{sample:?}");
            assert_eq!((sample.failures, &sample.mistake), (0, &None), "{sample:?}");
            assert!(sample.client_ns > 0.0 && sample.machine_ns > 0.0, "{sample:?}");
        }
        let dnsmasq = report
            .results
            .iter()
            .find(|result| (result.server, result.scenario) == (Kind::Dnsmasq, Scenario::Windows16));
        assert!(dnsmasq.is_none_or(|result| !result.supported), "dnsmasq grants no window");
        let left = std::fs::read_dir("/run/netns").map(|names| names.flatten().collect::<Vec<_>>()).unwrap_or_default();
        let ours = format!("bpb{}", std::process::id());
        assert!(!left.iter().any(|entry| entry.file_name().to_string_lossy().starts_with(&ours)), "{left:?}");
    }
}
