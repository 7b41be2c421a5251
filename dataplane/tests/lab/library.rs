//! Files that are not in the catalogue, and somebody who brings them: control's part, played by the test.

use super::Bench;
use super::network::Station;
use crossbeam::queue::ArrayQueue;
use dataplane::engine::{Engine, ShelfUse, Shelfmark, Title, Unavailable, Wants};
use dataplane::files::{Catalogue, CatalogueBuilder, FileId, GenerationId, Lookup, Name, NameOptions};
use dataplane::port::memory::MemoryFrame;
use dataplane::random::{Random, Seed};
use dataplane::time::Instant;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Wants that fit.
pub const WANTS: usize = 16;

/// A catalogue of these files, the second ones to be loaded on demand.
pub fn partial(generation: u32, present: &[(&str, Vec<u8>)], absent: &[(&str, Vec<u8>)]) -> Arc<Catalogue> {
    let bytes = present.iter().map(|(_, bytes)| bytes.len().next_multiple_of(64)).sum();
    let mut builder =
        CatalogueBuilder::new(GenerationId(generation), NameOptions::default(), bytes, false).expect("memory");
    for (name, bytes) in present {
        let id = builder.add_file(bytes).expect("room");
        builder.add_name(name.as_bytes(), id).expect("room");
    }
    for (name, bytes) in absent {
        let id = builder.add_absent(bytes.len() as u64).expect("room");
        builder.add_name(name.as_bytes(), id).expect("room");
    }
    Arc::new(builder.finish().expect("sealed"))
}

/// One file as it is loaded on demand.
pub fn volume(bytes: &[u8]) -> Arc<Catalogue> {
    let room = bytes.len().next_multiple_of(64);
    let mut builder = CatalogueBuilder::new(GenerationId(0), NameOptions::default(), room, false).expect("memory");
    builder.add_file(bytes).expect("room");
    Arc::new(builder.finish().expect("sealed"))
}

pub fn file(catalogue: &Catalogue, name: &str) -> FileId {
    let name = Name::parse(name.as_bytes(), catalogue.name_options()).expect("a name");
    match catalogue.lookup(&name) {
        Lookup::File(id) => id,
        other => panic!("{other:?}"),
    }
}

/// Brings files to one engine, a few at a time.
pub struct Librarian {
    pub wants: Wants,
    pub usage: Arc<ShelfUse>,
    pub catalogue: Arc<Catalogue>,
    contents: BTreeMap<FileId, Vec<u8>>,
    /// What stands where.
    pub shelf: Vec<Option<(Title, Arc<Catalogue>)>>,
    pub loads: u64,
    pub evictions: u64,
}

impl Librarian {
    pub fn new(engine: &mut Engine, catalogue: &Arc<Catalogue>, absent: &[(&str, Vec<u8>)], places: u32) -> Self {
        let wants: Wants = Arc::new(ArrayQueue::new(WANTS));
        let usage = engine.serve_on_demand(Arc::clone(&wants), places);
        let contents = absent.iter().map(|(name, bytes)| (file(catalogue, name), bytes.clone())).collect();
        Self {
            wants,
            usage,
            catalogue: Arc::clone(catalogue),
            contents,
            shelf: vec![None; places as usize],
            loads: 0,
            evictions: 0,
        }
    }

    pub fn title(&self, name: &str) -> Title {
        Title { generation: self.catalogue.generation(), file: file(&self.catalogue, name) }
    }

    /// Gives a file to the engine; false when there is no place for it now.
    pub fn bring(&mut self, engine: &mut Engine, title: Title) -> bool {
        if let Some(at) = self.shelf.iter().position(|place| place.as_ref().is_some_and(|held| held.0 == title)) {
            let volume = Arc::clone(&self.shelf[at].as_ref().expect("held").1);
            return engine.shelve(Shelfmark(at as u32), title, volume).is_ok();
        }
        let Some(at) = self.shelf.iter().position(Option::is_none).or_else(|| self.make_room(engine)) else {
            return false;
        };
        let volume = volume(&self.contents[&title.file]);
        self.catalogue.set_shelfmark(title.file, Some(at as u32));
        engine.shelve(Shelfmark(at as u32), title, Arc::clone(&volume)).expect("the place was empty");
        self.shelf[at] = Some((title, volume));
        self.loads += 1;
        true
    }

    /// Empties the idle place that was used least lately.
    pub fn make_room(&mut self, engine: &mut Engine) -> Option<usize> {
        let at = (0..self.shelf.len())
            .filter(|&at| self.shelf[at].is_some() && engine.is_idle(Shelfmark(at as u32)))
            .min_by_key(|&at| self.usage.of(Shelfmark(at as u32)).expect("a place").last_ms())?;
        self.evict(engine, at).then_some(at)
    }

    /// Empties a place, if nobody reads there.
    pub fn evict(&mut self, engine: &mut Engine, at: usize) -> bool {
        let Some(taken) = engine.unshelve(Shelfmark(at as u32)) else { return false };
        let (title, held) = self.shelf[at].take().expect("held");
        if title.generation == self.catalogue.generation() {
            self.catalogue.set_shelfmark(title.file, None);
        }
        drop(taken);
        assert_eq!(Arc::strong_count(&held), 1, "the last one to have it drops it");
        self.evictions += 1;
        true
    }

    /// Another catalogue; what stands on the shelf stays.
    pub fn restock(&mut self, catalogue: &Arc<Catalogue>, absent: &[(&str, Vec<u8>)]) {
        self.catalogue = Arc::clone(catalogue);
        self.contents = absent.iter().map(|(name, bytes)| (file(catalogue, name), bytes.clone())).collect();
    }

    /// The wants, each once.
    pub fn asked(&self) -> Vec<Title> {
        core::iter::from_fn(|| self.wants.pop()).collect()
    }
}

/// A bench with its librarian, who takes a while for each file.
pub struct Branch {
    pub bench: Bench,
    pub librarian: Librarian,
    random: Random,
    waiting: Vec<(u64, Title)>,
    delay_ms: u32,
    /// Thousandths of the wants that come to nothing.
    pub fail: u32,
}

impl Branch {
    pub fn new(bench: Bench, librarian: Librarian, seed: u64, delay_ms: u32) -> Self {
        Self { bench, librarian, random: Random::new(Seed([5; 16]), seed), waiting: Vec::new(), delay_ms, fail: 0 }
    }
}

impl Station for Branch {
    fn now(&self) -> Instant {
        self.bench.now
    }

    fn set_now(&mut self, now: Instant) {
        self.bench.now = now;
    }

    fn deliver(&mut self, bytes: &[u8]) {
        self.bench.deliver(bytes);
    }

    fn poll(&mut self) -> Vec<MemoryFrame> {
        let now_ms = self.bench.now.millis();
        for title in self.librarian.asked() {
            self.waiting.push((now_ms + u64::from(self.random.below(self.delay_ms + 1)), title));
        }
        let engine = self.bench.lane.engine_mut();
        let (librarian, random, fail) = (&mut self.librarian, &mut self.random, self.fail);
        self.waiting.retain(|&(due_ms, title)| {
            if due_ms > now_ms {
                return true;
            }
            if fail > random.below(1_000) {
                engine.refuse_waiting(title, Unavailable::Failed);
                return false;
            }
            !librarian.bring(engine, title)
        });
        self.bench.poll()
    }
}
