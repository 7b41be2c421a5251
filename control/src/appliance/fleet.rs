//! The running dataplane as the rest of control sees it: reads counters, sends letters, never waits for a worker but for the
//! copies of sessions that it asked for, and for those not long.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dataplane::dpdk::{ArenaReach, Device, DeviceError, DeviceInfo, ReachableArena};
use dataplane::engine::{Ending, Fate, Outcome, SessionState, SessionView, Title};
use dataplane::files::{Allowance, Catalogue, LoadReport, PageKind, Reason, escape};
use dataplane::port::BURST;
use dataplane::wire::MacAddr;
use dataplane::worker::{
    DrainFlag, Histogram, LaneCounters, Letter, RecordRing, SessionsPage, StopFlag, WorkerState as State,
};

use super::busy::{Sample, Share};
use super::cache::Cache;
use super::crew::Member;
use super::look::Look;
use super::shelf::{Generation, Shelf};
use crate::count::WorkerCount;
use crate::fleet::{Fleet, PortCounters, Pulse, WorkerFailure};
use crate::hits::{EarlierHits, Hits};
use crate::latency;
use crate::links::{self, PortLink};
use crate::metrics::{Durations, LaneSnapshot};
use crate::protocol::{Core, Mempool, PortInfo, PortXstats, Version};
use crate::protocol::{
    Drop, Drops, FileEntry, Files, Latencies, Link, PortStats, Refusal, Reloaded, Session, Sessions, Stats, Worker,
    WorkerState, Workers,
};
use crate::reload::ReloadQueue;
use crate::taps::LookingOn;
use crate::transfer_log::Source;

/// Places of a session table that a worker copies in one turn of its loop.
const PAGE: usize = 512;

/// How long a copy may take.
const PAGE_PATIENCE: Duration = Duration::from_millis(500);

/// A port, as control keeps it.
pub(super) struct LivePort {
    reach: ArenaReach,
    pub(super) device: Mutex<Device>,
    pub(super) info: DeviceInfo,
    pub(super) mac: MacAddr,
    pub(super) mtu: u16,
    link_losses: AtomicU64,
}

impl LivePort {
    pub(super) fn new(device: Device, info: DeviceInfo, mac: MacAddr, mtu: u16) -> Self {
        let reach = device.arena_reach();
        Self { reach, device: Mutex::new(device), info, mac, mtu, link_losses: AtomicU64::new(0) }
    }

    fn link(&self) -> Option<Link> {
        // A panic of another reader leaves the device as it was.
        let link = self.device.lock().unwrap_or_else(PoisonError::into_inner).link().ok()?;
        Some(Link { up: link.up, speed_mbps: link.speed_mbps })
    }

    fn hint_link_changes(&self, hint: &Arc<OwnedFd>) -> Result<(), DeviceError> {
        let mut device = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        device.hint_link_changes(Arc::clone(hint))
    }

    pub(super) fn reach(&self, catalogue: &Catalogue) -> Option<ReachableArena> {
        // Without the device's lock: pinning pages takes a while, and others only want to look.
        self.reach.open(catalogue.arena())
    }

    fn stats(&self) -> PortStats {
        // A panic of another reader leaves the device as it was.
        let device = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        // A driver without counters or link state shows zeros and no link.
        let stats = device.stats().unwrap_or_default();
        drop(device);
        PortStats {
            port: self.info.port.index(),
            name: self.info.name.clone(),
            driver: self.info.driver.clone(),
            mac: self.mac.to_string(),
            mtu: self.mtu,
            link: self.link().unwrap_or_default(),
            link_losses: self.link_losses.load(Relaxed),
            rx_packets: stats.rx_packets,
            rx_bytes: stats.rx_bytes,
            rx_missed: stats.rx_missed,
            rx_errors: stats.rx_errors,
            rx_nombuf: stats.rx_no_mbuf,
            tx_packets: stats.tx_packets,
            tx_bytes: stats.tx_bytes,
            tx_errors: stats.tx_errors,
        }
    }
}

