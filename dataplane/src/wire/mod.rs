//! Bytes of a frame to checked values and back: Ethernet, ARP, IPv4, IPv6, ICMP, neighbour discovery, UDP. Never allocates, never
//! panics on what came from the wire, knows no port, no clock and no state.
//!
//! Every protocol has a parser that checks all lengths once, after which nothing can fail, and a value that it emits; parsing
//! what was emitted gives the value back. [`parse`] does the whole way of a received frame. Its result borrows nothing: payloads
//! are [`Span`]s of the frame, so the caller may write the reply over the headers.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmpv4;
pub mod icmpv6;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod ndp;
pub mod quick;
pub mod udp;

use core::net::{Ipv4Addr, Ipv6Addr};
use core::ops::Range;

use thiserror::Error;

pub use checksum::Sum;
pub use ethernet::{EtherType, MacAddr, VlanTag};
pub use ip::{Addresses, Check, Protocol};
pub use quick::ShortDatagram;
pub use udp::Flow;

use arp::ArpError;
use ethernet::EthernetError;
use icmpv4::Icmpv4Error;
use icmpv6::Icmpv6Error;
use ipv4::Ipv4Error;
use ipv6::Ipv6Error;
use udp::UdpError;

/// The buffer to emit into has less bytes than the value takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the buffer is shorter than what is emitted")]
pub struct BufferTooShort;

/// What was to be answered in place is not an echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the message is not an echo request")]
pub struct NotEchoRequest;

/// Which checksums of a received frame are computed here. ICMP's always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// The IPv4 header's.
    pub ip: Check,
    /// UDP's. One that is missing is found either way.
    pub udp: Check,
}

impl Checks {
    /// The port checked nothing.
    pub const VERIFY: Self = Self { ip: Check::Verify, udp: Check::Verify };

    /// The port checked both.
    pub const TRUST: Self = Self { ip: Check::Trust, udp: Check::Trust };
}

/// Some bytes of a frame, as offsets from the frame's begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u16,
    end: u16,
}

impl Span {
    /// The offsets, fit to index the frame that was parsed.
    #[inline]
    #[must_use]
    pub fn range(self) -> Range<usize> {
        usize::from(self.start)..usize::from(self.end)
    }

    /// First byte.
    #[inline]
    #[must_use]
    pub const fn start(self) -> u16 {
        self.start
    }

    /// Number of bytes.
    #[inline]
    #[must_use]
    pub const fn len(self) -> u16 {
        self.end - self.start
    }

    /// Whether there are none.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// `part`, which begins `start` bytes into a frame of at most 65535 bytes.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "`parse` refuses frames of more than 65535 bytes")]
    fn of(start: usize, part: &[u8]) -> Self {
        Self { start: start as u16, end: (start + part.len()) as u16 }
    }
}

/// A received frame, checked and told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Its link header.
    pub link: ethernet::Header,
    /// What it carries.
    pub packet: Packet,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A UDP datagram over IPv4 or IPv6.
    Udp {
        /// Addresses and ports.
        flow: Flow,
        /// What follows the UDP header.
        payload: Span,
    },
    /// An ARP packet.
    Arp(arp::Packet),
    /// An ICMP message.
    Icmpv4 {
        /// Sender.
        src: Ipv4Addr,
        /// Receiver.
        dst: Ipv4Addr,
        /// What it says.
        message: icmpv4::Message,
        /// The whole message, from its type on. IP options may stand before it.
        span: Span,
    },
    /// An ICMPv6 message.
    Icmpv6 {
        /// Sender.
        src: Ipv6Addr,
        /// Receiver.
        dst: Ipv6Addr,
        /// What it says.
        message: icmpv6::Message,
        /// The whole message, from its type on. Extension headers may stand before it.
        span: Span,
    },
    /// Another protocol over a well-formed IP header.
    OtherIp(Protocol),
    /// Neither ARP nor IP.
    OtherEtherType(EtherType),
}

