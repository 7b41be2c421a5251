//! Anything in any order with files that come and go: requests for what is here and what is not, ACKs, silence, loads, failures,
//! evictions and new catalogues. Nothing panics, each frame has one outcome, what is sent is right, and a long silence leaves
//! nothing behind.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a panic is how a test fails; test data is small"
)]

mod lab;

use dataplane::engine::{Ending, Outcome, Shelfmark, Title, Unavailable};
use dataplane::port::Frame;
use dataplane::port::faults::FaultRates;
use dataplane::tftp;
use dataplane::time::Instant;
use lab::client::read_request;
use lab::frames::read_datagram;
use lab::hand::Peer;
use lab::library::{Librarian, partial};
use lab::{Bench, Setup, content};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

const NAMES: [&str; 6] = ["here", "f1", "f2", "f3", "f4", "missing"];
const OPTIONS: [&[(&str, &str)]; 3] = [&[], &[("blksize", "1428"), ("windowsize", "4")], &[("tsize", "0")]];
const PLACES: u32 = 2;

#[derive(Clone, Debug)]
enum Op {
    Request {
        client: u8,
        name: usize,
        options: usize,
        long: bool,
    },
    Ack {
        client: u8,
    },
    Error {
        client: u8,
    },
    /// The librarian answers his oldest want.
    Bring,
    Fail(u8),
    /// He empties a place, if nobody reads there.
    Evict(usize),
    /// He forgets his wants.
    Forget,
    Install,
    Wait(u64),
    LongWait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let client = 2..8_u8;
    prop_oneof![
        8 => (client.clone(), 0..NAMES.len(), 0..OPTIONS.len(), prop::bool::weighted(0.1))
            .prop_map(|(client, name, options, long)| Op::Request { client, name, options, long }),
        16 => client.clone().prop_map(|client| Op::Ack { client }),
        2 => client.prop_map(|client| Op::Error { client }),
        8 => Just(Op::Bring),
        1 => (0..3_u8).prop_map(Op::Fail),
        4 => (0..PLACES as usize).prop_map(Op::Evict),
        1 => Just(Op::Forget),
        1 => Just(Op::Install),
        4 => (1..50_u64).prop_map(Op::Wait),
        1 => (1..15_u64).prop_map(Op::LongWait),
    ]
}

fn absent(generation: u32) -> Vec<(&'static str, Vec<u8>)> {
    (1..5_u8).map(|n| (NAMES[usize::from(n)], content(1_500 * usize::from(n), n + 16 * generation as u8))).collect()
}

fn here(generation: u32) -> Vec<(&'static str, Vec<u8>)> {
    vec![("here", content(3_000, 100 + generation as u8))]
}

