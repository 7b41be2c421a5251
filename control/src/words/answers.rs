//! What several answers have in common: choosing ports, passing orders on.

use super::Asked;
use crate::protocol::{Accepted, Body, Refusal, RefusalCode};
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
