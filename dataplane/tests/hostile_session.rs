//! Hostile input in a session, rows 25 to 33.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a panic is how a test fails; test data is small"
)]

mod lab;

use dataplane::engine::{Ending, Outcome, SessionState};
use lab::client::read_request;
use lab::hand::{Bystander, Peer, Said, bench_with_bystander, blocks};
use lab::{Bench, Setup, catalogue, content};

const SIZE: usize = 512 * 40 + 7;

fn setup() -> (Bench, Bystander) {
    bench_with_bystander(&Setup::default(), &[("file", content(SIZE, 1)), ("short", content(10, 2))])
}

/// A bench with one session only, for tests in which time passes.
fn alone() -> Bench {
    Bench::new(&Setup::default(), catalogue(1, &[("file", content(SIZE, 1)), ("short", content(10, 2))]))
}

fn window(peer: Peer, bench: &mut Bench, blocks: &str) -> u16 {
    let (tid, _) = peer.open(bench, "file", &[("windowsize", blocks)]);
    bench.expect(&peer.ack(tid, 0), Outcome::AckProgress);
    tid
}

#[test]
fn row25_ack_of_a_block_not_yet_sent_or_long_past() {
    let (mut bench, bystander) = setup();
    let peer = Peer::v4(2, 3_000);
    let (tid, _) = peer.open(&mut bench, "file", &[]);
    for block in [2, 3, 40, 41, 42, 1_000, 32_768, 65_535] {
        bench.expect_silence(&peer.ack(tid, block), Outcome::StaleAck);
    }
    for block in 1..=9 {
        bench.expect(&peer.ack(tid, block), Outcome::AckProgress);
    }
    for block in [0, 1, 8, 11, 65_535] {
        bench.expect_silence(&peer.ack(tid, block), Outcome::StaleAck);
    }
    assert_eq!(peer.session(&bench).unwrap().acked_blocks, 9);
    assert_eq!(blocks(&bench.expect(&peer.ack(tid, 10), Outcome::AckProgress)), [11]);

    let windowed = Peer::v6(2, 3_000);
    let tid = window(windowed, &mut bench, "8");
    for block in [9, 10, 16, 65_535] {
        bench.expect_silence(&windowed.ack(tid, block), Outcome::StaleAck);
    }
    assert_eq!(blocks(&bench.expect(&windowed.ack(tid, 8), Outcome::AckProgress)), [9, 10, 11, 12, 13, 14, 15, 16]);
    for block in [7, 0, 17] {
        bench.expect_silence(&windowed.ack(tid, block), Outcome::StaleAck);
    }
    bystander.finish(&mut bench);
}

#[test]
fn row26_the_same_ack_a_thousand_times_lockstep() {
    let mut bench = alone();
    let peer = Peer::v4(2, 3_000);
    let (tid, _) = peer.open(&mut bench, "file", &[]);
    bench.pass(1, 10);
    assert_eq!(blocks(&bench.expect(&peer.ack(tid, 1), Outcome::AckProgress)), [2]);
    for _ in 0..1_000 {
        bench.expect_silence(&peer.ack(tid, 1), Outcome::AckRepeated);
    }
    // The timer alone repeats, and nobody can speed it up.
    let mut resends = 0;
    for _ in 0..200 {
        bench.expect_silence(&peer.ack(tid, 1), Outcome::AckRepeated);
        resends += bench.pass(1, 1).len();
    }
    assert!((1..=2).contains(&resends), "{resends} resends in 200 ms");
    assert_eq!(blocks(&bench.expect(&peer.ack(tid, 2), Outcome::AckProgress)), [3]);
}

