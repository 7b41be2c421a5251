//! What is counted and measured: counters since the start, and histograms of one interval. Latencies are in microseconds and
//! begin where a transfer was *meant* to begin, so a generator or a server that falls behind cannot hide it.

use dataplane::time::{Duration, Instant};
use hdrhistogram::{CreationError, Histogram};
use serde::Serialize;

use super::client::Failure;

/// Longest latency that is told apart, in microseconds: an hour.
const LONGEST_US: u64 = 3_600_000_000;

/// Three digits: at most 0.1 % off.
const DIGITS: u8 = 3;

/// Counters since the start of the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Transfers.
    pub(crate) transfers: Transfers,
    /// Failed ones by cause.
    pub(crate) failures: Failures,
    /// TFTP packets.
    pub(crate) packets: Packets,
    /// Frames.
    pub(crate) frames: Frames,
}

/// Transfers: `started = done + failed + unfinished + live`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Transfers {
    /// Begun.
    pub(crate) started: u64,
    /// Completed.
    pub(crate) done: u64,
    /// Given up, by whichever side.
    pub(crate) failed: u64,
    /// Still running when the grace time was over.
    pub(crate) unfinished: u64,
    /// Meant to begin within the duration, but not begun.
    pub(crate) not_started: u64,
    /// Begun more than a millisecond after they were meant to.
    pub(crate) started_late: u64,
    /// Of these, those that waited because every client was busy.
    pub(crate) waited_for_client: u64,
    /// Completed with other content than they should have.
    pub(crate) mismatched: u64,
}

/// Failed transfers by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Failures {
    /// No answer to any request.
    pub(crate) no_answer: u64,
    /// The server fell silent.
    pub(crate) silence: u64,
    /// ICMP: nobody listens there.
    pub(crate) unreachable: u64,
    /// An OACK that is not what was asked.
    pub(crate) options: u64,
    /// A block that is longer than agreed.
    pub(crate) block_too_long: u64,
    /// Another size than the server said.
    pub(crate) wrong_size: u64,
    /// ERROR packets by code 0 to 8; larger codes count as 0.
    pub(crate) server_error: [u64; 9],
}

impl Failures {
    /// Counts one.
    pub(crate) fn count(&mut self, failure: Failure) {
        let counter = match failure {
            Failure::NoAnswer => &mut self.no_answer,
            Failure::Silence => &mut self.silence,
            Failure::Unreachable => &mut self.unreachable,
            Failure::Options => &mut self.options,
            Failure::BlockTooLong => &mut self.block_too_long,
            Failure::WrongSize => &mut self.wrong_size,
            Failure::Server(code) => {
                let code = usize::from(code);
                &mut self.server_error[if code < 9 { code } else { 0 }]
            }
        };
        *counter += 1;
    }

    /// Each cause with its count, in words.
    pub(crate) fn in_words(&self) -> impl Iterator<Item = (&'static str, u64)> {
        const ERRORS: [&str; 9] = [
            "ERROR 0 (not defined)",
            "ERROR 1 (file not found)",
            "ERROR 2 (access violation)",
            "ERROR 3 (disk full)",
            "ERROR 4 (illegal operation)",
            "ERROR 5 (unknown transfer ID)",
            "ERROR 6 (file exists)",
            "ERROR 7 (no such user)",
            "ERROR 8 (options refused)",
        ];
        let own = [
            ("no answer", self.no_answer),
            ("silence", self.silence),
            ("unreachable", self.unreachable),
            ("bad OACK", self.options),
            ("block too long", self.block_too_long),
            ("wrong size", self.wrong_size),
        ];
        own.into_iter().chain(ERRORS.into_iter().zip(self.server_error))
    }
}

