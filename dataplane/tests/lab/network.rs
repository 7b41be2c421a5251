//! A link between model clients and a bench: frames travel for a while, and time jumps from event to event.

use super::Bench;
use super::client::Client;
use dataplane::port::Frame;
use dataplane::port::memory::MemoryFrame;
use dataplane::random::{Random, Seed};
use dataplane::time::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How the link behaves.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Microseconds each way.
    pub delay_us: u64,
    /// Most microseconds more, chosen per frame: reorders.
    pub jitter_us: u32,
    /// Thousandths of the frames to the clients that are lost.
    pub loss: u32,
    /// The same, damaged.
    pub corruption: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self { delay_us: 100, jitter_us: 0, loss: 0, corruption: 0 }
    }
}

/// What stands at the server's end of the link.
pub trait Station {
    fn now(&self) -> Instant;
    fn set_now(&mut self, now: Instant);
    fn deliver(&mut self, bytes: &[u8]);
    /// One turn; returns what was sent.
    fn poll(&mut self) -> Vec<MemoryFrame>;
}

impl Station for Bench {
    fn now(&self) -> Instant {
        self.now
    }

    fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    fn deliver(&mut self, bytes: &[u8]) {
        Bench::deliver(self, bytes);
    }

    fn poll(&mut self) -> Vec<MemoryFrame> {
        Bench::poll(self)
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Travelling {
    arrives_us: u64,
    order: u64,
    to_server: bool,
    bytes: Vec<u8>,
}

pub struct Network<S = Bench> {
    pub bench: S,
    pub clients: Vec<Client>,
    link: Link,
    random: Random,
    travelling: BinaryHeap<Reverse<Travelling>>,
    order: u64,
    pub data_frames: u64,
}

impl<S: Station> Network<S> {
    pub fn new(bench: S, clients: Vec<Client>, link: Link, seed: u64) -> Self {
        Self {
            bench,
            clients,
            link,
            random: Random::new(Seed([77; 16]), seed),
            travelling: BinaryHeap::new(),
            order: 0,
            data_frames: 0,
        }
    }

    /// Runs until every client is done; panics with `what` when that takes longer than `limit_secs` of virtual time.
    pub fn run(&mut self, limit_secs: u64, what: &str) {
        let mut now_us = self.bench.now().micros();
        let end = now_us + limit_secs * 1_000_000;
        for number in 0..self.clients.len() {
            let frames = self.clients[number].start(now_us);
            self.launch(now_us, true, frames);
        }
        while !self.clients.iter().all(Client::is_done) || !self.travelling.is_empty() {
            assert!(now_us < end, "{what}: not done after {limit_secs} s");
            now_us = self.next_event(now_us);
            self.bench.set_now(Instant::from_micros(now_us));
            while let Some(Reverse(first)) = self.travelling.peek()
                && first.arrives_us <= now_us
            {
                let Some(Reverse(frame)) = self.travelling.pop() else { unreachable!() };
                if frame.to_server {
                    self.bench.deliver(&frame.bytes);
                } else {
                    for number in 0..self.clients.len() {
                        let replies = self.clients[number].hear(now_us, &frame.bytes);
                        self.launch(now_us, true, replies);
                    }
                }
            }
            for number in 0..self.clients.len() {
                let frames = self.clients[number].wake(now_us);
                self.launch(now_us, true, frames);
            }
            let sent: Vec<Vec<u8>> = self.bench.poll().iter().map(|frame| frame.bytes().to_vec()).collect();
            self.launch(now_us, false, sent);
        }
    }

    /// The next moment at which something happens; the bench wants to be looked at every millisecond.
    fn next_event(&self, now_us: u64) -> u64 {
        let arrival = self.travelling.peek().map_or(u64::MAX, |Reverse(first)| first.arrives_us);
        let timer = self.clients.iter().map(Client::deadline_us).min().unwrap_or(u64::MAX);
        let tick = (now_us / 1_000 + 1) * 1_000;
        arrival.min(timer).min(tick).max(now_us)
    }

    fn launch(&mut self, now_us: u64, to_server: bool, frames: Vec<Vec<u8>>) {
        for mut bytes in frames {
            if !to_server {
                self.data_frames += 1;
                if self.link.loss > self.random.below(1_000) {
                    continue;
                }
                if self.link.corruption > self.random.below(1_000) {
                    let bit = self.random.below(bytes.len() as u32 * 8) as usize;
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            }
            let jitter = u64::from(self.random.below(self.link.jitter_us + 1));
            self.order += 1;
            let arrives_us = now_us + self.link.delay_us + jitter;
            self.travelling.push(Reverse(Travelling { arrives_us, order: self.order, to_server, bytes }));
        }
    }
}

impl Network {
    /// After the last client: timers run out, sessions go, every buffer comes back.
    pub fn settle(&mut self, secs: u64, what: &str) {
        self.bench.lane.port_mut().heal();
        self.bench.pass_ms(secs * 1_000);
        assert_eq!(self.bench.live_sessions(), 0, "{what}: sessions left");
        assert_eq!(self.bench.pool.in_use(), 0, "{what}: buffers left");
        self.bench.assert_accounted();
    }
}
