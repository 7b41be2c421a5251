//! Several workers behind a NIC that spreads frames by RSS: nothing is handed over when it does what it says, and nothing is lost
//! when it does not.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a panic is how a test fails; test data is small"
)]

mod lab;

use dataplane::engine::Outcome;
use dataplane::port::HashedFields;
use dataplane::port::faults::FaultRates;
use lab::client::{Client, Habits};
use lab::cluster::{Cluster, Spread};
use lab::frames::Host;
use lab::hand::{Peer, Reply, blocks};
use lab::network::{Link, Network};
use lab::nic::{KEY, Rss, SYMMETRIC_KEY};
use lab::{Setup, catalogue, content};
use std::collections::HashSet;

const CLIENTS: u16 = 180;

const ALL: HashedFields = HashedFields::AddressesAndPorts;

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![("small", content(700, 1)), ("large", content(20_000, 2)), ("windows", content(40_000, 3))]
}

/// Clients of both families, every ninth behind a VLAN tag, several on each address.
fn clients() -> Vec<Client> {
    (0..CLIENTS)
        .map(|number| {
            let host = 2 + (number / 4) as u8;
            let mut host = if number % 2 == 0 { Host::v4(host) } else { Host::v6(host) };
            host.vlan = (number % 9 == 0).then_some(7);
            let (name, options): (_, &[(&str, &str)]) = match number % 3 {
                0 => ("small", &[]),
                1 => ("large", &[("blksize", "1400"), ("tsize", "0")]),
                _ => ("windows", &[("blksize", "1024"), ("windowsize", "8")]),
            };
            Client::new(host, 2_000 + 17 * number, name, "octet", options, Habits::default())
        })
        .collect()
}

/// A NIC that does `nic`, workers that believe it does `belief`.
fn cluster(setup: &Setup, workers: u16, nic: Spread, belief: &Rss) -> Cluster {
    Cluster::new(setup, &catalogue(1, &files()), workers, 1_024, nic).believing(belief)
}

/// All clients are served, each from one TID, and every frame is accounted for.
fn run(cluster: Cluster, link: Link, what: &str) -> Cluster {
    let mut network = Network::new(cluster, clients(), link, 3);
    network.run(600, what);
    let files = files();
    for (number, client) in network.clients.iter().enumerate() {
        assert_eq!(client.outcome, Some(Ok(())), "{what}, client {number}");
        assert!(client.received == files[number % 3].1, "{what}: the bytes of client {number}");
    }
    let mut cluster = network.bench;
    assert_eq!(cluster.tids.len(), usize::from(CLIENTS), "{what}");
    for (client, tids) in &cluster.tids {
        assert_eq!(tids.len(), 1, "{what}: {client:?} was served from {tids:?}");
    }
    cluster.settle(20);
    assert_eq!(cluster.sum(|bench| bench.counters.opened.get()), u64::from(CLIENTS), "{what}");
    cluster
}

fn handed_over(cluster: &Cluster) -> u64 {
    cluster.sum(|bench| bench.counters.handed_over.get())
}

/// Every worker serves at least a quarter of what is its share.
fn assert_shared(cluster: &Cluster, what: &str) {
    for bench in &cluster.benches {
        let opened = bench.counters.opened.get();
        assert!(opened * cluster.benches.len() as u64 * 4 >= u64::from(CLIENTS), "{what}: one served {opened}");
    }
}

#[test]
fn nothing_is_handed_over_where_the_nic_hashes_ports() {
    for workers in [2, 3, 4, 8, 16] {
        for (key, entries) in [(KEY, 128), (KEY, 512), (SYMMETRIC_KEY, 64)] {
            let what = format!("{workers} workers, table of {entries}");
            let rss = Rss::over(workers, entries, key, ALL);
            let cluster = cluster(&Setup::default(), workers, Spread::Rss(rss.clone()), &rss);
            let cluster = run(cluster, Link::default(), &what);
            assert_eq!(handed_over(&cluster), 0, "{what}");
            if key == KEY {
                assert_shared(&cluster, &what);
            }
        }
    }
}

#[test]
fn nothing_is_handed_over_on_a_bad_link_either() {
    let faults = FaultRates { loss: 30, duplication: 30, reordering: 30, corruption: 0, short_pool: 20, full_ring: 50 };
    for workers in [2, 3, 4] {
        let what = format!("{workers} workers with faults");
        let setup = Setup { faults, ..Setup::default() };
        let link = Link { loss: 20, jitter_us: 200, ..Link::default() };
        let rss = Rss::over(workers, 128, KEY, ALL);
        let mut cluster = cluster(&setup, workers, Spread::Rss(rss.clone()), &rss);
        let mut network = Network::new(cluster, clients(), link, 3);
        network.run(600, &what);
        cluster = network.bench;
        assert!(network.clients.iter().all(|client| client.outcome == Some(Ok(()))), "{what}");
        cluster.settle(120);
        assert_eq!(handed_over(&cluster), 0, "{what}");
    }
}

