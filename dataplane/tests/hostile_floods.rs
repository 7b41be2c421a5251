//! Floods, rows 40 to 44, and how much anybody can make the server send to somebody else.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a panic is how a test fails; test data is small"
)]

mod lab;

use dataplane::engine::{Ending, Outcome, SessionState};
use dataplane::port::Frame;
use dataplane::time::{Duration, Instant};
use lab::client::{Client, Habits, read_request};
use lab::frames::Host;
use lab::hand::{Peer, Reply, Said, bench_with_bystander, blocks};
use lab::{Bench, Setup, catalogue, content};
use std::net::IpAddr;

fn file() -> Vec<(&'static str, Vec<u8>)> {
    vec![("file", content(5_000, 1))]
}

fn setup(max_sessions: u32, max_unproven: u32, max_unproven_per_address: u32) -> Setup {
    let mut setup = Setup::default();
    setup.limits.max_sessions = max_sessions;
    setup.limits.max_unproven = max_unproven;
    setup.limits.max_unproven_per_address = max_unproven_per_address;
    setup
}

/// A forged source, another one for each number.
fn forged(number: u32) -> Peer {
    let mut peer = Peer::v4(9, 1_024 + (number % 60_000) as u16);
    peer.host.ip = IpAddr::from((0x0B00_0000 + number).to_be_bytes());
    peer
}

fn unproven(bench: &Bench) -> Vec<(IpAddr, u16)> {
    let engine = bench.lane.engine();
    let sessions = engine.sessions(bench.now, 0, engine.places());
    sessions.filter(|session| session.state == SessionState::Unproven).map(|session| session.client).collect()
}

#[test]
fn row40_one_address_has_few_unacknowledged_sessions() {
    for first in [Peer::v4(2, 3_000), Peer::v6(2, 3_000)] {
        let (mut bench, bystander) = bench_with_bystander(&setup(1_000, 500, 8), &file());
        let peer = |number: u16| Peer { port: 3_000 + number, ..first };
        let tids: Vec<u16> = (0..8).map(|number| peer(number).open(&mut bench, "file", &[]).0).collect();
        for number in 8..200 {
            bench.expect_silence(&peer(number).request("file", &[]), Outcome::UnprovenCap);
        }
        assert_eq!(bench.live_sessions(), 1 + 8);
        // Whoever has a session already is answered as ever.
        assert_eq!(bench.expect(&peer(3).request("file", &[]), Outcome::RequestRepeated)[0].tid(), tids[3]);
        let replaced = bench.expect(&peer(4).request("file", &[("tsize", "0")]), Outcome::RequestOpened);
        assert_eq!(replaced[0].said, Said::Oack("tsize 5000 ".to_owned()));
        // Other addresses do not notice, and an acknowledged session makes room.
        Peer::v4(77, 3_000).open(&mut bench, "file", &[]);
        bench.expect(&peer(0).ack(tids[0], 1), Outcome::AckProgress);
        peer(8).open(&mut bench, "file", &[]);
        bench.expect_silence(&peer(9).request("file", &[]), Outcome::UnprovenCap);
        bench.expect_silence(&peer(1).error(tids[1], 0), Outcome::ClientError);
        peer(10).open(&mut bench, "file", &[]);
        bystander.finish(&mut bench);
        // When the others are given up there is room again.
        bench.pass(10, 20_000);
        assert!(unproven(&bench).is_empty());
        for number in 20..28 {
            peer(number).open(&mut bench, "file", &[]);
        }
        bench.expect_silence(&peer(28).request("file", &[]), Outcome::UnprovenCap);
    }
}

#[test]
fn row41_the_oldest_unproven_session_goes_first() {
    let (mut bench, bystander) = bench_with_bystander(&setup(1_000, 100, 8), &file());
    for number in 0..300 {
        forged(number).open(&mut bench, "file", &[]);
        assert!(unproven(&bench).len() <= 100);
        if number == 150 {
            // A repeat begins its wait again: it goes later, but it goes.
            assert_eq!(bench.expect(&forged(60).request("file", &[]), Outcome::RequestRepeated).len(), 1);
        }
    }
    let mut left = unproven(&bench);
    left.sort_unstable();
    let wanted: Vec<_> = (200..300).map(|number| (forged(number).host.ip, forged(number).port)).collect();
    assert_eq!(left, wanted);
    assert_eq!(bench.counters.ending(Ending::Evicted), 200);
    bystander.finish(&mut bench);
}

