//! One measurement: a server, a scenario, a fixed time of a closed loop between two readings of all clocks.

use super::Failure;
use super::accounting::{Machine, SoftirqThreads, Times, busiest, this_thread_ns};
use super::client::{Client, Tally};
use super::content::Content;
use super::server::Running;
use super::transfer::{File, Wish};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// The closed loop before the first reading.
const WARM_UP: Duration = Duration::from_millis(300);

/// How long the idle machine is watched.
const BASELINE_TIME: Duration = Duration::from_millis(500);

/// What an idle machine may use, as a share of one core, and still be called quiet. Not more than this is subtracted.
pub(super) const BASELINE_MAX: f64 = 0.05;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Scenario {
    /// 400-byte files, no options: RRQ, DATA, ACK
    OneBlock,
    /// The same with blksize and tsize: RRQ, OACK, ACK, DATA, ACK
    OneBlockOptions,
    /// A large file in blocks of 1428 bytes, each with its ACK
    #[value(name = "blocks-1428")]
    #[serde(rename = "blocks-1428")]
    Blocks1428,
    /// The same in windows of 16 blocks
    #[value(name = "windows-16")]
    #[serde(rename = "windows-16")]
    Windows16,
    /// 64-KiB files in blocks of 512 bytes, no options
    #[value(name = "blocks-512")]
    #[serde(rename = "blocks-512")]
    Blocks512,
}

impl Scenario {
    /// For the table.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::OneBlock => "one-block: 400-byte files, no options",
            Self::OneBlockOptions => "one-block-options: 400-byte files, blksize and tsize (OACK)",
            Self::Blocks1428 => "blocks-1428: 16-MiB file, blksize 1428",
            Self::Windows16 => "windows-16: 16-MiB file, blksize 1428, windowsize 16",
            Self::Blocks512 => "blocks-512: 64-KiB file, no options",
        }
    }

    /// Whether a transfer is the unit, or its blocks: a larger file may take longer than a measurement.
    pub(super) const fn has_whole_transfers(self) -> bool {
        matches!(self, Self::OneBlock | Self::OneBlockOptions)
    }

    const fn wish(self) -> Wish {
        let blksize = Some(1_428);
        match self {
            Self::OneBlock | Self::Blocks512 => Wish { blksize: None, tsize: false, windowsize: None },
            Self::OneBlockOptions => Wish { blksize, tsize: true, windowsize: None },
            Self::Blocks1428 => Wish { blksize, tsize: false, windowsize: None },
            Self::Windows16 => Wish { blksize, tsize: false, windowsize: Some(16) },
        }
    }

    fn files(self, content: &Content) -> &[File] {
        match self {
            Self::OneBlock | Self::OneBlockOptions => &content.small,
            Self::Blocks1428 | Self::Windows16 => &content.large,
            Self::Blocks512 => &content.medium,
        }
    }
}

/// What one measurement gave. Times in nanoseconds of CPU, over all CPUs of the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Sample {
    /// Its length.
    pub(super) seconds: f64,
    /// Whole transfers in it.
    pub(super) transfers: u64,
    /// Blocks in order.
    pub(super) blocks: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Packets that the client sent again after a second of silence.
    pub(super) timeouts: u64,
    /// Transfers that the server failed.
    pub(super) failures: u64,
    /// First blocks that were not of their transfer: late repeats for an earlier one from the same port.
    pub(super) strays: u64,
    /// The first failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mistake: Option<String>,
    /// The machine: user, nice, system, irq, softirq.
    pub(super) machine_ns: f64,
    /// Of that, what the idle machine would have used.
    pub(super) baseline_ns: f64,
    /// Of that, the client's thread.
    pub(super) client_ns: f64,
    /// Of that, the server's process, without children that nobody waited for: of no use for a forking server.
    pub(super) process_ns: f64,
    /// Of that, softirqs outside of any process.
    pub(super) softirq_threads_ns: f64,
    /// Softirqs as `/proc/stat` has them: part of the shares above.
    pub(super) softirq_ns: f64,
    /// What the machine was not idle for, by the other clock: elapsed less idle and steal, not by ticks.
    pub(super) not_idle_ns: f64,
    /// Taken by the hypervisor.
    pub(super) steal_ns: f64,
    /// bypassd only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) polling: Option<Polling>,
}

/// What a polling worker's core did with its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Polling {
    /// Turns in which it had a frame, by the clock.
    pub(super) busy_wall_ns: f64,
    /// The thread's CPU time: on a quiet machine all of the measurement.
    pub(super) worker_ns: f64,
    /// CPU time of the turns with a frame: their time by the clock, times the share of it that the thread had the CPU.
    pub(super) busy_ns: f64,
    /// Of that, in the kernel: the packet socket's system calls, and with them the link and the client's receive path.
    pub(super) kernel_ns: f64,
}