#[test]
fn nothing_is_handed_over_where_the_nic_hashes_addresses_only() {
    for workers in [2, 3, 4] {
        let what = format!("{workers} workers");
        let rss = Rss::over(workers, 128, KEY, HashedFields::Addresses);
        let cluster = cluster(&Setup::default(), workers, Spread::Rss(rss.clone()), &rss);
        let cluster = run(cluster, Link::default(), &what);
        assert_eq!(handed_over(&cluster), 0, "{what}");
    }
}

#[test]
fn a_family_that_is_not_hashed_is_shared_by_hand_over() {
    for workers in [2, 3, 4] {
        let what = format!("{workers} workers");
        let rss = Rss { ipv6: HashedFields::Nothing, ..Rss::over(workers, 128, KEY, ALL) };
        let cluster = cluster(&Setup::default(), workers, Spread::Rss(rss.clone()), &rss);
        let cluster = run(cluster, Link::default(), &what);
        assert_shared(&cluster, &what);
        assert!(cluster.benches[0].counters.handed_over.get() > 0, "{what}: IPv6");
        for bench in &cluster.benches[1..] {
            assert_eq!(bench.counters.handed_over.get(), 0, "{what}: IPv4");
        }
    }
}

#[test]
fn a_nic_that_does_not_do_what_its_driver_says_costs_hand_overs_only() {
    let mut wrong = KEY;
    wrong.rotate_left(3);
    for workers in [2, 3, 4] {
        let belief = Rss::over(workers, 128, wrong, ALL);
        let nics = [
            ("another key", Spread::Rss(Rss::over(workers, 128, KEY, ALL))),
            (
                "another table",
                Spread::Rss(Rss { table: belief.table.iter().rev().copied().collect(), ..belief.clone() }),
            ),
            ("addresses only", Spread::Rss(Rss::over(workers, 128, wrong, HashedFields::Addresses))),
            ("no RSS", Spread::To(1)),
            ("chance", Spread::Random),
        ];
        for (nic, spread) in nics {
            let what = format!("{workers} workers, {nic}");
            let cluster = run(cluster(&Setup::default(), workers, spread, &belief), Link::default(), &what);
            assert!(handed_over(&cluster) > u64::from(CLIENTS), "{what}");
            assert_eq!(cluster.count(Outcome::HandOverFull), 0, "{what}");
            assert_shared(&cluster, &what);
        }
    }
}

#[test]
fn rule_a_a_client_has_one_session_wherever_its_requests_arrive() {
    for workers in [2_u16, 3, 4] {
        let rss = Rss::over(workers, 128, KEY, ALL);
        let mut cluster = cluster(&Setup::default(), workers, Spread::Random, &rss);
        for number in 0..30 {
            let peer = Peer::v4(2 + number, 3_000);
            let mut tids = HashSet::new();
            for lane in 0..usize::from(workers) {
                let sent = cluster.exchange(lane, &peer.request("windows", &[]));
                assert_eq!(sent.len(), 1);
                tids.insert(Reply::read(&sent[0]).tid());
            }
            assert_eq!(tids.len(), 1);
            let tid = *tids.iter().next().unwrap();
            assert_eq!(rss.queue(&peer.ack(tid, 1)), rss.queue(&peer.request("windows", &[])));
            for lane in 0..usize::from(workers) {
                let block = lane as u16 + 1;
                let sent = cluster.exchange(lane, &peer.ack(tid, block));
                assert_eq!(blocks(&[Reply::read(&sent[0])]), [block + 1]);
            }
            assert!(cluster.exchange(0, &peer.error(tid, 0)).is_empty());
            assert_eq!(cluster.live_sessions(), 0);
        }
        cluster.assert_accounted();
    }
}

#[test]
fn sixty_four_workers_find_tids_that_suit() {
    let rss = Rss::over(64, 512, KEY, ALL);
    let mut cluster = cluster(&Setup::default(), 64, Spread::Rss(rss.clone()), &rss);
    for number in 0..2_000_u16 {
        let mut peer = Peer::v4(2, 1_024 + 31 * number);
        peer.host.ip = std::net::IpAddr::from((0x0A63_0100 + u32::from(number)).to_be_bytes());
        let request = peer.request("small", &[]);
        let owner = rss.queue(&request);
        let sent = cluster.exchange(owner, &request);
        let tid = Reply::read(&sent[0]).tid();
        assert_eq!(rss.queue(&peer.ack(tid, 1)), owner, "client {number}");
        assert_eq!(usize::from(tid % 64), owner);
        assert!(cluster.exchange(owner, &peer.error(tid, 0)).is_empty());
    }
    assert_eq!(handed_over(&cluster), 0);
}

#[test]
fn a_worker_that_is_alone_asks_nobody() {
    let rss = Rss::over(1, 128, KEY, ALL);
    let cluster = cluster(&Setup::default(), 1, Spread::Rss(rss.clone()), &rss);
    assert_eq!(handed_over(&run(cluster, Link::default(), "alone")), 0);
}
