//! Decides when the service manager's watchdog is fed: at intervals, and only if every worker has made a turn since the last time.
//! Pure: times and counters come in.

use std::time::Duration;

use crate::fleet::Pulse;

/// Feeds. A stalled worker starves the watchdog, and so does a control thread that no longer asks.
#[derive(Debug)]
pub struct Feeder {
    every: Duration,
    fed: Duration,
    /// Turns by worker, when it was last fed.
    polls: Vec<u64>,
}

impl Feeder {
    /// For a watchdog that bites after `limit` without food; it is fed twice as often (`sd_watchdog_enabled(3)`).
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { every: limit / 2, fed: Duration::ZERO, polls: Vec::new() }
    }

    /// Whether to feed it now; asked for at moments that do not go back.
    pub fn is_due(&mut self, now: Duration, pulses: &[Pulse]) -> bool {
        let moved = |pulse: &Pulse| self.polls.get(usize::from(pulse.worker)) != Some(&pulse.polls);
        if now.saturating_sub(self.fed) < self.every || !pulses.iter().all(|pulse| !pulse.should_beat() || moved(pulse))
        {
            return false;
        }
        self.fed = now;
        self.polls.clear();
        for pulse in pulses {
            let place = usize::from(pulse.worker);
            if self.polls.len() <= place {
                self.polls.resize(place + 1, 0);
            }
            self.polls[place] = pulse.polls;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::WorkerState;

    const LIMIT: Duration = Duration::from_secs(4);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn pulse(worker: u16, state: WorkerState, polls: u64) -> Pulse {
        Pulse { worker, lcore: worker + 1, state, polls }
    }

    fn polling(polls: [u64; 2]) -> [Pulse; 2] {
        [pulse(0, WorkerState::Polling, polls[0]), pulse(1, WorkerState::Polling, polls[1])]
    }

    #[test]
    fn it_is_fed_at_half_its_limit_while_all_workers_move() {
        let mut feeder = Feeder::new(LIMIT);
        let fed: Vec<u64> = (1..=9).filter(|second| feeder.is_due(at(*second), &polling([*second, *second]))).collect();
        assert_eq!(fed, [2, 4, 6, 8]);
    }

    #[test]
    fn one_worker_that_stands_still_starves_it_until_it_moves() {
        let mut feeder = Feeder::new(LIMIT);
        assert!(feeder.is_due(at(2), &polling([1, 1])));
        for second in 3..20 {
            assert!(!feeder.is_due(at(second), &polling([second, 1])), "{second}");
        }
        assert!(feeder.is_due(at(20), &polling([20, 2])), "late, but at once");
        assert!(!feeder.is_due(at(21), &polling([21, 3])), "the interval begins anew");
    }

    #[test]
    fn workers_that_have_ended_or_not_begun_do_not_starve_it() {
        let mut feeder = Feeder::new(LIMIT);
        for second in [2, 4, 6] {
            let pulses = [
                pulse(0, WorkerState::Draining, second),
                pulse(1, WorkerState::Stopped, 5),
                pulse(2, WorkerState::Starting, 0),
                pulse(3, WorkerState::Failed, 5),
            ];
            assert!(feeder.is_due(at(second), &pulses));
        }
        assert!(feeder.is_due(at(8), &[]));
    }

    #[test]
    fn a_worker_that_never_began_to_move_starves_it() {
        let mut feeder = Feeder::new(LIMIT);
        assert!(feeder.is_due(at(2), &polling([0, 0])), "nothing to compare with yet");
        assert!(!feeder.is_due(at(4), &polling([1, 0])));
    }
}
