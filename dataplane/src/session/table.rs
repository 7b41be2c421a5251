//! The session table of one worker. Allocated once; a transfer's packets find their line by array access.

use super::bit_set::BitSet;
use super::client_index::{ClientIndex, ClientKey};
use super::slab::Slab;
use super::{Client, ReplyPorts, Session, SlotId, TidSpace, WorkerShare};
use crate::random::{KeyedHash, Random, Seed};

/// Why a packet to a TID has no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// Nobody is being served from that TID.
    NoSession,
    /// Somebody is, but not this sender.
    Stranger,
}

/// The random numbers that a worker draws for its table come from this stream of its seed.
const STREAM: u64 = 0x7461_626c_6500;

/// TIDs that are drawn for one session until one suits, at least.
const DRAWS_MIN: u32 = 64;

/// The same for each worker: where one of them suits, one in e^16 sessions ends up with one that does not.
const DRAWS_PER_WORKER: u32 = 16;

/// TIDs that are drawn until one was not its client's the last time that it was used.
const DRAWS_FOR_A_FRESH_ONE: u32 = 4;

/// All sessions of one worker.
///
/// A TID has `ways` slots, told apart by their clients: a keyed hash of the client says which one is its own, so that a packet
/// finds its line without a search. Slot = way × TIDs + number of the TID. A single port is one TID with a way for each session;
/// who is not in its own way is found through the index of clients.
#[derive(Debug)]
pub struct Table {
    sessions: Slab<Session>,
    /// Blocks that went out more than once, of each session; stays at the largest number.
    repeats: Slab<u16>,
    vacant: BitSet,
    by_client: ClientIndex,
    tids: TidSpace,
    /// TIDs in use: all of this worker's, unless a large table needs fewer.
    groups: u32,
    ways: u32,
    /// How many ways behind its own one a session may be: more than none only once a way has been full.
    reach: u32,
    way_hash: KeyedHash,
    draws: u32,
    live: u32,
    max_live: u32,
}

