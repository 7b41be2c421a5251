//! Sessions that may send more, served in turn: nobody sends a second share before everybody had a first.

use crate::session::SlotId;

/// A queue in which each slot stands at most once; never grows.
#[derive(Debug)]
pub(super) struct Ready {
    ring: Box<[SlotId]>,
    head: usize,
    len: usize,
    /// One bit per slot: it stands in the ring.
    queued: Box<[u64]>,
}

impl Ready {
    pub(super) fn new(slots: u32) -> Self {
        let slots = slots as usize;
        Self { ring: vec![SlotId::FIRST; slots].into(), head: 0, len: 0, queued: vec![0; slots.div_ceil(64)].into() }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, slot: SlotId) {
        let (word, bit) = (slot.index() / 64, 1_u64 << (slot.index() % 64));
        if self.queued[word] & bit != 0 {
            return;
        }
        self.queued[word] |= bit;
        let tail = (self.head + self.len) % self.ring.len();
        self.ring[tail] = slot;
        self.len += 1;
    }

    pub(super) fn pop(&mut self) -> Option<SlotId> {
        if self.len == 0 {
            return None;
        }
        let slot = self.ring[self.head];
        self.head = (self.head + 1) % self.ring.len();
        self.len -= 1;
        self.queued[slot.index() / 64] &= !(1_u64 << (slot.index() % 64));
        Some(slot)
    }
}
