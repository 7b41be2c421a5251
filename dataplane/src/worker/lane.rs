//! One worker on one port: burst in, engine, burst out. The shape of testpmd's loops: no heap, lock, log or syscall.

use super::counters::LaneCounters;
use super::tap::Taps;
use crate::engine::{Engine, Event, Outcome, Output};
use crate::files::Catalogue;
use crate::port::{BURST, Backlog, Burst, Payload, Port, TooLong};
use crate::session::WorkerIndex;
use crate::time::{Duration, Instant};
use crossbeam::queue::ArrayQueue;
use std::sync::Arc;

/// Room in the backlog that windows leave to the replies of the next bursts: received and handed-over frames.
const RESERVE: usize = 2 * BURST;

/// A transmit queue that takes nothing for this long is given up on: its frames are stale.
const TX_PATIENCE: Duration = Duration::from_millis(100);

/// Frames that the kernel interface is given in a turn while there is other work.
const KERNEL_SHARE: usize = 4;

/// Turns with other work between two looks at what the kernel interface sends: in the mean it gets its share, too.
const BUSY_TURNS_PER_KERNEL_BURST: u8 = 8;

/// A bounded ring of frames between workers.
pub type Ring<F> = Arc<ArrayQueue<F>>;

/// Where frames of one port go that another worker, or the kernel, has to see.
pub struct Neighbourhood<P: Port> {
    /// One inbox per worker, this one's included.
    pub inboxes: Vec<Ring<P::Frame>>,
    /// What workers without a queue of their own want sent; the workers that have one share it.
    pub relayed: Option<Ring<P::Frame>>,
    /// The exception path, if there is one.
    pub kernel: Option<KernelPath<P>>,
}

/// The way to the kernel interface and back.
pub struct KernelPath<P: Port> {
    /// Frames for the kernel, from all workers.
    pub ring: Ring<P::Frame>,
    /// The interface itself; one worker has it.
    pub port: Option<P>,
}

impl<P: Port> Neighbourhood<P> {
    /// A worker that is alone on its port.
    #[must_use]
    pub fn alone() -> Self {
        Self { inboxes: vec![Arc::new(ArrayQueue::new(1))], relayed: None, kernel: None }
    }
}

/// Engine, queues and counters.
pub struct Lane<P: Port> {
    engine: Engine,
    port: P,
    burst: Burst<P::Frame>,
    backlog: Backlog<P::Frame>,
    /// When the transmit queue last took something, or had nothing to take.
    tx_alive: Instant,
    index: WorkerIndex,
    neighbourhood: Neighbourhood<P>,
    /// Counts turns that might have served the kernel interface.
    turns_from_kernel: u8,
    counters: Arc<LaneCounters>,
    /// Those that look on; mostly nobody.
    taps: Option<Box<Taps>>,
}

impl<P: Port> Lane<P> {
    /// Joins an engine to a port, and lends the port the engine's files. `index` is this worker's place among the inboxes.
    #[must_use]
    pub fn new(
        engine: Engine,
        port: P,
        index: WorkerIndex,
        neighbourhood: Neighbourhood<P>,
        counters: Arc<LaneCounters>,
    ) -> Self {
        let mut lane = Self {
            engine,
            port,
            burst: Burst::new(),
            backlog: Backlog::new(),
            tx_alive: Instant::ORIGIN,
            index,
            neighbourhood,
            turns_from_kernel: 0,
            counters,
            taps: None,
        };
        lane.lend_current();
        lane
    }

    fn lend_current(&mut self) {
        let (number, arena) = self.engine.current_arena();
        self.port.lend(number, arena);
    }

    /// New transfers read `catalogue` from now on; running ones keep theirs.
    ///
    /// # Errors
    /// Gives it back while too many older ones are still in use.
    #[cold]
    pub fn install(&mut self, catalogue: Arc<Catalogue>) -> Result<(), Arc<Catalogue>> {
        self.engine.install(catalogue)?;
        self.lend_current();
        Ok(())
    }

    /// A catalogue that no transfer reads and no frame on its way refers to any more, to be dropped elsewhere: giving back its
    /// memory takes a while.
    #[cold]
    pub fn take_unread_catalogue(&mut self) -> Option<Arc<Catalogue>> {
        let Self { engine, port, .. } = self;
        engine.take_unread_catalogue(|number| port.reclaim(number))
    }

    /// One turn of the loop; returns how many frames came in or went out.
    #[inline]
    pub fn poll(&mut self, now: Instant) -> usize {
        let mut work = self.flush(now);
        let mut received = 0;
        // While the transmit queue is stuck the receive queue fills: the port drops and counts what nobody could answer.
        if self.backlog.remaining_capacity() >= RESERVE {
            received = self.receive(now);
            work += received + self.take_inbox(now);
        }
        work += self.take_relayed();
        self.send_unasked(now);
        self.counters.active_sessions.set(u64::from(self.engine.active_sessions()));
        work += self.flush(now);
        // Last of all, when our own frames are on their way.
        work + self.serve_kernel(received, work)
    }

