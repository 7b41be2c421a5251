//! An open-loop load generator on DPDK: many clients, each with its own MAC, address and port, against any TFTP server. Sends only
//! to the server that is named, ends by itself, and checks what it gets.

mod arrivals;
mod client;
mod content;
mod link;
mod options;
mod population;
mod port;
mod report;
mod run;
mod tally;
mod timers;
mod watch;
mod wire;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use control::device::{PciDevice, Vdev};
use control::lcores::LcoreList;
use control::settings::Environment;
use dataplane::dpdk::Tsc;
use dataplane::random::{Random, Seed};
use dataplane::time::Duration;
use dataplane::wire::MacAddr;
use thiserror::Error;

use arrivals::{Arrivals, Process};
use content::{Content, ContentError, Wanted};
use link::{Link, Loss};
use options::Asked;
use population::{First, MAX_CLIENTS, Population, PopulationError};
use report::{FileResult, PortResult, Report, Setting, Times, Verification};
use run::{Generator, Load, Plan};
use tally::Snapshot;
use watch::{Measured, WatchError, Watcher};

/// How long the server may take to tell its MAC.
const RESOLVE: Duration = Duration::from_secs(5);

/// Independent streams of random numbers out of one seed.
mod stream {
    pub(super) const ARRIVALS: u64 = 0;
    pub(super) const LOSS: u64 = 1;
    pub(super) const CHOICES: u64 = 2;
}

const EXAMPLES: &str = "\
Examples:
  1000 transfers a second from 4000 clients at the other end of a veth, compared with the files that are served:
    bypassbench storm --vdev net_af_packet0,iface=veth1 --server 10.99.0.1 --clients-from 10.99.16.0/20 --clients 4000 \\
      --file pxelinux.0:10 --file vmlinuz --rate 1000 --blksize 1428 --windowsize 16 --verify /tftp

  A rack that is switched on: 200 clients at once, each again and again, 1 % loss each way:
    bypassbench storm -a 0000:03:00.0 --server 192.0.2.1 --clients-from 192.0.2.10 --clients 200 --closed --think 100 \\
      --file boot/kernel --loss 1 --json storm.json --hlog storm.hlog

On a veth, switch checksum offload off at both ends: ethtool -K IF tx off rx off.
Latencies begin where a transfer was meant to begin, not where the generator came to it.
Ctrl-C ends the load, running transfers may finish within the grace time; a second one ends at once.
Exit status: 0 content right; 1 content wrong, nothing completed, or no start; 2 wrong usage.";

/// The subcommand's flags; boxed, since they are many more than the others'.
pub(crate) type Args = Box<Flags>;

/// An open-loop load generator on DPDK: many clients against any TFTP server.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("device").required(true).args(["vdev", "allow"]))]
#[command(group = clap::ArgGroup::new("mix").required(true).multiple(true).args(["files", "list"]))]
pub(crate) struct Flags {
    /// Virtual device, as testpmd takes it: net_af_packet0,iface=veth1
    #[arg(long, value_name = "STR")]
    vdev: Option<Vdev>,

    /// PCI device, bound to vfio-pci (or of a bifurcated driver): 0000:03:00.0. All clients then have its MAC
    #[arg(short = 'a', long = "allow", value_name = "PCI")]
    allow: Option<PciDevice>,

    /// The lcore that polls [default: the first CPU that this process may use]
    #[arg(short = 'l', long = "lcores", value_name = "LCORE")]
    lcores: Option<LcoreList>,

    /// The port's MTU in bytes; more than 1500 for larger blocks
    #[arg(long, value_name = "BYTES", default_value_t = 1_500, value_parser = clap::value_parser!(u16).range(576..=9_600))]
    mtu: u16,

    /// Give all clients the port's MAC, for NICs and switches that take no others
    #[arg(long)]
    one_mac: bool,

    /// The server's address
    #[arg(long, value_name = "IP")]
    server: IpAddr,

    /// The server's port for requests
    #[arg(long, value_name = "PORT", default_value_t = 69, value_parser = clap::value_parser!(u16).range(1..))]
    server_port: u16,

    /// Where frames to the server go (its MAC, or a router's) [default: ask by ARP or neighbour discovery]
    #[arg(long, value_name = "MAC")]
    server_mac: Option<MacAddr>,

    /// The first client's address, with a prefix length that the clients must not leave, or without
    #[arg(long, value_name = "ADDRESS[/LEN]")]
    clients_from: First,

