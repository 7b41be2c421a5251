//! The catalogue: which names stand for which bytes. Immutable and shared by all lcores; a lookup never allocates, locks or
//! touches a disk.

use core::fmt;
use core::ops::Range;

use bytemuck::{Pod, Zeroable};
use thiserror::Error;

use super::arena::{Arena, ArenaBuilder, ArenaError, PageKind};
use super::index::{Full, NameIndex, Target};
use super::name::{Name, NameOptions};
use super::netascii::{CHUNK, LineCounter, Netascii};

/// Which load a catalogue came from; a reload counts up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenerationId(pub u32);

/// A file of one catalogue: the content, whatever names it has. Meaningless for another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct FileId(u32);

impl FileId {
    /// The first file of any catalogue.
    #[cfg(test)]
    pub(crate) const FIRST: Self = Self(0);

    /// Counts from zero, without gaps.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.0
    }

    fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Why something that is in the tree is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// A directory.
    Directory,
    /// A FIFO, socket or device.
    Special,
    /// Not readable (a directory: not searchable) by others.
    NotReadable,
    /// A symlink that leaves the root.
    Outside,
    /// A symlink that leads back to itself or to a directory above it.
    Loop,
    /// It changed again and again while it was being read, or reading failed.
    Unavailable,
}

impl Denied {
    /// Whether names below this one are denied too, though the index does not know them.
    pub(super) const fn covers_what_is_below(self) -> bool {
        matches!(self, Self::NotReadable | Self::Outside | Self::Loop | Self::Unavailable)
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "a directory",
            Self::Special => "not a regular file",
            Self::NotReadable => "not readable by others",
            Self::Outside => "outside the root",
            Self::Loop => "a symlink loop",
            Self::Unavailable => "could not be read at load time",
        })
    }
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// This file.
    File(FileId),
    /// Something that is not served.
    Denied(Denied),
    /// Nothing.
    NotFound,
}

#[derive(Clone, Copy, Debug)]
struct FileEntry {
    start: usize,
    len: usize,
    /// Where the netascii counts begin; `usize::MAX` when the file has none.
    counts_start: usize,
    /// The first name given to the file; `u32::MAX` before that.
    name: u32,
}

/// What is known of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRecord<'a> {
    id: FileId,
    len: u64,
    name: &'a [u8],
}

impl<'a> FileRecord<'a> {
    /// Its number in this catalogue.
    #[must_use]
    pub const fn id(&self) -> FileId {
        self.id
    }

    /// Length in bytes (octet mode).
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its first name in byte order, relative to the root, in the case that it has on disk. Escape it before printing.
    #[must_use]
    pub const fn name(&self) -> &'a [u8] {
        self.name
    }
}

/// An immutable set of files.
#[derive(Debug)]
pub struct Catalogue {
    generation: GenerationId,
    names: NameOptions,
    index: NameIndex,
    files: Vec<FileEntry>,
    counts: Vec<u64>,
    arena: Arena,
    total_bytes: u64,
}

impl Catalogue {
    /// Which load this is.
    #[must_use]
    pub const fn generation(&self) -> GenerationId {
        self.generation
    }

    /// How requested names must be normalised to be found here.
    #[must_use]
    pub const fn name_options(&self) -> NameOptions {
        self.names
    }

    /// What `name` stands for. One probe of the index where the name is there; else one pass over its directories, since what
    /// lies below an unreadable directory or a symlink that leaves the root is denied, not absent.
    #[must_use]
    pub fn lookup(&self, name: &Name) -> Lookup {
        match self.index.lookup(name.as_bytes()) {
            Some(Target::File(id)) => Lookup::File(id),
            Some(Target::Denied(denied)) => Lookup::Denied(denied),
            None => Lookup::NotFound,
        }
    }

