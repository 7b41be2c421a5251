//! Latencies that a worker measures, each touched once per transfer, never by an ACK that moves one on.

use super::histogram::Histogram;
use crate::counter::Counter;

/// The latencies of one worker on one port.
#[derive(Debug, Default)]
pub struct Latency {
    /// Nanoseconds from the clock reading before the burst that brought a request to the one after its first DATA was handed to the
    /// transmit queue, where the answer was DATA at once.
    pub first_data: Histogram,
    /// Microseconds from the burst that brought a request to the one that brought the ACK of its OACK, to which the first DATA is
    /// the answer: the client's round trip is in it.
    pub first_data_after_offer: Histogram,
    /// Microseconds from the burst that brought a request to the one that brought the last ACK, of transfers that were done.
    pub transfer: Histogram,
    /// First DATA that went out in this turn of the loop: how long it took is known when the turn is over.
    unsettled: Counter,
}

impl Latency {
    #[inline]
    pub(super) fn first_data_sent(&self) {
        self.unsettled.add(1);
    }

    /// The turn has taken so long.
    #[inline]
    pub(super) fn settle(&self, turn_ns: u64) {
        let count = self.unsettled.get();
        if count > 0 {
            self.first_data.record(turn_ns, count);
            self.unsettled.set(0);
        }
    }
}
