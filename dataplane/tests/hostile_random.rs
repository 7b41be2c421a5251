//! Anything in any order: requests, ACKs and ERROR packets, sound and bent, from several clients, while time jumps, files change and the
//! appliance drains. Nothing panics, each frame has one outcome, and a long silence leaves nothing behind.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a panic is how a test fails; test data is small"
)]

mod lab;

use dataplane::engine::{Ending, Outcome, SessionState};
use dataplane::port::Frame;
use dataplane::port::faults::FaultRates;
use dataplane::tftp;
use dataplane::time::{Duration, Instant};
use dataplane::wire::{self, Checks, Packet};
use lab::client::read_request;
use lab::frames::{read_datagram, solicitation};
use lab::hand::Peer;
use lab::random::{HONEST, MODES, NAMES, OPTIONS, Op, client, op};
use lab::{Bench, SERVER_MAC, Setup, catalogue, content};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::HashMap;
use std::net::IpAddr;

struct World {
    bench: Bench,
    /// What each client was last served from, and the last block.
    served: HashMap<(IpAddr, u16), (u16, u16)>,
    last_reply: Vec<u8>,
    last_frame: Vec<u8>,
    generation: u32,
    draining: bool,
    limits: dataplane::engine::Limits,
}

impl World {
    fn new(fault_seed: u64, v6_first: bool, begin_us: u64) -> Self {
        let mut setup = Setup {
            faults: FaultRates { short_pool: 20, full_ring: 20, ..FaultRates::default() },
            fault_seed,
            pool_frames: 96,
            ring_len: 16,
            ..Setup::default()
        };
        if v6_first {
            setup.addresses = &[(lab::SERVER_V6, 64), (lab::SERVER_V4, 24)];
        }
        setup.limits.max_sessions = 2;
        setup.limits.max_unproven = 2;
        setup.limits.max_unproven_per_address = 1;
        setup.limits.errors_per_second = 3;
        setup.policy.max_transfer = Duration::from_secs(600);
        let mut bench = Bench::new(&setup, Self::files(1));
        bench.now = Instant::from_micros(begin_us);
        bench.poll();
        let served = HashMap::new();
        Self {
            bench,
            served,
            last_reply: Vec::new(),
            last_frame: Vec::new(),
            generation: 1,
            draining: false,
            limits: setup.limits,
        }
    }

    fn files(generation: u32) -> std::sync::Arc<dataplane::files::Catalogue> {
        let text = b"a\nb\r\n".repeat(300);
        let (file, large) = (content(1_500, generation as u8), content(40_000, 2));
        catalogue(generation, &[("file", file), ("large", large), ("empty", Vec::new()), ("text", text)])
    }

    fn target(&self, from: usize, session: usize) -> (u16, u16) {
        let peer = client(if session == usize::MAX { from } else { session });
        self.served.get(&(peer.host.ip, peer.port)).copied().unwrap_or((40_000, 0))
    }

    fn send(&mut self, frame: Vec<u8>) {
        self.bench.deliver(&frame);
        self.last_frame = frame;
        self.turn();
    }

    /// One turn, and all that must hold after it.
    fn turn(&mut self) {
        for frame in self.bench.poll() {
            self.check_sent(frame.bytes());
        }
        self.bench.assert_accounted();
    }

    fn check_sent(&mut self, frame: &[u8]) {
        let parsed = wire::parse(frame, Checks::VERIFY).expect("only sound frames are sent");
        assert_eq!(parsed.link.src, SERVER_MAC);
        assert!(parsed.link.dst.is_unicast() || matches!(parsed.packet, Packet::Icmpv6 { .. }));
        let Some((_, flow, payload)) = read_datagram(frame) else { return };
        assert!(flow.src_port >= 1_024 && !matches!(flow.dst_port, 0 | 69), "{flow:?}");
        let to = flow.addresses.dst();
        assert!(!to.is_multicast() && !to.is_unspecified() && !to.is_loopback(), "{flow:?}");
        let block = match tftp::Packet::parse(payload).unwrap() {
            tftp::Packet::Data { block, .. } => block,
            tftp::Packet::OptionAck { .. } => 0,
            tftp::Packet::Error { .. } => return,
            other => panic!("a server never sends {other:?}"),
        };
        self.served.insert((to, flow.dst_port), (flow.src_port, block));
        self.last_reply = frame.to_vec();
    }

