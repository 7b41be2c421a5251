//! Checksums of file blocks, kept for the common block sizes, so that a worker need not read payload. Never divides in a look-up,
//! keeps nothing per file.
//!
//! The table of block size B has one 16-bit entry per block. Files lie in the arena at starts s(0) ≤ s(1) ≤ …, numbered by their
//! places 0, 1, … in that order, and s(p) + len(p) ≤ s(p + 1). Block k of the file at place p has entry ⌊s(p) / B⌋ + k + p.
//!
//! No two blocks share an entry. Within a file k tells them apart. Between files: the highest k in use is ⌊len(p) / B⌋ (the block
//! that ends a transfer, maybe an empty one), and ⌊s(p) / B⌋ + ⌊len(p) / B⌋ + p ≤ ⌊(s(p) + len(p)) / B⌋ + p ≤ ⌊s(p + 1) / B⌋ + p,
//! which is less than the first entry of the file at place p + 1, and the first entries ascend with p.

use crate::wire::checksum::Sum;

/// The block sizes that have tables: the power-of-two sizes that boot ROMs ask for, and what fills an Ethernet frame under the
/// usual headers. Each is a multiple of four bytes, so that a block begins at an even offset of any checksum and on a word of the pass
/// that adds them up.
pub const BLOCK_SIZES: [u16; TABLES] = [512, 1024, 1408, 1428, 1432, 1448, 1456, 1468, 8192];

pub(super) const TABLES: usize = 9;

const _: () = assert!(TABLES < 15);

/// The table of one block size; the same in every catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct SumTable(u8);

impl SumTable {
    /// The table of `blksize`, if it is one of [`BLOCK_SIZES`].
    #[must_use]
    pub fn of(blksize: u16) -> Option<Self> {
        let number = BLOCK_SIZES.iter().position(|&size| size == blksize)?;
        u8::try_from(number).ok().map(Self)
    }

    /// Its number, below 15, to be kept where bits are short.
    #[must_use]
    #[inline]
    pub(crate) const fn to_bits(self) -> u8 {
        self.0
    }

    /// The table with that number.
    #[must_use]
    #[inline]
    pub(crate) const fn from_bits(number: u8) -> Option<Self> {
        if (number as usize) < TABLES { Some(Self(number)) } else { None }
    }

    /// Its block size, in bytes.
    #[must_use]
    #[inline]
    pub const fn blksize(self) -> u16 {
        BLOCK_SIZES[self.0 as usize]
    }

    /// All tables, in the order of [`BLOCK_SIZES`].
    pub(super) fn all() -> [Self; TABLES] {
        core::array::from_fn(|number| Self(u8::try_from(number).unwrap_or(u8::MAX)))
    }

    pub(super) const fn number(self) -> usize {
        self.0 as usize
    }

    /// Which block `offset` (below 2^48) lies in.
    #[inline]
    pub(super) const fn block_at(self, offset: u64) -> u64 {
        divide(offset, RECIPROCALS[self.0 as usize])
    }

    /// The entry of block `block` of the file that begins at arena offset `start` and has place `place`.
    #[inline]
    pub(super) const fn entry(self, start: u64, block: u64, place: u32) -> u64 {
        self.block_at(start) + block + place as u64
    }
}

/// ⌈2^64 / B⌉ for each block size.
const RECIPROCALS: [u64; TABLES] = {
    let mut reciprocals = [0; TABLES];
    let mut number = 0;
    while number < TABLES {
        reciprocals[number] = u64::MAX / BLOCK_SIZES[number] as u64 + 1;
        number += 1;
    }
    reciprocals
};

/// ⌊`n` / B⌋ for `n` below 2^48. The reciprocal exceeds 2^64 / B by less than 1, so the product exceeds n / B · 2^64 by less than n,
/// and the quotient by less than n / 2^64 < 1 / B: too little to reach the next whole number.
#[inline]
const fn divide(n: u64, reciprocal: u64) -> u64 {
    ((n as u128 * reciprocal as u128) >> 64) as u64
}