    /// Clients, each with its own MAC, address and port: at most that many transfers at once
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CLIENTS)))]
    clients: u32,

    /// File to ask for, and how often compared with the others; repeatable
    #[arg(long = "file", value_name = "NAME[:WEIGHT]")]
    files: Vec<Wanted>,

    /// List of such files, one in each line
    #[arg(long = "files", value_name = "LIST")]
    list: Option<PathBuf>,

    /// When transfers begin
    #[arg(long, value_enum, default_value_t = Process::Poisson)]
    arrivals: Process,

    /// Transfers that begin per second
    #[arg(long, value_name = "PER SECOND", default_value = "1000", value_parser = rate)]
    rate: f64,

    /// Transfers that begin at once, with --arrivals burst
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CLIENTS)))]
    burst: u32,

    /// Closed loop: all clients at once, each begins again when its transfer has ended
    #[arg(long, conflicts_with_all = ["arrivals", "rate", "burst"])]
    closed: bool,

    /// Milliseconds between two transfers of a client in a closed loop
    #[arg(long, value_name = "MS", default_value_t = 0, requires = "closed", value_parser = clap::value_parser!(u64).range(..=3_600_000))]
    think: u64,

    /// Seconds in which transfers begin
    #[arg(long, value_name = "SECS", default_value = "10", value_parser = seconds)]
    duration: f64,

    /// Seconds that running transfers have to finish afterwards
    #[arg(long, value_name = "SECS", default_value = "5", value_parser = seconds)]
    grace: f64,

    /// Option blksize (RFC 2348) in bytes
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(8..=65_464))]
    blksize: Option<u16>,

    /// Option windowsize (RFC 7440) in blocks
    #[arg(long, value_name = "BLOCKS", value_parser = clap::value_parser!(u16).range(1..))]
    windowsize: Option<u16>,

    /// Option timeout (RFC 2349) in seconds
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u8).range(1..))]
    timeout: Option<u8>,

    /// Option tsize (RFC 2349); the size that the server says is compared
    #[arg(long)]
    tsize: bool,

    /// Milliseconds until a client sends its request or ACK again; doubled each time, up to eight times this
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    retransmit_initial_ms: u64,

    /// Resends in a row before a client gives up
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u8).range(..=100))]
    tries: u8,

    /// Drop this part of the TFTP frames on purpose, sent and received
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = percent)]
    loss: f64,

    /// Decides arrivals, files and losses
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Compare every byte with the files below this directory [default: compare sizes and checksums between clients]
    #[arg(long, value_name = "DIR")]
    verify: Option<PathBuf>,

    /// Write the result as JSON; `-`: to standard output, and the summary to standard error
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,

    /// Write an HdrHistogram interval log, one tag for each latency, in microseconds
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,

    /// Further EAL arguments, passed on unchanged and last
    #[arg(last = true, allow_hyphen_values = true, value_name = "EAL ARGS")]
    eal: Vec<String>,
}

/// Why there is no result, or not a good one.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// Who the clients are.
    #[error(transparent)]
    Population(#[from] PopulationError),
    /// What they ask for.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A block does not fit a frame.
    #[error(
        "blocks of {blksize} bytes do not fit an MTU of {mtu}, fragments are not put together: at most {most}, or a larger --mtu"
    )]
    BlockSize {
        /// What was asked for.
        blksize: u16,
        /// The MTU.
        mtu: u16,
        /// What fits.
        most: u16,
    },
    /// The port.
    #[error(transparent)]
    Port(#[from] port::PortError),
    /// Signals, progress, interval log.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// A histogram's memory.
    #[error("cannot measure: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
    /// Nobody has the server's address.
    #[error(
        "{0} does not answer for its MAC: is it on this link? A router's or the server's own goes with --server-mac"
    )]
    NoServer(IpAddr),
    /// The JSON, or the summary.
    #[error("cannot write the result to {to}: {source}")]
    Write {
        /// Where.
        to: String,
        /// Why.
        source: io::Error,
    },
    /// No transfer was completed.
    #[error("no transfer was completed")]
    NothingDone,
    /// The server sent wrong content.
    #[error("{0} transfer(s) with wrong content")]
    Mismatch(u64),
}