    /// What is known of a file.
    ///
    /// # Panics
    /// When `id` comes from a catalogue with more files.
    #[must_use]
    pub fn file(&self, id: FileId) -> FileRecord<'_> {
        let entry = &self.files[id.as_usize()];
        FileRecord { id, len: entry.len as u64, name: self.index.name(entry.name) }
    }

    /// The bytes of a file that lie in `range`; less than asked for, or nothing, where the file ends.
    ///
    /// # Panics
    /// When `id` comes from a catalogue with more files.
    #[must_use]
    pub fn bytes(&self, id: FileId, range: Range<u64>) -> &[u8] {
        let entry = &self.files[id.as_usize()];
        let clamp = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(entry.len);
        let (start, end) = (clamp(range.start), clamp(range.end));
        self.arena.bytes(entry.start + start, end.saturating_sub(start))
    }

    /// How long a file is as netascii (RFC 1350 §1), in bytes.
    ///
    /// # Panics
    /// When `id` comes from a catalogue with more files.
    #[must_use]
    pub fn netascii_len(&self, id: FileId) -> u64 {
        self.netascii(id).len()
    }

    /// Length in bytes of the stream that a transfer of this file sends, in octet or netascii mode.
    #[must_use]
    #[inline]
    pub fn stream_len(&self, id: FileId, netascii: bool) -> u64 {
        if netascii { self.netascii_len(id) } else { self.file(id).len() }
    }

    /// Copies the file's netascii bytes from wire position `offset` on into `out`; returns how many there were. Resumes anywhere,
    /// the middle of a CR LF or CR NUL pair included.
    ///
    /// # Panics
    /// When `id` comes from a catalogue with more files.
    pub fn read_netascii(&self, id: FileId, offset: u64, out: &mut [u8]) -> usize {
        self.netascii(id).read(offset, out)
    }

    /// All files, in the order of their first names' walk.
    pub fn files(&self) -> impl Iterator<Item = FileRecord<'_>> {
        (0..).map(FileId).zip(&self.files).map(|(id, _)| self.file(id))
    }

    /// All names that stand for a file, aliases included, in the order of the walk.
    pub fn names(&self) -> impl Iterator<Item = (&[u8], FileId)> {
        self.index.iter().filter_map(|(name, target)| match target {
            Target::File(id) => Some((name, id)),
            Target::Denied(_) => None,
        })
    }

    /// How many files there are.
    #[must_use]
    pub const fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Bytes of all files together.
    #[must_use]
    pub const fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Memory beside the file bytes, in bytes: names, index, records, netascii counts.
    #[must_use]
    pub fn overhead_bytes(&self) -> usize {
        self.index.memory_bytes()
            + self.files.capacity() * size_of::<FileEntry>()
            + self.counts.capacity() * size_of::<u64>()
    }

    /// The memory that the file bytes are in, for DMA registration.
    #[must_use]
    pub const fn arena(&self) -> &Arena {
        &self.arena
    }

    /// What kind of pages that memory got.
    #[must_use]
    pub const fn page_kind(&self) -> PageKind {
        self.arena.page_kind()
    }

    fn netascii(&self, id: FileId) -> Netascii<'_> {
        let entry = &self.files[id.as_usize()];
        let from_start = self.counts.get(entry.counts_start..).unwrap_or_default();
        let chunks = entry.len.div_ceil(CHUNK).min(from_start.len());
        Netascii::new(self.arena.bytes(entry.start, entry.len), &from_start[..chunks])
    }
}

/// Why a catalogue could not be built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// No memory for the files, or it could not be sealed.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// A file is longer than the memory that is left.
    #[error("a file of {len_bytes} bytes does not fit into the {vacant_bytes} bytes that are left")]
    NoRoom {
        /// Length of the file.
        len_bytes: usize,
        /// What is left.
        vacant_bytes: usize,
    },
    /// More names, or longer ones, than the index can number.
    #[error("the names are too many or too long for the index (4 GiB of names)")]
    TooManyNames,
}

