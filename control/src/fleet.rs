//! The running dataplane as control sees it. Everything here may be called from several control threads at a time
//! and returns at once, but for the copies of sessions: those wait for their worker, and not for long.

use std::net::{IpAddr, SocketAddr};

use crate::protocol::{Drops, Files, PortStats, Session, Sessions, Stats, WorkerState, Workers};

/// A worker that ended on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerFailure {
    /// Which one.
    pub worker: u16,
    /// Its lcore.
    pub lcore: u16,
    /// What it died of.
    pub reason: String,
}

/// A worker's sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// Which one; counted from 0, without a gap.
    pub worker: u16,
    /// Its lcore.
    pub lcore: u16,
    /// What it is doing by its own account, so never [`WorkerState::Stalled`].
    pub state: WorkerState,
    /// Turns of its loop, which sleeping workers make too.
    pub polls: u64,
}

impl Pulse {
    /// Whether its turns should go on.
    #[must_use]
    pub fn should_beat(&self) -> bool {
        matches!(self.state, WorkerState::Polling | WorkerState::Draining)
    }
}

/// Ports, workers and catalogue while they run.
pub trait Fleet: Send + Sync {
    /// All workers and what they do.
    fn workers(&self) -> Workers;

    /// The workers' signs of life: a few loads each, to be asked for many times a second.
    fn pulses(&self) -> Vec<Pulse>;

    /// Notes for [`workers`](Self::workers) that a worker stalls, or that it does no longer.
    fn note_stall(&self, worker: u16, stalled: bool);

    /// Counters, summed over the workers.
    fn stats(&self) -> Stats;

    /// At most `limit` running transfers.
    fn sessions(&self, limit: usize) -> Sessions;

    /// At most `limit` running transfers of one client.
    fn sessions_of(&self, client: IpAddr, limit: usize) -> Sessions {
        let mut found = self.sessions(usize::MAX);
        let of_client = |session: &Session| session.client.parse().is_ok_and(|from: SocketAddr| from.ip() == client);
        found.sessions.retain(of_client);
        found.total = found.sessions.len() as u64;
        found.truncated |= found.sessions.len() > limit;
        found.sessions.truncate(limit);
        found
    }

    /// The catalogue, with at most `limit` names.
    fn files(&self, limit: usize) -> Files;

    /// Every drop reason with its count.
    fn drops(&self) -> Drops;

    /// The ports' own counters.
    fn ports(&self) -> Vec<PortStats>;

    /// Asks all workers to take no new requests. May be called again.
    fn begin_drain(&self);

    /// Asks all workers to end. May be called again.
    fn stop(&self);

    /// Transfers that would be cut off by a stop now; those that only linger to re-answer, and those of
    /// workers that ended, are not counted.
    fn live_sessions(&self) -> u64;

    /// Workers that ended on their own, so far. A failure is to be found here before the worker leaves the count.
    fn failed_workers(&self) -> Vec<WorkerFailure>;

    /// The worker count: those that were launched and have not ended.
    fn running_workers(&self) -> usize;
}
