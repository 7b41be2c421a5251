//! What a host owes its link: ARP, neighbour discovery, ping. Not in use where a kernel interface owns the addresses.

use super::{Engine, Outcome, Output};
use crate::port::{Frame, TooLong};
use crate::time::Instant;
use crate::wire::{EtherType, MacAddr, Parsed, Protocol, Span, arp, ethernet, icmpv4, icmpv6, ipv4, ipv6, ndp};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

impl Engine {
    /// Tells the link who has our addresses: gratuitous ARP (RFC 5227 §3), unsolicited advertisements (RFC 4861 §7.2.6).
    #[cold]
    pub fn announce<O: Output>(&mut self, out: &mut O) {
        let own = self.interface.mac();
        for address in self.interface.addresses() {
            let Some(mut frame) = out.allocate() else { return };
            let written = match address.ip {
                IpAddr::V4(ip) => {
                    let packet = arp::Packet {
                        operation: arp::Operation::Request,
                        sender_mac: own,
                        sender_ip: ip,
                        target_mac: MacAddr([0; 6]),
                        target_ip: ip,
                    };
                    let link =
                        ethernet::Header { dst: MacAddr::BROADCAST, src: own, vlan: None, ether_type: EtherType::ARP };
                    write_arp(&mut frame, &link, &packet)
                }
                IpAddr::V6(ip) => {
                    let advertisement = ndp::Advertisement {
                        target: ip,
                        router: false,
                        solicited: false,
                        override_entry: true,
                        target_mac: Some(own),
                    };
                    let link = ethernet::Header {
                        dst: ipv6::multicast_mac(ndp::ALL_NODES),
                        src: own,
                        vlan: None,
                        ether_type: EtherType::IPV6,
                    };
                    write_advertisement(&mut frame, &link, ip, ndp::ALL_NODES, &advertisement)
                }
            };
            if written.is_ok() && out.room() > 0 {
                out.send(frame);
            }
        }
    }

    pub(super) fn on_arp<O: Output>(
        &mut self,
        now: Instant,
        link: &ethernet::Header,
        packet: &arp::Packet,
        mut frame: O::Frame,
        out: &mut O,
    ) -> Outcome {
        let own = self.interface.mac();
        if self.interface.find(IpAddr::V4(packet.sender_ip)).is_some() {
            // Our own announcement may come back from a switch. The MAC alone says nothing: net_tap gives the kernel's end ours.
            return if packet.sender_mac == own { Outcome::ArpForOthers } else { Outcome::AddressConflict };
        }
        let for_us = self.interface.find(IpAddr::V4(packet.target_ip)).is_some();
        if for_us || packet.is_gratuitous() {
            // RFC 5227 §2.1.1: a probe says nothing about who has what; learn() leaves unspecified addresses out.
            self.neighbours.learn(IpAddr::V4(packet.sender_ip), packet.sender_mac, now);
        }
        match packet.operation {
            arp::Operation::Request if for_us => match write_arp(&mut frame, &link.reply(own), &packet.reply(own)) {
                Ok(()) => {
                    out.send(frame);
                    Outcome::ArpReplied
                }
                Err(TooLong) => Outcome::PoolEmpty,
            },
            arp::Operation::Request if !packet.is_gratuitous() => Outcome::ArpForOthers,
            arp::Operation::Request | arp::Operation::Reply => Outcome::ArpLearnt,
        }
    }

    pub(super) fn on_echo_v4<O: Output>(
        &self,
        link: &ethernet::Header,
        src: Ipv4Addr,
        dst: Ipv4Addr,
        message: Span,
        mut frame: O::Frame,
        out: &mut O,
    ) -> Outcome {
        if self.interface.forbids_source(IpAddr::V4(src)) {
            return Outcome::SourceForbidden;
        }
        let reply = link.reply(self.interface.mac());
        let header = ipv4::Repr { src: dst, dst: src, protocol: Protocol::ICMP, payload_len: message.len() };
        let written = move_message(&mut frame, message, link.header_len() + ipv4::HEADER_LEN).and_then(|start| {
            let bytes = frame.bytes_mut();
            icmpv4::answer_echo(&mut bytes[start..]).map_err(|_| TooLong)?;
            header.emit(&mut bytes[link.header_len()..]).and_then(|()| reply.emit(bytes)).map_err(|_| TooLong)
        });
        sent(written, frame, out, Outcome::EchoReplied)
    }

