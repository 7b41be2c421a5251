//! The client rules a to m, as real boot ROMs rely on them. Rules b and i are with the options' rows, j, l and
//! m with the files.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a panic is how a test fails; test data is small"
)]

mod lab;

use dataplane::engine::{Ending, Outcome, SessionState};
use lab::client::read_request;
use lab::hand::{Peer, Reply, Said, blocks};
use lab::{Bench, Setup, catalogue, content};

const SIZE: usize = 512 * 60 + 7;

fn bench() -> Bench {
    Bench::new(&Setup::default(), catalogue(1, &[("file", content(SIZE, 1)), ("other", content(3_000, 2))]))
}

/// A session whose client has answered after a round trip of `rtt_ms`; DATA is out.
fn measured(bench: &mut Bench, peer: Peer, options: &[(&str, &str)], rtt_ms: u64) -> u16 {
    let (tid, said) = peer.open(bench, "file", options);
    bench.pass(1, rtt_ms);
    let first = u16::from(!matches!(said, Said::Oack(_)));
    bench.expect(&peer.ack(tid, first), Outcome::AckProgress);
    tid
}

/// Milliseconds from now at which something is sent, within `ms`.
fn times_of_sending(bench: &mut Bench, ms: u64) -> Vec<u64> {
    (1..=ms).filter(|_| !bench.pass(1, 1).is_empty()).collect()
}

#[test]
fn rule_a_a_repeated_request_gets_the_same_reply_from_the_same_tid() {
    for options in [&[][..], &[("tsize", "0"), ("blksize", "1400")], &[("windowsize", "8")]] {
        for peer in [Peer::v4(2, 3_000), Peer::v6(2, 3_000)] {
            let mut bench = bench();
            let first = bench.expect(&peer.request("file", options), Outcome::RequestOpened);
            for _ in 0..3 {
                bench.pass(1, 300);
                let again = bench.expect(&peer.request("file", options), Outcome::RequestRepeated);
                assert_eq!(again.len(), 1);
                assert_eq!(again[0].frame, first[0].frame, "byte for byte");
            }
            assert_eq!(bench.live_sessions(), 1);
            assert_eq!(bench.counters.opened.get(), 1);
            // When blocks flow, a copy that comes late changes nothing.
            let block = u16::from(options.is_empty());
            bench.expect(&peer.ack(first[0].tid(), block), Outcome::AckProgress);
            bench.expect_silence(&peer.request("file", options), Outcome::RequestRepeated);
            assert_eq!(peer.session(&bench).unwrap().acked_blocks, u32::from(block));
        }
    }
}

#[test]
fn rule_a_another_request_replaces_the_session() {
    let mut bench = bench();
    let peer = Peer::v4(2, 3_000);
    let requests = [
        read_request("file", "octet", &[]),
        read_request("other", "octet", &[]),
        read_request("other", "netascii", &[]),
        read_request("other", "octet", &[("blksize", "1024")]),
        read_request("other", "octet", &[("blksize", "1024"), ("tsize", "0")]),
        read_request("other", "octet", &[("tsize", "0"), ("blksize", "1024")]),
        read_request("other", "octet", &[("tsize", "0"), ("blksize", "1024"), ("timeout", "3")]),
        read_request("other", "octet", &[("windowsize", "4")]),
    ];
    let mut replaced = 0;
    // Before the first ACK, and after it.
    for proven in [false, true] {
        for payload in &requests {
            let replies = bench.expect(&peer.to(69, payload), Outcome::RequestOpened);
            assert_eq!(replies.len(), 1);
            assert_eq!(bench.live_sessions(), 1);
            assert_eq!(bench.counters.ending(Ending::Replaced), replaced);
            replaced += 1;
            if proven {
                let block = u16::from(matches!(replies[0].said, Said::Data { .. }));
                bench.expect(&peer.ack(replies[0].tid(), block), Outcome::AckProgress);
            }
        }
    }
    // A refused one leaves the session alone, and the same port of another address has nothing to do with it.
    bench.expect_error(&peer.request("missing", &[]), Outcome::RequestRefused, 1);
    Peer::v4(3, 3_000).open(&mut bench, "file", &[]);
    assert_eq!(bench.live_sessions(), 2);
    assert_eq!(bench.counters.ending(Ending::Replaced), replaced - 1);
}