pub(crate) fn run(args: &Flags) -> Result<(), Failure> {
    let mut wanted = args.files.clone();
    if let Some(list) = &args.list {
        wanted.extend(content::read_list(list)?);
    }
    let asked = Asked { blksize: args.blksize, windowsize: args.windowsize, timeout: args.timeout, tsize: args.tsize };
    // TFTP's own header is four bytes.
    let most = args.mtu - wire::headers_len(args.server.is_ipv4()) - 4;
    if let Some(blksize) = args.blksize.filter(|blksize| *blksize > most) {
        return Err(Failure::BlockSize { blksize, mtu: args.mtu, most });
    }
    let population = Population::new(args.clients_from, args.clients, args.server)?;
    let content = Content::new(&wanted, &asked, args.verify.as_deref())?;

    let (watcher, exchange) = Watcher::start(args.hlog.clone())?;
    let ended = generate(args, asked, population, content, &watcher, &exchange);
    port::clean_up(&Environment::of_process().eal_runtime_base());
    // The watcher ends when nothing can come any more.
    drop(exchange);
    let interrupted = watcher.stop().load(Ordering::Relaxed) > 0;
    let measured = watcher.finish()?;
    let Ended { setting, port, lasted, verification, files } = ended?;
    let run::Lasted { load, busy, all } = lasted;
    let times = Times { load: seconds_of(load), busy: seconds_of(busy), all: seconds_of(all), interrupted };
    let Measured { counts, latencies } = &measured;
    let report = Report::new(setting, times, *counts, latencies, port, verification, files);
    publish(args.json.as_deref(), &report)
}

/// What is left of a run beside its measurements.
struct Ended {
    setting: Setting,
    port: PortResult,
    lasted: run::Lasted,
    verification: Verification,
    files: Vec<FileResult>,
}

/// Opens the port, finds the server and runs.
fn generate(
    args: &Flags,
    asked: Asked,
    population: Population,
    content: Content,
    watcher: &Watcher,
    exchange: &run::Exchange,
) -> Result<Ended, Failure> {
    let device = match (&args.vdev, &args.allow) {
        (Some(vdev), _) => port::Wanted::Virtual(vdev.clone()),
        // The definition asks for one of the two.
        (None, Some(device)) => port::Wanted::Pci(device.clone()),
        (None, None) => return Err(port::PortError::Missing("a device".to_owned()).into()),
    };
    let opened = port::open(&device, args.lcores.as_ref(), args.mtu, &args.eal)?;
    // A NIC filters by its MAC.
    let share = args.one_mac || args.allow.is_some();
    let population = if share { population.sharing(opened.mac) } else { population };
    let seed = u128::from(args.seed).to_le_bytes();
    let random = |stream| Random::new(Seed(seed), stream);
    let mut link = Link::new(opened.queue, population, Loss::new(args.loss, random(stream::LOSS)));

    let clock = Tsc::new(&opened.eal);
    let stopped = || watcher.stop().load(Ordering::Relaxed) > 0;
    let server_mac = match args.server_mac {
        Some(mac) => mac,
        None => link.resolve(RESOLVE, || clock.now(), stopped).ok_or(Failure::NoServer(args.server))?,
    };
    link.set_server_mac(server_mac);
    eprintln!("{} on {}: {} at {server_mac}", args.clients, opened.name, args.server);

    let load = if args.closed {
        Load::Closed { think: Duration::from_millis(args.think) }
    } else {
        Load::Open(Arrivals::new(args.arrivals, args.rate, args.burst, random(stream::ARRIVALS)))
    };
    let plan = Plan {
        asked,
        load,
        duration: duration(args.duration),
        grace: duration(args.grace),
        retransmit: Duration::from_millis(args.retransmit_initial_ms),
        tries: args.tries,
        server_port: args.server_port,
        random: random(stream::CHOICES),
    };
    let mut generator = Generator::new(link, plan, content, Box::new(Snapshot::new()?));
    // All memory is taken; now time begins.
    let clock = Tsc::new(&opened.eal);
    let lasted = run::run(&mut generator, || clock.now(), watcher.stop(), exchange);

    let content = generator.content();
    let files = content.tallies().map(|(name, bytes, tally)| FileResult {
        name: name.to_owned(),
        bytes,
        done: tally.done,
        mismatches: tally.mismatches,
    });
    let setting = setting(args, opened.name, server_mac);
    // A port that cannot count has lost nothing that anybody knows of.
    let port = opened.device.stats().map(PortResult::from).unwrap_or_default();
    let verification = verification(&generator, &population);
    Ok(Ended { setting, port, lasted, verification, files: files.collect() })
}

fn verification<P: dataplane::port::Port>(generator: &Generator<P>, population: &Population) -> Verification {
    let content = generator.content();
    let first_mismatch = generator.difference().map(|difference| {
        let place = match difference.offset {
            Some(offset) => format!("in the block at byte {offset}"),
            None => "in size or checksum".to_owned(),
        };
        format!("{} to {}, {place}", content.name(difference.file), population.address(difference.client))
    });
    Verification {
        mode: if content.is_comparing() { "files" } else { "consistency" },
        mismatches: generator.sheet().counts.transfers.mismatched,
        first_mismatch,
    }
}

