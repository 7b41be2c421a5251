//! Every way from running to stopped, with made-up times.

use super::*;

const POLICY: Policy = Policy {
    drain: Duration::from_secs(30),
    stop: Duration::from_secs(5),
    exit_when_idle: Some(Duration::from_secs(10)),
};
const TERM: Order = Order::Signal("SIGTERM");

struct Run {
    machine: Supervisor,
    log: Vec<String>,
}

impl Run {
    fn new(policy: Policy) -> Self {
        Self { machine: Supervisor::new(policy), log: Vec::new() }
    }

    /// Feeds an event and returns what is to be done, log lines apart.
    fn at(&mut self, seconds: u64, event: Event) -> Vec<Action> {
        let (log, actions): (Vec<_>, Vec<_>) = self
            .machine
            .handle(Duration::from_secs(seconds), &event)
            .into_iter()
            .partition(|action| matches!(action, Action::Log(_)));
        self.log.extend(log.into_iter().map(|line| format!("{line:?}")));
        actions
    }

    fn order(&mut self, seconds: u64, order: Order) -> Vec<Action> {
        self.at(seconds, Event::Order(order))
    }

    fn see(&mut self, seconds: u64, live_sessions: u64, running_workers: usize) -> Vec<Action> {
        self.at(seconds, seen(live_sessions, running_workers, &[]))
    }
}

fn seen(live_sessions: u64, running_workers: usize, failed: &[u16]) -> Event {
    let failed =
        failed.iter().map(|&worker| WorkerFailure { worker, lcore: worker + 1, reason: "panicked".to_owned() });
    Event::Seen(Observation { all_polling: true, live_sessions, running_workers, failed: failed.collect() })
}

fn busy() -> Run {
    let mut run = Run::new(POLICY);
    assert_eq!(run.see(0, 3, 2), [Action::AnnounceReady]);
    run
}

const AS_ASKED: Action = Action::Finish(Outcome::AsAsked);

#[test]
fn ready_is_announced_once_and_only_when_all_poll() {
    let mut run = Run::new(POLICY);
    let starting = Event::Seen(Observation { running_workers: 2, ..Observation::default() });
    assert_eq!(run.at(0, starting.clone()), []);
    assert_eq!(run.see(1, 0, 2), [Action::AnnounceReady]);
    assert_eq!(run.at(2, starting), []);
    assert_eq!(run.see(3, 0, 2), []);
}

#[test]
fn a_signal_drains_and_the_last_session_ends_it() {
    let mut run = busy();
    assert!(!run.machine.is_ending());
    assert_eq!(run.order(1, TERM), [Action::BeginDrain]);
    assert!(run.machine.is_ending());
    assert_eq!(run.see(2, 3, 2), []);
    assert_eq!(run.see(3, 0, 2), [Action::StopWorkers]);
    assert_eq!(run.see(4, 0, 1), []);
    assert_eq!(run.see(4, 0, 0), [AS_ASKED]);
    assert_eq!(run.see(5, 0, 0), [], "nothing comes after the end");
    assert_eq!(run.order(6, Order::Stop), []);
}

#[test]
fn the_drain_word_is_as_good_as_a_signal() {
    let mut run = busy();
    assert_eq!(run.order(1, Order::Drain), [Action::BeginDrain]);
    assert_eq!(run.order(2, Order::Drain), [], "asked twice, drained once");
    assert_eq!(run.see(3, 0, 2), [Action::StopWorkers]);
}

#[test]
fn the_drain_deadline_cuts_transfers_off_and_is_no_failure() {
    let mut run = busy();
    run.order(1, TERM);
    assert_eq!(run.see(30, 3, 2), []);
    assert_eq!(run.see(31, 3, 2), [Action::StopWorkers]);
    assert!(run.log.iter().any(|line| line.contains("3 transfer(s) are cut off")), "{:?}", run.log);
    assert_eq!(run.see(32, 3, 0), [AS_ASKED]);
}

#[test]
fn a_second_signal_stops_at_once() {
    let mut run = busy();
    run.order(1, TERM);
    assert_eq!(run.order(2, Order::Signal("SIGINT")), [Action::StopWorkers]);
    assert_eq!(run.order(2, TERM), [], "a third one changes nothing");
    assert_eq!(run.see(3, 3, 0), [AS_ASKED]);
}

