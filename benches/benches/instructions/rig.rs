//! The product's path with a harness around it: a lane as a worker has it, on real mbufs and a `net_ring` port, driven by hand.
//! All that depends on engine, port and lane is here.
//!
//! `net_ring` gives back what it is sent, so one port serves both sides: the harness puts a burst into the ring, the lane takes it
//! out, and what the lane sends is taken out again before its next turn.

use super::frames::{SERVER_IP, SERVER_MAC};
use dataplane::dpdk::{Device, DeviceConfig, DeviceError, Eal, EalError, Mempool, PoolError, QueuePair, SocketId};
use dataplane::engine::{Answering, Engine, EngineConfig, Interface, Limits, LocalAddress, Outcome, TooManyAddresses};
use dataplane::files::{ArenaError, BuildError, Catalogue, CatalogueBuilder, GenerationId, NameOptions};
use dataplane::port::{Backlog, Burst, Frame, Port, TooLong};
use dataplane::random::Seed;
use dataplane::session::{ReplyPorts, WorkerIndex, WorkerShare};
use dataplane::tftp::Policy;
use dataplane::time::{Duration, Instant};
use dataplane::worker::{Attachment, Lane, LaneCounters, Neighbourhood};
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use thiserror::Error;

/// What callgrind is told to count: [`counted_turn`], by a pattern because its name carries a hash.
pub(crate) const COUNTED: &str = "*::rig::counted_turn*";

/// The file that is served. There is one: the key of the index that finds it is not ours to fix, and with several names it would
/// decide how many of them a lookup passes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its bytes.
    pub(crate) len: usize,
}

/// A file of one block.
pub(crate) const SMALL: Served = Served { name: "pxelinux.cfg/default", len: 400 };

/// A file of many blocks.
pub(crate) const LARGE: Served = Served { name: "images/vmlinuz", len: 256 << 10 };

/// The lane's pool, with the cache that the appliance gives it.
const POOL_FRAMES: u32 = 4_095;
const POOL_CACHE: u32 = 256;
const DATA_ROOM: u16 = 2_048;

/// A port as a worker has it in the appliance.
type Way = Attachment<QueuePair, Arc<Mempool>>;

