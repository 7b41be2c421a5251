//! One frame of `top`: two looks at the daemon, made into rates. Reads nothing itself.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use crate::ctl::rates::{self, PortRate};
use crate::protocol::{Link, Session, Sessions, Stats, WorkerState, Workers};

/// Everything that one look saw.
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) workers: Workers,
    pub(super) stats: Stats,
    pub(super) sessions: Sessions,
}

/// What is shown. Rates are per second; those of a first look, or across a restart, are unknown.
#[derive(Debug, Serialize)]
pub(super) struct Frame {
    pub(super) interval_seconds: Option<f64>,
    pub(super) uptime_seconds: u64,
    pub(super) running_sessions: u64,
    pub(super) rx_frames_per_second: Option<f64>,
    pub(super) tx_frames_per_second: Option<f64>,
    /// File bytes, repeats included.
    pub(super) data_bits_per_second: Option<f64>,
    pub(super) blocks_resent_per_second: Option<f64>,
    pub(super) pool_empty_per_second: Option<f64>,
    pub(super) opened_per_second: Option<f64>,
    /// Transfers by how they ended.
    pub(super) ended_per_second: BTreeMap<String, f64>,
    /// Frames by why they were dropped; only what happened.
    pub(super) dropped_per_second: BTreeMap<String, f64>,
    pub(super) workers: Vec<WorkerLine>,
    pub(super) ports: Vec<PortLine>,
    /// Those with the most blocks resent first, then the oldest.
    pub(super) sessions: Vec<Session>,
}

#[derive(Debug, Serialize)]
pub(super) struct WorkerLine {
    pub(super) id: u16,
    pub(super) lcore: u16,
    pub(super) state: WorkerState,
    pub(super) sessions: u64,
    pub(super) busy_percent: Option<f64>,
    pub(super) rx_frames_per_second: Option<f64>,
    pub(super) tx_frames_per_second: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct PortLine {
    pub(super) port: u16,
    pub(super) name: String,
    pub(super) link: Link,
    #[serde(flatten)]
    pub(super) rate: Option<PortRate>,
    /// Since the start.
    pub(super) rx_missed: u64,
    pub(super) tx_errors: u64,
}

/// What is compared.
struct Between<'a> {
    seconds: f64,
    before: &'a Sample,
}

impl Between<'_> {
    /// None where the counter went backwards, or no time passed.
    fn rate(&self, before: u64, now: u64) -> Option<f64> {
        let grown = now.checked_sub(before)?;
        (self.seconds > 0.0).then(|| grown as f64 / self.seconds)
    }

    fn rates(&self, before: &BTreeMap<String, u64>, now: &BTreeMap<String, u64>) -> BTreeMap<String, f64> {
        let rate = |(name, &count): (&String, &u64)| {
            let earlier = before.get(name).copied().unwrap_or(0);
            self.rate(earlier, count).filter(|&rate| rate > 0.0).map(|rate| (name.clone(), rate))
        };
        now.iter().filter_map(rate).collect()
    }
}

impl Frame {
    pub(super) fn between(before: Option<&Sample>, now: &Sample) -> Self {
        // A daemon that began again counts from zero.
        let same = |before: &&Sample| before.stats.uptime_seconds <= now.stats.uptime_seconds;
        let between = before
            .filter(same)
            .map(|before| Between { before, seconds: now.at.saturating_duration_since(before.at).as_secs_f64() });
        let between = between.as_ref();
        let rate = |count: fn(&Stats) -> u64| between.and_then(|b| b.rate(count(&b.before.stats), count(&now.stats)));
        let opened = |stats: &Stats| stats.transfers.get("opened").copied().unwrap_or(0);
        let ended = |stats: &Stats| {
            let mut ended = stats.transfers.clone();
            ended.retain(|name, _| name != "opened" && name != "running");
            ended
        };
        let mut sessions = now.sessions.sessions.clone();
        sessions.sort_by_key(|session| std::cmp::Reverse((session.resent_blocks, session.age_seconds)));
        Self {
            interval_seconds: between.map(|between| between.seconds),
            uptime_seconds: now.stats.uptime_seconds,
            running_sessions: now.stats.transfers.get("running").copied().unwrap_or(now.sessions.total),
            rx_frames_per_second: rate(|stats| stats.rx_frames),
            tx_frames_per_second: rate(|stats| stats.tx_frames),
            data_bits_per_second: rate(|stats| stats.data_bytes).map(|bytes| bytes * 8.0),
            blocks_resent_per_second: rate(|stats| stats.blocks_resent),
            pool_empty_per_second: rate(|stats| stats.pool_empty),
            opened_per_second: between.and_then(|b| b.rate(opened(&b.before.stats), opened(&now.stats))),
            ended_per_second: between
                .map_or_else(BTreeMap::new, |b| b.rates(&ended(&b.before.stats), &ended(&now.stats))),
            dropped_per_second: between
                .map_or_else(BTreeMap::new, |b| b.rates(&b.before.stats.dropped, &now.stats.dropped)),
            workers: workers(between, now),
            ports: ports(between, now),
            sessions,
        }
    }
}