#[test]
fn the_stop_word_stops_at_once() {
    let mut run = busy();
    assert_eq!(run.order(1, Order::Stop), [Action::StopWorkers]);
    assert_eq!(run.see(2, 3, 0), [AS_ASKED]);
    let mut draining = busy();
    draining.order(1, TERM);
    assert_eq!(draining.order(2, Order::Stop), [Action::StopWorkers]);
}

#[test]
fn an_order_before_ready_is_obeyed() {
    let mut run = Run::new(POLICY);
    assert_eq!(run.order(0, TERM), [Action::BeginDrain]);
    assert_eq!(run.see(0, 0, 2), [Action::StopWorkers]);
    assert_eq!(run.see(1, 0, 0), [AS_ASKED]);
}

#[test]
fn a_failed_worker_drains_the_others_and_fails_the_run() {
    let mut run = busy();
    assert_eq!(run.at(1, seen(2, 1, &[0])), [Action::BeginDrain]);
    assert_eq!(run.at(2, seen(2, 1, &[0])), []);
    assert_eq!(run.at(3, seen(0, 1, &[0])), [Action::StopWorkers]);
    let end = run.at(4, seen(0, 0, &[0]));
    let [Action::Finish(outcome)] = &end[..] else { panic!("{end:?}") };
    assert_eq!(outcome.exit_status(), 1);
    assert_eq!(outcome.to_string(), "worker 0 on lcore 1 failed: panicked");
}

#[test]
fn the_only_worker_failing_ends_the_run_at_once() {
    let mut run = busy();
    let end = run.at(1, seen(3, 0, &[0]));
    assert_eq!(
        end,
        [
            Action::BeginDrain,
            Action::StopWorkers,
            Action::Finish(Outcome::Failed("worker 0 on lcore 1 failed: panicked".to_owned()))
        ]
    );
}

#[test]
fn a_worker_that_fails_while_draining_or_stopping_fails_the_run_too() {
    let mut draining = busy();
    draining.order(1, TERM);
    assert_eq!(draining.at(2, seen(1, 1, &[1])), []);
    draining.at(3, seen(0, 1, &[1]));
    assert!(matches!(draining.at(4, seen(0, 0, &[1]))[..], [Action::Finish(Outcome::Failed(_))]));
    let mut stopping = busy();
    stopping.order(1, Order::Stop);
    assert!(matches!(stopping.at(2, seen(0, 0, &[0, 1]))[..], [Action::Finish(Outcome::Failed(_))]));
}

#[test]
fn workers_that_vanish_without_a_reason_are_a_failure() {
    for drained_before in [false, true] {
        let mut run = busy();
        if drained_before {
            run.order(1, TERM);
        }
        let end = run.see(2, 3, 0);
        let Some(Action::Finish(outcome)) = end.last() else { panic!("{end:?}") };
        assert_eq!(outcome.to_string(), "the workers ended without being asked to");
    }
}

#[test]
fn a_stuck_worker_does_not_hold_the_end_up() {
    let mut run = busy();
    run.order(1, Order::Stop);
    assert_eq!(run.see(5, 3, 1), []);
    let end = run.see(6, 3, 1);
    assert_eq!(end, [Action::Finish(Outcome::Failed("1 worker(s) did not end within 5 s".to_owned()))]);
}

#[test]
fn idleness_ends_the_run_with_success() {
    let mut run = Run::new(POLICY);
    assert_eq!(run.see(100, 0, 2), [Action::AnnounceReady]);
    assert_eq!(run.see(109, 0, 2), []);
    assert_eq!(run.see(110, 0, 2), [Action::BeginDrain, Action::StopWorkers]);
    assert_eq!(run.see(111, 0, 0), [AS_ASKED]);
}

#[test]
fn a_transfer_begins_the_idle_time_anew() {
    let mut run = Run::new(POLICY);
    run.see(0, 0, 2);
    run.see(9, 1, 2);
    assert_eq!(run.see(11, 0, 2), []);
    assert_eq!(run.see(20, 0, 2), []);
    assert_eq!(run.see(21, 0, 2), [Action::BeginDrain, Action::StopWorkers]);
}

#[test]
fn without_a_limit_idleness_is_no_reason() {
    let mut run = Run::new(Policy { exit_when_idle: None, ..POLICY });
    run.see(0, 0, 2);
    assert_eq!(run.see(1_000_000, 0, 2), []);
}

#[test]
fn a_drain_time_of_zero_waits_for_nobody() {
    let mut run = Run::new(Policy { drain: Duration::ZERO, ..POLICY });
    run.see(0, 3, 2);
    run.order(1, TERM);
    assert_eq!(run.see(1, 3, 2), [Action::StopWorkers]);
}

