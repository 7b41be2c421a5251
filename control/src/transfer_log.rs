//! One line for each transfer that ended and each request that was refused: taken out of the workers' rings many times a second,
//! written by a thread of its own. A worker never waits for it; what the rings had no room for is counted and said.

mod line;
mod ration;

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use dataplane::worker::{LaneCounters, What};

use crate::log::LogSettings;
use crate::notice::{say, warn};
use line::Line;
use ration::Ration;

/// Records that a worker keeps on a port until they are taken: with one look every 20 ms, 100,000 a second.
pub const RECORDS: usize = 2_048;

/// How often they are taken.
const PERIOD: Duration = Duration::from_millis(20);

/// How often it is said what was not.
const SUMMARY_PERIOD: Duration = Duration::from_secs(1);

/// Where a worker's records are.
#[derive(Clone, Debug)]
pub struct Source {
    /// The worker.
    pub worker: u16,
    /// Its counters on one port.
    pub counters: Arc<LaneCounters>,
}

/// The thread. It ends when this is dropped, after it has written what there is.
#[derive(Debug)]
pub struct TransferLog {
    sources: Option<Sender<Vec<Source>>>,
    thread: Option<JoinHandle<()>>,
}

impl TransferLog {
    /// Begins to write, once it knows of what.
    ///
    /// # Errors
    /// The file of `log.transfer_file` cannot be opened, or there is no thread to be had.
    pub fn start(settings: &LogSettings) -> io::Result<Self> {
        let output = match &settings.transfer_file {
            Some(path) => Output::File(open(path)?),
            None => Output::Log,
        };
        let clerk = Clerk::new(output, settings.refusals_per_second);
        let (sources, told) = bounded(1);
        let thread = std::thread::Builder::new().name("transfers".to_owned()).spawn(move || clerk.run(&told))?;
        Ok(Self { sources: Some(sources), thread: Some(thread) })
    }

    /// Writes down what these have from now on. Those without a ring have nothing to tell.
    pub fn watch(&self, sources: Vec<Source>) {
        if let Some(channel) = &self.sources {
            // A thread that has ended has said why.
            let _ = channel.send(sources);
        }
    }
}

impl Drop for TransferLog {
    fn drop(&mut self) {
        // Without a sender the thread's wait ends.
        self.sources = None;
        if let Some(thread) = self.thread.take() {
            // Its panic has been told on standard error, and must not become another one here.
            drop(thread.join());
        }
    }
}

fn open(path: &Path) -> io::Result<BufWriter<File>> {
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.map(BufWriter::new).map_err(|error| {
        let help = "its directory must exist and be writable by bypassd";
        io::Error::new(error.kind(), format!("log.transfer_file {}: {error}: {help}", path.display()))
    })
}

enum Output {
    /// With everything else that is said.
    Log,
    /// JSON lines.
    File(BufWriter<File>),
    /// A test's.
    #[cfg(test)]
    Lines(Arc<std::sync::Mutex<Vec<String>>>),
}

impl Output {
    fn write(&mut self, line: &Line) -> io::Result<()> {
        match self {
            Self::Log => {
                line.say();
                Ok(())
            }
            Self::File(file) => {
                serde_json::to_writer(&mut *file, line)?;
                file.write_all(b"\n")
            }
            #[cfg(test)]
            Self::Lines(lines) => {
                lines.lock().map_err(|_| io::ErrorKind::Other)?.push(serde_json::to_string(line)?);
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            _ => Ok(()),
        }
    }
}

/// What the thread does, step by step.
struct Clerk {
    sources: Vec<Source>,
    output: Output,
    refusals: Ration,
    lost_said: u64,
    summary_due: Duration,
    broken: Option<String>,
}

impl Clerk {
    fn new(output: Output, refusals_per_second: u32) -> Self {
        let refusals = Ration::new(refusals_per_second);
        Self { sources: Vec::new(), output, refusals, lost_said: 0, summary_due: SUMMARY_PERIOD, broken: None }
    }

    fn run(mut self, told: &Receiver<Vec<Source>>) {
        let origin = Instant::now();
        loop {
            let ended = match told.recv_timeout(PERIOD) {
                Ok(sources) => {
                    self.sources = sources;
                    false
                }
                Err(error) => error == RecvTimeoutError::Disconnected,
            };
            self.tick(origin.elapsed(), ended);
            if ended {
                return;
            }
        }
    }

    /// Takes what there is, at a moment since any one origin; `last`: says at once what else would wait.
    fn tick(&mut self, now: Duration, last: bool) {
        for at in 0..self.sources.len() {
            self.take(at, now);
        }
        if let Err(error) = self.output.flush() {
            self.broken = Some(error.to_string());
        }
        if last || now >= self.summary_due {
            self.summary_due = now + SUMMARY_PERIOD;
            self.sum_up();
        }
    }

    /// As many as a ring holds: a worker that goes on ending transfers must not keep the others waiting.
    fn take(&mut self, at: usize, now: Duration) {
        let Source { worker, counters } = &self.sources[at];
        let Some(records) = &counters.records else { return };
        for _ in 0..RECORDS {
            let Some(record) = records.pop() else { return };
            if matches!(record.what, What::Refused { .. }) && !self.refusals.spend(now) {
                continue;
            }
            if let Err(error) = self.output.write(&Line::of(*worker, &record)) {
                self.broken = Some(error.to_string());
            }
        }
    }

    fn sum_up(&mut self) {
        let suppressed = self.refusals.take_suppressed();
        if suppressed > 0 {
            say(format_args!("{suppressed} more refused request(s) suppressed (log.refusals_per_second)"));
        }
        let lost = lost(&self.sources);
        if lost > self.lost_said {
            warn(format_args!(
                "{} transfer(s) went by unlogged: the log does not keep up (log.transfers = false stops it)",
                lost - self.lost_said
            ));
            self.lost_said = lost;
        }
        if let Some(error) = self.broken.take() {
            warn(format_args!("log.transfer_file cannot be written: {error}"));
        }
    }
}

fn lost(sources: &[Source]) -> u64 {
    sources.iter().filter_map(|source| source.counters.records.as_ref()).map(dataplane::worker::RecordRing::lost).sum()
}

#[cfg(test)]
mod tests;
