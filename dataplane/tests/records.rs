//! What a worker tells of transfers: how each one ended, what its record says, what it took, and how often its file was asked for.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod lab;

use dataplane::engine::{Ending, Limits, Outcome};
use dataplane::files::Catalogue;
use dataplane::session::{WorkerIndex, WorkerShare};
use dataplane::tftp::ErrorCode;
use dataplane::time::{Instant, Reading};
use dataplane::worker::{
    DrainFlag, Ended, Histogram, Lane, LaneCounters, Neighbourhood, Pace, Record, StopFlag, What, Worker, WorkerStatus,
    mailbox,
};
use lab::client::read_request;
use lab::hand::Peer;
use lab::{Bench, Setup, catalogue, content, engine};
use std::sync::Arc;

/// Three blocks of 512 bytes, the last one of 76.
const LEN: usize = 1_100;

fn files() -> Catalogue {
    let files = [("boot/file", content(LEN, 1)), ("small", content(10, 2)), ("lines", b"a\nb\n".to_vec())];
    let mut catalogue = Arc::into_inner(catalogue(1, &files)).unwrap();
    catalogue.keep_tallies(1);
    catalogue
}

/// A bench whose records can be read, with room for so many of them.
fn bench_with(setup: &Setup, records: usize) -> (Bench, Arc<Catalogue>) {
    let catalogue = Arc::new(files());
    let mut bench = Bench::new(setup, Arc::clone(&catalogue));
    let share = WorkerShare { index: WorkerIndex(0), workers: 1 };
    let port = dataplane::port::faults::Faulty::new(
        dataplane::port::memory::MemoryPort::new(bench.pool.clone(), setup.ring_len),
        setup.faults,
        0,
    );
    bench.counters = Arc::new(LaneCounters::with_records(records));
    let engine = engine(setup, Arc::clone(&catalogue), share);
    bench.lane = Lane::new(engine, port, share.index, Neighbourhood::alone(), Arc::clone(&bench.counters));
    (bench, catalogue)
}

fn bench() -> Bench {
    bench_with(&Setup::default(), 16).0
}

fn pop(bench: &Bench) -> Option<Record> {
    bench.counters.records.as_ref().unwrap().pop()
}

/// The only record that there is.
#[track_caller]
fn only(bench: &Bench) -> (Record, Ended) {
    let record = pop(bench).expect("a record");
    assert!(pop(bench).is_none(), "one record for one transfer");
    let What::Ended(ended) = record.what else { panic!("{record:?}") };
    assert_eq!(bench.counters.ending(ended.ending), 1);
    (record, ended)
}

fn sum(histogram: &Histogram) -> u64 {
    histogram.counts().map(|(_, count)| count).sum()
}

fn pass_us(bench: &mut Bench, us: u64) {
    bench.now = Instant::from_micros(bench.now.micros() + us);
}

/// Reads the file to its end, an ACK each 100 µs; the last one is `with_last_ack`.
fn read(bench: &mut Bench, peer: &Peer, tid: u16, from: u16, with_last_ack: bool) {
    for block in from..=2 {
        pass_us(bench, 100);
        bench.expect(&peer.ack(tid, block), Outcome::AckProgress);
    }
    if with_last_ack {
        pass_us(bench, 100);
        bench.expect_silence(&peer.ack(tid, 3), Outcome::AckFinished);
    }
}

