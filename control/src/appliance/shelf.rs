//! The catalogues that somebody may still read: the current one, and older ones until control has the last reference. A worker never gives
//! back memory, and sessions of an older generation keep their files' names.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dataplane::dpdk::ReachableArena;
use dataplane::files::{Catalogue, GenerationId, LoadReport};

/// A catalogue with what belongs to it.
pub(super) struct Generation {
    /// Ends before the memory that it is about.
    _reach: Vec<ReachableArena>,
    catalogue: Arc<Catalogue>,
    report: LoadReport,
}

impl Generation {
    /// `reach`: what lets devices read the files.
    pub(super) const fn new(catalogue: Arc<Catalogue>, report: LoadReport, reach: Vec<ReachableArena>) -> Self {
        Self { _reach: reach, catalogue, report }
    }

    pub(super) const fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }
}

struct Places {
    current: Generation,
    /// Older ones, and for a moment the next.
    others: Vec<Generation>,
}

/// All of them. What is asked of it is answered at once.
pub(super) struct Shelf(Mutex<Places>);

impl Shelf {
    pub(super) const fn new(first: Generation) -> Self {
        Self(Mutex::new(Places { current: first, others: Vec::new() }))
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        // Changes are single steps, so a panic leaves all whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What new transfers read.
    pub(super) fn current(&self) -> Arc<Catalogue> {
        Arc::clone(&self.places().current.catalogue)
    }

    /// How the last load went.
    pub(super) fn report(&self) -> LoadReport {
        self.places().current.report.clone()
    }

    /// Another look at the tree gave nothing new to serve.
    pub(super) fn set_report(&self, report: LoadReport) {
        self.places().current.report = report;
    }

    /// A generation that somebody may still read.
    pub(super) fn find(&self, generation: GenerationId) -> Option<Arc<Catalogue>> {
        let places = self.places();
        let found = std::iter::once(&places.current).chain(&places.others);
        found.map(Generation::catalogue).find(|catalogue| catalogue.generation() == generation).map(Arc::clone)
    }

    /// Takes one that is about to be served, so that sessions which read it find the names of their files.
    pub(super) fn put(&self, next: Generation) {
        self.places().others.push(next);
    }

    /// From now on this is the current one, which was put here before.
    pub(super) fn promote(&self, next: GenerationId) {
        let Places { current, others } = &mut *self.places();
        if let Some(found) = others.iter_mut().find(|other| other.catalogue.generation() == next) {
            std::mem::swap(current, found);
        }
    }

    /// Takes off what nobody but the shelf has any more, to be dropped by the caller: that takes a while. Also how many others are left.
    ///
    /// Not to be called between [`put`](Self::put) and [`promote`](Self::promote).
    pub(super) fn take_unread(&self) -> (Vec<Generation>, usize) {
        let mut places = self.places();
        // Who might take another reference asks the shelf for it, and waits for the lock.
        let unread = |generation: &mut Generation| Arc::strong_count(&generation.catalogue) == 1;
        let taken = places.others.extract_if(.., unread).collect();
        (taken, places.others.len())
    }
}

#[cfg(test)]
mod tests {
    use dataplane::files::{CatalogueBuilder, LoadOptions, NameOptions, load};

    use super::*;

    fn generation(number: u32, report: &LoadReport) -> Generation {
        let builder = CatalogueBuilder::new(GenerationId(number), NameOptions::default(), 0, false).unwrap();
        Generation::new(Arc::new(builder.finish().unwrap()), report.clone(), Vec::new())
    }

    #[test]
    fn an_older_generation_stays_until_its_last_reader_has_gone() {
        let root = tempfile::tempdir().unwrap();
        let (_, report) = load(root.path(), &LoadOptions::default(), &mut |_| ()).unwrap();
        let shelf = Shelf::new(generation(1, &report));
        let reader = shelf.current();
        for number in 2..5 {
            shelf.put(generation(number, &report));
            assert_eq!(shelf.current().generation(), GenerationId(number - 1));
            assert!(shelf.find(GenerationId(number)).is_some(), "its sessions have names already");
            shelf.promote(GenerationId(number));
        }
        assert_eq!(shelf.current().generation(), GenerationId(4));
        let (taken, left) = shelf.take_unread();
        assert_eq!((taken.len(), left), (2, 1));
        assert!(shelf.find(GenerationId(1)).is_some_and(|found| Arc::ptr_eq(&found, &reader)));
        assert!(shelf.find(GenerationId(2)).is_none());
        drop(reader);
        let (taken, left) = shelf.take_unread();
        assert_eq!((taken.len(), left), (1, 0));
        assert_eq!(
            (shelf.take_unread().0.len(), shelf.current().generation()),
            (0, GenerationId(4)),
            "never the current one"
        );
    }
}
