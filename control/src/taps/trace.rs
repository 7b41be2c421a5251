//! `trace`: what one client and we say to each other, decoded line by line as it happens, kept for whoever asks next. It ends by
//! itself when nobody asks any more.

mod decode;

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dataplane::worker::{Layer, TapFilter};
use thiserror::Error;

use self::decode::Decoder;
use super::{DRAIN_INTERVAL, LookingOn, NoWorkers, OpenTap, TraceRequest};
use crate::protocol::{TraceLine, TracePage};

/// Bytes that are kept of a frame: link, IP and UDP headers, and the longest request that is read.
const SNAPLEN: usize = 14 + 4 + 60 + 8 + 512;

/// Copies on their way, all lanes together.
const RECORDS: usize = 8_192;

/// Lines that wait to be read.
const LINES: usize = 20_000;

/// Lines in one answer.
const PAGE: usize = 1_000;

/// A trace that nobody reads for so long ends.
const UNREAD: Duration = Duration::from_secs(10);

/// Why nothing is traced.
#[derive(Debug, Error)]
pub enum TraceError {
    /// One at a time.
    #[error("a trace of {0} is running")]
    Running(IpAddr),
    /// None to read or to end.
    #[error("no trace was started")]
    None,
    /// Nobody to look at.
    #[error(transparent)]
    Workers(#[from] NoWorkers),
    /// The system.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// One that runs, or ran last.
pub(super) struct Trace {
    client: IpAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    log: Mutex<Log>,
}

struct Log {
    lines: VecDeque<TraceLine>,
    /// Frames without a line: no room in a ring, or here.
    lost: u64,
    running: bool,
    read: Instant,
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trace {
    fn start(tap: OpenTap, request: TraceRequest) -> io::Result<Self> {
        let log = Log { lines: VecDeque::new(), lost: 0, running: true, read: Instant::now() };
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), log: Mutex::new(log) });
        let thread = std::thread::Builder::new().name("trace".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || follow(tap, request, &shared)
        })?;
        Ok(Self { client: request.client, shared, thread: Some(thread) })
    }

    fn page(&self) -> TracePage {
        let mut log = self.shared.log();
        log.read = Instant::now();
        let count = log.lines.len().min(PAGE);
        let lines = log.lines.drain(..count).collect();
        let running = log.running || !log.lines.is_empty();
        TracePage { client: self.client.to_string(), running, lines, lost: log.lost }
    }

    fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its end says all there is to say.
            drop(thread.join());
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.stop();
    }
}

fn follow(mut tap: OpenTap, request: TraceRequest, shared: &Shared) {
    let deadline = Instant::now() + request.time;
    let mut decoder = Decoder::new(request.client);
    let mut unkept = 0;
    loop {
        // Of all lanes, in the order of time: request and answer may be of two workers.
        let mut lines = Vec::new();
        tap.drain(|_, unix_ns, record| lines.extend(decoder.line(unix_ns, record)));
        lines.sort_by_key(|line| line.unix_us);
        let mut log = shared.log();
        let room = LINES.saturating_sub(log.lines.len());
        unkept += lines.len().saturating_sub(room) as u64;
        log.lines.extend(lines.into_iter().take(room));
        log.lost = unkept + tap.lost().iter().sum::<u64>();
        let now = Instant::now();
        if shared.stop.load(Ordering::Relaxed) || now >= deadline || now.duration_since(log.read) > UNREAD {
            log.running = false;
            return;
        }
        drop(log);
        std::thread::sleep(DRAIN_INTERVAL);
    }
}

impl LookingOn {
    /// Begins to trace.
    ///
    /// # Errors
    /// One runs already.
    pub fn start_trace(&self, request: TraceRequest) -> Result<TracePage, TraceError> {
        let mut place = self.trace.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = place.as_ref().filter(|trace| trace.shared.log().running) {
            return Err(TraceError::Running(running.client));
        }
        let filter = TapFilter { host: Some(request.client), port: None, layer: Some(Layer::Udp) };
        let tap = self.board.open(filter, RECORDS, SNAPLEN)?;
        let trace = Trace::start(tap, request).map_err(TraceError::Thread)?;
        Ok(place.insert(trace).page())
    }

    /// Lines since the last call.
    ///
    /// # Errors
    /// There is no trace.
    pub fn read_trace(&self) -> Result<TracePage, TraceError> {
        let place = self.trace.lock().unwrap_or_else(PoisonError::into_inner);
        place.as_ref().map(Trace::page).ok_or(TraceError::None)
    }

    /// Ends it, and gives what was not read.
    ///
    /// # Errors
    /// There is no trace.
    pub fn stop_trace(&self) -> Result<TracePage, TraceError> {
        let mut place = self.trace.lock().unwrap_or_else(PoisonError::into_inner);
        let mut trace = place.take().ok_or(TraceError::None)?;
        trace.stop();
        Ok(trace.page())
    }
}
