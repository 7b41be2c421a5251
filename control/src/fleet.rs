//! The running dataplane as control sees it. Everything here may be called from several control threads at a time
//! and returns at once, but for the copies of sessions, which wait for their worker, and not for long, and for reloads.

use std::net::{IpAddr, SocketAddr};

use crate::metrics::{Durations, LaneSnapshot};
use crate::protocol::{Core, Mempool, PortInfo, PortXstats, Version};
use crate::protocol::{
    Drops, Files, Latencies, PortStats, Refusal, RefusalCode, Reloaded, Session, Sessions, Stats, WorkerState, Workers,
};
use crate::taps::LookingOn;

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

/// Which of a port's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortCounters {
    /// Those that all ports have.
    Stats,
    /// The driver's own.
    Xstats,
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

    /// How long things took.
    fn latency(&self) -> Latencies {
        Latencies::default()
    }

    /// The ports' own counters.
    fn ports(&self) -> Vec<PortStats>;

    /// What each worker counted on each port.
    fn lane_counts(&self) -> Vec<LaneSnapshot> {
        Vec::new()
    }

    /// How long things took, as far as that is measured.
    fn durations(&self) -> Vec<Durations> {
        Vec::new()
    }

    /// What the ports are and were given.
    fn port_infos(&self) -> Vec<PortInfo> {
        Vec::new()
    }

    /// The drivers' own counters.
    fn port_xstats(&self) -> Vec<PortXstats> {
        Vec::new()
    }

    /// Zeroes counters of one port, or of all; for each that was asked for, whether its driver did, or why not.
    fn clear_ports(&self, _port: Option<u16>, _what: PortCounters) -> Vec<(u16, Result<(), String>)> {
        Vec::new()
    }

    /// What runs.
    fn version(&self) -> Version {
        Version { bypassd: env!("CARGO_PKG_VERSION").to_owned(), pid: std::process::id(), ..Version::default() }
    }

    /// The lcores in use, control's first.
    fn cores(&self) -> Vec<Core> {
        Vec::new()
    }

    /// The workers' frame buffers.
    fn mempools(&self) -> Vec<Mempool> {
        Vec::new()
    }

    /// What people may look on with; none where no worker lets them.
    fn looking_on(&self) -> Option<&LookingOn> {
        None
    }

    /// Asks all workers to take no new requests. May be called again.
    fn begin_drain(&self);

    /// Lets all workers take requests again. May be called again.
    fn end_drain(&self);

    /// Reads files and configuration again, and waits until all workers have taken them over.
    ///
    /// # Errors
    /// Why everything is as it was.
    fn reload(&self) -> Result<Reloaded, Refusal> {
        Err(Refusal::new(RefusalCode::NotDone, "there is nothing to reload", ""))
    }

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
