//! Several workers on one port: whoever receives a frame, its flow's owner serves it.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a panic is how a test fails; test data is small"
)]

mod lab;

use dataplane::engine::Outcome;
use dataplane::port::faults::FaultRates;
use lab::client::{Client, Habits};
use lab::cluster::{Cluster, Spread};
use lab::frames::Host;
use lab::hand::{Peer, Reply, blocks};
use lab::network::{Link, Network, Station};
use lab::{Setup, catalogue, content};
use std::collections::HashSet;

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![("small", content(700, 1)), ("large", content(60_000, 2)), ("windows", content(90_000, 3))]
}

fn cluster(setup: &Setup, workers: u16, inbox_len: usize, spread: Spread) -> Cluster {
    Cluster::new(setup, &catalogue(1, &files()), workers, inbox_len, spread)
}

/// Sixty clients of both families with all kinds of requests.
fn clients() -> Vec<Client> {
    (0..60_u16)
        .map(|number| {
            let host = if number % 2 == 0 { Host::v4(2 + number as u8) } else { Host::v6(2 + number as u8) };
            let (name, options): (_, &[(&str, &str)]) = match number % 3 {
                0 => ("small", &[]),
                1 => ("large", &[("blksize", "1400"), ("tsize", "0")]),
                _ => ("windows", &[("blksize", "1024"), ("windowsize", "8")]),
            };
            Client::new(host, 2_000 + number, name, "octet", options, Habits::default())
        })
        .collect()
}

fn run(cluster: Cluster, link: Link, what: &str) -> Cluster {
    let mut network = Network::new(cluster, clients(), link, 3);
    network.run(600, what);
    let files = files();
    for (number, client) in network.clients.iter().enumerate() {
        assert_eq!(client.outcome, Some(Ok(())), "{what}, client {number}");
        assert!(client.received == files[number % 3].1, "{what}: the bytes of client {number}");
    }
    network.bench
}

/// Each client was served from one TID, and no two of one address from the same.
fn assert_one_tid_each(cluster: &Cluster, what: &str) {
    assert_eq!(cluster.tids.len(), 60, "{what}");
    for (client, tids) in &cluster.tids {
        assert_eq!(tids.len(), 1, "{what}: {client:?} was served from {tids:?}");
    }
}

#[test]
fn frames_at_random_workers_reach_their_owner() {
    for workers in 1..=4 {
        let what = format!("{workers} workers");
        let mut cluster = run(cluster(&Setup::default(), workers, 256, Spread::Random), Link::default(), &what);
        assert_one_tid_each(&cluster, &what);
        cluster.settle(60);
        assert_eq!(cluster.sum(|bench| bench.counters.opened.get()), 60, "{what}");
        assert_eq!(cluster.count(Outcome::AckFinished), 60, "{what}");
        assert_eq!(cluster.count(Outcome::HandOverFull), 0, "{what}");
        for drop in [Outcome::NoListener, Outcome::NoSession, Outcome::StrangerRefused, Outcome::StaleAck] {
            assert_eq!(cluster.count(drop), 0, "{what}: {}", drop.name());
        }
        let handed_over = cluster.sum(|bench| bench.counters.handed_over.get());
        assert_eq!(handed_over > 0, workers > 1, "{what}: {handed_over} handed over");
        for bench in &cluster.benches {
            assert!(
                bench.counters.opened.get() * u64::from(workers) >= 20,
                "{what}: each has its share of the clients"
            );
        }
    }
}

