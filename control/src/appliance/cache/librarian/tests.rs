//! The librarian with a real tree and a worker that reads its letters, by a clock of the test's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread::JoinHandle;

use crossbeam::queue::ArrayQueue;
use dataplane::dpdk::QueuePair;
use dataplane::files::{Allowance, FileId, GenerationId, LoadOptions, Loaded, Lookup, load_within};
use dataplane::time;
use dataplane::worker::{DrainFlag, StopFlag, Worker, WorkerStatus, mailbox};

use super::*;

/// A worker without ports: it reads its letters and has nobody to serve.
struct Idle {
    stop: StopFlag,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.stop.raise();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn idle_worker() -> (Idle, Desk) {
    let (letters, mailbox) = mailbox();
    let stop = StopFlag::new();
    let worker: Worker<QueuePair> = Worker {
        lanes: Vec::new(),
        mailbox,
        drain: DrainFlag::new(),
        stop: stop.clone(),
        status: Arc::new(WorkerStatus::default()),
        idle_sleep: Some(Duration::from_micros(100)),
    };
    let thread = std::thread::spawn(move || worker.run(|| time::Instant::ORIGIN));
    let desk = Desk { wants: Arc::new(ArrayQueue::new(64)), usage: Vec::new(), letters };
    (Idle { stop, thread: Some(thread) }, desk)
}

fn put(root: &Path, name: &str, len: usize) {
    fs::write(root.join(name), vec![7; len]).unwrap();
    fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o644)).unwrap();
}

fn load(root: &Path, generation: u32, budget_bytes: u64) -> Stock {
    let options = LoadOptions { generation: GenerationId(generation), ..LoadOptions::default() };
    let allowance = Allowance { budget_bytes, ..Allowance::default() };
    let Loaded { catalogue, library, .. } = load_within(root, &options, &allowance, &mut |_| ()).unwrap();
    Stock { catalogue: Arc::new(catalogue), library }
}

const BUDGET: u64 = 300_000;

struct Branch {
    _worker: Idle,
    wants: Wants,
    librarian: Librarian,
    start: Instant,
    root: tempfile::TempDir,
}

impl Branch {
    /// Six files of 100,000 bytes, of which two fit.
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        ["a", "b", "c", "d", "e", "f"].iter().for_each(|name| put(root.path(), name, 100_000));
        let (worker, desk) = idle_worker();
        let wants = Arc::clone(&desk.wants);
        let view = Arc::new(Mutex::new(View::default()));
        let librarian = Librarian::new(vec![desk], load(root.path(), 1, BUDGET), BUDGET, 16, view);
        Self { _worker: worker, wants, librarian, start: Instant::now(), root }
    }

    fn file(&self, name: &str) -> FileId {
        match self.librarian.stock.catalogue.lookup_normal(name.as_bytes()) {
            Lookup::File(file) => file,
            other => panic!("{name}: {other:?}"),
        }
    }

    /// Asks for a file and lets the librarian work at `at_ms`.
    fn want(&mut self, name: &str, at_ms: u64) -> View {
        let title = Title { generation: self.librarian.stock.catalogue.generation(), file: self.file(name) };
        self.wants.push(title).unwrap();
        self.work(at_ms)
    }

    fn work(&mut self, at_ms: u64) -> View {
        while self.librarian.work(self.start + Duration::from_millis(at_ms)) {}
        self.librarian.view.lock().unwrap().clone()
    }

    fn there(&self) -> String {
        let catalogue = &self.librarian.stock.catalogue;
        let mut names: Vec<String> = catalogue
            .names()
            .filter(|&(_, file)| catalogue.shelfmark(file).flatten().is_some())
            .map(|(name, _)| String::from_utf8(name.to_vec()).unwrap())
            .collect();
        names.sort();
        names.concat()
    }
}

#[test]
fn files_come_when_they_are_asked_for_and_go_for_others() {
    let mut branch = Branch::new();
    assert_eq!(branch.work(0).loads, 0);
    let view = branch.want("a", 0);
    assert_eq!((view.loads, view.resident.len(), view.loaded_bytes), (1, 1, 100_000));
    assert_eq!(branch.want("a", 1).loads, 1, "it is there");
    branch.want("b", 2);
    assert_eq!(branch.there(), "ab");
    let view = branch.want("c", 3);
    assert_eq!((branch.there().as_str(), view.no_room), ("ab", 1), "nobody has come for them yet");
    let view = branch.work(2_000);
    assert_eq!((view.evictions, view.loads, branch.there().len()), (1, 3, 2));
    assert!(branch.there().contains('c'));
    assert!(view.cost <= BUDGET && view.cost > 200_000, "{}", view.cost);
    let volumes: Vec<_> = branch.librarian.volumes.iter().flatten().collect();
    assert_eq!(volumes.len(), 2, "what went is gone");
    let begun = Instant::now();
    while volumes.iter().any(|volume| Arc::strong_count(volume) > 1) && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(volumes.iter().all(|volume| Arc::strong_count(volume) == 1), "a worker without lanes keeps nothing");
}

