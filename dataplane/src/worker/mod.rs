//! The poll loop of one lcore: its lanes in turn, its mailbox now and then. Reads the clock that it is given, never waits for
//! control.

mod attachment;
mod counters;
mod histogram;
mod lane;
mod latency;
mod mailbox;
mod records;
mod stop;
mod tap;

pub use crate::counter::Counter;
pub use attachment::Attachment;
pub use counters::{BurstSizes, LaneCounters};
pub use histogram::{HIGHEST, Histogram, SIGNIFICANT_DIGITS};
pub use lane::{KernelPath, Lane, Neighbourhood, Ring};
pub use latency::Latency;
pub use mailbox::{Letter, LetterBox, Mailbox, SessionsPage, Shelving, TapOrder, Undeliverable, Unshelving, mailbox};
pub use records::{Cut, Ended, Record, RecordRing, What};
pub use stop::StopFlag;
pub use tap::{Direction, Layer, Tap, TapFilter, TapReader, TapRecord, Taps};

use crate::port::Port;
use crate::time::{Instant, Reading};
use core::sync::atomic::{AtomicU8, Ordering};
use core::time::Duration as Pause;
use std::sync::Arc;

/// Turns between two looks into the mailbox; a turn without work looks too.
const TURNS_PER_MAIL: u32 = 64;

/// Turns without work before the worker sleeps, where it may.
const TURNS_BEFORE_SLEEP: u32 = 256;

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WorkerState {
    /// Not yet in its loop.
    Starting = 0,
    /// Serving.
    Polling = 1,
    /// Serving what runs, ignoring new requests.
    Draining = 2,
    /// Out of its loop.
    Stopped = 3,
    /// Left its loop by a panic.
    Failed = 4,
}

/// What control may see of a worker at any time.
///
/// On cache lines of its own: it is written in every turn.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerStatus {
    state: AtomicU8,
    /// Turns of the loop.
    pub polls: Counter,
    /// Of those, turns without any frame.
    pub empty_polls: Counter,
    /// Microseconds of the turns with a frame, each from its clock reading to the next turn's: what the work cost, where
    /// the time that the loop ran only says that it polls.
    pub busy_us: Counter,
    /// The same in nanoseconds, for what one frame costs.
    pub busy_ns: Counter,
}

impl WorkerStatus {
    /// What it is doing.
    #[must_use]
    pub fn state(&self) -> WorkerState {
        match self.state.load(Ordering::Acquire) {
            0 => WorkerState::Starting,
            1 => WorkerState::Polling,
            2 => WorkerState::Draining,
            3 => WorkerState::Stopped,
            _ => WorkerState::Failed,
        }
    }

    /// Notes what it is doing; the worker does, or control when the worker is gone.
    pub fn set_state(&self, state: WorkerState) {
        self.state.store(state as u8, Ordering::Release);
    }
}

/// A worker, ready to run.
pub struct Worker<P: Port> {
    /// One per port.
    pub lanes: Vec<Lane<P>>,
    /// Letters from control.
    pub mailbox: Mailbox,
    /// Ignore new requests once it is raised.
    pub drain: StopFlag,
    /// Read once per turn.
    pub stop: StopFlag,
    /// Written for control.
    pub status: Arc<WorkerStatus>,
    /// Sleep when there was nothing to do for a while: never on an appliance, a few microseconds in a lab.
    pub idle_sleep: Option<Pause>,
}

/// What a worker keeps from turn to turn.
#[derive(Debug, Default)]
pub struct Pace {
    idle_turns: u32,
    turns_to_mail: u32,
    /// When the turn before began, if it had work.
    busy_since: Option<Reading>,
}

impl<P: Port> Worker<P> {
    /// Serves until the stop flag is set. `clock` tells the time since the engines' origin, as a [`Reading`] or an [`Instant`].
    pub fn run<R: Into<Reading>>(mut self, mut clock: impl FnMut() -> R) {
        let now = clock().into().now;
        self.lanes.iter_mut().for_each(|lane| lane.announce(now));
        self.status.set_state(WorkerState::Polling);
        let mut pace = Pace::default();
        while !self.stop.is_raised() {
            self.turn(clock(), &mut pace);
        }
        let now = clock().into().now;
        self.lanes.iter_mut().for_each(|lane| lane.cut_off(now));
        self.status.set_state(WorkerState::Stopped);
    }