#[test]
fn rule_a_a_client_that_starts_again_is_served_again() {
    let mut bench = bench();
    let peer = Peer::v4(2, 3_000);
    let old = measured(&mut bench, peer, &[], 10);
    // It reboots: silence until our timer has repeated a block, then the same request from the same port.
    assert!(!bench.pass(1, 300).is_empty());
    let (tid, said) = peer.open(&mut bench, "file", &[]);
    assert!(matches!(said, Said::Data { block: 1, .. }));
    assert_ne!(tid, old);
    bench.expect_silence(&peer.error(tid, 0), Outcome::ClientError);
    // After the end it may ask again at once.
    let (tid, _) = peer.open(&mut bench, "other", &[("blksize", "1468"), ("windowsize", "3")]);
    bench.expect(&peer.ack(tid, 0), Outcome::AckProgress);
    bench.expect_silence(&peer.ack(tid, 3), Outcome::AckFinished);
    let (again, _) = peer.open(&mut bench, "other", &[("blksize", "1468"), ("windowsize", "3")]);
    assert_ne!(again, tid);
    assert_eq!(bench.live_sessions(), 1);
}

#[test]
fn rule_c_an_error_before_any_data_is_a_probe() {
    let mut bench = bench();
    for code in [0, 1, 2, 3, 4, 5, 8, 99] {
        for (options, acks, ending) in [
            (&[("tsize", "0")][..], &[][..], Ending::Probe),
            (&[("tsize", "0")], &[0], Ending::Probe),
            (&[], &[], Ending::Probe),
            (&[("tsize", "0")], &[0, 1], Ending::Aborted),
            (&[], &[1], Ending::Aborted),
        ] {
            let peer = Peer::v4(2, 3_000);
            let (tid, _) = peer.open(&mut bench, "file", options);
            for &block in acks {
                bench.expect(&peer.ack(tid, block), Outcome::AckProgress);
            }
            let before = bench.counters.ending(ending);
            bench.expect_silence(&peer.error(tid, code), Outcome::ClientError);
            assert_eq!(bench.counters.ending(ending), before + 1, "{options:?} {acks:?}");
            assert_eq!(bench.live_sessions(), 0);
        }
    }
    assert!(bench.pass(10, 60_000).is_empty(), "nothing comes after an ERROR");
}

#[test]
fn rule_d_a_missing_last_ack_is_no_failure() {
    let mut bench = bench();
    let peer = Peer::v4(2, 3_000);
    let (tid, _) = peer.open(&mut bench, "other", &[]);
    for block in 1..=5 {
        bench.expect(&peer.ack(tid, block), Outcome::AckProgress);
    }
    let repeats = bench.pass(1, 120_000);
    assert!(blocks(&repeats).iter().all(|&block| block == 6));
    assert_eq!(bench.counters.ending(Ending::Unconfirmed), 1);
    assert_eq!(bench.counters.ending(Ending::TimedOut), 0);
    assert_eq!(bench.live_sessions(), 0);
}