    fn check_sessions(&self) {
        let engine = self.bench.lane.engine();
        let states: Vec<_> = engine.sessions(self.bench.now, 0, engine.places()).map(|view| view.state).collect();
        let count = |wanted| states.iter().filter(|&&state| state == wanted).count() as u32;
        assert!(states.len() as u32 <= self.limits.max_sessions);
        assert!(count(SessionState::Unproven) <= self.limits.max_unproven);
        assert_eq!(engine.active_sessions(), count(SessionState::Unproven) + count(SessionState::Sending));
    }

    fn pass(&mut self, step_ms: u64, ms: u64) {
        for _ in 0..ms.div_ceil(step_ms) {
            self.bench.now = Instant::from_micros(self.bench.now.micros() + step_ms * 1_000);
            self.turn();
        }
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Request { client: from, name, mode, options, payload, frame } => {
                let peer = client(*from);
                let mut request = read_request(NAMES[*name], MODES[*mode], OPTIONS[*options]);
                payload.apply(&mut request);
                let mut bytes = peer.to(69, &request);
                frame.apply(&mut bytes);
                self.send(bytes);
            }
            Op::Ack { client: from, session, ahead, payload, frame } => {
                let (tid, block) = self.target(*from, *session);
                let mut ack = vec![0, 4];
                ack.extend_from_slice(&block.wrapping_add_signed(*ahead).to_be_bytes());
                payload.apply(&mut ack);
                let mut bytes = client(*from).to(tid, &ack);
                frame.apply(&mut bytes);
                self.send(bytes);
            }
            Op::Error { client: from, session, code, payload } => {
                let (tid, _) = self.target(*from, *session);
                let mut error = vec![0, 5, 0, *code, b'x', 0];
                payload.apply(&mut error);
                self.send(client(*from).to(tid, &error));
            }
            Op::Junk { client: from, port, payload } => self.send(client(*from).to(*port, payload)),
            Op::Unreachable { client: from, session, bend } => {
                let host = Peer { port: 1, ..client(*from) }.host;
                let (tid, _) = self.target(*from, *session);
                let mut quoted = if self.last_reply.len() >= 62 && self.last_reply[12] != 0x81 {
                    self.last_reply.clone()
                } else {
                    client(*from).to(tid, &[0; 64])
                };
                quoted.resize(quoted.len().max(80), 0);
                bend.apply(&mut quoted);
                quoted.resize(quoted.len().max(80), 0);
                self.send(host.port_unreachable(&quoted));
            }
            Op::Solicit { client: from, bend } => {
                let host = Peer::v6(3, 1).host;
                let IpAddr::V6(target) = host.server else { unreachable!() };
                let mut message = solicitation(target, (*from % 2 == 0).then_some(host.mac));
                bend.apply(&mut message);
                message.resize(message.len().max(4), 0);
                self.send(host.icmp_to(&host.addresses(), 255, &message));
            }
            Op::Again(times) => {
                for _ in 0..*times {
                    self.send(self.last_frame.clone());
                }
            }
            Op::Wait(ms) => self.pass(1, *ms),
            Op::LongWait(secs) => self.pass(250, secs * 1_000),
            Op::Install => {
                let _ = self.bench.lane.install(Self::files(self.generation + 1)).map(|()| self.generation += 1);
                // Control takes out what nobody reads any more, now and then.
                if self.generation.is_multiple_of(2) {
                    let _ = self.bench.lane.take_unread_catalogue();
                }
            }
            Op::Drain => {
                self.bench.lane.engine_mut().set_draining(true);
                self.draining = true;
            }
        }
    }

    /// Lets a long silence pass; returns how often each outcome and ending came.
    fn assert_nothing_is_left(mut self) -> (Vec<u64>, Vec<u64>) {
        self.bench.lane.port_mut().heal();
        self.pass(500, 660_000);
        assert_eq!(self.bench.live_sessions(), 0, "sessions left");
        assert_eq!(self.bench.lane.engine().active_sessions(), 0);
        assert_eq!(self.bench.pool.in_use(), 0, "buffers left");
        let ended: u64 = Ending::ALL.iter().map(|&ending| self.bench.counters.ending(ending)).sum();
        assert_eq!(ended, self.bench.counters.opened.get(), "each transfer ends once");
        let lane = &mut self.bench.lane;
        while lane.take_unread_catalogue().is_some() {}
        for generation in 0..7 {
            assert!(lane.install(Self::files(100 + generation)).is_ok(), "a catalogue still counts readers");
        }
        self.assert_all_are_served();
        let counters = &self.bench.counters;
        (
            Outcome::ALL.iter().map(|&outcome| counters.outcome(outcome)).collect(),
            Ending::ALL.iter().map(|&ending| counters.ending(ending)).collect(),
        )
    }
}

