//! IPv6 headers (RFC 8200). Skips a bounded number of option headers, never reassembles fragments and never makes them.

use core::net::Ipv6Addr;

use thiserror::Error;

use super::ip::{Addresses, Protocol};
use super::{BufferTooShort, MacAddr, field};

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 40;

/// Hop limit of what we send, except for neighbour discovery.
pub const HOP_LIMIT: u8 = 64;

/// Option headers that are skipped in one packet: hop-by-hop once and destination options twice is all that RFC 8200 §4.1 foresees.
pub const MAX_EXTENSIONS: usize = 3;

/// Why an IPv6 packet is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Ipv6Error {
    /// Less than 40 bytes.
    #[error("the IPv6 header is shorter than 40 bytes")]
    HeaderLength,
    /// Version field other than 6.
    #[error("the version field of an IPv6 packet is not 6")]
    Version,
    /// Payload length beyond the frame.
    #[error("the IPv6 payload length exceeds the frame")]
    PayloadLength,
    /// A fragment header, even one that says that nothing was cut (RFC 6946).
    #[error("the IPv6 packet is a fragment")]
    Fragment,
    /// An option header that does not fit, stands in the wrong place, is one too many, or has an option that does not fit or
    /// that asks to be understood.
    #[error("the IPv6 extension headers are malformed or too many")]
    Extension,
}

/// A checked IPv6 packet, whole and unfragmented.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    fixed: &'a [u8; HEADER_LEN],
    next_header: Protocol,
    extensions_len: u16,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks a packet that begins at `bytes`; what lies behind its payload length (Ethernet padding) is cut off.
    ///
    /// # Errors
    /// [`Ipv6Error`], by cause, in the order of its variants.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Ipv6Error> {
        let Some((fixed, behind)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(Ipv6Error::HeaderLength);
        };
        if fixed[0] >> 4 != 6 {
            return Err(Ipv6Error::Version);
        }
        // A length of 0 is an empty payload: the jumbo payload option (RFC 2675) is not understood.
        let payload_len = u16::from_be_bytes(field::<4, _, _>(fixed));
        let Some(payload) = behind.get(..usize::from(payload_len)) else {
            return Err(Ipv6Error::PayloadLength);
        };
        let next_header = Protocol(fixed[6]);
        match next_header {
            Protocol::HOP_BY_HOP | Protocol::DESTINATION_OPTIONS | Protocol::FRAGMENT => {
                let (next_header, extensions_len, payload) = skip_extensions(next_header, payload)?;
                Ok(Self { fixed, next_header, extensions_len, payload })
            }
            _ => Ok(Self { fixed, next_header, extensions_len: 0, payload }),
        }
    }

    /// Sender.
    #[inline]
    #[must_use]
    pub fn src(&self) -> Ipv6Addr {
        Ipv6Addr::from_octets(field::<8, _, _>(self.fixed))
    }

    /// Receiver.
    #[inline]
    #[must_use]
    pub fn dst(&self) -> Ipv6Addr {
        Ipv6Addr::from_octets(field::<24, _, _>(self.fixed))
    }

    /// Both addresses.
    #[inline]
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        Addresses::V6 { src: self.src(), dst: self.dst() }
    }

    /// Hop limit.
    #[inline]
    #[must_use]
    pub fn hop_limit(&self) -> u8 {
        self.fixed[7]
    }

    /// What the payload is; an extension header that is not skipped (routing, authentication) shows here.
    #[inline]
    #[must_use]
    pub fn next_header(&self) -> Protocol {
        self.next_header
    }

    /// Bytes of the fixed header and the skipped extension headers.
    #[inline]
    #[must_use]
    pub fn header_len(&self) -> u16 {
        // The extensions lie in a payload whose length is 16 bits wide, so only a frame of more than 64 KiB could saturate.
        self.extensions_len.saturating_add(40)
    }

    /// What follows the skipped headers, up to the payload length.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Walks over option headers; gives what follows them and the bytes that they take.