impl Polling {
    fn new(busy_wall_ns: f64, elapsed: Duration, worker: Times) -> Self {
        let worker_ns = worker.all_ns() as f64;
        // Whoever else ran on this CPU ran in turns with a frame as often as in others.
        let busy_ns = busy_wall_ns * (worker_ns / elapsed.as_nanos() as f64).min(1.0);
        // Turns without a frame make no system call: all of the thread's system time is in turns with one.
        Self { busy_wall_ns, worker_ns, busy_ns, kernel_ns: (worker.system_ns as f64).min(busy_ns) }
    }
}

impl Sample {
    /// The machine without the idle machine's share and the client's: the server, and what the link does for it.
    pub(super) fn server_ns(&self) -> f64 {
        (self.machine_ns - self.baseline_ns - self.client_ns).max(0.0)
    }

    /// The machine without the idle machine's share.
    pub(super) fn with_client_ns(&self) -> f64 {
        (self.machine_ns - self.baseline_ns).max(0.0)
    }

    /// What counts as the server's cost: a polling one's turns with work and the softirqs put off, another one's share of the
    /// machine.
    pub(super) fn work_ns(&self) -> f64 {
        self.polling.map_or_else(|| self.server_ns(), |polling| polling.busy_ns + self.softirq_threads_ns)
    }
}

/// All clocks at one moment.
struct Reading {
    at: Instant,
    machine: Machine,
    client_ns: u64,
    softirq_threads_ns: u64,
    process: Times,
    threads: BTreeMap<u32, Times>,
    busy_us: Option<u64>,
    tally: Tally,
}

/// Takes measurements.
pub(super) struct Bench<'a> {
    pub(super) content: &'a Content,
    pub(super) softirqs: SoftirqThreads,
    pub(super) cancelled: &'a AtomicBool,
    pub(super) clients: usize,
    pub(super) length: Duration,
}

impl Bench<'_> {
    /// What the machine uses while nothing is measured, as a share of one core.
    pub(super) fn baseline(&self) -> Result<f64, Failure> {
        let (begin, before) = (Instant::now(), Machine::read().map_err(clocks)?);
        std::thread::sleep(BASELINE_TIME);
        let passed = Machine::read().map_err(clocks)?.since(before);
        Ok(passed.busy_ns as f64 / begin.elapsed().as_nanos() as f64)
    }

    /// Measures, or finds that the server grants no window where the scenario is about windows: none.
    pub(super) fn measure(
        &self,
        server: &Running<'_>,
        scenario: Scenario,
        baseline: f64,
    ) -> Result<Option<Sample>, Failure> {
        let sockets = |source| Failure::System { what: "the client's sockets fail".to_owned(), source };
        let wish = scenario.wish();
        let mut client = Client::open(self.clients, scenario.files(self.content), wish).map_err(sockets)?;
        client.begin().map_err(sockets)?;
        client.run_until(Instant::now() + WARM_UP, self.cancelled).map_err(sockets)?;
        if wish.windowsize.is_some() && client.window() == Some(1) {
            client.farewell().map_err(sockets)?;
            return Ok(None);
        }
        let before = self.read(server, &client)?;
        client.run_until(Instant::now() + self.length, self.cancelled).map_err(sockets)?;
        let after = self.read(server, &client)?;
        let mistake = client.mistake().map(ToString::to_string);
        client.farewell().map_err(sockets)?;
        Ok(Some(Sample { mistake, ..sample(&before, &after, baseline) }))
    }

    fn read(&self, server: &Running<'_>, client: &Client<'_>) -> Result<Reading, Failure> {
        let busy_us = server.busy_us()?;
        Ok(Reading {
            at: Instant::now(),
            machine: Machine::read().map_err(clocks)?,
            client_ns: this_thread_ns(),
            softirq_threads_ns: self.softirqs.read(),
            process: Times::of_process(server.pid()).map_err(clocks)?,
            threads: Times::of_threads(server.pid()).map_err(clocks)?,
            busy_us,
            tally: client.tally().clone(),
        })
    }
}

fn clocks(source: io::Error) -> Failure {
    Failure::System { what: "cannot read CPU times".to_owned(), source }
}

