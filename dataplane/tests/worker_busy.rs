//! What a worker counts as busy time: the turns that had a frame, each until the next turn begins.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod lab;

use dataplane::port::memory::{MemoryFrame, MemoryPool};
use dataplane::port::{Backlog, Burst, Pool, Port};
use dataplane::session::{WorkerIndex, WorkerShare};
use dataplane::time::Instant;
use dataplane::worker::{DrainFlag, Lane, LaneCounters, Neighbourhood, StopFlag, Worker, WorkerStatus, mailbox};
use lab::{Setup, catalogue, content, engine};
use std::sync::Arc;

/// Gives a runt in the turns that say so, and takes whatever is sent.
struct Script {
    pool: MemoryPool,
    turns: std::vec::IntoIter<bool>,
}

impl Port for Script {
    type Frame = MemoryFrame;

    fn receive(&mut self, burst: &mut Burst<MemoryFrame>) -> usize {
        let arrived = self.turns.next().unwrap_or(false);
        if arrived {
            burst.push(self.pool.frame(&[0; 10]).unwrap());
        }
        usize::from(arrived)
    }

    fn send(&mut self, frames: &mut Backlog<MemoryFrame>) -> usize {
        frames.drain(..).count()
    }

    fn allocate(&mut self) -> Option<MemoryFrame> {
        self.pool.allocate()
    }

    fn completes_checksums(&self) -> bool {
        false
    }
}

/// Runs a worker over turns of `(length in µs, with a frame)`; its status afterwards.
fn run(turns: &[(u64, bool)]) -> Arc<WorkerStatus> {
    let files = catalogue(1, &[("file", content(10, 1))]);
    let share = WorkerShare { index: WorkerIndex(0), workers: 1 };
    let with_frame: Vec<bool> = turns.iter().map(|turn| turn.1).collect();
    let port = Script { pool: MemoryPool::new(100, 1_518), turns: with_frame.into_iter() };
    let neighbourhood = Neighbourhood::alone();
    let engine = engine(&Setup::default(), files, share);
    let lane = Lane::new(engine, port, share.index, neighbourhood, Arc::new(LaneCounters::default()));
    let (_letters, mailbox) = mailbox();
    let status = Arc::new(WorkerStatus::default());
    let stop = StopFlag::new();
    let worker = Worker {
        lanes: vec![lane],
        mailbox,
        drain: DrainFlag::new(),
        stop: stop.clone(),
        status: Arc::clone(&status),
        idle_sleep: None,
    };
    let mut lengths = turns.iter().map(|turn| turn.0);
    let mut readings = 0;
    let mut now_us = 0;
    worker.run(|| {
        // The first reading is that of the announcement, the second begins the first turn.
        readings += 1;
        if readings > 2 {
            match lengths.next() {
                Some(length_us) => now_us += length_us,
                None => stop.raise(),
            }
        }
        Instant::from_micros(now_us)
    });
    status
}

#[test]
fn only_turns_with_a_frame_are_busy_and_last_until_the_next_one() {
    // The first turn sends the announcements, which is work.
    let status = run(&[(7, false), (1_000, false), (20, true), (30, true), (5_000, false), (40, true), (900, false)]);
    assert_eq!(status.busy_us.get(), 7 + 20 + 30 + 40);
    // The turn behind the last length and the one in which the stop came are idle too.
    assert_eq!((status.polls.get(), status.empty_polls.get()), (9, 5));
}

#[test]
fn an_idle_worker_is_not_busy() {
    assert_eq!(run(&[(0, false), (1_000_000, false), (1_000_000, false)]).busy_us.get(), 0);
}

#[test]
fn nanoseconds_of_busy_turns_are_counted_too() {
    let status = run(&[(7, false), (1_000, false), (20, true)]);
    assert_eq!(status.busy_ns.get(), status.busy_us.get() * 1_000);
}
