use super::*;
use crate::tftp::options::{Asked, Caps};

const MS: u64 = 1_000;

fn at(us: u64) -> Instant {
    Instant::from_micros(us)
}

/// A transfer with these options, and the policy it runs under.
fn transfer(options: &[(&str, &str)]) -> (Transfer, Policy) {
    let mut asked = Asked::default();
    for (name, value) in options {
        asked.add(name.as_bytes(), value.as_bytes());
    }
    let caps = Caps { blksize: 1468, window_blocks: 64, window_bytes: 1 << 20 };
    let policy = Policy::default();
    (Transfer::new(&Granted::decide(&asked, &caps, None), false, at(0), &policy), policy)
}

/// Sends what may go now; returns the block numbers.
fn send_all(transfer: &mut Transfer, now: Instant, len: u64, policy: &Policy) -> Vec<u32> {
    let mut sent = Vec::new();
    while transfer.may_send() {
        sent.push(transfer.take_block(now, len, policy).number);
    }
    sent
}

#[test]
fn half_a_cache_line() {
    assert_eq!(size_of::<Transfer>(), 32);
}

#[test]
fn rfc1350_6_a_short_block_ends_the_transfer() {
    let (mut t, policy) = transfer(&[]);
    let len = 1_000;
    let first = t.take_block(at(0), len, &policy);
    assert_eq!(first, TakenBlock { number: 1, offset: 0, bytes: 512, last: false, repeat: false });
    assert!(!t.may_send());
    assert_eq!(t.on_ack(at(100), 1, &policy), AckEffect::Progress);
    let second = t.take_block(at(100), len, &policy);
    assert_eq!(second, TakenBlock { number: 2, offset: 512, bytes: 488, last: true, repeat: false });
    assert_eq!(t.on_ack(at(200), 2, &policy), AckEffect::Finished);
    assert!(send_all(&mut t, at(200), len, &policy).is_empty());
    assert_eq!(t.on_ack(at(300), 2, &policy), AckEffect::Stale, "a late repeat is normal");
}

#[test]
fn rfc1350_6_exact_multiple_ends_with_an_empty_block() {
    assert_eq!(Transfer::total_blocks(1_024, 512), 3);
    assert_eq!(Transfer::total_blocks(0, 512), 1);
    let (mut t, policy) = transfer(&[]);
    let empty = t.take_block(at(0), 0, &policy);
    assert_eq!(empty, TakenBlock { number: 1, offset: 0, bytes: 0, last: true, repeat: false });
    let (mut t, policy) = transfer(&[("windowsize", "8")]);
    t.offer_sent(at(0), &policy);
    t.on_ack(at(1), 0, &policy);
    assert_eq!(send_all(&mut t, at(2), 1_024, &policy), [1, 2, 3]);
    assert_eq!(t.on_ack(at(3), 2, &policy), AckEffect::Progress);
    assert_eq!(send_all(&mut t, at(4), 1_024, &policy), [3]);
    assert_eq!(t.on_ack(at(5), 3, &policy), AckEffect::Finished);
}

#[test]
fn rfc2347_no_data_before_ack_0() {
    let (mut t, policy) = transfer(&[("blksize", "1024"), ("windowsize", "4")]);
    t.offer_sent(at(0), &policy);
    assert!(!t.may_send());
    assert_eq!(t.on_ack(at(10), 1, &policy), AckEffect::Stale);
    assert_eq!(t.on_ack(at(20), 0, &policy), AckEffect::Progress);
    assert!(t.is_proven());
    assert_eq!(send_all(&mut t, at(20), 9_999, &policy), [1, 2, 3, 4]);
}

#[test]
fn rfc7440_4_an_ack_inside_the_window_resumes_behind_it() {
    let (mut t, policy) = transfer(&[("windowsize", "8")]);
    let len = 512 * 100;
    t.offer_sent(at(0), &policy);
    t.on_ack(at(100), 0, &policy);
    assert_eq!(send_all(&mut t, at(100), len, &policy).len(), 8);
    assert_eq!(t.on_ack(at(200), 3, &policy), AckEffect::Progress);
    assert_eq!(send_all(&mut t, at(200), len, &policy), (4..=11).collect::<Vec<_>>());
}