/// Why the rig could not be set up or driven.
#[derive(Debug, Error)]
pub(crate) enum RigError {
    #[error(transparent)]
    Eal(#[from] EalError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error(transparent)]
    Arena(#[from] ArenaError),
    #[error(transparent)]
    Files(#[from] BuildError),
    #[error(transparent)]
    Addresses(#[from] TooManyAddresses),
    #[error(transparent)]
    Frame(#[from] TooLong),
    #[error("the device has no queue")]
    NoQueue,
    #[error("the pool is empty before the lane's turn")]
    PoolEmpty,
    #[error("the ring is full before the lane's turn")]
    RingFull,
    #[error("/proc/self/status does not say on which CPUs this process may run")]
    NoCpus,
}

/// A lane, and its side of the time.
pub(crate) struct Rig {
    lane: Lane<Way>,
    counters: Arc<LaneCounters>,
    now: Instant,
    served: Served,
    file: Vec<u8>,
    _device: Device,
    eal: Eal,
}

impl Rig {
    /// Starts EAL, a port and an engine that serves one file, all without chance: equal in every run.
    pub(crate) fn new(served: Served) -> Result<Self, RigError> {
        let cpu = format!("0@{}", first_cpu()?);
        let args = ["--no-huge", "-m", "64", "--no-shconf", "--no-pci", "--no-telemetry", "--lcores", &cpu];
        let eal = Eal::init(&args.map(str::to_owned))?;
        let pool = Mempool::new(&eal, "frames", POOL_FRAMES, DATA_ROOM, POOL_CACHE, SocketId::ANY)?;
        eal.hotplug_vdev("net_ring0", "")?;
        let port = Device::find(&eal, "net_ring0")?;
        let config = DeviceConfig {
            queue_pairs: 1,
            rx_descriptors: 1_024,
            tx_descriptors: 1_024,
            mtu: None,
            checksum_offload: true,
            all_multicast: false,
            zero_copy_min_bytes: 0,
        };
        let (mut device, mut pairs) = Device::configure(&eal, port, &config, &[pool])?;
        device.start()?;
        let pair = pairs.pop().ok_or(RigError::NoQueue)?;

        let file = content(served.len);
        let address = LocalAddress { ip: IpAddr::V4(SERVER_IP), prefix_len: 16 };
        let share = WorkerShare { index: WorkerIndex(0), workers: 1 };
        let engine = Engine::new(
            EngineConfig {
                interface: Interface::new(SERVER_MAC, device.mtu()?, &[address])?,
                policy: Policy::default(),
                limits: Limits::default(),
                share,
                seed: Seed([42; 16]),
                answering: Answering::Ourselves,
                reply_ports: ReplyPorts::default(),
            },
            catalogue(served.name, &file)?,
            Instant::ORIGIN,
        );
        let counters = Arc::new(LaneCounters::default());
        let neighbourhood = Neighbourhood::alone();
        let lane = Lane::new(engine, Attachment::Queue(pair), share.index, neighbourhood, Arc::clone(&counters));
        Ok(Self { lane, counters, now: Instant::from_micros(1_000_000), served, file, _device: device, eal })
    }

    /// The DPDK that runs.
    pub(crate) fn dpdk_version(&self) -> String {
        self.eal.version()
    }

    /// The file that is served.
    pub(crate) const fn served(&self) -> Served {
        self.served
    }

    /// The bytes of the file.
    pub(crate) fn file(&self) -> &[u8] {
        &self.file
    }

    /// Frames that had this outcome so far.
    pub(crate) fn outcome(&self, outcome: Outcome) -> u64 {
        self.counters.outcome(outcome)
    }

    /// Time passes.
    pub(crate) fn advance_micros(&mut self, micros: u64) {
        self.now = self.now + Duration::from_micros(micros);
    }

    /// Puts frames where the lane's next turn finds them.
    pub(crate) fn deliver(&mut self, frames: &[Vec<u8>]) -> Result<(), RigError> {
        let port = self.lane.port_mut();
        let mut backlog = Backlog::new();
        for bytes in frames {
            let mut frame = port.allocate().ok_or(RigError::PoolEmpty)?;
            frame.resize(bytes.len())?;
            frame.bytes_mut().copy_from_slice(bytes);
            backlog.push(frame);
        }
        port.send(&mut backlog);
        if backlog.is_empty() { Ok(()) } else { Err(RigError::RingFull) }
    }

    /// One turn of the lane, counted or not; returns what it sent.
    pub(crate) fn turn(&mut self, counted: bool) -> Vec<Vec<u8>> {
        if counted {
            counted_turn(&mut self.lane, self.now);
        } else {
            turn(&mut self.lane, self.now);
        }
        let mut sent = Vec::new();
        let mut burst = Burst::new();
        while self.lane.port_mut().receive(&mut burst) > 0 {
            sent.extend(burst.drain(..).map(|frame| frame.bytes().to_vec()));
        }
        sent
    }
}

/// Where callgrind counts. It calls [`turn`] like everybody, so that there is one copy of the lane's code, as in the appliance.
#[inline(never)]
fn counted_turn(lane: &mut Lane<Way>, now: Instant) {
    black_box(turn(lane, now));
}

#[inline(never)]
fn turn(lane: &mut Lane<Way>, now: Instant) -> usize {
    lane.poll(now)
}

fn catalogue(name: &str, bytes: &[u8]) -> Result<Arc<Catalogue>, RigError> {
    let names = NameOptions { backslash: true, fold_case: false };
    let mut builder = CatalogueBuilder::new(GenerationId(0), names, bytes.len().next_multiple_of(64), false)?;
    let id = builder.add_file(bytes)?;
    builder.add_name(name.as_bytes(), id)?;
    Ok(Arc::new(builder.finish()?))
}

/// Reproducible bytes that differ from block to block.
fn content(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

/// The first CPU that this process may use: EAL pins itself to what it is told.
fn first_cpu() -> Result<u32, RigError> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|_| RigError::NoCpus)?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).ok_or(RigError::NoCpus)?;
    let first = list.trim().split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    first.parse().map_err(|_| RigError::NoCpus)
}
