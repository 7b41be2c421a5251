//! Counters as they were at one moment, copied out for one scrape.

use dataplane::engine::{Ending, Outcome};
use dataplane::worker::LaneCounters;

/// What one worker counted on one port. Each number is read by itself, while the worker goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each counter is described where the worker keeps it, at `LaneCounters`")]
pub struct LaneSnapshot {
    /// Counted from 0.
    pub worker: u16,
    /// DPDK's number.
    pub port: u16,
    /// Every outcome of a received frame with its count.
    pub outcomes: Vec<(Outcome, u64)>,
    /// Every ending of a transfer with its count.
    pub endings: Vec<(Ending, u64)>,
    pub rx_frames: u64,
    pub handed_over: u64,
    pub tx_frames: u64,
    pub tx_dropped: u64,
    pub data_blocks: u64,
    pub data_bytes: u64,
    pub blocks_again: u64,
    pub pool_empty: u64,
    pub relayed: u64,
    pub to_kernel: u64,
    pub kernel_lost: u64,
    pub from_kernel: u64,
    pub opened: u64,
    pub active_sessions: u64,
}

impl LaneSnapshot {
    /// Reads all counters of a lane, once.
    #[must_use]
    pub fn read(worker: u16, port: u16, lane: &LaneCounters) -> Self {
        // Parts before wholes: a repeat, an ending, an outcome is never there without the block, transfer or frame that it is of.
        let outcomes = Outcome::ALL.into_iter().map(|outcome| (outcome, lane.outcome(outcome))).collect();
        let endings = Ending::ALL.into_iter().map(|ending| (ending, lane.ending(ending))).collect();
        Self {
            worker,
            port,
            outcomes,
            endings,
            handed_over: lane.handed_over.get(),
            blocks_again: lane.blocks_again.get(),
            data_blocks: lane.data_blocks.get(),
            data_bytes: lane.data_bytes.get(),
            relayed: lane.relayed.get(),
            tx_frames: lane.tx_frames.get(),
            tx_dropped: lane.tx_dropped.get(),
            pool_empty: lane.pool_empty.get(),
            to_kernel: lane.to_kernel.get(),
            kernel_lost: lane.kernel_lost.get(),
            from_kernel: lane.from_kernel.get(),
            opened: lane.opened.get(),
            active_sessions: lane.active_sessions.get(),
            rx_frames: lane.rx_frames.get(),
        }
    }
}

/// How long something took, as a histogram: all workers together, since the start.
#[derive(Clone, Debug, PartialEq)]
pub struct Durations {
    /// What took so long, such as `transfer`. It becomes `bypassd_NAME_seconds`.
    pub name: &'static str,
    /// For people: what begins and what ends the time.
    pub help: &'static str,
    /// Upper bounds in seconds, rising, the last one infinite, each with the count of what lies above the bound before it.
    pub buckets: Vec<(f64, u64)>,
    /// Of all of them.
    pub sum_seconds: f64,
}

impl Durations {
    /// Bounds of the buckets, in microseconds: from what one frame takes to what a person gives up on.
    const BOUNDS_US: [u64; 22] = [
        1,
        2,
        5,
        10,
        20,
        50,
        100,
        200,
        500,
        1_000,
        2_000,
        5_000,
        10_000,
        20_000,
        50_000,
        100_000,
        200_000,
        500_000,
        1_000_000,
        5_000_000,
        30_000_000,
        120_000_000,
    ];

    /// Sorts counted microseconds into the buckets: each duration with how often it came, in any order.
    #[must_use]
    pub fn of_microseconds(
        name: &'static str,
        help: &'static str,
        counts: impl IntoIterator<Item = (u64, u64)>,
    ) -> Self {
        let counts = counts.into_iter().map(|(us, count)| (us.saturating_mul(1_000), count));
        Self::of_nanoseconds(name, help, counts)
    }

    /// The same for nanoseconds.
    #[must_use]
    pub fn of_nanoseconds(
        name: &'static str,
        help: &'static str,
        counts: impl IntoIterator<Item = (u64, u64)>,
    ) -> Self {
        let bounds = Self::BOUNDS_US.into_iter().map(|us| us as f64 / 1e6).chain([f64::INFINITY]);
        let mut buckets: Vec<(f64, u64)> = bounds.map(|bound| (bound, 0)).collect();
        let mut sum_seconds = 0.0;
        for (ns, count) in counts {
            let at = Self::BOUNDS_US.partition_point(|&bound| bound * 1_000 < ns);
            if let Some((_, bucket)) = buckets.get_mut(at) {
                *bucket += count;
            }
            sum_seconds += ns as f64 / 1e9 * count as f64;
        }
        Self { name, help, buckets, sum_seconds }
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_lies_in_the_bucket_whose_bound_it_does_not_exceed() {
        let latency = Durations::of_microseconds(
            "x",
            "h",
            [(0, 1), (10, 2), (11, 4), (120_000_000, 8), (u64::MAX, 16), (500, 32)],
        );
        let count = |bound: f64| latency.buckets.iter().find(|(b, _)| *b == bound).unwrap().1;
        assert_eq!((count(1e-6), count(1e-5), count(2e-5), count(5e-4)), (1, 2, 4, 32));
        assert_eq!((count(120.0), count(f64::INFINITY)), (8, 16));
        assert_eq!(latency.count(), 63);
        assert!(latency.buckets.windows(2).all(|pair| pair[0].0 < pair[1].0), "bounds rise");
        let few = Durations::of_microseconds("x", "h", [(1_000_000, 2), (500_000, 1)]);
        assert!((few.sum_seconds - 2.5).abs() < 1e-9);
        let short = Durations::of_nanoseconds("x", "h", [(999, 1), (1_000, 2), (1_001, 4)]);
        assert_eq!(short.buckets[..2].iter().map(|(_, count)| *count).collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn a_lane_is_read_with_every_outcome_and_ending() {
        let lane = LaneCounters::default();
        let snapshot = LaneSnapshot::read(3, 1, &lane);
        assert_eq!((snapshot.worker, snapshot.port), (3, 1));
        assert_eq!(snapshot.outcomes.len(), Outcome::COUNT);
        assert_eq!(snapshot.endings.len(), Ending::ALL.len());
    }
}
