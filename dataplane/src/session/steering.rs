//! On which worker's queue a datagram arrives where a NIC spreads frames by RSS, told from addresses and ports alone. A prediction:
//! one that is wrong costs a hand-over to the worker that was named, never a transfer.
//!
//! RSS is Toeplitz hash → redirection table → queue ("Receive Side Scaling", Windows driver documentation). The hash is linear over
//! XOR, so what a client and one of our addresses contribute is computed once, and each TID that is tried costs four loads.
//!
//! Of a worker's TIDs one in as many as there are workers suits a client, and who knows the key knows which: with *n* workers (a
//! power of two) a stranger has 64,512 / n² TIDs to guess from, on top of the client's own port.

use super::{Client, WorkerIndex};
use crate::port::HashedFields;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use thiserror::Error;

/// Bytes of key that the longest input, an IPv6 flow, reaches.
const KEY_LEN: usize = 40;

/// Half bytes of that input.
const NIBBLES: usize = 2 * (16 + 16 + 2 + 2);

/// Why RSS cannot tell where datagrams arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoSteering {
    /// The key does not reach to the end of an IPv6 flow.
    #[error("its RSS key has {0} bytes, not at least {KEY_LEN}")]
    ShortKey(usize),
    /// The key is all zeros, as one that nobody filled in.
    #[error("its RSS key is blank")]
    BlankKey,
    /// A hash chooses an entry by its low bits.
    #[error("its redirection table has {0} entries, which is no power of two")]
    TableSize(usize),
    /// An entry of the table names nobody.
    #[error("its redirection table leads to worker {}, who does not exist", .0.0)]
    NoSuchWorker(WorkerIndex),
    /// No entry names this worker: it would have nothing to do, where hand-over gives it its share.
    #[error("its redirection table never leads to worker {}", .0.0)]
    Unreached(WorkerIndex),
    /// Neither family is spread.
    #[error("it hashes no IP addresses")]
    NothingHashed,
}

/// What a NIC's RSS does, as its driver tells it.
#[derive(Clone, Debug)]
pub struct Steering {
    toeplitz: Toeplitz,
    /// The redirection table; a power of two of them.
    workers: Box<[WorkerIndex]>,
    ipv4: HashedFields,
    ipv6: HashedFields,
}

impl Steering {
    /// RSS under `key`, with the worker whose queue each entry of the redirection table names, all `count` of whom it reaches.
    ///
    /// # Errors
    /// [`NoSteering`].
    #[cold]
    pub fn new(
        key: &[u8],
        workers: Vec<WorkerIndex>,
        count: u16,
        ipv4: HashedFields,
        ipv6: HashedFields,
    ) -> Result<Self, NoSteering> {
        let key: &[u8; KEY_LEN] = key.first_chunk().ok_or(NoSteering::ShortKey(key.len()))?;
        if key.iter().all(|&byte| byte == 0) {
            return Err(NoSteering::BlankKey);
        }
        if !workers.len().is_power_of_two() || u32::try_from(workers.len()).is_err() {
            return Err(NoSteering::TableSize(workers.len()));
        }
        if let Some(&stranger) = workers.iter().find(|worker| worker.0 >= count) {
            return Err(NoSteering::NoSuchWorker(stranger));
        }
        if let Some(idle) = (0..count).map(WorkerIndex).find(|worker| !workers.contains(worker)) {
            return Err(NoSteering::Unreached(idle));
        }
        if ipv4 == HashedFields::Nothing && ipv6 == HashedFields::Nothing {
            return Err(NoSteering::NothingHashed);
        }
        Ok(Self { toeplitz: Toeplitz::new(key), workers: workers.into(), ipv4, ipv6 })
    }

    /// Where the datagrams of a client to `local`, one of our addresses, arrive; `None` where their family is not hashed.
    #[must_use]
    pub fn arrival(&self, client: &Client, local: IpAddr) -> Option<Arrival<'_>> {
        let (fields, addresses, ports_at) = match local {
            IpAddr::V4(local) => (self.ipv4, self.toeplitz.ipv4(Ipv4Addr::from(client.ipv4_octets()), local), 8),
            IpAddr::V6(local) => (self.ipv6, self.toeplitz.ipv6(Ipv6Addr::from(client.ipv6_octets()), local), 32),
        };
        match fields {
            HashedFields::Nothing => None,
            HashedFields::Addresses => Some(Arrival { steering: self, fixed: addresses, port_at: None }),
            HashedFields::AddressesAndPorts => Some(Arrival {
                steering: self,
                fixed: addresses ^ self.toeplitz.part(ports_at, &client.port().to_be_bytes()),
                port_at: Some(ports_at + 2),
            }),
        }
    }

    /// How IPv4 is spread.
    #[must_use]
    pub const fn ipv4(&self) -> HashedFields {
        self.ipv4
    }

    /// How IPv6 is spread.
    #[must_use]
    pub const fn ipv6(&self) -> HashedFields {
        self.ipv6
    }

    #[expect(clippy::cast_possible_truncation, reason = "new() refuses a table of 2^32 entries")]
    fn worker(&self, hash: u32) -> WorkerIndex {
        let last = self.workers.len() as u32 - 1;
        self.workers[(hash & last) as usize]
    }
}

