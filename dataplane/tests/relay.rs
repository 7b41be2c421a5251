//! A port with one queue and three workers: two of them receive and send through the first.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod lab;

use crossbeam::queue::ArrayQueue;
use dataplane::port::Frame;
use dataplane::port::memory::{MemoryFrame, MemoryPool, MemoryPort};
use dataplane::session::{WorkerIndex, WorkerShare};
use dataplane::time::Instant;
use dataplane::worker::{Attachment, Lane, LaneCounters, Neighbourhood, Ring};
use lab::client::{Client, Habits};
use lab::frames::Host;
use lab::{Setup, catalogue, content, engine};
use std::sync::Arc;

const WORKERS: u16 = 3;

type RelayLane = Lane<Attachment<MemoryPort, MemoryPool>>;

struct Relayed {
    lanes: Vec<RelayLane>,
    counters: Vec<Arc<LaneCounters>>,
    pool: MemoryPool,
}

fn relayed(bytes: &[u8], ring_frames: usize) -> Relayed {
    let pool = MemoryPool::new(2_000, 1_518);
    let files = catalogue(1, &[("file", bytes.to_vec())]);
    let inboxes: Vec<Ring<MemoryFrame>> = (0..WORKERS).map(|_| Arc::new(ArrayQueue::new(64))).collect();
    let outbox: Ring<MemoryFrame> = Arc::new(ArrayQueue::new(ring_frames));
    let counters: Vec<_> = (0..WORKERS).map(|_| Arc::new(LaneCounters::default())).collect();
    let lanes = (0..WORKERS)
        .map(|index| {
            let share = WorkerShare { index: WorkerIndex(index), workers: WORKERS };
            let first = index == 0;
            let attachment = if first {
                Attachment::Queue(MemoryPort::new(pool.clone(), 64))
            } else {
                Attachment::Relay { ring: Arc::clone(&outbox), pool: pool.clone() }
            };
            let relayed = first.then(|| Arc::clone(&outbox));
            let neighbourhood = Neighbourhood { inboxes: inboxes.clone(), relayed, kernel: None };
            let engine = engine(&Setup::default(), Arc::clone(&files), share);
            Lane::new(engine, attachment, share.index, neighbourhood, Arc::clone(&counters[usize::from(index)]))
        })
        .collect();
    Relayed { lanes, counters, pool }
}

impl Relayed {
    fn port(&mut self) -> &mut MemoryPort {
        match self.lanes[0].port_mut() {
            Attachment::Queue(port) => port,
            Attachment::Relay { .. } => unreachable!("the first worker has the queue"),
        }
    }

    /// Runs clients to their end; frames take no time, a turn takes 50 µs.
    fn run(&mut self, clients: &mut [Client]) {
        let mut now_us = 0;
        for client in clients.iter_mut() {
            for frame in client.start(now_us) {
                self.port().deliver(&frame);
            }
        }
        while !clients.iter().all(Client::is_done) {
            now_us += 50;
            assert!(now_us < 60_000_000, "not done after a minute");
            for lane in &mut self.lanes {
                lane.poll(Instant::from_micros(now_us));
            }
            while let Some(sent) = self.port().take_sent() {
                for client in clients.iter_mut() {
                    for frame in client.hear(now_us, sent.bytes()) {
                        self.port().deliver(&frame);
                    }
                }
            }
            for client in clients.iter_mut() {
                for frame in client.wake(now_us) {
                    self.port().deliver(&frame);
                }
            }
        }
        for tick in 0..200_000 {
            for lane in &mut self.lanes {
                lane.poll(Instant::from_micros(now_us + tick * 1_000));
            }
            while self.port().take_sent().is_some() {}
        }
    }

    fn sum(&self, of: impl Fn(&LaneCounters) -> u64) -> u64 {
        self.counters.iter().map(|counters| of(counters)).sum()
    }
}

#[test]
fn workers_without_a_queue_serve_their_flows_all_the_same() {
    // A ring of four frames is full most of the time: frames wait in their worker's backlog and keep their order.
    for ring_frames in [4, 1_024] {
        let bytes = content(60_000, 3);
        let mut relayed = relayed(&bytes, ring_frames);
        let options = [("blksize", "1000"), ("windowsize", "16")];
        let mut clients: Vec<_> = (0..30)
            .map(|number| Client::new(Host::v4(2 + number), 3_000, "file", "octet", &options, Habits::default()))
            .collect();
        relayed.run(&mut clients);
        for client in &clients {
            assert_eq!(client.outcome, Some(Ok(())));
            assert!(client.received == bytes);
        }
        assert_eq!(relayed.pool.in_use(), 0);
        assert_eq!(relayed.sum(|counters| counters.rx_frames.get()), relayed.sum(LaneCounters::accounted_frames));
        assert!(relayed.counters[1].opened.get() > 0 && relayed.counters[2].opened.get() > 0, "all three own flows");
        assert_eq!(
            relayed.counters[0].relayed.get(),
            relayed.counters[1].tx_frames.get() + relayed.counters[2].tx_frames.get()
        );
    }
}
