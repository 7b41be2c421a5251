//! An index from names to what they stand for: names in one blob, a keyed hash, linear probing. Never changes once built, never
//! allocates in a lookup.

use core::hash::{BuildHasher, Hasher};
use std::hash::{DefaultHasher, RandomState};

use super::catalogue::{Denied, FileId};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    File(FileId),
    Denied(Denied),
}

/// The names outgrew 32-bit offsets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Upper half of the hash: spares most comparisons of names.
    tag: u32,
    start: u32,
    len: u16,
    target: Target,
}

/// The hash is keyed per index (std's `RandomState`), so nobody can choose names that collide. What a lookup answers does not
/// depend on the key.
#[derive(Debug)]
pub(super) struct NameIndex {
    hash_key: RandomState,
    fold_case: bool,
    names: Vec<u8>,
    entries: Vec<Entry>,
    /// Entry number plus one; zero is free. A power of two of them.
    slots: Vec<u32>,
    /// Whether some entry denies all that lies below it.
    has_barriers: bool,
}

impl NameIndex {
    /// An empty index; with `fold_case` it compares ASCII letters without case and wants lookups in lower case.
    pub(super) fn new(fold_case: bool) -> Self {
        Self {
            hash_key: RandomState::new(),
            fold_case,
            names: Vec::new(),
            entries: Vec::new(),
            slots: Vec::new(),
            has_barriers: false,
        }
    }

    /// Adds a name that is not there yet; returns its number. It is found after the next [`finish`](Self::finish).
    pub(super) fn add(&mut self, name: &[u8], target: Target) -> Result<u32, Full> {
        let number = u32::try_from(self.entries.len()).map_err(|_| Full)?;
        let start = u32::try_from(self.names.len()).map_err(|_| Full)?;
        let len = u16::try_from(name.len()).map_err(|_| Full)?;
        let hash = if self.fold_case { self.hash(&name.to_ascii_lowercase()) } else { self.hash(name) };
        self.names.extend_from_slice(name);
        self.entries.push(Entry { tag: tag_of(hash), start, len, target });
        self.has_barriers |= matches!(target, Target::Denied(denied) if denied.covers_what_is_below());
        Ok(number)
    }

    /// Builds the table, three quarters full at most, and gives spare memory back.
    pub(super) fn finish(&mut self) {
        let slots = (self.entries.len() * 4 / 3 + 1).next_power_of_two();
        self.slots = vec![0; slots];
        for number in 0..self.entries.len() {
            let name = self.name_at(number);
            let hash = if self.fold_case { self.hash(&name.to_ascii_lowercase()) } else { self.hash(name) };
            let mut slot = slot_of(hash, slots);
            while self.slots[slot] != 0 {
                slot = (slot + 1) & (slots - 1);
            }
            // `add` kept the numbers below u32::MAX.
            self.slots[slot] = u32::try_from(number + 1).unwrap_or(u32::MAX);
        }
        self.names.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    /// What `name` (normalised, folded if the index folds) stands for: its own entry, or else a barrier above it.
    pub(super) fn lookup(&self, name: &[u8]) -> Option<Target> {
        self.find(self.hash(name), name).or_else(|| if self.has_barriers { self.barrier_above(name) } else { None })
    }

    /// The name with that number, as it was added; empty when there is none.
    pub(super) fn name(&self, number: u32) -> &[u8] {
        self.name_at(usize::try_from(number).unwrap_or(usize::MAX))
    }

    /// All names, in the order in which they were added.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Target)> {
        self.entries.iter().enumerate().map(|(number, entry)| (self.name_at(number), entry.target))
    }

    /// Heap bytes in use.
    pub(super) fn memory_bytes(&self) -> usize {
        self.names.capacity() + self.entries.capacity() * size_of::<Entry>() + self.slots.capacity() * size_of::<u32>()
    }

    fn name_at(&self, number: usize) -> &[u8] {
        let Some(entry) = self.entries.get(number) else { return &[] };
        let start = usize::try_from(entry.start).unwrap_or(usize::MAX);
        &self.names[start..start + usize::from(entry.len)]
    }

    fn find(&self, hash: u64, name: &[u8]) -> Option<Target> {
        if self.slots.is_empty() {
            return None;
        }
        let mut slot = slot_of(hash, self.slots.len());
        loop {
            let number = usize::try_from(self.slots[slot]).unwrap_or(usize::MAX).checked_sub(1)?;
            let entry = &self.entries[number];
            if entry.tag == tag_of(hash) && self.same(self.name_at(number), name) {
                return Some(entry.target);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    fn same(&self, stored: &[u8], asked: &[u8]) -> bool {
        if self.fold_case { stored.eq_ignore_ascii_case(asked) } else { stored == asked }
    }

    /// One pass over a name that has no entry: the hash of each directory above it falls out on the way.
    #[cold]
    fn barrier_above(&self, name: &[u8]) -> Option<Target> {
        let mut hasher = self.hash_key.build_hasher();
        let mut end = 0;
        for component in name.split(|&byte| byte == b'/') {
            feed(&mut hasher, component);
            end += component.len();
            match self.find(hasher.finish(), &name[..end]) {
                Some(Target::Denied(denied)) if denied.covers_what_is_below() => return Some(Target::Denied(denied)),
                _ => end += 1,
            }
        }
        None
    }

    fn hash(&self, name: &[u8]) -> u64 {
        let mut hasher = self.hash_key.build_hasher();
        name.split(|&byte| byte == b'/').for_each(|component| feed(&mut hasher, component));
        hasher.finish()
    }
}

/// Component-wise, so that the state after n components is the hash of the first n.
fn feed(hasher: &mut DefaultHasher, component: &[u8]) {
    hasher.write(component);
    hasher.write_u8(b'/');
}

fn tag_of(hash: u64) -> u32 {
    u32::try_from(hash >> 32).unwrap_or(u32::MAX)
}

fn slot_of(hash: u64, slots: usize) -> usize {
    // Only the low bits count, on any width of usize.
    usize::try_from(hash & (slots as u64 - 1)).unwrap_or(0)
}
