//! The session table of one worker. Allocated once; a transfer's packets find their line by array access.

use super::client_index::ClientIndex;
use super::free_slots::FreeSlots;
use super::{Client, Session, SlotId, TidSpace, WorkerShare};
use crate::random::{Random, Seed};
use crate::tftp::OptionOrder;
use crate::time::Instant;

/// Why a packet to a TID has no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// Nobody is being served from that TID.
    NoSession,
    /// Somebody is, but not this sender.
    Stranger,
}

/// All sessions of one worker.
#[derive(Debug)]
pub struct Table {
    sessions: Box<[Session]>,
    histories: Box<[History]>,
    tids: TidSpace,
    /// Slots that share one TID, told apart by their clients.
    ways: u32,
    by_client: ClientIndex,
    free: FreeSlots,
    live: u32,
    max_live: u32,
}

/// What is wanted of a session now and then, kept off its hot line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Begin, milliseconds since the origin modulo 2^32.
    began_ms: u32,
    /// Blocks that went out more than once; stays at the largest number.
    pub blocks_again: u16,
    /// Options of the OACK, to say it again.
    pub oack: OptionOrder,
}

impl History {
    /// A session begins, with these options in its OACK.
    #[must_use]
    pub fn begin(now: Instant, oack: OptionOrder) -> Self {
        Self { began_ms: low_millis(now), blocks_again: 0, oack }
    }

    /// Milliseconds since the begin, modulo 2^32 (49 days).
    #[must_use]
    pub fn age_ms(&self, now: Instant) -> u32 {
        low_millis(now).wrapping_sub(self.began_ms)
    }

    /// A block goes out that went out before.
    pub fn add_repeat(&mut self) {
        self.blocks_again = self.blocks_again.saturating_add(1);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "modulo 2^32 by definition")]
fn low_millis(now: Instant) -> u32 {
    now.millis() as u32
}

impl Table {
    /// Room for `max_live` sessions of this worker.
    #[must_use]
    pub fn new(max_live: u32, share: WorkerShare, seed: Seed) -> Self {
        let tids = TidSpace::new(share);
        // All TIDs are in use however small the table is: the fewer there are, the easier they are to guess.
        let ways = max_live.div_ceil(tids.groups()).max(1);
        let slots = tids.groups() * ways;
        Self {
            sessions: vec![Session::VACANT; slots as usize].into(),
            histories: vec![History::default(); slots as usize].into(),
            tids,
            ways,
            by_client: ClientIndex::new(seed, slots, max_live),
            free: FreeSlots::all(slots),
            live: 0,
            max_live,
        }
    }

    /// Live sessions, lingering ones included.
    #[must_use]
    pub const fn live(&self) -> u32 {
        self.live
    }

