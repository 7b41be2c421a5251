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

/// All that a look-up needs but the name's bytes: a quarter of a cache line, never across two.
#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
struct Slot {
    /// Upper half of the hash: spares most comparisons of names.
    tag: u32,
    /// Where the name's record is; [`NO_RECORD`] where there is none.
    record: u32,
    target: Target,
}

const _: () = assert!(size_of::<Slot>() == 16);

const NO_RECORD: u32 = u32::MAX;

impl Slot {
    const FREE: Self = Self { tag: 0, record: NO_RECORD, target: Target::Denied(Denied::Unavailable) };
}

/// The hash is keyed per index (std's `RandomState`), so nobody can choose names that collide. What a lookup answers does not
/// depend on the key.
#[derive(Debug)]
pub(super) struct NameIndex {
    hash_key: RandomState,
    fold_case: bool,
    /// Records, each a length of two bytes and the name.
    records: Vec<u8>,
    /// Names added and not yet in the table, with the lower halves of their hashes.
    pending: Vec<(u32, Slot)>,
    /// Three quarters full.
    slots: Vec<Slot>,
    /// Whether some entry denies all that lies below it.
    has_barriers: bool,
}

impl NameIndex {
    /// An empty index; with `fold_case` it compares ASCII letters without case and wants lookups in lower case.
    pub(super) fn new(fold_case: bool) -> Self {
        Self {
            hash_key: RandomState::new(),
            fold_case,
            records: Vec::new(),
            pending: Vec::new(),
            slots: Vec::new(),
            has_barriers: false,
        }
    }

    /// Adds a name that is not there yet; returns where its record is. It is found after [`finish`](Self::finish), which ends the
    /// adding.
    pub(super) fn add(&mut self, name: &[u8], target: Target) -> Result<u32, Full> {
        let record = u32::try_from(self.records.len()).map_err(|_| Full)?;
        let len = u16::try_from(name.len()).map_err(|_| Full)?;
        let hash = self.hash_stored(name);
        self.records.extend_from_slice(&len.to_le_bytes());
        self.records.extend_from_slice(name);
        if self.records.len() >= NO_RECORD as usize {
            return Err(Full);
        }
        self.pending.push((lower_half(hash), Slot { tag: tag_of(hash), record, target }));
        self.has_barriers |= matches!(target, Target::Denied(denied) if denied.covers_what_is_below());
        Ok(record)
    }

    /// Builds the table and gives spare memory back.
    pub(super) fn finish(&mut self) {
        let pending = core::mem::take(&mut self.pending);
        self.slots = vec![Slot::FREE; pending.len() * 4 / 3 + 1];
        for (hash, slot) in pending {
            let mut at = home(hash, self.slots.len());
            while self.slots[at].record != NO_RECORD {
                at = next(at, self.slots.len());
            }
            self.slots[at] = slot;
        }
        self.records.shrink_to_fit();
    }

    /// What `name` (normalised, folded if the index folds) stands for: its own entry, or else a barrier above it.
    pub(super) fn lookup(&self, name: &[u8]) -> Option<Target> {
        self.find(self.hash(name), name).or_else(|| if self.has_barriers { self.barrier_above(name) } else { None })
    }

    /// The name whose record is there, as it was added; empty when there is none.
    pub(super) fn name(&self, record: u32) -> &[u8] {
        let from_record = self.records.get(usize::try_from(record).unwrap_or(usize::MAX)..).unwrap_or_default();
        let Some((len, from_name)) = from_record.split_first_chunk() else { return &[] };
        from_name.get(..usize::from(u16::from_le_bytes(*len))).unwrap_or_default()
    }

    /// All names, in the order in which they were added.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Target)> {
        let mut record = 0;
        core::iter::from_fn(move || {
            let at = record;
            let name = self.name(at);
            // A record is less than 2^16 bytes long and `add` keeps all of them below 2^32.
            record = at.saturating_add(u32::try_from(name.len()).unwrap_or(u32::MAX)).saturating_add(2);
            (usize::try_from(at).unwrap_or(usize::MAX) < self.records.len()).then_some((at, name))
        })
        .filter_map(|(record, name)| {
            let mut slots = self.probe(self.hash_stored(name));
            slots.find(|slot| slot.record == record).map(|slot| (name, slot.target))
        })
    }

    /// Heap bytes in use.
    pub(super) fn memory_bytes(&self) -> usize {
        self.records.capacity() + self.slots.capacity() * size_of::<Slot>()
    }

    fn find(&self, hash: u64, name: &[u8]) -> Option<Target> {
        let tag = tag_of(hash);
        let mut slots = self.probe(hash);
        slots.find(|slot| slot.tag == tag && self.same(self.name(slot.record), name)).map(|slot| slot.target)
    }

    /// The taken slots from the hash's own on, up to the first free one. There is always a free one in a finished table.
    fn probe(&self, hash: u64) -> impl Iterator<Item = &Slot> {
        let mut at = home(lower_half(hash), self.slots.len());
        core::iter::from_fn(move || {
            let slot = self.slots.get(at)?;
            at = next(at, self.slots.len());
            (slot.record != NO_RECORD).then_some(slot)
        })
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

    /// The hash of a name as it was added.
    fn hash_stored(&self, name: &[u8]) -> u64 {
        if self.fold_case { self.hash(&name.to_ascii_lowercase()) } else { self.hash(name) }
    }

    fn hash(&self, name: &[u8]) -> u64 {
        let mut hasher = self.hash_key.build_hasher();
        // What feeding the components one by one comes to.
        feed(&mut hasher, name);
        hasher.finish()
    }
}

/// Component-wise, so that the state after n components is the hash of the first n.
fn feed(hasher: &mut DefaultHasher, component: &[u8]) {
    hasher.write(component);
    hasher.write_u8(b'/');
}

fn tag_of(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
const fn lower_half(hash: u64) -> u32 {
    hash as u32
}

/// The slot that a hash begins its search at: the lower half, seen as a fraction of 2^32, of the table.
fn home(hash: u32, slots: usize) -> usize {
    // The quotient is less than `slots`.
    usize::try_from((u64::from(hash) * slots as u64) >> 32).unwrap_or(0)
}

const fn next(at: usize, slots: usize) -> usize {
    if at + 1 < slots { at + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_listed_in_order() {
        for count in [0, 1, 2, 3, 4, 5, 100, 5000_u32] {
            let mut index = NameIndex::new(false);
            let name = |n: u32| format!("dir-{}/file-{n}", n % 7);
            let target = |n: u32| {
                if n.is_multiple_of(3) { Target::Denied(Denied::Directory) } else { Target::File(FileId::FIRST) }
            };
            let records: Vec<_> = (0..count).map(|n| index.add(name(n).as_bytes(), target(n)).unwrap()).collect();
            index.finish();
            for (n, record) in (0..count).zip(records) {
                assert_eq!(index.lookup(name(n).as_bytes()), Some(target(n)));
                assert_eq!(index.name(record), name(n).as_bytes());
            }
            assert_eq!(index.lookup(name(count).as_bytes()), None);
            let listed: Vec<_> = index.iter().map(|(name, target)| (name.to_vec(), target)).collect();
            let added: Vec<_> = (0..count).map(|n| (name(n).into_bytes(), target(n))).collect();
            assert_eq!(listed, added);
        }
    }

    #[test]
    fn an_unfinished_index_finds_nothing() {
        let mut index = NameIndex::new(false);
        index.add(b"a", Target::File(FileId::FIRST)).unwrap();
        assert_eq!(index.lookup(b"a"), None);
        assert_eq!(index.name(NO_RECORD), b"");
    }
}