/// Why a received frame is dropped, one cause each; the discriminants count up from 0, fit for an array of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[repr(u8)]
pub enum Malformed {
    /// Ends inside its link header.
    #[error("runt")]
    Runt,
    /// More than 65535 bytes, which no mbuf holds in one segment.
    #[error("oversized")]
    Oversized,
    /// More than one VLAN tag, or a service tag.
    #[error("double tag")]
    DoubleTag,
    /// The reserved VLAN 4095.
    #[error("reserved VLAN")]
    ReservedVlan,
    /// Sent from a group address.
    #[error("group source")]
    GroupSource,
    /// ARP: short, not IPv4 over Ethernet, or neither request nor reply.
    #[error("malformed ARP")]
    ArpMalformed,
    /// IPv4: version field.
    #[error("IPv4 version")]
    Ipv4Version,
    /// IPv4: header shorter than 20 bytes.
    #[error("IPv4 header length")]
    Ipv4HeaderLength,
    /// IPv4: total length beyond the frame or shorter than the header.
    #[error("IPv4 total length")]
    Ipv4TotalLength,
    /// IPv4: header checksum.
    #[error("IPv4 checksum")]
    Ipv4Checksum,
    /// IPv6: version field.
    #[error("IPv6 version")]
    Ipv6Version,
    /// IPv6: header shorter than 40 bytes.
    #[error("IPv6 header length")]
    Ipv6HeaderLength,
    /// IPv6: payload length beyond the frame.
    #[error("IPv6 payload length")]
    Ipv6PayloadLength,
    /// IPv6: malformed, misplaced or too many extension headers, or an option that must be understood.
    #[error("IPv6 extension headers")]
    Ipv6Extension,
    /// A fragment, IPv4 or IPv6.
    #[error("fragment")]
    Fragment,
    /// UDP: length shorter than its header or longer than the IP payload.
    #[error("UDP length")]
    UdpLength,
    /// UDP: checksum.
    #[error("UDP checksum")]
    UdpChecksum,
    /// UDP over IPv6: no checksum.
    #[error("UDP checksum missing")]
    UdpChecksumMissing,
    /// ICMP or ICMPv6: too short.
    #[error("malformed ICMP")]
    IcmpMalformed,
    /// ICMP or ICMPv6: checksum.
    #[error("ICMP checksum")]
    IcmpChecksum,
    /// Neighbour discovery: breaks a rule of RFC 4861 §7.1.
    #[error("malformed neighbour discovery")]
    NdpMalformed,
}

impl Malformed {
    /// Number of causes.
    pub const COUNT: usize = Self::ALL.len();

    /// Every cause, in the order of the discriminants.
    pub const ALL: [Self; 21] = [
        Self::Runt,
        Self::Oversized,
        Self::DoubleTag,
        Self::ReservedVlan,
        Self::GroupSource,
        Self::ArpMalformed,
        Self::Ipv4Version,
        Self::Ipv4HeaderLength,
        Self::Ipv4TotalLength,
        Self::Ipv4Checksum,
        Self::Ipv6Version,
        Self::Ipv6HeaderLength,
        Self::Ipv6PayloadLength,
        Self::Ipv6Extension,
        Self::Fragment,
        Self::UdpLength,
        Self::UdpChecksum,
        Self::UdpChecksumMissing,
        Self::IcmpMalformed,
        Self::IcmpChecksum,
        Self::NdpMalformed,
    ];
}

impl From<EthernetError> for Malformed {
    #[inline]
    fn from(error: EthernetError) -> Self {
        match error {
            EthernetError::Runt => Self::Runt,
            EthernetError::DoubleTag => Self::DoubleTag,
            EthernetError::ReservedVlan => Self::ReservedVlan,
            EthernetError::GroupSource => Self::GroupSource,
        }
    }
}

impl From<ArpError> for Malformed {
    #[inline]
    fn from(_: ArpError) -> Self {
        Self::ArpMalformed
    }
}

impl From<Ipv4Error> for Malformed {
    #[inline]
    fn from(error: Ipv4Error) -> Self {
        match error {
            Ipv4Error::Version => Self::Ipv4Version,
            Ipv4Error::HeaderLength => Self::Ipv4HeaderLength,
            Ipv4Error::TotalLength => Self::Ipv4TotalLength,
            Ipv4Error::Checksum => Self::Ipv4Checksum,
            Ipv4Error::Fragment => Self::Fragment,
        }
    }
}

impl From<Ipv6Error> for Malformed {
    #[inline]
    fn from(error: Ipv6Error) -> Self {
        match error {
            Ipv6Error::Version => Self::Ipv6Version,
            Ipv6Error::HeaderLength => Self::Ipv6HeaderLength,
            Ipv6Error::PayloadLength => Self::Ipv6PayloadLength,
            Ipv6Error::Extension => Self::Ipv6Extension,
            Ipv6Error::Fragment => Self::Fragment,
        }
    }
}

impl From<UdpError> for Malformed {
    #[inline]
    fn from(error: UdpError) -> Self {
        match error {
            UdpError::Length => Self::UdpLength,
            UdpError::Checksum => Self::UdpChecksum,
            UdpError::ChecksumMissing => Self::UdpChecksumMissing,
        }
    }
}

