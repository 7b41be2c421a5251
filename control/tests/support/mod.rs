//! A fleet that only pretends, so that everything above the seam can be driven without a dataplane.

use std::sync::Mutex;
use std::time::Duration;

use control::fleet::{Fleet, Pulse, WorkerFailure};
use control::metrics::{Durations, LaneSnapshot};
use control::protocol::{
    Drop, Drops, FileEntry, Files, Link, PortStats, Refusal, RefusalCode, Reloaded, Session, Sessions, Stats, Worker,
    WorkerState, Workers,
};
use dataplane::engine::{Ending, Outcome};

/// What a test has arranged, and what was asked of the fleet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scene {
    pub(crate) starting: bool,
    pub(crate) live_sessions: u64,
    pub(crate) running_workers: usize,
    pub(crate) failed: Vec<WorkerFailure>,
    pub(crate) drained: u32,
    pub(crate) resumed: u32,
    /// Whether reloads fail.
    pub(crate) root_is_gone: bool,
    pub(crate) reloaded: u32,
    pub(crate) reload_takes: Duration,
    pub(crate) stopped: u32,
    /// Workers end as soon as they are told to.
    pub(crate) obedient: bool,
    /// Turns of the loops of the two workers; each look adds one, but to a worker that is stuck.
    pub(crate) polls: [u64; 2],
    pub(crate) stuck: [bool; 2],
    /// What was noted, in order.
    pub(crate) stalls: Vec<(u16, bool)>,
}

/// The fleet.
#[derive(Debug)]
pub(crate) struct FakeFleet(Mutex<Scene>);

impl FakeFleet {
    pub(crate) fn new(live_sessions: u64) -> Self {
        Self(Mutex::new(Scene { live_sessions, running_workers: 2, obedient: true, ..Scene::default() }))
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Scene)) {
        change(&mut self.0.lock().expect("no test panics while it holds the scene"));
    }

    pub(crate) fn scene(&self) -> Scene {
        self.0.lock().expect("no test panics while it holds the scene").clone()
    }
}

impl Fleet for FakeFleet {
    fn workers(&self) -> Workers {
        let scene = self.scene();
        let state = if scene.starting { WorkerState::Starting } else { WorkerState::Polling };
        let worker = |id: u16| Worker {
            id,
            lcore: id + 1,
            state,
            ports: vec![0],
            rx_frames: 10,
            tx_frames: 9,
            sessions: 1,
            polls: 1_000,
            empty_polls: 900,
            busy_us: 125_000,
            busy_percent: Some(12.5),
            cycles_per_packet: Some(250.5),
            bursts: vec![0, 60, 30, 10],
            stalls: 3,
        };
        Workers { count: scene.running_workers, workers: vec![worker(0), worker(1)] }
    }

    fn pulses(&self) -> Vec<Pulse> {
        self.change(|scene| {
            for (polls, stuck) in scene.polls.iter_mut().zip(scene.stuck) {
                *polls += u64::from(!stuck);
            }
        });
        let scene = self.scene();
        let state = if scene.starting { WorkerState::Starting } else { WorkerState::Polling };
        [0, 1].map(|id| Pulse { worker: id, lcore: id + 1, state, polls: scene.polls[usize::from(id)] }).to_vec()
    }

    fn note_stall(&self, worker: u16, stalled: bool) {
        self.change(|scene| scene.stalls.push((worker, stalled)));
    }

    fn stats(&self) -> Stats {
        Stats {
            rx_frames: 20,
            accounted_frames: 20,
            served: [("request".to_owned(), 17)].into(),
            dropped: [("runt".to_owned(), 3)].into(),
            ports: self.ports(),
            ..Stats::default()
        }
    }

    fn sessions(&self, limit: usize) -> Sessions {
        let session = Session {
            client: "192.0.2.2:1024".to_owned(),
            client_mac: "02:00:00:00:00:02".to_owned(),
            vlan: None,
            server: "192.0.2.1".to_owned(),
            tid: 40_000,
            file: "boot\u{1b}[31m/vmlinuz".to_owned(),
            generation: 1,
            worker: 0,
            state: "sending".to_owned(),
            blksize: 1_428,
            windowsize: 16,
            acked_blocks: 5,
            total_blocks: 10,
            acked_bytes: 7_140,
            total_bytes: 14_280,
            resent_blocks: 0,
            age_seconds: 12,
            rtt_us: Some(250),
        };
        Sessions { sessions: vec![session; limit.min(1)], total: self.live_sessions(), truncated: true }
    }

    fn files(&self, limit: usize) -> Files {
        let entry =
            FileEntry { name: "vmlinuz".to_owned(), bytes: 14_280, hits: 3, served_bytes: 42_840, resident: true };
        let list = vec![entry; limit.min(1)];
        Files { generation: 1, files: 1, bytes: 14_280, page_kind: "ordinary".to_owned(), list, ..Files::default() }
    }

    fn drops(&self) -> Drops {
        Drops { drops: vec![Drop { reason: "runt".to_owned(), help: "too short".to_owned(), count: 3 }], total: 3 }
    }

    fn ports(&self) -> Vec<PortStats> {
        let link = Link { up: true, speed_mbps: Some(10_000) };
        vec![PortStats {
            name: "net_fake0".to_owned(),
            driver: "net_fake".to_owned(),
            link,
            rx_packets: 20,
            ..PortStats::default()
        }]
    }

    fn lane_counts(&self) -> Vec<LaneSnapshot> {
        let lane = |worker: u16| LaneSnapshot {
            worker,
            rx_frames: 10,
            outcomes: vec![(Outcome::RequestOpened, 8), (Outcome::Runt, 1), (Outcome::KernelFull, 1)],
            endings: vec![(Ending::Done, 7)],
            data_bytes: 1 << 40,
            kernel_lost: 2,
            ..LaneSnapshot::default()
        };
        vec![lane(0), lane(1)]
    }

    fn durations(&self) -> Vec<Durations> {
        vec![Durations::of_microseconds("first_data", "From request to first block.", [(15, 3), (40_000, 2)])]
    }

    fn begin_drain(&self) {
        self.change(|scene| scene.drained += 1);
    }

    fn end_drain(&self) {
        self.change(|scene| scene.resumed += 1);
    }

    fn reload(&self) -> Result<Reloaded, Refusal> {
        self.change(|scene| scene.reloaded += 1);
        std::thread::sleep(self.scene().reload_takes);
        if self.scene().root_is_gone {
            let message = "the root /tftp does not exist\nhelp: create it";
            return Err(Refusal::new(RefusalCode::NotDone, message, "generation 1 is still served"));
        }
        Ok(Reloaded { generation: 2, renewed: true, files: 1, added: 1, ..Reloaded::default() })
    }

    fn stop(&self) {
        self.change(|scene| {
            scene.stopped += 1;
            if scene.obedient {
                scene.running_workers = 0;
            }
        });
    }

    fn live_sessions(&self) -> u64 {
        self.scene().live_sessions
    }

    fn failed_workers(&self) -> Vec<WorkerFailure> {
        self.scene().failed
    }

    fn running_workers(&self) -> usize {
        self.scene().running_workers
    }
}
