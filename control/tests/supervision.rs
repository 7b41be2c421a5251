//! The driver with a fleet that pretends: orders in, ready line and outcome out.

mod support;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use control::driver::{ORDERS, supervise};
use control::fleet::WorkerFailure;
use control::manager::ServiceManager;
use control::supervisor::{Order, Outcome, Policy};
use crossbeam::channel::{Sender, bounded, unbounded};
use support::FakeFleet;

struct End {
    outcome: Outcome,
    out: String,
    log: String,
    /// What the service manager was told, as systemd reads it.
    told: Vec<String>,
}

/// Of the service manager's watchdog, which is fed twice as often.
const WATCHDOG: Duration = Duration::from_millis(40);

fn start(fleet: &Arc<FakeFleet>, drain: Duration) -> (Sender<Order>, thread::JoinHandle<End>) {
    let (orders, receiver) = bounded(ORDERS);
    let fleet = Arc::clone(fleet);
    let policy = Policy { drain, stop: Duration::from_millis(200), exit_when_idle: None };
    let run = thread::spawn(move || {
        let (mut out, mut log) = (Vec::new(), Vec::new());
        let (teller, told) = unbounded();
        let mut manager = ServiceManager::new(Some(WATCHDOG), move |states| {
            states.iter().for_each(|state| teller.send(state.to_string()).expect("there is room"));
        });
        let outcome =
            supervise(&*fleet, &receiver, policy, &mut manager, &mut out, &mut log).expect("a vector takes all");
        let text = |bytes| String::from_utf8(bytes).expect("only text is written");
        End { outcome, out: text(out), log: text(log), told: told.try_iter().collect() }
    });
    (orders, run)
}

/// Waits, for at most ten seconds.
fn until(what: impl Fn() -> bool) {
    let seen = (0..1_000).any(|_| {
        thread::sleep(Duration::from_millis(10));
        what()
    });
    assert!(seen, "it never came about");
}

#[test]
fn a_signal_lets_transfers_finish_and_ends_with_success() {
    let fleet = Arc::new(FakeFleet::new(2));
    let (orders, run) = start(&fleet, Duration::from_secs(60));
    orders.send(Order::Signal("SIGTERM")).unwrap();
    until(|| fleet.scene().drained == 1);
    thread::sleep(Duration::from_millis(60));
    assert_eq!(fleet.scene().stopped, 0, "two transfers are still running");
    fleet.change(|scene| scene.live_sessions = 0);
    let end = run.join().unwrap();
    assert_eq!(end.outcome, Outcome::AsAsked);
    assert_eq!(end.out, "bypassd ready: 2 worker(s) polling on lcore 1,2, 1 files, 14280 bytes\n");
    assert_eq!((fleet.scene().drained, fleet.scene().stopped), (1, 1));
}

#[test]
fn a_hold_is_resumed_and_the_run_goes_on() {
    let fleet = Arc::new(FakeFleet::new(0));
    let (orders, run) = start(&fleet, Duration::ZERO);
    orders.send(Order::Hold).unwrap();
    until(|| fleet.scene().drained == 1);
    thread::sleep(Duration::from_millis(60));
    assert_eq!(fleet.scene().stopped, 0, "nothing is running, and it stays");
    orders.send(Order::Resume).unwrap();
    until(|| fleet.scene().resumed == 1);
    thread::sleep(Duration::from_millis(60));
    assert!(!run.is_finished());
    orders.send(Order::Stop).unwrap();
    assert_eq!(run.join().unwrap().outcome, Outcome::AsAsked);
}

#[test]
fn the_service_manager_hears_of_ready_and_of_the_end() {
    let fleet = Arc::new(FakeFleet::new(2));
    let (orders, run) = start(&fleet, Duration::from_secs(60));
    until(|| fleet.scene().polls[0] > 20);
    orders.send(Order::Signal("SIGTERM")).unwrap();
    until(|| fleet.scene().drained == 1);
    fleet.change(|scene| scene.live_sessions = 0);
    let told = run.join().unwrap().told;
    assert_eq!(told[..2], ["READY=1", "STATUS=serving: 2 worker(s), 2 transfer(s) running"]);
    let stopping = told.iter().position(|message| message == "STOPPING=1").expect("said");
    assert!(told[stopping + 2].starts_with("STATUS=ending: 2 worker(s), "), "{told:?}");
    assert!(told[2..stopping].iter().all(|message| message == "WATCHDOG=1") && stopping > 3, "{told:?}");
    assert_eq!(told.iter().filter(|message| *message == "STOPPING=1").count(), 1);
    assert_eq!(told[told.len() - 2..], ["WATCHDOG=1", "STATUS=ended as asked"]);
}

