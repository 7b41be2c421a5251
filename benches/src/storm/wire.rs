//! Frames that the clients send: UDP datagrams, and the ARP and neighbour discovery packets that find each other. Writes into
//! buffers of the exact length; keeps nothing.

use core::net::Ipv6Addr;

use dataplane::wire::{
    Addresses, BufferTooShort, EtherType, MacAddr, Protocol, Sum, arp, ethernet, ipv4, ipv6, ndp, udp,
};

/// Which stations a frame goes between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) src: MacAddr,
    pub(crate) dst: MacAddr,
}

impl Link {
    fn emit(self, ether_type: EtherType, out: &mut [u8]) -> Result<(), BufferTooShort> {
        ethernet::Header { dst: self.dst, src: self.src, vlan: None, ether_type }.emit(out)
    }
}

const LINK_LEN: usize = ethernet::Header::LEN;

/// Bytes of an ARP frame.
pub(crate) const ARP_LEN: usize = LINK_LEN + arp::Packet::LEN;

/// Bytes of a neighbour solicitation with one option (RFC 4861 §4.3).
const SOLICITATION_LEN: u16 = 32;

/// Bytes of the frame around it.
pub(crate) const SOLICITATION_FRAME_LEN: usize = LINK_LEN + ipv6::HEADER_LEN + SOLICITATION_LEN as usize;

/// Bytes of IP and UDP headers together.
pub(crate) const fn headers_len(ipv4: bool) -> u16 {
    if ipv4 { 28 } else { 48 }
}

/// Bytes of the frame around a UDP payload.
pub(crate) const fn udp_frame_len(addresses: &Addresses, payload: &[u8]) -> usize {
    LINK_LEN + headers_len(matches!(addresses, Addresses::V4 { .. })) as usize + payload.len()
}

/// A UDP datagram of at most one request's length.
#[inline]
pub(crate) fn emit_udp(link: Link, flow: &udp::Flow, payload: &[u8], out: &mut [u8]) -> Result<(), BufferTooShort> {
    let payload_len = u16::try_from(payload.len()).map_err(|_| BufferTooShort)?;
    let header = udp::Repr { src_port: flow.src_port, dst_port: flow.dst_port, payload_len };
    let (ether_type, ip_len) = match flow.addresses {
        Addresses::V4 { .. } => (EtherType::IPV4, ipv4::HEADER_LEN),
        Addresses::V6 { .. } => (EtherType::IPV6, ipv6::HEADER_LEN),
    };
    link.emit(ether_type, out)?;
    let (ip, rest) =
        out.get_mut(LINK_LEN..).and_then(|rest| rest.split_at_mut_checked(ip_len)).ok_or(BufferTooShort)?;
    let datagram_len = payload_len + 8;
    match flow.addresses {
        Addresses::V4 { src, dst } => {
            ipv4::Repr { src, dst, protocol: Protocol::UDP, payload_len: datagram_len }.emit(ip)?;
        }
        Addresses::V6 { src, dst } => {
            let (next_header, hop_limit) = (Protocol::UDP, ipv6::HOP_LIMIT);
            ipv6::Repr { src, dst, next_header, payload_len: datagram_len, hop_limit }.emit(ip)?;
        }
    }
    header.emit(rest, &flow.addresses, Sum::of(payload))?;
    rest.get_mut(udp::HEADER_LEN..)
        .filter(|place| place.len() == payload.len())
        .ok_or(BufferTooShort)?
        .copy_from_slice(payload);
    Ok(())
}

/// An ARP packet.
pub(crate) fn emit_arp(link: Link, packet: &arp::Packet, out: &mut [u8]) -> Result<(), BufferTooShort> {
    link.emit(EtherType::ARP, out)?;
    packet.emit(out.get_mut(LINK_LEN..).ok_or(BufferTooShort)?)
}

/// "Who has `target`?", asked by one client: an ARP request or a neighbour solicitation.
pub(crate) fn emit_question(mac: MacAddr, addresses: &Addresses, out: &mut [u8]) -> Result<(), BufferTooShort> {
    match *addresses {
        Addresses::V4 { src, dst } => {
            let packet = arp::Packet {
                operation: arp::Operation::Request,
                sender_mac: mac,
                sender_ip: src,
                target_mac: MacAddr::default(),
                target_ip: dst,
            };
            emit_arp(Link { src: mac, dst: MacAddr::BROADCAST }, &packet, out)
        }
        Addresses::V6 { src, dst } => emit_solicitation(mac, src, dst, out),
    }
}

/// Bytes of the frame that [`emit_question`] writes.
pub(crate) const fn question_len(addresses: &Addresses) -> usize {
    if matches!(addresses, Addresses::V4 { .. }) { ARP_LEN } else { SOLICITATION_FRAME_LEN }
}