#[test]
fn done_the_last_block_was_acknowledged() {
    let (mut bench, catalogue) = bench_with(&Setup::default(), 16);
    bench.now = Instant::from_micros(7_654_321_007);
    let peer = Peer::v6(2, 3_000);
    let (tid, _) = peer.open(&mut bench, "boot/file", &[]);
    assert_eq!(sum(&bench.counters.latency.transfer), 0);
    read(&mut bench, &peer, tid, 1, true);
    let (record, ended) = only(&bench);
    assert_eq!(record.client, (peer.host.ip, 3_000));
    assert_eq!(record.server, peer.host.server);
    assert_eq!((record.name.as_bytes(), record.name.is_cut()), (&b"boot/file"[..], false));
    assert_eq!((ended.ending, ended.tid), (Ending::Done, tid));
    assert_eq!((ended.bytes, ended.stream_bytes, ended.duration_us), (1_100, 1_100, 300));
    assert_eq!((ended.blocks_again, ended.timeouts, ended.blksize, ended.window), (0, 0, 512, 1));
    assert!(!ended.netascii && ended.error.is_none());
    // A late repeat and the end of the lingering are not another end.
    bench.expect_silence(&peer.ack(tid, 3), Outcome::AckRepeated);
    bench.pass(10, 60_000);
    assert!(pop(&bench).is_none());
    let transfer: Vec<_> = bench.counters.latency.transfer.counts().collect();
    assert_eq!(transfer, [(300, 1)]);
    let id = catalogue.files().find(|file| file.name() == b"boot/file").unwrap().id();
    assert_eq!(catalogue.tally_total(id), (1, 1_100));
    assert_eq!(catalogue.files().map(|file| catalogue.tally_total(file.id()).0).sum::<u64>(), 1);
}

#[test]
fn netascii_counts_bytes_as_they_are_sent() {
    let (mut bench, catalogue) = bench_with(&Setup::default(), 16);
    let peer = Peer::v4(2, 3_000);
    let replies = bench.expect(&peer.to(69, &read_request("lines", "netascii", &[])), Outcome::RequestOpened);
    bench.expect_silence(&peer.ack(replies[0].tid(), 1), Outcome::AckFinished);
    let (_, ended) = only(&bench);
    assert!(ended.netascii);
    assert_eq!((ended.bytes, ended.stream_bytes), (6, 6));
    let id = catalogue.files().find(|file| file.name() == b"lines").unwrap().id();
    assert_eq!(catalogue.tally_total(id), (1, 6));
}

#[test]
fn unconfirmed_everything_was_sent_and_the_last_ack_never_came() {
    // The client is silent, or its port is closed when the last block comes again.
    for closed in [false, true] {
        let mut bench = bench();
        let peer = Peer::v4(2, 3_000);
        let (tid, _) = peer.open(&mut bench, "boot/file", &[]);
        read(&mut bench, &peer, tid, 1, false);
        if closed {
            let last = bench.pass(1, 2_000).pop().unwrap();
            bench.expect_silence(&peer.host.port_unreachable(&last.frame), Outcome::Unreachable);
        } else {
            bench.pass(10, 300_000);
        }
        let (_, ended) = only(&bench);
        assert_eq!((ended.ending, ended.bytes, ended.stream_bytes), (Ending::Unconfirmed, 1_024, 1_100));
        assert!(ended.timeouts >= 1 && ended.blocks_again >= 1, "{ended:?}");
    }
}

#[test]
fn probe_the_client_only_wanted_the_size() {
    let tsize = [("tsize", "0"), ("blksize", "1024")];
    // An ERROR, silence, or a closed port.
    for how in 0..3 {
        let mut bench = bench();
        let peer = Peer::v4(2, 3_000);
        let opened = bench.expect(&peer.request("boot/file", &tsize), Outcome::RequestOpened).remove(0);
        match how {
            0 => bench.expect_silence(&peer.error(opened.tid(), 8), Outcome::ClientError),
            1 => _ = bench.pass(10, 120_000),
            _ => bench.expect_silence(&peer.host.port_unreachable(&opened.frame), Outcome::Unreachable),
        }
        let (_, ended) = only(&bench);
        assert_eq!((ended.ending, ended.bytes, ended.stream_bytes), (Ending::Probe, 0, 1_100), "{how}");
        assert_eq!(ended.error.map(|(code, _)| code), (how == 0).then_some(8));
        assert_eq!(sum(&bench.counters.latency.transfer), 0, "nothing was transferred");
    }
}