#[cold]
fn skip_extensions(first: Protocol, payload: &[u8]) -> Result<(Protocol, u16, &[u8]), Ipv6Error> {
    let mut next_header = first;
    let mut rest = payload;
    let mut skipped = 0;
    for position in 0..=MAX_EXTENSIONS {
        match next_header {
            Protocol::FRAGMENT => return Err(Ipv6Error::Fragment),
            // RFC 8200 §4.1: hop-by-hop options stand only directly behind the fixed header.
            Protocol::HOP_BY_HOP if position > 0 => return Err(Ipv6Error::Extension),
            Protocol::HOP_BY_HOP | Protocol::DESTINATION_OPTIONS if position < MAX_EXTENSIONS => {}
            Protocol::DESTINATION_OPTIONS => return Err(Ipv6Error::Extension),
            _ => break,
        }
        // RFC 8200 §4.3: the length counts 8-byte units without the first.
        let &[following, units, ..] = rest else {
            return Err(Ipv6Error::Extension);
        };
        let len = (u16::from(units) + 1) * 8;
        let Some((header, behind)) = rest.split_at_checked(usize::from(len)) else {
            return Err(Ipv6Error::Extension);
        };
        check_options(&header[2..])?;
        next_header = Protocol(following);
        rest = behind;
        skipped += len;
    }
    Ok((next_header, skipped, rest))
}

/// RFC 8200 §4.2: an unknown option is skipped only if the two highest bits of its type are 00; else the packet is discarded.
/// Beyond padding we know none.
fn check_options(mut options: &[u8]) -> Result<(), Ipv6Error> {
    loop {
        match *options {
            [] => return Ok(()),
            // Pad1 has no length.
            [0, ref rest @ ..] => options = rest,
            [kind, len, ref rest @ ..] if kind < 0x40 => {
                options = rest.get(usize::from(len)..).ok_or(Ipv6Error::Extension)?;
            }
            _ => return Err(Ipv6Error::Extension),
        }
    }
}

/// A header to send: no extensions, traffic class and flow label 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Sender.
    pub src: Ipv6Addr,
    /// Receiver.
    pub dst: Ipv6Addr,
    /// What the payload is.
    pub next_header: Protocol,
    /// Bytes behind the header.
    pub payload_len: u16,
    /// [`HOP_LIMIT`], or [`ndp::HOP_LIMIT`](super::ndp::HOP_LIMIT) for neighbour discovery.
    pub hop_limit: u8,
}

impl Repr {
    /// Bytes of an emitted header.
    pub const LEN: usize = HEADER_LEN;

    /// Writes the header to the front of `out`.
    ///
    /// # Errors
    /// [`BufferTooShort`] when `out` has less than [`LEN`](Self::LEN) bytes.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> Result<(), BufferTooShort> {
        let out = out.first_chunk_mut::<HEADER_LEN>().ok_or(BufferTooShort)?;
        let [l0, l1] = self.payload_len.to_be_bytes();
        out[..8].copy_from_slice(&[0x60, 0, 0, 0, l0, l1, self.next_header.0, self.hop_limit]);
        out[8..24].copy_from_slice(&self.src.octets());
        out[24..].copy_from_slice(&self.dst.octets());
        Ok(())
    }
}

/// The link-local address that a port forms from its MAC: `fe80::/64` and the modified EUI-64 (RFC 4291 appendix A, RFC 2464 §5).
#[must_use]
pub const fn link_local_from_mac(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from_octets([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 0x02, b, c, 0xff, 0xfe, d, e, f])
}

/// The group in which the holder of `address` is asked for: `ff02::1:ff00:0/104` and its last 24 bits (RFC 4291 §2.7.1).
#[inline]
#[must_use]
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from_octets([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// The MAC of an IPv6 group: `33:33` and the last 32 bits (RFC 2464 §7).
#[inline]
#[must_use]
pub const fn multicast_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}
