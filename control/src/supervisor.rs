//! The life of a run as a state machine: running, holding, draining, stopping, stopped. Pure: time and facts come in, actions go out;
//! [`crate::driver`] does them.

use std::fmt;
use std::time::Duration;

use crate::fleet::WorkerFailure;

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// A signal, by its name. The first one drains, the next one stops.
    Signal(&'static str),
    /// The word `drain`.
    Drain,
    /// The words `drain hold`.
    Hold,
    /// The word `resume`.
    Resume,
    /// A reload brought other times.
    Times(Times),
    /// The word `stop`.
    Stop,
}

/// What was seen of the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Whether all workers poll.
    pub all_polling: bool,
    /// Transfers that run.
    pub live_sessions: u64,
    /// The worker count.
    pub running_workers: usize,
    /// Workers that ended on their own, so far.
    pub failed: Vec<WorkerFailure>,
}

/// What comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An order.
    Order(Order),
    /// A look at the fleet.
    Seen(Observation),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell the world that all workers poll. Once at most.
    AnnounceReady,
    /// Ask the workers to take no new requests.
    BeginDrain,
    /// Let the workers take requests again.
    EndDrain,
    /// Ask the workers to end. Once at most.
    StopWorkers,
    /// Write a line to the log.
    Log(String),
    /// It is over. The last action of all.
    Finish(Outcome),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As asked: exit status 0.
    AsAsked,
    /// Otherwise: exit status 1, with the reason.
    Failed(String),
}

impl Outcome {
    /// The exit status of the process.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::AsAsked => 0,
            Self::Failed(_) => 1,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AsAsked => f.write_str("ended as asked"),
            Self::Failed(reason) => f.write_str(reason),
        }
    }
}

/// The times that are configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long running transfers may go on.
    pub drain: Duration,
    /// End after so long without a transfer.
    pub exit_when_idle: Option<Duration>,
}

/// The times that it goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long running transfers may go on.
    pub drain: Duration,
    /// How long workers may take to end once told to.
    pub stop: Duration,
    /// End after so long without a transfer.
    pub exit_when_idle: Option<Duration>,
}

impl Policy {
    /// A worker looks at the stop flag once per burst; one that has not ended after this never will.
    pub const STOP: Duration = Duration::from_secs(5);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running {
        idle_since: Option<Duration>,
    },
    /// No new requests, and no end in sight.
    Holding,
    Draining {
        deadline: Duration,
    },
    Stopping {
        deadline: Duration,
    },
    Stopped,
}

/// The machine. Times are since any one origin.
#[derive(Debug)]
pub struct Supervisor {
    policy: Policy,
    phase: Phase,
    ready: bool,
    failed: Vec<WorkerFailure>,
    stuck: Option<usize>,
    vanished: bool,
}

