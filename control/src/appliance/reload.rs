//! Reloads, on a thread of their own: reads configuration and tree beside what runs, then lets all workers take both over. Until then
//! everything is as it was, whatever goes wrong.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender};
use dataplane::engine::CATALOGUES_MAX;
use dataplane::files::{Allowance, Changes, LoadError, LoadReport, Loaded, Reload, fingerprint};
use dataplane::rules::{RuleError, Rules};
use dataplane::worker::{Letter, News, Renewal, WorkerState};

use super::cache::Stock;
use super::crew::{self, Member};
use super::fleet::{LiveFleet, page_kind_name};
use super::load;
use super::shelf::Generation;
use crate::eal_args::Memory;
use crate::live::{Renewed, renew};
use crate::log::Logging;
use crate::notice::say;
use crate::protocol::{Refusal, RefusalCode, Reloaded};
use crate::reload::{Answer, Next, ReloadRequests, Trigger};
use crate::rules::compile;
use crate::settings::Settings;
use crate::startup::{Launch, Source, StartupError};
use crate::supervisor::{Order, Times};
use crate::tables::write_reloaded;
use crate::watch::Watch;

/// How long a reload waits for transfers of old generations to end, where a worker has no place for one more.
const PLACE_PATIENCE: Duration = Duration::from_secs(10);

/// How long a worker may take to answer, once it was told: it looks into its mailbox every 64 turns, but may have to share its CPU.
const SWAP_PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks at what changes by itself.
const LOOK: Duration = Duration::from_millis(1);

/// Between two looks for memory to give back, while there is some to wait for.
const SWEEP_PERIOD: Duration = Duration::from_millis(20);

/// The fleet, for as long as it may be changed. Locked while it is.
type Gate = Arc<Mutex<Option<Arc<LiveFleet>>>>;

/// The thread, from outside. It is not waited for: reading a large tree takes long, and needs nothing that belongs to DPDK.
pub(super) struct Reloader {
    gate: Gate,
}

impl Reloader {
    /// Begins to answer `requests`.
    pub(super) fn start(
        fleet: &Arc<LiveFleet>,
        launch: &Launch,
        log: Option<Logging>,
        orders: Sender<Order>,
        requests: ReloadRequests,
    ) -> io::Result<Self> {
        let gate: Gate = Arc::new(Mutex::new(Some(Arc::clone(fleet))));
        let thread = Thread {
            gate: Arc::clone(&gate),
            source: launch.source.clone(),
            memory: launch.eal.memory,
            allowance: fleet.allowance.clone(),
            log,
            settings: launch.settings.clone(),
            rules: None,
            generation: fleet.shelf.current().generation().0,
            watch: Watch::new(fleet.shelf.report().fingerprint(), Instant::now()),
            watch_failed: false,
            orders,
        };
        thread::Builder::new().name("reload".to_owned()).spawn(move || thread.run(&requests))?;
        Ok(Self { gate })
    }
}

impl Drop for Reloader {
    fn drop(&mut self) {
        // Waits for a swap under way, which sees the stop flag; from now on there is nothing to change.
        drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// What the thread keeps.
struct Thread {
    gate: Gate,
    source: Source,
    memory: Memory,
    allowance: Allowance,
    log: Option<Logging>,
    /// What runs.
    settings: Settings,
    /// The rules that the last reload brought, kept so that no worker has the last reference.
    rules: Option<Arc<Rules>>,
    /// The last generation that was made.
    generation: u32,
    watch: Watch,
    watch_failed: bool,
    orders: Sender<Order>,
}

/// Why a reload came to nothing.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    /// The configuration file.
    #[error(transparent)]
    Configuration(#[from] StartupError),
    /// Client and remap rules.
    #[error("the rules of the configuration cannot be used: {0}")]
    Rules(#[from] RuleError),
    /// The tree, or no memory for it.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Old transfers are in the way.
    #[error(
        "worker {worker} still serves transfers of {CATALOGUES_MAX} generations of the files, which is as many as it can keep; waited {} s for one \
         of them to end", PLACE_PATIENCE.as_secs()
    )]
    NoPlace {
        /// Which one.
        worker: u16,
    },
    /// Some workers have the new files, and one may not.
    #[error(
        "worker {worker} does not answer: it serves the old files until it does, the others serve generation {generation}"
    )]
    Silent {
        /// Which one.
        worker: u16,
        /// What the others have.
        generation: u64,
    },
    /// The end came first.
    #[error("bypassd is ending")]
    Ending,
}

