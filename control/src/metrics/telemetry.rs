//! The fleet on DPDK's telemetry socket, for `dpdk-telemetry.py`: `/bypassd/stats`, `/bypassd/workers`, `/bypassd/sessions`,
//! `/bypassd/drops`, `/bypassd/latency`. Every reply stays below DPDK's 16 KiB; lists come in pages.

use std::collections::BTreeMap;
use std::sync::Arc;

use dataplane::dpdk::{Dict, Eal, TelemetryCommand, TelemetryError, Value};

use super::snapshot::Durations;
use crate::fleet::Fleet;
use crate::protocol::{Drops, Session, Stats, Worker, WorkerState, Workers};

/// Workers in one reply: their numbers take less than 300 bytes each.
const WORKERS_PAGE: usize = 32;

/// Sessions in one reply: with the longest addresses and names they take less than 800 bytes each.
const SESSIONS_PAGE: usize = 16;

/// A page beyond which nobody looks; keeps the copy that a page is cut from small.
const SESSIONS_LAST: usize = 4_096;

/// Makes a reply; `None` when the parameters mean nothing.
type Make = fn(&dyn Fleet, &str) -> Option<Dict>;

/// Name, help (127 bytes at most) and what answers.
const COMMANDS: [(&str, &str, Make); 5] = [
    ("/bypassd/stats", "Frames and transfers, summed up over the workers. No parameters", stats),
    ("/bypassd/workers", "Workers and what they do. Parameter: number of the first one, default 0", workers),
    ("/bypassd/sessions", "Running transfers. Parameter: how many to skip, default 0", sessions),
    ("/bypassd/drops", "Frames dropped, by reason. No parameters", drops),
    ("/bypassd/latency", "Durations as counts per bucket, in microseconds. No parameters", latency),
];

/// Offers all commands, until what is returned is dropped.
///
/// # Errors
/// DPDK refuses one.
pub fn offer(eal: &Eal, fleet: &Arc<dyn Fleet>) -> Result<Vec<TelemetryCommand>, TelemetryError> {
    let one = |(name, help, make): (&str, &str, Make)| {
        let fleet = Arc::clone(fleet);
        eal.offer_telemetry(name, help, move |parameters| make(&*fleet, parameters))
    };
    COMMANDS.into_iter().map(one).collect()
}

fn number(name: &str, value: u64) -> (String, Value) {
    (name.to_owned(), Value::Number(value))
}

fn text(name: &str, value: impl Into<String>) -> (String, Value) {
    (name.to_owned(), Value::Text(value.into()))
}

fn numbers(counts: &BTreeMap<String, u64>) -> Dict {
    counts.iter().map(|(name, count)| number(name, *count)).collect()
}

/// What stands behind the comma as a place to begin at.
fn place(parameters: &str) -> Option<usize> {
    if parameters.is_empty() { Some(0) } else { parameters.parse().ok() }
}

fn stats(fleet: &dyn Fleet, parameters: &str) -> Option<Dict> {
    if !parameters.is_empty() {
        return None;
    }
    let Stats {
        rx_frames,
        accounted_frames,
        tx_frames,
        tx_dropped,
        pool_empty,
        to_kernel,
        from_kernel,
        kernel_lost,
        data_bytes,
        data_blocks,
        blocks_resent,
        uptime_seconds,
        served,
        transfers,
        ..
    } = fleet.stats();
    let mut all = vec![
        number("uptime_seconds", uptime_seconds),
        number("rx_frames", rx_frames),
        number("accounted_frames", accounted_frames),
        number("tx_frames", tx_frames),
        number("tx_dropped", tx_dropped),
        number("pool_empty", pool_empty),
        number("to_kernel", to_kernel),
        number("from_kernel", from_kernel),
        number("kernel_lost", kernel_lost),
        number("data_bytes", data_bytes),
        number("data_blocks", data_blocks),
        number("blocks_resent", blocks_resent),
    ];
    all.push(("served".to_owned(), Value::Dict(numbers(&served))));
    all.push(("transfers".to_owned(), Value::Dict(numbers(&transfers))));
    Some(all)
}

/// A page of a list: how many there are, where the next page begins, if there is one, and each entry under its place.
fn page(total: usize, from: usize, entries: Vec<Dict>) -> Dict {
    let next = from.saturating_add(entries.len());
    let is_last = entries.is_empty() || next >= total;
    let mut reply = vec![number("total", total as u64)];
    if !is_last {
        reply.push(number("next", next as u64));
    }
    reply.extend((from..).zip(entries).map(|(place, entry)| (place.to_string(), Value::Dict(entry))));
    reply
}

