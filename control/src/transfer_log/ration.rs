//! So many per second and no more: a bucket of tokens that counts who came when it was empty. Time comes in as an argument.

use std::time::Duration;

/// The bucket. It holds two seconds' worth.
#[derive(Debug)]
pub(super) struct Ration {
    per_second: u32,
    tokens: f64,
    filled: Duration,
    suppressed: u64,
}

impl Ration {
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second, tokens: f64::from(per_second) * 2.0, filled: Duration::ZERO, suppressed: 0 }
    }

    /// Takes a token; without one, the caller counts as suppressed.
    pub(super) fn spend(&mut self, now: Duration) -> bool {
        let most = f64::from(self.per_second) * 2.0;
        let gained = now.saturating_sub(self.filled).as_secs_f64() * f64::from(self.per_second);
        self.tokens = (self.tokens + gained).min(most);
        self.filled = now;
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        } else {
            self.suppressed += 1;
        }
        granted
    }

    /// How many were suppressed since this was last asked.
    pub(super) fn take_suppressed(&mut self) -> u64 {
        std::mem::take(&mut self.suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_counted_and_time_brings_more() {
        let mut ration = Ration::new(5);
        let granted = |ration: &mut Ration, at| (0..100).filter(|_| ration.spend(Duration::from_millis(at))).count();
        assert_eq!(granted(&mut ration, 0), 10, "two seconds' worth at once");
        assert_eq!(ration.take_suppressed(), 90);
        assert_eq!(ration.take_suppressed(), 0);
        assert_eq!(granted(&mut ration, 1_000), 5);
        assert_eq!(granted(&mut ration, 3_600_000), 10, "it never holds more");
        assert!(!Ration::new(0).spend(Duration::from_secs(60)));
    }
}
