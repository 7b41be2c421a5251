//! What a worker counts. One writer each, any number of readers, no lock and no shared line that two workers write.

use crate::engine::{Ending, Outcome};
use core::sync::atomic::{AtomicU64, Ordering};
use crossbeam::utils::CachePadded;

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `by` more; only its own worker may.
    #[inline]
    pub(super) fn add(&self, by: u64) {
        self.set(self.get() + by);
    }

    #[inline]
    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of one worker on one port.
        #[derive(Debug)]
        pub struct LaneCounters {
            outcomes: CachePadded<[Counter; Outcome::COUNT]>,
            endings: [Counter; Ending::ALL.len()],
            $($(#[$doc])* pub $name: Counter,)*
        }

        impl Default for LaneCounters {
            fn default() -> Self {
                Self {
                    outcomes: CachePadded::new([const { Counter(AtomicU64::new(0)) }; Outcome::COUNT]),
                    endings: [const { Counter(AtomicU64::new(0)) }; Ending::ALL.len()],
                    $($name: Counter::default(),)*
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
    /// Gauge: sessions that are not done.
    active_sessions,
}

impl LaneCounters {
    #[inline]
    pub(super) fn count(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].add(1);
    }

    pub(super) fn count_ending(&self, ending: Ending) {
        self.endings[ending as usize].add(1);
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