    fn receive(&mut self, now: Instant) -> usize {
        let count = self.port.receive(&mut self.burst);
        if count == 0 {
            return 0;
        }
        self.counters.rx_frames.add(count as u64);
        self.counters.bursts[count.min(BURST)].add(1);
        if let Some(taps) = &mut self.taps {
            taps.received(now, &self.burst);
        }
        let (engine, burst, mut sink) = self.parts();
        engine.look_ahead(burst.as_slice(), &sink);
        for frame in burst.drain(..) {
            match engine.handle(now, frame, &mut sink) {
                Some(outcome) => sink.counters.count(outcome),
                None => sink.counters.handed_over.add(1),
            }
        }
        count
    }

    /// What goes out without a frame that came in: repeats whose time has come, and the rest of windows.
    #[inline]
    fn send_unasked(&mut self, now: Instant) {
        let (engine, _, mut sink) = self.parts();
        engine.run_timers(now, &mut sink);
        engine.pump(now, &mut sink);
        engine.resume(now, &mut sink);
    }

    /// Frames of our flows that arrived at other workers.
    fn take_inbox(&mut self, now: Instant) -> usize {
        let index = usize::from(self.index.0);
        let (engine, _, mut sink) = self.parts();
        let inboxes = &sink.neighbourhood.inboxes;
        let inbox = &inboxes[index];
        if inboxes.len() == 1 || inbox.is_empty() {
            return 0;
        }
        for taken in 0..BURST {
            let Some(frame) = inbox.pop() else { return taken };
            // Only an owner is handed a frame, so that it cannot go round.
            let outcome = engine.handle(now, frame, &mut sink).unwrap_or(Outcome::HandOverFull);
            sink.counters.count(outcome);
        }
        BURST
    }

    /// Frames of workers without a queue, to be sent through ours.
    fn take_relayed(&mut self) -> usize {
        let Some(ring) = &self.neighbourhood.relayed else { return 0 };
        for taken in 0..BURST {
            if self.backlog.remaining_capacity() < RESERVE {
                return taken;
            }
            let Some(frame) = ring.pop() else { return taken };
            self.backlog.push(frame);
            self.counters.relayed.add(1);
        }
        BURST
    }

    /// Frames between the kernel interface and the port, a bounded number each way; fewer while there are transfers, or more frames
    /// to receive: a frame to or from the kernel costs a system call, and what is not ours must not cost those who are served.
    #[inline]
    fn serve_kernel(&mut self, received: usize, own_work: usize) -> usize {
        if !matches!(self.neighbourhood.kernel, Some(KernelPath { port: Some(_), .. })) {
            return 0;
        }
        let is_busy = received == BURST || !self.backlog.is_empty() || self.engine.active_sessions() > 0;
        self.exchange_with_kernel(is_busy, own_work)
    }

    #[cold]
    fn exchange_with_kernel(&mut self, is_busy: bool, own_work: usize) -> usize {
        let Some(KernelPath { ring, port: Some(kernel) }) = &mut self.neighbourhood.kernel else { return 0 };
        let most = if is_busy { KERNEL_SHARE } else { BURST };
        let mut to_kernel = Backlog::new();
        while to_kernel.len() < most
            && let Some(frame) = ring.pop()
        {
            to_kernel.push(frame);
        }
        let mut work = to_kernel.len();
        let taken = kernel.send(&mut to_kernel);
        self.counters.to_kernel.add(taken as u64);
        // What the interface does not take is lost, as in a full receive queue of the kernel's.
        self.counters.kernel_lost.add(to_kernel.len() as u64);
        self.turns_from_kernel = self.turns_from_kernel.wrapping_add(1);
        let is_idle = !is_busy || own_work + work == 0;
        let is_its_turn = is_idle || self.turns_from_kernel.is_multiple_of(BUSY_TURNS_PER_KERNEL_BURST);
        // Only the room that our own frames leave: so at most one burst of the kernel's waits, and ours are not behind more.
        if is_its_turn && self.backlog.is_empty() {
            let count = kernel.receive(&mut self.burst);
            self.counters.from_kernel.add(count as u64);
            self.backlog.extend(self.burst.drain(..));
            work += count;
        }
        work
    }

    fn flush(&mut self, now: Instant) -> usize {
        if self.backlog.is_empty() {
            self.tx_alive = now;
            return 0;
        }
        let sent = match &mut self.taps {
            None => self.port.send(&mut self.backlog),
            Some(taps) => taps.send(now, &mut self.port, &mut self.backlog),
        };
        if sent > 0 {
            self.counters.tx_frames.add(sent as u64);
            self.tx_alive = now;
        } else if now - self.tx_alive > TX_PATIENCE {
            self.counters.tx_dropped.add(self.backlog.len() as u64);
            self.backlog.clear();
            self.tx_alive = now;
            if let Some(taps) = &mut self.taps {
                taps.backlog_cleared();
            }
        }
        sent
    }