#[test]
fn rfc1123_4_2_3_1_a_repeated_ack_never_sends_data_in_lock_step() {
    let (mut t, policy) = transfer(&[]);
    let len = 512 * 100;
    send_all(&mut t, at(0), len, &policy);
    t.on_ack(at(100), 1, &policy);
    send_all(&mut t, at(100), len, &policy);
    for round in 0..1_000 {
        assert_eq!(t.on_ack(at(100 + round), 1, &policy), AckEffect::Repeated);
    }
    assert!(!t.may_send());
}

#[test]
fn rule_f_first_repeat_restarts_the_window_once() {
    let (mut t, policy) = transfer(&[("windowsize", "4")]);
    let len = 512 * 100;
    t.offer_sent(at(0), &policy);
    t.on_ack(at(1_000), 0, &policy);
    send_all(&mut t, at(1_000), len, &policy);
    // Well after a round trip: the client misses block 1.
    assert_eq!(t.on_ack(at(30_000), 0, &policy), AckEffect::Restart);
    assert_eq!(send_all(&mut t, at(30_000), len, &policy), [1, 2, 3, 4]);
    for us in 30_001..30_100 {
        assert_eq!(t.on_ack(at(us), 0, &policy), AckEffect::Repeated);
    }
    assert_eq!(t.on_ack(at(31_000), 4, &policy), AckEffect::Progress);
    send_all(&mut t, at(31_000), len, &policy);
    assert_eq!(t.on_ack(at(90_000), 4, &policy), AckEffect::Restart, "progress renews the credit");
}

#[test]
fn a_copy_of_an_ack_made_by_the_network_resends_nothing() {
    let (mut t, policy) = transfer(&[("windowsize", "4")]);
    let len = 512 * 100;
    t.offer_sent(at(0), &policy);
    t.on_ack(at(10_000), 0, &policy);
    send_all(&mut t, at(10_000), len, &policy);
    assert_eq!(t.on_ack(at(10_100), 0, &policy), AckEffect::Hold);
    assert_eq!(t.on_ack(at(20_000), 4, &policy), AckEffect::Progress, "the window was sound");
    send_all(&mut t, at(20_000), len, &policy);
    assert_eq!(t.on_deadline(at(45_000), &policy, 0), DeadlineEffect::NotYet);
}

#[test]
fn a_held_repeat_restarts_after_a_round_trip_without_progress() {
    let (mut t, policy) = transfer(&[("windowsize", "4")]);
    let len = 512 * 100;
    t.offer_sent(at(0), &policy);
    t.on_ack(at(10 * MS), 0, &policy);
    send_all(&mut t, at(10 * MS), len, &policy);
    assert_eq!(t.on_ack(at(11 * MS), 0, &policy), AckEffect::Hold);
    // srtt 10 ms, rttvar 5 ms: patience is 30 ms from the start of the window.
    assert_eq!(t.on_deadline(at(39 * MS), &policy, 0), DeadlineEffect::NotYet);
    assert_eq!(t.on_deadline(at(40 * MS), &policy, 0), DeadlineEffect::Again);
}

#[test]
fn row25_acks_of_old_and_unsent_blocks_are_stale() {
    let (mut t, policy) = transfer(&[]);
    let len = 512 * 100;
    send_all(&mut t, at(0), len, &policy);
    t.on_ack(at(1), 1, &policy);
    send_all(&mut t, at(1), len, &policy);
    for block in [0, 3, 4, 99, 65_535] {
        assert_eq!(t.on_ack(at(2), block, &policy), AckEffect::Stale, "{block}");
    }
}

#[test]
fn row32_rollover_is_decided_by_the_full_position() {
    let (mut t, policy) = transfer(&[("windowsize", "64"), ("blksize", "8")]);
    let len = 8 * 200_000;
    t.offer_sent(at(0), &policy);
    t.on_ack(at(1), 0, &policy);
    let mut now = 1;
    while !t.is_finished() {
        now += 100;
        let sent = send_all(&mut t, at(now), len, &policy);
        let last = *sent.last().expect("an unfinished transfer has something to send");
        // Both sides of the edge: an ACK one window back is stale, however close its number is to the next one's.
        let stale = low_bits(u64::from(sent[0])).wrapping_sub(2);
        if sent[0] > 2 {
            assert_eq!(t.on_ack(at(now), stale, &policy), AckEffect::Stale);
        }
        t.on_ack(at(now + 50), low_bits(u64::from(last)), &policy);
    }
    assert_eq!(t.acked(), 200_001);
}

