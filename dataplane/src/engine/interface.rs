//! Our side of a port: MAC, MTU and the addresses that we answer for.

use crate::wire::{MacAddr, ipv6};
use arrayvec::ArrayVec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use thiserror::Error;

/// Most addresses of a port, link-local ones included.
pub const ADDRESSES_MAX: usize = 16;

/// An address with its network's prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    /// The address.
    pub ip: IpAddr,
    /// Bits of the network part, at most 32 or 128.
    pub prefix_len: u8,
}

/// More than [`ADDRESSES_MAX`] addresses on one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("more than {ADDRESSES_MAX} addresses on one port (each port with an IPv6 address also has a link-local one)")]
pub struct TooManyAddresses;

/// What we are on one port.
#[derive(Clone, Debug)]
pub struct Interface {
    mac: MacAddr,
    mtu: u16,
    addresses: ArrayVec<LocalAddress, ADDRESSES_MAX>,
}

impl Interface {
    /// Puts `addresses` on a port. With an IPv6 address it also gets the link-local one of its MAC (RFC 4291 §2.8).
    ///
    /// # Errors
    /// [`TooManyAddresses`].
    pub fn new(mac: MacAddr, mtu: u16, addresses: &[LocalAddress]) -> Result<Self, TooManyAddresses> {
        let mut all = ArrayVec::new();
        let link_local = LocalAddress { ip: IpAddr::V6(ipv6::link_local_from_mac(mac)), prefix_len: 64 };
        let wants_link_local = addresses.iter().any(|address| address.ip.is_ipv6());
        for address in addresses.iter().chain(wants_link_local.then_some(&link_local)) {
            if !all.contains(address) {
                all.try_push(*address).map_err(|_| TooManyAddresses)?;
            }
        }
        Ok(Self { mac, mtu, addresses: all })
    }

    /// The port's MAC address.
    #[must_use]
    pub const fn mac(&self) -> MacAddr {
        self.mac
    }

    /// Bytes of the largest IP packet.
    #[must_use]
    pub const fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Our addresses, in a fixed order.
    #[must_use]
    pub fn addresses(&self) -> &[LocalAddress] {
        &self.addresses
    }

    /// The number of one of our addresses.
    #[inline]
    pub(super) fn find(&self, ip: IpAddr) -> Option<u8> {
        (0..).zip(&self.addresses).find(|(_, address)| address.ip == ip).map(|(number, _)| number)
    }

    /// The address with that number.
    #[inline]
    pub(super) fn address(&self, number: u8) -> IpAddr {
        self.addresses[usize::from(number)].ip
    }

    /// Whether a link destination reaches us: our own MAC or a group's.
    #[inline]
    pub(super) fn accepts(&self, destination: MacAddr) -> bool {
        destination == self.mac || destination.is_multicast()
    }

    /// Largest TFTP block that one frame to an address of this family carries: the MTU less IP, UDP and TFTP headers.
    pub(super) fn blksize(&self, ip: IpAddr) -> u16 {
        self.mtu.saturating_sub(if ip.is_ipv4() { 20 + 8 + 4 } else { 40 + 8 + 4 })
    }

    /// Whether nobody can have sent from this address: unspecified, loopback, group, broadcast of one of our networks, or ours. An
    /// IPv4-mapped IPv6 address is no source (RFC 6890 table 20), and would pass for the IPv4 client that it maps.
    pub(super) fn forbids_source(&self, ip: IpAddr) -> bool {
        let group = match ip {
            IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.is_loopback() || v4.is_multicast() || self.is_broadcast(v4),
            IpAddr::V6(v6) => {
                v6.is_unspecified() || v6.is_loopback() || v6.is_multicast() || v6.to_ipv4_mapped().is_some()
            }
        };
        group || self.find(ip).is_some()
    }

    fn is_broadcast(&self, ip: Ipv4Addr) -> bool {
        ip.is_broadcast()
            || self.addresses.iter().any(|address| match address.ip {
                // Networks of one or two addresses have no broadcast address (RFC 3021).
                IpAddr::V4(own) if address.prefix_len <= 30 => {
                    let host_bits = u32::MAX.checked_shr(u32::from(address.prefix_len)).unwrap_or(0);
                    own.to_bits() | host_bits == ip.to_bits()
                }
                _ => false,
            })
    }

    /// Whether an IPv6 group is one that we belong to by having these addresses: all nodes, or a solicited-node group.
    pub(super) fn is_member(&self, group: Ipv6Addr) -> bool {
        group == crate::wire::ndp::ALL_NODES
            || self.addresses.iter().any(|address| match address.ip {
                IpAddr::V6(own) => ipv6::solicited_node(own) == group,
                IpAddr::V4(_) => false,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn address(text: &str, prefix_len: u8) -> LocalAddress {
        LocalAddress { ip: text.parse().unwrap(), prefix_len }
    }

    #[test]
    fn row14_sources_that_nobody_can_have() {
        let interface = Interface::new(MAC, 1_500, &[address("10.0.0.1", 24), address("fd00::1", 64)]).unwrap();
        for ip in [
            "0.0.0.0",
            "127.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "10.0.0.255",
            "10.0.0.1",
            "::",
            "::1",
            "ff02::1",
            "fd00::1",
            "::ffff:10.0.0.2",
        ] {
            assert!(interface.forbids_source(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["10.0.0.2", "10.0.1.255", "192.168.1.7", "fe80::5", "fd00::2"] {
            assert!(!interface.forbids_source(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn ipv6_brings_a_link_local_address() {
        let interface = Interface::new(MAC, 1_500, &[address("fd00::1", 64)]).unwrap();
        assert!(interface.find("fe80::ff:fe00:1".parse().unwrap()).is_some());
        assert!(interface.is_member("ff02::1:ff00:1".parse().unwrap()));
        let only_ipv4 = Interface::new(MAC, 1_500, &[address("10.0.0.1", 24)]).unwrap();
        assert_eq!(only_ipv4.addresses().len(), 1);
    }

    #[test]
    fn rule_i_blksize_is_what_one_frame_carries() {
        let interface = Interface::new(MAC, 1_500, &[]).unwrap();
        assert_eq!(interface.blksize("10.0.0.1".parse().unwrap()), 1_468);
        assert_eq!(interface.blksize("fd00::1".parse().unwrap()), 1_448);
    }

    #[test]
    fn too_many_addresses_are_refused() {
        let many: Vec<_> = (1..=17).map(|host| address(&format!("10.0.0.{host}"), 24)).collect();
        assert_eq!(Interface::new(MAC, 1_500, &many).unwrap_err(), TooManyAddresses);
    }
}
