//! Frames by hand: what a client's kernel would make of a datagram, and back.

use super::SERVER_MAC;
use dataplane::wire::{
    self, Addresses, Checks, EtherType, Flow, MacAddr, Packet, Protocol, Sum, VlanTag, arp, ethernet, ipv4, ipv6, udp,
};
use std::net::{IpAddr, Ipv6Addr};

/// A client's side of the link.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    pub mac: MacAddr,
    pub vlan: Option<u16>,
    pub ip: IpAddr,
    pub server: IpAddr,
}

impl Host {
    /// Host number `number` in the server's IPv4 network.
    pub fn v4(number: u8) -> Self {
        Self {
            mac: MacAddr([2, 0, 0, 0, 1, number]),
            vlan: None,
            ip: IpAddr::from([10, 99, 0, number]),
            server: super::ip(super::SERVER_V4),
        }
    }

    /// Host number `number` in the server's IPv6 network.
    pub fn v6(number: u8) -> Self {
        Self {
            ip: IpAddr::from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number]),
            server: super::ip(super::SERVER_V6),
            ..Self::v4(number)
        }
    }

    /// A datagram from this host to the server.
    pub fn datagram(&self, src_port: u16, dst_port: u16, payload: &[u8]) -> Vec<u8> {
        let addresses = self.addresses();
        let datagram = udp::Repr { src_port, dst_port, payload_len: payload.len() as u16 };
        let mut transport = vec![0; udp::HEADER_LEN];
        datagram.emit(&mut transport, &addresses, Sum::of(payload)).unwrap();
        transport.extend_from_slice(payload);
        self.packet(&addresses, Protocol::UDP, 64, &transport)
    }

    /// An IP packet from this host to the server.
    pub fn packet(&self, addresses: &Addresses, protocol: Protocol, hop_limit: u8, body: &[u8]) -> Vec<u8> {
        let payload_len = body.len() as u16;
        let (ether_type, mut network) = match *addresses {
            Addresses::V4 { src, dst } => {
                let mut bytes = vec![0; ipv4::HEADER_LEN];
                ipv4::Repr { src, dst, protocol, payload_len }.emit(&mut bytes).unwrap();
                (EtherType::IPV4, bytes)
            }
            Addresses::V6 { src, dst } => {
                let mut bytes = vec![0; ipv6::HEADER_LEN];
                ipv6::Repr { src, dst, next_header: protocol, payload_len, hop_limit }.emit(&mut bytes).unwrap();
                (EtherType::IPV6, bytes)
            }
        };
        network.extend_from_slice(body);
        self.link(SERVER_MAC, ether_type, &network)
    }

    /// A pair of addresses from this host to the server.
    pub fn addresses(&self) -> Addresses {
        match (self.ip, self.server) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Addresses::V4 { src, dst },
            (IpAddr::V6(src), IpAddr::V6(dst)) => Addresses::V6 { src, dst },
            _ => panic!("two families"),
        }
    }

    /// The server's IPv6 address.
    pub fn server_octets(&self) -> [u8; 16] {
        match self.server {
            IpAddr::V6(address) => address.octets(),
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        }
    }

    /// An ICMP or ICMPv6 message from this host to the server; its checksum is made here.
    pub fn icmp(&self, message: &[u8]) -> Vec<u8> {
        self.icmp_to(&self.addresses(), 64, message)
    }

    /// The same between any addresses, with any hop limit.
    pub fn icmp_to(&self, addresses: &Addresses, hop_limit: u8, message: &[u8]) -> Vec<u8> {
        let mut message = message.to_vec();
        message[2..4].fill(0);
        let (protocol, sum) = match addresses {
            Addresses::V4 { .. } => (Protocol::ICMP, Sum::ZERO),
            Addresses::V6 { .. } => (Protocol::ICMPV6, addresses.pseudo_header(Protocol::ICMPV6, message.len() as u16)),
        };
        let checksum = sum.combine(Sum::of(&message)).finish();
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        self.packet(addresses, protocol, hop_limit, &message)
    }

    /// What this host says when nobody listens where the frame `quoted` (untagged, from the server) went.
    pub fn port_unreachable(&self, quoted: &[u8]) -> Vec<u8> {
        let (kind, code, quote) = if self.ip.is_ipv4() { (3, 3, 28) } else { (1, 4, 48) };
        let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(&quoted[14..14 + quote]);
        self.icmp(&message)
    }

    /// An ARP packet from this host, to the server where it is a reply, else to everybody.
    pub fn arp(&self, packet: &arp::Packet) -> Vec<u8> {
        let dst = if packet.operation == arp::Operation::Reply { SERVER_MAC } else { MacAddr::BROADCAST };
        let mut body = vec![0; arp::Packet::LEN];
        packet.emit(&mut body).unwrap();
        self.link(dst, EtherType::ARP, &body)
    }

    /// A frame from this host.
    pub fn link(&self, dst: MacAddr, ether_type: EtherType, body: &[u8]) -> Vec<u8> {
        let header = ethernet::Header { dst, src: self.mac, vlan: self.vlan.map(VlanTag), ether_type };
        let mut frame = vec![0; header.header_len()];
        header.emit(&mut frame).unwrap();
        frame.extend_from_slice(body);
        frame
    }
}

/// A neighbour solicitation for `target`, without its checksum.
pub fn solicitation(target: Ipv6Addr, source_mac: Option<MacAddr>) -> Vec<u8> {
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&target.octets());
    if let Some(MacAddr(mac)) = source_mac {
        message.extend_from_slice(&[1, 1]);
        message.extend_from_slice(&mac);
    }
    message
}

/// A received datagram: link header, flow and payload. Checksums are checked; `None` for anything else.
pub fn read_datagram(frame: &[u8]) -> Option<(ethernet::Header, Flow, &[u8])> {
    let parsed = wire::parse(frame, Checks::VERIFY).ok()?;
    match parsed.packet {
        Packet::Udp { flow, payload } => Some((parsed.link, flow, &frame[payload.range()])),
        _ => None,
    }
}