/// Where the datagrams of one client to one of our addresses arrive, by the port of ours that they go to.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    steering: &'a Steering,
    /// The hash of all but our port.
    fixed: u32,
    /// Where our port stands in the hash's input, if it is part of it.
    port_at: Option<usize>,
}

impl Arrival<'_> {
    /// The worker on whose queue a datagram to this port of ours arrives.
    #[must_use]
    #[inline]
    pub fn at(&self, port: u16) -> WorkerIndex {
        let part = self.port_at.map_or(0, |at| self.steering.toeplitz.part(at, &port.to_be_bytes()));
        self.steering.worker(self.fixed ^ part)
    }
}

/// The hash as tables: what each value of each half byte of the input contributes, 4.5 KiB in all.
#[derive(Clone)]
struct Toeplitz(Box<[[u32; 16]; NIBBLES]>);

impl Toeplitz {
    fn new(key: &[u8; KEY_LEN]) -> Self {
        let mut tables = Box::new([[0; 16]; NIBBLES]);
        for (place, table) in tables.iter_mut().enumerate() {
            for (value, hash) in table.iter_mut().enumerate() {
                // Every bit of the input that is set contributes the 32 bits of the key that begin where it stands.
                *hash = (0..4)
                    .filter(|bit| value & (8 >> bit) != 0)
                    .fold(0, |hash, bit| hash ^ key_bits(key, 4 * place + bit));
            }
        }
        Self(tables)
    }

    /// What `bytes`, which begin at byte `at` of the input, contribute to its hash.
    #[inline]
    fn part(&self, at: usize, bytes: &[u8]) -> u32 {
        self.0[2 * at..].chunks_exact(2).zip(bytes).fold(0, |hash, (tables, byte)| {
            hash ^ tables[0][usize::from(byte >> 4)] ^ tables[1][usize::from(byte & 15)]
        })
    }

    fn ipv4(&self, src: Ipv4Addr, dst: Ipv4Addr) -> u32 {
        self.part(0, &src.octets()) ^ self.part(4, &dst.octets())
    }

    fn ipv6(&self, src: Ipv6Addr, dst: Ipv6Addr) -> u32 {
        self.part(0, &src.octets()) ^ self.part(16, &dst.octets())
    }
}

impl fmt::Debug for Toeplitz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Toeplitz")
    }
}

