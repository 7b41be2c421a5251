//! Whole transfers over a simulated network in virtual time: a thousand seeds, each with its own faults and options.

#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "test data is small and known")]

mod lab;

use dataplane::port::faults::FaultRates;
use dataplane::port::memory::MemoryFrame;
use dataplane::random::{Random, Seed};
use dataplane::time::Instant;
use lab::client::{Client, Habits};
use lab::frames::Host;
use lab::network::{Link, Network, Station};
use lab::{Bench, Setup, catalogue, content};

const SEEDS: u64 = 1_000;

/// What one seed stands for.
struct Case {
    blksize: usize,
    windowsize: usize,
    len: usize,
    setup: Setup,
    link: Link,
    habits: Habits,
}

impl Case {
    fn of(seed: u64) -> Self {
        let pick = |salt: u64, choices: &[usize]| {
            let mut choice = Random::new(Seed([1; 16]), seed << 8 | salt);
            choices[choice.below(choices.len() as u32) as usize]
        };
        let blksize = pick(1, &[8, 100, 512, 1_428, 1_468]);
        let windowsize = pick(2, &[1, 2, 4, 16, 64]);
        let blocks = pick(3, &[0, 1, 2, 3, 16, 17, 64, 65, 200]);
        let len = match pick(4, &[0, 1, 2, 3]) {
            0 => blocks * blksize,
            1 => (blocks * blksize).saturating_sub(1),
            2 => blocks * blksize + 1,
            _ => blocks * blksize + blksize / 2,
        };
        let rate = |salt| pick(salt, &[0, 0, 10, 50, 100]) as u32;
        let faults = FaultRates {
            loss: rate(5),
            duplication: rate(6),
            reordering: rate(7),
            corruption: rate(8),
            short_pool: rate(9) * 2,
            full_ring: rate(10) * 5,
        };
        let link = Link {
            delay_us: pick(11, &[20, 100, 2_000, 30_000]) as u64,
            jitter_us: pick(12, &[0, 0, 50, 5_000]) as u32,
            loss: rate(13),
            corruption: rate(14),
        };
        let habits = Habits { ack_each_stray: pick(15, &[0, 1]) == 1, ..Habits::default() };
        let setup = Setup { faults, fault_seed: seed, ..Setup::default() };
        Self { blksize, windowsize, len, setup, link, habits }
    }

    fn describe(&self, seed: u64) -> String {
        format!(
            "seed {seed}: blksize {}, windowsize {}, {} bytes, {:?}, {:?}, {:?}",
            self.blksize, self.windowsize, self.len, self.setup.faults, self.link, self.habits
        )
    }
}

fn download(seed: u64, case: &Case, options: &[(&str, &str)]) -> Network {
    let what = case.describe(seed);
    let bytes = content(case.len, seed as u8);
    let bench = Bench::new(&case.setup, catalogue(1, &[("file", bytes.clone())]));
    let client = Client::new(Host::v4(2), 2_000, "file", "octet", options, case.habits);
    let mut network = Network::new(bench, vec![client], case.link, seed);
    network.run(600, &what);
    let client = &network.clients[0];
    assert_eq!(client.outcome, Some(Ok(())), "{what}");
    assert!(client.received == bytes, "{what}: {} bytes of {} are right", client.received.len(), bytes.len());
    network
}

#[test]
fn a_thousand_seeds_all_end_with_the_right_bytes() {
    for seed in 0..SEEDS {
        let case = Case::of(seed);
        let (blksize, windowsize) = (case.blksize.to_string(), case.windowsize.to_string());
        let mut options = vec![("blksize", blksize.as_str()), ("windowsize", windowsize.as_str()), ("tsize", "0")];
        if case.blksize == 512 && case.windowsize == 1 {
            options.clear();
        }
        let mut network = download(seed, &case, &options);
        network.settle(120, &case.describe(seed));
    }
}

#[test]
fn block_numbers_roll_over() {
    for (seed, windowsize) in [(1, "1"), (2, "7"), (3, "64")] {
        let mut case = Case::of(seed);
        case.len = 8 * 140_000;
        case.blksize = 8;
        case.setup.faults =
            FaultRates { loss: 2, duplication: 5, reordering: 5, corruption: 5, short_pool: 10, full_ring: 50 };
        case.link = Link::default();
        let mut network = download(seed, &case, &[("blksize", "8"), ("windowsize", windowsize)]);
        network.settle(120, "rollover");
    }
}

