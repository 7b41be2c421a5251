//! The catalogues that transfers still read: the current one, and older ones until their last transfer ends.

use crate::files::{Arena, Catalogue};
use crate::session::GENERATIONS;
use std::sync::Arc;

/// Catalogues alive at a time in one engine. A new one is refused while all others still have readers.
pub const CATALOGUES_MAX: usize = GENERATIONS;

/// Numbered places for catalogues, with the count of their readers in this worker.
#[derive(Debug)]
pub(super) struct Generations {
    places: [Option<Arc<Catalogue>>; CATALOGUES_MAX],
    readers: [u32; CATALOGUES_MAX],
    current: u8,
}

impl Generations {
    pub(super) fn new(first: Arc<Catalogue>) -> Self {
        let mut places = [const { None }; CATALOGUES_MAX];
        places[0] = Some(first);
        Self { places, readers: [0; CATALOGUES_MAX], current: 0 }
    }

    /// New transfers read `catalogue` from now on. Gives it back when there is no place for it yet.
    pub(super) fn install(&mut self, catalogue: Arc<Catalogue>) -> Result<(), Arc<Catalogue>> {
        match (0_u8..).zip(&self.places).find(|(_, place)| place.is_none()) {
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

    pub(super) fn begin_reading(&mut self, generation: u8) {
        self.readers[usize::from(generation)] += 1;
    }

    pub(super) fn end_reading(&mut self, generation: u8) {
        self.readers[usize::from(generation)] -= 1;
    }
}
