//! What IPv4 and IPv6 have in common: protocol numbers, pairs of addresses, pseudo-headers.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::Sum;

/// A protocol number: IPv4's protocol, IPv6's next header (IANA "protocol numbers").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// IPv6 hop-by-hop options (RFC 8200 §4.3).
    pub const HOP_BY_HOP: Self = Self(0);
    /// ICMP (RFC 792).
    pub const ICMP: Self = Self(1);
    /// TCP (RFC 9293).
    pub const TCP: Self = Self(6);
    /// UDP (RFC 768).
    pub const UDP: Self = Self(17);
    /// IPv6 fragment header (RFC 8200 §4.5).
    pub const FRAGMENT: Self = Self(44);
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: Self = Self(58);
    /// IPv6 destination options (RFC 8200 §4.6).
    pub const DESTINATION_OPTIONS: Self = Self(60);
}

/// Whether a checksum is checked here or was found right by the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Compute it.
    Verify,
    /// The port did.
    Trust,
}

/// Source and destination of one datagram, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Addresses {
    /// IPv4.
    V4 {
        /// Sender.
        src: Ipv4Addr,
        /// Receiver.
        dst: Ipv4Addr,
    },
    /// IPv6.
    V6 {
        /// Sender.
        src: Ipv6Addr,
        /// Receiver.
        dst: Ipv6Addr,
    },
}

impl Addresses {
    /// Sender.
    #[inline]
    #[must_use]
    pub const fn src(&self) -> IpAddr {
        match *self {
            Self::V4 { src, .. } => IpAddr::V4(src),
            Self::V6 { src, .. } => IpAddr::V6(src),
        }
    }

    /// Receiver.
    #[inline]
    #[must_use]
    pub const fn dst(&self) -> IpAddr {
        match *self {
            Self::V4 { dst, .. } => IpAddr::V4(dst),
            Self::V6 { dst, .. } => IpAddr::V6(dst),
        }
    }

    /// The way back.
    #[inline]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        match *self {
            Self::V4 { src, dst } => Self::V4 { src: dst, dst: src },
            Self::V6 { src, dst } => Self::V6 { src: dst, dst: src },
        }
    }

    /// The pseudo-header's sum for `len` bytes (header and payload) of `protocol` (RFC 768 and RFC 8200 §8.1).
    #[inline]
    pub fn pseudo_header(&self, protocol: Protocol, len: u16) -> Sum {
        match self {
            Self::V4 { src, dst } => {
                let protocol_and_len = u32::from(protocol.0) << 16 | u32::from(len);
                Sum::ZERO.add_u32(src.to_bits()).add_u32(dst.to_bits()).add_u32(protocol_and_len)
            }
            Self::V6 { src, dst } => pseudo_header_v6(src, dst, protocol, len),
        }
    }
}

/// The IPv6 pseudo-header's sum for `len` bytes of `protocol` (RFC 8200 §8.1).
#[inline]
pub fn pseudo_header_v6(src: &Ipv6Addr, dst: &Ipv6Addr, protocol: Protocol, len: u16) -> Sum {
    Sum::of(&src.octets()).add_bytes(&dst.octets()).add_u16(len).add_u16(u16::from(protocol.0))
}
