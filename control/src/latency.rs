//! Latencies for people and programs: the workers' counters added up into real HdrHistograms. Reads only; no worker notices.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dataplane::worker::{HIGHEST, Histogram as Counted, LaneCounters, SIGNIFICANT_DIGITS};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

use crate::protocol::{Latencies, Latency};

/// What one latency is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds.
    Nanoseconds,
    /// Microseconds.
    Microseconds,
}

impl Unit {
    /// Its symbol.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Microseconds => "us",
        }
    }

    /// So many of them in microseconds.
    #[must_use]
    pub fn micros(self, value: u64) -> f64 {
        match self {
            Self::Nanoseconds => value as f64 / 1e3,
            Self::Microseconds => value as f64,
        }
    }
}

/// One latency that workers measure.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Its name in statistics.
    pub name: &'static str,
    /// What begins and what ends it.
    pub help: &'static str,
    /// What it is measured in.
    pub unit: Unit,
    counted: fn(&LaneCounters) -> &Counted,
}

/// All of them.
pub const KINDS: [Kind; 3] = [
    Kind {
        name: "first_data",
        help: "request received to first DATA given to the transmit queue, where DATA is the answer: bypassd's own time",
        unit: Unit::Nanoseconds,
        counted: |lane| &lane.latency.first_data,
    },
    Kind {
        name: "first_data_after_oack",
        help: "request received to first DATA, where options were asked for: the OACK's way to the client and its ACK's way back are in it",
        unit: Unit::Microseconds,
        counted: |lane| &lane.latency.first_data_after_offer,
    },
    Kind {
        name: "transfer",
        help: "request received to last ACK received, of transfers that were done",
        unit: Unit::Microseconds,
        counted: |lane| &lane.latency.transfer,
    },
];

impl Kind {
    /// The values that these workers counted, in this kind's [`unit`](Self::unit), each with how often; in no order, a value maybe
    /// several times.
    pub fn counts<'a>(
        &self,
        lanes: impl Iterator<Item = &'a LaneCounters> + 'a,
    ) -> impl Iterator<Item = (u64, u64)> + 'a {
        let counted = self.counted;
        lanes.flat_map(move |lane| counted(lane).counts())
    }

    fn describe(&self, counts: impl Iterator<Item = (u64, u64)>) -> Latency {
        let histogram = add_up(counts);
        let at = |quantile: f64| self.unit.micros(histogram.value_at_quantile(quantile));
        Latency {
            name: self.name.to_owned(),
            help: self.help.to_owned(),
            count: histogram.len(),
            mean_us: match self.unit {
                Unit::Nanoseconds => histogram.mean() / 1e3,
                Unit::Microseconds => histogram.mean(),
            },
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            max_us: self.unit.micros(histogram.max()),
            unit: self.unit.symbol().to_owned(),
            hdr_histogram: encode(&histogram),
        }
    }
}

/// Everything that these workers measured, all of them together.
#[must_use]
pub fn describe<'a>(lanes: impl Iterator<Item = &'a LaneCounters> + Clone + 'a) -> Latencies {
    Latencies { latencies: KINDS.iter().map(|kind| kind.describe(kind.counts(lanes.clone()))).collect() }
}

fn add_up(counts: impl Iterator<Item = (u64, u64)>) -> Histogram<u64> {
    let Ok(mut histogram) = Histogram::new_with_bounds(1, HIGHEST, SIGNIFICANT_DIGITS) else {
        unreachable!("these bounds are constants that it takes");
    };
    counts.for_each(|(value, count)| histogram.saturating_record_n(value, count));
    histogram
}

/// As HdrHistogram's logs and plotters have it: V2, compressed, in Base64.
fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    // Writing to memory does not fail; without it the numbers above still say much.
    match V2DeflateSerializer::new().serialize(histogram, &mut bytes) {
        Ok(_) => STANDARD.encode(bytes),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;

    use super::*;

    fn counted(values: &[u64]) -> Vec<(u64, u64)> {
        let lane = LaneCounters::default();
        values.iter().for_each(|&value| lane.latency.transfer.record(value, 1));
        lane.latency.transfer.counts().collect()
    }

    #[test]
    fn the_workers_buckets_are_those_of_a_real_histogram() {
        let mut random = 1_u64;
        let values: Vec<u64> = (0..20_000)
            .map(|_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 28) >> (random % 36)
            })
            .chain([0, 1, 255, 256, 257, HIGHEST - 1, HIGHEST])
            .collect();
        let mut direct = add_up(std::iter::empty());
        values.iter().for_each(|&value| direct.record(value).unwrap());
        let added = add_up(counted(&values).into_iter());
        assert_eq!(added, direct, "each value ends in the same bucket");
        for quantile in [0.0, 0.1, 0.5, 0.99, 0.9999, 1.0] {
            assert_eq!(added.value_at_quantile(quantile), direct.value_at_quantile(quantile));
        }
    }

    #[test]
    fn two_workers_are_added_up_and_the_histogram_can_be_read_elsewhere() {
        let lanes = [LaneCounters::default(), LaneCounters::default()];
        (1..=90).for_each(|_| lanes[0].latency.first_data.record(2_000, 1));
        (1..=10).for_each(|_| lanes[1].latency.first_data.record(50_000, 1));
        let latencies = describe(lanes.iter());
        let first = &latencies.latencies[0];
        assert_eq!((first.name.as_str(), first.count, first.unit.as_str()), ("first_data", 100, "ns"));
        assert!((first.p50_us - 2.0).abs() < 0.02 && (first.p99_us - 50.0).abs() < 0.5, "{first:?}");
        assert!((first.max_us - 50.0).abs() < 0.5, "{first:?}");
        let bytes = STANDARD.decode(&first.hdr_histogram).unwrap();
        let read: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
        assert_eq!((read.len(), read.count_between(1_990, 2_010)), (100, 90));
        assert_eq!(latencies.latencies[2].count, 0, "nothing was done");
        assert!(first.hdr_histogram.starts_with("HISTFAAA"), "what a plotter looks for: {}", first.hdr_histogram);
    }
}