fn setting(args: &Flags, device: String, server_mac: MacAddr) -> Setting {
    let open = !args.closed;
    let arrivals = match args.arrivals {
        _ if args.closed => "closed",
        Process::Poisson => "poisson",
        Process::Uniform => "uniform",
        Process::Burst => "burst",
    };
    Setting {
        server: args.server.to_string(),
        server_mac: server_mac.to_string(),
        device,
        clients: args.clients,
        clients_from: args.clients_from.to_string(),
        arrivals: arrivals.to_owned(),
        offered_rate: open.then_some(args.rate),
        burst: (open && args.arrivals == Process::Burst).then_some(args.burst),
        think_ms: args.closed.then_some(args.think),
        duration_s: args.duration,
        blksize: args.blksize,
        windowsize: args.windowsize,
        timeout: args.timeout,
        tsize: args.tsize,
        loss_percent: args.loss,
        seed: args.seed,
    }
}

/// Writes the result, and decides about the exit status.
fn publish(json: Option<&Path>, report: &Report) -> Result<(), Failure> {
    let to_output = json.is_some_and(|path| path.as_os_str() == "-");
    let failed = |to: &str| {
        let to = to.to_owned();
        move |source| Failure::Write { to, source }
    };
    match json {
        None => {}
        Some(_) if to_output => write_json(report, io::stdout().lock()).map_err(failed("standard output"))?,
        Some(path) => {
            File::create(path).and_then(|file| write_json(report, file)).map_err(failed(&path.display().to_string()))?
        }
    }
    if to_output {
        write!(io::stderr(), "{report}").map_err(failed("standard error"))?;
    } else {
        write!(io::stdout(), "{report}").map_err(failed("standard output"))?;
    }
    if report.verification.mismatches > 0 {
        return Err(Failure::Mismatch(report.verification.mismatches));
    }
    if report.counts.transfers.done == 0 {
        return Err(Failure::NothingDone);
    }
    Ok(())
}

fn write_json(report: &Report, to: impl Write) -> io::Result<()> {
    let mut to = BufWriter::new(to);
    serde_json::to_writer_pretty(&mut to, report)?;
    writeln!(to)?;
    to.flush()
}

fn seconds_of(duration: Duration) -> f64 {
    duration.micros() as f64 / 1e6
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`seconds` gives 0 to a year")]
fn duration(seconds: f64) -> Duration {
    Duration::from_micros((seconds * 1e6) as u64)
}

/// A number within bounds, as clap wants it.
fn within(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    // Written so that NaN is refused.
    if number >= least && number <= most { Ok(number) } else { Err(format!("{text} is not in {least}..={most}")) }
}

fn rate(text: &str) -> Result<f64, String> {
    within(text, 0.001, 1e8)
}

fn seconds(text: &str) -> Result<f64, String> {
    within(text, 0.0, 31_536_000.0)
}

fn percent(text: &str) -> Result<f64, String> {
    within(text, 0.0, 100.0)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Flags,
    }

    fn parse(words: &str) -> Result<Flags, clap::Error> {
        Cli::try_parse_from(std::iter::once("storm").chain(words.split(' '))).map(|cli| cli.args)
    }

    const LEAST: &str = "--vdev net_null0 --server 10.0.0.1 --clients-from 10.0.0.2";

    #[test]
    fn the_interface_is_understood() {
        let args = parse(&format!("{LEAST} --file a:3 --file b --loss 0.5 --json - -l 1 -- -m 64")).unwrap();
        assert_eq!((args.files.len(), args.rate, args.duration), (2, 1_000.0, 10.0));
        assert_eq!(args.eal, ["-m", "64"]);
        assert!(parse(&format!("{LEAST} --file a --closed --think 5")).unwrap().closed);
    }

    #[test]
    fn mistakes_are_refused() {
        for (words, reason) in [
            (LEAST.to_owned(), "--file"),
            ("--server 10.0.0.1 --clients-from 10.0.0.2 --file a".to_owned(), "--vdev"),
            (format!("{LEAST} --file a --closed --rate 5"), "cannot be used"),
            (format!("{LEAST} --file a --think 5"), "--closed"),
            (format!("{LEAST} --file a --clients 1000001"), "1000001"),
            (format!("{LEAST} --file a --loss 101"), "101"),
            (format!("{LEAST} --file a --rate NaN"), "NaN"),
            (format!("{LEAST} --file a -a 03:00.0"), "cannot be used"),
        ] {
            let error = parse(&words).unwrap_err().to_string();
            assert!(error.contains(reason), "{words}: {error}");
        }
    }

    #[test]
    fn a_block_must_fit_a_frame() {
        let args = parse(&format!("{LEAST} --file a --blksize 1469")).unwrap();
        assert!(matches!(run(&args), Err(Failure::BlockSize { most: 1_468, .. })));
    }
}