/// RFC 4861 §4.3, with the source's link-layer address as the option that a multicast one must have.
fn emit_solicitation(mac: MacAddr, src: Ipv6Addr, target: Ipv6Addr, out: &mut [u8]) -> Result<(), BufferTooShort> {
    let dst = ipv6::solicited_node(target);
    Link { src: mac, dst: ipv6::multicast_mac(dst) }.emit(EtherType::IPV6, out)?;
    let (ip, message) =
        out.get_mut(LINK_LEN..).and_then(|rest| rest.split_at_mut_checked(ipv6::HEADER_LEN)).ok_or(BufferTooShort)?;
    let next_header = Protocol::ICMPV6;
    ipv6::Repr { src, dst, next_header, payload_len: SOLICITATION_LEN, hop_limit: ndp::HOP_LIMIT }.emit(ip)?;
    let message = message.first_chunk_mut::<{ SOLICITATION_LEN as usize }>().ok_or(BufferTooShort)?;
    message[..8].copy_from_slice(&[135, 0, 0, 0, 0, 0, 0, 0]);
    message[8..24].copy_from_slice(&target.octets());
    message[24..26].copy_from_slice(&[1, 1]);
    message[26..].copy_from_slice(&mac.0);
    let sum = Addresses::V6 { src, dst }.pseudo_header(Protocol::ICMPV6, SOLICITATION_LEN).add_bytes(message);
    message[2..4].copy_from_slice(&sum.finish().to_be_bytes());
    Ok(())
}

/// Bytes of the frame that [`emit_advertisement`] writes.
pub(crate) fn advertisement_len(advertisement: &ndp::Advertisement) -> usize {
    LINK_LEN + ipv6::HEADER_LEN + advertisement.message_len()
}

/// The answer to a neighbour solicitation.
pub(crate) fn emit_advertisement(
    link: Link,
    (src, dst): (Ipv6Addr, Ipv6Addr),
    advertisement: &ndp::Advertisement,
    out: &mut [u8],
) -> Result<(), BufferTooShort> {
    link.emit(EtherType::IPV6, out)?;
    let (ip, message) =
        out.get_mut(LINK_LEN..).and_then(|rest| rest.split_at_mut_checked(ipv6::HEADER_LEN)).ok_or(BufferTooShort)?;
    let payload_len = u16::try_from(advertisement.message_len()).map_err(|_| BufferTooShort)?;
    ipv6::Repr { src, dst, next_header: Protocol::ICMPV6, payload_len, hop_limit: ndp::HOP_LIMIT }.emit(ip)?;
    advertisement.emit(message, &src, &dst)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;
    use dataplane::wire::{Checks, Flow, Packet, icmpv6, parse};

    const LINK: Link = Link { src: MacAddr([2, 0, 0, 0, 0, 1]), dst: MacAddr([2, 0, 0, 0, 0, 2]) };

    fn addresses(src: &str, dst: &str) -> Addresses {
        match (src.parse().unwrap(), dst.parse().unwrap()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Addresses::V4 { src, dst },
            (IpAddr::V6(src), IpAddr::V6(dst)) => Addresses::V6 { src, dst },
            _ => panic!("mixed"),
        }
    }

    #[test]
    fn a_datagram_reads_as_it_was_written() {
        for addresses in [addresses("10.0.0.1", "10.0.0.2"), addresses("fd00::1", "fd00::2")] {
            let flow = Flow { addresses, src_port: 1024, dst_port: 69 };
            let mut frame = vec![0xff; udp_frame_len(&addresses, b"hello")];
            emit_udp(LINK, &flow, b"hello", &mut frame).unwrap();
            let parsed = parse(&frame, Checks::VERIFY).unwrap();
            assert_eq!((parsed.link.src, parsed.link.dst), (LINK.src, LINK.dst));
            let Packet::Udp { flow: read, payload } = parsed.packet else { panic!("{parsed:?}") };
            assert_eq!((read, &frame[payload.range()]), (flow, &b"hello"[..]));
            assert!(emit_udp(LINK, &flow, b"hello", &mut vec![0; frame.len() - 1]).is_err());
        }
    }

    #[test]
    fn a_question_reads_as_one() {
        let asked = addresses("10.0.0.1", "10.0.0.2");
        let mut frame = vec![0; question_len(&asked)];
        emit_question(LINK.src, &asked, &mut frame).unwrap();
        let Packet::Arp(packet) = parse(&frame, Checks::VERIFY).unwrap().packet else { panic!() };
        assert_eq!((packet.operation, packet.target_ip.to_string()), (arp::Operation::Request, "10.0.0.2".to_owned()));

        let asked = addresses("fd00::1", "fd00::2");
        let mut frame = vec![0; question_len(&asked)];
        emit_question(LINK.src, &asked, &mut frame).unwrap();
        let Packet::Icmpv6 { message: icmpv6::Message::NeighbourSolicitation(solicitation), .. } =
            parse(&frame, Checks::VERIFY).unwrap().packet
        else {
            panic!()
        };
        assert_eq!(IpAddr::V6(solicitation.target), asked.dst());
        assert_eq!(solicitation.source_mac, Some(LINK.src));
    }

    #[test]
    fn an_advertisement_reads_as_one() {
        let (src, dst) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        let solicitation = ndp::Solicitation { target: src, source_mac: None };
        let (to, advertisement) = solicitation.answer(dst, LINK.src);
        let mut frame = vec![0; advertisement_len(&advertisement)];
        emit_advertisement(LINK, (src, to), &advertisement, &mut frame).unwrap();
        let parsed = parse(&frame, Checks::VERIFY).unwrap();
        let Packet::Icmpv6 { message, .. } = parsed.packet else { panic!() };
        assert_eq!(message, icmpv6::Message::NeighbourAdvertisement(advertisement));
    }
}