/// What the server may send where nothing is lost: the blocks once, and 5 % for what it cannot know.
fn assert_sent_once(network: &Network, case: &Case, what: &str) {
    let needed = case.len as u64 / case.blksize as u64 + 1;
    let sent = network.bench.counters.data_blocks.get();
    assert!(sent * 100 <= needed * 105, "{what}: {sent} blocks sent where {needed} do");
}

#[test]
fn nothing_is_sent_twice_where_nothing_is_lost() {
    for seed in 0..200 {
        let mut case = Case::of(seed);
        case.setup.faults = FaultRates::default();
        case.link = Link { loss: 0, corruption: 0, jitter_us: 0, ..case.link };
        let (blksize, windowsize) = (case.blksize.to_string(), case.windowsize.to_string());
        let network = download(seed, &case, &[("blksize", &blksize), ("windowsize", &windowsize)]);
        let sent = network.bench.counters.data_blocks.get();
        assert_eq!(sent, case.len as u64 / case.blksize as u64 + 1, "{}", case.describe(seed));
    }
}

#[test]
fn rfc1123_4_2_3_1_duplicate_ack_storms_multiply_nothing() {
    for seed in 0..300 {
        let mut case = Case::of(seed);
        case.setup.faults = FaultRates { duplication: 500, ..FaultRates::default() };
        // Copies of ACKs come late, by up to two round trips, but every block arrives, in order.
        case.link = Link { loss: 0, corruption: 0, jitter_us: 0, ..case.link };
        case.habits = Habits { copies: 3, ack_each_stray: true, ..case.habits };
        let (blksize, windowsize) = (case.blksize.to_string(), case.windowsize.to_string());
        let mut network = download(seed, &case, &[("blksize", &blksize), ("windowsize", &windowsize)]);
        assert_sent_once(&network, &case, &case.describe(seed));
        network.settle(120, "storm");
    }
}

#[test]
fn netascii_survives_loss_at_every_block_edge() {
    let text: Vec<u8> = content(20_000, 9).iter().map(|byte| b"ab\r\n\rc\nd"[usize::from(byte % 8)]).collect();
    let mut expected = Vec::new();
    for &byte in &text {
        match byte {
            b'\n' => expected.extend_from_slice(b"\r\n"),
            b'\r' => expected.extend_from_slice(b"\r\0"),
            other => expected.push(other),
        }
    }
    for seed in 0..20 {
        let mut setup = Setup::default();
        setup.faults.loss = 50;
        setup.fault_seed = seed;
        let bench = Bench::new(&setup, catalogue(1, &[("text", text.clone())]));
        let options = [("blksize", "61"), ("windowsize", "5"), ("tsize", "0")];
        let client = Client::new(Host::v6(2), 2_000, "text", "netascii", &options, Habits::default());
        let mut network = Network::new(bench, vec![client], Link::default(), seed);
        network.run(300, "netascii");
        assert!(network.clients[0].received == expected, "seed {seed}");
        assert_eq!(network.clients[0].tsize, None, "row 22");
    }
}

#[test]
fn two_hundred_clients_share_one_worker() {
    let files = [("a", content(30_000, 1)), ("b", content(100, 2))];
    let mut setup = Setup { ring_len: 48, pool_frames: 300, ..Setup::default() };
    setup.faults.loss = 20;
    let bench = Bench::new(&setup, catalogue(1, &files));
    let clients = (0..200_u16)
        .map(|number| {
            let host =
                if number % 2 == 0 { Host::v4(2 + (number / 2) as u8) } else { Host::v6(2 + (number / 2) as u8) };
            let (name, options): (_, &[(&str, &str)]) =
                if number % 3 == 0 { ("b", &[]) } else { ("a", &[("blksize", "1400"), ("windowsize", "8")]) };
            Client::new(host, 2_000 + number, name, "octet", options, Habits::default())
        })
        .collect();
    let mut network = Network::new(bench, clients, Link::default(), 5);
    network.run(120, "two hundred");
    for client in &network.clients {
        assert_eq!(client.outcome, Some(Ok(())), "port {}", client.port());
        let expected = if client.port() % 3 == 2_000 % 3 { &files[1].1 } else { &files[0].1 };
        assert!(&client.received == expected);
    }
    network.settle(120, "two hundred");
}