#[test]
fn a_hold_stays_until_it_is_resumed() {
    let mut run = busy();
    assert_eq!(run.order(1, Order::Hold), [Action::BeginDrain]);
    assert_eq!(run.order(2, Order::Hold), [], "asked twice, held once");
    assert_eq!(run.see(3, 0, 2), []);
    assert_eq!(run.see(1_000_000, 0, 2), [], "neither the drain time nor idleness ends it");
    assert!(!run.machine.is_ending(), "a service manager must not wait for an end");
    assert_eq!(run.order(1_000_001, Order::Resume), [Action::EndDrain]);
    assert_eq!(run.order(1_000_001, Order::Resume), [], "nothing to resume");
    assert_eq!(run.see(1_000_002, 0, 2), [], "ready was said before");
    assert_eq!(run.see(1_000_012, 0, 2), [Action::BeginDrain, Action::StopWorkers], "idleness counts anew");
}

#[test]
fn a_drain_can_be_resumed_while_it_lasts() {
    for order in [TERM, Order::Drain] {
        let mut run = busy();
        assert_eq!(run.order(1, order), [Action::BeginDrain]);
        assert_eq!(run.see(2, 3, 2), []);
        assert_eq!(run.order(3, Order::Resume), [Action::EndDrain]);
        assert_eq!(run.see(40, 3, 2), [], "the deadline is forgotten");
        assert_eq!(run.order(41, TERM), [Action::BeginDrain], "a signal drains again");
        assert_eq!(run.see(70, 3, 2), []);
        assert_eq!(run.see(71, 3, 2), [Action::StopWorkers]);
        assert_eq!(run.order(72, Order::Resume), [], "too late");
        assert_eq!(run.order(72, Order::Hold), []);
        assert_eq!(run.see(73, 0, 0), [AS_ASKED]);
    }
}

#[test]
fn a_hold_ends_by_a_drain_a_signal_or_a_stop() {
    for order in [TERM, Order::Drain] {
        let mut run = busy();
        run.order(1, Order::Hold);
        assert_eq!(run.order(2, order), [Action::BeginDrain]);
        assert_eq!(run.see(3, 0, 2), [Action::StopWorkers]);
    }
    let mut run = busy();
    run.order(1, Order::Hold);
    assert_eq!(run.order(2, Order::Stop), [Action::StopWorkers]);
    assert_eq!(run.see(3, 0, 0), [AS_ASKED]);
}

#[test]
fn a_drain_becomes_a_hold() {
    let mut run = busy();
    run.order(1, Order::Drain);
    assert_eq!(run.order(2, Order::Hold), [Action::BeginDrain]);
    assert_eq!(run.see(100, 0, 2), []);
}

#[test]
fn a_hold_before_ready_keeps_the_announcement_for_later() {
    let mut run = Run::new(POLICY);
    assert_eq!(run.order(0, Order::Hold), [Action::BeginDrain]);
    let draining = Event::Seen(Observation { running_workers: 2, ..Observation::default() });
    assert_eq!(run.at(1, draining), []);
    assert_eq!(run.order(2, Order::Resume), [Action::EndDrain]);
    assert_eq!(run.see(3, 0, 2), [Action::AnnounceReady]);
}

#[test]
fn a_failed_worker_ends_a_hold_for_good() {
    let mut run = busy();
    run.order(1, Order::Hold);
    assert_eq!(run.at(2, seen(3, 1, &[0])), [Action::BeginDrain]);
    assert_eq!(run.order(3, Order::Resume), []);
    assert_eq!(run.order(3, Order::Hold), []);
    assert_eq!(run.at(4, seen(0, 1, &[0])), [Action::StopWorkers]);
    let mut run = busy();
    run.order(1, Order::Hold);
    let end = run.see(2, 3, 0);
    assert!(matches!(end[..], [Action::StopWorkers, Action::Finish(Outcome::Failed(_))]), "{end:?}");
}

#[test]
fn other_times_hold_from_the_next_drain_on() {
    let mut run = busy();
    let times = |drain| Order::Times(Times { drain: Duration::from_secs(drain), exit_when_idle: None });
    assert_eq!(run.order(0, times(5)), []);
    assert_eq!(run.see(100, 0, 2), [], "idleness is no reason any more");
    run.order(101, TERM);
    assert_eq!(run.order(102, times(50)), []);
    assert_eq!(run.see(105, 3, 2), []);
    assert_eq!(run.see(106, 3, 2), [Action::StopWorkers], "a deadline that runs stays");
}