    pub(super) fn on_echo_v6<O: Output>(
        &self,
        link: &ethernet::Header,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        message: Span,
        mut frame: O::Frame,
        out: &mut O,
    ) -> Outcome {
        if self.interface.forbids_source(IpAddr::V6(src)) {
            return Outcome::SourceForbidden;
        }
        let reply = link.reply(self.interface.mac());
        let header = ipv6::Repr {
            src: dst,
            dst: src,
            next_header: Protocol::ICMPV6,
            payload_len: message.len(),
            hop_limit: ipv6::HOP_LIMIT,
        };
        let written = move_message(&mut frame, message, link.header_len() + ipv6::HEADER_LEN).and_then(|start| {
            let bytes = frame.bytes_mut();
            icmpv6::answer_echo(&mut bytes[start..], &dst, &src).map_err(|_| TooLong)?;
            header.emit(&mut bytes[link.header_len()..]).and_then(|()| reply.emit(bytes)).map_err(|_| TooLong)
        });
        sent(written, frame, out, Outcome::EchoReplied)
    }

    pub(super) fn on_solicitation<O: Output>(
        &mut self,
        now: Instant,
        parsed: &Parsed,
        src: Ipv6Addr,
        solicitation: &ndp::Solicitation,
        mut frame: O::Frame,
        out: &mut O,
    ) -> Outcome {
        if self.interface.find(IpAddr::V6(solicitation.target)).is_none() {
            return Outcome::NdForOthers;
        }
        if self.interface.find(IpAddr::V6(src)).is_some() {
            return Outcome::AddressConflict;
        }
        // RFC 4291 §2.7: a group is no source; an advertisement to it would reach many.
        if !src.is_unspecified() && self.interface.forbids_source(IpAddr::V6(src)) {
            return Outcome::SourceForbidden;
        }
        if let Some(mac) = solicitation.source_mac {
            self.neighbours.learn(IpAddr::V6(src), mac, now);
        }
        let own = self.interface.mac();
        let (receiver, advertisement) = solicitation.answer(src, own);
        let mut link = parsed.link.reply(own);
        if receiver.is_multicast() {
            link.dst = ipv6::multicast_mac(receiver);
        }
        let written = write_advertisement(&mut frame, &link, solicitation.target, receiver, &advertisement);
        sent(written, frame, out, Outcome::NdReplied)
    }

    pub(super) fn on_advertisement(
        &mut self,
        now: Instant,
        link: &ethernet::Header,
        advertisement: &ndp::Advertisement,
    ) -> Outcome {
        let target = IpAddr::V6(advertisement.target);
        if self.interface.find(target).is_some() {
            return if link.src == self.interface.mac() { Outcome::NdForOthers } else { Outcome::AddressConflict };
        }
        self.neighbours.learn(target, advertisement.target_mac.unwrap_or(link.src), now);
        Outcome::NdLearnt
    }
}

fn sent<O: Output>(written: Result<(), TooLong>, frame: O::Frame, out: &mut O, outcome: Outcome) -> Outcome {
    match written {
        Ok(()) => {
            out.send(frame);
            outcome
        }
        Err(TooLong) => Outcome::PoolEmpty,
    }
}

/// Brings an ICMP message to `start`, behind headers without options or extensions, and cuts the frame behind it.
fn move_message<F: Frame>(frame: &mut F, message: Span, start: usize) -> Result<usize, TooLong> {
    frame.bytes_mut().copy_within(message.range(), start);
    frame.resize(start + usize::from(message.len()))?;
    Ok(start)
}

fn write_arp<F: Frame>(frame: &mut F, link: &ethernet::Header, packet: &arp::Packet) -> Result<(), TooLong> {
    frame.resize(link.header_len() + arp::Packet::LEN)?;
    let bytes = frame.bytes_mut();
    packet.emit(&mut bytes[link.header_len()..]).and_then(|()| link.emit(bytes)).map_err(|_| TooLong)
}

fn write_advertisement<F: Frame>(
    frame: &mut F,
    link: &ethernet::Header,
    src: Ipv6Addr,
    dst: Ipv6Addr,
    advertisement: &ndp::Advertisement,
) -> Result<(), TooLong> {
    let network = link.header_len();
    let message = network + ipv6::HEADER_LEN;
    frame.resize(message + advertisement.message_len())?;
    let bytes = frame.bytes_mut();
    let header = ipv6::Repr {
        src,
        dst,
        next_header: Protocol::ICMPV6,
        payload_len: u16::try_from(advertisement.message_len()).map_err(|_| TooLong)?,
        hop_limit: ndp::HOP_LIMIT,
    };
    advertisement
        .emit(&mut bytes[message..], &src, &dst)
        .and_then(|()| header.emit(&mut bytes[network..]))
        .and_then(|()| link.emit(bytes))
        .map_err(|_| TooLong)
}
