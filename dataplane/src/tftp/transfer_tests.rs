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
    (Transfer::new(&Granted::decide(&asked, &caps, None), false, &policy), policy)
}

/// Sends what may go now; returns the block numbers.
fn send_all(transfer: &mut Transfer, now: Instant, len: u64, policy: &Policy) -> Vec<u64> {
    let mut sent = Vec::new();
    while transfer.may_send(len) {
        sent.push(transfer.take_block(now, policy).number);
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
    assert_eq!(send_all(&mut t, at(0), len, &policy), [1]);
    assert_eq!(t.span(1, len), (0, 512));
    assert_eq!(t.on_ack(at(100), 1, len, &policy), AckEffect::Progress);
    assert_eq!(send_all(&mut t, at(100), len, &policy), [2]);
    assert_eq!(t.span(2, len), (512, 488));
    assert_eq!(t.on_ack(at(200), 2, len, &policy), AckEffect::Finished);
    assert!(send_all(&mut t, at(200), len, &policy).is_empty());
    assert_eq!(t.on_ack(at(300), 2, len, &policy), AckEffect::Stale, "a late repeat is normal");
}

#[test]
fn rfc1350_6_exact_multiple_ends_with_an_empty_block() {
    let (t, _) = transfer(&[]);
    assert_eq!(t.total_blocks(1_024), 3);
    assert_eq!(t.span(3, 1_024), (1_024, 0));
    assert_eq!(t.total_blocks(0), 1);
    assert_eq!(t.span(1, 0), (0, 0));
}

#[test]
fn rfc2347_no_data_before_ack_0() {
    let (mut t, policy) = transfer(&[("blksize", "1024"), ("windowsize", "4")]);
    t.offer_sent(at(0), &policy);
    assert!(!t.may_send(9_999));
    assert_eq!(t.on_ack(at(10), 1, 9_999, &policy), AckEffect::Stale);
    assert_eq!(t.on_ack(at(20), 0, 9_999, &policy), AckEffect::Progress);
    assert!(t.is_proven());
    assert_eq!(send_all(&mut t, at(20), 9_999, &policy), [1, 2, 3, 4]);
}

#[test]
fn rfc7440_4_an_ack_inside_the_window_resumes_behind_it() {
    let (mut t, policy) = transfer(&[("windowsize", "8")]);
    let len = 512 * 100;
    t.offer_sent(at(0), &policy);
    t.on_ack(at(100), 0, len, &policy);
    assert_eq!(send_all(&mut t, at(100), len, &policy).len(), 8);
    assert_eq!(t.on_ack(at(200), 3, len, &policy), AckEffect::Progress);
    assert_eq!(send_all(&mut t, at(200), len, &policy), (4..=11).collect::<Vec<_>>());
}

#[test]
fn rfc1123_4_2_3_1_a_repeated_ack_never_sends_data_in_lock_step() {
    let (mut t, policy) = transfer(&[]);
    let len = 512 * 100;
    send_all(&mut t, at(0), len, &policy);
    t.on_ack(at(100), 1, len, &policy);
    send_all(&mut t, at(100), len, &policy);
    for round in 0..1_000 {
        assert_eq!(t.on_ack(at(100 + round), 1, len, &policy), AckEffect::Repeated);
    }
    assert!(!t.may_send(len));
}

#[test]
fn rule_f_first_repeat_restarts_the_window_once() {
    let (mut t, policy) = transfer(&[("windowsize", "4")]);
    let len = 512 * 100;
    t.offer_sent(at(0), &policy);
    t.on_ack(at(1_000), 0, len, &policy);
    send_all(&mut t, at(1_000), len, &policy);
    // Well after a round trip: the client misses block 1.
    assert_eq!(t.on_ack(at(30_000), 0, len, &policy), AckEffect::Restart);
    assert_eq!(send_all(&mut t, at(30_000), len, &policy), [1, 2, 3, 4]);
    for us in 30_001..30_100 {
        assert_eq!(t.on_ack(at(us), 0, len, &policy), AckEffect::Repeated);
    }
    assert_eq!(t.on_ack(at(31_000), 4, len, &policy), AckEffect::Progress);
    send_all(&mut t, at(31_000), len, &policy);
    assert_eq!(t.on_ack(at(90_000), 4, len, &policy), AckEffect::Restart, "progress renews the credit");
}

#[test]
fn a_copy_of_an_ack_made_by_the_network_resends_nothing() {
    let (mut t, policy) = transfer(&[("windowsize", "4")]);
    let len = 512 * 100;
    t.offer_sent(at(0), &policy);
    t.on_ack(at(10_000), 0, len, &policy);
    send_all(&mut t, at(10_000), len, &policy);
    assert_eq!(t.on_ack(at(10_100), 0, len, &policy), AckEffect::Hold);
    assert_eq!(t.on_ack(at(20_000), 4, len, &policy), AckEffect::Progress, "the window was sound");
    assert_eq!(t.on_deadline(at(45_000), len, &policy, 0), DeadlineEffect::NotYet);
}

#[test]
fn a_held_repeat_restarts_after_a_round_trip_without_progress() {
    let (mut t, policy) = transfer(&[("windowsize", "4")]);
    let len = 512 * 100;
    t.offer_sent(at(0), &policy);
    t.on_ack(at(10 * MS), 0, len, &policy);
    send_all(&mut t, at(10 * MS), len, &policy);
    assert_eq!(t.on_ack(at(11 * MS), 0, len, &policy), AckEffect::Hold);
    // srtt 10 ms, rttvar 5 ms: patience is 30 ms from the start of the window.
    assert_eq!(t.on_deadline(at(39 * MS), len, &policy, 0), DeadlineEffect::NotYet);
    assert_eq!(t.on_deadline(at(40 * MS), len, &policy, 0), DeadlineEffect::Again);
}

#[test]
fn row25_acks_of_old_and_unsent_blocks_are_stale() {
    let (mut t, policy) = transfer(&[]);
    let len = 512 * 100;
    send_all(&mut t, at(0), len, &policy);
    t.on_ack(at(1), 1, len, &policy);
    send_all(&mut t, at(1), len, &policy);
    for block in [0, 3, 4, 99, 65_535] {
        assert_eq!(t.on_ack(at(2), block, len, &policy), AckEffect::Stale, "{block}");
    }
}

#[test]
fn row32_rollover_is_decided_by_the_64_bit_position() {
    let (mut t, policy) = transfer(&[("windowsize", "64"), ("blksize", "8")]);
    let len = 8 * 200_000;
    t.offer_sent(at(0), &policy);
    t.on_ack(at(1), 0, len, &policy);
    let mut now = 1;
    while !t.is_finished() {
        now += 100;
        let sent = send_all(&mut t, at(now), len, &policy);
        let last = *sent.last().expect("an unfinished transfer has something to send");
        // Both sides of the edge: an ACK one window back is stale, however close its number is to the next one's.
        let stale = low_bits(sent[0]).wrapping_sub(2);
        if sent[0] > 2 {
            assert_eq!(t.on_ack(at(now), stale, len, &policy), AckEffect::Stale);
        }
        t.on_ack(at(now + 50), low_bits(last), len, &policy);
    }
    assert_eq!(t.acked(), 200_001);
}

#[test]
fn rfc6298_timeouts_double_and_end() {
    let (mut t, policy) = transfer(&[]);
    let len = 512 * 10;
    send_all(&mut t, at(0), len, &policy);
    t.on_ack(at(200), 1, len, &policy);
    send_all(&mut t, at(200), len, &policy);
    let mut now = 200;
    let mut gaps = Vec::new();
    let mut last = now;
    loop {
        now += MS;
        match t.on_deadline(at(now), len, &policy, 0) {
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
            match t.on_deadline(at(now), len, &policy, 0) {
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
    t.on_ack(at(200), 1, len, &policy);
    let mut now = 200;
    loop {
        send_all(&mut t, at(now), len, &policy);
        now += 10_000 * MS;
        match t.on_deadline(at(now), len, &policy, 0) {
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
    t.on_ack(at(100), 0, len, &policy);
    assert_eq!(t.fixed_timeout(), Some(3));
    send_all(&mut t, at(100), len, &policy);
    assert_eq!(t.on_deadline(at(2_999 * MS), len, &policy, 0), DeadlineEffect::NotYet);
    assert_eq!(t.on_deadline(at(3_001 * MS), len, &policy, 0), DeadlineEffect::Again);
    send_all(&mut t, at(3_001 * MS), len, &policy);
    assert_eq!(t.on_deadline(at(6_000 * MS), len, &policy, 0), DeadlineEffect::NotYet);
    assert_eq!(t.on_deadline(at(6_002 * MS), len, &policy, 0), DeadlineEffect::Again, "no doubling");
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
            if let DeadlineEffect::Again = t.on_deadline(at(now), len, &policy, 0) {
                sent += send_all(&mut t, at(now), len, &policy).len();
            }
        }
        assert!(matches!(t.on_ack(at(now), block, len, &policy), AckEffect::Progress));
    }
    assert!(sent <= 22, "20 blocks took {sent} sends");
}

#[test]
fn a_finished_session_lingers() {
    let (mut t, policy) = transfer(&[]);
    send_all(&mut t, at(0), 5, &policy);
    assert_eq!(t.on_ack(at(10), 1, 5, &policy), AckEffect::Finished);
    assert_eq!(t.on_deadline(at(policy.linger.micros() - MS), 5, &policy, 0), DeadlineEffect::NotYet);
    assert_eq!(t.on_deadline(at(policy.linger.micros() + MS), 5, &policy, 0), DeadlineEffect::Over);
}

#[test]
fn an_ack_that_crosses_a_resend_counts() {
    let (mut t, policy) = transfer(&[("windowsize", "8")]);
    let len = 512 * 100;
    t.offer_sent(at(0), &policy);
    t.on_ack(at(100), 0, len, &policy);
    send_all(&mut t, at(100), len, &policy);
    // The timer fires while the ACK of the whole window is on its way, and nothing was resent yet, or only a part.
    for resent in [0, 3] {
        let acked = t.acked();
        let now = at(1_000_000 * (acked + 1));
        assert_eq!(t.on_deadline(now, len, &policy, 0), DeadlineEffect::Again);
        for _ in 0..resent {
            assert!(t.take_block(now, &policy).repeat);
        }
        assert_eq!(t.on_ack(now, low_bits(acked + 8), len, &policy), AckEffect::Progress);
        assert!(!t.take_block(now, &policy).repeat, "the next window is new");
        t.untake_block(TakenBlock { number: acked + 9, repeat: false });
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
            t.on_ack(at(200), 1, len, &policy);
            send_all(&mut t, at(200), len, &policy);
            let mut now = 200;
            for repeat in 0..4_u32 {
                now += u64::from(t.deadline().millis_left(at(now))) * MS;
                let random = (client + 1).wrapping_mul(2_654_435_761).rotate_left(repeat * 5);
                assert_eq!(t.on_deadline(at(now), len, &policy, random), DeadlineEffect::Again);
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
        t.on_ack(at(0), 0, len, &policy);
        send_all(&mut t, at(0), len, &policy);
        let mut now = 0;
        loop {
            now += 100 * MS;
            match t.on_deadline(at(now), len, &policy, 0) {
                DeadlineEffect::GiveUp { .. } => break,
                DeadlineEffect::Again => _ = send_all(&mut t, at(now), len, &policy),
                _ => {}
            }
        }
        assert!(now <= limit_secs * 1_000 * MS, "{timeout}: {now}");
    }
}