/// Ports, workers and catalogue while they run.
pub(super) struct LiveFleet {
    pub(super) members: Vec<Member>,
    pub(super) ports: Vec<LivePort>,
    pub(super) shelf: Shelf,
    pub(super) reloads: ReloadQueue,
    pub(super) cache: Cache,
    /// What the files may take, as it was at the start.
    pub(super) allowance: Allowance,
    pub(super) count: WorkerCount,
    pub(super) drain: DrainFlag,
    pub(super) stop: StopFlag,
    pub(super) look: Look,
    pub(super) started: Instant,
    /// Ticks of the TSC in a second.
    pub(super) tsc_hz: u64,
    /// What catalogues counted that are no more.
    pub(super) earlier_hits: Mutex<EarlierHits>,
}

impl LiveFleet {
    /// A catalogue that is to be served, made reachable for the ports' devices: that takes a while, which is not the workers' to wait.
    pub(super) fn generation(&self, catalogue: Arc<Catalogue>, report: LoadReport) -> Generation {
        let reach = self.ports.iter().filter_map(|port| port.reach(&catalogue)).collect();
        Generation::new(catalogue, report, reach)
    }

    fn lanes(&self) -> impl Iterator<Item = &LaneCounters> + Clone {
        self.members.iter().flat_map(|member| &member.counters).map(|counters| &**counters)
    }

    fn outcome(&self, outcome: Outcome) -> u64 {
        self.lanes().map(|lane| lane.outcome(outcome)).sum()
    }

    fn sum(&self, counter: impl Fn(&LaneCounters) -> u64) -> u64 {
        self.lanes().map(counter).sum()
    }

    /// Where the records of finished transfers are.
    pub(super) fn record_sources(&self) -> Vec<Source> {
        let of_member = |member: &Member| {
            let worker = member.index;
            member.counters.clone().into_iter().map(move |counters| Source { worker, counters })
        };
        self.members.iter().flat_map(of_member).collect()
    }

    fn outcomes(&self, fate: Fate) -> BTreeMap<String, u64> {
        Outcome::ALL
            .into_iter()
            .filter(|outcome| outcome.fate() == fate)
            .map(|outcome| (outcome.name().to_owned(), self.outcome(outcome)))
            .collect()
    }

    /// Copies one lane's sessions, page by page; false when the worker did not give all.
    fn walk_lane(&self, member: &Member, lane: usize, mut each: impl FnMut(&SessionView)) -> bool {
        let mut from = 0;
        loop {
            let (page, answered) = SessionsPage::ask(lane, from, PAGE);
            if member.letters.send(Letter::Sessions(page)).is_err() {
                return false;
            }
            let Ok(page) = answered.recv_timeout(PAGE_PATIENCE) else { return false };
            page.sessions.iter().for_each(&mut each);
            if page.at_end {
                return true;
            }
            from = page.from;
        }
    }

    /// Those that are wanted, of all workers.
    fn collect_sessions(&self, limit: usize, wanted: impl Fn(&SessionView) -> bool) -> Sessions {
        let mut sessions = Vec::new();
        let mut total = 0;
        let mut complete = true;
        for member in &self.members {
            for lane in 0..member.counters.len() {
                complete &= self.walk_lane(member, lane, |view| {
                    if !wanted(view) {
                        return;
                    }
                    total += 1;
                    if sessions.len() < limit {
                        sessions.push(self.describe(member.index, view));
                    }
                });
            }
        }
        Sessions { truncated: !complete || total > sessions.len() as u64, sessions, total }
    }

    fn describe(&self, worker: u16, view: &SessionView) -> Session {
        // Whatever a session reads is on the shelf, unless it ended while we looked.
        let catalogue = view.generation.and_then(|generation| self.shelf.find(generation));
        let file =
            catalogue.map_or_else(|| "-".to_owned(), |catalogue| escape(catalogue.file(view.file).name()).to_string());
        let blksize = u64::from(view.blksize);
        let stream_bytes = view.stream_bytes.unwrap_or_default();
        Session {
            client: std::net::SocketAddr::from(view.client).to_string(),
            client_mac: MacAddr(view.route.client_mac).to_string(),
            vlan: view.route.vlan.map(|tag| tag & 0xFFF),
            server: view.server.0.to_string(),
            tid: view.server.1,
            file,
            generation: view.generation.map_or(0, |generation| generation.0.into()),
            worker,
            state: match view.state {
                SessionState::Unproven => "unproven",
                SessionState::Sending => "sending",
                SessionState::Lingering => "lingering",
            }
            .to_owned(),
            blksize: view.blksize,
            windowsize: view.window.into(),
            acked_blocks: view.acked_blocks.into(),
            total_blocks: stream_bytes / blksize + 1,
            acked_bytes: (u64::from(view.acked_blocks) * blksize).min(stream_bytes),
            total_bytes: stream_bytes,
            resent_blocks: view.blocks_again.into(),
            age_seconds: view.age_secs.into(),
            rtt_us: view.srtt_us.map(u64::from),
        }
    }
}