#[test]
fn a_stalled_worker_is_reported_and_starves_the_watchdog() {
    let fleet = Arc::new(FakeFleet::new(0));
    fleet.change(|scene| scene.stuck[1] = true);
    let (orders, run) = start(&fleet, Duration::ZERO);
    until(|| !fleet.scene().stalls.is_empty());
    let polls = fleet.scene().polls[0];
    until(|| fleet.scene().polls[0] > polls + 20);
    orders.send(Order::Stop).unwrap();
    let end = run.join().unwrap();
    let fed = end.told.iter().filter(|message| *message == "WATCHDOG=1").count();
    // The first time there is nothing to compare with, and at the end; thirty looks would have been ten meals or more.
    assert_eq!(fed, 2, "{:?}", end.told);
    assert_eq!(fleet.scene().stalls, [(1, true)]);
    assert!(end.log.contains("worker 1 on lcore 2 stalls: no turn of its loop for "), "{}", end.log);
}

#[test]
fn a_worker_that_returns_is_reported_too() {
    let fleet = Arc::new(FakeFleet::new(0));
    let (orders, run) = start(&fleet, Duration::ZERO);
    fleet.change(|scene| scene.stuck[0] = true);
    until(|| fleet.scene().stalls == [(0, true)]);
    fleet.change(|scene| scene.stuck[0] = false);
    until(|| fleet.scene().stalls == [(0, true), (0, false)]);
    orders.send(Order::Stop).unwrap();
    let end = run.join().unwrap();
    assert!(end.log.contains("worker 0 on lcore 1 is back after a stall of "), "{}", end.log);
}

#[test]
fn ready_waits_for_the_last_worker() {
    let fleet = Arc::new(FakeFleet::new(0));
    fleet.change(|scene| scene.starting = true);
    let (orders, run) = start(&fleet, Duration::ZERO);
    thread::sleep(Duration::from_millis(60));
    orders.send(Order::Stop).unwrap();
    let end = run.join().unwrap();
    assert_eq!((end.outcome, end.out.as_str()), (Outcome::AsAsked, ""));
}

#[test]
fn a_failed_worker_ends_the_run_with_its_reason() {
    let fleet = Arc::new(FakeFleet::new(1));
    let (_orders, run) = start(&fleet, Duration::from_secs(60));
    fleet.change(|scene| {
        scene.failed.push(WorkerFailure { worker: 1, lcore: 2, reason: "panicked at a frame".to_owned() });
        scene.running_workers = 1;
    });
    until(|| fleet.scene().drained == 1);
    fleet.change(|scene| scene.live_sessions = 0);
    let end = run.join().unwrap();
    assert_eq!(end.outcome.exit_status(), 1);
    assert!(end.outcome.to_string().contains("worker 1 on lcore 2 failed: panicked at a frame"));
    assert!(end.log.contains("a worker failed"), "{}", end.log);
}

#[test]
fn a_worker_that_does_not_end_is_reported() {
    let fleet = Arc::new(FakeFleet::new(0));
    fleet.change(|scene| scene.obedient = false);
    let (orders, run) = start(&fleet, Duration::ZERO);
    orders.send(Order::Stop).unwrap();
    let end = run.join().unwrap();
    assert!(end.outcome.to_string().contains("2 worker(s) did not end"), "{}", end.outcome);
}

#[test]
fn supervision_goes_on_when_nobody_can_give_orders_any_more() {
    let fleet = Arc::new(FakeFleet::new(0));
    let (orders, run) = start(&fleet, Duration::ZERO);
    drop(orders);
    thread::sleep(Duration::from_millis(60));
    assert!(!run.is_finished());
    fleet.change(|scene| scene.running_workers = 0);
    assert_eq!(run.join().unwrap().outcome.exit_status(), 1);
}
