//! What a worker counts. One writer each, any number of readers, no lock and no shared line that two workers write.

use super::latency::Latency;
use super::records::RecordRing;
use crate::counter::Counter;
use crate::engine::{CacheEvent, Ending, Finished, Outcome, Refused};
use crate::port::BURST;
use crossbeam::utils::CachePadded;

/// Bursts by the frames in them: place n counts bursts of n.
pub type BurstSizes = [Counter; BURST + 1];

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of one worker on one port.
        #[derive(Debug)]
        pub struct LaneCounters {
            outcomes: CachePadded<[Counter; Outcome::COUNT]>,
            endings: [Counter; Ending::ALL.len()],
            $($(#[$doc])* pub $name: Counter,)*
            /// Received bursts; empty ones are not counted.
            pub bursts: BurstSizes,
            /// Latencies.
            pub latency: Latency,
            /// Where transfers that ended and requests that were refused are put, if anybody wants to know.
            pub records: Option<RecordRing>,
        }

        impl Default for LaneCounters {
            fn default() -> Self {
                Self {
                    outcomes: CachePadded::new([const { Counter::new() }; Outcome::COUNT]),
                    endings: [const { Counter::new() }; Ending::ALL.len()],
                    $($name: Counter::default(),)*
                    bursts: [const { Counter::new() }; BURST + 1],
                    latency: Latency::default(),
                    records: None,
                }
            }
        }
    };
}

counters! {
    /// Frames taken from the receive queue.
    rx_frames,
    /// Of those, frames given to the worker that owns their flow; they have their outcome there.
    handed_over,
    /// Frames that the transmit queue took.
    tx_frames,
    /// Frames that it did not take for so long that they were freed.
    tx_dropped,
    /// DATA packets queued.
    data_blocks,
    /// File bytes in them.
    data_bytes,
    /// DATA packets among them whose block went out before.
    blocks_again,
    /// Times that the pool had no frame for an OACK or a block.
    pool_empty,
    /// Frames sent for workers without a queue, which count them as sent too.
    relayed,
    /// Frames that the kernel interface took.
    to_kernel,
    /// Frames that were on their way to the kernel interface when it had no room.
    kernel_lost,
    /// Frames from the kernel interface.
    from_kernel,
    /// Transfers begun.
    opened,
    /// Transfers begun whose file had been loaded on demand before.
    cache_hits,
    /// Requests for files that had to be loaded first.
    cache_misses,
    /// Times that nobody could be told which file is wanted.
    wants_lost,
    /// Requests that waited for a file and got their answer.
    parked_answered,
    /// Requests that waited for a file and got none.
    parked_lost,
    /// Gauge: sessions that are not done.
    active_sessions,
}

impl LaneCounters {
    /// Counters, and a ring for `records` records.
    #[must_use]
    pub fn with_records(records: usize) -> Self {
        Self { records: Some(RecordRing::new(records)), ..Self::default() }
    }

    #[inline]
    pub(super) fn count(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].add(1);
    }

    /// A transfer has ended.
    #[inline(never)]
    pub(super) fn note_end(&self, finished: &Finished<'_>) {
        self.endings[finished.ending() as usize].add(1);
        if finished.ending() == Ending::Done {
            self.latency.transfer.record(finished.duration().micros(), 1);
        }
        if let Some(tally) = finished.tally() {
            tally.count_end(finished.bytes());
        }
        if let Some(records) = &self.records {
            records.push_ended(finished);
        }
    }

    /// A request was answered with an ERROR.
    #[cold]
    pub(super) fn note_refusal(&self, refused: &Refused<'_>) {
        if let Some(records) = &self.records {
            records.push_refused(refused);
        }
    }

    #[cold]
    pub(super) fn count_cache(&self, event: CacheEvent) {
        let counter = match event {
            CacheEvent::Hit => &self.cache_hits,
            CacheEvent::Miss => &self.cache_misses,
            CacheEvent::WantLost => &self.wants_lost,
            CacheEvent::ParkedAnswered => &self.parked_answered,
            CacheEvent::ParkedLost => &self.parked_lost,
        };
        counter.add(1);
    }

    /// Frames that had this outcome.
    #[must_use]
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize].get()
    }

    /// Frames that had any outcome.
    #[must_use]
    pub fn accounted_frames(&self) -> u64 {
        Outcome::ALL.iter().map(|&outcome| self.outcome(outcome)).sum()
    }

    /// Transfers that ended so.
    #[must_use]
    pub fn ending(&self, ending: Ending) -> u64 {
        self.endings[ending as usize].get()
    }
}