fn sample(before: &Reading, after: &Reading, baseline: f64) -> Sample {
    let elapsed = after.at - before.at;
    let machine = after.machine.since(before.machine);
    let tally = after.tally.since(&before.tally);
    let polling = before.busy_us.zip(after.busy_us).map(|(before_us, after_us)| {
        let busy_wall_ns = after_us.saturating_sub(before_us) as f64 * 1e3;
        let worker = busiest(&before.threads, &after.threads);
        Polling::new(busy_wall_ns, elapsed, worker)
    });
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let quiet_ns = (machine.idle_ns + machine.steal_ns) as f64;
    Sample {
        seconds: elapsed.as_secs_f64(),
        transfers: tally.transfers,
        blocks: tally.blocks,
        bytes: tally.bytes,
        timeouts: tally.timeouts,
        failures: tally.failures,
        strays: tally.strays,
        mistake: None,
        machine_ns: machine.busy_ns as f64,
        baseline_ns: baseline.min(BASELINE_MAX) * elapsed.as_nanos() as f64,
        client_ns: after.client_ns.saturating_sub(before.client_ns) as f64,
        process_ns: after.process.since(before.process).all_ns() as f64,
        softirq_threads_ns: after.softirq_threads_ns.saturating_sub(before.softirq_threads_ns) as f64,
        softirq_ns: machine.softirq_ns as f64,
        not_idle_ns: (elapsed.as_nanos() as f64 * cpus as f64 - quiet_ns).max(0.0),
        steal_ns: machine.steal_ns as f64,
        polling,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample_of(polling: Option<Polling>) -> Sample {
        Sample {
            machine_ns: 1_000.0,
            baseline_ns: 100.0,
            client_ns: 300.0,
            softirq_threads_ns: 7.0,
            polling,
            ..Sample::default()
        }
    }

    #[test]
    fn the_server_is_what_the_idle_machine_and_the_client_leave() {
        let kernel = sample_of(None);
        assert_eq!((kernel.server_ns(), kernel.with_client_ns(), kernel.work_ns()), (600.0, 900.0, 600.0));
        let noisy = Sample { machine_ns: 50.0, ..sample_of(None) };
        assert_eq!(noisy.server_ns(), 0.0);
    }

    #[test]
    fn a_polling_server_costs_its_turns_with_work() {
        let polling = sample_of(Some(Polling { busy_ns: 80.0, kernel_ns: 50.0, ..Polling::default() }));
        assert_eq!((polling.server_ns(), polling.work_ns()), (600.0, 87.0));
    }

    #[test]
    fn two_readings_make_a_sample_and_the_baseline_is_bounded() {
        let begin = Instant::now();
        let reading = |seconds: u64, scale: u64| Reading {
            at: begin + Duration::from_secs(seconds),
            machine: Machine { busy_ns: 1_500_000_000 * scale, ..Machine::default() },
            client_ns: 400 * scale,
            softirq_threads_ns: 5 * scale,
            process: Times { user_ns: 10 * scale, system_ns: 20 * scale, children_ns: 30 * scale },
            threads: BTreeMap::from([(1, Times::default()), (2, Times { system_ns: 900 * scale, ..Times::default() })]),
            busy_us: Some(scale),
            tally: Tally {
                transfers: 8 * scale,
                blocks: 9 * scale,
                bytes: 10 * scale,
                timeouts: scale,
                failures: 0,
                strays: 0,
            },
        };
        let sample = sample(&reading(0, 0), &reading(2, 1), 0.5);
        assert_eq!((sample.transfers, sample.blocks, sample.bytes, sample.timeouts), (8, 9, 10, 1));
        assert_eq!((sample.seconds, sample.client_ns, sample.process_ns), (2.0, 400.0, 60.0));
        assert_eq!(sample.baseline_ns, 2e9 * BASELINE_MAX, "half a core is no idle machine");
        assert!(sample.polling.is_some());
    }

    #[test]
    fn busy_turns_cost_no_more_than_the_cpu_that_the_worker_had() {
        let worker = |user_ns, system_ns| Times { user_ns, system_ns, children_ns: 0 };
        let all = Polling::new(400.0, Duration::from_nanos(1_000), worker(700, 300));
        assert_eq!((all.busy_ns, all.kernel_ns), (400.0, 300.0));
        let half = Polling::new(400.0, Duration::from_nanos(1_000), worker(400, 100));
        assert_eq!((half.busy_ns, half.kernel_ns, half.worker_ns), (200.0, 100.0, 500.0));
        let odd = Polling::new(400.0, Duration::from_nanos(1_000), worker(100, 1_000));
        assert_eq!((odd.busy_ns, odd.kernel_ns), (400.0, 400.0), "ticks are coarse; no share is more than the whole");
    }
}
