//! Numbers that a stranger cannot predict: SipHash in counter mode under a key that came in as an argument.

use core::hash::Hasher;
use siphasher::sip::SipHasher13;

/// The secret of one run of the appliance, shared by its workers: 128 random bits from the operating system, or a test's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub [u8; 16]);

impl Seed {
    /// A keyed hash of `bytes`.
    #[must_use]
    #[inline]
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(bytes);
        hasher.finish()
    }
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random {
    seed: Seed,
    stream: u64,
    counter: u64,
}

impl Random {
    /// The stream number `stream` of this seed; different streams are independent.
    #[must_use]
    pub const fn new(seed: Seed, stream: u64) -> Self {
        Self { seed, stream, counter: 0 }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        let mut block = [0; 16];
        block[..8].copy_from_slice(&self.stream.to_le_bytes());
        block[8..].copy_from_slice(&self.counter.to_le_bytes());
        self.seed.hash(&block)
    }

    /// A number below `bound` (at least 1), as good as uniform for bounds far below 2^32.
    pub fn below(&mut self, bound: u32) -> u32 {
        let wide = (self.next_u64() >> 32) * u64::from(bound);
        u32::try_from(wide >> 32).unwrap_or_default()
    }
}

/// A fast hash of two words under a secret key: the folded product of both, keyed. Who does not know the key cannot aim at a value,
/// but who sees many values can learn it: for places that nobody sees.
#[derive(Clone, Copy, Debug)]
pub struct KeyedHash([u64; 2]);

impl KeyedHash {
    /// Under a key drawn from `random`.
    #[must_use]
    pub fn new(random: &mut Random) -> Self {
        Self([random.next_u64(), random.next_u64()])
    }

    /// The hash.
    #[must_use]
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
    pub fn of(&self, [first, second]: [u64; 2]) -> u64 {
        let [first_key, second_key] = self.0;
        let product = u128::from(first ^ first_key) * u128::from(second ^ second_key);
        (product >> 64) as u64 ^ product as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_and_repeat() {
        let draw = |seed, stream| {
            let mut random = Random::new(Seed([seed; 16]), stream);
            [random.next_u64(), random.next_u64(), random.next_u64()]
        };
        assert_eq!(draw(1, 0), draw(1, 0));
        assert_ne!(draw(1, 0), draw(1, 1));
        assert_ne!(draw(1, 0), draw(2, 0));
    }

    #[test]
    fn below_covers_its_range_evenly() {
        let mut random = Random::new(Seed([7; 16]), 0);
        let mut counts = [0_u32; 10];
        for _ in 0..10_000 {
            counts[random.below(10) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
        assert_eq!(random.below(1), 0);
    }
}
