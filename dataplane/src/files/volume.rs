//! Files outside of the catalogue: where they lie and what they were at the scan, and their way into memory of their own, one at a
//! time. For control; a worker only ever gets what came of it.
//!
//! A *volume* is a catalogue of one file under its first name: the same bytes, sums and netascii counts, made by the same code.

use std::os::fd::OwnedFd;

use thiserror::Error;

use super::arena::ArenaError;
use super::budget::{pinned_bytes, volume_bytes, wants_hugepages};
use super::catalogue::{BuildError, Catalogue, CatalogueBuilder, FileId, GenerationId, Placed};
use super::name::NameOptions;
use super::read::{Content, Failure, Room, look_at, read_whole};
use super::report::Reason;
use super::scan::SourceFile;

/// Why a file could not be brought into memory.
#[derive(Debug, Error)]
pub enum VolumeError {
    /// The library has no such file.
    #[error("not a file that is loaded on demand")]
    Unknown,
    /// Not the bytes that the scan saw: its length or its time of modification is another, or another file has its name.
    #[error("changed since the tree was scanned: reload, or start again")]
    Changed,
    /// It may no longer be served, or not be read.
    #[error("{0}")]
    Left(Reason),
    /// No memory for it.
    #[error(transparent)]
    Memory(#[from] ArenaError),
}

impl From<Reason> for VolumeError {
    fn from(reason: Reason) -> Self {
        match reason {
            // A symlink or a FIFO in its place, for example.
            Reason::Changed | Reason::Special => Self::Changed,
            reason => Self::Left(reason),
        }
    }
}

/// The files of a tree that were not read when it was loaded.
#[derive(Debug)]
pub struct Library {
    root: OwnedFd,
    generation: GenerationId,
    /// The number of the first of them in its catalogue; the others follow.
    first: u32,
    /// With the names that they have in the catalogue.
    sources: Vec<(SourceFile, Box<[u8]>)>,
    hugepages: bool,
    pinned_cost: u64,
}

impl Library {
    /// The last `sources.len()` files of `catalogue`.
    pub(super) fn new(root: OwnedFd, catalogue: &Catalogue, sources: Vec<SourceFile>, hugepages: bool) -> Self {
        let present = catalogue.file_count() - catalogue.absent_count();
        let pinned_cost = catalogue.files().take(present).map(|file| pinned_bytes(file.len())).sum();
        let first = u32::try_from(present).unwrap_or(u32::MAX);
        let names = catalogue.files().skip(present).map(|file| file.name().into());
        let sources = sources.into_iter().zip(names).collect();
        Self { root, generation: catalogue.generation(), first, sources, hugepages, pinned_cost }
    }

    /// Whether all files are in the catalogue.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The catalogue that its files belong to.
    #[must_use]
    pub const fn generation(&self) -> GenerationId {
        self.generation
    }

    /// Bytes of the budget that the files in the catalogue cost.
    #[must_use]
    pub const fn pinned_cost(&self) -> u64 {
        self.pinned_cost
    }

    /// Bytes of the budget that this file will cost.
    #[must_use]
    pub fn cost(&self, file: FileId) -> Option<u64> {
        Some(volume_bytes(self.source(file)?.0.size, self.hugepages))
    }

    /// Reads one file; takes as long as the disk does.
    ///
    /// # Errors
    /// [`VolumeError`].
    pub fn read(&self, file: FileId) -> Result<Catalogue, VolumeError> {
        let (source, name) = self.source(file).ok_or(VolumeError::Unknown)?;
        // Before memory is taken for it: it may have grown.
        let now = look_at(&self.root, &source.path)?;
        if !now.has_bytes_of(&source.version) {
            return Err(VolumeError::Changed);
        }
        let len = usize::try_from(source.size).map_err(|_| VolumeError::Changed)?;
        let hugepages = wants_hugepages(source.size, self.hugepages);
        let mut builder = CatalogueBuilder::new(self.generation, NameOptions::default(), len, hugepages)?;
        let (memory, mut slots) = builder.fill(1);
        let mut room = Room { memory, start: 0, place: 0, slots: &mut slots };
        let content = read_whole(&self.root, &source.path, &mut room, &mut |_| ());
        let Content { len, counts, version } = content.map_err(|failure| match failure {
            Failure::NoRoom => VolumeError::Changed,
            Failure::Left(reason) => reason.into(),
        })?;
        if !version.has_bytes_of(&source.version) {
            return Err(VolumeError::Changed);
        }
        let placed = Placed { start: 0, len: len as u64, place: 0 };
        builder.add_placed(placed, &counts, None).and_then(|id| builder.add_name(name, id)).map_err(
            |error| match error {
                BuildError::Arena(error) => VolumeError::Memory(error),
                BuildError::NoRoom { .. } | BuildError::TooManyNames => VolumeError::Unknown,
            },
        )?;
        Ok(builder.finish()?)
    }

    fn source(&self, file: FileId) -> Option<&(SourceFile, Box<[u8]>)> {
        self.sources.get(usize::try_from(file.index().checked_sub(self.first)?).ok()?)
    }
}
