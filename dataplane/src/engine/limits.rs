//! Budgets against floods, in fixed memory: errors per prefix, unproven sessions per address. Strangers cannot choose whose
//! budget they share, because the buckets are keyed.

use crate::random::{KeyedHash, Random, Seed};
use crate::session::Client;
use crate::time::{Duration, Instant};
use core::net::IpAddr;

const BUCKETS: usize = 4_096;

/// Error packets that each prefix (IPv4 /24, IPv6 /64) may cause: a token bucket that holds two seconds' worth.
#[derive(Debug)]
pub(super) struct ErrorBudget {
    seed: Seed,
    per_second: u32,
    buckets: Box<[Bucket]>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// When it was last looked at.
    filled: Instant,
    /// Tokens in millionths.
    level: u64,
}

const TOKEN: u64 = 1_000_000;

impl ErrorBudget {
    pub(super) fn new(seed: Seed, per_second: u32, now: Instant) -> Self {
        let full = Bucket { filled: now, level: u64::from(per_second) * 2 * TOKEN };
        Self { seed, per_second, buckets: vec![full; BUCKETS].into() }
    }

    /// Another rate from now on.
    pub(super) fn set_rate(&mut self, per_second: u32) {
        self.per_second = per_second;
    }

    /// Takes one token of the sender's prefix; false when there is none left.
    pub(super) fn spend(&mut self, now: Instant, sender: IpAddr) -> bool {
        let index = bucket_of(&self.seed, &prefix(sender));
        let bucket = &mut self.buckets[index];
        let most = u64::from(self.per_second) * 2 * TOKEN;
        // Microseconds times tokens per second are millionths of a token.
        let elapsed = (now - bucket.filled).min(Duration::from_secs(2));
        bucket.level = (bucket.level + elapsed.micros() * u64::from(self.per_second)).min(most);
        bucket.filled = now;
        let granted = bucket.level >= TOKEN;
        if granted {
            bucket.level -= TOKEN;
        }
        granted
    }
}

/// Unproven sessions of each address. Two counters per address, of which the smaller counts: it can be too high for an address
/// that shares both with others, never too low.
#[derive(Debug)]
pub(super) struct UnprovenCounts {
    hash: KeyedHash,
    counters: Box<[[u32; 2]]>,
}

/// Where the two counters of an address are.
#[derive(Clone, Copy, Debug)]
pub(super) struct CounterPlace([usize; 2]);

/// The random numbers of the key come from this stream of the seed.
const STREAM: u64 = 0x636f_756e_7400;

impl UnprovenCounts {
    pub(super) fn new(seed: Seed) -> Self {
        let hash = KeyedHash::new(&mut Random::new(seed, STREAM));
        Self { hash, counters: vec![[0; 2]; BUCKETS].into() }
    }

    #[inline]
    pub(super) fn place(&self, client: &Client) -> CounterPlace {
        let hash = self.hash.of(client.address_words());
        CounterPlace([fold(hash), fold(hash >> 32)])
    }

    pub(super) fn of(&self, CounterPlace([first, second]): CounterPlace) -> u32 {
        self.counters[first][0].min(self.counters[second][1])
    }

    pub(super) fn add(&mut self, CounterPlace([first, second]): CounterPlace) {
        self.counters[first][0] += 1;
        self.counters[second][1] += 1;
    }

    pub(super) fn remove(&mut self, CounterPlace([first, second]): CounterPlace) {
        self.counters[first][0] -= 1;
        self.counters[second][1] -= 1;
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The /24 or /64 that an address belongs to.
fn prefix(address: IpAddr) -> [u8; 16] {
    let mut octets = octets(address);
    let host_part = if address.is_ipv4() { 15 } else { 8 };
    octets[host_part..].fill(0);
    octets
}

fn bucket_of(seed: &Seed, bytes: &[u8]) -> usize {
    fold(seed.hash(bytes))
}

#[expect(clippy::cast_possible_truncation, reason = "only the low bits choose the bucket")]
fn fold(hash: u64) -> usize {
    hash as usize % BUCKETS
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: Seed = Seed([5; 16]);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn row42_errors_are_rationed_per_prefix() {
        let mut budget = ErrorBudget::new(SEED, 10, Instant::ORIGIN);
        let spent = (0..100).filter(|&host| budget.spend(Instant::ORIGIN, ip(&format!("10.0.0.{host}")))).count();
        assert_eq!(spent, 20, "two seconds' worth at once");
        assert!(budget.spend(Instant::ORIGIN, ip("10.0.1.1")), "the neighbour prefix has its own");
        let later = Instant::from_micros(500_000);
        let spent = (0..100).filter(|_| budget.spend(later, ip("10.0.0.7"))).count();
        assert_eq!(spent, 5, "half a second later");
        let much_later = Instant::from_micros(3_600_000_000);
        let spent = (0..100).filter(|_| budget.spend(much_later, ip("10.0.0.7"))).count();
        assert_eq!(spent, 20, "it never holds more");
    }

    #[test]
    fn another_rate_holds_at_once() {
        let mut budget = ErrorBudget::new(SEED, 1, Instant::ORIGIN);
        let spend = |budget: &mut ErrorBudget, at_us, want| {
            let now = Instant::from_micros(at_us);
            assert_eq!((0..100).filter(|_| budget.spend(now, ip("10.0.0.7"))).count(), want);
        };
        spend(&mut budget, 0, 2);
        budget.set_rate(10);
        spend(&mut budget, 500_000, 5);
        budget.set_rate(0);
        spend(&mut budget, 5_000_000, 0);
    }

    #[test]
    fn a_64_shares_one_budget() {
        let mut budget = ErrorBudget::new(SEED, 1, Instant::ORIGIN);
        assert!(budget.spend(Instant::ORIGIN, ip("fd00::1")));
        assert!(budget.spend(Instant::ORIGIN, ip("fd00::ffff:2")));
        assert!(!budget.spend(Instant::ORIGIN, ip("fd00::3")));
        assert!(budget.spend(Instant::ORIGIN, ip("fd00:0:0:1::3")));
    }

    #[test]
    fn unproven_sessions_are_counted_per_address() {
        let mut counts = UnprovenCounts::new(SEED);
        let place = |counts: &UnprovenCounts, text: &str, port| counts.place(&Client::new(ip(text), port));
        for _ in 0..3 {
            counts.add(place(&counts, "10.0.0.1", 1));
        }
        counts.add(place(&counts, "fd00::1", 1));
        assert_eq!(counts.of(place(&counts, "10.0.0.1", 2)), 3, "whatever the port");
        assert_eq!(counts.of(place(&counts, "fd00::1", 1)), 1);
        assert_eq!(counts.of(place(&counts, "10.0.0.2", 1)), 0);
        counts.remove(place(&counts, "10.0.0.1", 1));
        assert_eq!(counts.of(place(&counts, "10.0.0.1", 1)), 2);
    }
}