#[test]
fn probe_or_unanswered_is_what_the_first_reply_decides() {
    let end = |options: &[(&str, &str)], with_error: bool| {
        let mut bench = bench();
        let peer = Peer::v4(2, 3_000);
        let (tid, _) = peer.open(&mut bench, "boot/file", options);
        if with_error {
            bench.expect_silence(&peer.error(tid, 0), Outcome::ClientError);
        } else {
            bench.pass(10, 120_000);
        }
        only(&bench).1.ending
    };
    assert_eq!(end(&[], true), Ending::Probe, "rule c: before any DATA was acknowledged");
    assert_eq!(end(&[], false), Ending::Unanswered);
    assert_eq!(end(&[("blksize", "1024")], false), Ending::Unanswered, "it was told no size");
}

#[test]
fn aborted_the_client_says_why() {
    let mut bench = bench();
    let peer = Peer::v4(2, 3_000);
    let (tid, _) = peer.open(&mut bench, "boot/file", &[]);
    bench.expect(&peer.ack(tid, 1), Outcome::AckProgress);
    pass_us(&mut bench, 50);
    bench.expect_silence(&peer.to(tid, b"\0\x05\0\x03disk full\0"), Outcome::ClientError);
    let (_, ended) = only(&bench);
    assert_eq!((ended.ending, ended.bytes, ended.duration_us), (Ending::Aborted, 512, 50));
    let (code, text) = ended.error.unwrap();
    assert_eq!((code, text.as_bytes(), text.is_cut()), (3, &b"disk full"[..], false));
}

#[test]
fn row29_an_endless_error_text_is_cut() {
    let mut bench = bench();
    let peer = Peer::v4(2, 3_000);
    let (tid, _) = peer.open(&mut bench, "boot/file", &[]);
    let mut error = vec![0, 5, 0, 0];
    error.resize(1_400, 0x1b);
    bench.expect_silence(&peer.to(tid, &error), Outcome::ClientError);
    let (_, text) = only(&bench).1.error.unwrap();
    assert!(text.as_bytes().len() < 100 && text.is_cut());
}

#[test]
fn unreachable_and_timed_out_in_mid_transfer() {
    for closed in [false, true] {
        let mut bench = bench();
        let peer = Peer::v4(2, 3_000);
        let (tid, _) = peer.open(&mut bench, "boot/file", &[]);
        let second = bench.expect(&peer.ack(tid, 1), Outcome::AckProgress).remove(0);
        if closed {
            bench.expect_silence(&peer.host.port_unreachable(&second.frame), Outcome::Unreachable);
        } else {
            bench.pass(10, 300_000);
        }
        let (_, ended) = only(&bench);
        assert_eq!(ended.ending, if closed { Ending::Unreachable } else { Ending::TimedOut });
        assert_eq!(ended.bytes, 512);
        if !closed {
            // As many timeouts as the policy has tries, each with the second block again.
            let tries = u16::from(Setup::default().policy.retransmission.tries);
            assert_eq!((ended.timeouts, ended.blocks_again), (tries, tries));
        }
    }
}

#[test]
fn replaced_and_evicted_make_room() {
    let mut bench = bench();
    let peer = Peer::v4(2, 3_000);
    peer.open(&mut bench, "boot/file", &[]);
    peer.open(&mut bench, "small", &[]);
    assert_eq!(only(&bench).1.ending, Ending::Replaced);

    let setup = Setup { limits: Limits { max_unproven: 1, ..Limits::default() }, ..Setup::default() };
    let (mut bench, _) = bench_with(&setup, 16);
    Peer::v4(2, 3_000).open(&mut bench, "boot/file", &[]);
    Peer::v4(3, 3_000).open(&mut bench, "small", &[]);
    let (record, ended) = only(&bench);
    assert_eq!((ended.ending, record.client.0), (Ending::Evicted, Peer::v4(2, 0).host.ip));
}

