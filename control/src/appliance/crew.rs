//! Engines and workers out of the settings, and their launch: everything is allocated here, before the first poll.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use dataplane::dpdk::{Eal, LcoreHandle, LcoreId, Mempool, QueuePair, Tsc};
use dataplane::engine::{Answering, Engine, EngineConfig, Limits, Terms};
use dataplane::files::Catalogue;
use dataplane::random::Seed;
use dataplane::rules::Rules;
use dataplane::session::{WorkerIndex, WorkerShare};
use dataplane::tftp::{Policy, Retransmission};
use dataplane::time::Duration as Span;
use dataplane::worker::{
    Attachment, DrainFlag, KernelPath, Lane, LaneCounters, LetterBox, Neighbourhood, StopFlag, Worker, WorkerState,
    WorkerStatus, mailbox,
};

use super::busy::BusyShare;
use super::cache::{self, Desk};
use super::error::BuildError;
use super::ports::{Port, Ports};
use crate::count::WorkerCount;
use crate::settings::Settings;
use crate::transfer_log::RECORDS;

/// A worker's way to a DPDK port.
type Way = Attachment<QueuePair, Arc<Mempool>>;

/// Most workers: they share the TIDs of an address.
const WORKERS_MAX: usize = 64;

/// How long workers may take to see the stop flag before they are left behind.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// One worker, as control keeps it.
pub(super) struct Member {
    pub(super) index: u16,
    pub(super) lcore: LcoreId,
    pub(super) status: Arc<WorkerStatus>,
    /// What it did lately.
    pub(super) busy: Mutex<BusyShare>,
    /// One per port.
    pub(super) counters: Vec<Arc<LaneCounters>>,
    pub(super) letters: LetterBox,
    pub(super) stalls: StallNote,
    /// What it died of.
    pub(super) failure: Arc<OnceLock<String>>,
}

/// What supervision found out about a worker's loop.
#[derive(Debug, Default)]
pub(super) struct StallNote {
    pub(super) now: AtomicBool,
    pub(super) count: AtomicU64,
}

/// Workers on their lcores. Dropping this waits for them.
pub(super) struct Crew {
    handles: Vec<LcoreHandle<()>>,
    /// Behind the workers: no pool may go while a worker still frees another one's frames.
    _pools: Vec<Arc<Mempool>>,
    /// The first rules: no worker is to free them when a reload brings others.
    _rules: Option<Arc<Rules>>,
}

/// What all workers have in common.
pub(super) struct Plan<'a> {
    pub(super) settings: &'a Settings,
    pub(super) idle_sleep_us: u32,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) drain: DrainFlag,
    pub(super) stop: StopFlag,
    pub(super) count: WorkerCount,
    /// The workers'.
    pub(super) clock: Tsc,
}

/// The lcores that workers will run on.
pub(super) fn lcores(eal: &Eal) -> Result<Vec<LcoreId>, BuildError> {
    let lcores = eal.worker_lcores();
    match lcores.len() {
        0 => Err(BuildError::NoWorkers),
        1..=WORKERS_MAX => Ok(lcores),
        many => Err(BuildError::ManyWorkers(many)),
    }
}

/// Whether the configured reply ports do for so many workers.
pub(super) fn check_reply_ports(settings: &Settings, lcores: &[LcoreId]) -> Result<(), BuildError> {
    let workers = u16::try_from(lcores.len()).map_err(|_| BuildError::ManyWorkers(lcores.len()))?;
    let sessions = limits(settings, lcores.len()).max_sessions;
    settings.reply_ports.check(workers, sessions).map_err(BuildError::ReplyPorts)
}

