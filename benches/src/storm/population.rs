//! Who the clients are: client *n* has the *n*-th address from the first, a MAC of its own and a UDP port of its own for each
//! transfer. Everything is computed from its number; nothing is looked up.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use dataplane::wire::{Addresses, MacAddr};
use thiserror::Error;

/// Most clients in a run.
pub(crate) const MAX_CLIENTS: u32 = 1_000_000;

/// A client by its number, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientId(u32);

impl ClientId {
    /// The client of that number.
    pub(crate) const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Its number.
    pub(crate) const fn number(self) -> u32 {
        self.0
    }

    /// Its place in an array of clients.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where the clients' addresses begin: an address, or an address with a prefix length that they must not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct First {
    address: IpAddr,
    prefix_len: Option<u8>,
}

/// Why there are no such clients.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum PopulationError {
    /// Not an address, or not a prefix length.
    #[error("`{0}` is neither an address nor a CIDR: write it as 10.99.1.1 or 10.99.0.0/16")]
    Text(String),
    /// IPv4 here, IPv6 there.
    #[error("the server ({server}) and the clients ({first}) are not of one address family")]
    Family {
        /// The server's address.
        server: IpAddr,
        /// The first client's.
        first: IpAddr,
    },
    /// Beyond the prefix, or beyond the end of all addresses.
    #[error("{clients} clients from {first} on are more than the prefix has room for")]
    Room {
        /// How many were asked for.
        clients: u32,
        /// The first one.
        first: IpAddr,
    },
    /// One of the clients would be the server.
    #[error("the server ({server}) is among the clients {first} to {last}: begin elsewhere (--clients-from)")]
    Server {
        /// The server's address.
        server: IpAddr,
        /// The first client's.
        first: IpAddr,
        /// The last client's.
        last: IpAddr,
    },
}

impl FromStr for First {
    type Err = PopulationError;

    fn from_str(text: &str) -> Result<Self, PopulationError> {
        let wrong = || PopulationError::Text(text.to_owned());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix_len = match prefix {
            None => None,
            Some(prefix) => Some(prefix.parse().ok().filter(|len| *len <= longest).ok_or_else(wrong)?),
        };
        if address.is_multicast() || address.is_unspecified() {
            return Err(wrong());
        }
        Ok(Self { address, prefix_len })
    }
}

impl fmt::Display for First {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix_len {
            Some(len) => write!(f, "{}/{len}", self.address),
            None => write!(f, "{}", self.address),
        }
    }
}

/// The clients of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Population {
    /// The first client's address as a number.
    base: u128,
    clients: u32,
    server: IpAddr,
    /// The one MAC that all clients have, where they have none of their own.
    shared_mac: Option<MacAddr>,
}

impl Population {
    /// That many clients of one server.
    ///
    /// # Errors
    /// [`PopulationError`], by cause.
    pub(crate) fn new(first: First, clients: u32, server: IpAddr) -> Result<Self, PopulationError> {
        let address = first.address;
        if address.is_ipv4() != server.is_ipv4() {
            return Err(PopulationError::Family { server, first: address });
        }
        let (width, mut base) = (if address.is_ipv4() { 32 } else { 128 }, number(address));
        let host_bits = first.prefix_len.map_or(width, |len| width - u32::from(len));
        let host_mask = u128::MAX.checked_shr(128 - host_bits).unwrap_or(0);
        let mut end = base | host_mask;
        if first.prefix_len.is_some() && host_bits >= 2 {
            // A network's own address (IPv6: its routers' anycast address) is nobody's, and IPv4's last one is its broadcast.
            base += u128::from(base & host_mask == 0);
            end -= u128::from(address.is_ipv4());
        }
        let room = PopulationError::Room { clients, first: address };
        let last = base.checked_add(u128::from(clients.saturating_sub(1))).filter(|last| *last <= end).ok_or(room)?;
        let population = Self { base, clients, server, shared_mac: None };
        if (base..=last).contains(&number(server)) {
            let [first, last] = [base, last].map(|number| population.to_address(number));
            return Err(PopulationError::Server { server, first, last });
        }
        Ok(population)
    }

    /// The same with one MAC for all.
    pub(crate) fn sharing(self, mac: MacAddr) -> Self {
        Self { shared_mac: Some(mac), ..self }
    }

