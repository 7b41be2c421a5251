//! From a client to its session: buckets of one cache line under a keyed hash, two to choose from. Needed once per request, never
//! per block; never grows, never moves an entry, and a flood cannot aim at one bucket.

use super::slab::Slab;
use super::{Client, Session, SlotId};
use crate::random::Seed;

/// Entries of a bucket: 64 bytes.
const BUCKET: usize = 16;

/// Low bits of an entry: slot + 1, so that zero is a free place. The bits above are a tag of the client.
const SLOT_BITS: u32 = 22;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;

#[derive(Debug)]
pub(super) struct ClientIndex {
    seed: Seed,
    buckets: Slab<[u32; BUCKET]>,
}

/// A client's hash, computed once per request.
#[derive(Clone, Copy, Debug)]
pub struct ClientKey(u64);

impl ClientIndex {
    /// Buckets for `live` sessions, three quarters full at most.
    pub(super) fn new(seed: Seed, slots: u32, live: u32) -> Self {
        assert!(slots < SLOT_MASK, "at most {SLOT_MASK} sessions");
        let places = u64::from(live) * 4 / 3;
        let buckets = u32::try_from(places / BUCKET as u64).unwrap_or(u32::MAX) + 2;
        Self { seed, buckets: Slab::zeroed(buckets) }
    }

    pub(super) fn key(&self, client: &Client) -> ClientKey {
        ClientKey(client.hash(&self.seed))
    }

    pub(super) fn find(&self, client: &Client, key: ClientKey, sessions: &[Session]) -> Option<SlotId> {
        self.buckets_of(key).into_iter().find_map(|bucket| {
            let entries = &self.buckets[bucket];
            let mut candidates = candidates(entries, key.tag());
            while candidates != 0 {
                let entry = entries[candidates.trailing_zeros() as usize];
                candidates &= candidates - 1;
                // A free place has no slot, but may have the tag.
                let slot = SlotId((entry & SLOT_MASK).wrapping_sub(1));
                if sessions.get(slot.index()).is_some_and(|session| session.client() == *client) {
                    return Some(slot);
                }
            }
            None
        })
    }

    /// False when both buckets are full, which at three quarters' load does not happen by chance.
    #[must_use]
    pub(super) fn insert(&mut self, key: ClientKey, slot: SlotId) -> bool {
        let [first, second] = self.buckets_of(key);
        let used = |bucket: usize| self.buckets[bucket].iter().filter(|&&entry| entry != 0).count();
        let emptier = if used(first) <= used(second) { first } else { second };
        match self.buckets[emptier].iter_mut().find(|entry| **entry == 0) {
            Some(entry) => {
                *entry = key.tag() | (slot.0 + 1);
                true
            }
            None => false,
        }
    }

    pub(super) fn remove(&mut self, key: ClientKey, slot: SlotId) {
        for bucket in self.buckets_of(key) {
            if let Some(entry) = self.buckets[bucket].iter_mut().find(|entry| **entry & SLOT_MASK == slot.0 + 1) {
                *entry = 0;
                return;
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.buckets.bytes()
    }

    /// The halves of the hash, scaled to the number of buckets.
    fn buckets_of(&self, ClientKey(hash): ClientKey) -> [usize; 2] {
        let scale = |half: u64| ((half * self.buckets.len() as u64) >> 32) as usize;
        [scale(hash & u64::from(u32::MAX)), scale(hash >> 32)]
    }
}

/// One bit for each entry with that tag; without branches, so that it becomes vector code.
#[inline]
fn candidates(entries: &[u32; BUCKET], tag: u32) -> u32 {
    let mut bits = 0;
    for (number, entry) in (0..).zip(entries) {
        bits |= u32::from(entry & !SLOT_MASK == tag) << number;
    }
    bits
}

impl ClientKey {
    /// The lowest bits of the hash, which hardly decide the bucket, in the place of an entry's tag.
    #[expect(clippy::cast_possible_truncation, reason = "only the low bits make the tag")]
    const fn tag(self) -> u32 {
        (self.0 as u32) << SLOT_BITS
    }
}