#[test]
fn rules_d_and_g_a_finished_session_lingers_for_late_repeats() {
    let mut bench = bench();
    let peer = Peer::v4(2, 3_000);
    let (tid, _) = peer.open(&mut bench, "other", &[("blksize", "1468"), ("windowsize", "8")]);
    assert_eq!(bench.expect(&peer.ack(tid, 0), Outcome::AckProgress).len(), 3);
    bench.expect_silence(&peer.ack(tid, 3), Outcome::AckFinished);
    assert_eq!(bench.counters.ending(Ending::Done), 1, "counted when it happens");
    assert_eq!(bench.lane.engine().active_sessions(), 0);
    for block in [3, 3, 2, 0, 9] {
        bench.expect_silence(&peer.ack(tid, block), Outcome::AckRepeated);
    }
    assert!(bench.pass(1, 900).is_empty());
    bench.expect_silence(&peer.ack(tid, 3), Outcome::AckRepeated);
    assert_eq!(peer.state(&bench), Some(SessionState::Lingering));
    // Strangers are told even now.
    bench.expect_error(&Peer::v4(3, 3_000).ack(tid, 3), Outcome::StrangerRefused, 5);
    assert!(bench.pass(1, 200).is_empty());
    assert_eq!(bench.live_sessions(), 0, "after about one timeout");
    bench.expect_silence(&peer.ack(tid, 3), Outcome::NoSession);
    assert_eq!(bench.counters.ending(Ending::Done), 1, "counted once");

    let (tid, _) = peer.open(&mut bench, "other", &[("blksize", "1468"), ("windowsize", "8")]);
    bench.expect(&peer.ack(tid, 0), Outcome::AckProgress);
    bench.expect_silence(&peer.ack(tid, 3), Outcome::AckFinished);
    bench.expect_silence(&peer.error(tid, 0), Outcome::ClientError);
    assert_eq!(bench.counters.ending(Ending::Done), 2);
    assert_eq!(bench.counters.ending(Ending::Aborted) + bench.counters.ending(Ending::Probe), 0);
    assert_eq!(bench.lane.engine().active_sessions(), 0);
}

#[test]
fn rule_e_tid_address_mac_and_vlan_stay() {
    for mut peer in [Peer::v4(2, 3_000), Peer::v6(2, 3_000)] {
        let mut bench = bench();
        peer.host.vlan = Some(0x6005);
        let mut replies = bench.expect(&peer.request("file", &[("windowsize", "4")]), Outcome::RequestOpened);
        let tid = replies[0].tid();
        replies.extend(bench.expect(&peer.request("file", &[("windowsize", "4")]), Outcome::RequestRepeated));
        replies.extend(bench.pass(1, 1_500));
        for block in [0, 4, 6, 10] {
            let mut by_another_way = peer;
            by_another_way.host.vlan = (block % 4 == 0).then_some(9);
            by_another_way.host.mac.0[5] = block as u8;
            replies.extend(bench.expect(&by_another_way.ack(tid, block), Outcome::AckProgress));
        }
        replies.extend(bench.pass(1, 5_000));
        assert!(replies.len() > 20, "{}", replies.len());
        for reply in &replies {
            assert_eq!((reply.flow.src_port, reply.flow.dst_port), (tid, peer.port));
            assert_eq!((reply.flow.addresses.src(), reply.flow.addresses.dst()), (peer.host.server, peer.host.ip));
            assert_eq!((reply.link.src, reply.link.dst), (lab::SERVER_MAC, peer.host.mac));
            assert_eq!(reply.link.vlan.map(|tag| tag.0), Some(0x6005), "priority bits too");
        }
    }
}

#[test]
fn rule_f_an_ack_inside_the_window_resumes_behind_it_at_once() {
    let mut bench = bench();
    let peer = Peer::v4(2, 3_000);
    let tid = measured(&mut bench, peer, &[("windowsize", "8")], 10);
    assert_eq!(blocks(&bench.expect(&peer.ack(tid, 3), Outcome::AckProgress)), [4, 5, 6, 7, 8, 9, 10, 11]);
    assert_eq!(bench.counters.blocks_again.get(), 5);
    assert_eq!(peer.session(&bench).unwrap().blocks_again, 5);
    assert_eq!(blocks(&bench.expect(&peer.ack(tid, 11), Outcome::AckProgress)), [12, 13, 14, 15, 16, 17, 18, 19]);
}