impl Table {
    /// Room for `max_live` sessions of this worker.
    #[must_use]
    pub fn new(max_live: u32, share: WorkerShare, ports: ReplyPorts, seed: Seed) -> Self {
        let tids = TidSpace::new(share, ports);
        let ways = max_live.div_ceil(tids.groups()).max(1);
        // However small the table is, all TIDs are in use: the fewer there are, the easier they are to guess.
        let groups = if ways == 1 { tids.groups() } else { max_live.div_ceil(ways) };
        let slots = groups * ways;
        let mut vacant = BitSet::new(slots);
        (0..slots).for_each(|slot| _ = vacant.insert(slot));
        let mut keys = Random::new(seed, STREAM + u64::from(share.index.0));
        Self {
            sessions: Slab::zeroed(slots),
            repeats: Slab::zeroed(slots),
            vacant,
            by_client: ClientIndex::new(seed, slots, max_live),
            tids,
            groups,
            ways,
            reach: 0,
            way_hash: KeyedHash::new(&mut keys),
            draws: DRAWS_MIN.max(DRAWS_PER_WORKER * u32::from(share.workers)),
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

    /// How many places there are; a few more than live sessions are allowed.
    #[must_use]
    pub const fn slots(&self) -> u32 {
        self.groups * self.ways
    }

    /// The TIDs of this worker.
    #[must_use]
    pub const fn tids(&self) -> &TidSpace {
        &self.tids
    }

    /// A TID that a stranger cannot predict.
    #[must_use]
    pub fn any_tid(&self, random: &mut Random) -> u16 {
        self.tids.tid(random.below(self.groups))
    }

    /// Bytes of memory in use, all of it allocated at the beginning.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.sessions.bytes() + self.repeats.bytes() + self.vacant.bytes() + self.by_client.bytes()
    }

    /// The session that serves `client` from `tid`.
    ///
    /// # Errors
    /// [`Miss`] when there is none.
    #[inline(always)]
    pub fn find(&self, tid: u16, client: &Client) -> Result<SlotId, Miss> {
        let group = self.tids.group(tid).ok_or(Miss::NoSession)?;
        if group >= self.groups {
            return Err(Miss::NoSession);
        }
        let slot = SlotId(self.way(client, 0) * self.groups + group);
        let session = self.get(slot);
        if session.client() == *client && !session.is_vacant() {
            return Ok(slot);
        }
        self.find_further(group, client)
    }

    /// Not in the client's own way: in one behind it, or nowhere.
    #[cold]
    fn find_further(&self, group: u32, client: &Client) -> Result<SlotId, Miss> {
        if self.tids.is_single() {
            return self.find_client(client, self.key(client)).ok_or(Miss::NoSession);
        }
        let mut miss = Miss::NoSession;
        for displacement in 0..=self.reach {
            let slot = SlotId(self.way(client, displacement) * self.groups + group);
            let session = self.get(slot);
            if session.is_vacant() {
                continue;
            }
            if session.client() == *client {
                return Ok(slot);
            }
            miss = Miss::Stranger;
        }
        Err(miss)
    }

    /// The place where a client's session on `tid` is looked for first, if there can be one; to bring its line near.
    #[must_use]
    #[inline]
    pub fn place_of(&self, tid: u16, client: &Client) -> Option<&Session> {
        let group = self.tids.group(tid)?;
        self.sessions.get((self.way(client, 0) * self.groups + group) as usize)
    }

    /// Under what a client is known to [`find_client`](Self::find_client) and [`insert`](Self::insert).
    #[must_use]
    pub fn key(&self, client: &Client) -> ClientKey {
        self.by_client.key(client)
    }

    /// The session of `client`, whatever its TID.
    #[must_use]
    pub fn find_client(&self, client: &Client, key: ClientKey) -> Option<SlotId> {
        self.by_client.find(client, key, &self.sessions)
    }

    /// Takes a session in; its place decides its TID, which is one that `suits` if a few draws find one. `None` when the table is
    /// full. `key` is its client's.
    pub fn insert(
        &mut self,
        session: Session,
        key: ClientKey,
        random: &mut Random,
        suits: impl Fn(u16) -> bool,
    ) -> Option<SlotId> {
        if self.is_full() {
            return None;
        }
        let (slot, displacement) = if self.tids.is_single() {
            (self.nearest_vacant(&session.client())?, 0)
        } else {
            (0..self.ways).find_map(|displacement| {
                Some((self.draw(&session.client(), displacement, random, &suits)?, displacement))
            })?
        };
        if !self.by_client.insert(key, slot) {
            return None;
        }
        self.reach = self.reach.max(displacement);
        self.vacant.remove(slot.0);
        self.sessions[slot.index()] = session;
        self.repeats[slot.index()] = 0;
        self.live += 1;
        Some(slot)
    }

    /// A vacant slot of one of a client's ways, from a random TID on.
    fn draw(
        &self,
        client: &Client,
        displacement: u32,
        random: &mut Random,
        suits: impl Fn(u16) -> bool,
    ) -> Option<SlotId> {
        let first = self.way(client, displacement) * self.groups;
        let mut drawn = None;
        for draw in 0..self.draws {
            let from = first + random.below(self.groups);
            let vacant = self.vacant.next_from(from).filter(|&slot| slot < first + self.groups);
            let slot = SlotId(vacant.or_else(|| self.vacant.next_from(first).filter(|&slot| slot < from))?);
            // RFC 1350 §4: the same TID again, and a late packet of the client's last transfer would pass for one of this.
            let is_fresh = self.get(slot).client() != *client || draw >= DRAWS_FOR_A_FRESH_ONE;
            if is_fresh && suits(self.tid(slot)) {
                return Some(slot);
            }
            drawn = Some(slot);
        }
        drawn
    }

    /// The vacant slot of a single port that is a client's own, or the next one.
    fn nearest_vacant(&self, client: &Client) -> Option<SlotId> {
        self.vacant.next_from(self.way(client, 0)).or_else(|| self.vacant.next_from(0)).map(SlotId)
    }

    /// Frees a place.
    pub fn remove(&mut self, slot: SlotId) {
        let key = self.key(&self.get(slot).client());
        self.by_client.remove(key, slot);
        self.get_mut(slot).vacate();
        self.vacant.insert(slot.0);
        self.live -= 1;
        if self.live == 0 {
            self.reach = 0;
        }
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

    /// Blocks that went out more than once.
    #[must_use]
    pub fn repeats(&self, slot: SlotId) -> u16 {
        self.repeats[slot.index()]
    }

    /// A block goes out that went out before.
    #[cold]
    pub fn count_repeat(&mut self, slot: SlotId) {
        let repeats = &mut self.repeats[slot.index()];
        *repeats = repeats.saturating_add(1);
    }

    /// The TID of a slot.
    #[must_use]
    #[inline]
    pub fn tid(&self, slot: SlotId) -> u16 {
        self.tids.tid(if self.ways == 1 { slot.0 } else { slot.0 % self.groups })
    }

    /// The live session in place number `place`, if there is one; for walking the table in bounded steps.
    #[must_use]
    pub fn at_place(&self, place: u32) -> Option<SlotId> {
        let session = self.sessions.get(place as usize)?;
        (!session.is_vacant()).then_some(SlotId(place))
    }

    /// The way of a client: its own, or one of those behind it.
    #[inline]
    fn way(&self, client: &Client, displacement: u32) -> u32 {
        if self.ways == 1 {
            return 0;
        }
        let own = scale(self.way_hash.of(client.words()), self.ways);
        let way = own + displacement;
        if way < self.ways { way } else { way - self.ways }
    }
}

/// A number below `bound` from the upper half of a hash.
#[inline]
const fn scale(hash: u64, bound: u32) -> u32 {
    (((hash >> 32) * bound as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::FileId;
    use crate::session::{Route, WorkerIndex};
    use crate::tftp::options::{Asked, Caps, Granted};
    use crate::tftp::{Policy, Transfer};
    use crate::time::Instant;
    use core::net::{IpAddr, Ipv4Addr};
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    const ALONE: WorkerShare = WorkerShare { index: WorkerIndex(0), workers: 1 };

    fn client(number: u32) -> Client {
        Client::new(
            IpAddr::V4(Ipv4Addr::from(0x0A00_0000 + number / 100)),
            u16::try_from(1_000 + number % 100).unwrap(),
        )
    }

    fn transfer() -> Transfer {
        let caps = Caps { blksize: 1_468, window_blocks: 64, window_bytes: 1 << 20 };
        let granted = Granted::decide(&Asked::default(), &caps, None);
        Transfer::new(&granted, false, Instant::ORIGIN, &Policy::default())
    }

    fn insert(table: &mut Table, session: Session, random: &mut Random) -> Option<SlotId> {
        let key = table.key(&session.client());
        table.insert(session, key, random, |_| true)
    }

    fn find_client(table: &Table, client: &Client) -> Option<SlotId> {
        table.find_client(client, table.key(client))
    }

    fn session(number: u32) -> Session {
        // The VLAN tells them apart: a session's other fields mean nothing to the table.
        let vlan = Some(u16::try_from(number % 4_095).unwrap());
        let route = Route { client_mac: [2, 0, 0, 0, 0, 1], vlan, local: 0 };
        Session::new(client(number), route, transfer(), FileId::FIRST, 0)
    }

    fn fill(table: &mut Table, count: u32) -> Vec<SlotId> {
        let mut random = Random::new(Seed([3; 16]), 0);
        (0..count).map(|n| insert(table, session(n), &mut random).unwrap()).collect()
    }

    #[test]
    fn sessions_are_found_by_tid_and_by_client() {
        let mut table = Table::new(200_000, ALONE, ReplyPorts::default(), Seed([1; 16]));
        let slots = fill(&mut table, 200_000);
        assert!(table.is_full());
        assert!(insert(&mut table, session(999_999), &mut Random::new(Seed([3; 16]), 1)).is_none());
        for (number, &slot) in slots.iter().enumerate() {
            let number = u32::try_from(number).unwrap();
            assert_eq!(table.find(table.tid(slot), &client(number)), Ok(slot));
            assert_eq!(find_client(&table, &client(number)), Some(slot));
            assert_eq!(table.get(slot).client(), client(number));
            assert_eq!(table.get(slot).route().vlan, Some(u16::try_from(number % 4_095).unwrap()));
        }
        for slot in slots {
            table.remove(slot);
        }
        assert_eq!(table.live(), 0);
        assert_eq!(find_client(&table, &client(5)), None);
        assert!((0..table.slots()).all(|place| table.at_place(place).is_none()));
    }

    #[test]
    fn row30_a_stranger_is_told_from_nobody() {
        let mut table = Table::new(10, ALONE, ReplyPorts::default(), Seed([1; 16]));
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
    fn rfc1350_4_a_client_does_not_soon_get_its_last_tid_again() {
        // Few TIDs, so that chance alone would soon repeat one.
        let crowd = WorkerShare { index: WorkerIndex(3), workers: 1_024 };
        let mut table = Table::new(60, crowd, ReplyPorts::default(), Seed([1; 16]));
        assert!(table.slots() < 64);
        let mut random = Random::new(Seed([9; 16]), 0);
        let mut seen = HashSet::new();
        for _ in 0..24 {
            let slot = insert(&mut table, session(7), &mut random).unwrap();
            assert!(seen.insert(slot.0), "{slot:?}");
            table.remove(slot);
        }
    }

    #[test]
    fn tids_are_spread_over_all_ports_however_small_the_table() {
        let mut table = Table::new(100, ALONE, ReplyPorts::default(), Seed([1; 16]));
        let mut random = Random::new(Seed([9; 16]), 0);
        let mut seen = HashSet::new();
        let mut steps = HashSet::new();
        let mut last = 0;
        for number in 0..20_000 {
            let slot = insert(&mut table, session(number), &mut random).unwrap();
            let tid = table.tid(slot);
            steps.insert(tid.wrapping_sub(last));
            last = tid;
            seen.insert(tid);
            table.remove(slot);
        }
        // 20,000 draws from 64,512 leave 17,200 different ones on average.
        assert!(seen.len() > 16_500, "{}", seen.len());
        assert!(steps.len() > 16_500, "the next one does not follow from the last: {}", steps.len());
        assert!(seen.iter().any(|&tid| tid < 2_000) && seen.iter().any(|&tid| tid > 65_000));
    }

    #[test]
    fn clients_spread_evenly_over_the_ways() {
        for seed in 0..20 {
            let table = Table::new(1_000_000, ALONE, ReplyPorts::default(), Seed([seed; 16]));
            let mut counts = vec![0_u32; table.ways as usize];
            (0..32_000).for_each(|number| counts[table.way(&client(number), 0) as usize] += 1);
            assert_eq!(counts.len(), 16);
            // 2,000 each on average, with a deviation of 43.
            assert!(counts.iter().all(|count| (1_750..2_250).contains(count)), "{counts:?}");
        }
    }

    #[test]
    fn a_tid_that_suits_is_found_if_there_is_one() {
        let mut table = Table::new(1_000, ALONE, ReplyPorts::default(), Seed([1; 16]));
        let mut random = Random::new(Seed([9; 16]), 0);
        let suits = |tid: u16| tid % 8 == 5;
        let suited = (0..1_000)
            .filter(|&number| {
                let session = session(number);
                let key = table.key(&session.client());
                let slot = table.insert(session, key, &mut random, suits).unwrap();
                suits(table.tid(slot))
            })
            .count();
        assert!(suited > 990, "{suited}");
    }

    #[test]
    fn a_million_sessions_take_80_megabytes_with_their_timers() {
        let table = Table::new(1_000_000, ALONE, ReplyPorts::default(), Seed([1; 16]));
        let timers = crate::session::Timers::new(table.slots(), Instant::ORIGIN);
        let ready = BitSet::new(table.slots());
        let bytes = table.bytes() + timers.bytes() + ready.bytes();
        assert!(bytes <= 80_000_000, "{bytes}");
    }

    proptest! {
        #[test]
        fn every_live_session_is_found_and_no_other(
            max_live in 1_u32..300,
            steps in proptest::collection::vec((0_u32..400, any::<bool>()), 1..600),
        ) {
            // 63 TIDs: many ways, and full ones.
            let crowd = WorkerShare { index: WorkerIndex(1), workers: 1_024 };
            let mut table = Table::new(max_live, crowd, ReplyPorts::default(), Seed([1; 16]));
            let mut random = Random::new(Seed([9; 16]), 0);
            let mut model = HashMap::new();
            for (number, open) in steps {
                match (open, model.get(&number).copied()) {
                    (true, None) => match insert(&mut table, session(number), &mut random) {
                        Some(slot) => _ = model.insert(number, slot),
                        None => prop_assert_eq!(u32::try_from(model.len()), Ok(max_live)),
                    },
                    (false, Some(slot)) => {
                        table.remove(slot);
                        model.remove(&number);
                    }
                    _ => {}
                }
                prop_assert_eq!(u32::try_from(model.len()), Ok(table.live()));
            }
            for number in 0..400 {
                prop_assert_eq!(find_client(&table, &client(number)), model.get(&number).copied());
            }
            for (&number, &slot) in &model {
                prop_assert_eq!(table.find(table.tid(slot), &client(number)), Ok(slot));
                prop_assert!(table.find(table.tid(slot), &client(number + 1_000)).is_err());
            }
        }
    }

    #[test]
    fn a_single_port_serves_a_full_table() {
        for max_live in [1, 2, 5_000] {
            let mut table = Table::new(max_live, ALONE, ReplyPorts::Single, Seed([1; 16]));
            let slots = fill(&mut table, max_live);
            assert!(table.is_full());
            for (number, &slot) in (0..).zip(&slots) {
                assert_eq!(table.tid(slot), 69);
                assert_eq!(table.find(69, &client(number)), Ok(slot));
                assert_eq!(table.find(5_000, &client(number)), Err(Miss::NoSession));
            }
            assert_eq!(table.find(69, &client(max_live)), Err(Miss::NoSession), "nobody is a stranger there");
            slots.iter().for_each(|&slot| table.remove(slot));
            assert!((0..max_live).all(|number| table.find(69, &client(number)) == Err(Miss::NoSession)));
        }
    }

    #[test]
    fn a_narrow_range_is_shared() {
        let ports = ReplyPorts::Range { first: 50_000, last: 50_099 };
        let mut table = Table::new(6_000, ALONE, ports, Seed([1; 16]));
        let slots = fill(&mut table, 6_000);
        let mut seen = HashSet::new();
        for (number, &slot) in (0..).zip(&slots) {
            let tid = table.tid(slot);
            assert!((50_000..=50_099).contains(&tid));
            seen.insert(tid);
            assert_eq!(table.find(tid, &client(number)), Ok(slot));
        }
        assert_eq!(seen.len(), 100);
    }

    #[test]
    fn ipv4_and_ipv6_clients_keep_their_addresses() {
        for ip in ["10.1.2.3", "fe80::1", "2001:db8::7"] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(Client::new(ip, 5).ip(), ip);
        }
    }
}
