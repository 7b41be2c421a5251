//! One timer for each client: a wheel of doubly linked lists over indices, all allocated at the start. Setting a timer later than
//! it stands only writes its deadline; it is moved when the wheel comes to it.

use dataplane::time::Instant;

use super::population::ClientId;

/// Microseconds in a tick: timers are late by at most one, and never early.
const TICK_US: u64 = 100;

/// Ticks until the wheel comes round; what lies beyond is linked again then.
const SLOTS: usize = 8_192;

/// No client.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Timer {
    /// Tick at which it is due.
    due: u64,
    /// Tick under which it is linked; `u64::MAX` when it is not.
    linked: u64,
    previous: u32,
    next: u32,
}

const UNLINKED: u64 = u64::MAX;

/// The timers of all clients.
#[derive(Debug)]
pub(crate) struct Timers {
    heads: Box<[u32]>,
    timers: Box<[Timer]>,
    /// Tick that is looked at.
    cursor: u64,
}

impl Timers {
    /// For that many clients, beginning at the origin of time.
    pub(crate) fn new(clients: u32) -> Self {
        let timer = Timer { due: 0, linked: UNLINKED, previous: NONE, next: NONE };
        let heads = vec![NONE; SLOTS].into_boxed_slice();
        Self { heads, timers: vec![timer; clients as usize].into_boxed_slice(), cursor: 0 }
    }

    /// Sets the client's only timer.
    #[inline]
    pub(crate) fn set(&mut self, client: ClientId, deadline: Instant) {
        let due = deadline.micros().div_ceil(TICK_US);
        let timer = &mut self.timers[client.index()];
        timer.due = due;
        if timer.linked == UNLINKED {
            self.link(client);
        } else if due < timer.linked {
            self.unlink(client);
            self.link(client);
        }
    }

    /// Takes the client's timer away.
    #[inline]
    pub(crate) fn cancel(&mut self, client: ClientId) {
        if self.timers[client.index()].linked != UNLINKED {
            self.unlink(client);
        }
    }

    /// The next client whose deadline has passed; its timer is taken away.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<ClientId> {
        let now = now.micros() / TICK_US;
        while self.cursor <= now {
            let head = self.heads[slot(self.cursor)];
            if head == NONE {
                if self.cursor == now {
                    return None;
                }
                self.cursor += 1;
                continue;
            }
            let client = ClientId::new(head);
            self.unlink(client);
            if self.timers[client.index()].due <= self.cursor {
                return Some(client);
            }
            self.link(client);
        }
        None
    }

    fn link(&mut self, client: ClientId) {
        // At most one round ahead, so that a tick has a slot of its own.
        let farthest = self.cursor + (SLOTS as u64 - 1);
        let tick = self.timers[client.index()].due.clamp(self.cursor, farthest);
        let head = core::mem::replace(&mut self.heads[slot(tick)], client.number());
        let timer = &mut self.timers[client.index()];
        timer.linked = tick;
        timer.previous = NONE;
        timer.next = head;
        if head != NONE {
            self.timers[head as usize].previous = client.number();
        }
    }

    fn unlink(&mut self, client: ClientId) {
        let timer = &mut self.timers[client.index()];
        let Timer { linked, previous, next, .. } = *timer;
        timer.linked = UNLINKED;
        if previous == NONE {
            self.heads[slot(linked)] = next;
        } else {
            self.timers[previous as usize].next = next;
        }
        if next != NONE {
            self.timers[next as usize].previous = previous;
        }
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
fn slot(tick: u64) -> usize {
    const { assert!(SLOTS.is_power_of_two()) };
    tick as usize & (SLOTS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::random::{Random, Seed};

    fn at(us: u64) -> Instant {
        Instant::from_micros(us)
    }

    fn drain(timers: &mut Timers, now: u64) -> Vec<u32> {
        let mut fired: Vec<u32> = std::iter::from_fn(|| timers.expire(at(now))).map(ClientId::number).collect();
        fired.sort_unstable();
        fired
    }

    #[test]
    fn a_timer_fires_once_never_early_and_within_a_tick() {
        let mut timers = Timers::new(3);
        timers.set(ClientId::new(0), at(1_050));
        timers.set(ClientId::new(1), at(0));
        assert_eq!(drain(&mut timers, 0), [1]);
        assert!(drain(&mut timers, 1_099).is_empty());
        assert_eq!(drain(&mut timers, 1_100), [0]);
        assert!(drain(&mut timers, 90_000_000).is_empty());
    }

    #[test]
    fn a_timer_may_be_moved_both_ways_and_cancelled() {
        let mut timers = Timers::new(3);
        for (client, deadline) in [(0, 5_000), (1, 5_000), (2, 5_000), (0, 9_000), (1, 2_000)] {
            timers.set(ClientId::new(client), at(deadline));
        }
        timers.cancel(ClientId::new(2));
        timers.cancel(ClientId::new(2));
        assert_eq!(drain(&mut timers, 2_000), [1]);
        assert!(drain(&mut timers, 8_900).is_empty());
        assert_eq!(drain(&mut timers, 9_000), [0]);
    }

    #[test]
    fn deadlines_beyond_one_round_wait() {
        let mut timers = Timers::new(1);
        timers.set(ClientId::new(0), at(60_000_000));
        let mut now = 0;
        while now < 59_999_900 {
            assert!(drain(&mut timers, now).is_empty(), "{now}");
            now += 7_300;
        }
        assert_eq!(drain(&mut timers, 60_000_000), [0]);
    }

    #[test]
    fn many_timers_fire_as_a_sorted_list_says() {
        const CLIENTS: u32 = 200;
        let mut random = Random::new(Seed([9; 16]), 0);
        let mut timers = Timers::new(CLIENTS);
        let mut deadlines = vec![None; CLIENTS as usize];
        let mut now = 0;
        for _ in 0..3_000 {
            let client = random.below(CLIENTS);
            if random.below(4) == 0 {
                timers.cancel(ClientId::new(client));
                deadlines[client as usize] = None;
            } else {
                let deadline = now + u64::from(random.below(3_000_000));
                timers.set(ClientId::new(client), at(deadline));
                deadlines[client as usize] = Some(deadline);
            }
            now += u64::from(random.below(5_000));
            let mut due: Vec<u32> = Vec::new();
            for (client, deadline) in (0..).zip(&mut deadlines) {
                if deadline.is_some_and(|us: u64| us.div_ceil(TICK_US) <= now / TICK_US) {
                    due.push(client);
                    *deadline = None;
                }
            }
            assert_eq!(drain(&mut timers, now), due, "at {now}");
        }
    }
}
