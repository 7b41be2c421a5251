//! When to look at a session again: one coarse wheel and a few ordered lists, all intrusive, so that nothing is allocated and
//! any session can leave at once. An ACK never touches them: the truth is the deadline in the session's own line, and a
//! session that is looked at too early is simply put back.

use super::SlotId;
use super::slab::Slab;
use crate::time::Instant;
use bytemuck::{Pod, Zeroable};

/// Milliseconds that the wheel spans; what is due later is looked at once per turn.
const WHEEL: u32 = 8_192;

/// Sessions that are brought near before they are looked at. More would wait for each other: each link names the next.
const UPCOMING: usize = 2;

/// Most timed repeats before the first ACK, plus one.
const UNPROVEN_STAGES: u32 = 8;

/// Lists whose members wait equally long, so that the first is always the next due, and the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Sessions whose client has not answered yet, by how often they were repeated. At most 7 stages are told apart.
    Unproven(u8),
    /// Finished sessions.
    Lingering,
}

impl List {
    fn number(self) -> u32 {
        match self {
            Self::Unproven(stage) => u32::from(stage).min(UNPROVEN_STAGES - 1),
            Self::Lingering => UNPROVEN_STAGES,
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        (0..UNPROVEN_STAGES).filter_map(|stage| u8::try_from(stage).ok()).map(Self::Unproven).chain([Self::Lingering])
    }
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Link {
    previous: u32,
    next: u32,
}

/// The timers of one worker's sessions.
#[derive(Debug)]
pub struct Timers {
    /// One link per slot, then one ring head per millisecond of the wheel, then one per list.
    links: Slab<Link>,
    slots: u32,
    /// The millisecond that the wheel has come to.
    tick: u64,
}

impl Timers {
    /// Timers for `slots` slots, beginning at `now`.
    #[must_use]
    pub fn new(slots: u32, now: Instant) -> Self {
        let nodes = slots + WHEEL + UNPROVEN_STAGES + 1;
        // A node that is linked to itself is a slot in no ring, or an empty ring.
        let mut links = Slab::zeroed(nodes);
        (0..nodes).zip(&mut *links).for_each(|(node, link)| *link = Link { previous: node, next: node });
        Self { links, slots, tick: now.millis() }
    }

    /// Puts a session on the wheel, to be looked at in about `millis` from `now`; it leaves where it was.
    pub fn schedule(&mut self, slot: SlotId, now: Instant, millis: u32) {
        let wait = u64::from(millis.clamp(1, WHEEL - 1));
        let spoke = self.slots + low_bits((now.millis() + wait) % u64::from(WHEEL));
        self.move_to_end(slot.0, spoke);
    }

    /// Puts a session at the end of a list; it leaves where it was.
    pub fn enlist(&mut self, slot: SlotId, list: List) {
        self.move_to_end(slot.0, self.head_of(list));
    }

    /// Takes a session out of wheel and lists.
    pub fn remove(&mut self, slot: SlotId) {
        self.unlink(slot.0);
    }

    /// Bytes of memory in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.links.bytes()
    }

    /// The oldest session of a list.
    #[must_use]
    pub fn oldest(&self, list: List) -> Option<SlotId> {
        self.first_in(self.head_of(list))
    }

    /// The unproven session that has waited longest.
    #[must_use]
    pub fn oldest_unproven(&self) -> Option<SlotId> {
        (0..UNPROVEN_STAGES).rev().find_map(|stage| self.first_in(self.slots + WHEEL + stage))
    }

    /// Takes out the next session of the wheel whose time has come, or the first of a list for which `is_due` holds.
    pub fn next_due(&mut self, now: Instant, is_due: impl Fn(SlotId) -> bool) -> Option<SlotId> {
        let now = now.millis();
        // After a long pause one turn visits everybody.
        self.tick = self.tick.max(now.saturating_sub(u64::from(WHEEL)));
        while self.tick <= now {
            let spoke = self.slots + low_bits(self.tick % u64::from(WHEEL));
            if let Some(slot) = self.first_in(spoke) {
                self.unlink(slot.0);
                return Some(slot);
            }
            if self.tick == now {
                break;
            }
            self.tick += 1;
        }
        let slot = List::all().find_map(|list| self.oldest(list).filter(|&slot| is_due(slot)))?;
        self.unlink(slot.0);
        Some(slot)
    }

    /// The sessions that [`next_due`](Self::next_due) comes to next on the wheel, and their links, to be brought near.
    #[inline]
    pub fn upcoming(&self) -> impl Iterator<Item = (SlotId, &impl Sized)> {
        let head = self.slots + low_bits(self.tick % u64::from(WHEEL));
        let mut at = head;
        core::iter::from_fn(move || {
            at = self.links[at as usize].next;
            (at != head).then(|| (SlotId(at), &self.links[at as usize]))
        })
        .take(UPCOMING)
    }

    fn head_of(&self, list: List) -> u32 {
        self.slots + WHEEL + list.number()
    }

    fn first_in(&self, head: u32) -> Option<SlotId> {
        let first = self.links[head as usize].next;
        (first != head).then_some(SlotId(first))
    }

    fn move_to_end(&mut self, node: u32, head: u32) {
        self.unlink(node);
        let last = self.links[head as usize].previous;
        self.links[node as usize] = Link { previous: last, next: head };
        self.links[last as usize].next = node;
        self.links[head as usize].previous = node;
    }

    fn unlink(&mut self, node: u32) {
        let Link { previous, next } = self.links[node as usize];
        self.links[previous as usize].next = next;
        self.links[next as usize].previous = previous;
        self.links[node as usize] = Link { previous: node, next: node };
    }
}

fn low_bits(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    fn due(timers: &mut Timers, now: Instant) -> Vec<u32> {
        core::iter::from_fn(|| timers.next_due(now, |_| false)).map(|slot| slot.0).collect()
    }

    #[test]
    fn the_wheel_gives_back_at_the_right_millisecond() {
        let mut timers = Timers::new(10, at(5_000));
        timers.schedule(SlotId(1), at(5_000), 10);
        timers.schedule(SlotId(2), at(5_000), 0);
        timers.schedule(SlotId(3), at(5_000), 8_000);
        assert_eq!(due(&mut timers, at(5_000)), []);
        assert_eq!(due(&mut timers, at(5_001)), [2]);
        assert_eq!(due(&mut timers, at(5_009)), []);
        assert_eq!(due(&mut timers, at(5_010)), [1]);
        timers.remove(SlotId(3));
        assert_eq!(due(&mut timers, at(90_000)), []);
    }

    #[test]
    fn far_deadlines_are_looked_at_once_per_turn() {
        let mut timers = Timers::new(1, at(0));
        timers.schedule(SlotId(0), at(0), 1_000_000);
        assert_eq!(due(&mut timers, at(u64::from(WHEEL) - 2)), []);
        assert_eq!(due(&mut timers, at(u64::from(WHEEL))), [0]);
    }

    #[test]
    fn lists_are_ordered_and_their_members_can_leave() {
        let mut timers = Timers::new(10, at(0));
        for slot in [4, 2, 7] {
            timers.enlist(SlotId(slot), List::Unproven(0));
        }
        assert_eq!(timers.oldest_unproven(), Some(SlotId(4)));
        timers.enlist(SlotId(7), List::Unproven(1));
        assert_eq!(timers.oldest_unproven(), Some(SlotId(7)), "a later stage has waited longer");
        timers.remove(SlotId(7));
        timers.remove(SlotId(4));
        assert_eq!(timers.oldest(List::Unproven(0)), Some(SlotId(2)));
        assert_eq!(timers.next_due(at(1), |slot| slot == SlotId(2)), Some(SlotId(2)));
        assert_eq!(timers.oldest_unproven(), None);
    }

    proptest! {
        #[test]
        fn nobody_is_early_or_forgotten(waits in proptest::collection::vec(1_u32..8_000, 1..50), step in 1_u64..500) {
            let mut timers = Timers::new(50, at(100));
            for (slot, &wait) in (0..).zip(&waits) {
                timers.schedule(SlotId(slot), at(100), wait);
            }
            let mut left: Vec<Option<u32>> = waits.into_iter().map(Some).collect();
            let mut now = 100;
            while now < 8_200 + step {
                for slot in due(&mut timers, at(now)) {
                    let wait = left[slot as usize].take().expect("once only");
                    prop_assert!(now >= 100 + u64::from(wait) && now < 100 + u64::from(wait) + step);
                }
                now += step;
            }
            prop_assert!(left.iter().all(Option::is_none));
        }
    }
}
