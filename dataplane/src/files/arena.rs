//! Memory for file bytes: mapped once, filled once, then sealed read-only by the MMU. Never grows, never maps a file.

use std::fs;
use std::io;

use memmap2::{Advice, Mmap, MmapMut, MmapOptions};
use thiserror::Error;

/// Every file begins at a multiple of this many bytes: one cache line.
pub const FILE_ALIGN: usize = 64;

pub(super) const PAGE: usize = 4096;
pub(super) const HUGE_PAGE: usize = 2 << 20;
const HUGE_PAGE_BITS: u8 = 21;

/// What kind of pages an arena got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    /// Explicit 2 MiB hugepages.
    Huge2M,
    /// Ordinary memory that the kernel was asked to back with transparent hugepages where it can.
    Transparent,
    /// Ordinary pages.
    Ordinary,
}

impl core::fmt::Display for PageKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Huge2M => "2 MiB hugepages",
            Self::Transparent => "ordinary memory, transparent hugepages asked for",
            Self::Ordinary => "ordinary pages",
        })
    }
}

/// Why there is no arena.
#[derive(Debug, Error)]
pub enum ArenaError {
    /// The machine has less memory to give than the files need.
    #[error(
        "not enough memory for the files: {needed_bytes} bytes needed, {available_bytes} available; \
         serve a smaller tree or add memory"
    )]
    NotEnoughMemory {
        /// Bytes that the arena would take.
        needed_bytes: u64,
        /// `MemAvailable` of /proc/meminfo.
        available_bytes: u64,
    },
    /// mmap failed for another reason.
    #[error("cannot map {needed_bytes} bytes of memory for the files: {source}")]
    Map {
        /// Bytes asked for.
        needed_bytes: u64,
        /// What mmap said.
        source: io::Error,
    },
    /// mprotect failed.
    #[error("cannot make the files' memory read-only: {0}")]
    Seal(#[source] io::Error),
}

/// An arena that is being filled: front to back file by file, or in any order through [`all`](Self::all).
#[derive(Debug)]
pub struct ArenaBuilder {
    map: Option<MmapMut>,
    kind: PageKind,
    used: usize,
}

impl ArenaBuilder {
    /// Maps at least `capacity` bytes (rounded up to whole pages; nothing for zero). With `hugepages`, explicit 2 MiB pages are
    /// tried first; a machine that has too few gets ordinary memory instead, and [`Arena::page_kind`] says so.
    ///
    /// # Errors
    /// [`ArenaError::NotEnoughMemory`] before anything is touched, so that no out-of-memory killer need step in;
    /// [`ArenaError::Map`].
    pub fn new(capacity: usize, hugepages: bool) -> Result<Self, ArenaError> {
        if capacity == 0 {
            return Ok(Self { map: None, kind: PageKind::Ordinary, used: 0 });
        }
        if hugepages && let Some(map) = map_hugepages(capacity) {
            return Ok(Self { map: Some(map), kind: PageKind::Huge2M, used: 0 });
        }
        let needed_bytes = capacity as u64;
        let available = available_bytes();
        if let Some(available_bytes) = available.filter(|&available| available < needed_bytes) {
            return Err(ArenaError::NotEnoughMemory { needed_bytes, available_bytes });
        }
        let len = capacity.checked_next_multiple_of(PAGE).unwrap_or(capacity);
        let map = MmapOptions::new().len(len).map_anon().map_err(|source| ArenaError::Map { needed_bytes, source })?;
        let advised = len >= HUGE_PAGE && transparent_enabled() && map.advise(Advice::HugePage).is_ok();
        let kind = if advised { PageKind::Transparent } else { PageKind::Ordinary };
        Ok(Self { map: Some(map), kind, used: 0 })
    }

    /// The bytes not yet given to a file; they begin on a [`FILE_ALIGN`] boundary.
    pub fn vacant(&mut self) -> &mut [u8] {
        match &mut self.map {
            Some(map) => &mut map[self.used..],
            None => &mut [],
        }
    }

    /// Keeps the first `len` vacant bytes (at most as many as there are) and returns where they begin.
    pub fn commit(&mut self, len: usize) -> usize {
        let start = self.used;
        let vacant = self.vacant();
        let len = len.min(vacant.len());
        let padded = len.next_multiple_of(FILE_ALIGN).min(vacant.len());
        // A given-up attempt may have left bytes behind the file's end.
        vacant[len..padded].fill(0);
        self.used += padded;
        start
    }

    /// The whole memory, zero where nothing was written yet; it begins on a page boundary.
    pub fn all(&mut self) -> &mut [u8] {
        self.map.as_deref_mut().unwrap_or_default()
    }

