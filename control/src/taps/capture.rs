//! `capture`: frames into a file, by a thread of its own, until it is told to end, the time is over or the file is full.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use dataplane::worker::{Direction, TapRecord};
use thiserror::Error;

use super::pcapng::{Packet, Way, Writer};
use super::{CaptureRequest, DRAIN_INTERVAL, LookingOn, NoWorkers, OpenTap};
use crate::protocol::CaptureState;

/// Memory for copies on their way, in bytes, all lanes together.
const BUFFER_BYTES: usize = 16 << 20;

/// Why nothing is captured.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// One at a time.
    #[error("a capture into {0} is running")]
    Running(String),
    /// None to end.
    #[error("no capture was started")]
    None,
    /// The daemon's directory is nobody's business.
    #[error("{0} does not begin with /: bypassd writes the file, in its own directory")]
    NotAbsolute(String),
    /// It is there, or cannot be made.
    #[error("cannot make {path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// Nobody to look at.
    #[error(transparent)]
    Workers(#[from] NoWorkers),
}

/// One that runs, or ran last.
pub(super) struct Capture {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    state: Mutex<CaptureState>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, CaptureState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Capture {
    fn start(tap: OpenTap, file: File, request: &CaptureRequest) -> io::Result<Self> {
        let state = CaptureState {
            file: request.path.display().to_string(),
            running: true,
            packets: 0,
            lost: 0,
            bytes: 0,
            ended: None,
        };
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), state: Mutex::new(state) });
        let thread = std::thread::Builder::new().name("capture".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            let request = request.clone();
            move || {
                let ended = match Recording::begin(file, &tap, &request) {
                    Ok(recording) => recording.run(tap, &request, &shared),
                    Err(error) => broken(&error),
                };
                let mut state = shared.state();
                state.running = false;
                state.ended = Some(ended);
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    fn state(&self) -> CaptureState {
        self.shared.state().clone()
    }

    /// Ends it, and waits for its last bytes.
    fn stop(&mut self) -> CaptureState {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its end says all there is to say.
            drop(thread.join());
        }
        self.state()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop();
    }
}

fn broken(error: &io::Error) -> String {
    format!("the file cannot be written: {error}")
}

/// The thread's own.
struct Recording {
    file: Writer<BufWriter<File>>,
    /// Per lane.
    written: Vec<u64>,
    limit_bytes: u64,
    full: bool,
    failed: Option<io::Error>,
    last_ns: u64,
}

impl Recording {
    fn begin(file: File, tap: &OpenTap, request: &CaptureRequest) -> io::Result<Self> {
        let mut file = Writer::new(BufWriter::with_capacity(1 << 18, file))?;
        for lane in tap.lanes() {
            let name = format!("port {} ({}) worker {}", lane.port, lane.device, lane.worker);
            file.interface(&name, request.snaplen.into())?;
        }
        let written = vec![0; tap.lanes().count()];
        Ok(Self { file, written, limit_bytes: request.limit_bytes, full: false, failed: None, last_ns: 0 })
    }

    fn run(mut self, mut tap: OpenTap, request: &CaptureRequest, shared: &Shared) -> String {
        let deadline = Instant::now() + request.time;
        let ended = loop {
            self.take(&mut tap);
            self.publish(&tap, shared);
            if shared.stop.load(Ordering::Relaxed) {
                break "told to";
            }
            if self.full {
                break "the file has its size";
            }
            if self.failed.is_some() {
                break "";
            }
            if Instant::now() >= deadline {
                break "the time is over";
            }
            std::thread::sleep(DRAIN_INTERVAL);
        };
        tap.close();
        self.take(&mut tap);
        self.finish(&tap);
        self.publish(&tap, shared);
        self.failed.as_ref().map_or_else(|| ended.to_owned(), broken)
    }

    fn take(&mut self, tap: &mut OpenTap) {
        tap.drain(|lane, unix_ns, record| self.write(lane, unix_ns, record));
    }

    fn write(&mut self, lane: usize, unix_ns: u64, record: &TapRecord) {
        let len = Writer::<File>::packet_len(record.bytes.len());
        self.full |= self.file.bytes() + len > self.limit_bytes;
        if self.full || self.failed.is_some() {
            return;
        }
        let way = match record.direction {
            Direction::Received => Way::Inbound,
            Direction::Sent => Way::Outbound,
        };
        let interface = u32::try_from(lane).unwrap_or(u32::MAX);
        let packet = Packet { interface, unix_ns, way, original_len: record.frame_len, bytes: &record.bytes };
        match self.file.packet(&packet) {
            Ok(()) => self.written[lane] += 1,
            Err(error) => self.failed = Some(error),
        }
        self.last_ns = self.last_ns.max(unix_ns);
    }

    fn finish(&mut self, tap: &OpenTap) {
        let lost = tap.lost();
        let mut all = || {
            for (interface, (&written, &lost)) in (0..).zip(self.written.iter().zip(&lost)) {
                self.file.statistics(interface, self.last_ns, written, lost)?;
            }
            self.file.flush()
        };
        if let Err(error) = all() {
            self.failed.get_or_insert(error);
        }
    }

    fn publish(&self, tap: &OpenTap, shared: &Shared) {
        let mut state = shared.state();
        state.packets = self.written.iter().sum();
        state.lost = tap.lost().iter().sum();
        state.bytes = self.file.bytes();
    }
}

impl LookingOn {
    /// Begins to capture.
    ///
    /// # Errors
    /// One runs already, or the file cannot be made.
    pub fn start_capture(&self, request: &CaptureRequest) -> Result<CaptureState, CaptureError> {
        let mut place = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = place.as_ref().map(Capture::state).filter(|state| state.running) {
            return Err(CaptureError::Running(state.file));
        }
        let path = request.path.display().to_string();
        if !request.path.is_absolute() {
            return Err(CaptureError::NotAbsolute(path));
        }
        let refused = |source| CaptureError::File { path: path.clone(), source };
        let file = create(&request.path).map_err(refused)?;
        let snaplen = usize::from(request.snaplen);
        let started = self
            .board
            .open(request.filter, BUFFER_BYTES / snaplen.max(256), snaplen)
            .map_err(CaptureError::from)
            .and_then(|tap| Capture::start(tap, file, request).map_err(refused));
        match started {
            Ok(capture) => Ok(place.insert(capture).state()),
            Err(error) => {
                // Ours, and empty.
                drop(std::fs::remove_file(&request.path));
                Err(error)
            }
        }
    }

    /// Ends the capture, and tells what came of the last one.
    ///
    /// # Errors
    /// There was none.
    pub fn stop_capture(&self) -> Result<CaptureState, CaptureError> {
        let mut place = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
        place.as_mut().map(Capture::stop).ok_or(CaptureError::None)
    }

    /// How far the capture is, or what came of the last one.
    ///
    /// # Errors
    /// There was none.
    pub fn capture(&self) -> Result<CaptureState, CaptureError> {
        let place = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
        place.as_ref().map(Capture::state).ok_or(CaptureError::None)
    }
}

/// Never follows a link, never writes over anything, is readable by its owner only.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
