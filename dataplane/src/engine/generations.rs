//! The catalogues that transfers still read: the current one, and older ones until their last transfer ends. Beside them, the shelf
//! of files loaded on demand.

use super::shelf::{Shelf, Shelfmark, Title};
use crate::files::{Arena, Catalogue, FileId, FileTally, GenerationId};
use crate::session::{GENERATION_NUMBERS, GENERATIONS, ON_SHELF, Session};
use crate::time::Instant;
use std::sync::Arc;

/// Catalogues alive at a time in one engine. A new one is refused while all others still have readers.
pub const CATALOGUES_MAX: usize = GENERATIONS;

/// Numbered places for catalogues, with the count of their readers in this worker. A session whose place is empty reads from the
/// shelf: finding that out costs the way from an ACK to its DATA nothing.
#[derive(Debug)]
pub(super) struct Generations {
    places: [Option<Arc<Catalogue>>; GENERATION_NUMBERS],
    readers: [u32; GENERATION_NUMBERS],
    current: u8,
    shelf: Shelf,
}

/// What a transfer reads: a file of a catalogue, or, with generation [`ON_SHELF`], what is in a place on the shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) generation: u8,
    pub(super) file: FileId,
}

impl Source {
    pub(super) const fn of(session: &Session) -> Self {
        Self { generation: session.generation(), file: session.file }
    }

    const fn shelfmark(self) -> Option<Shelfmark> {
        if self.generation == ON_SHELF { Some(Shelfmark(self.file.index())) } else { None }
    }
}

impl Generations {
    pub(super) fn new(first: Arc<Catalogue>) -> Self {
        let mut places = [const { None }; GENERATION_NUMBERS];
        places[0] = Some(first);
        Self { places, readers: [0; GENERATION_NUMBERS], current: 0, shelf: Shelf::new(0) }
    }

    /// New transfers read `catalogue` from now on. Gives it back when there is no place for it yet.
    pub(super) fn install(&mut self, catalogue: Arc<Catalogue>) -> Result<(), Arc<Catalogue>> {
        match (0_u8..).zip(&self.places[..CATALOGUES_MAX]).find(|(_, place)| place.is_none()) {
            Some((place, _)) => {
                self.places[usize::from(place)] = Some(catalogue);
                self.current = place;
                Ok(())
            }
            None => Err(catalogue),
        }
    }

    /// An old catalogue without readers whose generation `may_go`. It is for the caller to drop: giving back its memory takes a
    /// while.
    pub(super) fn take_unread(&mut self, mut may_go: impl FnMut(u8) -> bool) -> Option<Arc<Catalogue>> {
        let current = self.current;
        (0..).zip(&mut self.places).zip(self.readers).find_map(|((generation, place), readers)| {
            let unread = generation != current && readers == 0 && place.is_some();
            if unread && may_go(generation) { place.take() } else { None }
        })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.places.iter().flatten().count()
    }

    /// The memory of a generation that is there.
    pub(super) fn arena(&self, generation: u8) -> &Arc<Arena> {
        self.get(generation).arena()
    }

    pub(super) const fn current(&self) -> u8 {
        self.current
    }

    #[inline]
    pub(super) fn get(&self, generation: u8) -> &Catalogue {
        match &self.places[usize::from(generation)] {
            Some(catalogue) => catalogue,
            None => unreachable!("a generation with readers is never taken out"),
        }
    }

    /// The catalogue of a generation that may have ended.
    #[inline]
    pub(super) fn find(&self, generation: u8) -> Option<&Catalogue> {
        self.places.get(usize::from(generation))?.as_deref()
    }

    /// A file of the current catalogue, where its bytes are; `None` where they are not here.
    #[inline]
    pub(super) fn locate(&self, file: FileId) -> Option<Source> {
        let catalogue = self.get(self.current);
        match catalogue.shelfmark(file) {
            None => Some(Source { generation: self.current, file }),
            Some(mark) => self.locate_on_shelf(mark?, Title { generation: catalogue.generation(), file }),
        }
    }

    #[cold]
    fn locate_on_shelf(&self, mark: u32, title: Title) -> Option<Source> {
        let found = self.shelf.has(Shelfmark(mark), title);
        found.then_some(Source { generation: ON_SHELF, file: FileId::from_index(mark) })
    }

    /// The catalogue that a source's bytes are in, and its number there.
    pub(super) fn open(&self, source: Source) -> (&Catalogue, FileId) {
        match source.shelfmark() {
            Some(mark) => (self.shelf.volume(mark), FileId::FIRST),
            None => (self.get(source.generation), source.file),
        }
    }

    /// The catalogue that a session reads, if that is one; else it reads from the shelf.
    #[inline]
    pub(super) fn catalogue_of(&self, session: &Session) -> Option<&Catalogue> {
        self.places[usize::from(session.generation())].as_deref()
    }

    /// What control knows a source as.
    pub(super) fn title(&self, source: Source) -> Title {
        let whole = || Title { generation: self.get(source.generation).generation(), file: source.file };
        let nothing = Title { generation: GenerationId::default(), file: source.file };
        match source.shelfmark() {
            Some(mark) => self.shelf.title(mark).unwrap_or(nothing),
            None => whole(),
        }
    }

    /// Where a worker counts for a source's file, while its catalogue is there.
    pub(super) fn tally(&self, worker: u16, source: Source) -> Option<&FileTally> {
        match source.shelfmark() {
            None => self.get(source.generation).tally(worker, source.file),
            Some(mark) => {
                let title = self.shelf.title(mark)?;
                let catalogue = self.places.iter().flatten().find(|place| place.generation() == title.generation)?;
                catalogue.tally(worker, title.file)
            }
        }
    }

    pub(super) const fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    pub(super) const fn shelf_mut(&mut self) -> &mut Shelf {
        &mut self.shelf
    }

    pub(super) fn begin_reading(&mut self, source: Source, now: Instant) {
        match source.shelfmark() {
            Some(mark) => self.shelf.begin_reading(mark, now),
            None => self.readers[usize::from(source.generation)] += 1,
        }
    }

    pub(super) fn end_reading(&mut self, source: Source) {
        match source.shelfmark() {
            Some(mark) => self.shelf.end_reading(mark),
            None => self.readers[usize::from(source.generation)] -= 1,
        }
    }
}