#[test]
fn one_worker_receives_all_where_the_nic_cannot_hash() {
    for workers in [2, 3, 4] {
        for lane in [0, usize::from(workers) - 1] {
            let what = format!("{workers} workers, all to {lane}");
            let mut cluster = run(cluster(&Setup::default(), workers, 256, Spread::To(lane)), Link::default(), &what);
            assert_one_tid_each(&cluster, &what);
            cluster.settle(60);
            for (number, bench) in cluster.benches.iter().enumerate() {
                let counters = &bench.counters;
                assert!(counters.opened.get() > 0, "{what}");
                if number != lane {
                    assert_eq!(counters.rx_frames.get() + counters.handed_over.get(), 0, "{what}");
                    assert!(counters.accounted_frames() > 0, "{what}");
                } else {
                    assert_eq!(
                        counters.rx_frames.get(),
                        counters.accounted_frames() + counters.handed_over.get(),
                        "{what}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_full_inbox_counts_and_the_transfers_end_all_the_same() {
    for workers in [2, 3, 4] {
        let what = format!("{workers} workers, inboxes of one frame");
        // The clients' packets come apart, as on a link: a crowd that repeats itself in step would never fit.
        let link = Link { jitter_us: 20_000, ..Link::default() };
        let mut cluster = run(cluster(&Setup::default(), workers, 1, Spread::Random), link, &what);
        let full = cluster.count(Outcome::HandOverFull);
        assert!(full > 10, "{what}: {full} frames found a full inbox");
        cluster.settle(60);
    }
}

#[test]
fn workers_on_a_bad_link_lose_no_byte_and_no_frame() {
    let faults =
        FaultRates { loss: 30, duplication: 30, reordering: 30, corruption: 10, short_pool: 20, full_ring: 50 };
    for workers in 1..=4 {
        let what = format!("{workers} workers with faults");
        let setup = Setup { faults, ..Setup::default() };
        let link = Link { loss: 20, corruption: 10, jitter_us: 200, ..Link::default() };
        run(cluster(&setup, workers, 64, Spread::Random), link, &what).settle(120);
    }
}

#[test]
fn a_client_has_one_owner_wherever_its_packets_arrive() {
    for workers in [2_u16, 3, 4] {
        let mut cluster = cluster(&Setup::default(), workers, 64, Spread::Random);
        for number in 0..30 {
            let peer = Peer::v4(2 + number, 3_000);
            let mut tids = HashSet::new();
            let mut quoted = Vec::new();
            for lane in 0..usize::from(workers) {
                let sent = cluster.exchange(lane, &peer.request("windows", &[]));
                assert_eq!(sent.len(), 1);
                tids.insert(Reply::read(&sent[0]).tid());
                quoted.clone_from(&sent[0]);
            }
            assert_eq!(tids.len(), 1, "rule a, across workers");
            assert_eq!(cluster.live_sessions(), 1);
            let tid = *tids.iter().next().unwrap();
            for lane in 0..usize::from(workers) {
                let block = lane as u16 + 1;
                let sent = cluster.exchange(lane, &peer.ack(tid, block));
                assert_eq!(blocks(&[Reply::read(&sent[0])]), [block + 1]);
                let sent = cluster.exchange(lane, &Peer::v4(2 + number, 3_001).ack(tid, block));
                assert!(Reply::read(&sent[0]).is_error(5), "strangers are refused by the owner");
            }
            // ERROR and ICMP find the owner from any lane.
            let lane = usize::from(number) % usize::from(workers);
            let ending = if number % 2 == 0 { peer.error(tid, 0) } else { peer.host.port_unreachable(&quoted) };
            assert!(cluster.exchange(lane, &ending).is_empty());
            assert_eq!(cluster.live_sessions(), 0);
        }
        assert_eq!(cluster.count(Outcome::ClientError), 15);
        assert_eq!(cluster.count(Outcome::Unreachable), 15);
        cluster.assert_accounted();
    }
}

#[test]
fn tids_of_no_worker_and_hostile_frames_stay_where_they_arrive() {
    let mut cluster = cluster(&Setup::default(), 3, 64, Spread::Random);
    let peer = Peer::v4(2, 3_000);
    for lane in 0..3 {
        // With three workers a TID has two bits for its owner, of which the fourth value is nobody's.
        for tid in [1_027, 40_003, 65_535] {
            assert!(cluster.exchange(lane, &peer.ack(tid, 1)).is_empty());
        }
        let mut quoted = Peer::v4(2, 1_027).to(3_000, b"\0\x03\0\x01");
        quoted[26..30].copy_from_slice(&[10, 99, 0, 1]);
        quoted[30..34].copy_from_slice(&[10, 99, 0, 2]);
        assert!(cluster.exchange(lane, &peer.host.port_unreachable(&quoted)).is_empty());
        assert!(cluster.exchange(lane, &peer.to(69, b"")).is_empty());
        assert!(cluster.exchange(lane, &Peer::v4(2, 69).request("small", &[])).is_empty());
        assert!(cluster.exchange(lane, &[0; 10]).is_empty());
        let counters = &cluster.benches[lane].counters;
        assert_eq!(counters.outcome(Outcome::NoListener), 3);
        assert_eq!(counters.outcome(Outcome::IcmpOther), 1);
        assert_eq!(counters.outcome(Outcome::SourcePortForbidden), 1);
        assert_eq!(counters.outcome(Outcome::Runt), 1);
    }
    assert_eq!(cluster.count(Outcome::NotARequest), 3);
    cluster.assert_accounted();
    assert_eq!(cluster.live_sessions(), 0);
}

#[test]
fn a_flood_at_one_worker_neither_stops_nor_miscounts_the_others() {
    let mut cluster = cluster(&Setup::default(), 4, 16, Spread::Random);
    for number in 0..20_000_u32 {
        let mut peer = Peer::v4(2, 1_024 + (number % 50_000) as u16);
        peer.host.ip = std::net::IpAddr::from((0x0B00_0000 + number).to_be_bytes());
        cluster.benches[0].deliver(&peer.request("small", &[]));
        if number % 40 == 39 {
            cluster.poll();
        }
    }
    for _ in 0..2_000 {
        cluster.poll();
    }
    cluster.assert_accounted();
    assert_eq!(cluster.sum(|bench| bench.counters.rx_frames.get()), 20_000);
    assert!(cluster.count(Outcome::HandOverFull) > 0, "inboxes of 16 are too small for it");
    let mut cluster = run(cluster, Link::default(), "after a flood");
    cluster.settle(60);
}
