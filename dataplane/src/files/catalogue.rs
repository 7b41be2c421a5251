//! The catalogue: which names stand for which bytes. Immutable and shared by all lcores; a lookup never allocates, locks or
//! touches a disk.

use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use thiserror::Error;

use super::arena::{Arena, ArenaBuilder, ArenaError, PageKind};
use super::index::{Full, NameIndex, Target};
use super::name::{Name, NameOptions};
use super::netascii::{CHUNK_U64, LineCounter, Netascii};
use super::sources::{Mark, Sources};
use super::sum_pass::SumPass;
use super::sums::{SumSlots, SumTable, SumTables};
use super::tally::{FileTally, Tallies};
use super::version::Version;
use crate::wire::checksum::Sum;

/// Which load a catalogue came from; a reload counts up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenerationId(pub u32);

/// A file of one catalogue: the content, whatever names it has. Meaningless for another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct FileId(u32);

impl FileId {
    /// The first file of any catalogue.
    pub(crate) const FIRST: Self = Self(0);

    /// The file with that number; also what a place on a shelf is kept as.
    #[must_use]
    #[inline]
    pub(crate) const fn from_index(index: u32) -> Self {
        Self(index)
    }

    /// Counts from zero, without gaps.
    #[must_use]
    #[inline]
    pub const fn index(self) -> u32 {
        self.0
    }

    fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Why something that is in the tree is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// It is larger than the memory that files may take.
    TooLarge,
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
            Self::TooLarge => "larger than the cache budget",
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

/// Half a cache line, never across two.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct FileEntry {
    /// In the arena.
    start: u64,
    len: u64,
    /// Where the netascii counts begin; `u64::MAX` when the file has none.
    counts_start: u64,
    /// The record of the first name given to the file; `u32::MAX` before that.
    name: u32,
    /// Ascends with `start`: what the entries of the sum tables are counted by.
    place: u32,
}

const _: () = assert!(size_of::<FileEntry>() == 32);

/// Where a file "lies" whose bytes are not in the arena: behind the end of any.
const NOWHERE: u64 = 1 << 63;

