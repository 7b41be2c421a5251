//! Who is being served: one 64-byte line per session in memory that is allocated once, found by TID with an array access.
//! Knows the transfer's line, but no frame and no clock.

mod bit_set;
mod client_index;
mod slab;
mod steering;
mod table;
mod tid;
mod timers;

pub(crate) use bit_set::BitSet;
pub use client_index::ClientKey;
pub use steering::{Arrival, NoSteering, Steering};
pub use table::{Miss, Table};
pub use tid::{ReplyPorts, ReplyPortsError, TidSpace, WorkerIndex, WorkerShare};
pub use timers::{List, Timers};

use crate::files::{FileId, SumTable};
use crate::random::Seed;
use crate::tftp::Transfer;
use crate::wire::{MacAddr, VlanTag};
use bytemuck::{Pod, Zeroable};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A place in the session table of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotId(u32);

impl SlotId {
    pub(crate) const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Its number, from 0.
    #[inline]
    pub(crate) const fn number(self) -> u32 {
        self.0
    }

    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A client's transport address: what makes two sessions different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// IPv4 as IPv4-mapped IPv6.
    ip: [u64; 2],
    port: u16,
}

impl Client {
    /// The client at this address and UDP port (host byte order).
    #[must_use]
    #[inline]
    pub fn new(ip: IpAddr, port: u16) -> Self {
        let ip = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self { ip: bytemuck::cast(ip.octets()), port }
    }

    /// Its IP address; IPv4-mapped addresses come back as IPv4.
    #[must_use]
    #[inline]
    pub fn ip(&self) -> IpAddr {
        Ipv6Addr::from(bytemuck::cast::<_, [u8; 16]>(self.ip)).to_canonical()
    }

    /// Its UDP port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The client at this IPv4 address and UDP port.
    #[must_use]
    #[inline]
    pub fn from_ipv4(ip: Ipv4Addr, port: u16) -> Self {
        Self::new(IpAddr::V4(ip), port)
    }

    /// The bytes of its IPv4 address; without meaning for an IPv6 client.
    #[inline]
    pub(crate) fn ipv4_octets(&self) -> [u8; 4] {
        let [_, last] = self.ip;
        let [_, _, _, _, a, b, c, d] = last.to_ne_bytes();
        [a, b, c, d]
    }

    /// The bytes of its IPv6 address.
    #[inline]
    pub(crate) fn ipv6_octets(&self) -> [u8; 16] {
        bytemuck::cast(self.ip)
    }

    /// The address alone as two words, for a fast hash.
    #[inline]
    pub(crate) const fn address_words(&self) -> [u64; 2] {
        self.ip
    }

    /// Address and port as two words, for a fast hash.
    #[inline]
    fn words(&self) -> [u64; 2] {
        let [high, low] = self.ip;
        // An IPv4-mapped address has zeros where the port goes.
        [high, low ^ u64::from(self.port)]
    }

    /// A keyed hash: the same for every worker of one appliance.
    #[must_use]
    pub fn hash(&self, seed: &Seed) -> u64 {
        let mut bytes = [0; 18];
        bytes[..16].copy_from_slice(bytemuck::bytes_of(&self.ip));
        bytes[16..].copy_from_slice(&self.port.to_be_bytes());
        seed.hash(&bytes)
    }
}

/// Where a session's frames go, fixed when it begins: a later ARP or ND lie changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Source MAC of the request: the client's, or its router's.
    pub client_mac: [u8; 6],
    /// Tag control information of the request's VLAN tag.
    pub vlan: Option<u16>,
    /// Index of our address that the request was sent to.
    pub local: u8,
}

/// One session's hot state: one cache line.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Session {
    /// Progress.
    pub transfer: Transfer,
    client_ip: [u64; 2],
    /// The file, in the generation of the catalogue that the session began with; or its place on the shelf.
    pub file: FileId,
    client_port: u16,
    client_mac: [u8; 6],
    vlan: u16,
    local: u8,
    /// Low bits: which of the live catalogue generations that is. High bits: the table that has the sums of its blocks, plus one.
    generation_and_sums: u8,
}

const GENERATION_BITS: u32 = 4;
const GENERATION_MASK: u8 = (1 << GENERATION_BITS) - 1;

/// Numbers that a session's generation may have.
pub(crate) const GENERATION_NUMBERS: usize = 1 << GENERATION_BITS;

/// Catalogue generations that may be alive at a time.
pub const GENERATIONS: usize = 8;

/// The generation number of a session that reads a file loaded on demand: its file is a place on the shelf. Never a catalogue's.
pub(crate) const ON_SHELF: u8 = 8;

const _: () = assert!(GENERATIONS <= ON_SHELF as usize && (ON_SHELF as usize) < GENERATION_NUMBERS);
const _: () = assert!(size_of::<Session>() == 64);

/// No VLAN tag. A TCI of 0xFFFF names the reserved VLAN 4095, which is refused on input, so no session can hold it.
const UNTAGGED: u16 = u16::MAX;

impl Session {
    /// A session of `client`, about to begin.
    #[must_use]
    pub fn new(client: Client, route: Route, transfer: Transfer, file: FileId, generation: u8) -> Self {
        debug_assert!(usize::from(generation) < GENERATIONS || generation == ON_SHELF);
        let sums = if transfer.is_netascii() { None } else { SumTable::of(transfer.blksize()) };
        let sums = sums.map_or(0, |table| table.to_bits() + 1);
        Self {
            transfer,
            client_ip: client.ip,
            client_port: client.port,
            client_mac: route.client_mac,
            vlan: route.vlan.unwrap_or(UNTAGGED),
            file,
            local: route.local,
            generation_and_sums: generation | (sums << GENERATION_BITS),
        }
    }

    /// Which of the live catalogue generations its file is of.
    #[must_use]
    #[inline]
    pub const fn generation(&self) -> u8 {
        self.generation_and_sums & GENERATION_MASK
    }

    /// The table that has the sums of its blocks, if they are kept.
    #[must_use]
    #[inline]
    pub const fn sum_table(&self) -> Option<SumTable> {
        SumTable::from_bits((self.generation_and_sums >> GENERATION_BITS).wrapping_sub(1))
    }

    /// Whom it serves.
    #[must_use]
    #[inline]
    pub const fn client(&self) -> Client {
        Client { ip: self.client_ip, port: self.client_port }
    }

    /// Where its frames go.
    #[must_use]
    #[inline]
    pub fn route(&self) -> Route {
        let vlan = (self.vlan != UNTAGGED).then_some(self.vlan);
        Route { client_mac: self.client_mac, vlan, local: self.local }
    }

    /// The link address that its frames go to.
    #[must_use]
    #[inline]
    pub const fn client_mac(&self) -> MacAddr {
        MacAddr(self.client_mac)
    }

    /// The tag of its frames.
    #[must_use]
    #[inline]
    pub fn vlan(&self) -> Option<VlanTag> {
        (self.vlan != UNTAGGED).then_some(VlanTag(self.vlan))
    }

    /// The number of our address that it is served from.
    #[must_use]
    #[inline]
    pub const fn local(&self) -> u8 {
        self.local
    }

    /// Whether nobody is served here. The line keeps its last client.
    #[inline]
    const fn is_vacant(&self) -> bool {
        self.transfer.is_vacant()
    }

    fn vacate(&mut self) {
        self.transfer = Transfer::zeroed();
    }
}