/// Builds a worker for each lcore out of the ports' queues and launches it.
pub(super) fn launch(
    eal: &Eal,
    lcores: &[LcoreId],
    ports: &mut Ports,
    plan: &Plan<'_>,
) -> Result<(Crew, Vec<Member>, Vec<Desk>), BuildError> {
    let workers = u16::try_from(lcores.len()).map_err(|_| BuildError::ManyWorkers(lcores.len()))?;
    let mut seed = [0; 16];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty()).map_err(BuildError::Random)?;
    let rules = crate::rules::compile(&plan.settings.rules, &plan.settings.names).map_err(BuildError::Rules)?;
    let clock = plan.clock;
    let mut kernel = ports.kernel.take();
    let kernel_ring = kernel.as_ref().map(|kernel| Arc::clone(&kernel.ring));
    let answering = if kernel.is_some() { Answering::Kernel } else { Answering::Ourselves };

    let terms = terms(plan.settings, lcores.len());
    let mut crew = Crew { handles: Vec::new(), _pools: ports.pools.clone(), _rules: rules.clone() };
    let mut members = Vec::new();
    let mut desks = Vec::new();
    for (index, &lcore) in (0..).zip(lcores) {
        let share = WorkerShare { index: WorkerIndex(index), workers };
        let mut lanes = Vec::new();
        let mut counters = Vec::new();
        let wants = Arc::new(ArrayQueue::new(cache::WANTS));
        let mut usage = Vec::new();
        for port in &mut ports.ports {
            let mut engine = Engine::new(
                EngineConfig {
                    interface: port.interface.clone(),
                    policy: terms.policy,
                    limits: terms.limits,
                    share,
                    seed: Seed(seed),
                    answering,
                    reply_ports: plan.settings.reply_ports,
                },
                Arc::clone(&plan.catalogue),
                clock.now(),
            );
            engine.set_rules(rules.clone());
            if let Some(steering) = &port.steering {
                engine.steer_by(Arc::clone(steering));
            }
            usage.push(engine.serve_on_demand(Arc::clone(&wants), cache::PLACES));
            let kernel_path = kernel_ring.as_ref().map(|ring| KernelPath {
                ring: Arc::clone(ring),
                // The first worker serves it, which with its device it keeps alive.
                port: kernel.take().map(|kernel| Attachment::Queue(kernel.queue)),
            });
            let attachment = next_attachment(port)?;
            let relayed = port.relayed.clone().filter(|_| matches!(attachment, Attachment::Queue(_)));
            let neighbourhood = Neighbourhood { inboxes: port.inboxes.clone(), relayed, kernel: kernel_path };
            let counted = Arc::new(match plan.settings.log.transfers {
                true => LaneCounters::with_records(RECORDS),
                false => LaneCounters::default(),
            });
            lanes.push(Lane::new(engine, attachment, share.index, neighbourhood, Arc::clone(&counted)));
            counters.push(counted);
        }
        let (letters, mailbox) = mailbox();
        desks.push(Desk { wants, usage, letters: letters.clone() });
        let member = Member {
            index,
            lcore,
            status: Arc::new(WorkerStatus::default()),
            busy: Mutex::new(BusyShare::new(Instant::now())),
            counters,
            letters,
            stalls: StallNote::default(),
            failure: Arc::new(OnceLock::new()),
        };
        let idle_sleep = (plan.idle_sleep_us > 0).then(|| Duration::from_micros(plan.idle_sleep_us.into()));
        let worker = Worker {
            lanes,
            mailbox,
            drain: plan.drain.clone(),
            stop: plan.stop.clone(),
            status: Arc::clone(&member.status),
            idle_sleep,
        };
        crew.handles.push(launch_one(eal, &member, worker, clock, &plan.count)?);
        members.push(member);
    }
    Ok((crew, members, desks))
}

/// Ways to a port are handed out in their order.
fn next_attachment(port: &mut Port) -> Result<Way, BuildError> {
    if port.attachments.is_empty() {
        return Err(BuildError::MissingDevice { name: port.info.name.clone() });
    }
    Ok(port.attachments.remove(0))
}

/// Counted in before it is launched, so that a stop cannot miss it; its failure is on record before it is counted out.
fn launch_one(
    eal: &Eal,
    member: &Member,
    worker: Worker<Way>,
    clock: Tsc,
    count: &WorkerCount,
) -> Result<LcoreHandle<()>, BuildError> {
    let counted = count.enter();
    let failure = Arc::clone(&member.failure);
    let status = Arc::clone(&member.status);
    let work = move || {
        let _counted = counted;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| worker.run(|| clock.read()))) {
            status.set_state(WorkerState::Failed);
            // Only this worker writes it, once.
            let _ = failure.set(dataplane::dpdk::panic_message(&*panic));
        }
    };
    Ok(eal.launch(member.lcore, work)?)
}

impl Crew {
    /// Waits for the workers, whose stop flag is set. One that does not come back is left behind with everything that it
    /// uses: the end of the process is near, and EAL must not be taken down under it.
    pub(super) fn end(self, count: &WorkerCount) {
        if count.wait_until_zero(END_PATIENCE).is_err() {
            std::mem::forget(self);
        }
    }
}

/// What of the settings may change while the workers run.
pub(super) fn terms(settings: &Settings, workers: usize) -> Terms {
    Terms { policy: policy(settings), limits: limits(settings, workers) }
}

fn policy(settings: &Settings) -> Policy {
    let (limits, timers) = (&settings.limits, &settings.timers);
    let ms = |ms: u32| Span::from_millis(ms.into());
    Policy {
        max_blksize: limits.max_blksize,
        max_window_blocks: limits.max_window_blocks,
        max_window_bytes: limits.max_window_bytes,
        retransmission: Retransmission {
            initial: ms(timers.retransmit_initial_ms),
            min: ms(timers.retransmit_min_ms),
            max: ms(timers.retransmit_max_ms),
            tries: timers.tries,
            ..Policy::default().retransmission
        },
        max_idle: Span::from_secs(limits.idle_seconds.into()),
        max_transfer: Span::from_secs(limits.total_seconds.into()),
        ..Policy::default()
    }
}

/// What all workers may have together, divided among them.
fn limits(settings: &Settings, workers: usize) -> Limits {
    let share = |all: u32| all.div_ceil(u32::try_from(workers).unwrap_or(u32::MAX));
    Limits {
        max_sessions: share(settings.limits.max_sessions),
        max_unproven: share(settings.limits.max_unproven),
        max_unproven_per_address: share(settings.limits.max_unproven_per_address),
        errors_per_second: share(settings.limits.error_budget_per_second),
    }
}
