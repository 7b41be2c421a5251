//! Brings files into memory when workers ask for them, and takes others out to make room. A thread of control's: it reads disks and
//! waits for them, so that no worker does.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError};
use dataplane::engine::{ShelfUse, Shelfmark, Title, Unavailable, Wants};
use dataplane::files::{Catalogue, Library, Reason, VolumeError, escape};
use dataplane::worker::{Letter, LetterBox, Shelving, Unshelving};

use super::ledger::{Ledger, NoRoom, Usage};
use crate::budget::Size;
use crate::notice::say;

/// How often the workers' wants are looked at while files may be missing.
const PERIOD: Duration = Duration::from_millis(2);

/// How long a worker may take to give places back.
const PATIENCE: Duration = Duration::from_millis(500);

/// Orders that are tried in one turn, where there is no room.
const TRIES: usize = 8;

/// Files that wait to be loaded; the clients of more than these ask again.
const QUEUE_MAX: usize = 1_024;

/// How long a file is wanted without anybody asking again: what workers keep of a request is no older.
const WANTED_FOR: Duration = Duration::from_secs(10);

/// How often files of older catalogues are looked at.
const OUTDATED_PERIOD: Duration = Duration::from_secs(1);

/// Time between two lines about missing room.
const LINE_PERIOD: Duration = Duration::from_secs(10);

/// Files whose failure is on record; beyond, all may be said again.
const SAID_MAX: usize = 10_000;

/// One worker, as the librarian knows it.
#[derive(Debug)]
pub(in crate::appliance) struct Desk {
    /// What it asks for.
    pub(in crate::appliance) wants: Wants,
    /// How the places of each of its lanes are used.
    pub(in crate::appliance) usage: Vec<Arc<ShelfUse>>,
    /// The way to it.
    pub(in crate::appliance) letters: LetterBox,
}

/// Another catalogue, and what it leaves to be loaded.
#[derive(Debug)]
pub(in crate::appliance) struct Stock {
    /// Its files.
    pub(in crate::appliance) catalogue: Arc<Catalogue>,
    /// Those that it has not.
    pub(in crate::appliance) library: Library,
}

/// What people may see of it.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// Files of the current catalogue that were loaded on demand and are there.
    pub(super) resident: HashSet<Title>,
    /// Their cost, and that of older ones.
    pub(super) cost: u64,
    /// Cost of the files in the catalogue.
    pub(super) pinned_cost: u64,
    pub(super) loads: u64,
    pub(super) loaded_bytes: u64,
    pub(super) evictions: u64,
    pub(super) failures: u64,
    pub(super) no_room: u64,
}

/// A file that somebody wants.
#[derive(Debug)]
struct Order {
    title: Title,
    /// The workers that asked, by their numbers.
    workers: u64,
    last_asked: Instant,
    /// It has waited for room.
    waited: bool,
}

/// Loads, evicts and answers.
#[derive(Debug)]
pub(super) struct Librarian {
    desks: Vec<Desk>,
    /// Letters that did not fit into a mailbox, per worker.
    unsent: Vec<VecDeque<Letter>>,
    stock: Stock,
    budget: u64,
    ledger: Ledger,
    /// By place: the one reference that is dropped last.
    volumes: Vec<Option<Arc<Catalogue>>>,
    orders: VecDeque<Order>,
    view: Arc<Mutex<View>>,
    said: HashSet<Title>,
    said_no_room: Option<Instant>,
    dropped_outdated: Option<Instant>,
}

impl Librarian {
    pub(super) fn new(desks: Vec<Desk>, stock: Stock, budget: u64, places: u32, view: Arc<Mutex<View>>) -> Self {
        let unsent = desks.iter().map(|_| VecDeque::new()).collect();
        let on_demand = budget.saturating_sub(stock.library.pinned_cost());
        let mut librarian = Self {
            desks,
            unsent,
            stock,
            budget,
            ledger: Ledger::new(on_demand, places),
            volumes: vec![None; places as usize],
            orders: VecDeque::new(),
            view,
            said: HashSet::new(),
            said_no_room: None,
            dropped_outdated: None,
        };
        librarian.show(|_| ());
        librarian
    }

