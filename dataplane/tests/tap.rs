//! Looking on at a lane: what its taps see is what it received and sent, once, and nothing of it changes what is served.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod lab;

use dataplane::port::faults::FaultRates;
use dataplane::worker::{
    Direction, DrainFlag, Layer, Letter, StopFlag, Tap, TapFilter, TapOrder, TapReader, Taps, Worker, WorkerStatus,
    mailbox,
};
use lab::frames::Host;
use lab::{Bench, Setup, catalogue, content, ip};
use std::sync::Arc;

const REQUEST: &[u8] = b"\0\x01file\0octet\0";

fn bench(setup: &Setup) -> Bench {
    Bench::new(setup, catalogue(1, &[("file", content(700, 1))]))
}

fn look_on(bench: &mut Bench, filter: TapFilter, records: usize, snaplen: usize) -> TapReader {
    let (tap, reader) = Tap::new(filter, records, snaplen);
    assert!(bench.lane.exchange_taps(Some(Box::new(Taps::new(vec![tap])))).is_none());
    reader
}

/// Direction, length on the wire and kept bytes of what was seen.
fn seen(reader: &mut TapReader) -> Vec<(Direction, usize, Vec<u8>)> {
    let mut seen = Vec::new();
    reader.drain(|record| seen.push((record.direction, record.frame_len, record.bytes.clone())));
    seen
}

#[test]
fn a_tap_sees_both_directions_in_their_order_and_whole() {
    let mut bench = bench(&Setup::default());
    let mut reader = look_on(&mut bench, TapFilter::default(), 100, 2_048);
    let request = Host::v4(7).datagram(2_000, 69, REQUEST);
    let replies = bench.exchange(&request);
    assert_eq!(replies.len(), 1);
    let expected = [(Direction::Received, &request), (Direction::Sent, &replies[0])];
    let expected = expected.map(|(direction, bytes)| (direction, bytes.len(), bytes.clone()));
    assert_eq!(seen(&mut reader), expected);
    assert!(seen(&mut reader).is_empty(), "once");
}

#[test]
fn a_frame_that_waits_for_the_port_is_seen_once() {
    // Most sends are refused.
    let faults = FaultRates { full_ring: 800, ..FaultRates::default() };
    let mut bench = bench(&Setup { faults, fault_seed: 3, ..Setup::default() });
    let mut reader = look_on(&mut bench, TapFilter::default(), 1_000, 64);
    let mut sent = 0;
    for number in 2..100 {
        bench.deliver(&Host::v4(number).datagram(2_000, 69, REQUEST));
        sent += bench.poll().len();
    }
    // Twice as many turns as could be refused in a row.
    for _ in 0..200 {
        sent += bench.poll().len();
    }
    let sights = seen(&mut reader).iter().filter(|(direction, ..)| *direction == Direction::Sent).count();
    assert!(sent > 10, "{sent}");
    assert_eq!(sights, sent, "each once, however often it was offered");
}

#[test]
fn a_full_ring_loses_and_counts_and_the_client_is_served() {
    let mut bench = bench(&Setup::default());
    let mut reader = look_on(&mut bench, TapFilter::default(), 3, 60);
    for number in 2..12 {
        assert_eq!(bench.exchange(&Host::v4(number).datagram(2_000, 69, REQUEST)).len(), 1);
    }
    let kept = seen(&mut reader);
    assert_eq!((kept.len(), reader.lost()), (3, 17));
    assert!(kept.iter().all(|(_, len, bytes)| bytes.len() == 60.min(*len)), "cut to the snap length");
    assert_eq!(bench.exchange(&Host::v4(20).datagram(2_000, 69, REQUEST)).len(), 1);
    assert_eq!(seen(&mut reader).len(), 2, "room again");
}

#[test]
fn filters_hold_all_together() {
    let by_host = |text| TapFilter { host: Some(ip(text)), ..TapFilter::default() };
    let udp = Some(Layer::Udp);
    let cases = [
        (TapFilter::default(), 6),
        (by_host("10.99.0.7"), 3),
        (by_host("fd00::7"), 2),
        (by_host("10.99.0.99"), 0),
        (TapFilter { layer: udp, ..TapFilter::default() }, 4),
        (TapFilter { layer: Some(Layer::Icmp), ..TapFilter::default() }, 0),
        (TapFilter { layer: Some(Layer::Arp), ..TapFilter::default() }, 1),
        (TapFilter { port: Some(69), ..TapFilter::default() }, 2),
        (TapFilter { layer: udp, port: Some(2_000), ..by_host("fd00::7") }, 2),
    ];
    for (filter, expected) in cases {
        let mut bench = bench(&Setup::default());
        let mut reader = look_on(&mut bench, filter, 100, 2_048);
        bench.exchange(&Host { vlan: Some(5), ..Host::v4(7) }.datagram(2_000, 69, REQUEST));
        bench.exchange(&Host::v6(7).datagram(2_000, 69, REQUEST));
        // ARP that nobody answers, and what is no frame at all.
        let arp =
            [&[0xff; 12][..], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &[2; 6], &[10, 99, 0, 7], &[0; 6], &[10, 99, 0, 9]];
        bench.exchange(&arp.concat());
        bench.exchange(&[1; 9]);
        assert_eq!(seen(&mut reader).len(), expected, "{filter:?}");
    }
}

#[test]
fn a_letter_brings_taps_and_its_answer_takes_them_back() {
    let setup = Setup::default();
    let Bench { lane, .. } = bench(&setup);
    let (letters, mailbox) = mailbox();
    let mut worker = Worker {
        lanes: vec![lane],
        mailbox,
        drain: DrainFlag::new(),
        stop: StopFlag::new(),
        status: Arc::new(WorkerStatus::default()),
        idle_sleep: None,
    };
    let (tap, _reader) = Tap::new(TapFilter::default(), 1, 64);
    let mut pace = dataplane::worker::Pace::default();
    let mut order = |lane, taps| {
        let (order, answer) = TapOrder::new(lane, taps);
        letters.send(Letter::Taps(order)).unwrap();
        worker.turn(dataplane::time::Instant::ORIGIN, &mut pace);
        answer.try_recv().expect("answered in the same turn").taps
    };
    assert!(order(0, Some(Box::new(Taps::new(vec![tap.clone()])))).is_none(), "nobody looked on before");
    assert!(order(0, None).is_some(), "those before come back");
    assert!(order(7, Some(Box::new(Taps::new(vec![tap])))).is_some(), "there is no such lane, so they come back too");
}