#[test]
fn cut_off_when_the_worker_ends() {
    let (mut bench, catalogue) = bench_with(&Setup::default(), 16);
    let peer = Peer::v4(2, 3_000);
    let (tid, _) = peer.open(&mut bench, "boot/file", &[]);
    bench.expect(&peer.ack(tid, 1), Outcome::AckProgress);
    let done = Peer::v4(3, 3_000);
    let (tid, _) = done.open(&mut bench, "small", &[]);
    bench.expect_silence(&done.ack(tid, 1), Outcome::AckFinished);
    assert_eq!(only(&bench).1.ending, Ending::Done);
    bench.lane.cut_off(bench.now);
    let (_, ended) = only(&bench);
    assert_eq!((ended.ending, ended.bytes), (Ending::CutOff, 512), "the lingering one was reported already");
    assert_eq!((bench.live_sessions(), bench.counters.active_sessions.get()), (0, 0));
    let (hits, bytes) = catalogue.files().fold((0, 0), |(hits, bytes), file| {
        let (more_hits, more_bytes) = catalogue.tally_total(file.id());
        (hits + more_hits, bytes + more_bytes)
    });
    assert_eq!((hits, bytes), (2, 512 + 10));
}

#[test]
fn a_refused_request_is_told_with_its_name_as_it_was_asked_for() {
    let mut bench = bench();
    let peer = Peer::v4(2, 3_000);
    let long = "x".repeat(300);
    let write = [&b"\0\x02up\x1bload\0octet\0"[..]].concat();
    for (request, code, is_write, name, cut) in [
        (
            read_request("../etc/\u{7}passwd", "octet", &[]),
            ErrorCode::AccessViolation,
            false,
            "../etc/\u{7}passwd",
            false,
        ),
        (read_request("absent", "octet", &[]), ErrorCode::FileNotFound, false, "absent", false),
        (read_request(&long, "octet", &[]), ErrorCode::FileNotFound, false, &long[..128], true),
        (read_request("", "octet", &[]), ErrorCode::IllegalOperation, false, "", false),
        (write, ErrorCode::AccessViolation, true, "up\u{1b}load", false),
    ] {
        bench.expect_error(&peer.to(69, &request), Outcome::RequestRefused, code as u16);
        let record = pop(&bench).unwrap();
        let What::Refused { code: told, is_write: wrote, .. } = record.what else { panic!("{record:?}") };
        assert_eq!((told as u16, wrote), (code as u16, is_write));
        assert_eq!((record.name.as_bytes(), record.name.is_cut()), (name.as_bytes(), cut));
        assert_eq!(record.client, (peer.host.ip, 3_000));
    }
}

#[test]
fn row42_what_the_error_budget_swallows_makes_no_record() {
    let setup = Setup { limits: Limits { errors_per_second: 2, ..Limits::default() }, ..Setup::default() };
    let (mut bench, _) = bench_with(&setup, 64);
    for _ in 0..20 {
        bench.exchange(&Peer::v4(2, 3_000).request("absent", &[]));
    }
    assert_eq!(core::iter::from_fn(|| pop(&bench)).count(), 4, "two seconds' worth of answers");
}

#[test]
fn a_full_ring_loses_records_and_counts_them_but_no_transfer_suffers() {
    let (mut bench, _) = bench_with(&Setup::default(), 4);
    for port in 3_000..3_010 {
        let peer = Peer::v4(2, port);
        let (tid, _) = peer.open(&mut bench, "small", &[]);
        bench.expect_silence(&peer.ack(tid, 1), Outcome::AckFinished);
    }
    assert_eq!(bench.counters.ending(Ending::Done), 10);
    assert_eq!(bench.counters.records.as_ref().unwrap().lost(), 6);
    let kept: Vec<u16> = core::iter::from_fn(|| pop(&bench)).map(|record| record.client.1).collect();
    assert_eq!(kept, [3_000, 3_001, 3_002, 3_003], "the oldest are kept");
}