    /// Tells the link who has our addresses, where that is for us to tell; the first worker does it for all.
    #[cold]
    pub fn announce(&mut self, now: Instant) {
        self.tx_alive = now;
        if self.index != WorkerIndex(0) || self.neighbourhood.kernel.is_some() {
            return;
        }
        let (engine, _, mut sink) = self.parts();
        engine.announce(&mut sink);
    }

    /// The last turn of the loop, which had work, has taken so long.
    #[inline]
    pub(super) fn settle(&self, turn_ns: u64) {
        self.counters.latency.settle(turn_ns);
    }

    /// The worker ends: so do its transfers.
    #[cold]
    pub fn cut_off(&mut self, now: Instant) {
        let (engine, _, mut sink) = self.parts();
        engine.cut_off(now, &mut sink);
        drop(sink);
        self.counters.active_sessions.set(0);
    }

    /// Others look on from now on, or nobody; returns those before.
    #[cold]
    pub fn exchange_taps(&mut self, taps: Option<Box<Taps>>) -> Option<Box<Taps>> {
        core::mem::replace(&mut self.taps, taps)
    }

    /// The engine, the burst that it handles, and what takes its output.
    #[inline]
    fn parts(&mut self) -> (&mut Engine, &mut Burst<P::Frame>, Sink<'_, P>) {
        let sink = Sink {
            completes_checksums: self.port.completes_checksums(),
            port: &mut self.port,
            backlog: &mut self.backlog,
            neighbourhood: &self.neighbourhood,
            counters: &self.counters,
            sent: Sent::default(),
        };
        (&mut self.engine, &mut self.burst, sink)
    }

    /// The engine.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine, to drain it or to give it files.
    pub const fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// The port.
    pub const fn port_mut(&mut self) -> &mut P {
        &mut self.port
    }
}

/// Takes what the engine hands out.
struct Sink<'a, P: Port> {
    port: &'a mut P,
    backlog: &'a mut Backlog<P::Frame>,
    neighbourhood: &'a Neighbourhood<P>,
    counters: &'a LaneCounters,
    completes_checksums: bool,
    sent: Sent,
}

/// Blocks sent since the sink was made: they reach the counters in one go.
#[derive(Default)]
struct Sent {
    blocks: u64,
    bytes: u64,
    again: u64,
}

impl<P: Port> Drop for Sink<'_, P> {
    #[inline]
    fn drop(&mut self) {
        if self.sent.blocks > 0 {
            self.counters.data_blocks.add(self.sent.blocks);
            self.counters.data_bytes.add(self.sent.bytes);
            self.counters.blocks_again.add(self.sent.again);
        }
    }
}

impl<P: Port> Output for Sink<'_, P> {
    type Frame = P::Frame;

    #[inline]
    fn allocate(&mut self) -> Option<P::Frame> {
        self.port.allocate()
    }

    #[inline]
    fn room(&self) -> usize {
        self.backlog.remaining_capacity().saturating_sub(RESERVE)
    }

    #[inline]
    fn send(&mut self, frame: P::Frame) {
        // Room was seen to before frames were taken in; were it not there, the frame is lost as on the wire.
        if self.backlog.try_push(frame).is_err() {
            self.counters.tx_dropped.add(1);
        }
    }

    #[inline]
    fn completes_checksums(&self) -> bool {
        self.completes_checksums
    }

    #[inline]
    fn compose<'f>(
        &mut self,
        frame: &'f mut P::Frame,
        header_len: usize,
        payload: Payload<'_>,
    ) -> Result<&'f mut [u8], TooLong> {
        self.port.compose(frame, header_len, payload)
    }

    #[inline]
    fn copies(&self, len: u16) -> bool {
        self.port.copies(len)
    }

    #[inline]
    fn prefetch<T>(&self, place: &T) {
        self.port.prefetch(place);
    }

    fn hand_over(&mut self, owner: WorkerIndex, frame: P::Frame) -> Result<(), P::Frame> {
        match self.neighbourhood.inboxes.get(usize::from(owner.0)) {
            Some(inbox) => inbox.push(frame),
            None => Err(frame),
        }
    }

    fn to_kernel(&mut self, frame: P::Frame) -> Result<(), P::Frame> {
        match &self.neighbourhood.kernel {
            Some(path) => path.ring.push(frame),
            None => Err(frame),
        }
    }

    #[inline]
    fn report(&mut self, event: Event<'_>) {
        match event {
            Event::BlockSent { bytes, repeat } => {
                self.sent.blocks += 1;
                self.sent.bytes += u64::from(bytes);
                self.sent.again += u64::from(repeat);
            }
            Event::PoolEmpty => self.counters.pool_empty.add(1),
            Event::Opened { tally } => {
                self.counters.opened.add(1);
                if let Some(tally) = tally {
                    tally.count_begin();
                }
            }
            Event::FirstData => self.counters.latency.first_data_sent(),
            Event::FirstDataAfterOffer { waited } => {
                self.counters.latency.first_data_after_offer.record(waited.micros(), 1);
            }
            Event::Ended(finished) => self.counters.note_end(finished),
            Event::Refused(refused) => self.counters.note_refusal(refused),
            Event::Cache(event) => self.counters.count_cache(event),
        }
    }
}
