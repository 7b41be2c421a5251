//! UDP headers (RFC 768). Never reads a payload to send it: its sum comes from the caller.

use thiserror::Error;

use super::checksum::Sum;
use super::ip::{Addresses, Check, Protocol};
use super::{BufferTooShort, field};

/// Bytes of a header.
pub const HEADER_LEN: usize = 8;

/// Why a UDP datagram is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UdpError {
    /// Length < 8 or beyond the IP payload.
    #[error("the UDP length is shorter than its header or longer than the IP payload")]
    Length,
    /// Wrong checksum.
    #[error("the UDP checksum is wrong")]
    Checksum,
    /// No checksum, over IPv6.
    #[error("a UDP checksum of zero is not valid over IPv6")]
    ChecksumMissing,
}

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// IP addresses.
    pub addresses: Addresses,
    /// Sender's port; 0 if it expects no answer.
    pub src_port: u16,
    /// Receiver's port.
    pub dst_port: u16,
}

impl Flow {
    /// The way back.
    #[inline]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self { addresses: self.addresses.reversed(), src_port: self.dst_port, dst_port: self.src_port }
    }
}

/// A checked UDP datagram.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    fixed: &'a [u8; HEADER_LEN],
    payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Checks the datagram that an IP payload holds; what lies behind a shorter UDP length is cut off.
    ///
    /// # Errors
    /// [`UdpError`], by cause.
    #[inline]
    pub fn parse(ip_payload: &'a [u8], addresses: &Addresses, checksum: Check) -> Result<Self, UdpError> {
        let Some(fixed) = ip_payload.first_chunk::<HEADER_LEN>() else {
            return Err(UdpError::Length);
        };
        let len = u16::from_be_bytes(field::<4, _, _>(fixed));
        let Some(datagram) = ip_payload.get(..usize::from(len)) else {
            return Err(UdpError::Length);
        };
        let Some((_, payload)) = datagram.split_first_chunk::<HEADER_LEN>() else {
            return Err(UdpError::Length);
        };
        if field::<6, 2, _>(fixed) == [0, 0] {
            // RFC 768: the sender made no checksum. RFC 8200 §8.1: over IPv6 it must.
            if matches!(addresses, Addresses::V6 { .. }) {
                return Err(UdpError::ChecksumMissing);
            }
        } else if checksum == Check::Verify
            && !addresses.pseudo_header(Protocol::UDP, len).add_bytes(datagram).is_valid()
        {
            return Err(UdpError::Checksum);
        }
        Ok(Self { fixed, payload })
    }

    /// Sender's port; 0 if it expects no answer.
    #[inline]
    #[must_use]
    pub fn src_port(&self) -> u16 {
        u16::from_be_bytes(field::<0, _, _>(self.fixed))
    }

    /// Receiver's port.
    #[inline]
    #[must_use]
    pub fn dst_port(&self) -> u16 {
        u16::from_be_bytes(field::<2, _, _>(self.fixed))
    }

    /// What follows the header, up to the UDP length.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// How a computed checksum is sent. RFC 768: zero as all ones, since zero means that there is none.
#[inline]
#[must_use]
pub const fn transmitted(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// A header to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Sender's port.
    pub src_port: u16,
    /// Receiver's port.
    pub dst_port: u16,
    /// Bytes behind the header, at most [`MAX_PAYLOAD_LEN`](Self::MAX_PAYLOAD_LEN).
    pub payload_len: u16,
}

impl Repr {
    /// Bytes of an emitted header.
    pub const LEN: usize = HEADER_LEN;

    /// What the UDP length leaves for the payload (IPv4 leaves 20 less).
    pub const MAX_PAYLOAD_LEN: u16 = u16::MAX - 8;

    /// Writes the header with its checksum to the front of `out`; `payload` is the sum of the bytes behind it.
    ///
    /// # Errors
    /// [`BufferTooShort`] when `out` has less than [`LEN`](Self::LEN) bytes.
    #[inline]
    pub fn emit(&self, out: &mut [u8], addresses: &Addresses, payload: Sum) -> Result<(), BufferTooShort> {
        let len = self.len();
        let sum = addresses
            .pseudo_header(Protocol::UDP, len)
            .combine(payload)
            .add_u16(self.src_port)
            .add_u16(self.dst_port)
            .add_u16(len);
        self.emit_fields(out, transmitted(sum.finish()))
    }

    /// Writes the header with the pseudo-header's sum in the checksum's place to the front of `out`: the port completes it.
    ///
    /// # Errors
    /// [`BufferTooShort`] when `out` has less than [`LEN`](Self::LEN) bytes.
    #[inline]
    pub fn emit_for_offload(&self, out: &mut [u8], addresses: &Addresses) -> Result<(), BufferTooShort> {
        self.emit_fields(out, addresses.pseudo_header(Protocol::UDP, self.len()).fold())
    }

    #[inline]
    fn len(&self) -> u16 {
        debug_assert!(self.payload_len <= Self::MAX_PAYLOAD_LEN);
        self.payload_len.saturating_add(8)
    }

    #[inline]
    fn emit_fields(&self, out: &mut [u8], checksum: u16) -> Result<(), BufferTooShort> {
        let out = out.first_chunk_mut::<HEADER_LEN>().ok_or(BufferTooShort)?;
        let [s0, s1] = self.src_port.to_be_bytes();
        let [d0, d1] = self.dst_port.to_be_bytes();
        let [l0, l1] = self.len().to_be_bytes();
        let [c0, c1] = checksum.to_be_bytes();
        *out = [s0, s1, d0, d1, l0, l1, c0, c1];
        Ok(())
    }
}
