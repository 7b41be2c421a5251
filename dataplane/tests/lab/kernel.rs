//! A lane beside a kernel: both of its ports are memory ports that the test keeps an end of.

use super::{Setup, engine};
use crossbeam::queue::ArrayQueue;
use dataplane::engine::Outcome;
use dataplane::files::Catalogue;
use dataplane::port::memory::{MemoryFrame, MemoryPool, MemoryPort};
use dataplane::port::{Backlog, Burst, Frame, Port};
use dataplane::session::{WorkerIndex, WorkerShare};
use dataplane::time::Instant;
use dataplane::worker::{KernelPath, Lane, LaneCounters, Neighbourhood};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// A memory port with two owners.
#[derive(Clone)]
pub struct SharedPort(Rc<RefCell<MemoryPort>>);

impl SharedPort {
    fn new(pool: &MemoryPool, ring_len: usize) -> Self {
        Self(Rc::new(RefCell::new(MemoryPort::new(pool.clone(), ring_len))))
    }

    pub fn deliver(&self, bytes: &[u8]) {
        assert!(self.0.borrow_mut().deliver(bytes), "no buffer left");
    }

    /// All that was sent.
    pub fn sent(&self) -> Vec<Vec<u8>> {
        core::iter::from_fn(|| self.0.borrow_mut().take_sent()).map(|frame| frame.bytes().to_vec()).collect()
    }
}

impl Port for SharedPort {
    type Frame = MemoryFrame;

    fn receive(&mut self, burst: &mut Burst<MemoryFrame>) -> usize {
        self.0.borrow_mut().receive(burst)
    }

    fn send(&mut self, frames: &mut Backlog<MemoryFrame>) -> usize {
        self.0.borrow_mut().send(frames)
    }

    fn allocate(&mut self) -> Option<MemoryFrame> {
        self.0.borrow_mut().allocate()
    }

    fn completes_checksums(&self) -> bool {
        false
    }
}

/// A worker that leaves all but TFTP to the kernel.
pub struct KernelBench {
    pub lane: Lane<SharedPort>,
    /// The NIC's side.
    pub port: SharedPort,
    /// The kernel's side.
    pub kernel: SharedPort,
    pub counters: Arc<LaneCounters>,
    pub pool: MemoryPool,
    pub now: Instant,
}

impl KernelBench {
    /// `ring_len` frames may wait for the kernel.
    pub fn new(setup: &Setup, catalogue: Arc<Catalogue>, ring_len: usize) -> Self {
        let pool = MemoryPool::new(setup.pool_frames, usize::from(setup.mtu) + 18);
        let (port, kernel) = (SharedPort::new(&pool, setup.ring_len), SharedPort::new(&pool, setup.ring_len));
        let counters = Arc::new(LaneCounters::default());
        let share = WorkerShare { index: WorkerIndex(0), workers: 1 };
        let path = KernelPath { ring: Arc::new(ArrayQueue::new(ring_len)), port: Some(kernel.clone()) };
        let neighbourhood = Neighbourhood { kernel: Some(path), ..Neighbourhood::alone() };
        let engine = engine(setup, catalogue, share);
        let lane = Lane::new(engine, port.clone(), share.index, neighbourhood, Arc::clone(&counters));
        Self { lane, port, kernel, counters, pool, now: Instant::ORIGIN }
    }

    /// Delivers a frame from the link, which must have this outcome; returns what went to the link and to the kernel.
    #[track_caller]
    pub fn expect(&mut self, frame: &[u8], outcome: Outcome) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let before = self.counters.outcome(outcome);
        let accounted = self.counters.accounted_frames();
        self.port.deliver(frame);
        for _ in 0..4 {
            self.lane.poll(self.now);
        }
        assert_eq!(self.counters.accounted_frames() - accounted, 1);
        assert_eq!(self.counters.outcome(outcome) - before, 1, "{} is due", outcome.name());
        assert_eq!(self.counters.rx_frames.get(), self.counters.accounted_frames());
        (self.port.sent(), self.kernel.sent())
    }
}
