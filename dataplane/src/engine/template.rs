//! The headers of DATA, prepared: for each of our addresses all that is the same in every block, and its sums. What differs is
//! written over it: the client, the TID, the block number, lengths and checksums.

use super::interface::{ADDRESSES_MAX, Interface};
use crate::port::{ChecksumRequest, TooLong};
use crate::session::Session;
use crate::tftp::packet;
use crate::wire::{Addresses, EtherType, MacAddr, Protocol, Sum, VlanTag, ethernet, ipv4, ipv6, udp};
use arrayvec::ArrayVec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of UDP header and TFTP header.
const BEHIND_IP: usize = udp::HEADER_LEN + packet::HEADER_LEN;
/// What these headers, and these with IPv4's, add to a length field.
const UDP_ADDS: u16 = 12;
const IPV4_ADDS: u16 = 32;
const _: () = assert!(UDP_ADDS as usize == BEHIND_IP && IPV4_ADDS as usize == V4_LEN);
const V4_LEN: usize = ipv4::HEADER_LEN + BEHIND_IP;
const V6_LEN: usize = ipv6::HEADER_LEN + BEHIND_IP;

/// Source and type of a link header without tag.
const LINK_TAIL: usize = ethernet::Header::LEN - LINK_DST;
const LINK_DST: usize = 6;

/// What is to be filled in for one block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// Source port.
    pub(super) tid: u16,
    /// As on the wire.
    pub(super) number: u16,
    /// Bytes of the payload.
    pub(super) len: u16,
    /// The payload's sum; `None` when the port completes the checksums.
    pub(super) sum: Option<Sum>,
}

/// The templates of one port, one per address.
#[derive(Debug)]
pub(super) struct Templates {
    own_mac: MacAddr,
    each: ArrayVec<Template, ADDRESSES_MAX>,
}

#[derive(Clone, Copy, Debug)]
enum Template {
    V4 {
        link_tail: [u8; LINK_TAIL],
        bytes: [u8; V4_LEN],
        /// Of the IP header, without length and destination.
        ip_sum: Sum,
        /// Of the pseudo-header, without length and destination.
        udp_sum: Sum,
    },
    V6 {
        link_tail: [u8; LINK_TAIL],
        bytes: [u8; V6_LEN],
        /// Of the pseudo-header, without length and destination.
        udp_sum: Sum,
    },
}

impl Templates {
    pub(super) fn new(interface: &Interface) -> Self {
        let each = interface.addresses().iter().map(|address| Template::new(interface.mac(), address.ip)).collect();
        Self { own_mac: interface.mac(), each }
    }

    /// Bytes of the headers before a block of this session, TFTP's included.
    #[inline]
    pub(super) fn header_len(&self, session: &Session) -> usize {
        let network = match self.each[usize::from(session.local())] {
            Template::V4 { .. } => V4_LEN,
            Template::V6 { .. } => V6_LEN,
        };
        network + if session.vlan().is_some() { ethernet::Header::TAGGED_LEN } else { ethernet::Header::LEN }
    }

    /// What the port is asked to complete in a block's frame.
    pub(super) fn checksum_request(&self, session: &Session) -> ChecksumRequest {
        let (network_header_len, ipv4) = match self.each[usize::from(session.local())] {
            Template::V4 { .. } => (ipv4::HEADER_LEN, true),
            Template::V6 { .. } => (ipv6::HEADER_LEN, false),
        };
        let link_header_len = self.header_len(session) - network_header_len - BEHIND_IP;
        let small = |len: usize| u8::try_from(len).unwrap_or(u8::MAX);
        ChecksumRequest { link_header_len: small(link_header_len), network_header_len: small(network_header_len), ipv4 }
    }

    /// Writes all headers of a block to the front of `out`, which has [`header_len`](Self::header_len) bytes.
    #[inline(always)]
    pub(super) fn write(&self, out: &mut [u8], session: &Session, block: &Block) -> Result<(), TooLong> {
        let template = &self.each[usize::from(session.local())];
        let network = match session.vlan() {
            None => {
                let (link_dst, rest) = out.split_first_chunk_mut().ok_or(TooLong)?;
                *link_dst = session.client_mac().0;
                let (link_tail, network) = rest.split_first_chunk_mut().ok_or(TooLong)?;
                *link_tail = *template.link_tail();
                network
            }
            Some(tag) => self.write_tagged_link(out, session, tag, template.ether_type())?,
        };
        match template {
            Template::V4 { bytes, ip_sum, udp_sum, .. } => {
                let network = network.first_chunk_mut().ok_or(TooLong)?;
                write_v4(network, bytes, (*ip_sum, *udp_sum), session, block);
            }
            Template::V6 { bytes, udp_sum, .. } => {
                let network = network.first_chunk_mut().ok_or(TooLong)?;
                write_v6(network, bytes, *udp_sum, session, block);
            }
        }
        Ok(())
    }