#[test]
fn row26_the_same_ack_a_thousand_times_in_a_window() {
    let mut bench = alone();
    let peer = Peer::v4(2, 3_000);
    let tid = window(peer, &mut bench, "8");
    for _ in 0..1_000 {
        bench.expect_silence(&peer.ack(tid, 0), Outcome::AckRepeated);
    }
    // Believed once, when a round trip has passed; then only the timer counts.
    assert_eq!(blocks(&bench.pass(1, 5)), [1, 2, 3, 4, 5, 6, 7, 8]);
    for _ in 0..1_000 {
        bench.expect_silence(&peer.ack(tid, 0), Outcome::AckRepeated);
    }
    assert!(bench.pass(1, 20).is_empty());
    let by_timer = bench.pass(1, 60);
    assert_eq!(blocks(&by_timer), [1, 2, 3, 4, 5, 6, 7, 8], "the timer still works");
    for _ in 0..1_000 {
        bench.expect_silence(&peer.ack(tid, 0), Outcome::AckRepeated);
    }
    assert!(bench.pass(1, 30).is_empty());
    assert_eq!(bench.expect(&peer.ack(tid, 8), Outcome::AckProgress).len(), 8);
}

#[test]
fn row27_long_acks_count_by_their_first_four_bytes() {
    let (mut bench, bystander) = setup();
    for (peer, tail) in
        [(Peer::v4(2, 3_000), &b"\0"[..]), (Peer::v6(2, 3_001), &[0xA5; 1_000]), (Peer::v4(2, 3_002), b"\0\x02")]
    {
        let (tid, _) = peer.open(&mut bench, "file", &[]);
        let replies = bench.expect(&peer.to(tid, &[b"\0\x04\0\x01", tail].concat()), Outcome::AckProgress);
        assert_eq!(blocks(&replies), [2]);
        assert_eq!(
            replies[0].frame.len(),
            replies[0].frame.len().min(14 + 40 + 8 + 4 + 512),
            "nothing of the ACK is left"
        );
        let Said::Data { bytes, .. } = &replies[0].said else { unreachable!() };
        assert!(*bytes == content(SIZE, 1)[512..1_024]);
    }
    bystander.finish(&mut bench);
}

#[test]
fn row28_short_acks_and_other_packets_to_a_session() {
    let (mut bench, bystander) = setup();
    let peer = Peer::v4(2, 3_000);
    let (tid, _) = peer.open(&mut bench, "file", &[]);
    let read = read_request("file", "octet", &[]);
    let torn: [&[u8]; 10] = [
        b"\0\x04",
        b"\0\x04\0",
        b"",
        b"\0",
        b"\0\x03\0\x01data",
        b"\0\x06blksize\x008\0",
        b"\0\0\0\x01",
        b"\0\x07\0\x01",
        b"\x04\0\x01\0",
        &read,
    ];
    for payload in torn {
        bench.expect_silence(&peer.to(tid, payload), Outcome::NotAnAck);
        assert_eq!(peer.session(&bench).unwrap().acked_blocks, 0, "{payload:?}");
    }
    assert_eq!(blocks(&bench.expect(&peer.ack(tid, 1), Outcome::AckProgress)), [2]);
    bystander.finish(&mut bench);
}

#[test]
fn row29_any_error_ends_its_session_silently() {
    let setup = Setup { mtu: 40_000, ..Setup::default() };
    let (mut bench, bystander) = bench_with_bystander(&setup, &[("file", content(SIZE, 1))]);
    let long = [b"\0\x05\0\x03".as_slice(), &b"\x1b]0;%n".repeat(5_000)].concat();
    let endings: [&[u8]; 8] = [
        b"\0\x05",
        b"\0\x05\0",
        b"\0\x05\0\x03",
        b"\0\x05\0\0\0",
        b"\0\x05\0\x08no",
        b"\0\x05\0\x08User aborted\0",
        b"\0\x05\xff\xff\xff\xfe\0",
        &long,
    ];
    let mut aborted = 0;
    for peer in [Peer::v4(2, 3_000), Peer::v6(2, 3_000)] {
        for payload in endings {
            let (tid, _) = peer.open(&mut bench, "file", &[]);
            bench.expect(&peer.ack(tid, 1), Outcome::AckProgress);
            bench.expect_silence(&peer.to(tid, payload), Outcome::ClientError);
            assert!(peer.session(&bench).is_none());
            // Whatever comes behind it finds nobody and is not answered either.
            bench.expect_silence(&peer.to(tid, payload), Outcome::NoSession);
            bench.expect_silence(&peer.ack(tid, 2), Outcome::NoSession);
            aborted += 1;
        }
    }
    assert_eq!(bench.counters.ending(Ending::Aborted), aborted);
    bystander.finish(&mut bench);
}