#[test]
fn rfc6298_timeouts_double_and_end() {
    let (mut t, policy) = transfer(&[]);
    let len = 512 * 10;
    send_all(&mut t, at(0), len, &policy);
    t.on_ack(at(200), 1, &policy);
    send_all(&mut t, at(200), len, &policy);
    let mut now = 200;
    let mut gaps = Vec::new();
    let mut last = now;
    loop {
        now += MS;
        match t.on_deadline(at(now), &policy, 0) {
            DeadlineEffect::NotYet => {}
            DeadlineEffect::Again => {
                gaps.push((now - last) / MS);
                last = now;
                assert_eq!(send_all(&mut t, at(now), len, &policy), [2]);
            }
            DeadlineEffect::GiveUp { all_sent } => {
                assert!(!all_sent);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(gaps.len(), usize::from(policy.retransmission.tries));
    assert!((50..=60).contains(&gaps[0]), "{gaps:?}");
    for pair in gaps.windows(2) {
        assert!(pair[1] >= (2 * pair[0] - 8).min(8_000), "{gaps:?}");
    }
    assert!(*gaps.last().unwrap() >= 8_000);
}

#[test]
fn rule_k_an_unproven_source_gets_two_repeats() {
    for options in [&[][..], &[("timeout", "200")], &[("blksize", "1024")]] {
        let (mut t, policy) = transfer(options);
        let len = 5;
        if t.is_offered() {
            t.offer_sent(at(0), &policy);
        } else {
            send_all(&mut t, at(0), len, &policy);
        }
        let mut repeats = 0;
        let mut now = 0;
        let ended = loop {
            now += MS;
            match t.on_deadline(at(now), &policy, 0) {
                DeadlineEffect::NotYet => {}
                DeadlineEffect::Again => {
                    repeats += 1;
                    send_all(&mut t, at(now), len, &policy);
                }
                DeadlineEffect::OfferAgain => repeats += 1,
                DeadlineEffect::GiveUp { all_sent } => break all_sent,
                DeadlineEffect::Over => panic!("not finished"),
            }
        };
        assert_eq!(repeats, 2, "{options:?}");
        assert!(!ended, "who never answered cannot be called done");
        assert!(now <= 7_100 * MS, "{options:?}: {now}");
    }
}

#[test]
fn rule_d_a_missing_last_ack_is_done_unconfirmed() {
    let (mut t, policy) = transfer(&[]);
    let len = 600;
    send_all(&mut t, at(0), len, &policy);
    t.on_ack(at(200), 1, &policy);
    let mut now = 200;
    loop {
        send_all(&mut t, at(now), len, &policy);
        now += 10_000 * MS;
        match t.on_deadline(at(now), &policy, 0) {
            DeadlineEffect::Again => {}
            DeadlineEffect::GiveUp { all_sent } => {
                assert!(all_sent);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn rfc2349_the_clients_timeout_is_honoured() {
    let (mut t, policy) = transfer(&[("timeout", "3")]);
    let len = 512 * 10;
    t.offer_sent(at(0), &policy);
    t.on_ack(at(100), 0, &policy);
    assert_eq!(t.fixed_timeout(), Some(3));
    send_all(&mut t, at(100), len, &policy);
    assert_eq!(t.on_deadline(at(2_999 * MS), &policy, 0), DeadlineEffect::NotYet);
    assert_eq!(t.on_deadline(at(3_001 * MS), &policy, 0), DeadlineEffect::Again);
    send_all(&mut t, at(3_001 * MS), len, &policy);
    assert_eq!(t.on_deadline(at(6_000 * MS), &policy, 0), DeadlineEffect::NotYet);
    assert_eq!(t.on_deadline(at(6_002 * MS), &policy, 0), DeadlineEffect::Again, "no doubling");
}

#[test]
fn karn_a_slow_client_is_measured_in_the_end() {
    let (mut t, policy) = transfer(&[]);
    let len = 512 * 50;
    let slow = 600 * MS;
    let (mut now, mut sent) = (0, 0);
    for block in 1..=20_u16 {
        let started = now;
        sent += send_all(&mut t, at(now), len, &policy).len();
        while now < started + slow {
            now += MS;
            if let DeadlineEffect::Again = t.on_deadline(at(now), &policy, 0) {
                sent += send_all(&mut t, at(now), len, &policy).len();
            }
        }
        assert!(matches!(t.on_ack(at(now), block, &policy), AckEffect::Progress));
    }
    assert!(sent <= 22, "20 blocks took {sent} sends");
}

#[test]
fn a_finished_session_lingers() {
    let (mut t, policy) = transfer(&[]);
    send_all(&mut t, at(0), 5, &policy);
    assert_eq!(t.on_ack(at(10), 1, &policy), AckEffect::Finished);
    assert_eq!(t.on_deadline(at(policy.linger.micros() - MS), &policy, 0), DeadlineEffect::NotYet);
    assert_eq!(t.on_deadline(at(policy.linger.micros() + 2 * MS), &policy, 0), DeadlineEffect::Over);
}

#[test]
fn an_ack_that_crosses_a_resend_counts() {
    let (mut t, policy) = transfer(&[("windowsize", "8")]);
    let len = 512 * 100;
    t.offer_sent(at(0), &policy);
    t.on_ack(at(100), 0, &policy);
    send_all(&mut t, at(100), len, &policy);
    // The timer fires while the ACK of the whole window is on its way, and nothing was resent yet, or only a part.
    for resent in [0, 3] {
        let acked = t.acked();
        let now = at(1_000_000 * u64::from(acked + 1));
        assert_eq!(t.on_deadline(now, &policy, 0), DeadlineEffect::Again);
        for _ in 0..resent {
            assert!(t.take_block(now, len, &policy).repeat);
        }
        assert_eq!(t.on_ack(now, low_bits(u64::from(acked + 8)), &policy), AckEffect::Progress);
        let next = t.take_block(now, len, &policy);
        assert!(!next.repeat, "the next window is new");
        t.untake_block(next);
        send_all(&mut t, now, len, &policy);
    }
}

#[test]
fn rule_k_clients_that_were_lost_together_do_not_come_back_together() {
    let policy = Policy::default();
    let len = 512 * 10;
    let waits: std::collections::HashSet<u32> = (0..100_u32)
        .map(|client| {
            let (mut t, _) = transfer(&[]);
            send_all(&mut t, at(0), len, &policy);
            t.on_ack(at(200), 1, &policy);
            send_all(&mut t, at(200), len, &policy);
            let mut now = 200;
            for repeat in 0..4_u32 {
                now += u64::from(t.deadline().millis_left(at(now))) * MS;
                let random = (client + 1).wrapping_mul(2_654_435_761).rotate_left(repeat * 5);
                assert_eq!(t.on_deadline(at(now), &policy, random), DeadlineEffect::Again);
                send_all(&mut t, at(now), len, &policy);
            }
            t.deadline().millis_left(at(now))
        })
        .collect();
    assert!(waits.len() > 10, "{waits:?}");
}

#[test]
fn row44_a_client_cannot_ask_for_endless_silence() {
    for (timeout, limit_secs) in [("255", 120), ("60", 120), ("50", 150), ("1", 11)] {
        let (mut t, policy) = transfer(&[("timeout", timeout)]);
        let len = 512 * 10;
        t.offer_sent(at(0), &policy);
        t.on_ack(at(0), 0, &policy);
        send_all(&mut t, at(0), len, &policy);
        let mut now = 0;
        loop {
            now += 100 * MS;
            match t.on_deadline(at(now), &policy, 0) {
                DeadlineEffect::GiveUp { .. } => break,
                DeadlineEffect::Again => _ = send_all(&mut t, at(now), len, &policy),
                _ => {}
            }
        }
        assert!(now <= limit_secs * 1_000 * MS, "{timeout}: {now}");
    }
}
