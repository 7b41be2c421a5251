//! Ethernet II headers with at most one 802.1Q tag. Never follows a second tag.

use core::fmt;
use core::str::FromStr;

use thiserror::Error;

use super::{BufferTooShort, field};

/// A MAC address in transmission order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether it names one station: the I/G bit is clear (IEEE 802-2014 §8.2.2).
    #[inline]
    #[must_use]
    pub const fn is_unicast(self) -> bool {
        !self.is_multicast()
    }

    /// Whether it names a group, broadcast included: the I/G bit is set (IEEE 802-2014 §8.2.2).
    #[inline]
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether it names every station.
    #[inline]
    #[must_use]
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The text is not six pairs of hexadecimal digits with colons between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a MAC address is six pairs of hexadecimal digits separated by colons")]
pub struct MacAddrError;

impl FromStr for MacAddr {
    type Err = MacAddrError;

    fn from_str(text: &str) -> Result<Self, MacAddrError> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().ok_or(MacAddrError)?;
            // `from_str_radix` alone would take "+1" and "1".
            if part.len() != 2 || part.starts_with('+') {
                return Err(MacAddrError);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| MacAddrError)?;
        }
        if parts.next().is_some() { Err(MacAddrError) } else { Ok(Self(octets)) }
    }
}

/// What a frame carries (IANA "Ethernet numbers"); below 0x0600 it is an 802.3 length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4 (RFC 894).
    pub const IPV4: Self = Self(0x0800);
    /// ARP (RFC 826).
    pub const ARP: Self = Self(0x0806);
    /// An 802.1Q tag.
    pub const VLAN: Self = Self(0x8100);
    /// IPv6 (RFC 2464 §3).
    pub const IPV6: Self = Self(0x86dd);
    /// An 802.1ad service tag.
    pub const SERVICE_VLAN: Self = Self(0x88a8);
}

/// An 802.1Q tag's control information, kept whole so that a reply carries the same VLAN and priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VlanTag(pub u16);

impl VlanTag {
    /// The VLAN that is no VLAN (IEEE 802.1Q table 9-2).
    const RESERVED_ID: u16 = 0x0FFF;

    /// The VLAN, 0..=4095; 0 means that the tag carries only a priority (IEEE 802.1Q-2018 table 9-2).
    #[inline]
    #[must_use]
    pub const fn id(self) -> u16 {
        self.0 & 0x0fff
    }

    /// The priority code point, 0..=7.
    #[inline]
    #[must_use]
    pub const fn priority(self) -> u16 {
        self.0 >> 13
    }
}

/// Why a link header is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EthernetError {
    /// The frame ends inside its header or tag.
    #[error("the frame is shorter than its link header")]
    Runt,
    /// A second tag, or a service tag outside.
    #[error("the frame carries more than one 802.1Q tag, or a service tag")]
    DoubleTag,
    /// VLAN 4095, which no frame carries (IEEE 802.1Q table 9-2).
    #[error("the frame is tagged with the reserved VLAN 4095")]
    ReservedVlan,
    /// The sender's address is a group address, which no station has; an answer to it would reach many.
    #[error("the frame's source is a group address")]
    GroupSource,
}

/// A link header, both as parsed and as emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Receiver.
    pub dst: MacAddr,
    /// Sender.
    pub src: MacAddr,
    /// The tag, if there is one.
    pub vlan: Option<VlanTag>,
    /// What follows the header; never a tag's.
    pub ether_type: EtherType,
}

impl Header {
    /// Bytes of a header without a tag.
    pub const LEN: usize = 14;

    /// Bytes of a header with a tag.
    pub const TAGGED_LEN: usize = 18;

    /// Reads the header of a frame (without its FCS).
    ///
    /// # Errors
    /// [`EthernetError`], by cause.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<Self, EthernetError> {
        let Some(fixed) = frame.first_chunk::<{ Self::LEN }>() else {
            return Err(EthernetError::Runt);
        };
        let header = Self {
            dst: MacAddr(field::<0, _, _>(fixed)),
            src: MacAddr(field::<6, _, _>(fixed)),
            vlan: None,
            ether_type: EtherType(u16::from_be_bytes(field::<12, _, _>(fixed))),
        };
        if header.src.is_multicast() {
            return Err(EthernetError::GroupSource);
        }
        match header.ether_type {
            EtherType::VLAN => header.parse_tag(frame),
            EtherType::SERVICE_VLAN => Err(EthernetError::DoubleTag),
            _ => Ok(header),
        }
    }

    #[inline]
    fn parse_tag(self, frame: &[u8]) -> Result<Self, EthernetError> {
        let Some(tagged) = frame.first_chunk::<{ Self::TAGGED_LEN }>() else {
            return Err(EthernetError::Runt);
        };
        let vlan = VlanTag(u16::from_be_bytes(field::<14, _, _>(tagged)));
        if vlan.id() == VlanTag::RESERVED_ID {
            return Err(EthernetError::ReservedVlan);
        }
        match EtherType(u16::from_be_bytes(field::<16, _, _>(tagged))) {
            EtherType::VLAN | EtherType::SERVICE_VLAN => Err(EthernetError::DoubleTag),
            ether_type => Ok(Self { vlan: Some(vlan), ether_type, ..self }),
        }
    }

    /// Bytes that the header takes: 14 or 18.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        if self.vlan.is_some() { Self::TAGGED_LEN } else { Self::LEN }
    }

    /// What the header turns into when its frame is answered: back to the sender, from `own`, with the same tag.
    #[inline]
    #[must_use]
    pub const fn reply(&self, own: MacAddr) -> Self {
        Self { dst: self.src, src: own, vlan: self.vlan, ether_type: self.ether_type }
    }

    /// Writes the header to the front of `out`.
    ///
    /// # Errors
    /// [`BufferTooShort`] when `out` has less than [`header_len`](Self::header_len) bytes.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> Result<(), BufferTooShort> {
        let [d0, d1, d2, d3, d4, d5] = self.dst.0;
        let [s0, s1, s2, s3, s4, s5] = self.src.0;
        let [e0, e1] = self.ether_type.0.to_be_bytes();
        if let Some(vlan) = self.vlan {
            let [p0, p1] = EtherType::VLAN.0.to_be_bytes();
            let [t0, t1] = vlan.0.to_be_bytes();
            let out = out.first_chunk_mut::<{ Self::TAGGED_LEN }>().ok_or(BufferTooShort)?;
            *out = [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, p0, p1, t0, t1, e0, e1];
        } else {
            let out = out.first_chunk_mut::<{ Self::LEN }>().ok_or(BufferTooShort)?;
            *out = [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, e0, e1];
        }
        Ok(())
    }
}