    /// How many there are.
    pub(crate) fn clients(&self) -> u32 {
        self.clients
    }

    /// Whom they ask.
    pub(crate) fn server(&self) -> IpAddr {
        self.server
    }

    /// Whose address it is.
    #[inline]
    pub(crate) fn find(&self, address: IpAddr) -> Option<ClientId> {
        if address.is_ipv4() != self.server.is_ipv4() {
            return None;
        }
        let offset = number(address).checked_sub(self.base)?;
        u32::try_from(offset).ok().filter(|number| *number < self.clients).map(ClientId)
    }

    /// A client's address.
    pub(crate) fn address(&self, client: ClientId) -> IpAddr {
        self.to_address(self.base + u128::from(client.0))
    }

    /// From a client to the server.
    #[inline]
    pub(crate) fn addresses(&self, client: ClientId) -> Addresses {
        match (self.address(client), self.server) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Addresses::V4 { src, dst },
            (src, dst) => Addresses::V6 { src: to_v6(src), dst: to_v6(dst) },
        }
    }

    /// A client's MAC: locally administered (IEEE 802-2014 §8.2.2), its number in the last four bytes.
    #[inline]
    pub(crate) fn mac(&self, client: ClientId) -> MacAddr {
        let [a, b, c, d] = client.0.to_be_bytes();
        self.shared_mac.unwrap_or(MacAddr([0x02, 0xb5, a, b, c, d]))
    }

    fn to_address(self, number: u128) -> IpAddr {
        if self.server.is_ipv4() {
            // The range was checked to stay within 32 bits.
            Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into()
        } else {
            Ipv6Addr::from_bits(number).into()
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn to_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn population(first: &str, clients: u32, server: &str) -> Result<Population, PopulationError> {
        Population::new(first.parse().unwrap(), clients, server.parse().unwrap())
    }

    #[test]
    fn each_client_is_found_by_its_address() {
        for (first, server) in [("10.99.0.2", "10.99.0.1"), ("fd00::1:0/112", "fd00::1")] {
            let population = population(first, 300, server).unwrap();
            for number in [0, 1, 255, 299] {
                let client = ClientId::new(number);
                assert_eq!(population.find(population.address(client)), Some(client));
                assert_eq!(population.addresses(client).src(), population.address(client));
                assert_eq!(population.addresses(client).dst(), population.server());
            }
            assert_eq!(population.find(population.server()), None);
            assert_eq!(population.find("192.0.2.1".parse().unwrap()), None);
        }
        let one = population("10.99.0.2", 300, "10.99.0.1").unwrap();
        assert_eq!(one.find("10.99.1.45".parse().unwrap()), Some(ClientId::new(299)));
        assert_eq!(one.find("10.99.1.46".parse().unwrap()), None);
    }

    #[test]
    fn a_million_clients_have_a_mac_each() {
        let population = population("10.0.0.0/8", MAX_CLIENTS, "192.0.2.1").unwrap();
        assert_eq!(population.address(ClientId::new(0)).to_string(), "10.0.0.1", "the network's own is left out");
        assert_eq!(population.mac(ClientId::new(0x000f_4241)), MacAddr([0x02, 0xb5, 0, 0x0f, 0x42, 0x41]));
        assert!(population.mac(ClientId::new(999_999)).is_unicast());
        let mac = MacAddr([2, 0, 0, 0, 0, 9]);
        assert_eq!(population.sharing(mac).mac(ClientId::new(7)), mac);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(matches!(population("10.99.1.0/24", 255, "10.99.0.1"), Err(PopulationError::Room { .. })));
        assert!(population("10.99.1.0/24", 254, "10.99.0.1").is_ok());
        assert!(population("10.99.1.1/32", 1, "10.99.0.1").is_ok());
        assert!(matches!(population("255.255.255.255", 2, "10.99.0.1"), Err(PopulationError::Room { .. })));
        assert!(matches!(population("10.99.0.0/24", 200, "10.99.0.100"), Err(PopulationError::Server { .. })));
        assert!(matches!(population("fd00::2", 1, "10.99.0.100"), Err(PopulationError::Family { .. })));
        for text in ["", "10.0.0", "10.0.0.1/33", "10.0.0.1/x", "224.0.0.1", "0.0.0.0", "0.0.0.0/8"] {
            assert!(text.parse::<First>().is_err(), "{text}");
        }
    }
}
