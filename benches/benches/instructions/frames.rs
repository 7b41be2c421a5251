//! Frames as a client's kernel makes them, and what is needed of the replies. Knows nothing of engine or port.

use dataplane::tftp::packet::NoRoom;
use dataplane::tftp::{Packet as Tftp, REQUEST_PORT};
use dataplane::wire::{
    self, Addresses, BufferTooShort, Checks, EtherType, MacAddr, Packet, Protocol, Sum, arp, ethernet, ipv4, udp,
};
use std::net::{IpAddr, Ipv4Addr};

/// The server's MAC address.
pub(crate) const SERVER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

/// The server's address, in a /16.
pub(crate) const SERVER_IP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// A host with one client on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client(u16);

/// A reply that carries TFTP.
pub(crate) struct Reply<'a> {
    /// UDP source port: the TID that answers.
    pub(crate) tid: u16,
    /// What it says.
    pub(crate) payload: &'a [u8],
}

/// Why a frame could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of the harness does not fit its buffer")]
pub(crate) struct Unmade;

impl From<BufferTooShort> for Unmade {
    fn from(_: BufferTooShort) -> Self {
        Self
    }
}

impl From<NoRoom> for Unmade {
    fn from(_: NoRoom) -> Self {
        Self
    }
}

impl Client {
    /// Client number `number` of the server's network, below 60,000.
    pub(crate) const fn new(number: u16) -> Self {
        Self(number)
    }

    const fn bytes(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }

    /// Its MAC address.
    const fn mac(self) -> MacAddr {
        let [high, low] = self.bytes();
        MacAddr([2, 0, 0, 1, high, low])
    }

    /// Its address: no two clients share one.
    pub(crate) const fn ip(self) -> Ipv4Addr {
        let [high, low] = self.bytes();
        Ipv4Addr::new(10, 99, high + 1, low)
    }

    /// Its UDP port.
    pub(crate) const fn port(self) -> u16 {
        2_000 + self.0
    }

    /// A read request in octet mode; `options` as on the wire, NULs included.
    pub(crate) fn request(self, file: &str, options: &str) -> Result<Vec<u8>, Unmade> {
        let payload = format!("\0\u{1}{file}\0octet\0{options}");
        self.datagram(SERVER_MAC, REQUEST_PORT, payload.as_bytes())
    }

    /// An ACK to the TID.
    pub(crate) fn ack(self, tid: u16, block: u16) -> Result<Vec<u8>, Unmade> {
        self.tftp(SERVER_MAC, tid, &Tftp::Ack { block })
    }

    /// What ends a transfer without a reply.
    pub(crate) fn abort(self, tid: u16) -> Result<Vec<u8>, Unmade> {
        self.datagram(SERVER_MAC, tid, b"\0\x05\0\0\0")
    }

    /// An ACK to another station.
    pub(crate) fn ack_to_others(self) -> Result<Vec<u8>, Unmade> {
        self.tftp(MacAddr([2, 0, 0, 0, 0, 99]), REQUEST_PORT, &Tftp::Ack { block: 1 })
    }

    /// Who has the server's address?
    pub(crate) fn arp_request(self) -> Result<Vec<u8>, Unmade> {
        let packet = arp::Packet {
            operation: arp::Operation::Request,
            sender_mac: self.mac(),
            sender_ip: self.ip(),
            target_mac: MacAddr([0; 6]),
            target_ip: SERVER_IP,
        };
        let mut body = [0; arp::Packet::LEN];
        packet.emit(&mut body)?;
        self.link(MacAddr::BROADCAST, EtherType::ARP, &body)
    }

    fn tftp(self, station: MacAddr, port: u16, packet: &Tftp<'_>) -> Result<Vec<u8>, Unmade> {
        let mut payload = vec![0; packet.wire_len()];
        packet.emit(&mut payload)?;
        self.datagram(station, port, &payload)
    }

    fn datagram(self, station: MacAddr, dst_port: u16, payload: &[u8]) -> Result<Vec<u8>, Unmade> {
        let addresses = Addresses::V4 { src: self.ip(), dst: SERVER_IP };
        let len = |bytes: usize| u16::try_from(bytes).map_err(|_| Unmade);
        let mut packet = vec![0; ipv4::HEADER_LEN + udp::HEADER_LEN];
        let (network, transport) = packet.split_at_mut(ipv4::HEADER_LEN);
        let payload_len = len(udp::HEADER_LEN + payload.len())?;
        ipv4::Repr { src: self.ip(), dst: SERVER_IP, protocol: Protocol::UDP, payload_len }.emit(network)?;
        let datagram = udp::Repr { src_port: self.port(), dst_port, payload_len: len(payload.len())? };
        datagram.emit(transport, &addresses, Sum::of(payload))?;
        packet.extend_from_slice(payload);
        self.link(station, EtherType::IPV4, &packet)
    }

    fn link(self, dst: MacAddr, ether_type: EtherType, body: &[u8]) -> Result<Vec<u8>, Unmade> {
        let header = ethernet::Header { dst, src: self.mac(), vlan: None, ether_type };
        let mut frame = vec![0; header.header_len()];
        header.emit(&mut frame)?;
        frame.extend_from_slice(body);
        // As on the wire: no frame is shorter.
        frame.resize(frame.len().max(60), 0);
        Ok(frame)
    }

    /// Reads a frame as the server's reply to this client, checksums included.
    pub(crate) fn reply(self, frame: &[u8]) -> Option<Reply<'_>> {
        let parsed = wire::parse(frame, Checks::VERIFY).ok()?;
        let Packet::Udp { flow, payload } = parsed.packet else { return None };
        let ours = flow.addresses.dst() == IpAddr::V4(self.ip()) && flow.dst_port == self.port();
        let whole = parsed.link.src == SERVER_MAC && parsed.link.dst == self.mac();
        (ours && whole).then(|| Reply { tid: flow.src_port, payload: &frame[payload.range()] })
    }

    /// Whether a frame tells this client who has the server's address.
    pub(crate) fn is_arp_reply(self, frame: &[u8]) -> bool {
        match wire::parse(frame, Checks::VERIFY).map(|parsed| parsed.packet) {
            Ok(Packet::Arp(packet)) => {
                packet.operation == arp::Operation::Reply
                    && (packet.sender_mac, packet.sender_ip) == (SERVER_MAC, SERVER_IP)
                    && (packet.target_mac, packet.target_ip) == (self.mac(), self.ip())
            }
            _ => false,
        }
    }
}