impl Supervisor {
    /// A run whose workers were just launched.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let phase = Phase::Running { idle_since: None };
        Self { policy, phase, ready: false, failed: Vec::new(), stuck: None, vanished: false }
    }

    /// Takes an event at a moment that is not before the last one.
    pub fn handle(&mut self, now: Duration, event: &Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Order(order) => self.obey(now, *order, &mut actions),
            Event::Seen(seen) => self.see(now, seen, &mut actions),
        }
        actions
    }

    /// Whether the end has begun; only the word `resume` could still call it off.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        !matches!(self.phase, Phase::Running { .. } | Phase::Holding)
    }

    fn obey(&mut self, now: Duration, order: Order, actions: &mut Vec<Action>) {
        match (self.phase, order) {
            (Phase::Stopping { .. } | Phase::Stopped, _) => {}
            (Phase::Running { .. } | Phase::Holding, Order::Signal(name)) => self.drain(now, name, actions),
            (Phase::Running { .. } | Phase::Holding, Order::Drain) => self.drain(now, "the word `drain`", actions),
            (_, Order::Stop) => self.stop(now, "the word `stop`", actions),
            (Phase::Draining { .. }, Order::Signal(name)) => {
                self.stop(now, &format!("a second signal, {name}"), actions)
            }
            // A deadline that runs goes on.
            (Phase::Draining { .. }, Order::Drain) => {}
            (_, Order::Hold) => self.hold(actions),
            (Phase::Holding | Phase::Draining { .. }, Order::Resume) => self.resume(actions),
            (Phase::Running { .. }, Order::Resume) => {}
            (_, Order::Times(Times { drain, exit_when_idle })) => {
                self.policy = Policy { drain, exit_when_idle, ..self.policy };
            }
        }
    }

    fn see(&mut self, now: Duration, seen: &Observation, actions: &mut Vec<Action>) {
        if self.phase == Phase::Stopped {
            return;
        }
        let newly_failed: Vec<_> =
            seen.failed.iter().filter(|failure| !self.failed.contains(failure)).cloned().collect();
        for failure in &newly_failed {
            actions.push(Action::Log(describe(failure)));
        }
        let any_failed = !newly_failed.is_empty();
        self.failed.extend(newly_failed);

        // Several steps may be due at once, such as a drain with nothing to wait for; each is one phase further.
        if let Phase::Running { .. } = self.phase {
            self.see_running(now, seen, any_failed, actions);
        }
        if self.phase == Phase::Holding {
            self.see_holding(now, seen, any_failed, actions);
        }
        if let Phase::Draining { deadline } = self.phase {
            if seen.running_workers == 0 {
                self.vanished |= self.failed.is_empty();
                self.stop(now, "no worker is left", actions);
            } else if seen.live_sessions == 0 {
                self.stop(now, "no transfer is running any more", actions);
            } else if now >= deadline {
                let reason = format!("the drain time is over; {} transfer(s) are cut off", seen.live_sessions);
                self.stop(now, &reason, actions);
            }
        }
        if let Phase::Stopping { deadline } = self.phase {
            if seen.running_workers == 0 {
                self.finish(actions);
            } else if now >= deadline {
                self.stuck = Some(seen.running_workers);
                self.finish(actions);
            }
        }
    }

    fn see_running(&mut self, now: Duration, seen: &Observation, any_failed: bool, actions: &mut Vec<Action>) {
        let Phase::Running { idle_since } = &mut self.phase else { return };
        if any_failed {
            return self.drain(now, "a worker failed", actions);
        }
        if seen.running_workers == 0 {
            self.vanished = true;
            return self.stop(now, "no worker is left", actions);
        }
        if seen.all_polling && !self.ready {
            self.ready = true;
            actions.push(Action::AnnounceReady);
        }
        if seen.live_sessions > 0 || !self.ready {
            *idle_since = None;
            return;
        }
        let since = *idle_since.get_or_insert(now);
        if let Some(limit) = self.policy.exit_when_idle
            && now.saturating_sub(since) >= limit
        {
            self.drain(now, &format!("no transfer for {} s", limit.as_secs()), actions);
        }
    }

    fn see_holding(&mut self, now: Duration, seen: &Observation, any_failed: bool, actions: &mut Vec<Action>) {
        if any_failed {
            self.drain(now, "a worker failed", actions);
        } else if seen.running_workers == 0 {
            self.vanished = true;
            self.stop(now, "no worker is left", actions);
        }
    }

    fn hold(&mut self, actions: &mut Vec<Action>) {
        // Without one of its workers a run has to end.
        if self.phase == Phase::Holding || !self.failed.is_empty() {
            return;
        }
        self.phase = Phase::Holding;
        actions.push(Action::Log("no new requests until the word `resume`: the words `drain hold`".to_owned()));
        actions.push(Action::BeginDrain);
    }

    fn resume(&mut self, actions: &mut Vec<Action>) {
        if !self.failed.is_empty() {
            actions.push(Action::Log("`resume` is of no use: a worker failed, and the run ends".to_owned()));
            return;
        }
        self.phase = Phase::Running { idle_since: None };
        actions.push(Action::Log("taking new requests again: the word `resume`".to_owned()));
        actions.push(Action::EndDrain);
    }

    fn drain(&mut self, now: Duration, why: &str, actions: &mut Vec<Action>) {
        self.phase = Phase::Draining { deadline: now.saturating_add(self.policy.drain) };
        actions.push(Action::Log(format!("draining for at most {} s: {why}", self.policy.drain.as_secs())));
        actions.push(Action::BeginDrain);
    }

    fn stop(&mut self, now: Duration, why: &str, actions: &mut Vec<Action>) {
        self.phase = Phase::Stopping { deadline: now.saturating_add(self.policy.stop) };
        actions.push(Action::Log(format!("stopping the workers: {why}")));
        actions.push(Action::StopWorkers);
    }

    fn finish(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::Stopped;
        let mut reasons: Vec<String> = self.failed.iter().map(describe).collect();
        if self.vanished {
            reasons.push("the workers ended without being asked to".to_owned());
        }
        if let Some(count) = self.stuck {
            reasons.push(format!("{count} worker(s) did not end within {} s", self.policy.stop.as_secs()));
        }
        let outcome = if reasons.is_empty() { Outcome::AsAsked } else { Outcome::Failed(reasons.join("; ")) };
        actions.push(Action::Finish(outcome));
    }
}

fn describe(failure: &WorkerFailure) -> String {
    format!("worker {} on lcore {} failed: {}", failure.worker, failure.lcore, failure.reason)
}

#[cfg(test)]
mod tests;
