//! Beside the loop, on another CPU where there is one: takes full sheets, adds them up, writes the interval log, shows progress
//! and turns signals into requests to stop. The loop never waits for it before the end.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use thiserror::Error;

use super::run::Exchange;
use super::tally::{Counts, Latencies, Snapshot};

/// Sheets in circulation, beside the one that the loop writes.
const SHEETS: usize = 4;

/// How often signals are looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Between two lines of progress where nobody sits at a terminal, in seconds.
const LINE_SECONDS: u64 = 5;

/// Microseconds in the largest unit that the log's column of maxima is for: milliseconds.
const MAX_VALUE_DIVISOR: f64 = 1_000.0;

/// The log tells lengths in milliseconds, and its readers divide by them.
const SHORTEST: Duration = Duration::from_millis(1);

/// Why watching failed.
#[derive(Debug, Error)]
pub(crate) enum WatchError {
    /// The system refuses signal handlers, a thread, or a histogram's memory.
    #[error("cannot watch over the run: {0}")]
    System(String),
    /// The log.
    #[error("cannot write the interval log {}: {reason}", path.display())]
    Log {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Everything that was measured.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// Counters at the end.
    pub(crate) counts: Counts,
    /// Latencies of the whole run.
    pub(crate) latencies: Latencies,
}

/// A running watcher.
#[derive(Debug)]
pub(crate) struct Watcher {
    thread: JoinHandle<Result<Measured, WatchError>>,
    stop: Arc<AtomicU32>,
}

impl Watcher {
    /// Begins to watch: to be called before EAL pins this thread, so that the watcher keeps all CPUs. `hlog` is where the interval
    /// log goes.
    ///
    /// # Errors
    /// [`WatchError`], by cause.
    pub(crate) fn start(hlog: Option<PathBuf>) -> Result<(Self, Exchange), WatchError> {
        let system = |reason: String| WatchError::System(reason);
        let log = hlog.map(|path| match File::create(&path) {
            Ok(file) => Ok((path, file)),
            Err(error) => Err(WatchError::Log { path, reason: error.to_string() }),
        });
        let log = log.transpose()?;
        let signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| system(error.to_string()))?;
        let (full_in, full) = sync_channel(SHEETS + 1);
        let (empty_in, empty) = sync_channel(SHEETS + 1);
        for _ in 0..SHEETS {
            let sheet = Snapshot::new().map_err(|error| system(error.to_string()))?;
            // One place for each.
            drop(empty_in.send(Box::new(sheet)));
        }
        let totals = Snapshot::new().map_err(|error| system(error.to_string()))?;
        let stop = Arc::new(AtomicU32::new(0));
        let watching = Watching { full, empty: empty_in, signals, stop: Arc::clone(&stop), totals };
        let thread = std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || watching.watch(log))
            .map_err(|error| system(error.to_string()))?;
        Ok((Self { thread, stop }, Exchange { full: full_in, empty }))
    }

    /// Requests to stop so far.
    pub(crate) fn stop(&self) -> &AtomicU32 {
        &self.stop
    }

    /// Waits until everything that was handed over is added up. The other end of the exchange must be gone.
    ///
    /// # Errors
    /// [`WatchError`], by cause.
    pub(crate) fn finish(self) -> Result<Measured, WatchError> {
        self.thread.join().unwrap_or_else(|_| Err(WatchError::System("the watcher panicked".to_owned())))
    }
}

struct Watching {
    full: Receiver<Box<Snapshot>>,
    empty: SyncSender<Box<Snapshot>>,
    signals: Signals,
    stop: Arc<AtomicU32>,
    totals: Snapshot,
}

impl Watching {
    fn watch(mut self, log: Option<(PathBuf, File)>) -> Result<Measured, WatchError> {
        let mut progress = Progress::new();
        let Some((path, file)) = log else {
            self.take_all(&mut progress, |_| Ok(()))?;
            return Ok(self.measured());
        };
        let failed = |reason: String| WatchError::Log { path: path.clone(), reason };
        // The loop's time begins with the first sheet; until it comes nobody needs the log.
        let Some(first) = self.next() else { return Ok(self.measured()) };
        let begin = SystemTime::now() - Duration::from_micros(first.to.micros());
        let (mut file, mut serializer) = (BufWriter::new(file), V2DeflateSerializer::new());
        let mut log = IntervalLogWriterBuilder::new()
            .add_comment(concat!(
                "[Logged with bypassbench storm ",
                env!("CARGO_PKG_VERSION"),
                "; values in microseconds]"
            ))
            .with_start_time(begin)
            .with_base_time(begin)
            .with_max_value_divisor(MAX_VALUE_DIVISOR)
            .begin_log_with(&mut file, &mut serializer)
            .map_err(|error| failed(error.to_string()))?;
        let mut write = |sheet: &Snapshot| {
            let from = Duration::from_micros(sheet.from.micros());
            let lasted = Duration::from_micros((sheet.to - sheet.from).micros()).max(SHORTEST);
            for (tag, histogram) in sheet.latencies.tagged() {
                log.write_histogram(histogram, from, lasted, Tag::new(tag))
                    .map_err(|error| failed(error.to_string()))?;
            }
            Ok(())
        };
        self.take(first, &mut progress, &mut write)?;
        self.take_all(&mut progress, write)?;
        file.flush().map_err(|error| failed(error.to_string()))?;
        Ok(self.measured())
    }

