//! How much of a worker's time was work lately, and what a packet cost, out of counters that only grow. Whoever asks how often, the
//! answer is about the last second or two.

use std::time::{Duration, Instant};

/// The counters at some moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    /// Time of turns with work.
    pub(super) busy_ns: u64,
    /// Frames received or sent, whichever are more.
    pub(super) packets: u64,
}

/// Two moments to look back to.
#[derive(Debug)]
pub(super) struct BusyShare {
    older: Sample,
    newer: Sample,
}

/// What became of the time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    /// Share of the time that was work; none when no time has passed.
    pub(super) percent: Option<f64>,
    /// What a packet cost, since the start if there was none lately; none when there never was one.
    pub(super) ns_per_packet: Option<f64>,
}

/// At least so long are the answers about.
const WINDOW: Duration = Duration::from_secs(1);

impl BusyShare {
    /// Nothing was busy before `started`.
    pub(super) const fn new(started: Instant) -> Self {
        let start = Sample { at: started, busy_ns: 0, packets: 0 };
        Self { older: start, newer: start }
    }

    /// The share up to now.
    pub(super) fn look(&mut self, now: Sample) -> Share {
        if now.at.saturating_duration_since(self.newer.at) >= WINDOW {
            self.older = self.newer;
            self.newer = now;
        }
        let elapsed_ns = now.at.saturating_duration_since(self.older.at).as_secs_f64() * 1e9;
        let busy = now.busy_ns.saturating_sub(self.older.busy_ns) as f64;
        // A turn is counted when it ends, so that a short interval may get more than its length.
        let percent = (elapsed_ns > 0.0).then(|| (busy / elapsed_ns * 100.0).min(100.0));
        let packets = now.packets.saturating_sub(self.older.packets);
        let ns_per_packet = match (packets, now.packets) {
            (_, 0) => None,
            (0, all) => Some(now.busy_ns as f64 / all as f64),
            (packets, _) => Some(busy / packets as f64),
        };
        Share { percent, ns_per_packet }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(share: &mut BusyShare, at: Instant, busy_ms: u64, packets: u64) -> (Option<f64>, Option<f64>) {
        let Share { percent, ns_per_packet } = share.look(Sample { at, busy_ns: busy_ms * 1_000_000, packets });
        (percent, ns_per_packet)
    }

    #[test]
    fn the_share_is_that_of_the_last_seconds_however_often_it_is_asked_for() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut share = BusyShare::new(start);
        assert_eq!(look(&mut share, at(0), 0, 0), (None, None), "no time, no share; no packet, no cost");
        for ms in (20..10_000).step_by(20) {
            let (percent, cost) = look(&mut share, at(ms), ms / 4, ms);
            assert!(percent.is_some_and(|percent| (percent - 25.0).abs() < 6.0), "{ms}: {percent:?}");
            assert!(cost.is_some_and(|cost| (cost - 250_000.0).abs() < 60_000.0), "{ms}: {cost:?}");
        }
        for ms in (10_000..12_100).step_by(20) {
            look(&mut share, at(ms), 2_500, 10_000);
        }
        assert_eq!(look(&mut share, at(12_100), 2_500, 10_000), (Some(0.0), Some(250_000.0)), "idle: the mean of all");
        assert_eq!(look(&mut share, at(12_101), 9_000, 10_001).0, Some(100.0), "a long turn that ended just now");
    }
}