    /// Returns what lies behind the link header.
    #[cold]
    fn write_tagged_link<'o>(
        &self,
        out: &'o mut [u8],
        session: &Session,
        tag: VlanTag,
        ether_type: EtherType,
    ) -> Result<&'o mut [u8], TooLong> {
        let link = ethernet::Header { dst: session.client_mac(), src: self.own_mac, vlan: Some(tag), ether_type };
        link.emit(out).map_err(|_| TooLong)?;
        out.get_mut(link.header_len()..).ok_or(TooLong)
    }
}

impl Template {
    #[cold]
    fn new(own_mac: MacAddr, own: IpAddr) -> Self {
        let opcode = packet::data_header(0);
        let link_tail = |ether_type: EtherType| {
            let [a, b, c, d, e, f] = own_mac.0;
            let [high, low] = ether_type.0.to_be_bytes();
            [a, b, c, d, e, f, high, low]
        };
        match own {
            IpAddr::V4(src) => {
                let dst = Ipv4Addr::UNSPECIFIED;
                let header = ipv4::Repr { src, dst, protocol: Protocol::UDP, payload_len: 0 };
                let mut bytes = [0; V4_LEN];
                // A fixed buffer of the right length.
                let _ = header.emit_for_offload(&mut bytes);
                bytes[2..4].fill(0);
                let ip_sum = Sum::of(&bytes[..ipv4::HEADER_LEN]);
                bytes[V4_LEN - packet::HEADER_LEN..].copy_from_slice(&opcode);
                let udp_sum = Addresses::V4 { src, dst }.pseudo_header(Protocol::UDP, 0);
                Self::V4 { link_tail: link_tail(EtherType::IPV4), bytes, ip_sum, udp_sum }
            }
            IpAddr::V6(src) => {
                let dst = Ipv6Addr::UNSPECIFIED;
                let hop_limit = ipv6::HOP_LIMIT;
                let header = ipv6::Repr { src, dst, next_header: Protocol::UDP, payload_len: 0, hop_limit };
                let mut bytes = [0; V6_LEN];
                let _ = header.emit(&mut bytes);
                bytes[V6_LEN - packet::HEADER_LEN..].copy_from_slice(&opcode);
                let udp_sum = Addresses::V6 { src, dst }.pseudo_header(Protocol::UDP, 0);
                Self::V6 { link_tail: link_tail(EtherType::IPV6), bytes, udp_sum }
            }
        }
    }

    const fn link_tail(&self) -> &[u8; LINK_TAIL] {
        match self {
            Self::V4 { link_tail, .. } | Self::V6 { link_tail, .. } => link_tail,
        }
    }

    const fn ether_type(&self) -> EtherType {
        match self {
            Self::V4 { .. } => EtherType::IPV4,
            Self::V6 { .. } => EtherType::IPV6,
        }
    }
}

#[inline(always)]
fn write_v4(
    out: &mut [u8; V4_LEN],
    template: &[u8; V4_LEN],
    (ip_sum, udp_sum): (Sum, Sum),
    session: &Session,
    block: &Block,
) {
    *out = *template;
    let dst = session.client().ipv4_octets();
    let dst_sum = Sum::of(&dst);
    let udp_len = block.len + UDP_ADDS;
    let ip_len = block.len + IPV4_ADDS;
    out[2..4].copy_from_slice(&ip_len.to_be_bytes());
    if block.sum.is_some() {
        let checksum = ip_sum.combine(dst_sum).add_u16(ip_len).finish();
        out[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
    out[16..20].copy_from_slice(&dst);
    let (_, behind) = out.split_at_mut(ipv4::HEADER_LEN);
    write_udp(behind, udp_sum.combine(dst_sum), udp_len, session, block);
}

#[inline]
fn write_v6(out: &mut [u8; V6_LEN], template: &[u8; V6_LEN], udp_sum: Sum, session: &Session, block: &Block) {
    *out = *template;
    let dst = session.client().ipv6_octets();
    let udp_len = block.len + UDP_ADDS;
    out[4..6].copy_from_slice(&udp_len.to_be_bytes());
    out[24..40].copy_from_slice(&dst);
    let (_, behind) = out.split_at_mut(ipv6::HEADER_LEN);
    write_udp(behind, udp_sum.combine(Sum::of(&dst)), udp_len, session, block);
}

/// `sum` is that of the pseudo-header without its length.
#[inline(always)]
fn write_udp(out: &mut [u8], sum: Sum, udp_len: u16, session: &Session, block: &Block) {
    let Some(out) = out.first_chunk_mut::<BEHIND_IP>() else { return };
    let client_port = session.client().port();
    let checksum = match block.sum {
        Some(payload) => {
            // The length counts twice: in the pseudo-header and in the header.
            let words = [udp_len, udp_len, block.tid, client_port, packet::DATA, block.number];
            let fields = words.into_iter().map(u32::from).sum();
            udp::transmitted(sum.combine(payload).add_u32(fields).finish())
        }
        None => sum.add_u16(udp_len).fold(),
    };
    out[0..2].copy_from_slice(&block.tid.to_be_bytes());
    out[2..4].copy_from_slice(&client_port.to_be_bytes());
    out[4..6].copy_from_slice(&udp_len.to_be_bytes());
    out[6..8].copy_from_slice(&checksum.to_be_bytes());
    out[10..12].copy_from_slice(&block.number.to_be_bytes());
}
