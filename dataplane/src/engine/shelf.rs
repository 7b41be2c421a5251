//! Files loaded on demand, as one worker has them: numbered places that control fills and empties by letter, and who reads from
//! them. Never loads, never waits, never decides what goes.

use crate::files::{Catalogue, FileId, GenerationId};
use crate::time::Instant;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crossbeam::queue::ArrayQueue;
use std::sync::Arc;

/// A place on the shelves of all workers: the same number means the same file everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shelfmark(pub u32);

impl Shelfmark {
    const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A file of one catalogue, whatever becomes of its number in the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Title {
    /// The catalogue.
    pub generation: GenerationId,
    /// The file in it.
    pub file: FileId,
}

/// Where a worker says which files were asked for that it has not. Bounded: what does not fit is dropped and counted, and the
/// client's repeat asks again.
pub type Wants = Arc<ArrayQueue<Title>>;

/// How one place is used. Written by its worker alone, once per transfer; read by control when it needs room.
#[derive(Debug, Default)]
pub struct PlaceUse {
    requests: AtomicU64,
    last_ms: AtomicU64,
    readers: AtomicU32,
}

impl PlaceUse {
    /// Transfers that began there, whatever file it held.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// When the last of them began or ended, in whole milliseconds since the engines' origin.
    #[must_use]
    pub fn last_ms(&self) -> u64 {
        self.last_ms.load(Ordering::Relaxed)
    }

    /// Transfers that read it now.
    #[must_use]
    pub fn readers(&self) -> u32 {
        self.readers.load(Ordering::Relaxed)
    }
}

/// How one worker's places are used.
#[derive(Debug)]
pub struct ShelfUse(Box<[PlaceUse]>);

impl ShelfUse {
    /// One place; `None` where there is none.
    #[must_use]
    pub fn of(&self, mark: Shelfmark) -> Option<&PlaceUse> {
        self.0.get(mark.index())
    }
}

#[derive(Clone, Debug)]
struct Place {
    volume: Option<Arc<Catalogue>>,
    title: Title,
    readers: u32,
}

/// The places.
#[derive(Debug)]
pub(super) struct Shelf {
    places: Box<[Place]>,
    usage: Arc<ShelfUse>,
}

impl Shelf {
    /// So many empty places.
    pub(super) fn new(places: usize) -> Self {
        let vacant = Place {
            volume: None,
            title: Title { generation: GenerationId(u32::MAX), file: FileId::FIRST },
            readers: 0,
        };
        let usage = (0..places).map(|_| PlaceUse::default()).collect();
        Self { places: vec![vacant; places].into(), usage: Arc::new(ShelfUse(usage)) }
    }

    pub(super) const fn usage(&self) -> &Arc<ShelfUse> {
        &self.usage
    }

    /// Whether `mark` holds this file.
    pub(super) fn has(&self, mark: Shelfmark, title: Title) -> bool {
        self.places.get(mark.index()).is_some_and(|place| place.volume.is_some() && place.title == title)
    }

    /// What a session reads that began at `mark` and has not ended.
    pub(super) fn volume(&self, mark: Shelfmark) -> &Catalogue {
        match self.places.get(mark.index()).and_then(|place| place.volume.as_deref()) {
            Some(volume) => volume,
            None => unreachable!("a place with readers is never emptied"),
        }
    }

    /// Whose bytes these are.
    pub(super) fn title(&self, mark: Shelfmark) -> Option<Title> {
        self.places.get(mark.index()).filter(|place| place.volume.is_some()).map(|place| place.title)
    }

    /// Puts a file there; gives it back where somebody still reads another one, or there is no such place.
    pub(super) fn put(&mut self, mark: Shelfmark, title: Title, volume: Arc<Catalogue>) -> Result<(), Arc<Catalogue>> {
        match self.places.get_mut(mark.index()) {
            Some(place) if place.readers == 0 => {
                place.title = title;
                place.volume = Some(volume);
                Ok(())
            }
            _ => Err(volume),
        }
    }

    /// Whether nobody reads there.
    pub(super) fn is_idle(&self, mark: Shelfmark) -> bool {
        self.places.get(mark.index()).is_none_or(|place| place.readers == 0)
    }

    /// Empties a place that is idle. Control still has the file: its memory does not go here.
    pub(super) fn take(&mut self, mark: Shelfmark) -> Option<Arc<Catalogue>> {
        self.places.get_mut(mark.index()).filter(|place| place.readers == 0)?.volume.take()
    }

    pub(super) fn begin_reading(&mut self, mark: Shelfmark, now: Instant) {
        if let (Some(place), Some(usage)) = (self.places.get_mut(mark.index()), self.usage.of(mark)) {
            place.readers += 1;
            // One writer: no read-modify-write is needed.
            usage.requests.store(usage.requests() + 1, Ordering::Relaxed);
            usage.readers.store(place.readers, Ordering::Relaxed);
            usage.last_ms.store(now.millis(), Ordering::Relaxed);
        }
    }

    pub(super) fn end_reading(&mut self, mark: Shelfmark) {
        if let (Some(place), Some(usage)) = (self.places.get_mut(mark.index()), self.usage.of(mark)) {
            place.readers -= 1;
            usage.readers.store(place.readers, Ordering::Relaxed);
        }
    }
}