#[test]
fn row30_strangers_get_error_5_and_harm_nobody() {
    let (mut bench, bystander) = setup();
    let client = bystander.peer();
    let strangers = [
        Peer { port: client.port + 1, ..client },
        Peer::v4(3, client.port),
        Peer::v4(3, 1),
        Peer::v6(3, client.port),
        Peer::v6(250, client.port),
    ];
    for stranger in strangers {
        for payload in [&b"\0\x04\0\x03"[..], b"\0\x04\0\0", b"\0\x03\0\x01data"] {
            let reply = bench.expect_error(&stranger.to(bystander.tid(), payload), Outcome::StrangerRefused, 5);
            assert_eq!(reply.tid(), bystander.tid(), "from the TID that it was sent to");
            assert_eq!((reply.flow.addresses.dst(), reply.flow.dst_port), (stranger.host.ip, stranger.port));
            assert_eq!(reply.link.dst, stranger.host.mac);
        }
        let read = read_request("file", "octet", &[]);
        let silent: [&[u8]; 6] =
            [b"\0\x05\0\0\0", b"\0\x05\0\x05unknown transfer ID\0", b"\0\x06blksize\x008\0", b"\0\x04\0", b"", &read];
        for payload in silent {
            bench.expect_silence(&stranger.to(bystander.tid(), payload), Outcome::NotAnAck);
        }
    }
    assert_eq!(bench.live_sessions(), 1);
    bystander.finish(&mut bench);
}

#[test]
fn row30_strangers_whom_no_answer_can_reach() {
    let (mut bench, bystander) = setup();
    for address in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "10.99.0.255", "10.99.0.1"] {
        let mut stranger = Peer::v4(3, 3_000);
        stranger.host.ip = lab::ip(address);
        bench.expect_silence(&stranger.ack(bystander.tid(), 3), Outcome::SourceForbidden);
    }
    for address in ["::", "::1", "ff02::1", "fd00::1", "::ffff:10.99.0.250"] {
        let mut stranger = Peer::v6(3, 3_000);
        stranger.host.ip = lab::ip(address);
        bench.expect_silence(&stranger.ack(bystander.tid(), 3), Outcome::SourceForbidden);
    }
    // Rows 3 and 30: ports 0 and 69 are nobody's TID, and an answer to 69 would reach a server.
    for port in [0, 69] {
        bench.expect_silence(&Peer::v4(3, port).ack(bystander.tid(), 3), Outcome::SourcePortForbidden);
        bench.expect_silence(&Peer::v6(3, port).ack(bystander.tid(), 3), Outcome::SourcePortForbidden);
    }
    bystander.finish(&mut bench);
}

#[test]
fn row30_strangers_share_the_error_budget() {
    let mut setup = Setup::default();
    setup.limits.errors_per_second = 5;
    let (mut bench, bystander) = bench_with_bystander(&setup, &[]);
    let mut refused = 0;
    for port in 3_000..3_100 {
        let replies = bench.exchange(&Peer::v4(3, port).ack(bystander.tid(), 3));
        refused += replies.len();
    }
    assert_eq!(refused, 10, "two seconds' worth");
    assert_eq!(bench.count(Outcome::ErrorBudget), 90);
    bench.assert_accounted();
    bystander.finish(&mut bench);
}

