//! From a client to its session: chains of slots under a keyed hash. Needed once per request, never per block; never grows,
//! never rehashes, and a flood cannot aim at one chain.

use super::{Client, Session, SlotId};
use crate::random::Seed;

const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct ClientIndex {
    seed: Seed,
    heads: Box<[u32]>,
    next: Box<[u32]>,
}

impl ClientIndex {
    /// Chains for `slots` slots of which at most `live` are used at a time.
    pub(super) fn new(seed: Seed, slots: u32, live: u32) -> Self {
        let chains = live.max(1).next_power_of_two();
        Self { seed, heads: vec![NONE; chains as usize].into(), next: vec![NONE; slots as usize].into() }
    }

    pub(super) fn find(&self, client: &Client, sessions: &[Session]) -> Option<SlotId> {
        let mut at = self.heads[self.chain(client)];
        while at != NONE {
            if sessions[at as usize].client() == client {
                return Some(SlotId(at));
            }
            at = self.next[at as usize];
        }
        None
    }

    pub(super) fn insert(&mut self, client: &Client, slot: SlotId) {
        let chain = self.chain(client);
        self.next[slot.index()] = self.heads[chain];
        self.heads[chain] = slot.0;
    }

    pub(super) fn remove(&mut self, client: &Client, slot: SlotId) {
        let chain = self.chain(client);
        let after = self.next[slot.index()];
        if self.heads[chain] == slot.0 {
            self.heads[chain] = after;
            return;
        }
        let mut at = self.heads[chain];
        while at != NONE {
            let next = self.next[at as usize];
            if next == slot.0 {
                self.next[at as usize] = after;
                return;
            }
            at = next;
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "only the low bits choose the chain")]
    fn chain(&self, client: &Client) -> usize {
        client.hash(&self.seed) as usize & (self.heads.len() - 1)
    }
}
