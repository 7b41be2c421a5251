//! A worker that takes over files and terms, drains and comes back, while its transfers go on: driven turn by turn through its mailbox.

#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "test data is small and known")]

mod lab;

use dataplane::engine::{CATALOGUES_MAX, Limits, Outcome, Terms};
use dataplane::files::Catalogue;
use dataplane::port::Frame;
use dataplane::port::faults::Faulty;
use dataplane::port::memory::{MemoryFrame, MemoryPort};
use dataplane::tftp::Policy;
use dataplane::time::Instant;
use dataplane::worker::{
    DrainFlag, LaneCounters, Letter, LetterBox, News, Pace, Renewal, StopFlag, Worker, WorkerState, WorkerStatus,
    mailbox,
};
use lab::client::read_request;
use lab::frames::{Host, read_datagram};
use lab::{Bench, Setup, catalogue, content};
use std::sync::Arc;

struct Rig {
    worker: Worker<Faulty<MemoryPort>>,
    pace: Pace,
    letters: LetterBox,
    drain: DrainFlag,
    status: Arc<WorkerStatus>,
    counters: Arc<LaneCounters>,
    now_us: u64,
}

fn files(version: u8) -> Arc<Catalogue> {
    catalogue(version.into(), &[("file", content(2_000, version)), ("one", vec![version; 100])])
}

impl Rig {
    /// Serves `version`; control's own reference to it comes along.
    fn new(version: u8) -> (Self, Arc<Catalogue>) {
        let files = files(version);
        let Bench { lane, counters, .. } = Bench::new(&Setup::default(), Arc::clone(&files));
        let (letters, mailbox) = mailbox();
        let (drain, status) = (DrainFlag::new(), Arc::new(WorkerStatus::default()));
        status.set_state(WorkerState::Polling);
        let worker = Worker {
            lanes: vec![lane],
            mailbox,
            drain: drain.clone(),
            stop: StopFlag::new(),
            status: Arc::clone(&status),
            idle_sleep: None,
        };
        (Self { worker, pace: Pace::default(), letters, drain, status, counters, now_us: 0 }, files)
    }

    fn turn(&mut self, us: u64) -> Vec<Vec<u8>> {
        self.now_us += us;
        self.worker.turn(Instant::from_micros(self.now_us), &mut self.pace);
        let port = self.worker.lanes[0].port_mut().inner_mut();
        core::iter::from_fn(|| port.take_sent()).map(|frame: MemoryFrame| frame.bytes().to_vec()).collect()
    }

    /// Two turns: one that works, and one without work, which reads the mail.
    fn settle(&mut self) {
        self.turn(10);
        self.turn(10);
    }

    /// Sends a datagram; returns the TID and payload of its answer.
    fn send(&mut self, host: &Host, port: u16, tid: u16, payload: &[u8]) -> Option<(u16, Vec<u8>)> {
        self.worker.lanes[0].port_mut().inner_mut().deliver(&host.datagram(port, tid, payload));
        let replies = self.turn(10);
        replies.first().map(|reply| {
            let (_, flow, payload) = read_datagram(reply).unwrap();
            (flow.src_port, payload.to_vec())
        })
    }

    fn ask(&mut self, host: u8, port: u16, name: &str) -> Option<(u16, Vec<u8>)> {
        self.send(&Host::v4(host), port, 69, &read_request(name, "octet", &[]))
    }

    fn renew(&mut self, catalogue: Option<Arc<Catalogue>>, terms: Option<Terms>) -> bool {
        let (renewal, answered) = Renewal::ask(News { catalogue, terms, rules: None });
        self.letters.send(Letter::Renew(renewal)).unwrap();
        self.settle();
        answered.try_recv().expect("answered at once").done
    }
}

const ACK_1: &[u8] = &[0, 4, 0, 1];

#[test]
fn a_transfer_finishes_on_its_files_which_then_are_control_s_alone() {
    let (mut rig, old) = Rig::new(1);
    let (tid, first) = rig.ask(2, 2_000, "file").unwrap();
    assert_eq!(&first[4..], &content(2_000, 1)[..512]);
    let new = files(2);
    assert!(rig.renew(Some(Arc::clone(&new)), None));
    assert_eq!(rig.status.catalogues.get(), 2);
    let (_, other) = rig.ask(3, 3_000, "file").unwrap();
    assert_eq!(&other[4..], &content(2_000, 2)[..512], "a new transfer has the new version");
    let (_, second) = rig.send(&Host::v4(2), 2_000, tid, ACK_1).unwrap();
    assert_eq!(&second[4..], &content(2_000, 1)[512..1_024], "a running one has its own");
    rig.turn(2_000);
    rig.settle();
    assert!(Arc::strong_count(&old) > 1, "still read");
    rig.send(&Host::v4(2), 2_000, tid, &[0, 5, 0, 0]);
    rig.turn(2_000);
    rig.settle();
    assert_eq!((Arc::strong_count(&old), rig.status.catalogues.get()), (1, 1), "the worker has let go of it");
    assert!(Arc::strong_count(&new) > 1);
}