/// The tables of a catalogue. Entries are in memory order, as [`Sum`] adds them up.
#[derive(Debug, Default)]
pub(super) struct SumTables([Vec<u16>; TABLES]);

impl SumTables {
    /// Makes entries, all zero, for `places` files within `arena_len` bytes; those that are there stay.
    pub(super) fn reserve(&mut self, arena_len: u64, places: u32) {
        for (table, entries) in SumTable::all().into_iter().zip(&mut self.0) {
            let len = usize::try_from(table.entry(arena_len, 1, places)).unwrap_or(usize::MAX);
            if entries.is_empty() {
                // Untouched zero pages from the operating system, so that whoever fills them first pays for them.
                *entries = vec![0; len];
            } else if entries.len() < len {
                entries.resize(len, 0);
            }
        }
    }

    /// Gives back what lies behind the last file: the one that ends at arena offset `end` and has place `place`.
    pub(super) fn shrink(&mut self, end: u64, place: u32) {
        for (table, entries) in SumTable::all().into_iter().zip(&mut self.0) {
            entries.truncate(usize::try_from(table.entry(end, 1, place)).unwrap_or(usize::MAX));
            entries.shrink_to_fit();
        }
    }

    /// Copies the entries of the `len` bytes long file at `start` and `place` to where it begins in another arena.
    pub(super) fn copy_file(&self, (start, place, len): (u64, u32, u64), to: &mut SumSlots<'_>, at: (u64, u32)) {
        for (table, entries) in SumTable::all().into_iter().zip(&self.0) {
            let first = usize::try_from(table.entry(start, 0, place)).unwrap_or(usize::MAX);
            let last = usize::try_from(table.entry(start, table.block_at(len), place)).unwrap_or(usize::MAX);
            let slot = to.slot(table, at.0, 0, at.1);
            let entries = entries.get(first..=last).unwrap_or_default();
            if let Some(places) = to.slots[table.number()].get_mut(slot..).and_then(|run| run.get_mut(..entries.len()))
            {
                places.copy_from_slice(entries);
            }
        }
    }

    /// All entries, to be filled in.
    pub(super) fn slots(&mut self) -> SumSlots<'_> {
        SumSlots { first: [0; TABLES], slots: self.0.each_mut().map(Vec::as_mut_slice) }
    }

    /// Where `entry` is.
    #[inline]
    pub(super) fn place(&self, table: SumTable, entry: u64) -> Option<&u16> {
        self.0.get(table.number())?.get(usize::try_from(entry).ok()?)
    }

    /// The sum at `entry`.
    #[inline]
    pub(super) fn get(&self, table: SumTable, entry: u64) -> Option<Sum> {
        let raw = *self.place(table, entry)?;
        // `Sum` keeps memory order inside and turns on the way in: the two turns cancel out.
        Some(Sum::from_folded(u16::from_be(raw)))
    }

    /// Heap bytes in use.
    pub(super) fn memory_bytes(&self) -> usize {
        self.0.iter().map(|entries| entries.capacity() * size_of::<u16>()).sum()
    }
}

/// A run of consecutive entries of each table, for one thread to fill.
#[derive(Debug)]
pub(super) struct SumSlots<'a> {
    /// The entry that each run begins with.
    first: [u64; TABLES],
    slots: [&'a mut [u16]; TABLES],
}

impl<'a> SumSlots<'a> {
    /// Takes off the front: the entries before those of blocks that begin at or behind `offset` of the file at `start` and `place`.
    pub(super) fn take_before(&mut self, start: u64, offset: u64, place: u32) -> Self {
        let mut taken = SumSlots { first: self.first, slots: core::array::from_fn(|_| Default::default()) };
        for table in SumTable::all() {
            let n = table.number();
            let cut = table.entry(start, table.block_at(offset + u64::from(table.blksize()) - 1), place);
            let slots = core::mem::take(&mut self.slots[n]);
            let len = usize::try_from(cut.saturating_sub(self.first[n])).unwrap_or(usize::MAX).min(slots.len());
            let (before, behind) = slots.split_at_mut(len);
            taken.slots[n] = before;
            self.slots[n] = behind;
            self.first[n] = cut;
        }
        taken
    }