/// No place on the workers' shelves.
const UNSHELVED: u32 = u32::MAX;

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
    sources: Sources,
    counts: Vec<u64>,
    sums: SumTables,
    arena: Arc<Arena>,
    total_bytes: u64,
    /// Bytes of the files that are not in the arena.
    absent_bytes: u64,
    /// One for each file that is not in the arena, which are the last: where on the workers' shelves its bytes stand at the moment.
    /// Only a hint, which control writes and workers check; the one thing in here that ever changes.
    shelfmarks: Box<[AtomicU32]>,
    tallies: Tallies,
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
        self.lookup_normal(name.as_bytes())
    }

    /// The same for bytes that [are normal](Name::is_normal).
    #[must_use]
    pub fn lookup_normal(&self, name: &[u8]) -> Lookup {
        match self.index.lookup(name) {
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
        FileRecord { id, len: entry.len, name: self.index.name(entry.name) }
    }

    /// Where in the arena a file begins, in bytes, and how long it is.
    ///
    /// # Panics
    /// When `id` comes from a catalogue with more files.
    #[must_use]
    #[inline]
    pub fn span(&self, id: FileId) -> (u64, u64) {
        let entry = &self.files[id.as_usize()];
        (entry.start, entry.len)
    }

    /// The bytes of a file that lie in `range`; less than asked for, or nothing, where the file ends.
    ///
    /// # Panics
    /// When `id` comes from a catalogue with more files.
    #[must_use]
    #[inline]
    pub fn bytes(&self, id: FileId, range: Range<u64>) -> &[u8] {
        let (file_start, len) = self.span(id);
        let end = range.end.min(len);
        let start = range.start.min(end);
        self.arena.bytes(file_start + start, file_start + end)
    }

    /// A file as the hot path reads it.
    ///
    /// # Panics
    /// When `id` comes from a catalogue with more files.
    #[must_use]
    #[inline]
    pub fn view(&self, id: FileId) -> FileView<'_> {
        let entry = &self.files[id.as_usize()];
        let bytes = self.arena.bytes(entry.start, entry.start + entry.len);
        FileView { bytes, start: entry.start, place: entry.place, sums: &self.sums }
    }

    /// The line that [`view`](Self::view) reads first, to be brought near.
    #[must_use]
    #[inline]
    pub fn entry_line(&self, id: FileId) -> Option<&impl Sized> {
        self.files.get(id.as_usize())
    }

    /// The checksum of the block of a file that begins `offset` bytes into it (octet mode): up to `blksize` bytes, less where the
    /// file ends, none at its end. `None` when `offset` is behind the end or not a multiple of `blksize`, or when no sums are kept for
    /// blocks of that size.
    ///
    /// # Panics
    /// When `id` comes from a catalogue with more files.
    #[must_use]
    pub fn block_sum(&self, id: FileId, offset: u64, blksize: u16) -> Option<Sum> {
        let table = SumTable::of(blksize)?;
        let file = self.view(id);
        let block = offset / u64::from(blksize);
        if offset > file.len() || block * u64::from(blksize) != offset {
            return None;
        }
        file.block_sum(table, u32::try_from(block).ok()?)
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
        if netascii { self.netascii_len(id) } else { self.span(id).1 }
    }

    /// Copies the file's netascii bytes from wire position `offset` on into `out`; returns how many there were. Resumes anywhere,
    /// the middle of a CR LF or CR NUL pair included.
    ///
    /// # Panics
    /// When `id` comes from a catalogue with more files.
    pub fn read_netascii(&self, id: FileId, offset: u64, out: &mut [u8]) -> usize {
        self.netascii(id).read(offset, out)
    }

    /// All files, in the order of their first names' walk, those loaded on demand last.
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

    /// Has `workers` workers count, from zero, how often each file is asked for. Without it nothing is counted. Before the catalogue
    /// is shared: what counts is allocated here, never by a worker.
    pub fn keep_tallies(&mut self, workers: u16) {
        self.tallies = Tallies::new(workers, self.files.len());
    }

    /// Where a worker counts for a file; `None` where no tallies are kept for it.
    #[must_use]
    #[inline]
    pub fn tally(&self, worker: u16, id: FileId) -> Option<&FileTally> {
        self.tallies.get(worker, id)
    }

    /// Transfers begun and bytes that arrived, of one file, all workers together.
    #[must_use]
    pub fn tally_total(&self, id: FileId) -> (u64, u64) {
        self.tallies.total(id)
    }

    /// How many files there are.
    #[must_use]
    pub const fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Bytes of all files together, those loaded on demand included.
    #[must_use]
    pub const fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Whether a file's bytes are not in here, but loaded on demand. All that can be asked of such a file is its
    /// [record](Self::file).
    #[must_use]
    #[inline]
    pub fn is_absent(&self, id: FileId) -> bool {
        self.shelfmark(id).is_some()
    }

    /// How many files are not in here.
    #[must_use]
    pub const fn absent_count(&self) -> usize {
        self.shelfmarks.len()
    }

    /// Bytes of the files that are in here.
    #[must_use]
    pub const fn pinned_bytes(&self) -> u64 {
        self.total_bytes - self.absent_bytes
    }

    /// Where on the workers' shelves an absent file may stand; `None` for a file that is not absent.
    #[must_use]
    #[inline]
    pub fn shelfmark(&self, id: FileId) -> Option<Option<u32>> {
        let number = id.as_usize().wrapping_sub(self.files.len() - self.shelfmarks.len());
        let mark = self.shelfmarks.get(number)?.load(Ordering::Relaxed);
        Some((mark != UNSHELVED).then_some(mark))
    }

    /// Tells the workers where to look for an absent file. Control's to call, before they get its bytes and after they gave them back.
    pub fn set_shelfmark(&self, id: FileId, mark: Option<u32>) {
        let number = id.as_usize().wrapping_sub(self.files.len() - self.shelfmarks.len());
        if let Some(shelfmark) = self.shelfmarks.get(number) {
            shelfmark.store(mark.unwrap_or(UNSHELVED), Ordering::Relaxed);
        }
    }

    /// Memory beside the file bytes, in bytes: names, index, records, netascii counts, sums of blocks.
    #[must_use]
    pub fn overhead_bytes(&self) -> usize {
        self.index.memory_bytes()
            + self.files.capacity() * size_of::<FileEntry>()
            + self.sources.memory_bytes()
            + self.counts.capacity() * size_of::<u64>()
            + size_of_val(&*self.shelfmarks)
            + self.sums_bytes()
    }

    /// What of the [`overhead_bytes`](Self::overhead_bytes) are the sums of blocks.
    #[must_use]
    pub fn sums_bytes(&self) -> usize {
        self.sums.memory_bytes()
    }

    /// The memory that the file bytes are in, to be lent to ports.
    #[must_use]
    pub const fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// What kind of pages that memory got.
    #[must_use]
    pub fn page_kind(&self) -> PageKind {
        self.arena.page_kind()
    }

    /// The files that can be recognised by what they were read from: where a later change to that is sure to show.
    pub(super) fn recognisable(&self) -> impl Iterator<Item = (Mark, FileId)> {
        self.sources.marks().map(|(number, mark)| (mark, FileId(number)))
    }

    /// What a file read from this version is recognised by.
    pub(super) fn mark(&self, version: &Version) -> Mark {
        self.sources.mark(version)
    }

    /// All names, denied ones too, in the order of the walk.
    pub(super) fn targets(&self) -> impl Iterator<Item = (&[u8], Target)> {
        self.index.iter()
    }

    /// Copies the sums of a file's blocks to where it begins in another arena.
    pub(super) fn copy_sums(&self, id: FileId, to: &mut SumSlots<'_>, start: u64, place: u32) {
        let entry = &self.files[id.as_usize()];
        self.sums.copy_file((entry.start, entry.place, entry.len), to, (start, place));
    }

    /// The netascii counts of a file; empty when no byte of it expands.
    pub(super) fn counts(&self, id: FileId) -> &[u64] {
        let entry = &self.files[id.as_usize()];
        let counts_start = usize::try_from(entry.counts_start).unwrap_or(usize::MAX);
        let from_start = self.counts.get(counts_start..).unwrap_or_default();
        let chunks = usize::try_from(entry.len.div_ceil(CHUNK_U64)).unwrap_or(usize::MAX).min(from_start.len());
        &from_start[..chunks]
    }

    fn netascii(&self, id: FileId) -> Netascii<'_> {
        let entry = &self.files[id.as_usize()];
        Netascii::new(self.arena.bytes(entry.start, entry.start + entry.len), self.counts(id))
    }
}

