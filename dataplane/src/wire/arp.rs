//! ARP for IPv4 over Ethernet (RFC 826). Never keeps a table.

use core::net::Ipv4Addr;

use thiserror::Error;

use super::{BufferTooShort, MacAddr, field};

/// Hardware type Ethernet, protocol type IPv4, and the lengths of their addresses: the first six bytes of each packet we take.
const ETHERNET_IPV4: [u8; 6] = [0x00, 0x01, 0x08, 0x00, 6, 4];

/// Request or reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
}

/// Why an ARP packet is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ArpError {
    /// It ends early.
    #[error("the ARP packet is shorter than 28 bytes")]
    Truncated,
    /// Not Ethernet or not IPv4, or addresses of other lengths.
    #[error("the ARP packet is not about IPv4 over Ethernet")]
    AddressTypes,
    /// Neither a request nor a reply (RARP, InARP).
    #[error("the ARP packet is neither a request nor a reply")]
    Operation,
}

/// An ARP packet, both as parsed and as emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Request or reply.
    pub operation: Operation,
    /// Sender's hardware address.
    pub sender_mac: MacAddr,
    /// Sender's protocol address; unspecified in a probe.
    pub sender_ip: Ipv4Addr,
    /// Target's hardware address; of no meaning in a request.
    pub target_mac: MacAddr,
    /// Target's protocol address.
    pub target_ip: Ipv4Addr,
}

impl Packet {
    /// Bytes of a packet.
    pub const LEN: usize = 28;

    /// Reads a packet from a frame's payload; padding behind it is not looked at.
    ///
    /// # Errors
    /// [`ArpError`], by cause.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, ArpError> {
        let Some(packet) = bytes.first_chunk::<{ Self::LEN }>() else {
            return Err(ArpError::Truncated);
        };
        if field::<0, 6, _>(packet) != ETHERNET_IPV4 {
            return Err(ArpError::AddressTypes);
        }
        let operation = match u16::from_be_bytes(field::<6, _, _>(packet)) {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return Err(ArpError::Operation),
        };
        Ok(Self {
            operation,
            sender_mac: MacAddr(field::<8, _, _>(packet)),
            sender_ip: Ipv4Addr::from_octets(field::<14, _, _>(packet)),
            target_mac: MacAddr(field::<18, _, _>(packet)),
            target_ip: Ipv4Addr::from_octets(field::<24, _, _>(packet)),
        })
    }

    /// Whether a sender tells of its own address unasked: request or reply with both addresses equal (RFC 5227 §3).
    #[inline]
    #[must_use]
    pub fn is_gratuitous(&self) -> bool {
        self.sender_ip == self.target_ip && !self.sender_ip.is_unspecified()
    }

    /// Whether a host says that it now uses an address: a gratuitous request (RFC 5227 §2.3).
    #[inline]
    #[must_use]
    pub fn is_announcement(&self) -> bool {
        self.operation == Operation::Request && self.is_gratuitous()
    }

    /// Whether a host asks if an address is free: a request from the unspecified address (RFC 5227 §2.1.1). It tells nothing of
    /// who has which address and must not be learnt from.
    #[inline]
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.operation == Operation::Request && self.sender_ip.is_unspecified()
    }

    /// The reply to this request: `own` has the address that was asked for (RFC 826, "Packet Reception").
    #[inline]
    #[must_use]
    pub const fn reply(&self, own: MacAddr) -> Self {
        Self {
            operation: Operation::Reply,
            sender_mac: own,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    /// Writes the packet to the front of `out`.
    ///
    /// # Errors
    /// [`BufferTooShort`] when `out` has less than [`LEN`](Self::LEN) bytes.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> Result<(), BufferTooShort> {
        let out = out.first_chunk_mut::<{ Self::LEN }>().ok_or(BufferTooShort)?;
        let operation: u16 = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        out[0..6].copy_from_slice(&ETHERNET_IPV4);
        out[6..8].copy_from_slice(&operation.to_be_bytes());
        out[8..14].copy_from_slice(&self.sender_mac.0);
        out[14..18].copy_from_slice(&self.sender_ip.octets());
        out[18..24].copy_from_slice(&self.target_mac.0);
        out[24..28].copy_from_slice(&self.target_ip.octets());
        Ok(())
    }
}