    /// Whether [`insert`](Self::insert) would refuse.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.live >= self.max_live
    }

    /// How many places there are; more than live sessions are allowed.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.tids.groups() * self.ways
    }

    /// The TIDs of this worker.
    #[must_use]
    pub const fn tids(&self) -> &TidSpace {
        &self.tids
    }

    /// The session that serves `client` from `tid`.
    ///
    /// # Errors
    /// [`Miss`] when there is none.
    #[inline]
    pub fn find(&self, tid: u16, client: &Client) -> Result<SlotId, Miss> {
        let group = self.tids.group(tid).ok_or(Miss::NoSession)?;
        let first = group * self.ways;
        let mut miss = Miss::NoSession;
        for slot in first..first + self.ways {
            let session = &self.sessions[slot as usize];
            // A frame may well come from [::]:0, which is what a free place looks like.
            if session.is_vacant() {
                continue;
            }
            if session.client() == client {
                return Ok(SlotId(slot));
            }
            miss = Miss::Stranger;
        }
        Err(miss)
    }

    /// The session of `client`, whatever its TID.
    #[must_use]
    pub fn find_client(&self, client: &Client) -> Option<SlotId> {
        self.by_client.find(client, &self.sessions)
    }

    /// Takes a session in; its place decides its TID. `None` when the table is full.
    pub fn insert(&mut self, session: Session, history: History, random: &mut Random) -> Option<SlotId> {
        if self.is_full() {
            return None;
        }
        let slot = self.free.take(random)?;
        self.by_client.insert(session.client(), slot);
        self.sessions[slot.index()] = session;
        self.histories[slot.index()] = history;
        self.live += 1;
        Some(slot)
    }

    /// Frees a place.
    pub fn remove(&mut self, slot: SlotId) {
        let client = *self.sessions[slot.index()].client();
        self.by_client.remove(&client, slot);
        self.sessions[slot.index()] = Session::VACANT;
        self.free.give_back(slot);
        self.live -= 1;
    }

    /// The session in a slot.
    #[must_use]
    #[inline]
    pub fn get(&self, slot: SlotId) -> &Session {
        &self.sessions[slot.index()]
    }

    /// The same, to change it.
    #[inline]
    pub fn get_mut(&mut self, slot: SlotId) -> &mut Session {
        &mut self.sessions[slot.index()]
    }

    /// What was noted about a session.
    #[must_use]
    pub fn history(&self, slot: SlotId) -> &History {
        &self.histories[slot.index()]
    }

    /// The same, to change it.
    pub fn history_mut(&mut self, slot: SlotId) -> &mut History {
        &mut self.histories[slot.index()]
    }

    /// The TID of a slot.
    #[must_use]
    #[inline]
    pub fn tid(&self, slot: SlotId) -> u16 {
        self.tids.tid(if self.ways == 1 { slot.0 } else { slot.0 / self.ways })
    }

    /// The live session in place number `place`, if there is one; for walking the table in bounded steps.
    #[must_use]
    pub fn at_place(&self, place: u32) -> Option<SlotId> {
        let session = self.sessions.get(place as usize)?;
        (!session.is_vacant()).then_some(SlotId(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::FileId;
    use crate::session::{Route, WorkerIndex};
    use crate::tftp::Transfer;
    use core::net::{IpAddr, Ipv4Addr};
    use std::collections::HashSet;

    const ALONE: WorkerShare = WorkerShare { index: WorkerIndex(0), workers: 1 };

    fn client(number: u32) -> Client {
        Client::new(
            IpAddr::V4(Ipv4Addr::from(0x0A00_0000 + number / 100)),
            u16::try_from(1_000 + number % 100).unwrap(),
        )
    }

    fn session(number: u32) -> Session {
        // The VLAN tells them apart: a session's other fields mean nothing to the table.
        let vlan = Some(u16::try_from(number % 4_095).unwrap());
        let route = Route { client_mac: [2, 0, 0, 0, 0, 1], vlan, local: 0 };
        Session::new(client(number), route, Transfer::VACANT, FileId::FIRST, 0)
    }

    fn fill(table: &mut Table, count: u32) -> Vec<SlotId> {
        let mut random = Random::new(Seed([3; 16]), 0);
        (0..count).map(|n| table.insert(session(n), History::default(), &mut random).unwrap()).collect()
    }

    #[test]
    fn sessions_are_found_by_tid_and_by_client() {
        let mut table = Table::new(200_000, ALONE, Seed([1; 16]));
        let slots = fill(&mut table, 200_000);
        assert!(table.is_full());
        assert!(table.insert(session(999_999), History::default(), &mut Random::new(Seed([3; 16]), 1)).is_none());
        for (number, &slot) in slots.iter().enumerate() {
            let number = u32::try_from(number).unwrap();
            assert_eq!(table.find(table.tid(slot), &client(number)), Ok(slot));
            assert_eq!(table.find_client(&client(number)), Some(slot));
            assert_eq!(*table.get(slot).client(), client(number));
            assert_eq!(table.get(slot).route().vlan, Some(u16::try_from(number % 4_095).unwrap()));
        }
        for slot in slots {
            table.remove(slot);
        }
        assert_eq!(table.live(), 0);
        assert_eq!(table.find_client(&client(5)), None);
        assert!((0..table.slots()).all(|place| table.at_place(place).is_none()));
    }

    #[test]
    fn row30_a_stranger_is_told_from_nobody() {
        let mut table = Table::new(10, ALONE, Seed([1; 16]));
        let slot = fill(&mut table, 1)[0];
        let tid = table.tid(slot);
        assert_eq!(table.find(tid, &client(7)), Err(Miss::Stranger));
        table.remove(slot);
        assert_eq!(table.find(tid, &client(0)), Err(Miss::NoSession));
        assert_eq!(table.find(69, &client(0)), Err(Miss::NoSession));
        let nobody = Client::new(IpAddr::V6(core::net::Ipv6Addr::UNSPECIFIED), 0);
        assert_eq!(table.find(tid, &nobody), Err(Miss::NoSession), "a free place is no session of [::]:0");
    }

    #[test]
    fn tids_rest_and_are_hard_to_guess() {
        let mut table = Table::new(100, ALONE, Seed([1; 16]));
        let mut random = Random::new(Seed([9; 16]), 0);
        let mut recent: Vec<u16> = Vec::new();
        let mut seen = HashSet::new();
        for number in 0..20_000 {
            let slot = table.insert(session(number), History::default(), &mut random).unwrap();
            let tid = table.tid(slot);
            assert!(!recent.contains(&tid), "TID {tid} was used again at once");
            recent.push(tid);
            if recent.len() > 10_000 {
                recent.remove(0);
            }
            seen.insert(tid);
            table.remove(slot);
        }
        assert!(seen.len() > 10_000, "{}", seen.len());
    }

    #[test]
    fn ipv4_and_ipv6_clients_keep_their_addresses() {
        for ip in ["10.1.2.3", "fe80::1", "2001:db8::7"] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(Client::new(ip, 5).ip(), ip);
        }
    }
}