impl ReloadError {
    fn refusal(&self, serving: u64) -> Refusal {
        let (code, help) = match self {
            Self::Ending => (RefusalCode::Ending, "start it again".to_owned()),
            Self::Configuration(_) | Self::Rules(_) => (
                RefusalCode::NotDone,
                format!("nothing has changed, generation {serving} is still served; mend the file and reload again"),
            ),
            Self::Load(_) => {
                (RefusalCode::NotDone, format!("nothing has changed, generation {serving} is still served"))
            }
            Self::NoPlace { .. } => (
                RefusalCode::NotDone,
                format!(
                    "nothing has changed, generation {serving} is still served; `show sessions` tells whose transfers are old; try again \
                     when some have ended"
                ),
            ),
            Self::Silent { .. } => (RefusalCode::NotDone, "look at `show workers`".to_owned()),
        };
        Refusal::new(code, self.to_string(), help)
    }
}

impl Thread {
    fn run(mut self, requests: &ReloadRequests) {
        let mut unread = 0;
        loop {
            match requests.next(self.pause(unread)) {
                Next::Reload(batch) => {
                    let answer = self.reload(batch.trigger());
                    batch.answer(&answer);
                }
                Next::Nothing => self.look(),
                Next::Gone => return,
            }
            let Some(swept) = self.sweep() else { return };
            unread = swept;
        }
    }

    fn pause(&self, unread: usize) -> Duration {
        let idle = if unread > 0 { SWEEP_PERIOD } else { Duration::from_secs(3_600) };
        self.watch.pause(self.settings.files.watch_seconds, Instant::now()).unwrap_or(idle).min(idle)
    }

    /// Gives back the memory of catalogues that nobody reads any more; how many others there are, or none when it is over.
    fn sweep(&self) -> Option<usize> {
        let fleet = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let (unread, left) = fleet.as_ref()?.shelf.take_unread();
        let mut earlier = fleet.as_ref()?.earlier_hits.lock().unwrap_or_else(PoisonError::into_inner);
        unread.iter().for_each(|generation| earlier.retire(generation.catalogue()));
        drop(earlier);
        // Under the gate, so that no device goes meanwhile.
        drop(unread);
        Some(left)
    }

    /// Looks at the tree, if it is watched and it is time.
    fn look(&mut self) {
        let now = Instant::now();
        if self.watch.pause(self.settings.files.watch_seconds, now) != Some(Duration::ZERO) {
            return;
        }
        match fingerprint(&self.settings.root, load::names(&self.settings)) {
            Ok(seen) => {
                self.watch_failed = false;
                if self.watch.see(seen, Instant::now()) {
                    // Logged, and nobody else waits for it.
                    let _ = self.reload(Trigger::Watch);
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.watch_failed, true) {
                    say(format_args!("cannot watch the files: {error}; what was loaded is still served"));
                }
                self.watch.miss(Instant::now());
            }
        }
    }

    fn reload(&mut self, trigger: Trigger) -> Answer {
        match self.try_reload() {
            Ok(reloaded) => {
                say(format_args!("reload ({trigger}):\n{}", as_text(&reloaded)));
                Ok(reloaded)
            }
            Err(error) => {
                let refusal = error.refusal(self.serving());
                say(format_args!("reload ({trigger}) failed: {}\nhelp: {}", refusal.message, refusal.help));
                Err(refusal)
            }
        }
    }