fn workers(between: Option<&Between<'_>>, now: &Sample) -> Vec<WorkerLine> {
    now.workers
        .workers
        .iter()
        .map(|worker| {
            let before = between.and_then(|b| {
                b.before.workers.workers.iter().find(|known| known.id == worker.id).map(|known| (b, known))
            });
            // Of microseconds.
            let busy = before.and_then(|(b, known)| b.rate(known.busy_us, worker.busy_us));
            WorkerLine {
                id: worker.id,
                lcore: worker.lcore,
                state: worker.state,
                sessions: worker.sessions,
                busy_percent: busy.map(|us| (us / 10_000.0).min(100.0)),
                rx_frames_per_second: before.and_then(|(b, known)| b.rate(known.rx_frames, worker.rx_frames)),
                tx_frames_per_second: before.and_then(|(b, known)| b.rate(known.tx_frames, worker.tx_frames)),
            }
        })
        .collect()
}

fn ports(between: Option<&Between<'_>>, now: &Sample) -> Vec<PortLine> {
    now.stats
        .ports
        .iter()
        .map(|port| {
            let before =
                between.and_then(|b| b.before.stats.ports.iter().find(|known| known.port == port.port).map(|k| (b, k)));
            PortLine {
                port: port.port,
                name: port.name.clone(),
                link: port.link,
                rate: before.and_then(|(b, known)| rates::rate(known, port, b.seconds)),
                rx_missed: port.rx_missed,
                tx_errors: port.tx_errors,
            }
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::protocol::{PortStats, Worker};

    pub(in crate::ctl::top) fn sample(at: Instant, uptime_seconds: u64, count: u64) -> Sample {
        let worker = Worker {
            id: 0,
            lcore: 1,
            state: WorkerState::Polling,
            ports: vec![0],
            rx_frames: count,
            tx_frames: count * 2,
            sessions: 3,
            polls: count,
            empty_polls: 0,
            busy_us: count * 100,
            busy_percent: None,
            cycles_per_packet: None,
            bursts: Vec::new(),
            stalls: 0,
        };
        let port = PortStats { rx_bytes: count * 1_000, ..PortStats::default() };
        let stats = Stats {
            rx_frames: count,
            data_bytes: count * 512,
            uptime_seconds,
            transfers: [("opened".to_owned(), count), ("done".to_owned(), count / 2), ("running".to_owned(), 3)].into(),
            dropped: [("runt".to_owned(), count / 10), ("checksum".to_owned(), 7)].into(),
            ports: vec![port],
            ..Stats::default()
        };
        let workers = Workers { count: 1, workers: vec![worker] };
        Sample { at, workers, stats, sessions: Sessions::default() }
    }

    #[test]
    fn rates_are_of_the_time_between_two_looks() {
        let start = Instant::now();
        let (before, now) = (sample(start, 10, 1_000), sample(start + Duration::from_secs(2), 12, 3_000));
        let frame = Frame::between(Some(&before), &now);
        assert_eq!((frame.rx_frames_per_second, frame.opened_per_second), (Some(1_000.0), Some(1_000.0)));
        assert_eq!(frame.data_bits_per_second, Some(4_096_000.0));
        assert_eq!(frame.ended_per_second, [("done".to_owned(), 500.0)].into());
        assert_eq!(frame.dropped_per_second, [("runt".to_owned(), 100.0)].into(), "what did not happen is left out");
        assert_eq!(frame.workers[0].busy_percent, Some(10.0));
        assert_eq!(frame.ports[0].rate.map(|rate| rate.rx_bps), Some(8_000_000.0));
        assert_eq!(frame.running_sessions, 3);
    }

    #[test]
    fn a_first_look_and_a_restart_have_no_rates() {
        let start = Instant::now();
        let now = sample(start + Duration::from_secs(1), 1, 10);
        for before in [None, Some(sample(start, 500, 5))] {
            let frame = Frame::between(before.as_ref(), &now);
            assert_eq!((frame.interval_seconds, frame.rx_frames_per_second), (None, None));
            assert!(frame.dropped_per_second.is_empty() && frame.workers[0].busy_percent.is_none());
        }
    }
}