#[test]
fn row41_the_longest_waiting_goes_first_whatever_its_tries() {
    let (mut bench, _) = bench_with_bystander(&setup(1_000, 3, 8), &file());
    forged(1).open(&mut bench, "file", &[]);
    bench.pass(1, 1_500);
    forged(2).open(&mut bench, "file", &[]);
    forged(3).open(&mut bench, "file", &[]);
    forged(4).open(&mut bench, "file", &[]);
    assert!(forged(1).session(&bench).is_none(), "it had been repeated once already");
    assert!(forged(2).session(&bench).is_some());
    forged(5).open(&mut bench, "file", &[]);
    assert!(forged(2).session(&bench).is_none());
}

/// Ticks of 100 µs that one transfer of 4 MB takes while `per_tick` forged requests come in each of them, up to `total`.
fn ticks_of_a_transfer(per_tick: u32, total: u32) -> (u64, Bench) {
    let bytes = content(4 << 20, 7);
    let mut setup = setup(2_000, 500, 8);
    // The link takes 256 frames in a tick: replies to the flood and the transfer share them.
    setup.ring_len = 64;
    let mut bench = Bench::new(&setup, catalogue(1, &[("file", content(5_000, 1)), ("large", bytes.clone())]));
    let options = [("blksize", "1400"), ("windowsize", "4")];
    let mut client = Client::new(Host::v4(2), 2_000, "large", "octet", &options, Habits::default());
    let names: Vec<Vec<u8>> =
        ["file", "large", "missing"].iter().map(|name| read_request(name, "octet", &[])).collect();
    let (mut tick, mut sent_forged) = (0, 0);
    let mut to_server = client.start(0);
    while !client.is_done() {
        tick += 1;
        assert!(tick < 100_000, "the transfer does not end");
        bench.now = Instant::from_micros(tick * 100);
        let until = (sent_forged + per_tick).min(total);
        (sent_forged..until).for_each(|number| bench.deliver(&forged(number).to(69, &names[number as usize % 3])));
        sent_forged = until;
        to_server.drain(..).for_each(|frame| bench.deliver(&frame));
        for _ in 0..4 {
            for frame in bench.poll() {
                to_server.extend(client.hear(tick * 100, frame.bytes()));
            }
        }
        to_server.extend(client.wake(tick * 100));
    }
    assert_eq!(sent_forged, total, "the transfer is longer than the flood");
    assert_eq!(client.outcome, Some(Ok(())));
    assert!(client.received == bytes);
    to_server.iter().for_each(|frame| bench.deliver(frame));
    bench.poll();
    (tick, bench)
}

#[test]
fn row41_a_transfer_completes_during_a_flood_of_fifty_thousand() {
    let (calm, _) = ticks_of_a_transfer(0, 0);
    let (flooded, mut bench) = ticks_of_a_transfer(100, 50_000);
    assert_eq!(bench.count(Outcome::AckFinished), 1);
    assert!(calm * 100 >= flooded * 80, "{flooded} ticks in the flood, {calm} in the calm: below 80 % goodput");
    assert!(bench.live_sessions() <= 501);
    assert!(bench.counters.ending(Ending::Evicted) > 5_000);
    bench.assert_accounted();
    bench.pass(10, 60_000);
    assert_eq!(bench.live_sessions(), 0);
    assert_eq!(bench.pool.in_use(), 0);
}

#[test]
fn row41_fifty_thousand_forged_requests_leave_nothing_behind() {
    let (mut bench, bystander) = bench_with_bystander(&setup(65_536, 16_384, 256), &file());
    for number in 0..50_000 {
        bench.deliver(&forged(number).request("file", &[("tsize", "0")]));
        if number % 32 == 31 {
            bench.poll();
        }
    }
    while !bench.poll().is_empty() {}
    assert_eq!(bench.count(Outcome::RequestOpened), 50_001, "16,384 of them at a time, no address among them capped");
    assert_eq!(unproven(&bench).len(), 16_384);
    bystander.finish(&mut bench);
    let repeats = bench.pass(10, 60_000);
    assert!(repeats.len() <= 2 * 16_384);
    assert_eq!(bench.live_sessions(), 0);
    assert_eq!(bench.pool.in_use(), 0);
    bench.assert_accounted();
}

