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
pub use mailbox::{
    Letter, LetterBox, Mailbox, News, Renewal, SessionsPage, Shelving, TapOrder, Undeliverable, Unshelving, mailbox,
};
pub use records::{Cut, Ended, Record, RecordRing, What};
pub use stop::{DrainFlag, StopFlag};
pub use tap::{Direction, Layer, Tap, TapFilter, TapReader, TapRecord, Taps};

use crate::engine::CATALOGUES_MAX;
use crate::port::Port;
use crate::time::{Duration, Instant, Reading};
use core::sync::atomic::{AtomicU8, Ordering};
use core::time::Duration as Pause;
use std::sync::Arc;

/// Turns between two looks into the mailbox; a turn without work looks too.
const TURNS_PER_MAIL: u32 = 64;

/// Turns without work before the worker sleeps, where it may.
const TURNS_BEFORE_SLEEP: u32 = 256;

/// Time between two looks for catalogues that nobody reads any more. Each may make a port clean its transmit ring up.
const SWEEP_PERIOD: Duration = Duration::from_millis(1);

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
    /// Gauge: catalogues that the fullest of its lanes still has, of at most [`CATALOGUES_MAX`]; 0 before the first is renewed.
    pub catalogues: Counter,
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
    /// Ignore new requests while it is raised.
    pub drain: DrainFlag,
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
    /// When to look next for catalogues that nobody reads any more; `None` while there is only the current one.
    sweep_at: Option<Instant>,
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
            self.read_mail(now, pace);
        }
        pace.turns_to_mail -= 1;
        if let Some(pause) = self.idle_sleep
            && pace.idle_turns > TURNS_BEFORE_SLEEP
        {
            std::thread::sleep(pause);
        }
    }

    fn read_mail(&mut self, now: Instant, pace: &mut Pace) {
        match (self.drain.is_raised(), self.status.state()) {
            (true, WorkerState::Polling) => self.set_draining(true),
            (false, WorkerState::Draining) => self.set_draining(false),
            _ => {}
        }
        while let Some(letter) = self.mailbox.next() {
            match letter {
                Letter::Sessions(page) => self.answer_sessions(page, now),
                Letter::Renew(renewal) => {
                    self.renew(renewal);
                    pace.sweep_at = Some(now + SWEEP_PERIOD);
                }
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
        if pace.sweep_at.is_some_and(|at| at <= now) {
            pace.sweep_at = self.sweep().then_some(now + SWEEP_PERIOD);
        }
    }

    #[cold]
    fn set_draining(&mut self, draining: bool) {
        self.lanes.iter_mut().for_each(|lane| lane.engine_mut().set_draining(draining));
        self.status.set_state(if draining { WorkerState::Draining } else { WorkerState::Polling });
    }

    #[cold]
    fn renew(&mut self, mut renewal: Renewal) {
        // What nobody reads any more makes room, and the gauge is right before the answer is there.
        self.sweep();
        let has_room = self.lanes.iter().all(|lane| lane.engine().catalogues() < CATALOGUES_MAX);
        let News { catalogue, terms, rules } = &renewal.news;
        renewal.done = catalogue.is_none() || has_room;
        if renewal.done {
            for lane in &mut self.lanes {
                if let Some(terms) = terms {
                    lane.engine_mut().set_terms(terms);
                }
                if let Some(rules) = rules {
                    // Never the last reference: see `News`.
                    drop(lane.engine_mut().set_rules(rules.clone()));
                }
                if let Some(catalogue) = catalogue {
                    renewal.done &= lane.install(Arc::clone(catalogue)).is_ok();
                }
            }
        }
        self.note_catalogues();
        renewal.reply();
    }

    /// Lets go of the catalogues that no transfer reads and no frame refers to any more; true while some are left.
    #[cold]
    fn sweep(&mut self) -> bool {
        for lane in &mut self.lanes {
            // Never the last reference: see `News`.
            while lane.take_unread_catalogue().is_some() {}
        }
        self.note_catalogues() > 1
    }

    fn note_catalogues(&self) -> usize {
        let most = self.lanes.iter().map(|lane| lane.engine().catalogues()).max().unwrap_or(0);
        self.status.catalogues.set(most as u64);
        most
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
