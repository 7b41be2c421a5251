//! A laboratory in memory: an engine on a port without a network, model clients, virtual time. Everything follows from a seed.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part of the laboratory")]
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "test data is small and known")]

pub mod client;
pub mod cluster;
pub mod frames;
pub mod hand;
pub mod kernel;
pub mod library;
pub mod network;
pub mod nic;
pub mod odd;
pub mod random;

use dataplane::engine::{Answering, Engine, EngineConfig, Interface, Limits, LocalAddress};
use dataplane::files::{Catalogue, CatalogueBuilder, Denied, GenerationId, NameOptions};
use dataplane::port::Frame;
use dataplane::port::faults::{FaultRates, Faulty};
use dataplane::port::memory::{MemoryFrame, MemoryPool, MemoryPort};
use dataplane::random::Seed;
use dataplane::session::{ReplyPorts, WorkerIndex, WorkerShare};
use dataplane::tftp::Policy;
use dataplane::time::Instant;
use dataplane::wire::MacAddr;
use dataplane::worker::{Lane, LaneCounters, Neighbourhood};
use std::net::IpAddr;
use std::sync::Arc;

pub const SERVER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
pub const SERVER_V4: &str = "10.99.0.1";
pub const SERVER_V6: &str = "fd00::1";
pub const MTU: u16 = 1_500;

/// Reproducible bytes that differ from place to place.
pub fn content(len: usize, seed: u8) -> Vec<u8> {
    (0..len as u32)
        .map(|at| (at.wrapping_mul(2_654_435_761).wrapping_add(u32::from(seed).wrapping_mul(40_503)) >> 13) as u8)
        .collect()
}

/// A catalogue of these files, and a few names that are denied.
pub fn catalogue(generation: u32, files: &[(&str, Vec<u8>)]) -> Arc<Catalogue> {
    let bytes = files.iter().map(|(_, bytes)| bytes.len().next_multiple_of(64)).sum();
    let options = NameOptions { backslash: true, fold_case: false };
    let mut builder = CatalogueBuilder::new(GenerationId(generation), options, bytes, false).unwrap();
    for (name, bytes) in files {
        let id = builder.add_file(bytes).unwrap();
        builder.add_name(name.as_bytes(), id).unwrap();
    }
    for (name, why) in [
        ("directory", Denied::Directory),
        ("fifo", Denied::Special),
        ("private", Denied::NotReadable),
        ("outside", Denied::Outside),
    ] {
        builder.deny(name.as_bytes(), why).unwrap();
    }
    Arc::new(builder.finish().unwrap())
}

/// What varies between laboratories.
pub struct Setup {
    pub policy: Policy,
    pub limits: Limits,
    pub faults: FaultRates,
    pub fault_seed: u64,
    pub mtu: u16,
    pub pool_frames: usize,
    pub ring_len: usize,
    pub answering: Answering,
    pub reply_ports: ReplyPorts,
    /// The server's addresses with their prefix lengths.
    pub addresses: &'static [(&'static str, u8)],
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            limits: Limits { max_sessions: 1_000, ..Limits::default() },
            faults: FaultRates::default(),
            fault_seed: 0,
            mtu: MTU,
            pool_frames: 4_096,
            ring_len: 512,
            answering: Answering::Ourselves,
            reply_ports: ReplyPorts::default(),
            addresses: &[(SERVER_V4, 24), (SERVER_V6, 64)],
        }
    }
}

pub fn engine(setup: &Setup, catalogue: Arc<Catalogue>, share: WorkerShare) -> Engine {
    let addresses: Vec<LocalAddress> = setup
        .addresses
        .iter()
        .map(|&(text, prefix_len)| LocalAddress { ip: text.parse().unwrap(), prefix_len })
        .collect();
    let config = EngineConfig {
        interface: Interface::new(SERVER_MAC, setup.mtu, &addresses).unwrap(),
        policy: setup.policy,
        limits: setup.limits,
        share,
        seed: Seed([42; 16]),
        answering: setup.answering,
        reply_ports: setup.reply_ports,
    };
    Engine::new(config, catalogue, Instant::ORIGIN)
}

/// One worker on one simulated port.
pub struct Bench {
    pub lane: Lane<Faulty<MemoryPort>>,
    pub counters: Arc<LaneCounters>,
    pub pool: MemoryPool,
    pub now: Instant,
}

impl Bench {
    pub fn new(setup: &Setup, catalogue: Arc<Catalogue>) -> Self {
        let alone = WorkerShare { index: WorkerIndex(0), workers: 1 };
        Self::with_share(setup, catalogue, alone, Neighbourhood::alone())
    }

    pub fn with_share(
        setup: &Setup,
        catalogue: Arc<Catalogue>,
        share: WorkerShare,
        neighbourhood: Neighbourhood<Faulty<MemoryPort>>,
    ) -> Self {
        let pool = MemoryPool::new(setup.pool_frames, usize::from(setup.mtu) + 18);
        let port = Faulty::new(MemoryPort::new(pool.clone(), setup.ring_len), setup.faults, setup.fault_seed);
        let counters = Arc::new(LaneCounters::default());
        let engine = engine(setup, catalogue, share);
        let lane = Lane::new(engine, port, share.index, neighbourhood, Arc::clone(&counters));
        Self { lane, counters, pool, now: Instant::ORIGIN }
    }

    /// A frame arrives.
    pub fn deliver(&mut self, bytes: &[u8]) {
        self.lane.port_mut().inner_mut().deliver(bytes);
    }

    /// One turn of the loop at `now`; returns the frames that were sent.
    pub fn poll(&mut self) -> Vec<MemoryFrame> {
        self.lane.poll(self.now);
        core::iter::from_fn(|| self.lane.port_mut().inner_mut().take_sent()).collect()
    }

    /// Delivers one frame and polls until nothing more comes out.
    pub fn exchange(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.deliver(bytes);
        let mut replies = Vec::new();
        loop {
            let sent = self.poll();
            if sent.is_empty() {
                return replies;
            }
            replies.extend(sent.iter().map(|frame| frame.bytes().to_vec()));
        }
    }

    /// Lets time pass in steps of a millisecond; returns what was sent.
    pub fn pass_ms(&mut self, ms: u64) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        for _ in 0..ms {
            self.now = Instant::from_micros(self.now.micros() + 1_000);
            sent.extend(self.poll().iter().map(|frame| frame.bytes().to_vec()));
        }
        sent
    }

    pub fn live_sessions(&self) -> usize {
        let engine = self.lane.engine();
        engine.sessions(self.now, 0, engine.places()).count()
    }

    /// Every received frame has one outcome.
    pub fn assert_accounted(&self) {
        assert_eq!(
            self.counters.rx_frames.get(),
            self.counters.accounted_frames() + self.counters.handed_over.get(),
            "received frames and outcomes differ"
        );
    }
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
