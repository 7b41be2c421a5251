//! Unused slots, oldest first with a random choice among the older half: a TID rests before it is used again, and the next one
//! cannot be guessed from the last.

use super::SlotId;
use crate::random::Random;

/// A ring of slot numbers; never grows.
#[derive(Debug)]
pub(super) struct FreeSlots {
    ring: Box<[u32]>,
    head: usize,
    len: usize,
}

impl FreeSlots {
    pub(super) fn all(slots: u32) -> Self {
        let ring: Box<[u32]> = (0..slots).collect();
        let len = ring.len();
        Self { ring, head: 0, len }
    }

    pub(super) fn take(&mut self, random: &mut Random) -> Option<SlotId> {
        if self.len == 0 {
            return None;
        }
        let older_half = u32::try_from(self.len.div_ceil(2)).unwrap_or(u32::MAX);
        let chosen = self.at(random.below(older_half) as usize);
        self.ring.swap(self.head, chosen);
        let slot = SlotId(self.ring[self.head]);
        self.head = self.at(1);
        self.len -= 1;
        Some(slot)
    }

    pub(super) fn give_back(&mut self, slot: SlotId) {
        let tail = self.at(self.len);
        self.ring[tail] = slot.0;
        self.len += 1;
    }

    fn at(&self, offset: usize) -> usize {
        let index = self.head + offset;
        if index >= self.ring.len() { index - self.ring.len() } else { index }
    }
}