impl From<Icmpv4Error> for Malformed {
    fn from(error: Icmpv4Error) -> Self {
        match error {
            Icmpv4Error::Truncated => Self::IcmpMalformed,
            Icmpv4Error::Checksum => Self::IcmpChecksum,
        }
    }
}

impl From<Icmpv6Error> for Malformed {
    fn from(error: Icmpv6Error) -> Self {
        match error {
            Icmpv6Error::Truncated => Self::IcmpMalformed,
            Icmpv6Error::Checksum => Self::IcmpChecksum,
            Icmpv6Error::Ndp(_) => Self::NdpMalformed,
        }
    }
}

/// Checks a received frame (from the destination MAC on, without FCS) and tells what it carries.
///
/// # Errors
/// [`Malformed`], by cause; the first that is met on the way from the link header inwards.
#[inline]
pub fn parse(frame: &[u8], checks: Checks) -> Result<Parsed, Malformed> {
    if frame.len() > usize::from(u16::MAX) {
        return Err(Malformed::Oversized);
    }
    let link = ethernet::Header::parse(frame)?;
    let link_len = link.header_len();
    // The header was read, so its bytes are there.
    let inner = frame.get(link_len..).unwrap_or_default();
    match link.ether_type {
        EtherType::IPV4 => parse_ipv4(link, inner, checks),
        EtherType::IPV6 => parse_ipv6(link, inner, checks),
        EtherType::ARP => Ok(Parsed { link, packet: Packet::Arp(arp::Packet::parse(inner)?) }),
        other => Ok(Parsed { link, packet: Packet::OtherEtherType(other) }),
    }
}

// The way of a UDP datagram over IPv4 is one straight line, and its result is built once, at the end: each hand-over of a half
// built one through memory would cost as much as the parsing. What is rarer stays out of that line.
#[inline(always)]
fn parse_ipv4(link: ethernet::Header, bytes: &[u8], checks: Checks) -> Result<Parsed, Malformed> {
    let ip = ipv4::Packet::parse(bytes, checks.ip)?;
    let start = link.header_len() + usize::from(ip.header_len());
    match ip.protocol() {
        Protocol::UDP => parse_udp(link, start, ip.payload(), ip.addresses(), checks.udp),
        Protocol::ICMP => parse_icmpv4(link, start, &ip),
        other => Ok(Parsed { link, packet: Packet::OtherIp(other) }),
    }
}

#[inline(never)]
fn parse_icmpv4(link: ethernet::Header, start: usize, ip: &ipv4::Packet<'_>) -> Result<Parsed, Malformed> {
    let message = icmpv4::Message::parse(ip.payload())?;
    let packet = Packet::Icmpv4 { src: ip.src(), dst: ip.dst(), message, span: Span::of(start, ip.payload()) };
    Ok(Parsed { link, packet })
}

#[inline(never)]
fn parse_ipv6(link: ethernet::Header, bytes: &[u8], checks: Checks) -> Result<Parsed, Malformed> {
    let ip = ipv6::Packet::parse(bytes)?;
    let start = link.header_len() + usize::from(ip.header_len());
    match ip.next_header() {
        Protocol::UDP => parse_udp(link, start, ip.payload(), ip.addresses(), checks.udp),
        Protocol::ICMPV6 => {
            let message = icmpv6::Message::parse(&ip)?;
            let packet = Packet::Icmpv6 { src: ip.src(), dst: ip.dst(), message, span: Span::of(start, ip.payload()) };
            Ok(Parsed { link, packet })
        }
        other => Ok(Parsed { link, packet: Packet::OtherIp(other) }),
    }
}

#[inline(always)]
fn parse_udp(
    link: ethernet::Header,
    start: usize,
    ip_payload: &[u8],
    addresses: Addresses,
    checksum: Check,
) -> Result<Parsed, Malformed> {
    let udp = udp::Datagram::parse(ip_payload, &addresses, checksum)?;
    let flow = Flow { addresses, src_port: udp.src_port(), dst_port: udp.dst_port() };
    let payload = Span::of(start + udp::HEADER_LEN, udp.payload());
    Ok(Parsed { link, packet: Packet::Udp { flow, payload } })
}

/// The `N` bytes at offset `AT` of a header whose length is known; wrong offsets do not compile.
#[inline]
fn field<const AT: usize, const N: usize, const L: usize>(header: &[u8; L]) -> [u8; N] {
    const { assert!(AT + N <= L) };
    let mut bytes = [0; N];
    bytes.copy_from_slice(&header[AT..AT + N]);
    bytes
}
