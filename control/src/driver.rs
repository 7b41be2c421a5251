//! Drives the [`Supervisor`] with a running [`Fleet`]: looks at it many times a second, does what the machine says, returns how it ended.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError};

use crate::fleet::{Fleet, Pulse};
use crate::manager::ServiceManager;
use crate::protocol::WorkerState;
use crate::stall::{LOOK_EVERY, StallWatch};
use crate::supervisor::{Action, Event, Observation, Order, Outcome, Policy, Supervisor};

/// How often the fleet is looked at.
pub const PERIOD: Duration = LOOK_EVERY;

/// Orders that may wait; more than these add nothing.
pub const ORDERS: usize = 16;

/// Supervises until the end. The line with `ready` goes to `out`, everything else to `log`, and to the service manager what concerns it.
///
/// # Errors
/// `out` cannot be written to, so that nobody will ever know that we are ready; the workers are asked to end first.
pub fn supervise(
    fleet: &dyn Fleet,
    orders: &Receiver<Order>,
    policy: Policy,
    manager: &mut ServiceManager,
    out: &mut dyn Write,
    log: &mut dyn Write,
) -> io::Result<Outcome> {
    let origin = Instant::now();
    let mut supervisor = Supervisor::new(policy);
    let mut stalls = StallWatch::new();
    let mut pulses = fleet.pulses();
    let mut next_look = origin + PERIOD;
    let mut event = Event::Seen(observe(fleet, &pulses));
    let mut count = None;
    let mut signalled = false;
    loop {
        signalled |= matches!(event, Event::Order(Order::Signal(_)));
        if let Event::Seen(seen) = &event
            && count.replace(seen.running_workers) != Some(seen.running_workers)
        {
            // A log that cannot be written must not end a service that can go on; here and below.
            drop(writeln!(log, "worker count is {}", seen.running_workers));
        }
        for action in supervisor.handle(origin.elapsed(), &event) {
            match action {
                Action::AnnounceReady => {
                    if let Err(error) = announce(fleet, out) {
                        fleet.stop();
                        return Err(error);
                    }
                    manager.ready(&status(fleet, false));
                }
                Action::BeginDrain => fleet.begin_drain(),
                Action::EndDrain => fleet.end_drain(),
                Action::StopWorkers => fleet.stop(),
                Action::Log(line) => drop(writeln!(log, "{line}")),
                Action::Finish(outcome) => {
                    manager.over(&outcome.to_string());
                    return Ok(outcome);
                }
            }
        }
        if let Event::Seen(_) = &event {
            let now = origin.elapsed();
            for finding in stalls.look(now, &pulses) {
                fleet.note_stall(finding.worker(), finding.stalled());
                drop(writeln!(log, "{finding}"));
            }
            // A drain by word may be taken back by `resume`, which systemd would not hear once it was told of an end.
            let ending = supervisor.is_ending() || (signalled && supervisor.is_draining());
            manager.look(now, ending, &pulses, || status(fleet, ending));
        }
        // A flood of orders does not keep us from looking.
        let order = match next_look.checked_duration_since(Instant::now()) {
            Some(wait) => next_order(orders, wait),
            None => None,
        };
        event = match order {
            Some(order) => Event::Order(order),
            None => {
                next_look = Instant::now() + PERIOD;
                pulses = fleet.pulses();
                Event::Seen(observe(fleet, &pulses))
            }
        };
    }
}

/// The next order, if one comes in this time.
fn next_order(orders: &Receiver<Order>, wait: Duration) -> Option<Order> {
    match orders.recv_timeout(wait) {
        Ok(order) => Some(order),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => {
            std::thread::sleep(wait);
            None
        }
    }
}

fn observe(fleet: &dyn Fleet, pulses: &[Pulse]) -> Observation {
    // The count first: a worker that fails in between is then seen as running now and as failed next time, never as vanished.
    let running_workers = fleet.running_workers();
    Observation {
        all_polling: !pulses.is_empty() && pulses.iter().all(|pulse| pulse.state == WorkerState::Polling),
        live_sessions: fleet.live_sessions(),
        running_workers,
        failed: fleet.failed_workers(),
    }
}

/// A line for the service manager.
fn status(fleet: &dyn Fleet, ending: bool) -> String {
    let what = if ending { "ending" } else { "serving" };
    format!("{what}: {} worker(s), {} transfer(s) running", fleet.running_workers(), fleet.live_sessions())
}

fn announce(fleet: &dyn Fleet, out: &mut dyn Write) -> io::Result<()> {
    let workers = fleet.workers();
    let lcores: Vec<String> = workers.workers.iter().map(|worker| worker.lcore.to_string()).collect();
    let files = fleet.files(0);
    writeln!(
        out,
        "bypassd ready: {} worker(s) polling on lcore {}, {} files, {} bytes",
        workers.count,
        lcores.join(","),
        files.files,
        files.bytes
    )?;
    out.flush()
}
