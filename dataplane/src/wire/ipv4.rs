//! IPv4 headers (RFC 791). Skips options, never reassembles fragments and never makes them.

use core::net::Ipv4Addr;

use thiserror::Error;

use super::checksum::Sum;
use super::ip::{Addresses, Check, Protocol};
use super::{BufferTooShort, field};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;

/// Time to live of what we send (IANA "IP parameters": the recommended default).
pub const TTL: u8 = 64;

/// "More fragments" and the fragment offset; "don't fragment" and the reserved bit say nothing about what was received.
const FRAGMENT_MASK: u16 = 0x3fff;

/// Why an IPv4 packet is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Ipv4Error {
    /// Version field other than 4.
    #[error("the version field of an IPv4 packet is not 4")]
    Version,
    /// Less than 20 bytes, or IHL < 5.
    #[error("the IPv4 header is shorter than 20 bytes")]
    HeaderLength,
    /// Total length beyond the frame, or shorter than the header.
    #[error("the IPv4 total length does not fit the frame or the header")]
    TotalLength,
    /// Wrong header checksum.
    #[error("the IPv4 header checksum is wrong")]
    Checksum,
    /// A fragment, first or later.
    #[error("the IPv4 packet is a fragment")]
    Fragment,
}

/// A checked IPv4 packet, whole and unfragmented.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    fixed: &'a [u8; HEADER_LEN],
    header_len: u16,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks a packet that begins at `bytes`; what lies behind its total length (Ethernet padding) is cut off.
    ///
    /// # Errors
    /// [`Ipv4Error`], by cause, in the order of its variants.
    #[inline]
    pub fn parse(bytes: &'a [u8], checksum: Check) -> Result<Self, Ipv4Error> {
        let Some(fixed) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(Ipv4Error::HeaderLength);
        };
        if fixed[0] >> 4 != 4 {
            return Err(Ipv4Error::Version);
        }
        let header_len = u16::from(fixed[0] & 0x0f) * 4;
        if header_len < 20 {
            return Err(Ipv4Error::HeaderLength);
        }
        let total_len = u16::from_be_bytes(field::<2, _, _>(fixed));
        let Some(packet) = bytes.get(..usize::from(total_len)) else {
            return Err(Ipv4Error::TotalLength);
        };
        let Some((header, payload)) = packet.split_at_checked(usize::from(header_len)) else {
            return Err(Ipv4Error::TotalLength);
        };
        if checksum == Check::Verify {
            // A known length makes the usual sum five additions.
            let sum = if header_len == 20 { Sum::of(fixed) } else { Sum::of(header) };
            if !sum.is_valid() {
                return Err(Ipv4Error::Checksum);
            }
        }
        if u16::from_be_bytes(field::<6, _, _>(fixed)) & FRAGMENT_MASK != 0 {
            return Err(Ipv4Error::Fragment);
        }
        Ok(Self { fixed, header_len, payload })
    }

    /// Sender.
    #[inline]
    #[must_use]
    pub fn src(&self) -> Ipv4Addr {
        Ipv4Addr::from_octets(field::<12, _, _>(self.fixed))
    }

    /// Receiver.
    #[inline]
    #[must_use]
    pub fn dst(&self) -> Ipv4Addr {
        Ipv4Addr::from_octets(field::<16, _, _>(self.fixed))
    }

    /// Both addresses.
    #[inline]
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        Addresses::V4 { src: self.src(), dst: self.dst() }
    }

    /// What the payload is.
    #[inline]
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        Protocol(self.fixed[9])
    }

    /// Bytes of the header with its options, 20..=60.
    #[inline]
    #[must_use]
    pub fn header_len(&self) -> u16 {
        self.header_len
    }

    /// What follows header and options, up to the total length.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// A header to send: no options, "don't fragment" set, hence identification 0 (RFC 6864 §4.1), time to live [`TTL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Sender.
    pub src: Ipv4Addr,
    /// Receiver.
    pub dst: Ipv4Addr,
    /// What the payload is.
    pub protocol: Protocol,
    /// Bytes behind the header, at most [`MAX_PAYLOAD_LEN`](Self::MAX_PAYLOAD_LEN).
    pub payload_len: u16,
}

impl Repr {
    /// Bytes of an emitted header.
    pub const LEN: usize = HEADER_LEN;

    /// What the total length leaves for the payload.
    pub const MAX_PAYLOAD_LEN: u16 = u16::MAX - 20;

    /// Writes the header with its checksum to the front of `out`.
    ///
    /// # Errors
    /// [`BufferTooShort`] when `out` has less than [`LEN`](Self::LEN) bytes.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> Result<(), BufferTooShort> {
        let out = self.emit_fields(out)?;
        let checksum = Sum::of(out).finish();
        out[10..12].copy_from_slice(&checksum.to_be_bytes());
        Ok(())
    }

    /// Writes the header with checksum 0 to the front of `out`: the port completes it.
    ///
    /// # Errors
    /// [`BufferTooShort`] when `out` has less than [`LEN`](Self::LEN) bytes.
    #[inline]
    pub fn emit_for_offload(&self, out: &mut [u8]) -> Result<(), BufferTooShort> {
        self.emit_fields(out)?;
        Ok(())
    }

    #[inline]
    fn emit_fields<'b>(&self, out: &'b mut [u8]) -> Result<&'b mut [u8; HEADER_LEN], BufferTooShort> {
        debug_assert!(self.payload_len <= Self::MAX_PAYLOAD_LEN);
        let out = out.first_chunk_mut::<HEADER_LEN>().ok_or(BufferTooShort)?;
        let [l0, l1] = self.payload_len.saturating_add(20).to_be_bytes();
        let [s0, s1, s2, s3] = self.src.octets();
        let [d0, d1, d2, d3] = self.dst.octets();
        *out = [0x45, 0, l0, l1, 0, 0, 0x40, 0, TTL, self.protocol.0, 0, 0, s0, s1, s2, s3, d0, d1, d2, d3];
        Ok(out)
    }
}
