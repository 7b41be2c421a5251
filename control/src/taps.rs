//! Looking on while workers serve: opens taps on all lanes, closes them, and carries what they copy to whoever asked. No worker
//! waits for any of it.

pub mod capture;
mod pcapng;
pub mod trace;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam::channel::Receiver;
use dataplane::time::Instant;
use dataplane::worker::{Letter, LetterBox, Tap, TapFilter, TapOrder, TapReader, TapRecord, Taps};
use thiserror::Error;

use self::capture::Capture;
use self::trace::Trace;

/// How long a worker may take to exchange its taps.
const EXCHANGE_PATIENCE: Duration = Duration::from_millis(500);

/// How often taps are emptied.
const DRAIN_INTERVAL: Duration = Duration::from_millis(2);

/// One worker on one port.
#[derive(Clone, Debug)]
pub struct LaneAddress {
    /// Whose.
    pub worker: u16,
    /// Its place among the worker's lanes.
    pub lane: usize,
    /// The port's number.
    pub port: u16,
    /// The port's device.
    pub device: String,
    /// The worker's mailbox.
    pub letters: LetterBox,
}

/// The workers' clock.
type Clock = Box<dyn Fn() -> Instant + Send + Sync>;

/// All lanes, and what looks on.
pub struct TapBoard {
    lanes: Vec<LaneAddress>,
    clock: Clock,
    active: Mutex<Active>,
}

#[derive(Default)]
struct Active {
    next: u64,
    /// Each with one tap per lane.
    taps: Vec<(u64, Vec<Tap>)>,
}

/// Why nobody can look on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no worker takes orders: they have ended, or stall")]
pub struct NoWorkers;

impl TapBoard {
    /// Nobody looks on yet. `clock` is the workers'.
    #[must_use]
    pub fn new(lanes: Vec<LaneAddress>, clock: Clock) -> Self {
        Self { lanes, clock, active: Mutex::default() }
    }

    /// Looks on at all lanes, with room for about `records` copies in all, of at most `snaplen` bytes each.
    ///
    /// # Errors
    /// [`NoWorkers`].
    pub fn open(self: &Arc<Self>, filter: TapFilter, records: usize, snaplen: usize) -> Result<OpenTap, NoWorkers> {
        let share = (records / self.lanes.len().max(1)).max(64);
        let mut taps = Vec::new();
        let mut lanes = Vec::new();
        for address in &self.lanes {
            let (tap, reader) = Tap::new(filter, share, snaplen);
            taps.push(tap);
            lanes.push(OpenLane { address: address.clone(), reader });
        }
        // Before the first frame, so that none is older.
        let since = WallClock::set((self.clock)());
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let id = active.next;
        active.next += 1;
        active.taps.push((id, taps));
        if self.publish(&active) == 0 {
            active.taps.pop();
            return Err(NoWorkers);
        }
        Ok(OpenTap { board: Arc::clone(self), id, lanes, since })
    }

    /// When this returns, the workers write nothing to its rings any more, but for those that stall.
    fn close(&self, id: u64) {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        active.taps.retain(|(known, _)| *known != id);
        self.publish(&active);
    }

    /// Gives each lane the taps that there are now, and takes back those before; returns how many lanes did as told.
    fn publish(&self, active: &Active) -> usize {
        let mut answers: Vec<Receiver<TapOrder>> = Vec::new();
        for (at, address) in self.lanes.iter().enumerate() {
            let taps: Vec<Tap> = active.taps.iter().filter_map(|(_, taps)| taps.get(at).cloned()).collect();
            let taps = (!taps.is_empty()).then(|| Box::new(Taps::new(taps)));
            let (order, answer) = TapOrder::new(address.lane, taps);
            // A worker that has ended sees nothing, and one that stalls neither.
            if address.letters.send(Letter::Taps(order)).is_ok() {
                answers.push(answer);
            }
        }
        let deadline = std::time::Instant::now() + EXCHANGE_PATIENCE;
        answers.iter().filter(|answer| answer.recv_deadline(deadline).is_ok()).count()
    }
}

/// A moment by both clocks.
#[derive(Clone, Copy, Debug)]
struct WallClock {
    unix_ns: u64,
    worker: Instant,
}

impl WallClock {
    fn set(worker: Instant) -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { unix_ns: u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX), worker }
    }

    fn unix_ns(&self, at: Instant) -> u64 {
        let since_us = at.micros().saturating_sub(self.worker.micros());
        let before_us = self.worker.micros().saturating_sub(at.micros());
        (self.unix_ns + since_us * 1_000).saturating_sub(before_us * 1_000)
    }
}

/// One lane that is looked at.
#[derive(Debug)]
struct OpenLane {
    address: LaneAddress,
    reader: TapReader,
}

/// Copies of frames, as long as this lives.
pub struct OpenTap {
    board: Arc<TapBoard>,
    id: u64,
    lanes: Vec<OpenLane>,
    since: WallClock,
}

impl OpenTap {
    /// What is looked at.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = &LaneAddress> {
        self.lanes.iter().map(|lane| &lane.address)
    }

    /// Shows what came: the lane's place, when in nanoseconds since 1970, and the copy.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(usize, u64, &TapRecord)) {
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            lane.reader.drain(|record| each(at, self.since.unix_ns(record.at), record));
        }
    }

    /// No more is copied; what was copied is still there.
    pub(crate) fn close(&self) {
        self.board.close(self.id);
    }

    /// Frames of each lane that found no room.
    pub(crate) fn lost(&self) -> Vec<u64> {
        self.lanes.iter().map(|lane| lane.reader.lost()).collect()
    }
}

impl Drop for OpenTap {
    fn drop(&mut self) {
        self.board.close(self.id);
    }
}

/// What people may look on with: one capture and one trace at a time.
pub struct LookingOn {
    board: Arc<TapBoard>,
    capture: Mutex<Option<Capture>>,
    trace: Mutex<Option<Trace>>,
}

/// What a capture is asked for.
#[derive(Clone, Debug)]
pub struct CaptureRequest {
    /// Made anew; from the root.
    pub path: PathBuf,
    /// Which frames.
    pub filter: TapFilter,
    /// Longest file, in bytes.
    pub limit_bytes: u64,
    /// Longest time.
    pub time: Duration,
    /// Bytes that are kept of a frame.
    pub snaplen: u16,
}

/// What a trace is asked for.
#[derive(Clone, Copy, Debug)]
pub struct TraceRequest {
    /// Whose packets.
    pub client: IpAddr,
    /// Longest time.
    pub time: Duration,
}

impl LookingOn {
    /// Nobody does yet.
    #[must_use]
    pub fn new(board: TapBoard) -> Self {
        Self { board: Arc::new(board), capture: Mutex::default(), trace: Mutex::default() }
    }
}