#[test]
fn a_want_that_finds_no_room_is_forgotten_when_nobody_repeats_it() {
    let mut branch = Branch::new();
    branch.want("a", 0);
    branch.want("b", 9_500);
    branch.want("c", 9_500);
    assert_eq!(branch.there(), "bc", "the first was there for long");
    branch.want("d", 9_600);
    branch.work(9_700);
    assert_eq!(branch.librarian.orders.len(), 1);
    branch.librarian.orders.front_mut().unwrap().last_asked = branch.start;
    branch.work(10_050);
    assert_eq!((branch.librarian.orders.len(), branch.there().as_str()), (0, "bc"));
}

#[test]
fn what_is_not_what_it_was_is_refused() {
    let mut branch = Branch::new();
    fs::remove_file(branch.root.path().join("a")).unwrap();
    put(branch.root.path(), "b", 100_001);
    put(branch.root.path(), "next", 100_000);
    fs::rename(branch.root.path().join("next"), branch.root.path().join("c")).unwrap();
    fs::set_permissions(branch.root.path().join("d"), fs::Permissions::from_mode(0o600)).unwrap();
    for (failures, name) in (1..).zip(["a", "b", "c", "d"]) {
        let view = branch.want(name, 0);
        assert_eq!((view.failures, view.loads, view.cost), (failures, 0, 0), "{name}");
    }
    assert_eq!(branch.librarian.said.len(), 4);
    branch.want("a", 0);
    assert_eq!(branch.librarian.said.len(), 4, "each is said once");
    fs::set_permissions(branch.root.path().join("d"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(branch.want("d", 0).loads, 1, "another mode is no other content");
}

#[test]
fn another_catalogue_lets_the_files_of_the_old_one_go() {
    let mut branch = Branch::new();
    branch.want("a", 0);
    let old = Title { generation: GenerationId(1), file: branch.file("b") };
    put(branch.root.path(), "g", 100_000);
    let stock = load(branch.root.path(), 2, BUDGET);
    branch.librarian.restock(stock);
    assert!(branch.librarian.view.lock().unwrap().resident.is_empty(), "nobody can ask for it any more");
    branch.wants.push(old).unwrap();
    assert_eq!(branch.work(1).loads, 1, "a want of the old catalogue is nobody's");
    assert_eq!(branch.want("g", 2_000).loads, 2);
    assert_eq!((branch.librarian.ledger.outdated(GenerationId(2)).len(), branch.there().as_str()), (0, "g"));
}

#[test]
fn a_worker_that_takes_no_letters_holds_nobody_up() {
    let root = tempfile::tempdir().unwrap();
    ["a", "b"].iter().for_each(|name| put(root.path(), name, 100_000));
    let (letters, _unread) = mailbox();
    let wants: Wants = Arc::new(ArrayQueue::new(64));
    let desk = Desk { wants: Arc::clone(&wants), usage: Vec::new(), letters };
    let stock = load(root.path(), 1, 150_000);
    let file = |name: &[u8]| match stock.catalogue.lookup_normal(name) {
        Lookup::File(file) => file,
        other => panic!("{other:?}"),
    };
    let title = Title { generation: GenerationId(1), file: file(b"a") };
    let mut librarian = Librarian::new(vec![desk], stock, 150_000, 16, Arc::new(Mutex::new(View::default())));
    for _ in 0..40 {
        wants.push(title).unwrap();
        librarian.work(Instant::now());
    }
    assert!(!librarian.unsent[0].is_empty(), "its mailbox is full");
    assert_eq!(
        librarian.unsent[0].len() + wants.len(),
        40 - 16,
        "nothing is asked of the librarian that he cannot answer"
    );
}

#[test]
fn the_thread_ends_when_its_owner_goes() {
    let branch = Branch::new();
    let (stocks, news) = crossbeam::channel::bounded(1);
    let librarian = branch.librarian;
    let thread = std::thread::spawn(move || librarian.run(&news));
    drop(stocks);
    thread.join().unwrap();
}