    /// Where in the run of `table` block `block` of the file at `start` and `place` is.
    pub(super) fn slot(&self, table: SumTable, start: u64, block: u64, place: u32) -> usize {
        let entry = table.entry(start, block, place);
        usize::try_from(entry.wrapping_sub(self.first[table.number()])).unwrap_or(usize::MAX)
    }

    /// Keeps the sum of a block, given as the whole number that its 32-bit words in memory order add up to. A slot outside the run is
    /// somebody else's and left alone.
    #[inline]
    pub(super) fn put(&mut self, table: SumTable, slot: usize, words: u64) {
        if let Some(place) = self.slots[table.number()].get_mut(slot) {
            *place = fold(words);
        }
    }
}

impl SumSlots<'_> {
    /// Keeps the sum of a block whose bytes are at hand.
    pub(super) fn put_sum(&mut self, table: SumTable, slot: usize, block: &[u8]) {
        if let Some(place) = self.slots[table.number()].get_mut(slot) {
            *place = Sum::of(block).fold().to_be();
        }
    }
}

/// Folds to 16 bits as RFC 1071 §1 does: 0 only for 0.
#[inline]
const fn fold(words: u64) -> u16 {
    let sum = (words >> 32) + (words & 0xffff_ffff);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    (sum & 0xffff) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_keep_what_the_pass_relies_on() {
        assert!(BLOCK_SIZES.iter().all(|size| size % 4 == 0 && *size >= 64));
        assert!(BLOCK_SIZES.is_sorted());
        for (number, size) in BLOCK_SIZES.into_iter().enumerate() {
            let table = SumTable::of(size).unwrap();
            assert_eq!((table.number(), table.blksize()), (number, size));
        }
        assert_eq!(SumTable::of(513), None);
        assert_eq!(SumTable::of(0), None);
    }

    #[test]
    fn division_is_exact_around_every_edge_that_could_fail() {
        for table in SumTable::all() {
            let size = u64::from(table.blksize());
            for quotient in [0, 1, 2, 1 << 20, (1 << 48) / size - 1] {
                for n in [quotient * size, quotient * size + 1, (quotient + 1) * size - 1] {
                    assert_eq!(table.block_at(n), n / size, "{n} / {size}");
                }
            }
            assert_eq!(table.block_at((1 << 48) - 1), ((1 << 48) - 1) / size);
        }
    }

    proptest! {
        #[test]
        fn division_by_multiplication_is_division(n in 0..1_u64 << 48) {
            for table in SumTable::all() {
                prop_assert_eq!(table.block_at(n), n / u64::from(table.blksize()));
            }
        }

        /// Files in ascending places with gaps of any kind, some of them empty.
        #[test]
        fn no_two_blocks_share_an_entry(
            files in prop::collection::vec((prop_oneof![Just(0_u64), 0..20_000_u64], 0..200_u64, 0..3_u32), 0..60),
        ) {
            for table in SumTable::all() {
                let (mut start, mut place, mut free) = (0_u64, 0_u32, 0_u64);
                for &(len, gap, skipped) in &files {
                    start = (start + gap).next_multiple_of(64);
                    place += skipped;
                    for block in 0..=len / u64::from(table.blksize()) {
                        let entry = table.entry(start, block, place);
                        prop_assert!(entry >= free);
                        free = entry + 1;
                    }
                    start += len;
                    place += 1;
                }
                prop_assert!(free <= table.entry(start, 1, place), "the table is long enough");
            }
        }

        #[test]
        fn folding_agrees_with_the_checksum(words in prop::collection::vec(any::<u32>(), 0..400)) {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let whole = words.iter().map(|&word| u64::from(word)).sum();
            prop_assert_eq!(u16::from_be(fold(whole)), Sum::of(&bytes).fold());
        }
    }
}