/// What a worker does by its own account.
fn state(member: &Member) -> WorkerState {
    match member.status.state() {
        State::Starting => WorkerState::Starting,
        State::Polling => WorkerState::Polling,
        State::Draining => WorkerState::Draining,
        State::Stopped => WorkerState::Stopped,
        State::Failed => WorkerState::Failed,
    }
}

fn pulse(member: &Member) -> Pulse {
    Pulse {
        worker: member.index,
        lcore: u16::try_from(member.lcore.index()).unwrap_or(u16::MAX),
        state: state(member),
        polls: member.status.polls.get(),
    }
}

impl LiveFleet {
    /// Has the devices write to `hint` when their links change.
    pub(super) fn hint_link_changes(&self, hint: &Arc<OwnedFd>) -> Result<(), DeviceError> {
        self.ports.iter().try_for_each(|port| port.hint_link_changes(hint))
    }

    fn place_of(&self, port: u16) -> Option<usize> {
        self.ports.iter().position(|each| each.info.port.index() == port)
    }
}

impl links::Ports for LiveFleet {
    fn links(&self) -> Vec<PortLink> {
        let link = |port: &LivePort| PortLink {
            port: port.info.port.index(),
            name: port.info.name.clone(),
            link: port.link(),
        };
        self.ports.iter().map(link).collect()
    }

    fn note_loss(&self, port: u16) {
        if let Some(place) = self.place_of(port) {
            self.ports[place].link_losses.fetch_add(1, Relaxed);
        }
    }

    fn announce(&self, port: u16) -> bool {
        // Lanes are in the order of the ports; the first worker speaks for all, and one that has ended needs to say nothing.
        match (self.place_of(port), self.members.first()) {
            (Some(lane), Some(first)) if pulse(first).should_beat() => {
                first.letters.send(Letter::Announce { lane }).is_ok()
            }
            _ => true,
        }
    }
}

impl Fleet for LiveFleet {
    fn workers(&self) -> Workers {
        let worker = |member: &Member| {
            let polls = member.status.polls.get();
            let empty_polls = member.status.empty_polls.get();
            let sum = |counter: fn(&LaneCounters) -> u64| member.counters.iter().map(|lane| counter(lane)).sum::<u64>();
            let handled = sum(|lane| lane.accounted_frames() + lane.handed_over.get());
            let packets = handled.max(sum(|lane| lane.tx_frames.get()));
            let now = Sample { at: Instant::now(), busy_ns: member.status.busy_ns.get(), packets };
            // A panic of another reader leaves a pair of numbers.
            let Share { percent, ns_per_packet } = member.busy.lock().unwrap_or_else(PoisonError::into_inner).look(now);
            Worker {
                id: member.index,
                lcore: u16::try_from(member.lcore.index()).unwrap_or(u16::MAX),
                state: match state(member) {
                    WorkerState::Polling | WorkerState::Draining if member.stalls.now.load(Relaxed) => {
                        WorkerState::Stalled
                    }
                    state => state,
                },
                ports: self.ports.iter().map(|port| port.info.port.index()).collect(),
                rx_frames: sum(|lane| lane.rx_frames.get()),
                tx_frames: sum(|lane| lane.tx_frames.get()),
                sessions: sum(|lane| lane.active_sessions.get()),
                polls,
                empty_polls,
                busy_us: member.status.busy_us.get(),
                busy_percent: percent,
                cycles_per_packet: ns_per_packet.map(|ns| ns * self.tsc_hz as f64 / 1e9),
                bursts: (0..=BURST)
                    .map(|size| member.counters.iter().map(|lane| lane.bursts[size].get()).sum())
                    .collect(),
                stalls: member.stalls.count.load(Relaxed),
            }
        };
        Workers { count: self.count.get(), workers: self.members.iter().map(worker).collect() }
    }