#[test]
fn rule_f_the_first_repeat_restarts_the_window_once() {
    let mut bench = bench();
    let peer = Peer::v4(2, 3_000);
    let tid = measured(&mut bench, peer, &[("windowsize", "8")], 10);
    // The first block of the window is lost: the client repeats its last ACK, several times, a round trip later.
    bench.pass(1, 32);
    assert_eq!(blocks(&bench.expect(&peer.ack(tid, 0), Outcome::AckRepeated)), [1, 2, 3, 4, 5, 6, 7, 8]);
    for _ in 0..7 {
        bench.expect_silence(&peer.ack(tid, 0), Outcome::AckRepeated);
    }
    assert_eq!(blocks(&bench.expect(&peer.ack(tid, 8), Outcome::AckProgress)), [9, 10, 11, 12, 13, 14, 15, 16]);
    // Progress lets the next loss be reported. A repeat that comes sooner than a round trip may be a copy: it has to wait.
    bench.expect_silence(&peer.ack(tid, 8), Outcome::AckRepeated);
    let times = times_of_sending(&mut bench, 45);
    assert_eq!(times.len(), 1, "{times:?}");
    assert!(times[0] >= 10, "not before a round trip: {times:?}");
    assert_eq!(bench.counters.blocks_again.get(), 16);
}

#[test]
fn rule_h_block_numbers_roll_over_to_0() {
    let long = content(8 * 65_600, 3);
    let mut bench = Bench::new(&Setup::default(), catalogue(1, &[("long", long.clone())]));
    let peer = Peer::v4(2, 3_000);
    let (tid, _) = peer.open(&mut bench, "long", &[("blksize", "8"), ("windowsize", "5")]);
    let mut expected: u64 = 0;
    let mut replies = bench.expect(&peer.ack(tid, 0), Outcome::AckProgress);
    let mut zeros = 0;
    while !replies.is_empty() {
        for reply in &replies {
            expected += 1;
            let Said::Data { block, bytes } = &reply.said else { panic!("{reply:?}") };
            assert_eq!(u64::from(*block), expected % 65_536);
            let start = (expected as usize - 1) * 8;
            assert_eq!(*bytes, long[start..(start + 8).min(long.len())]);
            zeros += u32::from(*block == 0);
        }
        replies = bench.exchange(&peer.ack(tid, expected as u16)).iter().map(|frame| Reply::read(frame)).collect();
    }
    assert_eq!((expected, zeros), (65_601, 1));
    assert_eq!(bench.count(Outcome::AckFinished), 1);
}

#[test]
fn rule_k_before_the_first_ack_two_repeats_at_doubling_times() {
    for options in [&[][..], &[("tsize", "0")], &[("timeout", "200")], &[("timeout", "1")]] {
        let mut bench = bench();
        Peer::v4(2, 3_000).open(&mut bench, "file", options);
        assert_eq!(times_of_sending(&mut bench, 60_000), [1_000, 3_000], "{options:?}");
        assert_eq!(bench.live_sessions(), 0);
    }
}

#[test]
fn rule_k_waits_follow_the_measured_round_trip_and_double() {
    for rtt in [20, 200, 700] {
        let mut bench = bench();
        let peer = Peer::v4(2, 3_000);
        measured(&mut bench, peer, &[], rtt);
        assert_eq!(peer.session(&bench).unwrap().srtt_us, Some(rtt as u32 * 1_000));
        // RFC 6298 §2.2: SRTT + 4 × RTTVAR is three round trips after the first measurement, doubled each time, at most 8 s.
        let times = times_of_sending(&mut bench, 120_000);
        assert_eq!(times.len(), 10, "{times:?}");
        let mut wait = 3 * rtt;
        let mut last = 0;
        for &time in &times {
            let waited = time - last;
            assert!((wait - 10..=wait * 9 / 8 + 10).contains(&waited), "RTT {rtt}: {waited} ms instead of {wait}");
            // What was left to chance stays in the backed-off wait.
            wait = (waited * 2).min(8_000);
            last = time;
        }
        assert_eq!(bench.counters.ending(Ending::TimedOut), 1);
    }
}