impl World {
    /// No count of the past stands in the way of a new request.
    fn assert_all_are_served(&mut self) {
        if self.draining {
            return;
        }
        for number in 0..HONEST {
            let peer = client(number);
            let (tid, _) = peer.open(&mut self.bench, "file", &[]);
            self.bench.expect_silence(&peer.error(tid, 0), Outcome::ClientError);
        }
    }
}

fn add(sums: &mut Vec<u64>, counts: &[u64]) {
    sums.resize(counts.len(), 0);
    sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
}

#[test]
fn random_sequences_come_to_every_corner() {
    let strategy = (proptest::collection::vec(op(), 1..120), any::<u64>(), any::<bool>());
    let mut runner = TestRunner::deterministic();
    let (mut outcomes, mut endings) = (Vec::new(), Vec::new());
    for _ in 0..150 {
        let (ops, fault_seed, v6_first) = strategy.new_tree(&mut runner).unwrap().current();
        let mut world = World::new(fault_seed, v6_first, 0);
        ops.iter().for_each(|op| world.run(op));
        let (in_outcomes, in_endings) = world.assert_nothing_is_left();
        add(&mut outcomes, &in_outcomes);
        add(&mut endings, &in_endings);
    }
    // What one worker without a kernel cannot have, or only frames of other tests.
    let never = [
        Outcome::ArpReplied,
        Outcome::ArpLearnt,
        Outcome::ArpMalformed,
        Outcome::ArpForOthers,
        Outcome::NdLearnt,
        Outcome::NdForOthers,
        Outcome::AddressConflict,
        Outcome::EchoReplied,
        Outcome::ToKernel,
        Outcome::KernelFull,
        Outcome::HandOverFull,
        Outcome::PoolEmpty,
        Outcome::Chained,
        Outcome::BadTag,
        Outcome::Fragment,
        Outcome::RequestParked,
        Outcome::NotParked,
        Outcome::ClientDenied,
    ];
    let missed: Vec<&str> = Outcome::ALL
        .into_iter()
        .filter(|&outcome| outcomes[outcome as usize] == 0 && !never.contains(&outcome))
        .map(Outcome::name)
        .collect();
    assert!(missed.is_empty(), "outcomes never reached: {missed:?}");
    for (ending, count) in Ending::ALL.into_iter().zip(&endings) {
        // Hours pass before the one, and a worker ends before the other.
        let is_elsewhere = matches!(ending, Ending::Overdue | Ending::CutOff);
        assert!(*count > 0 || is_elsewhere, "no transfer ended {}", ending.name());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_is_survived_and_forgotten(
        ops in proptest::collection::vec(op(), 1..120),
        fault_seed in any::<u64>(),
        v6_first in any::<bool>(),
        begin_us in prop_oneof![
            Just(0_u64),
            Just(u64::from(u32::MAX) - 3_000_000),
            Just(u64::from(u32::MAX) * 1_000 - 3_000_000),
        ],
    ) {
        let mut world = World::new(fault_seed, v6_first, begin_us);
        for op in &ops {
            world.run(op);
            world.check_sessions();
        }
        world.assert_nothing_is_left();
    }
}