    /// One turn of the loop, for a bench that runs it in steps.
    #[inline]
    pub fn turn(&mut self, clock: impl Into<Reading>, pace: &mut Pace) {
        let clock = clock.into();
        let now = clock.now;
        if let Some(begin) = pace.busy_since {
            let turn_ns = clock.nanos.saturating_sub(begin.nanos);
            self.status.busy_us.add((now - begin.now).micros());
            self.status.busy_ns.add(turn_ns);
            self.lanes.iter().for_each(|lane| lane.settle(turn_ns));
        }
        let mut work = 0;
        for lane in &mut self.lanes {
            work += lane.poll(now);
        }
        pace.busy_since = (work > 0).then_some(clock);
        self.status.polls.add(1);
        if work == 0 {
            self.status.empty_polls.add(1);
            pace.idle_turns = pace.idle_turns.saturating_add(1);
        } else {
            pace.idle_turns = 0;
        }
        if pace.turns_to_mail == 0 || work == 0 {
            pace.turns_to_mail = TURNS_PER_MAIL;
            self.read_mail(now);
        }
        pace.turns_to_mail -= 1;
        if let Some(pause) = self.idle_sleep
            && pace.idle_turns > TURNS_BEFORE_SLEEP
        {
            std::thread::sleep(pause);
        }
    }

    fn read_mail(&mut self, now: Instant) {
        if self.drain.is_raised() && self.status.state() == WorkerState::Polling {
            self.lanes.iter_mut().for_each(|lane| lane.engine_mut().drain());
            self.status.set_state(WorkerState::Draining);
        }
        while let Some(letter) = self.mailbox.next() {
            match letter {
                Letter::Sessions(page) => self.answer_sessions(page, now),
                Letter::Shelve(shelving) => self.shelve(&shelving),
                Letter::Unshelve(unshelving) => self.unshelve(unshelving),
                Letter::NotAvailable(title, why) => {
                    self.lanes.iter_mut().for_each(|lane| lane.engine_mut().refuse_waiting(title, why));
                }
                Letter::Announce { lane } => {
                    if let Some(lane) = self.lanes.get_mut(lane) {
                        lane.announce(now);
                    }
                }
                Letter::Taps(mut order) => {
                    if let Some(lane) = self.lanes.get_mut(order.lane) {
                        order.taps = lane.exchange_taps(order.taps);
                    }
                    order.reply();
                }
                #[cfg(feature = "fault-injection")]
                Letter::Panic => panic!("asked to fail"),
                #[cfg(feature = "fault-injection")]
                Letter::Stall(pause) => std::thread::sleep(pause),
            }
        }
    }

    fn shelve(&mut self, Shelving { mark, title, volume }: &Shelving) {
        for lane in &mut self.lanes {
            // Control gives nobody a place that is being read; were it to, those who wait would go on waiting, and ask again.
            drop(lane.engine_mut().shelve(*mark, *title, Arc::clone(volume)));
        }
    }

    /// Empties the places that no lane reads from, and says which.
    fn unshelve(&mut self, mut unshelving: Unshelving) {
        let lanes = &mut self.lanes;
        unshelving.marks.retain(|&mark| {
            let idle = lanes.iter().all(|lane| lane.engine().is_idle(mark));
            if idle {
                lanes.iter_mut().for_each(|lane| drop(lane.engine_mut().unshelve(mark)));
            }
            idle
        });
        unshelving.reply();
    }

    fn answer_sessions(&self, mut page: SessionsPage, now: Instant) {
        if let Some(lane) = self.lanes.get(page.lane) {
            let engine = lane.engine();
            let count = u32::try_from(page.sessions.capacity()).unwrap_or(u32::MAX);
            page.sessions.extend(engine.sessions(now, page.from, count));
            page.from = page.from.saturating_add(count);
            page.at_end = page.from >= engine.places();
        } else {
            page.at_end = true;
        }
        page.reply();
    }
}