#[test]
fn row30_an_address_without_sessions_answers_for_nobody() {
    // The same TID at another of our addresses is not this session.
    let (mut bench, bystander) = setup();
    let mut same = bystander.peer();
    let other = Peer::v6(250, same.port);
    bench.expect_error(&other.ack(bystander.tid(), 3), Outcome::StrangerRefused, 5);
    same.host.server = lab::ip("10.99.0.77");
    bench.expect_silence(&same.ack(bystander.tid(), 3), Outcome::NotOurAddress);
    let nobody = bystander.tid() ^ 1;
    bench.expect_silence(&Peer::v4(2, 3_000).ack(nobody, 1), Outcome::NoSession);
    bystander.finish(&mut bench);
}

#[test]
fn row30_the_unspecified_address_and_port_0_are_no_free_place() {
    // A free place of the session table must not pass for the session of [::]:0.
    let setup = Setup { addresses: &[("fd00::1", 64), ("10.99.0.1", 24)], ..Setup::default() };
    let mut bench = Bench::new(&setup, catalogue(1, &[("file", content(SIZE, 1))]));
    let mut nobody = Peer::v6(2, 0);
    nobody.host.ip = lab::ip("::");
    for tid in [1_024, 1_025, 30_000, 65_535] {
        for payload in [&b"\0\x04\0\0"[..], b"\0\x04\0\x01", b"\0\x05\0\0\0", b"", b"\0\x03\0\x01"] {
            bench.expect_silence(&nobody.to(tid, payload), Outcome::NoSession);
        }
        let mut quoted = Peer::v6(2, tid).to(0, b"\0\x03\0\x01").clone();
        quoted[14 + 8..14 + 24].copy_from_slice(&Peer::v6(2, 0).host.server_octets());
        quoted[14 + 24..14 + 40].fill(0);
        bench.expect_silence(&Peer::v6(2, 1).host.port_unreachable(&quoted), Outcome::IcmpOther);
    }
    assert_eq!(bench.live_sessions(), 0);
    let peer = Peer::v6(2, 3_000);
    let (tid, _) = peer.open(&mut bench, "file", &[]);
    bench.expect(&peer.ack(tid, 1), Outcome::AckProgress);
    assert_eq!(bench.live_sessions(), 1);
}

#[test]
fn row31_silence_is_met_with_few_resends_and_then_forgotten() {
    for (asked, acks, ending, most) in [
        // The OACK, never answered.
        (&[("windowsize", "8")][..], &[][..], Ending::Unanswered, 2),
        // DATA 1, never answered.
        (&[], &[], Ending::Unanswered, 2),
        // The first window.
        (&[("windowsize", "8")], &[0], Ending::TimedOut, 8 * 10),
        // In the middle of a window.
        (&[("windowsize", "8")], &[0, 8, 12], Ending::TimedOut, 8 * 10),
        (&[], &[1, 2, 3], Ending::TimedOut, 10),
        // Before the last ACK, with the last window in flight.
        (&[("windowsize", "64")], &[0], Ending::Unconfirmed, 41 * 10),
    ] {
        let mut bench = alone();
        let peer = Peer::v4(2, 3_000);
        let (tid, _) = peer.open(&mut bench, "file", asked);
        for &block in acks {
            bench.expect(&peer.ack(tid, block), Outcome::AckProgress);
        }
        let resent = bench.pass(1, 120_000);
        assert!(!resent.is_empty() && resent.len() <= most, "{asked:?} {acks:?}: {} packets resent", resent.len());
        assert!(resent.iter().all(|reply| reply.tid() == tid), "no other TID, no ERROR");
        assert!(resent.iter().all(|reply| !matches!(reply.said, Said::Error { .. })));
        assert_eq!(bench.live_sessions(), 0, "{asked:?} {acks:?}");
        assert_eq!(bench.counters.ending(ending), 1, "{asked:?} {acks:?}");
        assert_eq!(bench.lane.engine().active_sessions(), 0);
        assert_eq!(bench.pool.in_use(), 0);
        bench.expect_silence(&peer.ack(tid, 1), Outcome::NoSession);
    }
}

#[test]
fn row31_the_last_ack_of_a_single_block() {
    let mut bench = alone();
    let peer = Peer::v4(2, 3_000);
    peer.open(&mut bench, "short", &[]);
    assert_eq!(blocks(&bench.pass(1, 120_000)), [1, 1], "nothing proves that anybody is there");
    assert_eq!(bench.counters.ending(Ending::Unanswered), 1);
    assert_eq!(bench.live_sessions(), 0);
}

