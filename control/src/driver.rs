//! Drives the [`Supervisor`] with a running [`Fleet`]: looks at it many times a second, does what the machine says, returns how it ended.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError};

use crate::fleet::Fleet;
use crate::protocol::WorkerState;
use crate::supervisor::{Action, Event, Observation, Order, Outcome, Policy, Supervisor};

/// How often the fleet is looked at.
pub const PERIOD: Duration = Duration::from_millis(20);

/// Orders that may wait; more than these add nothing.
pub const ORDERS: usize = 16;

/// Supervises until the end. The line with `ready` goes to `out`, everything else to `log`.
///
/// # Errors
/// `out` cannot be written to, so that nobody will ever know that we are ready; the workers are asked to end first.
pub fn supervise(
    fleet: &dyn Fleet,
    orders: &Receiver<Order>,
    policy: Policy,
    out: &mut dyn Write,
    log: &mut dyn Write,
) -> io::Result<Outcome> {
    let origin = Instant::now();
    let mut supervisor = Supervisor::new(policy);
    let mut event = Event::Seen(observe(fleet));
    let mut count = None;
    loop {
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
                }
                Action::BeginDrain => fleet.begin_drain(),
                Action::EndDrain => fleet.end_drain(),
                Action::StopWorkers => fleet.stop(),
                Action::Log(line) => drop(writeln!(log, "{line}")),
                Action::Finish(outcome) => return Ok(outcome),
            }
        }
        event = match orders.recv_timeout(PERIOD) {
            Ok(order) => Event::Order(order),
            Err(RecvTimeoutError::Timeout) => Event::Seen(observe(fleet)),
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(PERIOD);
                Event::Seen(observe(fleet))
            }
        };
    }
}

fn observe(fleet: &dyn Fleet) -> Observation {
    // The count first: a worker that fails in between is then seen as running now and as failed next time, never as vanished.
    let running_workers = fleet.running_workers();
    let workers = fleet.workers().workers;
    Observation {
        all_polling: !workers.is_empty() && workers.iter().all(|worker| worker.state == WorkerState::Polling),
        live_sessions: fleet.live_sessions(),
        running_workers,
        failed: fleet.failed_workers(),
    }
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