impl From<Full> for BuildError {
    fn from(_: Full) -> Self {
        Self::TooManyNames
    }
}

/// Builds a catalogue, from a disk (see [`load`](super::load)) or from bytes at hand.
#[derive(Debug)]
pub struct CatalogueBuilder {
    generation: GenerationId,
    names: NameOptions,
    index: NameIndex,
    files: Vec<FileEntry>,
    counts: Vec<u64>,
    arena: ArenaBuilder,
    total_bytes: u64,
}

impl CatalogueBuilder {
    /// A builder with room for `capacity` bytes, counting each file at its length rounded up to 64.
    ///
    /// # Errors
    /// [`ArenaError`], when the memory is not to be had.
    pub fn new(
        generation: GenerationId,
        names: NameOptions,
        capacity: usize,
        hugepages: bool,
    ) -> Result<Self, ArenaError> {
        Ok(Self {
            generation,
            names,
            index: NameIndex::new(names.fold_case),
            files: Vec::new(),
            counts: Vec::new(),
            arena: ArenaBuilder::new(capacity, hugepages)?,
            total_bytes: 0,
        })
    }

    /// Copies a file in; it has no name yet.
    ///
    /// # Errors
    /// [`BuildError::NoRoom`], [`BuildError::TooManyNames`].
    pub fn add_file(&mut self, bytes: &[u8]) -> Result<FileId, BuildError> {
        let (vacant, mut counter) = self.next_file();
        let Some(place) = vacant.get_mut(..bytes.len()) else {
            return Err(BuildError::NoRoom { len_bytes: bytes.len(), vacant_bytes: vacant.len() });
        };
        place.copy_from_slice(bytes);
        counter.push(bytes);
        let counts_start = counter.finish();
        self.commit_file(bytes.len(), counts_start)
    }

    /// Gives a file a name. The name must be normalised, and not be there already (under case folding: in any case).
    ///
    /// # Errors
    /// [`BuildError::TooManyNames`].
    pub fn add_name(&mut self, name: &[u8], id: FileId) -> Result<(), BuildError> {
        let number = self.index.add(name, Target::File(id))?;
        if let Some(file) = self.files.get_mut(id.as_usize()).filter(|file| file.name == u32::MAX) {
            file.name = number;
        }
        Ok(())
    }

    /// Makes a name answer "denied". The name must be normalised and not be there already.
    ///
    /// # Errors
    /// [`BuildError::TooManyNames`].
    pub fn deny(&mut self, name: &[u8], denied: Denied) -> Result<(), BuildError> {
        self.index.add(name, Target::Denied(denied))?;
        Ok(())
    }

    /// Seals the memory and builds the index.
    ///
    /// # Errors
    /// [`ArenaError::Seal`].
    pub fn finish(mut self) -> Result<Catalogue, ArenaError> {
        self.index.finish();
        self.files.shrink_to_fit();
        self.counts.shrink_to_fit();
        Ok(Catalogue {
            generation: self.generation,
            names: self.names,
            index: self.index,
            files: self.files,
            counts: self.counts,
            arena: self.arena.seal()?,
            total_bytes: self.total_bytes,
        })
    }

    /// Room for the next file's bytes, and what must see them on the way in.
    pub(super) fn next_file(&mut self) -> (&mut [u8], LineCounter<'_>) {
        (self.arena.vacant(), LineCounter::new(&mut self.counts))
    }

    /// Keeps the first `len` bytes of that room as a file.
    pub(super) fn commit_file(&mut self, len: usize, counts_start: Option<usize>) -> Result<FileId, BuildError> {
        let id = FileId(u32::try_from(self.files.len()).map_err(|_| BuildError::TooManyNames)?);
        let start = self.arena.commit(len);
        self.files.push(FileEntry { start, len, counts_start: counts_start.unwrap_or(usize::MAX), name: u32::MAX });
        self.total_bytes += len as u64;
        Ok(id)
    }
}
