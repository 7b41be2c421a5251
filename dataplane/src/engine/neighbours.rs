//! Who has which address on the link, as far as ARP and ND told. Replies do not need it, since they go to where their request
//! came from; people do. Fixed memory; a flood of lies only overwrites other entries.

use crate::random::Seed;
use crate::time::Instant;
use crate::wire::MacAddr;
use core::net::IpAddr;

const ENTRIES: usize = 1_024;

/// One neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its address.
    pub ip: IpAddr,
    /// Its MAC address.
    pub mac: MacAddr,
    /// When it was last heard of.
    pub heard: Instant,
}

/// The neighbours of one port.
#[derive(Debug)]
pub struct Neighbours {
    seed: Seed,
    entries: Box<[Option<Neighbour>]>,
}

impl Neighbours {
    pub(super) fn new(seed: Seed) -> Self {
        Self { seed, entries: vec![None; ENTRIES].into() }
    }

    pub(super) fn learn(&mut self, ip: IpAddr, mac: MacAddr, now: Instant) {
        if mac.is_unicast() && !ip.is_unspecified() && !ip.is_multicast() {
            self.entries[self.place(ip)] = Some(Neighbour { ip, mac, heard: now });
        }
    }

    /// What is known of an address.
    #[must_use]
    pub fn find(&self, ip: IpAddr) -> Option<&Neighbour> {
        self.entries[self.place(ip)].as_ref().filter(|neighbour| neighbour.ip == ip)
    }

    /// All that are known, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Neighbour> {
        self.entries.iter().flatten()
    }

    #[expect(clippy::cast_possible_truncation, reason = "only the low bits choose the place")]
    fn place(&self, ip: IpAddr) -> usize {
        let hash = match ip {
            IpAddr::V4(v4) => self.seed.hash(&v4.octets()),
            IpAddr::V6(v6) => self.seed.hash(&v6.octets()),
        };
        hash as usize % ENTRIES
    }
}