    fn pulses(&self) -> Vec<Pulse> {
        self.members.iter().map(pulse).collect()
    }

    fn note_stall(&self, worker: u16, stalled: bool) {
        if let Some(member) = self.members.get(usize::from(worker)) {
            member.stalls.now.store(stalled, Relaxed);
            member.stalls.count.fetch_add(stalled.into(), Relaxed);
        }
    }

    fn stats(&self) -> Stats {
        // Outcomes before frames: what arrives in between is in flight, never accounted for without having come.
        let served = self.outcomes(Fate::Served);
        let dropped = self.outcomes(Fate::Dropped);
        let accounted_frames = served.values().chain(dropped.values()).sum();
        let rx_frames = self.sum(|lane| lane.rx_frames.get());
        let mut transfers: BTreeMap<String, u64> = Ending::ALL
            .into_iter()
            .map(|ending| (ending.name().to_owned(), self.sum(|lane| lane.ending(ending))))
            .collect();
        transfers.insert("opened".to_owned(), self.sum(|lane| lane.opened.get()));
        transfers.insert("running".to_owned(), self.live_sessions());
        Stats {
            rx_frames,
            accounted_frames,
            in_flight_frames: Some(rx_frames.saturating_sub(accounted_frames)),
            served,
            dropped,
            tx_frames: self.sum(|lane| lane.tx_frames.get()).saturating_sub(self.sum(|lane| lane.relayed.get())),
            tx_dropped: self.sum(|lane| lane.tx_dropped.get()),
            pool_empty: self.sum(|lane| lane.pool_empty.get()),
            to_kernel: self.sum(|lane| lane.to_kernel.get()),
            from_kernel: self.sum(|lane| lane.from_kernel.get()),
            kernel_lost: self.sum(|lane| lane.kernel_lost.get()),
            data_bytes: self.sum(|lane| lane.data_bytes.get()),
            data_blocks: self.sum(|lane| lane.data_blocks.get()),
            blocks_resent: self.sum(|lane| lane.blocks_again.get()),
            transfers,
            log_records_lost: self.sum(|lane| lane.records.as_ref().map_or(0, RecordRing::lost)),
            cache: self.cache.counts(self.lanes()),
            ports: self.ports(),
            uptime_seconds: self.started.elapsed().as_secs(),
        }
    }

    fn sessions(&self, limit: usize) -> Sessions {
        self.collect_sessions(limit, |_| true)
    }

    fn sessions_of(&self, client: IpAddr, limit: usize) -> Sessions {
        self.collect_sessions(limit, |view| std::net::SocketAddr::from(view.client).ip() == client)
    }

    fn files(&self, limit: usize) -> Files {
        let (catalogue, report) = (self.shelf.current(), self.shelf.report());
        let left_out = Reason::ALL
            .into_iter()
            .map(|reason| (reason.to_string(), report.left_out(reason)))
            .filter(|(_, count)| *count > 0)
            .collect();
        // A panic of another reader leaves the numbers as they were.
        let earlier = self.earlier_hits.lock().unwrap_or_else(PoisonError::into_inner);
        let residents = self.cache.residents();
        let generation = catalogue.generation();
        let entry = |(name, file)| {
            let Hits { hits, bytes: served_bytes } = earlier.of(&catalogue, file);
            FileEntry {
                name: escape(name).to_string(),
                bytes: catalogue.file(file).len(),
                hits,
                served_bytes,
                resident: !catalogue.is_absent(file) || residents.contains(&Title { generation, file }),
            }
        };
        let list: Vec<FileEntry> = catalogue.names().take(limit).map(entry).collect();
        Files {
            generation: catalogue.generation().0.into(),
            files: catalogue.file_count() as u64,
            bytes: catalogue.total_bytes(),
            left_out,
            page_kind: page_kind_name(catalogue.page_kind()).to_owned(),
            truncated: catalogue.names().nth(list.len()).is_some(),
            list,
            cache: self.cache.show(&catalogue, self.cache.counts(self.lanes())),
        }
    }