    fn serving(&self) -> u64 {
        let fleet = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        fleet.as_ref().map_or(0, |fleet| fleet.shelf.current().generation().0.into())
    }

    fn try_reload(&mut self) -> Result<Reloaded, ReloadError> {
        let Renewed { settings, live, needs_restart } = renew(&self.settings, &self.source.read()?);
        // Nothing of the fleet is kept while the tree is read, which may outlast it.
        let previous = {
            let fleet = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
            fleet.as_ref().ok_or(ReloadError::Ending)?.shelf.current()
        };
        let started = Instant::now();
        let (loaded, report, changes) =
            match load::reload(&settings, self.memory, &self.allowance, self.generation + 1, &previous)? {
                Reload::Same(report) => {
                    let unchanged = report.files() + report.aliases();
                    (None, *report, Changes { unchanged, ..Changes::default() })
                }
                Reload::New(loaded, changes) => {
                    let report = loaded.report.clone();
                    (Some(loaded), report, changes)
                }
            };
        let load_seconds = started.elapsed().as_secs_f64();
        self.generation += u32::from(loaded.is_some());
        drop(previous);

        let gate = Arc::clone(&self.gate);
        let fleet = gate.lock().unwrap_or_else(PoisonError::into_inner);
        let fleet = fleet.as_ref().ok_or(ReloadError::Ending)?;
        let old_terms = crew::terms(&self.settings, fleet.members.len());
        let terms = Some(crew::terms(&settings, fleet.members.len())).filter(|terms| *terms != old_terms);
        let same_rules = (&settings.rules, &settings.names) == (&self.settings.rules, &self.settings.names);
        let rules = if same_rules { None } else { Some(compile(&settings.rules, &settings.names)?) };
        let renewed = loaded.is_some();
        let coming = loaded.map(|loaded| Coming::new(fleet, *loaded));
        let swapped = swap(fleet, coming, News { catalogue: None, terms, rules: rules.clone() })?;
        if let Some(rules) = rules {
            // By now no worker has those before.
            self.rules = rules;
        }
        if !renewed {
            fleet.shelf.set_report(report.clone());
        }
        self.take_over(settings, &report);
        let current = fleet.shelf.current();
        Ok(Reloaded {
            generation: current.generation().0.into(),
            renewed,
            files: report.files(),
            bytes: report.bytes(),
            added: changes.added,
            changed: changes.changed,
            removed: changes.removed,
            unchanged: changes.unchanged,
            read_files: report.files() - current.absent_count() as u64 - report.reused_files(),
            read_bytes: current.pinned_bytes() - report.reused_bytes(),
            reused_files: report.reused_files(),
            left_out: report.left_out_total(),
            page_kind: page_kind_name(current.page_kind()).to_owned(),
            load_seconds,
            swap_us: u64::try_from(swapped.as_micros()).unwrap_or(u64::MAX),
            settings: live,
            needs_restart,
        })
    }

    /// These settings run from now on, and this is the tree that was loaded.
    fn take_over(&mut self, settings: Settings, report: &LoadReport) {
        let times =
            |settings: &Settings| Times { drain: settings.timers.drain(), exit_when_idle: settings.exit_when_idle };
        if times(&settings) != times(&self.settings) {
            // The supervisor empties the channel 50 times a second: one that is full says that the end is near.
            let _ = self.orders.try_send(Order::Times(times(&settings)));
        }
        if let Some(log) = &self.log {
            log.set_level(settings.log.level);
        }
        self.settings = settings;
        self.watch.note_loaded(report.fingerprint());
    }
}

/// A catalogue that is about to be served.
struct Coming {
    generation: Generation,
    stock: Stock,
}

