//! Medians and spreads of windows of about a millisecond, of which those with an involuntary context switch are left out.

use dataplane::dpdk::Tsc;
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

/// Windows per second.
const WINDOWS_PER_SECOND: u64 = 1_000;

/// Least and greatest share of the sorted values between which the spread is told, in percent.
const SPREAD: (usize, usize) = (10, 90);

/// A middle value and how far the others are from it, in cycles per pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// The median.
    pub(crate) median: f64,
    /// A tenth of the windows is below.
    pub(crate) p10: f64,
    /// A tenth of the windows is above.
    pub(crate) p90: f64,
    /// Median of the distances from the median.
    pub(crate) mad: f64,
    /// Windows that count.
    pub(crate) windows: usize,
    /// Windows that were dropped because the thread was taken off its CPU.
    pub(crate) dropped: usize,
}

/// The value below which `percent` of the sorted `values` lie; 0 for none.
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    match sorted.len() {
        0 => 0.0,
        len => sorted[((len - 1) * percent + 50) / 100],
    }
}

/// The median of `values`, in any order; of an even number the mean of the middle two; 0 for none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The windows of one rung over all rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Windows {
    values: Vec<f64>,
    /// Where each round begins in `values`.
    rounds: Vec<usize>,
    dropped: usize,
}

impl Windows {
    /// What is added from now on belongs to a new round.
    pub(crate) fn begin_round(&mut self) {
        self.rounds.push(self.values.len());
    }

    /// A window: `None` when it was disturbed.
    pub(crate) fn push(&mut self, value: Option<f64>) {
        match value {
            Some(value) => self.values.push(value),
            None => self.dropped += 1,
        }
    }

    /// Whether the last round has an undisturbed window.
    pub(crate) fn last_round_counts(&self) -> bool {
        self.rounds.last().is_some_and(|&begins| begins < self.values.len())
    }

    /// The medians of the rounds; a round without a good window has none.
    pub(crate) fn round_medians(&self) -> Vec<Option<f64>> {
        let ends = self.rounds.iter().skip(1).chain([&self.values.len()]).copied().collect::<Vec<_>>();
        let round = |(&from, &to): (&usize, &usize)| (from < to).then(|| median(&self.values[from..to]));
        self.rounds.iter().zip(&ends).map(round).collect()
    }

    /// All rounds together.
    pub(crate) fn summary(&self) -> Summary {
        let sorted = sorted(&self.values);
        let median = median(&sorted);
        let distances: Vec<f64> = sorted.iter().map(|value| (value - median).abs()).collect();
        Summary {
            median,
            p10: percentile(&sorted, SPREAD.0),
            p90: percentile(&sorted, SPREAD.1),
            mad: self::median(&distances),
            windows: sorted.len(),
            dropped: self.dropped,
        }
    }
}

/// What two measurements of the same thing differ by: the greater of the difference of all windows and the median difference
/// of rounds that followed each other.
pub(crate) fn noise(first: &Windows, second: &Windows) -> f64 {
    let by_round: Vec<f64> = first
        .round_medians()
        .into_iter()
        .zip(second.round_medians())
        .filter_map(|(a, b)| Some((a? - b?).abs()))
        .collect();
    (first.summary().median - second.summary().median).abs().max(median(&by_round))
}

/// One window under way.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    ends: u64,
    ticks_per_window: u64,
    switches: i64,
    cycles: u64,
    pairs: u64,
}

impl Stopwatch {
    /// Begins a window.
    pub(crate) fn start(tsc: &Tsc) -> Self {
        let ticks_per_window = tsc.hz() / WINDOWS_PER_SECOND;
        let ends = tsc.ticks() + ticks_per_window;
        Self { ends, ticks_per_window, switches: involuntary_switches(), cycles: 0, pairs: 0 }
    }

    /// Adds the rung's cycles for some pairs. When the window is over: its cycles per pair, `Some(None)` when it was
    /// disturbed; the next one begins.
    pub(crate) fn add(&mut self, tsc: &Tsc, cycles: u64, pairs: u64) -> Option<Option<f64>> {
        self.cycles += cycles;
        self.pairs += pairs;
        if tsc.ticks() < self.ends {
            return None;
        }
        let switches = involuntary_switches();
        let undisturbed = switches == self.switches && self.pairs > 0;
        let value = undisturbed.then(|| ratio(self.cycles, self.pairs));
        self.switches = switches;
        (self.cycles, self.pairs) = (0, 0);
        self.ends = tsc.ticks() + self.ticks_per_window;
        Some(value)
    }
}

/// One count over another.
#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
pub(crate) fn ratio(count: u64, by: u64) -> f64 {
    count as f64 / by as f64
}

/// How often this thread was taken off its CPU; a kernel that does not tell counts none.
pub(crate) fn involuntary_switches() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.involuntary_context_switches())
}

/// Ticks that two readings of the TSC are apart when nothing is between them: the median of many.
pub(crate) fn reading_cost(tsc: &Tsc) -> u64 {
    let mut costs: Vec<u64> = (0..1_001)
        .map(|_| {
            let first = tsc.ticks();
            tsc.ticks() - first
        })
        .collect();
    costs.sort_unstable();
    costs[costs.len() / 2]
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the values are exact")]
mod tests {
    use super::*;

    fn windows(rounds: &[&[Option<f64>]]) -> Windows {
        let mut windows = Windows::default();
        for round in rounds {
            windows.begin_round();
            round.iter().for_each(|&value| windows.push(value));
        }
        windows
    }

    #[test]
    fn the_middle_of_odd_even_and_nothing() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
        assert_eq!(percentile(&[], 90), 0.0);
    }

    #[test]
    fn spread_and_outliers() {
        let values: Vec<Option<f64>> = (0..=100).map(|n| Some(f64::from(n))).collect();
        let summary = windows(&[&values]).summary();
        assert_eq!((summary.median, summary.p10, summary.p90, summary.mad), (50.0, 10.0, 90.0, 25.0));
        let steady = windows(&[&[Some(5.0), Some(5.0), Some(5.0), Some(9_000.0)]]).summary();
        assert_eq!((steady.median, steady.mad), (5.0, 0.0), "one steal changes nothing");
    }

    #[test]
    fn disturbed_windows_are_counted_and_left_out() {
        let summary = windows(&[&[Some(1.0), None, Some(1.0)], &[None]]).summary();
        assert_eq!((summary.windows, summary.dropped, summary.median), (2, 2, 1.0));
    }

    #[test]
    fn noise_is_seen_between_rounds_even_when_it_cancels() {
        let first = windows(&[&[Some(10.0)], &[Some(20.0)]]);
        let second = windows(&[&[Some(20.0)], &[Some(10.0)]]);
        assert_eq!(first.summary().median, second.summary().median);
        assert_eq!(noise(&first, &second), 10.0);
        assert_eq!(noise(&first, &first), 0.0);
        let gap = windows(&[&[None], &[Some(26.0)]]);
        assert!(gap.last_round_counts() && !windows(&[&[Some(1.0)], &[None]]).last_round_counts());
        assert_eq!(gap.round_medians(), [None, Some(26.0)]);
        assert_eq!(noise(&first, &gap), 11.0);
    }
}