/// The 32 bits of the key from bit `at` on, at most the last but 32.
fn key_bits(key: &[u8; KEY_LEN], at: usize) -> u32 {
    let bit = |at: usize| u32::from(key[at / 8] >> (7 - at % 8) & 1);
    (at..at + 32).fold(0, |bits, at| bits << 1 | bit(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Key and flows of the "RSS hashing verification suite" (Windows driver documentation).
    const KEY: [u8; KEY_LEN] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca,
        0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b,
        0xbe, 0xac, 0x01, 0xfa,
    ];

    /// An address and its port.
    type End = (&'static str, u16);

    /// Destination, source, hash of the addresses, hash of addresses and ports.
    const FLOWS: [(End, End, u32, u32); 8] = [
        (("161.142.100.80", 1_766), ("66.9.149.187", 2_794), 0x323e_8fc2, 0x51cc_c178),
        (("65.69.140.83", 4_739), ("199.92.111.2", 14_230), 0xd718_262a, 0xc626_b0ea),
        (("12.22.207.184", 38_024), ("24.19.198.95", 12_898), 0xd2d0_a5de, 0x5c2b_394a),
        (("209.142.163.6", 2_217), ("38.27.205.30", 48_228), 0x8298_9176, 0xafc7_327f),
        (("202.188.127.2", 1_303), ("153.39.163.191", 44_251), 0x5d18_09c5, 0x10e8_28a2),
        (("3ffe:2501:200:3::1", 1_766), ("3ffe:2501:200:1fff::7", 2_794), 0x2cc1_8cd5, 0x4020_7d3d),
        (("ff02::1", 4_739), ("3ffe:501:8::260:97ff:fe40:efab", 14_230), 0x0f0c_461c, 0xdde5_1bbf),
        (
            ("fe80::200:f8ff:fe21:67cf", 38_024),
            ("3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44_251),
            0x4b61_e985,
            0x02d1_feef,
        ),
    ];

    /// A table of 2^12 entries with a worker for each, so that every one of a hash's low 12 bits is seen.
    fn steering(key: &[u8], fields: HashedFields) -> Steering {
        Steering::new(key, (0..4_096).map(WorkerIndex).collect(), 4_096, fields, fields).unwrap()
    }

    #[test]
    fn hashes_are_those_of_the_verification_suite() {
        let ports = steering(&KEY, HashedFields::AddressesAndPorts);
        let addresses = steering(&KEY, HashedFields::Addresses);
        for ((dst, dst_port), (src, src_port), of_addresses, of_all) in FLOWS {
            let dst: IpAddr = dst.parse().unwrap();
            let client = Client::new(src.parse().unwrap(), src_port);
            let arrival = ports.arrival(&client, dst).unwrap();
            let hash = arrival.fixed ^ ports.toeplitz.part(arrival.port_at.unwrap(), &dst_port.to_be_bytes());
            assert_eq!(hash, of_all, "{src} to {dst}");
            assert_eq!(u32::from(arrival.at(dst_port).0), of_all & 0xfff);
            let arrival = addresses.arrival(&client, dst).unwrap();
            assert_eq!(arrival.fixed, of_addresses, "{src} to {dst}");
            assert_eq!(arrival.at(dst_port), arrival.at(!dst_port));
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let workers = |of: &[u16]| of.iter().copied().map(WorkerIndex).collect::<Vec<_>>();
        let all = HashedFields::AddressesAndPorts;
        let make = |key: &[u8], of: &[u16], count| Steering::new(key, workers(of), count, all, all).map(|_| ());
        assert_eq!(make(&KEY, &[0, 1], 2), Ok(()));
        assert_eq!(make(&KEY[..39], &[0, 1], 2), Err(NoSteering::ShortKey(39)));
        assert_eq!(make(&[0; 52], &[0, 1], 2), Err(NoSteering::BlankKey));
        assert_eq!(make(&KEY, &[], 2), Err(NoSteering::TableSize(0)));
        assert_eq!(make(&KEY, &[0, 1, 0], 2), Err(NoSteering::TableSize(3)));
        assert_eq!(make(&KEY, &[0, 2], 2), Err(NoSteering::NoSuchWorker(WorkerIndex(2))));
        assert_eq!(make(&KEY, &[0, 1, 0, 0], 3), Err(NoSteering::Unreached(WorkerIndex(2))));
        let nothing = HashedFields::Nothing;
        let made = Steering::new(&KEY, workers(&[0, 1]), 2, nothing, nothing);
        assert_eq!(made.map(|_| ()).unwrap_err(), NoSteering::NothingHashed);
    }

    #[test]
    fn a_family_that_is_not_hashed_arrives_nobody_knows_where() {
        let workers = vec![WorkerIndex(0), WorkerIndex(1)];
        let steering = Steering::new(&KEY, workers, 2, HashedFields::Nothing, HashedFields::Addresses).unwrap();
        let v4: IpAddr = "10.0.0.1".parse().unwrap();
        let v6: IpAddr = "fd00::1".parse().unwrap();
        assert!(steering.arrival(&Client::new("10.0.0.2".parse().unwrap(), 9), v4).is_none());
        assert!(steering.arrival(&Client::new("fd00::2".parse().unwrap(), 9), v6).is_some());
    }

    /// The definition: for every bit that is set, from the left, the 32 leftmost bits of a key that moves left.
    fn by_definition(key: &[u8; KEY_LEN], input: &[u8]) -> u32 {
        let mut hash = 0;
        let mut window = u32::from_be_bytes([key[0], key[1], key[2], key[3]]);
        for (at, byte) in input.iter().enumerate() {
            for bit in 0..8 {
                if byte & (0x80 >> bit) != 0 {
                    hash ^= window;
                }
                let next = key.get(at + 4).map_or(0, |next| next >> (7 - bit) & 1);
                window = window << 1 | u32::from(next);
            }
        }
        hash
    }

    proptest! {
        #[test]
        fn parts_make_the_whole(
            key in proptest::array::uniform32(any::<u8>()),
            more in proptest::array::uniform8(1_u8..),
            src in any::<u128>(),
            dst in any::<u128>(),
            ports in any::<(u16, u16)>(),
        ) {
            let key: [u8; KEY_LEN] = [&key[..], &more[..]].concat().try_into().unwrap();
            let steering = steering(&key, HashedFields::AddressesAndPorts);
            let (src, dst) = (Ipv6Addr::from(src), Ipv6Addr::from(dst));
            let ports_bytes = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
            let input = [&src.octets()[..], &dst.octets(), &ports_bytes].concat();
            let arrival = steering.arrival(&Client::new(src.into(), ports.0), dst.into()).unwrap();
            let hash = by_definition(&key, &input);
            prop_assert_eq!(arrival.fixed ^ steering.toeplitz.part(34, &ports.1.to_be_bytes()), hash);
            prop_assert_eq!(u32::from(arrival.at(ports.1).0), hash & 0xfff);

            let (src, dst) = (Ipv4Addr::from(src.octets()[0..4].try_into().map(u32::from_be_bytes).unwrap()),
                Ipv4Addr::from(dst.octets()[0..4].try_into().map(u32::from_be_bytes).unwrap()));
            let input = [&src.octets()[..], &dst.octets(), &ports_bytes].concat();
            let arrival = steering.arrival(&Client::new(src.into(), ports.0), dst.into()).unwrap();
            prop_assert_eq!(u32::from(arrival.at(ports.1).0), by_definition(&key, &input) & 0xfff);
        }
    }
}