#[test]
fn a_transfer_keeps_the_generation_that_it_began_with() {
    let (old, new) = (content(50_000, 1), content(50_000, 2));
    let bench = Bench::new(&Setup::default(), catalogue(1, &[("file", old.clone())]));
    let first = Client::new(Host::v4(2), 2_000, "file", "octet", &[], Habits::default());
    let mut network = Network::new(bench, vec![first], Link::default(), 1);
    let request = lab::client::read_request("file", "octet", &[]);
    // A second client begins by hand, the catalogue changes, then the model client begins.
    network.bench.exchange(&Host::v4(3).datagram(3_000, 69, &request));
    network.bench.lane.install(catalogue(2, &[("file", new.clone())])).unwrap();
    assert!(network.bench.lane.take_unread_catalogue().is_none(), "the old one still has a reader");
    network.run(60, "new generation");
    assert!(network.clients[0].received == new);
    let tid = {
        let engine = network.bench.lane.engine();
        let old_session = engine.sessions(network.bench.now, 0, engine.places()).find(|s| s.client.1 == 3_000).unwrap();
        assert_eq!(old_session.generation.unwrap().0, 1);
        old_session.server.1
    };
    let replies = network.bench.exchange(&Host::v4(3).datagram(3_000, tid, &[0, 4, 0, 1]));
    let (_, _, payload) = lab::frames::read_datagram(&replies[0]).unwrap();
    assert_eq!(&payload[4..], &old[512..1_024]);
    network.bench.exchange(&Host::v4(3).datagram(3_000, tid, &[0, 5, 0, 0]));
    assert!(network.bench.lane.take_unread_catalogue().is_some());
}

/// A bench whose files become the next version every so often, as under an operator who reloads all the time.
struct Reloading {
    bench: Bench,
    version: u32,
    next_us: u64,
    /// Times that there was no place for another generation.
    full: u32,
}

const RELOAD_US: u64 = 7_000;

fn of_version(version: u32) -> Vec<(&'static str, Vec<u8>)> {
    // Sizes change too, and so do the places in memory.
    let len = 20_000 + version as usize % 13 * 1_111;
    vec![("a", content(len, version as u8)), ("b", content(700, version as u8)), ("c", content(3 * len, version as u8))]
}

impl Station for Reloading {
    fn now(&self) -> Instant {
        self.bench.now
    }

    fn set_now(&mut self, now: Instant) {
        self.bench.now = now;
    }

    fn deliver(&mut self, bytes: &[u8]) {
        self.bench.deliver(bytes);
    }

    fn poll(&mut self) -> Vec<MemoryFrame> {
        if self.bench.now.micros() >= self.next_us {
            self.next_us = self.bench.now.micros() + RELOAD_US;
            while self.bench.lane.take_unread_catalogue().is_some() {}
            match self.bench.lane.install(catalogue(self.version + 1, &of_version(self.version + 1))) {
                Ok(()) => self.version += 1,
                Err(_) => self.full += 1,
            }
        }
        self.bench.poll()
    }
}

#[test]
fn no_transfer_mixes_versions_however_often_the_files_change() {
    let mut setup = Setup { ring_len: 64, ..Setup::default() };
    setup.faults = FaultRates { loss: 20, duplication: 20, reordering: 20, ..FaultRates::default() };
    let bench = Bench::new(&setup, catalogue(1, &of_version(1)));
    let station = Reloading { bench, version: 1, next_us: RELOAD_US, full: 0 };
    let mut network = Network::new(station, Vec::new(), Link::default(), 11);
    let mut versions = std::collections::BTreeSet::new();
    for round in 0..40_u16 {
        let oldest = network.bench.version;
        network.clients = (0..12_u16)
            .map(|number| {
                let name = ["a", "b", "c"][usize::from(number % 3)];
                let options: &[(&str, &str)] =
                    if number % 2 == 0 { &[("blksize", "1400"), ("windowsize", "8")] } else { &[] };
                let host = Host::v4(2 + (round * 12 + number) as u8 % 200);
                Client::new(host, 2_000 + round * 12 + number, name, "octet", options, Habits::default())
            })
            .collect();
        network.run(600, "reloads");
        for (number, client) in network.clients.iter().enumerate() {
            assert_eq!(client.outcome, Some(Ok(())), "round {round}, client {number}");
            let version =
                (oldest..=network.bench.version).find(|&version| of_version(version)[number % 3].1 == client.received);
            versions.insert(version.unwrap_or_else(|| panic!("round {round}, client {number}: of no one version")));
        }
    }
    let Reloading { mut bench, version, full, .. } = network.bench;
    println!("{version} versions installed, {} of them fetched, {full} times without a place", versions.len());
    assert!(version > 100 && versions.len() > 20, "{version} versions, {} fetched", versions.len());
    bench.lane.port_mut().heal();
    bench.pass_ms(120_000);
    while bench.lane.take_unread_catalogue().is_some() {}
    assert_eq!(bench.lane.engine().catalogues(), 1, "only the current one is left");
    bench.assert_accounted();
}