#[test]
fn row42_errors_are_rationed_per_prefix() {
    let mut setup = Setup::default();
    setup.limits.errors_per_second = 10;
    let (mut bench, bystander) = bench_with_bystander(&setup, &file());
    for (near, far) in [(Peer::v4(2, 3_000), "10.98.0.2"), (Peer::v6(2, 3_000), "fd00:0:0:1::2")] {
        let payloads =
            [read_request("missing", "octet", &[]), b"\0\x02x\0octet\0".to_vec(), b"\0\x01x\0mail\0".to_vec()];
        let flood = |bench: &mut Bench, count: u8| {
            let before = bench.count(Outcome::RequestRefused);
            for number in 0..count {
                let mut peer = near;
                peer.host.ip = match near.host.ip {
                    IpAddr::V4(_) => IpAddr::from([10, 99, 0, 2 + number % 200]),
                    IpAddr::V6(_) => lab::ip(&format!("fd00::abcd:{}", number + 2)),
                };
                bench.exchange(&peer.to(69, &payloads[usize::from(number) % 3]));
            }
            bench.count(Outcome::RequestRefused) - before
        };
        let dropped = bench.count(Outcome::ErrorBudget);
        assert_eq!(flood(&mut bench, 100), 20, "two seconds' worth");
        assert_eq!(bench.count(Outcome::ErrorBudget) - dropped, 80);
        // Another prefix has its own budget, and files are served as ever.
        let mut other = near;
        other.host.ip = lab::ip(far);
        bench.expect_error(&other.request("missing", &[]), Outcome::RequestRefused, 1);
        near.open(&mut bench, "file", &[]);
        bench.now = Instant::from_micros(bench.now.micros() + 500_000);
        assert_eq!(flood(&mut bench, 100), 5, "half a second later");
        bench.assert_accounted();
    }
    bystander.finish(&mut bench);
}

#[test]
fn row43_a_full_table_is_silent() {
    let (mut bench, bystander) = bench_with_bystander(&setup(5, 4, 4), &file());
    let peers: Vec<(Peer, u16)> = (0..4)
        .map(|number| {
            let peer = Peer::v4(2, 3_000 + number);
            let (tid, _) = peer.open(&mut bench, "file", &[]);
            bench.expect(&peer.ack(tid, 1), Outcome::AckProgress);
            (peer, tid)
        })
        .collect();
    let late = Peer::v4(3, 3_000);
    for _ in 0..10 {
        bench.expect_silence(&late.request("file", &[]), Outcome::TableFull);
        // What needs no session is answered as ever.
        bench.expect_error(&late.request("missing", &[]), Outcome::RequestRefused, 1);
    }
    assert_eq!(bench.live_sessions(), 5);
    // Every running transfer goes on, and the client's own retry finds the first free place.
    let (peer, tid) = peers[0];
    bench.expect(&peer.ack(tid, 2), Outcome::AckProgress);
    bench.expect_silence(&peer.error(tid, 0), Outcome::ClientError);
    late.open(&mut bench, "file", &[]);
    bench.expect_silence(&Peer::v4(4, 3_000).request("file", &[]), Outcome::TableFull);
    bystander.finish(&mut bench);
    // A finished session gives up its place to a new one.
    Peer::v4(4, 3_000).open(&mut bench, "file", &[]);
    assert_eq!(bench.live_sessions(), 5);
    bench.expect_silence(&Peer::v4(5, 3_000).request("file", &[]), Outcome::TableFull);
}

