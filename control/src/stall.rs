//! Notices workers whose loop stands still, by their counters of turns. Pure: times and counters come in, findings go out; it never
//! takes its own lateness for a worker's.

use std::fmt;
use std::time::Duration;

use crate::fleet::Pulse;

/// How often the counters should be looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A worker that has made no turn for so long stalls. With a look every [`LOOK_EVERY`] that is found within 100 ms of its begin.
pub const STALL_AFTER: Duration = Duration::from_millis(80);

/// The most that one look adds to a worker's silence. When looks are further apart than this it was control that did not run, perhaps
/// with the whole machine, and the worker gets a chance to show that it does.
const CREDIT: Duration = Duration::from_millis(20);

/// What was found out about a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It stands still.
    Stalls {
        /// Which one.
        pulse: Pulse,
        /// For how long that was watched.
        silent: Duration,
    },
    /// It goes on, or has ended.
    Returns {
        /// Which one.
        pulse: Pulse,
        /// How long it stood still, from the last look that saw it move.
        stood: Duration,
    },
}

impl Finding {
    /// The worker.
    #[must_use]
    pub fn worker(&self) -> u16 {
        match self {
            Self::Stalls { pulse, .. } | Self::Returns { pulse, .. } => pulse.worker,
        }
    }

    /// Whether it stands still from now on.
    #[must_use]
    pub fn stalled(&self) -> bool {
        matches!(self, Self::Stalls { .. })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stalls { pulse, silent } => write!(
                f,
                "worker {} on lcore {} stalls: no turn of its loop for {} ms (does something else run on its CPU?)",
                pulse.worker,
                pulse.lcore,
                silent.as_millis()
            ),
            Self::Returns { pulse, stood } => write!(
                f,
                "worker {} on lcore {} is back after a stall of {} ms",
                pulse.worker,
                pulse.lcore,
                stood.as_millis()
            ),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Track {
    polls: u64,
    moved: Duration,
    silent: Duration,
    stalled: bool,
}

/// The memory from look to look.
#[derive(Debug, Default)]
pub struct StallWatch {
    last_look: Option<Duration>,
    /// By worker.
    tracks: Vec<Option<Track>>,
}

impl StallWatch {
    /// One that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at a moment that is not before the last one.
    pub fn look(&mut self, now: Duration, pulses: &[Pulse]) -> Vec<Finding> {
        let since_last = self.last_look.replace(now).map_or(Duration::ZERO, |last| now.saturating_sub(last));
        let credit = since_last.min(CREDIT);
        pulses.iter().filter_map(|pulse| self.look_at(now, credit, *pulse)).collect()
    }

    fn look_at(&mut self, now: Duration, credit: Duration, pulse: Pulse) -> Option<Finding> {
        let place = usize::from(pulse.worker);
        if self.tracks.len() <= place {
            self.tracks.resize(place + 1, None);
        }
        let fresh = Track { polls: pulse.polls, moved: now, silent: Duration::ZERO, stalled: false };
        let track = self.tracks[place].get_or_insert(fresh);
        if track.polls != pulse.polls || !pulse.should_beat() {
            let back = Finding::Returns { pulse, stood: now.saturating_sub(track.moved) };
            let stalled = track.stalled;
            *track = fresh;
            return stalled.then_some(back);
        }
        track.silent += credit;
        if track.stalled || track.silent < STALL_AFTER {
            return None;
        }
        track.stalled = true;
        Some(Finding::Stalls { pulse, silent: track.silent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::WorkerState;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn pulse(worker: u16, polls: u64) -> Pulse {
        Pulse { worker, lcore: worker + 1, state: WorkerState::Polling, polls }
    }

    /// Looks every `every` ms from `from` to `to` at a worker with that counter; the findings with their times.
    fn looks(watch: &mut StallWatch, from: u64, to: u64, every: u64, polls: u64) -> Vec<(u64, Finding)> {
        let times = (from..=to).step_by(usize::try_from(every).unwrap());
        times.flat_map(|at| watch.look(ms(at), &[pulse(0, polls)]).into_iter().map(move |found| (at, found))).collect()
    }

    #[test]
    fn a_stall_is_found_within_100_ms_of_its_begin_and_so_is_its_end() {
        let mut watch = StallWatch::new();
        for at in (0..1_000).step_by(10) {
            assert_eq!(watch.look(ms(at), &[pulse(0, at)]), [], "it moves");
        }
        // The counter moved for the last time just after the look at 990.
        let found = looks(&mut watch, 1_000, 1_400, 10, 991);
        let [(at, Finding::Stalls { silent, .. })] = &found[..] else { panic!("{found:?}") };
        assert!(*at <= 990 + 100 && *silent == ms(80), "{found:?}");
        let back = watch.look(ms(1_410), &[pulse(0, 992)]);
        assert_eq!(back, [Finding::Returns { pulse: pulse(0, 992), stood: ms(410) }]);
        assert_eq!(looks(&mut watch, 1_420, 1_480, 10, 992), [], "the next silence counts from its own begin");
    }

    #[test]
    fn each_worker_is_watched_by_itself() {
        let mut watch = StallWatch::new();
        let mut found = Vec::new();
        for at in (0..=200).step_by(10) {
            found.extend(watch.look(ms(at), &[pulse(0, at), pulse(1, 5), pulse(2, at)]));
        }
        assert_eq!(found.iter().map(Finding::worker).collect::<Vec<_>>(), [1]);
        assert_eq!(
            found[0].to_string(),
            "worker 1 on lcore 2 stalls: no turn of its loop for 80 ms (does something else run on its CPU?)"
        );
        let back = watch.look(ms(240), &[pulse(0, 300), pulse(1, 6), pulse(2, 300)]);
        assert_eq!(back[0].to_string(), "worker 1 on lcore 2 is back after a stall of 240 ms");
    }

    #[test]
    fn controls_own_pause_is_no_stall_of_a_worker() {
        let mut watch = StallWatch::new();
        assert_eq!(watch.look(ms(0), &[pulse(0, 1)]), []);
        // The whole process slept for a minute; then the worker needs a moment, too.
        assert_eq!(looks(&mut watch, 60_000, 60_050, 10, 1), []);
        assert_eq!(watch.look(ms(60_060), &[pulse(0, 2)]), []);
        // A control thread that is late each time still finds a true stall, only later.
        assert!(looks(&mut watch, 61_000, 62_000, 200, 2)[0].1.stalled());
    }

    #[test]
    fn a_worker_that_does_not_poll_yet_or_any_more_is_left_alone() {
        for state in [WorkerState::Starting, WorkerState::Stopped, WorkerState::Failed] {
            let mut watch = StallWatch::new();
            for at in (0..1_000).step_by(10) {
                assert_eq!(watch.look(ms(at), &[Pulse { state, ..pulse(0, 7) }]), [], "{state:?}");
            }
        }
        let mut watch = StallWatch::new();
        assert_eq!(looks(&mut watch, 0, 200, 10, 7).len(), 1);
        let ended = watch.look(ms(300), &[Pulse { state: WorkerState::Stopped, ..pulse(0, 7) }]);
        assert!(matches!(ended[..], [Finding::Returns { .. }]), "an end is an end of the stall: {ended:?}");
    }

    #[test]
    fn a_draining_worker_is_watched() {
        let mut watch = StallWatch::new();
        let draining = Pulse { state: WorkerState::Draining, ..pulse(0, 7) };
        let found: Vec<_> = (0..=200).step_by(10).flat_map(|at| watch.look(ms(at), &[draining])).collect();
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
