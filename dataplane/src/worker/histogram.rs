//! How long things took: counters in the bucket layout of HdrHistogram, so that control can make a real one of them by adding up.
//! Memory is fixed, one writer counts, anybody reads.

use crate::counter::Counter;

/// Significant decimal digits that a value keeps.
pub const SIGNIFICANT_DIGITS: u8 = 2;

/// The largest value; larger ones count as it: 68 s in nanoseconds, 19 hours in microseconds.
pub const HIGHEST: u64 = (1 << VALUE_BITS) - 1;

const VALUE_BITS: u32 = 36;

/// Two digits: below 2 · 10^2 each value has a bucket of its own, rounded up to a power of two.
const SUB_BUCKET_BITS: u32 = 8;
const HALF: usize = 1 << (SUB_BUCKET_BITS - 1);

/// One whole row of sub-buckets, and the upper half of one for each further doubling.
const BUCKETS: usize = HALF * (2 + (VALUE_BITS - SUB_BUCKET_BITS) as usize);

/// The histogram: 30 KB.
#[derive(Debug)]
pub struct Histogram(Box<[Counter]>);

impl Default for Histogram {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| Counter::default()).collect())
    }
}

impl Histogram {
    /// Counts `times` occurrences of a value; only its own worker may.
    pub fn record(&self, value: u64, times: u64) {
        if let Some(bucket) = self.0.get(bucket_of(value)) {
            bucket.add(times);
        }
    }

    /// The values that occurred, each with how often it did: the lowest value of a bucket stands for all in it.
    pub fn counts(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let counts = self.0.iter().enumerate().map(|(bucket, count)| (lowest_of(bucket), count.get()));
        counts.filter(|&(_, count)| count > 0)
    }
}

/// The values of a row with shift s are told apart in steps of 2^s.
#[inline]
fn bucket_of(value: u64) -> usize {
    let value = value.min(HIGHEST);
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(SUB_BUCKET_BITS);
    shift as usize * HALF + (value >> shift) as usize
}

fn lowest_of(bucket: usize) -> u64 {
    let shift = (bucket / HALF).saturating_sub(1);
    ((bucket - shift * HALF) as u64) << shift
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_bucket_is_in_use_and_they_ascend() {
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(HIGHEST), BUCKETS - 1);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        for bucket in 0..BUCKETS {
            assert_eq!(bucket_of(lowest_of(bucket)), bucket);
            assert!(bucket == 0 || lowest_of(bucket) > lowest_of(bucket - 1));
        }
    }

    proptest! {
        #[test]
        fn a_value_keeps_two_digits(value in 0..=HIGHEST) {
            let kept = lowest_of(bucket_of(value));
            prop_assert!(kept <= value && (value - kept) * 100 <= value, "{value} became {kept}");
        }
    }

    #[test]
    fn what_is_recorded_is_counted_where_it_belongs() {
        let histogram = Histogram::default();
        for (value, times) in [(7, 3), (1_000_000, 1), (1_000_001, 2), (u64::MAX, 1)] {
            histogram.record(value, times);
        }
        let counts: Vec<_> = histogram.counts().collect();
        assert_eq!(counts, [(7, 3), (999_424, 3), (lowest_of(BUCKETS - 1), 1)]);
    }
}