    /// Serves until the other end of `stocks` is gone.
    pub(super) fn run(mut self, stocks: &Receiver<Stock>) {
        loop {
            let worked = self.work(Instant::now());
            // Where everything is in the catalogue nobody asks for anything.
            let news = if worked {
                stocks.try_recv().map_err(|error| match error {
                    crossbeam::channel::TryRecvError::Empty => RecvTimeoutError::Timeout,
                    crossbeam::channel::TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                })
            } else if self.stock.library.is_empty() && self.ledger.used() == 0 {
                stocks.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                stocks.recv_timeout(PERIOD)
            };
            match news {
                Ok(stock) => self.restock(stock),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Takes another catalogue: what is there of the old one goes when nobody reads it and room is needed.
    fn restock(&mut self, stock: Stock) {
        self.stock = stock;
        self.ledger.set_budget(self.budget.saturating_sub(self.stock.library.pinned_cost()));
        self.orders.clear();
        self.said.clear();
        self.show(|_| ());
    }

    /// Takes the wants and does one of them; false when there was nothing to do.
    pub(super) fn work(&mut self, now: Instant) -> bool {
        self.send_unsent();
        self.take_wants(now);
        self.orders.retain(|order| now.saturating_duration_since(order.last_asked) < WANTED_FOR);
        self.drop_outdated(now);
        for _ in 0..self.orders.len().min(TRIES) {
            let Some(mut order) = self.orders.pop_front() else { break };
            match self.bring(&order, now) {
                Ok(()) => return true,
                // Others may need less room.
                Err(StillWanted) => {
                    self.say_no_room(&mut order, now);
                    self.orders.push_back(order);
                }
            }
        }
        false
    }

    fn take_wants(&mut self, now: Instant) {
        for (worker, desk) in self.desks.iter().enumerate() {
            // One that takes no letters gets no answers either.
            if !self.unsent[worker].is_empty() {
                continue;
            }
            while let Some(title) = desk.wants.pop() {
                if title.generation != self.stock.catalogue.generation() {
                    continue;
                }
                if let Some(order) = self.orders.iter_mut().find(|order| order.title == title) {
                    order.workers |= 1 << worker;
                    order.last_asked = now;
                } else if self.orders.len() < QUEUE_MAX {
                    self.orders.push_back(Order { title, workers: 1 << worker, last_asked: now, waited: false });
                }
            }
        }
    }

    /// Gives a file to those who want it.
    fn bring(&mut self, order: &Order, now: Instant) -> Result<(), StillWanted> {
        let title = order.title;
        if let Some(mark) = self.ledger.find(title) {
            self.shelve(mark, order.workers);
            return Ok(());
        }
        let Some(cost) = self.stock.library.cost(title.file) else {
            self.refuse(order, &VolumeError::Unknown);
            return Ok(());
        };
        match self.make_room(title, cost, now) {
            Ok(()) => {}
            Err(NoRoom::Now) => return Err(StillWanted),
            Err(NoRoom::Ever) => {
                self.refuse(order, &VolumeError::Left(Reason::TooLarge));
                return Ok(());
            }
        }
        let Some(mark) = self.ledger.admit(title, cost, now, &|mark| usage(&self.desks, mark)) else {
            return Err(StillWanted);
        };
        match self.stock.library.read(title.file) {
            Ok(volume) => {
                let bytes = volume.total_bytes();
                if let Some(place) = self.volumes.get_mut(mark.0 as usize) {
                    *place = Some(Arc::new(volume));
                }
                self.stock.catalogue.set_shelfmark(title.file, Some(mark.0));
                self.shelve(mark, order.workers);
                self.show(|view| {
                    view.loads += 1;
                    view.loaded_bytes += bytes;
                });
            }
            Err(error) => {
                self.ledger.remove(mark);
                self.refuse(order, &error);
            }
        }
        Ok(())
    }

    /// Sends a file that is here to workers.
    fn shelve(&mut self, mark: Shelfmark, workers: u64) {
        let Some(volume) = self.volumes.get(mark.0 as usize).and_then(Option::as_ref).map(Arc::clone) else { return };
        let Some(title) = self.ledger.title(mark) else { return };
        self.ledger.set_holders(mark, self.ledger.holders(mark) | workers);
        for worker in numbers(workers) {
            self.send(worker, Letter::Shelve(Shelving { mark, title, volume: Arc::clone(&volume) }));
        }
    }

    /// Lets others go until a file of this cost fits.
    fn make_room(&mut self, title: Title, cost: u64, now: Instant) -> Result<(), NoRoom> {
        let victims = self.ledger.victims(cost, title.generation, now, &|mark| usage(&self.desks, mark))?;
        if victims.is_empty() {
            return Ok(());
        }
        let wanted = victims.len();
        let gone = self.evict(victims);
        // One that somebody began to read meanwhile stays: the next turn looks for another.
        if gone == wanted { Ok(()) } else { Err(NoRoom::Now) }
    }

    /// Lets the files of older catalogues go, as soon as nobody reads them.
    fn drop_outdated(&mut self, now: Instant) {
        if self.dropped_outdated.is_some_and(|last| now.saturating_duration_since(last) < OUTDATED_PERIOD) {
            return;
        }
        self.dropped_outdated = Some(now);
        let mut outdated = self.ledger.outdated(self.stock.catalogue.generation());
        outdated.retain(|&mark| usage(&self.desks, mark).readers == 0);
        if !outdated.is_empty() {
            self.evict(outdated);
        }
    }

    /// Asks the workers to give places back; returns how many are free now.
    fn evict(&mut self, victims: Vec<Shelfmark>) -> usize {
        for worker in 0..self.desks.len() {
            let held: Vec<Shelfmark> =
                victims.iter().copied().filter(|&mark| self.ledger.holders(mark) >> worker & 1 == 1).collect();
            if held.is_empty() || !self.unsent[worker].is_empty() {
                continue;
            }
            let (unshelving, answered) = Unshelving::ask(held);
            if self.desks[worker].letters.send(Letter::Unshelve(unshelving)).is_err() {
                continue;
            }
            // Without an answer it may still have them: they are asked back once more, which does no harm.
            let Ok(answer) = answered.recv_timeout(PATIENCE) else { continue };
            for mark in answer.marks {
                self.ledger.set_holders(mark, self.ledger.holders(mark) & !(1 << worker));
            }
        }
        let gone: Vec<Shelfmark> = victims.into_iter().filter(|&mark| self.ledger.holders(mark) == 0).collect();
        for &mark in &gone {
            if let Some(title) = self.ledger.title(mark)
                && title.generation == self.stock.catalogue.generation()
            {
                self.stock.catalogue.set_shelfmark(title.file, None);
            }
            self.ledger.remove(mark);
            // The last reference: its memory goes here, not on a worker.
            self.volumes[mark.0 as usize] = None;
        }
        let count = gone.len();
        self.show(|view| view.evictions += count as u64);
        count
    }

    /// Tells those who want a file that it does not come, and people why, once.
    fn refuse(&mut self, order: &Order, error: &VolumeError) {
        let title = order.title;
        let why = match error {
            VolumeError::Changed => Unavailable::Changed,
            VolumeError::Left(Reason::Vanished) => Unavailable::Vanished,
            VolumeError::Unknown | VolumeError::Left(_) | VolumeError::Memory(_) => Unavailable::Failed,
        };
        for worker in numbers(order.workers) {
            self.send(worker, Letter::NotAvailable(title, why));
        }
        self.show(|view| view.failures += 1);
        if self.said.len() >= SAID_MAX {
            self.said.clear();
        }
        if self.said.insert(title) {
            say(format_args!("cache: {} cannot be loaded: {error}", self.name(title)));
        }
    }

    fn say_no_room(&mut self, order: &mut Order, now: Instant) {
        let title = order.title;
        if !std::mem::replace(&mut order.waited, true) {
            self.show(|view| view.no_room += 1);
        }
        if self.said_no_room.is_none_or(|said| now.saturating_duration_since(said) >= LINE_PERIOD) {
            self.said_no_room = Some(now);
            say(format_args!(
                "cache: {} waits for room: running transfers read most of the {} for files on demand; raise files.budget",
                self.name(title),
                Size(self.budget.saturating_sub(self.stock.library.pinned_cost()))
            ));
        }
    }

    fn name(&self, title: Title) -> String {
        escape(self.stock.catalogue.file(title.file).name()).to_string()
    }

    /// A full mailbox makes a letter wait, never this thread.
    fn send(&mut self, worker: usize, letter: Letter) {
        if let Some(unsent) = self.unsent.get_mut(worker) {
            unsent.push_back(letter);
        }
        self.send_unsent();
    }

    fn send_unsent(&mut self) {
        for (desk, unsent) in self.desks.iter().zip(&mut self.unsent) {
            while let Some(letter) = unsent.pop_front() {
                if let Err(letter) = desk.letters.offer(letter) {
                    unsent.push_front(letter);
                    break;
                }
            }
        }
    }

    fn show(&mut self, change: impl FnOnce(&mut View)) {
        let generation = self.stock.catalogue.generation();
        // A panic of another reader leaves what was shown last.
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut view);
        view.resident = self.ledger.titles().filter(|title| title.generation == generation).collect();
        view.cost = self.ledger.used();
        view.pinned_cost = self.stock.library.pinned_cost();
    }
}

/// It could not be brought yet.
struct StillWanted;

/// How all workers together use a place.
fn usage(desks: &[Desk], mark: Shelfmark) -> Usage {
    let places = desks.iter().flat_map(|desk| &desk.usage).filter_map(|usage| usage.of(mark));
    places.fold(Usage::default(), |sum, place| Usage {
        requests: sum.requests + place.requests(),
        last_ms: sum.last_ms.max(place.last_ms()),
        readers: sum.readers + u64::from(place.readers()),
    })
}

/// The numbers of the bits that are set.
fn numbers(workers: u64) -> impl Iterator<Item = usize> {
    (0..64).filter(move |&worker| workers >> worker & 1 == 1)
}

#[cfg(test)]
mod tests;
