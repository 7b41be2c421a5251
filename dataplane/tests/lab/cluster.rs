//! Several workers on one port whose frames reach anybody but, often, their owner.

use super::frames::read_datagram;
use super::network::Station;
use super::nic::Rss;
use super::{Bench, Setup};
use crossbeam::queue::ArrayQueue;
use dataplane::engine::Outcome;
use dataplane::files::Catalogue;
use dataplane::port::Frame;
use dataplane::port::memory::MemoryFrame;
use dataplane::random::{Random, Seed};
use dataplane::session::{Steering, WorkerIndex, WorkerShare};
use dataplane::tftp::Packet;
use dataplane::time::Instant;
use dataplane::worker::{Neighbourhood, Ring};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Who receives a frame that arrives.
#[derive(Clone, Debug)]
pub enum Spread {
    /// Anybody.
    Random,
    /// Always this one, as where the NIC cannot hash.
    To(usize),
    /// The one whose queue the NIC chooses.
    Rss(Rss),
}

pub struct Cluster {
    pub benches: Vec<Bench>,
    inboxes: Vec<Ring<MemoryFrame>>,
    spread: Spread,
    random: Random,
    /// The TIDs from which each client was sent OACK and DATA.
    pub tids: HashMap<(IpAddr, u16), HashSet<u16>>,
}

impl Cluster {
    /// `workers` workers whose inboxes hold `inbox_len` frames.
    pub fn new(setup: &Setup, catalogue: &Arc<Catalogue>, workers: u16, inbox_len: usize, spread: Spread) -> Self {
        let inboxes: Vec<Ring<MemoryFrame>> = (0..workers).map(|_| Arc::new(ArrayQueue::new(inbox_len))).collect();
        let benches = (0..workers)
            .map(|index| {
                let share = WorkerShare { index: WorkerIndex(index), workers };
                let neighbourhood = Neighbourhood { inboxes: inboxes.clone(), relayed: None, kernel: None };
                let setup = Setup { fault_seed: u64::from(index) + 1, ..*setup };
                Bench::with_share(&setup, Arc::clone(catalogue), share, neighbourhood)
            })
            .collect();
        Self { benches, inboxes, spread, random: Random::new(Seed([8; 16]), u64::from(workers)), tids: HashMap::new() }
    }

    /// The workers believe that the NIC does this.
    pub fn believing(mut self, rss: &Rss) -> Self {
        let workers = rss.table.iter().copied().map(WorkerIndex).collect();
        let count = self.benches.len() as u16;
        let steering = Arc::new(Steering::new(&rss.key, workers, count, rss.ipv4, rss.ipv6).unwrap());
        for bench in &mut self.benches {
            bench.lane.engine_mut().steer_by(Arc::clone(&steering));
        }
        self
    }

    pub fn sum(&self, of: impl Fn(&Bench) -> u64) -> u64 {
        self.benches.iter().map(of).sum()
    }

    pub fn count(&self, outcome: Outcome) -> u64 {
        self.sum(|bench| bench.count(outcome))
    }

    pub fn live_sessions(&self) -> usize {
        self.benches.iter().map(Bench::live_sessions).sum()
    }

    /// With nothing left in the inboxes every received frame has one outcome, at its owner's or where it arrived.
    pub fn assert_accounted(&self) {
        assert!(self.inboxes.iter().all(|inbox| inbox.is_empty()), "frames left in an inbox");
        let received = self.sum(|bench| bench.counters.rx_frames.get());
        assert_eq!(received, self.sum(|bench| bench.counters.accounted_frames()), "Σ rx = Σ outcomes");
        for bench in &self.benches {
            let kept = bench.counters.rx_frames.get() - bench.counters.handed_over.get();
            assert!(bench.counters.accounted_frames() >= kept, "what was not handed over has its outcome here");
        }
    }

    /// Polls until nothing more happens; returns all that was sent.
    pub fn exchange(&mut self, lane: usize, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.benches[lane].deliver(bytes);
        let mut all = Vec::new();
        for _ in 0..4 {
            all.extend(self.poll().iter().map(|frame| frame.bytes().to_vec()));
        }
        all
    }

    /// Timers run out, sessions go, every buffer comes back.
    pub fn settle(&mut self, secs: u64) {
        self.benches.iter_mut().for_each(|bench| bench.lane.port_mut().heal());
        for _ in 0..secs * 100 {
            self.set_now(Instant::from_micros(self.now().micros() + 10_000));
            self.poll();
        }
        assert_eq!(self.live_sessions(), 0, "sessions left");
        assert_eq!(self.sum(|bench| bench.pool.in_use() as u64), 0, "buffers left");
        self.assert_accounted();
    }
}

impl Station for Cluster {
    fn now(&self) -> Instant {
        self.benches[0].now
    }

    fn set_now(&mut self, now: Instant) {
        self.benches.iter_mut().for_each(|bench| bench.now = now);
    }

    fn deliver(&mut self, bytes: &[u8]) {
        let lane = match &self.spread {
            Spread::Random => self.random.below(self.benches.len() as u32) as usize,
            Spread::To(lane) => *lane,
            Spread::Rss(rss) => rss.queue(bytes),
        };
        self.benches[lane].deliver(bytes);
    }

    fn poll(&mut self) -> Vec<MemoryFrame> {
        // Nobody knows in what order workers have their turns.
        let count = self.benches.len();
        let first = self.random.below(count as u32) as usize;
        let mut sent = Vec::new();
        for step in 0..count {
            sent.extend(self.benches[(first + step) % count].poll());
        }
        for frame in &sent {
            if let Some((_, flow, payload)) = read_datagram(frame.bytes())
                && matches!(Packet::parse(payload), Ok(Packet::Data { .. } | Packet::OptionAck { .. }))
            {
                self.tids.entry((flow.addresses.dst(), flow.dst_port)).or_default().insert(flow.src_port);
            }
        }
        sent
    }
}
