//! Content larger than memory: a budget, the files that fit into it at start, and a thread that brings the others when they are asked
//! for.

mod ledger;
mod librarian;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crossbeam::channel::{Sender, bounded};
use dataplane::engine::Title;
use dataplane::files::{Allowance, Catalogue, LoadReport, Reason, available_bytes};
use dataplane::worker::LaneCounters;

use crate::budget::{Budget, Size, free_memory};
use crate::eal_args::EalPlan;
use crate::host::Host;
use crate::machine::Machine;
use crate::protocol;
use crate::settings::FilesSettings;
pub(super) use librarian::{Desk, Stock};
use librarian::{Librarian, View};

/// Files on demand that are in memory at a time, at most: each is a mapping of its own, of which the kernel gives a process 65530.
pub(super) const PLACES: u32 = 8_192;

/// Wants that a worker may leave lying; what is more its clients ask for again.
pub(super) const WANTS: usize = 256;

/// The budget in bytes, and the line that says where it comes from.
pub(super) fn allowance(settings: &FilesSettings, eal: &EalPlan) -> (Allowance, String) {
    let huge = Machine::look(&Host::this()).hugepage_mib() << 20;
    let (free, kind) = free_memory(eal, huge, available_bytes().unwrap_or(u64::MAX));
    let budget_bytes = settings.budget.bytes(free);
    let line = match settings.budget {
        Budget::Bytes(bytes) => {
            let more = if bytes > free { ": more than there is, so some files may find no memory" } else { "" };
            format!("cache budget: {} as configured, with {} of {kind}{more}", Size(bytes), Size(free))
        }
        Budget::Percent(percent) => {
            format!("cache budget: {}, {percent} % of {} of {kind}", Size(budget_bytes), Size(free))
        }
    };
    (Allowance { budget_bytes, preload: settings.preload.clone() }, line)
}

/// What of the files is in memory and what is not, in lines for the log.
pub(super) fn describe(
    settings: &FilesSettings,
    catalogue: &Catalogue,
    report: &LoadReport,
    pinned_cost: u64,
) -> Vec<String> {
    let mut lines = Vec::new();
    let fold_case = catalogue.name_options().fold_case;
    for pattern in &settings.preload {
        let mut named =
            catalogue.names().filter(|(name, _)| pattern.matches(name, fold_case)).map(|(_, id)| id).peekable();
        if named.peek().is_none() {
            lines.push(format!("files.preload: no file has a name like \"{pattern}\""));
        }
        let absent = named.filter(|&id| catalogue.is_absent(id)).count();
        if absent > 0 {
            lines.push(format!(
                "files.preload: {absent} file(s) like \"{pattern}\" are loaded on demand: half of the budget is used, or the largest \
                 of the other files needs the room"
            ));
        }
    }
    let (files, absent) = (catalogue.file_count(), catalogue.absent_count());
    if absent > 0 || report.left_out(Reason::TooLarge) > 0 {
        lines.push(format!(
            "cache: {} of {files} files are in memory ({}), {absent} are loaded on demand ({})",
            files - absent,
            Size(pinned_cost),
            Size(catalogue.total_bytes() - catalogue.pinned_bytes()),
        ));
    }
    lines
}

/// The librarian's thread, seen from outside.
#[derive(Debug)]
pub(super) struct Cache {
    budget_bytes: u64,
    view: Arc<Mutex<View>>,
    stocks: Sender<Stock>,
}

impl Cache {
    /// Starts the thread. It ends by itself when this is dropped, which does not wait for it: it may be in the middle of a large file.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(super) fn start(desks: Vec<Desk>, stock: Stock, budget_bytes: u64) -> io::Result<Self> {
        let view = Arc::new(Mutex::new(View::default()));
        let (stocks, news) = bounded(1);
        let librarian = Librarian::new(desks, stock, budget_bytes, PLACES, Arc::clone(&view));
        thread::Builder::new().name("cache".into()).spawn(move || librarian.run(&news))?;
        Ok(Self { budget_bytes, view, stocks })
    }

    /// Takes another catalogue. To be called before workers get it, so that what they ask for is known.
    pub(super) fn restock(&self, stock: Stock) {
        // Gone only at the end of the process.
        let _ = self.stocks.send(stock);
    }

    /// The files on demand that are in memory.
    pub(super) fn residents(&self) -> HashSet<Title> {
        self.look().resident
    }

    /// For `show files`.
    pub(super) fn show(&self, catalogue: &Catalogue, counts: BTreeMap<String, u64>) -> protocol::Cache {
        let view = self.look();
        protocol::Cache {
            budget_bytes: self.budget_bytes,
            pinned_bytes: view.pinned_cost,
            on_demand_bytes: view.cost,
            on_demand_files: view.resident.len() as u64,
            on_demand_total: catalogue.absent_count() as u64,
            counts,
        }
    }

    /// What happened so far.
    pub(super) fn counts<'a>(&self, lanes: impl Iterator<Item = &'a LaneCounters>) -> BTreeMap<String, u64> {
        let view = self.look();
        let mut counts: BTreeMap<&str, u64> = BTreeMap::from([
            ("loads", view.loads),
            ("loaded_bytes", view.loaded_bytes),
            ("evictions", view.evictions),
            ("load_failures", view.failures),
            ("no_room", view.no_room),
        ]);
        for lane in lanes {
            for (name, count) in [
                ("hits", &lane.cache_hits),
                ("misses", &lane.cache_misses),
                ("wants_lost", &lane.wants_lost),
                ("parked_answered", &lane.parked_answered),
                ("parked_lost", &lane.parked_lost),
            ] {
                *counts.entry(name).or_default() += count.get();
            }
        }
        counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
    }

    fn look(&self) -> View {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