/// One file's bytes and the sums of its blocks.
#[derive(Clone, Copy, Debug)]
pub struct FileView<'a> {
    bytes: &'a [u8],
    start: u64,
    place: u32,
    sums: &'a SumTables,
}

impl<'a> FileView<'a> {
    /// Length in bytes.
    #[must_use]
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub const fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The `len` bytes from `offset` on; none when the file has not that many.
    #[must_use]
    #[inline]
    pub fn bytes(&self, offset: u64, len: u16) -> &'a [u8] {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        self.bytes.get(start..).and_then(|rest| rest.get(..usize::from(len))).unwrap_or_default()
    }

    /// Where [`block_sum`](Self::block_sum) will look, to be brought near.
    #[must_use]
    #[inline]
    pub fn sum_line(&self, table: SumTable, block: u32) -> Option<&'a u16> {
        self.sums.place(table, table.entry(self.start, u64::from(block), self.place))
    }

    /// The checksum of block number `block`, counted from 0, of the block size of `table`. Of a block that the file has not it is
    /// `None` or another file's.
    #[must_use]
    #[inline]
    pub fn block_sum(&self, table: SumTable, block: u32) -> Option<Sum> {
        self.sums.get(table, table.entry(self.start, u64::from(block), self.place))
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
    sources: Sources,
    counts: Vec<u64>,
    sums: SumTables,
    arena: ArenaBuilder,
    total_bytes: u64,
    absent_bytes: u64,
    absent: usize,
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
            sources: Sources::new(),
            counts: Vec::new(),
            sums: SumTables::default(),
            arena: ArenaBuilder::new(capacity, hugepages)?,
            total_bytes: 0,
            absent_bytes: 0,
            absent: 0,
        })
    }

    /// Copies a file in; it has no name yet.
    ///
    /// # Errors
    /// [`BuildError::NoRoom`], [`BuildError::TooManyNames`].
    pub fn add_file(&mut self, bytes: &[u8]) -> Result<FileId, BuildError> {
        let vacant = self.arena.vacant();
        let vacant_bytes = vacant.len();
        let Some(room) = vacant.get_mut(..bytes.len()) else {
            return Err(BuildError::NoRoom { len_bytes: bytes.len(), vacant_bytes });
        };
        room.copy_from_slice(bytes);
        let start = self.arena.commit(bytes.len()) as u64;
        let place = u32::try_from(self.files.len()).map_err(|_| BuildError::TooManyNames)?;
        let mut counts = Vec::new();
        let mut counter = LineCounter::new(&mut counts);
        counter.push(bytes);
        counter.finish();
        self.sums.reserve(start + bytes.len() as u64, place + 1);
        let mut slots = self.sums.slots();
        let mut pass = SumPass::new(&mut slots, start, place, 0);
        pass.push(bytes);
        pass.finish();
        self.add_placed(Placed { start, len: bytes.len() as u64, place }, &counts, None)
    }

    /// Gives a file a name. The name must be normalised, and not be there already (under case folding: in any case).
    ///
    /// # Errors
    /// [`BuildError::TooManyNames`].
    pub fn add_name(&mut self, name: &[u8], id: FileId) -> Result<(), BuildError> {
        let record = self.index.add(name, Target::File(id))?;
        if let Some(file) = self.files.get_mut(id.as_usize()).filter(|file| file.name == u32::MAX) {
            file.name = record;
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
        self.sources.shrink_to_fit();
        self.counts.shrink_to_fit();
        let last = self.files[..self.files.len() - self.absent].last();
        self.sums.shrink(last.map_or(0, |file| file.start + file.len), last.map_or(0, |file| file.place));
        Ok(Catalogue {
            generation: self.generation,
            names: self.names,
            index: self.index,
            files: self.files,
            sources: self.sources,
            counts: self.counts,
            sums: self.sums,
            arena: Arc::new(self.arena.seal()?),
            total_bytes: self.total_bytes,
            absent_bytes: self.absent_bytes,
            shelfmarks: (0..self.absent).map(|_| AtomicU32::new(UNSHELVED)).collect(),
            tallies: Tallies::default(),
        })
    }

    /// Adds a file whose bytes come on demand; it has no name yet. No other may be added behind it.
    ///
    /// # Errors
    /// [`BuildError::TooManyNames`].
    pub fn add_absent(&mut self, len: u64) -> Result<FileId, BuildError> {
        self.add_absent_of(len, None)
    }

    /// The same. `source`: what it will be read from, if it can be recognised by that.
    ///
    /// # Errors
    /// [`BuildError::TooManyNames`].
    pub(super) fn add_absent_of(&mut self, len: u64, source: Option<Version>) -> Result<FileId, BuildError> {
        let place = self.files.last().map_or(0, |file| file.place);
        let id = self.push_file(Placed { start: NOWHERE, len, place }, u64::MAX, source)?;
        self.absent += 1;
        self.absent_bytes += len;
        Ok(id)
    }

    /// The whole memory, and the sums of all blocks of `places` files in it, for a loader that fills both in any order.
    pub(super) fn fill(&mut self, places: u32) -> (&mut [u8], SumSlots<'_>) {
        let memory = self.arena.all();
        self.sums.reserve(memory.len() as u64, places);
        (memory, self.sums.slots())
    }

    /// Adds a file whose bytes and sums are where `placed` says. `counts`: what [`LineCounter`] gave for it. `source`: what it was
    /// read from, if it can be recognised by that.
    ///
    /// # Errors
    /// [`BuildError::TooManyNames`].
    pub(super) fn add_placed(
        &mut self,
        placed: Placed,
        counts: &[u64],
        source: Option<Version>,
    ) -> Result<FileId, BuildError> {
        debug_assert_eq!(self.absent, 0, "absent files are the last");
        let counts_start = if counts.is_empty() { u64::MAX } else { self.counts.len() as u64 };
        self.counts.extend_from_slice(counts);
        self.push_file(placed, counts_start, source)
    }

    fn push_file(&mut self, placed: Placed, counts_start: u64, source: Option<Version>) -> Result<FileId, BuildError> {
        let id = FileId(u32::try_from(self.files.len()).map_err(|_| BuildError::TooManyNames)?);
        let Placed { start, len, place } = placed;
        self.files.push(FileEntry { start, len, counts_start, name: u32::MAX, place });
        self.sources.push(source);
        self.total_bytes += len;
        Ok(id)
    }
}

/// Where a file is. Over the files of a catalogue both `start` and `place` ascend, and none begins before the one before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// In the arena, a multiple of [`FILE_ALIGN`](super::arena::FILE_ALIGN).
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) place: u32,
}
