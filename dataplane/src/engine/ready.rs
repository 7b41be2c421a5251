//! Sessions that may send more, served in turn: nobody sends a second share before everybody had a first.

use crate::session::{BitSet, SlotId};

/// A set of slots that is walked round and round; never grows.
#[derive(Debug)]
pub(super) struct Ready {
    slots: BitSet,
    /// Where the walk goes on.
    next: u32,
    len: usize,
}

impl Ready {
    pub(super) fn new(slots: u32) -> Self {
        Self { slots: BitSet::new(slots), next: 0, len: 0 }
    }

    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&self) -> usize {
        self.slots.bytes()
    }

    #[inline]
    pub(super) fn push(&mut self, slot: SlotId) {
        self.len += usize::from(self.slots.insert(slot.number()));
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<SlotId> {
        let slot = self.slots.next_from(self.next).or_else(|| self.slots.next_from(0))?;
        self.slots.remove(slot);
        self.next = slot + 1;
        self.len -= 1;
        Some(SlotId::new(slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_turn_before_anybody_has_two() {
        let mut ready = Ready::new(200);
        for slot in [150, 3, 70] {
            ready.push(SlotId::new(slot));
        }
        ready.push(SlotId::new(70));
        assert_eq!(ready.len(), 3, "nobody stands in it twice");
        let mut turns = Vec::new();
        for _ in 0..7 {
            let slot = ready.pop().unwrap();
            turns.push(slot.number());
            ready.push(slot);
        }
        assert_eq!(turns, [3, 70, 150, 3, 70, 150, 3]);
    }
}
