//! What several answers have in common: choosing ports, passing orders on.

use std::time::{Duration, Instant};

use super::Asked;
use crate::protocol::{Accepted, Body, Refusal, RefusalCode, WorkerState};
use crate::supervisor::Order;

/// All ports' facts, or those of the one that was named.
pub(super) fn chosen<T>(all: Vec<T>, wanted: Option<u16>, number: fn(&T) -> u16) -> Result<Vec<T>, Refusal> {
    let Some(wanted) = wanted else { return Ok(all) };
    let chosen: Vec<T> = all.into_iter().filter(|port| number(port) == wanted).collect();
    if chosen.is_empty() {
        let message = format!("there is no port {wanted}");
        return Err(Refusal::new(RefusalCode::NotFound, message, "show port stats all"));
    }
    Ok(chosen)
}

/// Passes an order on to the supervisor, without waiting for what comes of it.
pub(super) fn order(asked: &Asked<'_>, order: Order, message: &str) -> Result<Body, Refusal> {
    let live_sessions = asked.fleet.live_sessions();
    match asked.orders.try_send(order) {
        Ok(()) => Ok(Body::Accepted(Accepted { message: message.to_owned(), live_sessions })),
        Err(_) => Err(Refusal::new(RefusalCode::Ending, "bypassd is already ending", "show workers")),
    }
}

/// How long workers may take to come back from draining: the supervisor looks every 20 ms, they look with their mail.
const RESUME_PATIENCE: Duration = Duration::from_secs(1);

/// Orders the workers back and waits until all of them take requests: a run that is about to end does not come back.
pub(super) fn resume(asked: &Asked<'_>) -> Result<Body, Refusal> {
    let accepted = order(asked, Order::Resume, "taking new requests")?;
    let begin = Instant::now();
    let all_polling = || asked.fleet.workers().workers.iter().all(|worker| worker.state == WorkerState::Polling);
    // The order is still on its way when the first look says that all is well, but then there was nothing to resume.
    loop {
        if all_polling() {
            return Ok(accepted);
        }
        if begin.elapsed() >= RESUME_PATIENCE {
            let message = "not resumed: bypassd is ending, or a worker has failed";
            return Err(Refusal::new(RefusalCode::Ending, message, "look at its log, then start it again"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