#[test]
fn row32_stale_acks_around_the_rollover() {
    let bytes = content(8 * 66_000, 5);
    let mut bench = Bench::new(&Setup::default(), catalogue(1, &[("long", bytes.clone())]));
    let peer = Peer::v4(2, 3_000);
    let (tid, _) = peer.open(&mut bench, "long", &[("blksize", "8"), ("windowsize", "64")]);
    // Windows of 64 from 0 on: the one from 65,472 to 65,536 crosses the edge.
    let mut acked: u64 = 0;
    let mut received = Vec::new();
    let mut replies = bench.expect(&peer.ack(tid, 0), Outcome::AckProgress);
    while acked < 66_001 {
        for reply in &replies {
            let Said::Data { bytes, .. } = &reply.said else { panic!("{reply:?}") };
            received.extend_from_slice(bytes);
        }
        let before = acked;
        acked += replies.len() as u64;
        assert_eq!(blocks(&replies).last(), Some(&(acked as u16)));
        if (65_408..65_728).contains(&before) {
            for stale in [before - 1, before - 63, before - 64, before - 10_000, acked + 1, acked + 64, before + 32_768]
            {
                bench.expect_silence(&peer.ack(tid, stale as u16), Outcome::StaleAck);
                assert_eq!(u64::from(peer.session(&bench).unwrap().acked_blocks), before, "ACK {stale}");
            }
        }
        let last = acked == 66_001;
        let outcome = if last { Outcome::AckFinished } else { Outcome::AckProgress };
        replies = bench.expect(&peer.ack(tid, acked as u16), outcome);
    }
    assert!(received == bytes);
}

#[test]
fn row33_icmp_port_unreachable_ends_the_session_that_it_quotes() {
    let (mut bench, bystander) = setup();
    for (peer, router) in [
        (Peer::v4(2, 3_000), Peer::v4(9, 0)),
        (Peer::v6(2, 3_000), Peer::v6(9, 0)),
        (Peer::v4(2, 3_001), Peer::v4(2, 0)),
    ] {
        let replies = bench.expect(&peer.request("file", &[]), Outcome::RequestOpened);
        let quoted = &replies[0].frame;
        let host = router.host;
        let (ip, udp) = if host.ip.is_ipv4() { (14, 34) } else { (14, 54) };
        // Quotes of others: another client, another port, another TID, another of our addresses, another protocol.
        for at in [
            udp - 1,
            udp + 2,
            udp,
            udp - if host.ip.is_ipv4() { 5 } else { 17 },
            ip + if host.ip.is_ipv4() { 9 } else { 6 },
        ] {
            let mut other = quoted.clone();
            other[at] ^= 0x40;
            bench.expect_silence(&host.port_unreachable(&other), Outcome::IcmpOther);
        }
        // Other codes say less: a route may come back.
        let mut message = vec![if host.ip.is_ipv4() { 3 } else { 1 }, 1, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(&quoted[14..udp + 8]);
        bench.expect_silence(&host.icmp(&message), Outcome::IcmpOther);
        message.truncate(8 + udp - ip + 7);
        message[1] = if host.ip.is_ipv4() { 3 } else { 4 };
        bench.expect_silence(&host.icmp(&message), Outcome::IcmpOther);
        assert_eq!(peer.state(&bench), Some(SessionState::Unproven));

        bench.expect_silence(&host.port_unreachable(quoted), Outcome::Unreachable);
        assert!(peer.session(&bench).is_none());
        bench.expect_silence(&host.port_unreachable(quoted), Outcome::IcmpOther);
    }
    assert_eq!(bench.counters.ending(Ending::Unreachable), 3);
    assert_eq!(bench.live_sessions(), 1);
    bystander.finish(&mut bench);
    assert_eq!(bench.lane.engine().active_sessions(), 0);
}