struct World {
    bench: Bench,
    librarian: Librarian,
    generation: u32,
    wants: Vec<Title>,
    /// What each client was last served from, and the last block in order.
    served: HashMap<(IpAddr, u16), (u16, u16)>,
    /// Everything that any file of any generation may hold.
    known: Vec<Vec<u8>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut setup = Setup {
            faults: FaultRates { short_pool: 30, full_ring: 30, duplication: 30, ..FaultRates::default() },
            fault_seed: seed,
            pool_frames: 48,
            ring_len: 16,
            ..Setup::default()
        };
        setup.limits.max_sessions = 5;
        setup.limits.max_unproven_per_address = 2;
        let catalogue = partial(1, &here(1), &absent(1));
        let mut bench = Bench::new(&setup, Arc::clone(&catalogue));
        let librarian = Librarian::new(bench.lane.engine_mut(), &catalogue, &absent(1), PLACES);
        bench.poll();
        let known = here(1).into_iter().chain(absent(1)).map(|(_, bytes)| bytes).collect();
        Self { bench, librarian, generation: 1, wants: Vec::new(), served: HashMap::new(), known }
    }

    fn turn(&mut self) {
        for frame in self.bench.poll() {
            let Some((_, flow, payload)) = read_datagram(frame.bytes()) else { continue };
            match tftp::Packet::parse(payload).unwrap() {
                tftp::Packet::Data { block, payload } => {
                    // Whole blocks of content are told apart by their bytes: no stranger's memory ever goes out.
                    let is_known = payload.len() < 16
                        || self.known.iter().any(|file| file.windows(payload.len()).any(|window| window == payload));
                    assert!(is_known, "bytes of no file");
                    self.served.insert((flow.addresses.dst(), flow.dst_port), (flow.src_port, block));
                }
                tftp::Packet::OptionAck { .. } => {
                    self.served.insert((flow.addresses.dst(), flow.dst_port), (flow.src_port, 0));
                }
                tftp::Packet::Error { .. } => {}
                other => panic!("a server never sends {other:?}"),
            }
        }
        self.bench.assert_accounted();
        self.wants.extend(self.librarian.asked());
        let engine = self.bench.lane.engine();
        assert!(engine.parked_requests() <= 512);
        let readers: u32 = (0..PLACES).map(|at| self.librarian.usage.of(Shelfmark(at)).unwrap().readers()).sum();
        assert!(readers <= engine.active_sessions());
    }

    fn pass(&mut self, step_ms: u64, ms: u64) {
        for _ in 0..ms.div_ceil(step_ms) {
            self.bench.now = Instant::from_micros(self.bench.now.micros() + step_ms * 1_000);
            self.turn();
        }
    }

    fn send(&mut self, frame: &[u8]) {
        self.bench.deliver(frame);
        self.turn();
    }

    fn run(&mut self, op: &Op) {
        let peer =
            |client: u8| if client.is_multiple_of(2) { Peer::v4(client, 3_000) } else { Peer::v6(client, 3_000) };
        match *op {
            Op::Request { client, name, options, long } => {
                let mut request = read_request(NAMES[name], "octet", OPTIONS[options]);
                if long {
                    request.extend_from_slice(&read_request(&"x".repeat(700), "1", &[])[2..]);
                }
                self.send(&peer(client).to(69, &request));
            }
            Op::Ack { client } => {
                let peer = peer(client);
                let (tid, block) = self.served.get(&(peer.host.ip, peer.port)).copied().unwrap_or((40_000, 0));
                self.send(&peer.ack(tid, block));
            }
            Op::Error { client } => {
                let peer = peer(client);
                let (tid, _) = self.served.get(&(peer.host.ip, peer.port)).copied().unwrap_or((40_000, 0));
                self.send(&peer.error(tid, 0));
            }
            Op::Bring => {
                if let Some(title) = self.take_want() {
                    let brought = self.librarian.bring(self.bench.lane.engine_mut(), title);
                    if !brought {
                        self.wants.push(title);
                    }
                }
            }
            Op::Fail(why) => {
                let why = [Unavailable::Changed, Unavailable::Vanished, Unavailable::Failed][usize::from(why)];
                if let Some(title) = self.take_want() {
                    self.bench.lane.engine_mut().refuse_waiting(title, why);
                }
            }
            Op::Evict(at) => _ = self.librarian.evict(self.bench.lane.engine_mut(), at),
            Op::Forget => self.wants.clear(),
            Op::Install => self.install(),
            Op::Wait(ms) => self.pass(1, ms),
            Op::LongWait(secs) => self.pass(250, secs * 1_000),
        }
        self.turn();
    }

    fn take_want(&mut self) -> Option<Title> {
        let current = self.librarian.catalogue.generation();
        self.wants.retain(|title| title.generation == current);
        if self.wants.is_empty() { None } else { Some(self.wants.remove(0)) }
    }

    /// A catalogue with other bytes under the same names; what is on the shelf stays until nobody reads it.
    fn install(&mut self) {
        let generation = self.generation + 1;
        let catalogue = partial(generation, &here(generation), &absent(generation));
        if self.bench.lane.install(Arc::clone(&catalogue)).is_err() {
            return;
        }
        self.generation = generation;
        self.librarian.restock(&catalogue, &absent(generation));
        self.known.extend(here(generation).into_iter().chain(absent(generation)).map(|(_, bytes)| bytes));
        let _ = self.bench.lane.take_unread_catalogue();
    }

    fn assert_nothing_is_left(mut self) -> Vec<u64> {
        self.bench.lane.port_mut().heal();
        self.pass(500, 300_000);
        // Whoever still waits has waited for too long.
        for name in &NAMES[1..5] {
            let title = self.librarian.title(name);
            self.bench.lane.engine_mut().refuse_waiting(title, Unavailable::Failed);
        }
        self.pass(1, 100);
        assert_eq!(self.bench.lane.engine().parked_requests(), 0);
        assert_eq!((self.bench.live_sessions(), self.bench.pool.in_use()), (0, 0));
        let ended: u64 = Ending::ALL.iter().map(|&ending| self.bench.counters.ending(ending)).sum();
        assert_eq!(ended, self.bench.counters.opened.get(), "each transfer ends once");
        for at in 0..PLACES as usize {
            assert_eq!(self.librarian.usage.of(Shelfmark(at as u32)).unwrap().readers(), 0);
            let held = self.librarian.shelf[at].is_some();
            assert_eq!(self.librarian.evict(self.bench.lane.engine_mut(), at), held);
        }
        let counters = &self.bench.counters;
        vec![
            counters.outcome(Outcome::RequestParked),
            counters.outcome(Outcome::NotParked),
            counters.outcome(Outcome::RequestOpened),
            counters.cache_hits.get(),
            counters.cache_misses.get(),
            counters.parked_answered.get(),
            counters.parked_lost.get(),
            counters.pool_empty.get(),
            self.librarian.evictions,
            u64::from(self.generation),
        ]
    }
}

#[test]
fn random_sequences_come_to_every_corner() {
    let strategy = (proptest::collection::vec(op(), 1..150), any::<u64>());
    let mut runner = TestRunner::deterministic();
    let mut sums = vec![0; 10];
    for _ in 0..100 {
        let (ops, seed) = strategy.new_tree(&mut runner).unwrap().current();
        let mut world = World::new(seed);
        ops.iter().for_each(|op| world.run(op));
        sums.iter_mut().zip(world.assert_nothing_is_left()).for_each(|(sum, count)| *sum += count);
    }
    assert!(sums.iter().all(|&sum| sum > 10), "a corner was hardly reached: {sums:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_is_survived_and_forgotten(ops in proptest::collection::vec(op(), 1..150), seed in any::<u64>()) {
        let mut world = World::new(seed);
        ops.iter().for_each(|op| world.run(op));
        world.assert_nothing_is_left();
    }
}