    fn drops(&self) -> Drops {
        let drops: Vec<Drop> = Outcome::ALL
            .into_iter()
            .filter(|outcome| outcome.fate() == Fate::Dropped)
            .map(|outcome| Drop {
                reason: outcome.name().to_owned(),
                help: outcome.help().to_owned(),
                count: self.outcome(outcome),
            })
            .collect();
        Drops { total: drops.iter().map(|drop| drop.count).sum(), drops }
    }

    fn latency(&self) -> Latencies {
        latency::describe(self.lanes())
    }

    fn ports(&self) -> Vec<PortStats> {
        self.ports.iter().map(LivePort::stats).collect()
    }

    fn lane_counts(&self) -> Vec<LaneSnapshot> {
        let of_member = |member: &Member| {
            let counters = self.ports.iter().zip(member.counters.clone());
            let worker = member.index;
            counters
                .map(move |(port, lane)| LaneSnapshot::read(worker, port.info.port.index(), &lane))
                .collect::<Vec<_>>()
        };
        self.members.iter().flat_map(of_member).collect()
    }

    fn durations(&self) -> Vec<Durations> {
        let counts = |of: fn(&LaneCounters) -> &Histogram| self.lanes().flat_map(move |lane| of(lane).counts());
        vec![
            Durations::of_nanoseconds(
                "first_data",
                "From a request to its first DATA in the transmit queue, where that is the answer: the work of this host alone.",
                counts(|lane| &lane.latency.first_data),
            ),
            Durations::of_microseconds(
                "first_data_after_offer",
                "From a request with options to the ACK of its OACK, which the first DATA answers: the client's round trip is in it.",
                counts(|lane| &lane.latency.first_data_after_offer),
            ),
            Durations::of_microseconds(
                "transfer",
                "From a request to the last ACK, of transfers that were done.",
                counts(|lane| &lane.latency.transfer),
            ),
        ]
    }

    fn port_infos(&self) -> Vec<PortInfo> {
        self.ports.iter().map(LivePort::describe).collect()
    }

    fn port_xstats(&self) -> Vec<PortXstats> {
        self.ports.iter().map(LivePort::xstats).collect()
    }

    fn clear_ports(&self, wanted: Option<u16>, what: PortCounters) -> Vec<(u16, Result<(), String>)> {
        let numbered = self.ports.iter().map(|port| (port.info.port.index(), port));
        let chosen = numbered.filter(|(number, _)| wanted.is_none_or(|wanted| wanted == *number));
        chosen.map(|(number, port)| (number, port.clear(what))).collect()
    }

    fn version(&self) -> Version {
        self.look.version.clone()
    }

    fn cores(&self) -> Vec<Core> {
        self.look.cores.clone()
    }

    fn mempools(&self) -> Vec<Mempool> {
        self.look.mempools()
    }

    fn looking_on(&self) -> Option<&LookingOn> {
        Some(&self.look.looking_on)
    }

    fn begin_drain(&self) {
        self.drain.raise();
    }

    fn end_drain(&self) {
        self.drain.lower();
    }

    fn reload(&self) -> Result<Reloaded, Refusal> {
        self.reloads.ask(|| self.stop.is_raised())
    }

    fn stop(&self) {
        self.stop.raise();
    }

    fn live_sessions(&self) -> u64 {
        let serving = |member: &&Member| !matches!(member.status.state(), State::Stopped | State::Failed);
        let lanes = self.members.iter().filter(serving).flat_map(|member| &member.counters);
        lanes.map(|lane| lane.active_sessions.get()).sum()
    }

    fn failed_workers(&self) -> Vec<WorkerFailure> {
        let failure = |member: &Member| {
            member.failure.get().map(|reason| WorkerFailure {
                worker: member.index,
                lcore: u16::try_from(member.lcore.index()).unwrap_or(u16::MAX),
                reason: reason.clone(),
            })
        };
        self.members.iter().filter_map(failure).collect()
    }

    fn running_workers(&self) -> usize {
        self.count.get()
    }
}

/// As programs know it.
pub(super) const fn page_kind_name(kind: PageKind) -> &'static str {
    match kind {
        PageKind::Huge2M => "huge_2m",
        PageKind::Transparent => "transparent",
        PageKind::Ordinary => "ordinary",
    }
}