    fn take_all(
        &mut self,
        progress: &mut Progress,
        mut write: impl FnMut(&Snapshot) -> Result<(), WatchError>,
    ) -> Result<(), WatchError> {
        while let Some(sheet) = self.next() {
            self.take(sheet, progress, &mut write)?;
        }
        progress.end();
        Ok(())
    }

    fn take(
        &mut self,
        mut sheet: Box<Snapshot>,
        progress: &mut Progress,
        write: &mut impl FnMut(&Snapshot) -> Result<(), WatchError>,
    ) -> Result<(), WatchError> {
        write(&sheet)?;
        self.totals.latencies.add(&sheet.latencies);
        progress.show(&sheet, &self.totals.counts);
        self.totals.counts = sheet.counts;
        sheet.latencies.clear();
        // The loop may be gone.
        drop(self.empty.try_send(sheet));
        Ok(())
    }

    /// The next full sheet; `None` when the loop is gone. Looks for signals meanwhile.
    fn next(&mut self) -> Option<Box<Snapshot>> {
        loop {
            let came = self.signals.pending().count();
            self.stop.fetch_add(u32::try_from(came).unwrap_or(u32::MAX), Ordering::Relaxed);
            match self.full.recv_timeout(LOOK) {
                Ok(sheet) => return Some(sheet),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn measured(self) -> Measured {
        Measured { counts: self.totals.counts, latencies: self.totals.latencies }
    }
}

/// One line that is written over and over at a terminal, and now and then elsewhere.
struct Progress {
    terminal: bool,
    next_second: u64,
    shown: bool,
}

impl Progress {
    fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), next_second: 0, shown: false }
    }

    fn show(&mut self, sheet: &Snapshot, before: &Counts) {
        let seconds = sheet.to.micros() / 1_000_000;
        if !self.terminal && seconds < self.next_second {
            return;
        }
        self.next_second = seconds + LINE_SECONDS;
        let (begin, end) = if self.terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        // A progress line that cannot be written is no loss.
        drop(write!(io::stderr(), "{begin}{}{end}", line(sheet, before)));
        self.shown = true;
    }

    fn end(&self) {
        if self.terminal && self.shown {
            eprintln!();
        }
    }
}

/// What is shown of an interval.
fn line(sheet: &Snapshot, before: &Counts) -> String {
    let seconds = ((sheet.to - sheet.from).micros() as f64 / 1e6).max(1e-6);
    let rate = |now: u64, then: u64| (now - then) as f64 / seconds;
    let (transfers, packets) = (&sheet.counts.transfers, &sheet.counts.packets);
    let whole = &sheet.latencies.transfer;
    format!(
        "{:6.1} s  started {}  live {}  done {}  failed {}  mismatched {}  {:.0} transfers/s  {:.0} blocks/s  {:.1} MB/s  \
         p50 {:.3} ms  p99 {:.3} ms",
        sheet.to.micros() as f64 / 1e6,
        transfers.started,
        sheet.live,
        transfers.done,
        transfers.failed,
        transfers.mismatched,
        rate(transfers.done, before.transfers.done),
        rate(packets.blocks, before.packets.blocks),
        rate(packets.bytes, before.packets.bytes) / 1e6,
        whole.value_at_quantile(0.5) as f64 / 1e3,
        whole.value_at_quantile(0.99) as f64 / 1e3,
    )
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::storm::tally::record;
    use dataplane::time::{Duration as Micros, Instant};

    #[test]
    fn sheets_are_added_up_and_logged_with_their_tags() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (watcher, exchange) = Watcher::start(Some(path.clone())).unwrap();
        // The last one lasts less than the log can tell.
        for (from, to, values) in [(0, 1_000_000, 10), (1_000_000, 2_000_000, 20), (2_000_000, 2_000_040, 3)] {
            let mut sheet = exchange.empty.recv().unwrap();
            (sheet.from, sheet.to) = (Instant::from_micros(from), Instant::from_micros(to));
            sheet.counts.transfers.done += values;
            for value in 0..values {
                record(&mut sheet.latencies.transfer, Micros::from_micros(value * 1_000));
            }
            exchange.full.send(sheet).unwrap();
        }
        drop(exchange);
        let measured = watcher.finish().unwrap();
        assert_eq!((measured.latencies.transfer.len(), measured.latencies.oack.len()), (33, 0));

        let text = std::fs::read(&path).unwrap();
        let mut lengths = Vec::new();
        for entry in IntervalLogIterator::new(&text) {
            let LogEntry::Interval(interval) = entry.unwrap() else { continue };
            assert!(interval.duration() >= SHORTEST, "{interval:?}");
            if interval.tag().unwrap().as_str() == "transfer" {
                let bytes = base64(interval.encoded_histogram());
                let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
                lengths.push(histogram.len());
            }
        }
        assert_eq!(lengths, [10, 20, 3]);
    }

    fn base64(text: &str) -> Vec<u8> {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let digit = |byte: u8| (0_u32..).zip(DIGITS).find(|(_, digit)| **digit == byte).map_or(0, |(at, _)| at);
        let quads = text.as_bytes().chunks(4);
        quads
            .flat_map(|quad| quad.iter().fold(0, |sum, byte| sum << 6 | digit(*byte)).to_be_bytes()[1..].to_vec())
            .collect()
    }
}
