//! From which ports replies leave: out of a range, or all from the port of requests.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a panic is how a test fails; test data is small"
)]

mod lab;

use dataplane::engine::{Answering, Ending, Limits, Outcome};
use dataplane::port::HashedFields;
use dataplane::session::ReplyPorts;
use lab::client::{Client, Habits};
use lab::cluster::{Cluster, Spread};
use lab::frames::Host;
use lab::hand::{Peer, Reply, Said};
use lab::kernel::KernelBench;
use lab::network::{Link, Network};
use lab::nic::{KEY, Rss};
use lab::{Bench, Setup, catalogue, content};
use std::collections::HashSet;

const CLIENTS: u16 = 180;

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![("small", content(700, 1)), ("large", content(20_000, 2)), ("windows", content(40_000, 3))]
}

fn setup(reply_ports: ReplyPorts) -> Setup {
    Setup { reply_ports, ..Setup::default() }
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

/// All clients are served; returns the workers and the ports that they used.
fn run(mut cluster: Cluster, rss: Option<&Rss>, link: Link, what: &str) -> (Cluster, HashSet<u16>) {
    if let Some(rss) = rss {
        cluster = cluster.believing(rss);
    }
    let mut network = Network::new(cluster, clients(), link, 3);
    network.run(600, what);
    let files = files();
    for (number, client) in network.clients.iter().enumerate() {
        assert_eq!(client.outcome, Some(Ok(())), "{what}, client {number}");
        assert!(client.received == files[number % 3].1, "{what}: the bytes of client {number}");
    }
    let mut cluster = network.bench;
    assert_eq!(cluster.tids.len(), usize::from(CLIENTS), "{what}");
    assert!(cluster.tids.values().all(|tids| tids.len() == 1), "{what}: one TID for each client");
    let ports = cluster.tids.values().flatten().copied().collect();
    cluster.settle(30);
    (cluster, ports)
}

#[test]
fn a_range_is_kept_to_and_used() {
    let range = ReplyPorts::Range { first: 50_001, last: 50_700 };
    for workers in [1, 2, 3, 4] {
        let what = format!("{workers} workers");
        let rss = Rss::over(workers, 128, KEY, HashedFields::AddressesAndPorts);
        for (spread, belief) in [(Spread::Random, None), (Spread::Rss(rss.clone()), (workers > 1).then_some(&rss))] {
            let cluster = Cluster::new(&setup(range), &catalogue(1, &files()), workers, 1_024, spread);
            let (cluster, ports) = run(cluster, belief, Link::default(), &what);
            assert!(ports.iter().all(|port| (50_001..=50_700).contains(port)), "{what}: {ports:?}");
            assert!(ports.len() > 100, "{what}: only {} ports for {CLIENTS} clients", ports.len());
            let handed_over = cluster.sum(|bench| bench.counters.handed_over.get());
            assert!(belief.is_none() || handed_over == 0, "{what}: {handed_over} handed over");
        }
    }
}

#[test]
fn errors_keep_to_the_range_too() {
    let mut bench = Bench::new(&setup(ReplyPorts::Range { first: 50_000, last: 50_031 }), catalogue(1, &files()));
    for port in 2_000..2_200 {
        let reply = bench.expect_error(&Peer::v4(2, port).request("absent", &[]), Outcome::RequestRefused, 1);
        assert!((50_000..=50_031).contains(&reply.tid()));
    }
    bench.expect_silence(&Peer::v4(2, 2_000).ack(40_000, 1), Outcome::NoListener);
    bench.expect_silence(&Peer::v4(2, 2_000).ack(50_000, 1), Outcome::NoSession);
}

#[test]
fn all_is_served_from_the_port_of_requests() {
    for workers in [1, 3, 4] {
        let rss = Rss::over(workers, 128, KEY, HashedFields::AddressesAndPorts);
        for (spread, belief) in [(Spread::Random, None), (Spread::Rss(rss.clone()), (workers > 1).then_some(&rss))] {
            for (link, what) in
                [(Link::default(), "clean"), (Link { loss: 20, jitter_us: 200, ..Link::default() }, "lossy")]
            {
                let what = format!("{workers} workers, {what} link");
                let setup = setup(ReplyPorts::Single);
                let cluster = Cluster::new(&setup, &catalogue(1, &files()), workers, 1_024, spread.clone());
                let (cluster, ports) = run(cluster, belief, link, &what);
                assert_eq!(ports, HashSet::from([69]), "{what}");
                let handed_over = cluster.sum(|bench| bench.counters.handed_over.get());
                assert!(belief.is_none() || handed_over == 0, "{what}: {handed_over} handed over");
                let served = cluster.benches.iter().filter(|bench| bench.counters.opened.get() > 0).count();
                assert_eq!(served, usize::from(workers), "{what}: everybody has a share");
            }
        }
    }
}

/// One reply to a frame that must have this outcome.
#[track_caller]
fn one(bench: &mut Bench, frame: &[u8], outcome: Outcome) -> Reply {
    let sent = bench.expect_frames(frame, outcome);
    assert_eq!(sent.len(), 1);
    let reply = Reply::read_from_any_port(&sent[0]);
    assert_eq!(reply.tid(), 69);
    reply
}

fn open(bench: &mut Bench, peer: Peer) -> Reply {
    one(bench, &peer.request("large", &[]), Outcome::RequestOpened)
}

#[test]
fn hostile_input_has_its_answers_on_a_single_port_too() {
    let mut bench = Bench::new(&setup(ReplyPorts::Single), catalogue(1, &files()));
    let (client, stranger) = (Peer::v4(2, 2_000), Peer::v4(3, 2_000));
    open(&mut bench, client);
    // Rows 1, 2, 30: an answer is given to requests and to clients with a session, to nobody else.
    for payload in [&b""[..], b"\0", b"\0\x04\0\x01", b"\0\x05\0\x05no\0", b"\0\x03\0\x01data", b"\0\x06tsize\x009\0"] {
        for peer in [stranger, Peer::v4(2, 2_001), Peer::v6(2, 2_000)] {
            bench.expect_silence(&peer.to(69, payload), Outcome::NoSession);
        }
    }
    for payload in [&b""[..], b"\0", b"\0\x03\0\x01data", b"\0\x06tsize\x009\0", b"\0\x09\0\0", b"\0\x04\0"] {
        bench.expect_silence(&client.to(69, payload), Outcome::NotAnAck);
    }
    // Row 3.
    for port in [0, 69] {
        bench.expect_silence(&Peer::v4(2, port).to(69, b"\0\x04\0\x01"), Outcome::SourcePortForbidden);
    }
    // Row 25, 27, 28.
    bench.expect_silence(&client.ack(69, 9), Outcome::StaleAck);
    one(&mut bench, &client.to(69, b"\0\x04\0\x01more"), Outcome::AckProgress);
    // Row 4, 12: errors come from the port that the client knows.
    assert!(one(&mut bench, &stranger.to(69, b"\0\x02x\0octet\0"), Outcome::RequestRefused).is_error(2));
    assert!(one(&mut bench, &stranger.request("absent", &[]), Outcome::RequestRefused).is_error(1));
    // What looks like a TID is none.
    bench.expect_silence(&client.ack(5_000, 1), Outcome::NoListener);
    assert_eq!(bench.live_sessions(), 1);
    // Rule c.
    bench.expect_silence(&client.error(69, 0), Outcome::ClientError);
    bench.expect_silence(&client.ack(69, 2), Outcome::NoSession);
    assert_eq!(bench.live_sessions(), 0);
}

#[test]
fn a_repeat_and_another_request_do_on_a_single_port_what_they_do_elsewhere() {
    let mut bench = Bench::new(&setup(ReplyPorts::Single), catalogue(1, &files()));
    let client = Peer::v4(2, 2_000);
    open(&mut bench, client);
    one(&mut bench, &client.request("large", &[]), Outcome::RequestRepeated);
    let reply = one(&mut bench, &client.request("small", &[]), Outcome::RequestOpened);
    assert_eq!(reply.said, Said::Data { block: 1, bytes: content(700, 1)[..512].to_vec() });
    assert_eq!(bench.live_sessions(), 1);
    let last = one(&mut bench, &client.ack(69, 1), Outcome::AckProgress);
    assert_eq!(last.said, Said::Data { block: 2, bytes: content(700, 1)[512..].to_vec() });
    bench.expect_silence(&client.ack(69, 2), Outcome::AckFinished);
    bench.expect_silence(&client.ack(69, 2), Outcome::AckRepeated);
    let session = client.session(&bench).unwrap();
    assert_eq!(session.server.1, 69);
}

#[test]
fn a_full_table_is_served_and_no_more() {
    let limits = Limits { max_sessions: 300, max_unproven_per_address: 1_000, ..Limits::default() };
    let mut bench = Bench::new(&Setup { limits, ..setup(ReplyPorts::Single) }, catalogue(1, &files()));
    let peer = |number: u16| Peer::v4(2 + (number % 5) as u8, 3_000 + number);
    for number in 0..300 {
        open(&mut bench, peer(number));
    }
    bench.expect_silence(&peer(300).request("large", &[]), Outcome::TableFull);
    for block in 1..=20 {
        for number in 0..300 {
            one(&mut bench, &peer(number).ack(69, block), Outcome::AckProgress);
        }
    }
}

#[test]
fn row33_an_icmp_error_finds_its_session_at_its_worker() {
    for workers in [1, 3] {
        let setup = setup(ReplyPorts::Single);
        let mut cluster = Cluster::new(&setup, &catalogue(1, &files()), workers, 64, Spread::To(0));
        for number in 2..30 {
            let peer = Peer::v4(number, 2_000);
            let sent = cluster.exchange(0, &peer.request("large", &[]));
            cluster.exchange(0, &peer.host.port_unreachable(&sent[0]));
        }
        assert_eq!(cluster.sum(|bench| bench.counters.ending(Ending::Unreachable)), 28, "{workers} workers");
        assert_eq!(cluster.live_sessions(), 0);
    }
}

#[test]
fn beside_a_kernel_a_single_port_is_ours_and_all_others_are_the_kernels() {
    let setup = Setup { answering: Answering::Kernel, ..setup(ReplyPorts::Single) };
    let mut bench = KernelBench::new(&setup, catalogue(1, &files()), 64);
    let client = Peer::v4(2, 2_000);
    let (sent, to_kernel) = bench.expect(&client.request("large", &[]), Outcome::RequestOpened);
    assert!(to_kernel.is_empty());
    assert_eq!(Reply::read_from_any_port(&sent[0]).tid(), 69);
    let (sent, _) = bench.expect(&client.ack(69, 1), Outcome::AckProgress);
    let (_, to_kernel) = bench.expect(&client.ack(5_000, 1), Outcome::ToKernel);
    assert_eq!(to_kernel.len(), 1);
    let (_, to_kernel) = bench.expect(&client.host.port_unreachable(&sent[0]), Outcome::Unreachable);
    assert!(to_kernel.is_empty());
}