fn workers(fleet: &dyn Fleet, parameters: &str) -> Option<Dict> {
    let from = place(parameters)?;
    let Workers { workers, .. } = fleet.workers();
    let entries = workers.iter().skip(from).take(WORKERS_PAGE).map(worker).collect();
    Some(page(workers.len(), from, entries))
}

fn worker(worker: &Worker) -> Dict {
    let state = match worker.state {
        WorkerState::Starting => "starting",
        WorkerState::Polling => "polling",
        WorkerState::Draining => "draining",
        WorkerState::Stalled => "stalled",
        WorkerState::Stopped => "stopped",
        WorkerState::Failed => "failed",
    };
    vec![
        number("id", worker.id.into()),
        number("lcore", worker.lcore.into()),
        text("state", state),
        number("sessions", worker.sessions),
        number("rx_frames", worker.rx_frames),
        number("tx_frames", worker.tx_frames),
        number("polls", worker.polls),
        number("empty_polls", worker.empty_polls),
        number("busy_us", worker.busy_us),
        number("stalls", worker.stalls),
    ]
}

fn sessions(fleet: &dyn Fleet, parameters: &str) -> Option<Dict> {
    let from = place(parameters)?;
    if from > SESSIONS_LAST {
        return None;
    }
    let found = fleet.sessions(from + SESSIONS_PAGE);
    let entries = found.sessions.iter().skip(from).map(session).collect();
    Some(page(usize::try_from(found.total).unwrap_or(usize::MAX), from, entries))
}

fn session(session: &Session) -> Dict {
    vec![
        text("client", session.client.as_str()),
        text("server", session.server.as_str()),
        number("tid", session.tid.into()),
        text("file", session.file.as_str()),
        number("worker", session.worker.into()),
        text("state", session.state.as_str()),
        number("blksize", session.blksize.into()),
        number("windowsize", session.windowsize.into()),
        number("acked_bytes", session.acked_bytes),
        number("total_bytes", session.total_bytes),
        number("resent_blocks", session.resent_blocks),
        number("age_seconds", session.age_seconds),
    ]
}

fn drops(fleet: &dyn Fleet, parameters: &str) -> Option<Dict> {
    if !parameters.is_empty() {
        return None;
    }
    let Drops { drops, total } = fleet.drops();
    let reasons = drops.iter().map(|drop| number(&drop.reason, drop.count)).collect();
    Some(vec![number("total", total), ("reasons".to_owned(), Value::Dict(reasons))])
}

fn latency(fleet: &dyn Fleet, parameters: &str) -> Option<Dict> {
    if !parameters.is_empty() {
        return None;
    }
    Some(fleet.durations().iter().map(|one| (one.name.to_owned(), Value::Dict(distribution(one)))).collect())
}

/// Counts by upper bound, as `le_500` for at most 500 microseconds.
fn distribution(latency: &Durations) -> Dict {
    let mut all = vec![number("count", latency.count())];
    all.extend(latency.buckets.iter().map(|&(bound, count)| {
        if bound.is_finite() { number(&format!("le_{:.0}", bound * 1e6), count) } else { number("le_inf", count) }
    }));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_where_the_next_one_begins() {
        let entries = |count| vec![vec![number("id", 1)]; count];
        let next = |dict: &Dict| dict.iter().find(|(name, _)| name == "next").map(|(_, value)| value.clone());
        assert_eq!(next(&page(40, 0, entries(16))), Some(Value::Number(16)));
        assert_eq!(next(&page(40, 32, entries(8))), None);
        assert_eq!(next(&page(40, 99, entries(0))), None, "whoever asks on comes to an end");
    }

    #[test]
    fn entries_are_named_by_their_place() {
        let names: Vec<String> = page(40, 16, vec![vec![], vec![]]).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["total", "next", "16", "17"]);
    }

    #[test]
    fn parameters_are_a_number_or_nothing() {
        assert_eq!((place(""), place("16")), (Some(0), Some(16)));
        assert_eq!((place("x"), place("-1"), place("1,2")), (None, None, None));
    }

    #[test]
    fn help_fits_into_what_dpdk_takes() {
        for (name, help, _) in COMMANDS {
            assert!(help.len() < 128 && name.len() < 56, "{name}");
        }
    }
}