#[test]
fn rule_k_an_ambiguous_ack_measures_nothing() {
    // Karn: the ACK of a repeated block may answer either copy.
    let mut bench = bench();
    let peer = Peer::v4(2, 3_000);
    let tid = measured(&mut bench, peer, &[], 20);
    assert!(!bench.pass(1, 150).is_empty());
    bench.expect(&peer.ack(tid, 2), Outcome::AckProgress);
    assert_eq!(peer.session(&bench).unwrap().srtt_us, Some(20_000));
    bench.pass(1, 60);
    bench.expect(&peer.ack(tid, 3), Outcome::AckProgress);
    // It is kept in steps of 32 µs.
    assert_eq!(peer.session(&bench).unwrap().srtt_us, Some(25_024), "7/8 × 20 + 1/8 × 60");
}

#[test]
fn rule_k_the_shortest_wait_and_a_clients_own() {
    let mut bench = bench();
    measured(&mut bench, Peer::v4(2, 3_000), &[], 1);
    let first = times_of_sending(&mut bench, 200)[0];
    assert!((49..=60).contains(&first), "{first}");

    for seconds in [1, 7] {
        let mut bench = self::bench();
        let peer = Peer::v4(2, 3_000);
        measured(&mut bench, peer, &[("timeout", &seconds.to_string())], 30);
        let times = times_of_sending(&mut bench, 11 * 9 * 1_000);
        assert_eq!(times.len(), 10);
        let mut last = 0;
        for &time in &times {
            let waited = time - last;
            assert!((seconds * 1_000..=seconds * 1_126).contains(&waited), "RFC 2349: {waited} ms for {seconds} s");
            last = time;
        }
    }
}

#[test]
fn rule_k_clients_that_were_lost_together_are_not_repeated_together() {
    let mut bench = bench();
    for number in 0..50 {
        let peer = Peer::v4(2 + number, 3_000);
        let (tid, _) = peer.open(&mut bench, "file", &[]);
        bench.now = dataplane::time::Instant::from_micros(100_000);
        bench.expect(&peer.ack(tid, 1), Outcome::AckProgress);
        bench.now = dataplane::time::Instant::ORIGIN;
    }
    bench.now = dataplane::time::Instant::from_micros(100_000);
    let mut per_ms: Vec<usize> = (0..3_000).map(|_| bench.pass(1, 1).len()).collect();
    let first = per_ms.iter().position(|&count| count > 0).unwrap();
    let later: Vec<usize> = per_ms.split_off(first + 20);
    assert_eq!(per_ms.iter().sum::<usize>(), 50);
    assert!(later.iter().sum::<usize>() >= 100);
    assert!(
        later.iter().max() < Some(&25),
        "repeats spread out: {:?}",
        later.iter().filter(|&&n| n > 0).collect::<Vec<_>>()
    );
}

#[test]
fn time_may_wrap_in_mid_transfer() {
    // Deadlines count milliseconds modulo 2^32, round trips microseconds modulo 2^32.
    for start in [u64::from(u32::MAX) - 40_000, (u64::from(u32::MAX) - 40) * 1_000] {
        let mut bench = bench();
        bench.now = dataplane::time::Instant::from_micros(start / 1_000 * 1_000);
        bench.poll();
        let peer = Peer::v4(2, 3_000);
        let tid = measured(&mut bench, peer, &[("windowsize", "4")], 20);
        for block in [4, 8, 12, 16, 20] {
            bench.pass(1, 20);
            assert_eq!(bench.expect(&peer.ack(tid, block), Outcome::AckProgress).len(), 4);
        }
        let srtt = peer.session(&bench).unwrap().srtt_us.unwrap();
        assert!((19_000..21_000).contains(&srtt), "{srtt}");
        let times = times_of_sending(&mut bench, 1_000);
        assert!((3..=5).contains(&times.len()), "{times:?}");
        assert!(peer.session(&bench).unwrap().age_secs <= 2);
        bench.pass(10, 120_000);
        assert_eq!(bench.live_sessions(), 0);
    }
}