impl Coming {
    fn new(fleet: &LiveFleet, loaded: Loaded) -> Self {
        let Loaded { mut catalogue, report, library } = loaded;
        catalogue.keep_tallies(u16::try_from(fleet.members.len()).unwrap_or(u16::MAX));
        let catalogue = Arc::new(catalogue);
        let stock = Stock { catalogue: Arc::clone(&catalogue), library };
        Self { generation: fleet.generation(catalogue, report), stock }
    }
}

/// Hands files, terms and rules to all workers; how long it took until the last one had them. Before the first is told, every worker has a
/// place for them, so that all take over or none.
fn swap(fleet: &LiveFleet, coming: Option<Coming>, news: News) -> Result<Duration, ReloadError> {
    let news = News { catalogue: coming.as_ref().map(|coming| Arc::clone(&coming.stock.catalogue)), ..news };
    if news.is_empty() {
        return Ok(Duration::ZERO);
    }
    if coming.is_some() {
        wait_for_places(fleet)?;
    }
    let generation = news.catalogue.as_ref().map(|catalogue| catalogue.generation());
    if let Some(Coming { generation, stock }) = coming {
        fleet.shelf.put(generation);
        fleet.cache.restock(stock);
    }
    let told = Instant::now();
    let mut silent = None;
    let mut answers = Vec::new();
    for member in living(fleet) {
        match tell(member, &news, told) {
            Ok(answered) => answers.push((member, answered)),
            Err(Silent) => silent = silent.or(Some(member.index)),
        }
    }
    for (member, answered) in answers {
        let left = SWAP_PATIENCE.saturating_sub(told.elapsed());
        let done = answered.recv_timeout(left).is_ok_and(|renewal| renewal.done);
        // One that has ended serves nothing, old or new.
        if !done && is_living(member) {
            silent = silent.or(Some(member.index));
        }
    }
    let swapped = told.elapsed();
    if let Some(generation) = generation {
        fleet.shelf.promote(generation);
    }
    match silent {
        Some(worker) => {
            Err(ReloadError::Silent { worker, generation: generation.map_or(0, |generation| generation.0.into()) })
        }
        None => Ok(swapped),
    }
}

fn is_living(member: &Member) -> bool {
    !matches!(member.status.state(), WorkerState::Stopped | WorkerState::Failed)
}

fn living(fleet: &LiveFleet) -> impl Iterator<Item = &Member> {
    fleet.members.iter().filter(|member| is_living(member))
}

/// Only this thread gives catalogues out, so that a place that is free stays free.
fn wait_for_places(fleet: &LiveFleet) -> Result<(), ReloadError> {
    let begin = Instant::now();
    let is_full = |member: &&Member| member.status.catalogues.get() >= CATALOGUES_MAX as u64;
    while let Some(member) = living(fleet).find(is_full) {
        if fleet.stop.is_raised() {
            return Err(ReloadError::Ending);
        }
        if begin.elapsed() >= PLACE_PATIENCE {
            return Err(ReloadError::NoPlace { worker: member.index });
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

/// A worker took no letter for too long.
struct Silent;

/// Puts the letter into a worker's mailbox, which may be full of others for a moment.
fn tell(member: &Member, news: &News, since: Instant) -> Result<Receiver<Renewal>, Silent> {
    loop {
        let (renewal, answered) = Renewal::ask(news.clone());
        // One that has ended meanwhile takes no letter either, and nobody answers for it.
        if member.letters.send(Letter::Renew(renewal)).is_ok() || !is_living(member) {
            return Ok(answered);
        }
        if since.elapsed() >= SWAP_PATIENCE {
            return Err(Silent);
        }
        thread::sleep(LOOK);
    }
}

fn as_text(reloaded: &Reloaded) -> String {
    let mut text = Vec::new();
    // A vector takes all.
    drop(write_reloaded(&mut text, reloaded));
    String::from_utf8_lossy(text.trim_ascii_end()).into_owned()
}
