//! How much of a worker's time is work, out of a counter that only grows: the share since somebody last asked.

use std::time::Instant;

/// What was known when somebody last asked.
#[derive(Debug)]
pub(super) struct BusyShare {
    since: Instant,
    busy_us: u64,
}

impl BusyShare {
    /// Nothing was busy before `started`.
    pub(super) const fn new(started: Instant) -> Self {
        Self { since: started, busy_us: 0 }
    }

    /// The share of the time since the last call, in percent; none when no time has passed. `busy_us` is the counter now.
    pub(super) fn percent(&mut self, now: Instant, busy_us: u64) -> Option<f64> {
        let elapsed_us = now.saturating_duration_since(self.since).as_secs_f64() * 1e6;
        let busy = busy_us.saturating_sub(self.busy_us) as f64;
        *self = Self { since: now, busy_us };
        // A turn is counted when it ends, so that a short interval may get more than its length.
        (elapsed_us > 0.0).then(|| (busy / elapsed_us * 100.0).min(100.0))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_question_gets_the_share_since_the_one_before() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut share = BusyShare::new(start);
        assert_eq!(share.percent(at(0), 0), None, "no time, no share");
        assert_eq!(share.percent(at(1_000), 250_000), Some(25.0));
        assert_eq!(share.percent(at(2_000), 250_000), Some(0.0), "idle since");
        assert_eq!(share.percent(at(2_100), 300_000), Some(50.0));
        assert_eq!(share.percent(at(2_101), 400_000), Some(100.0), "a long turn that ended just now");
    }
}