    /// Ends the filling: from now on a write to this memory is a fault.
    ///
    /// # Errors
    /// [`ArenaError::Seal`].
    pub fn seal(self) -> Result<Arena, ArenaError> {
        let map = self.map.map(MmapMut::make_read_only).transpose().map_err(ArenaError::Seal)?;
        Ok(Arena { map, kind: self.kind })
    }
}

/// Sealed memory. Dropping it unmaps it: whoever lends its bytes to a NIC must outlast the loan.
#[derive(Debug)]
pub struct Arena {
    map: Option<Mmap>,
    kind: PageKind,
}

impl Arena {
    /// The bytes from `start` up to `end`; none when they are not all in the arena.
    #[must_use]
    #[inline]
    pub fn bytes(&self, start: u64, end: u64) -> &[u8] {
        let range = usize::try_from(start).unwrap_or(usize::MAX)..usize::try_from(end).unwrap_or(usize::MAX);
        self.mapping().get(range).unwrap_or_default()
    }

    /// The whole mapping, page-aligned and whole pages long (empty for an empty arena): what DMA registration needs.
    #[must_use]
    #[inline]
    pub fn mapping(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }

    /// What kind of pages these are.
    #[must_use]
    pub const fn page_kind(&self) -> PageKind {
        self.kind
    }
}

/// Hugepages are reserved by the mmap itself, so success here means that no later touch of them can fail.
fn map_hugepages(capacity: usize) -> Option<MmapMut> {
    let len = capacity.checked_next_multiple_of(HUGE_PAGE)?;
    MmapOptions::new().len(len).huge(Some(HUGE_PAGE_BITS)).map_anon().ok()
}

/// madvise(2) succeeds even where the administrator has turned transparent hugepages off, so ask.
fn transparent_enabled() -> bool {
    fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").is_ok_and(|modes| !modes.contains("[never]"))
}

/// `MemAvailable` of proc(5), in bytes; `None` where there is no such line.
#[must_use]
pub fn available_bytes() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_arena_works() {
        let mut builder = ArenaBuilder::new(0, true).unwrap();
        assert!(builder.vacant().is_empty());
        assert_eq!(builder.commit(5), 0);
        let arena = builder.seal().unwrap();
        assert_eq!(arena.bytes(0, 10), b"");
        assert_eq!(arena.bytes(7, u64::MAX), b"");
    }

    #[test]
    fn files_begin_on_cache_lines_and_padding_is_zero() {
        let mut builder = ArenaBuilder::new(200, false).unwrap();
        builder.vacant()[..100].fill(7);
        assert_eq!(builder.commit(1), 0);
        assert_eq!(builder.commit(65), 64);
        builder.vacant()[..3].copy_from_slice(b"abc");
        assert_eq!(builder.commit(3), 192);
        let arena = builder.seal().unwrap();
        assert_eq!(arena.bytes(0, 3), &[7, 0, 0]);
        assert_eq!(arena.bytes(192, 195), b"abc");
        assert_eq!(arena.mapping().as_ptr().addr() % PAGE, 0);
        assert_eq!(arena.bytes(4095, 4096), &[0]);
        assert_eq!(arena.bytes(4095, 4097), b"");
        assert_eq!(arena.bytes(2, 1), b"");
    }

    #[test]
    fn hugepages_or_a_truthful_fallback() {
        let arena = ArenaBuilder::new(3 << 20, true).unwrap().seal().unwrap();
        match arena.page_kind() {
            PageKind::Huge2M => assert_eq!(arena.mapping().len(), 4 << 20),
            PageKind::Transparent | PageKind::Ordinary => assert_eq!(arena.mapping().len(), 3 << 20),
        }
    }

    #[test]
    fn a_sealed_arena_is_read_only_to_the_mmu() {
        let mut builder = ArenaBuilder::new(10_000, false).unwrap();
        builder.vacant().fill(1);
        let arena = builder.seal().unwrap();
        let address = arena.mapping().as_ptr().addr();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let holds = |range: &str| {
            let (from, to) = range.split_once('-').unwrap();
            (usize::from_str_radix(from, 16).unwrap()..usize::from_str_radix(to, 16).unwrap()).contains(&address)
        };
        let line = maps.lines().find(|line| holds(line.split(' ').next().unwrap())).unwrap();
        assert_eq!(line.split(' ').nth(1), Some("r--p"), "{line}");
    }

    #[test]
    fn more_than_the_machine_has_is_refused_by_name() {
        let error = ArenaBuilder::new(1 << 46, true).unwrap_err();
        let ArenaError::NotEnoughMemory { needed_bytes, available_bytes } = error else { panic!("{error}") };
        assert_eq!(needed_bytes, 1 << 46);
        assert!(available_bytes < needed_bytes);
    }
}