/// TFTP packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Packets {
    /// Requests sent, with those sent again.
    pub(crate) requests: u64,
    /// Of these, sent again by the timer.
    pub(crate) requests_resent: u64,
    /// ACKs sent, with those sent again.
    pub(crate) acks: u64,
    /// Of these, sent again by the timer.
    pub(crate) acks_resent: u64,
    /// Of these, in answer to what was out of order.
    pub(crate) acks_repeated: u64,
    /// ERROR packets sent.
    pub(crate) errors: u64,
    /// OACKs accepted.
    pub(crate) oacks: u64,
    /// Blocks taken, each once.
    pub(crate) blocks: u64,
    /// Bytes in them.
    pub(crate) bytes: u64,
    /// Blocks that are not what the file has there (only where they are compared).
    pub(crate) wrong_blocks: u64,
    /// DATA and OACKs that had come before.
    pub(crate) duplicates: u64,
    /// DATA behind a block that is missing.
    pub(crate) gaps: u64,
    /// From another port than the transfer's.
    pub(crate) strangers: u64,
    /// To a port of an earlier transfer, or not of any sense.
    pub(crate) stray: u64,
}

/// Frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Frames {
    /// Received.
    pub(crate) received: u64,
    /// Sent.
    pub(crate) sent: u64,
    /// Of the received, broken: lengths or checksums.
    pub(crate) malformed: u64,
    /// Of the received, not from the server to a client.
    pub(crate) foreign: u64,
    /// Of the received, dropped on purpose.
    pub(crate) lost_received: u64,
    /// To be sent, dropped on purpose.
    pub(crate) lost_sent: u64,
    /// ARP requests and neighbour solicitations answered.
    pub(crate) neighbour_answers: u64,
    /// Not sent because the transmit ring stayed full.
    pub(crate) ring_full: u64,
    /// Not sent because the pool was empty.
    pub(crate) pool_empty: u64,
}

/// The latencies of an interval.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    /// Intended start to the first block of DATA.
    pub(crate) first_data: Histogram<u64>,
    /// Intended start to the OACK.
    pub(crate) oack: Histogram<u64>,
    /// Intended start to the last block.
    pub(crate) transfer: Histogram<u64>,
    /// Intended start to the request.
    pub(crate) start_lag: Histogram<u64>,
}

impl Latencies {
    /// Without values; takes all the memory that it will ever need.
    ///
    /// # Errors
    /// Never with the limits above.
    pub(crate) fn new() -> Result<Self, CreationError> {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, DIGITS)?;
        let [first_data, oack, transfer] = [histogram.clone(), histogram.clone(), histogram.clone()];
        Ok(Self { first_data, oack, transfer, start_lag: histogram })
    }

    /// Each histogram with its tag.
    pub(crate) fn tagged(&self) -> [(&'static str, &Histogram<u64>); 4] {
        [
            ("first_data", &self.first_data),
            ("oack", &self.oack),
            ("transfer", &self.transfer),
            ("start_lag", &self.start_lag),
        ]
    }

    /// Takes the values of another one in.
    pub(crate) fn add(&mut self, other: &Self) {
        let Self { first_data, oack, transfer, start_lag } = other;
        // Equal bounds: nothing can be out of range.
        for (own, other) in [
            (&mut self.first_data, first_data),
            (&mut self.oack, oack),
            (&mut self.transfer, transfer),
            (&mut self.start_lag, start_lag),
        ] {
            own.add(other).unwrap_or_default();
        }
    }

    /// Forgets all values.
    pub(crate) fn clear(&mut self) {
        for histogram in [&mut self.first_data, &mut self.oack, &mut self.transfer, &mut self.start_lag] {
            histogram.reset();
        }
    }
}

/// Puts a latency into a histogram.
#[inline]
pub(crate) fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    histogram.saturating_record(latency.micros());
}

/// What the loop hands over once per interval.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The interval's begin.
    pub(crate) from: Instant,
    /// Its end.
    pub(crate) to: Instant,
    /// Counters since the start.
    pub(crate) counts: Counts,
    /// Transfers that run.
    pub(crate) live: u32,
    /// Latencies of the interval.
    pub(crate) latencies: Latencies,
}

impl Snapshot {
    /// Nothing measured yet.
    ///
    /// # Errors
    /// See [`Latencies::new`].
    pub(crate) fn new() -> Result<Self, CreationError> {
        let latencies = Latencies::new()?;
        Ok(Self { from: Instant::ORIGIN, to: Instant::ORIGIN, counts: Counts::default(), live: 0, latencies })
    }
}