#[test]
fn first_data_behind_an_oack_has_the_clients_round_trip_in_it() {
    let mut bench = bench();
    let peer = Peer::v4(2, 3_000);
    bench.now = Instant::from_micros(123_456);
    let (tid, _) = peer.open(&mut bench, "boot/file", &[("blksize", "512")]);
    pass_us(&mut bench, 180);
    bench.expect(&peer.ack(tid, 0), Outcome::AckProgress);
    let measured: Vec<_> = bench.counters.latency.first_data_after_offer.counts().collect();
    assert_eq!(measured, [(180, 1)]);
    read(&mut bench, &peer, tid, 1, true);
    assert_eq!(sum(&bench.counters.latency.first_data_after_offer), 1, "once per transfer");
    assert_eq!(only(&bench).1.duration_us, 480);
}

#[test]
fn first_data_that_answers_a_request_takes_its_turn_of_the_loop() {
    let Bench { lane, counters, .. } = bench();
    let (_letters, mailbox) = mailbox();
    let mut worker = Worker {
        lanes: vec![lane],
        mailbox,
        drain: DrainFlag::new(),
        stop,
        status: Arc::new(WorkerStatus::default()),
        idle_sleep: None,
    };
    let mut pace = Pace::default();
    let at = |nanos: u64| Reading { now: Instant::from_micros(nanos / 1_000), nanos };
    let counts = |counters: &LaneCounters| counters.latency.first_data.counts().collect::<Vec<_>>();
    // Two requests that are answered by DATA, and one that asks for options.
    for (port, options) in [(3_000, &[][..]), (3_001, &[]), (3_002, &[("blksize", "512")])] {
        let request = Peer::v4(2, port).request("boot/file", options);
        worker.lanes[0].port_mut().inner_mut().deliver(&request);
    }
    worker.turn(at(5_000), &mut pace);
    assert_eq!(counts(&counters), [], "not before the turn is over");
    worker.turn(at(5_213), &mut pace);
    assert_eq!(counts(&counters), [(213, 2)]);
    worker.turn(at(9_000), &mut pace);
    assert_eq!(counts(&counters), [(213, 2)], "each once");
    // The same request again is answered again, but its first DATA has gone already.
    worker.lanes[0].port_mut().inner_mut().deliver(&Peer::v4(2, 3_000).request("boot/file", &[]));
    worker.turn(at(10_000), &mut pace);
    worker.turn(at(10_100), &mut pace);
    assert_eq!(counts(&counters), [(213, 2)]);
}

#[test]
fn bursts_are_counted_by_their_size() {
    let mut bench = bench();
    for frames in [1, 3, 3, 32] {
        for _ in 0..frames {
            bench.deliver(&[0; 10]);
        }
        bench.poll();
    }
    bench.poll();
    let sizes: Vec<u64> = bench.counters.bursts.iter().map(|count| count.get()).collect();
    assert_eq!((sizes[0], sizes[1], sizes[3], sizes[32]), (0, 1, 2, 1));
    assert_eq!(sizes.iter().sum::<u64>(), 4);
}

#[test]
fn ages_are_exact_over_the_whole_range() {
    // A transfer keeps when it began in 36 bits.
    for begin_us in [0, 15, 16, 65_535 * 16 + 7, (1 << 36) - 3, (1 << 36) + 12_345, 1 << 50] {
        let mut bench = bench();
        bench.now = Instant::from_micros(begin_us);
        let peer = Peer::v4(2, 3_000);
        let (tid, _) = peer.open(&mut bench, "small", &[]);
        pass_us(&mut bench, 77);
        bench.expect_silence(&peer.ack(tid, 1), Outcome::AckFinished);
        assert_eq!(only(&bench).1.duration_us, 77, "from {begin_us}");
    }
}