#[test]
fn row44_readers_that_stop_are_given_up() {
    // How long a place is held at most, by what the client chose: backed-off waits, or ten times its own timeout.
    for (options, limit_secs) in [(&[][..], 80), (&[("timeout", "1")], 15), (&[("timeout", "60")], 800)] {
        let mut bench = Bench::new(&Setup::default(), catalogue(1, &file()));
        let peer = Peer::v4(2, 3_000);
        let (tid, said) = peer.open(&mut bench, "file", options);
        let first = u16::from(!matches!(said, Said::Oack(_)));
        bench.pass(1, 20);
        bench.expect(&peer.ack(tid, first), Outcome::AckProgress);
        // It is alive, but reads no further.
        let mut seconds = 0;
        while peer.session(&bench).is_some() {
            bench.pass(10, 1_000);
            seconds += 1;
            assert!(seconds <= limit_secs, "{options:?}: still there after {limit_secs} s");
            for block in [first, first.wrapping_sub(1), first + 9] {
                assert!(bench.exchange(&peer.ack(tid, block)).is_empty());
            }
        }
        assert!(seconds > 2, "{options:?}: given up after {seconds} s");
        assert_eq!(bench.counters.ending(Ending::TimedOut), 1, "{options:?}");
        assert_eq!(bench.pool.in_use(), 0);
        bench.assert_accounted();
    }
}

#[test]
fn row44_no_transfer_lasts_longer_than_any_may() {
    let mut setup = Setup::default();
    setup.policy.max_transfer = Duration::from_secs(60);
    let mut bench = Bench::new(&setup, catalogue(1, &[("file", content(100_000, 1))]));
    // One creeps from block to block, one only ever repeats its request.
    let (creeping, stuttering) = (Peer::v4(2, 3_000), Peer::v6(2, 3_000));
    let (tid, _) = creeping.open(&mut bench, "file", &[]);
    stuttering.open(&mut bench, "file", &[]);
    let mut block = 1;
    let mut seconds = 0;
    while creeping.session(&bench).is_some() {
        bench.expect(&creeping.ack(tid, block), Outcome::AckProgress);
        bench.pass(10, 1_000);
        bench.exchange(&stuttering.request("file", &[]));
        block += 1;
        seconds += 1;
        assert!(seconds < 70, "still there after {seconds} s");
    }
    assert!(seconds >= 60, "ended after {seconds} s");
    assert_eq!(bench.counters.ending(Ending::Overdue), 1);
    bench.pass(10, 60_000);
    assert_eq!(bench.live_sessions(), 0);
}

#[test]
fn one_unanswered_request_causes_at_most_three_small_replies() {
    for options in [
        &[][..],
        &[("tsize", "0")],
        &[("windowsize", "64"), ("blksize", "1468")],
        &[("timeout", "1")],
        &[("timeout", "255"), ("blksize", "65464"), ("windowsize", "65535"), ("tsize", "0")],
    ] {
        for mode in ["octet", "netascii"] {
            for peer in [Peer::v4(2, 3_000), Peer::v6(2, 3_000)] {
                let mut bench = Bench::new(&Setup::default(), catalogue(1, &file()));
                let request = peer.to(69, &read_request("file", mode, options));
                let mut replies = bench.expect(&request, Outcome::RequestOpened);
                replies.extend(bench.pass(10, 600_000));
                let bytes: usize = replies.iter().map(|reply: &Reply| reply.frame.len()).sum();
                assert!((1..=3).contains(&replies.len()), "{options:?}: {} replies", replies.len());
                assert!(bytes <= 3 * (14 + 40 + 8 + 4 + 512), "{options:?}: {bytes} bytes");
                if matches!(replies[0].said, Said::Oack(_)) {
                    assert!(bytes <= 3 * 150, "an OACK is small: {bytes} bytes");
                }
                assert_eq!(bench.live_sessions(), 0);
                // Silence is a fair answer to a client that only wanted the size.
                let told_size = matches!(&replies[0].said, Said::Oack(options) if options.contains("tsize"));
                let ending = if told_size { Ending::Probe } else { Ending::Unanswered };
                assert_eq!(bench.counters.ending(ending), 1);
            }
        }
    }
}

#[test]
fn a_request_repeated_by_a_forger_is_answered_once_each_time() {
    let mut bench = Bench::new(&Setup::default(), catalogue(1, &file()));
    let peer = Peer::v4(2, 3_000);
    let (tid, _) = peer.open(&mut bench, "file", &[]);
    let mut sent = 0;
    for _ in 0..1_000 {
        let replies = bench.expect(&peer.request("file", &[]), Outcome::RequestRepeated);
        assert_eq!(blocks(&replies), [1]);
        assert_eq!(replies[0].tid(), tid);
        sent += bench.pass(1, 100).len();
    }
    assert_eq!(sent, 0, "each repeat begins the wait again");
    assert_eq!(bench.pass(1, 60_000).len(), 2);
}