#[test]
fn a_renewal_without_room_changes_nothing_until_a_transfer_has_ended() {
    let (mut rig, _first) = Rig::new(1);
    let mut kept = Vec::new();
    let mut tids = Vec::new();
    for version in 1..CATALOGUES_MAX as u8 {
        tids.push(rig.ask(version + 1, 2_000, "file").unwrap().0);
        let next = files(version + 1);
        kept.push(Arc::clone(&next));
        assert!(rig.renew(Some(next), None), "version {version}");
    }
    tids.push(rig.ask(100, 2_000, "file").unwrap().0);
    assert_eq!(rig.status.catalogues.get(), CATALOGUES_MAX as u64);
    let late = files(100);
    let terms = Terms { policy: Policy { max_blksize: 100, ..Policy::default() }, limits: Limits::default() };
    assert!(!rig.renew(Some(Arc::clone(&late)), Some(terms)));
    assert_eq!(Arc::strong_count(&late), 1, "it was given back");
    let (_, data) = rig.ask(101, 2_000, "one").unwrap();
    assert_eq!(data[4], CATALOGUES_MAX as u8, "the old one goes on");
    // The transfer of the third version ends.
    rig.send(&Host::v4(4), 2_000, tids[2], &[0, 5, 0, 0]);
    assert!(rig.renew(Some(Arc::clone(&late)), None));
    assert_eq!(rig.ask(102, 2_000, "one").unwrap().1[4], 100);
    // Everybody else still has the version that he began with.
    for (number, tid) in tids.iter().enumerate().filter(|(number, _)| *number != 2) {
        let host = if number == CATALOGUES_MAX - 1 { 100 } else { number as u8 + 2 };
        let (_, second) = rig.send(&Host::v4(host), 2_000, *tid, ACK_1).unwrap();
        assert_eq!(&second[4..], &content(2_000, number as u8 + 1)[512..1_024], "version {}", number + 1);
    }
}

#[test]
fn other_terms_hold_at_once_but_for_what_was_granted() {
    let (mut rig, _files) = Rig::new(1);
    let (tid, _) = rig.send(&Host::v4(2), 2_000, 69, &read_request("file", "octet", &[("blksize", "1000")])).unwrap();
    let policy = Policy { max_blksize: 100, ..Policy::default() };
    let limits = Limits { max_sessions: 1, max_unproven_per_address: 2, ..Limits::default() };
    assert!(rig.renew(None, Some(Terms { policy, limits })));
    let (_, offer) = rig.send(&Host::v4(3), 3_000, 69, &read_request("file", "octet", &[("blksize", "1000")])).unwrap();
    assert_eq!(&offer[2..], b"blksize\x00100\x00");
    let (_, data) = rig.send(&Host::v4(2), 2_000, tid, &[0, 4, 0, 0]).unwrap();
    assert_eq!(data.len(), 4 + 1_000, "what was granted stays");
    assert!(rig.ask(3, 3_001, "one").is_some(), "max_sessions is not changed");
    assert!(rig.ask(3, 3_002, "one").is_none(), "the cap per address is");
    assert_eq!(rig.counters.outcome(Outcome::UnprovenCap), 1);
}

#[test]
fn draining_ends_as_it_began() {
    let (mut rig, _files) = Rig::new(1);
    let (tid, _) = rig.ask(2, 2_000, "file").unwrap();
    rig.drain.raise();
    rig.settle();
    assert_eq!(rig.status.state(), WorkerState::Draining);
    assert!(rig.ask(3, 3_000, "one").is_none());
    assert!(rig.send(&Host::v4(2), 2_000, tid, ACK_1).is_some(), "what runs goes on");
    assert!(rig.renew(Some(files(2)), None), "a reload is no request");
    rig.drain.lower();
    rig.settle();
    assert_eq!(rig.status.state(), WorkerState::Polling);
    assert_eq!(rig.ask(3, 3_000, "one").unwrap().1[4], 2);
    assert_eq!(rig.counters.outcome(Outcome::Draining), 1);
}
