//! The headers around what we send over UDP. Writes them, decides nothing.

use super::interface::Interface;
use crate::port::{ChecksumRequest, Frame, TooLong};
use crate::session::Session;
use crate::wire::{Addresses, EtherType, Flow, Protocol, Sum, ethernet, ipv4, ipv6, udp};
use core::net::IpAddr;

/// Link header and flow of a datagram that goes out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope {
    link: ethernet::Header,
    flow: Flow,
}

impl Envelope {
    /// Back to where a received datagram came from, from `src_port`.
    pub(super) fn reply(interface: &Interface, link: &ethernet::Header, flow: &Flow, src_port: u16) -> Self {
        let flow = Flow { addresses: flow.addresses.reversed(), src_port, dst_port: flow.src_port };
        Self { link: link.reply(interface.mac()), flow }
    }

    /// To the client of a session, from its TID; the way was fixed when the session began.
    pub(super) fn of_session(interface: &Interface, session: &Session, tid: u16) -> Self {
        let client = session.client();
        let (addresses, ether_type) = match (interface.address(session.local()), client.ip()) {
            (IpAddr::V6(src), IpAddr::V6(dst)) => (Addresses::V6 { src, dst }, EtherType::IPV6),
            (IpAddr::V4(src), IpAddr::V4(dst)) => (Addresses::V4 { src, dst }, EtherType::IPV4),
            _ => unreachable!("client and our address are of one family: they came from one datagram"),
        };
        let link =
            ethernet::Header { dst: session.client_mac(), src: interface.mac(), vlan: session.vlan(), ether_type };
        Self { link, flow: Flow { addresses, src_port: tid, dst_port: client.port() } }
    }

    /// Makes `frame` a datagram that holds `payload`.
    pub(super) fn write<F: Frame>(&self, frame: &mut F, payload: &[u8], offload: bool) -> Result<(), TooLong> {
        let start = self.header_len();
        frame.resize(start + payload.len())?;
        frame.bytes_mut()[start..].copy_from_slice(payload);
        let sum = if offload { Sum::ZERO } else { Sum::of(payload) };
        self.write_headers(frame, payload.len(), sum, offload)
    }

    fn write_headers<F: Frame>(
        &self,
        frame: &mut F,
        payload_len: usize,
        sum: Sum,
        offload: bool,
    ) -> Result<(), TooLong> {
        let datagram = udp::Repr {
            src_port: self.flow.src_port,
            dst_port: self.flow.dst_port,
            payload_len: u16::try_from(payload_len).map_err(|_| TooLong)?,
        };
        let link_len = self.link.header_len();
        let network_len = self.network_len();
        let (link, rest) = frame.bytes_mut().split_at_mut(link_len);
        let (network, transport) = rest.split_at_mut(network_len);
        let udp_len = datagram.payload_len.checked_add(8).ok_or(TooLong)?;
        let ip_written = match self.flow.addresses {
            Addresses::V4 { src, dst } => {
                let header = ipv4::Repr { src, dst, protocol: Protocol::UDP, payload_len: udp_len };
                if offload { header.emit_for_offload(network) } else { header.emit(network) }
            }
            Addresses::V6 { src, dst } => {
                ipv6::Repr { src, dst, next_header: Protocol::UDP, payload_len: udp_len, hop_limit: ipv6::HOP_LIMIT }
                    .emit(network)
            }
        };
        let udp_written = if offload {
            datagram.emit_for_offload(transport, &self.flow.addresses)
        } else {
            datagram.emit(transport, &self.flow.addresses, sum)
        };
        self.link.emit(link).and(ip_written).and(udp_written).map_err(|_| TooLong)?;
        if offload {
            frame.request_checksums(ChecksumRequest {
                link_header_len: u8::try_from(link_len).map_err(|_| TooLong)?,
                network_header_len: u8::try_from(network_len).map_err(|_| TooLong)?,
                ipv4: self.flow.addresses.src().is_ipv4(),
            });
        }
        Ok(())
    }

    const fn header_len(&self) -> usize {
        self.link.header_len() + self.network_len() + udp::HEADER_LEN
    }

    const fn network_len(&self) -> usize {
        match self.flow.addresses {
            Addresses::V4 { .. } => ipv4::HEADER_LEN,
            Addresses::V6 { .. } => ipv6::HEADER_LEN,
        }
    }
}
