//! Our parser against etherparse: on frames that its builder makes, and on the same frames bent and cut.
//!
//! What we take, etherparse must take and see the same way, checksums included. What we refuse, it must refuse too, or the
//! refusal must be one where we are stricter on purpose:
//! - a second VLAN tag and a service tag (we answer with one tag at most), the reserved VLAN 4095, a source that is a group (the
//!   answer would reach many);
//! - every fragment, because nothing is reassembled, even an IPv6 one that says that nothing was cut;
//! - IPv6 option headers: at most three, with well-formed options that need not be understood (RFC 8200 §4.2);
//! - UDP length 0 and IPv6 payload length 0, which etherparse takes for "up to the end" (jumbograms): RFC 768 has a minimum of 8;
//! - ARP about anything but IPv4 over Ethernet; neighbour discovery against RFC 4861 §7.1, of which etherparse has no opinion;
//! - checksums, which etherparse computes only when asked: here it is.
//!
//! Where etherparse is stricter (TCP and IGMP headers, authentication headers, ICMP timestamps) its lax slicing is asked instead,
//! because those are not ours to check.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dataplane::wire::{Check, Checks, Flow, Malformed, Packet, Parsed, arp, icmpv4, icmpv6, parse};
use etherparse::checksum::Sum16BitWords;
use etherparse::err::packet::SliceError;
use etherparse::{
    ArpEthIpv4Packet, ArpOperation, ArpPacket, EtherType, IpHeaders, IpNumber, Ipv4Header, Ipv4Options,
    Ipv6ExtensionSlice, Ipv6Extensions, Ipv6Header, Ipv6RawExtHeader, LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket,
    LinkExtSlice, LinkSlice, NetSlice, PacketBuilder, SingleVlanHeader, SlicedPacket, TransportSlice, UdpSlice,
    VlanHeader, VlanId,
};
use proptest::prelude::*;
use proptest::sample::Index;

/// What the IP header of a built frame is.
#[derive(Clone, Debug)]
enum Net {
    V4 { src: Ipv4Addr, dst: Ipv4Addr, option_words: usize },
    V6 { src: Ipv6Addr, dst: Ipv6Addr, hop_by_hop: bool, destination: bool },
}

/// What a built frame carries.
#[derive(Clone, Debug)]
enum Carried {
    Arp { request: bool, sender: [u8; 4], target: [u8; 4] },
    Udp { net: Net, src_port: u16, dst_port: u16 },
    Echo { net: Net, id: u16, seq: u16 },
    Other { net: Net },
}

#[derive(Clone, Debug)]
struct Built {
    dst: [u8; 6],
    src: [u8; 6],
    vlan: Option<u16>,
    carried: Carried,
    payload: Vec<u8>,
}

fn net() -> impl Strategy<Value = Net> {
    prop_oneof![
        (any::<Ipv4Addr>(), any::<Ipv4Addr>(), prop_oneof![3 => Just(0_usize), 1 => 1_usize..=10])
            .prop_map(|(src, dst, option_words)| Net::V4 { src, dst, option_words }),
        (any::<Ipv6Addr>(), any::<Ipv6Addr>(), any::<bool>(), any::<bool>())
            .prop_map(|(src, dst, hop_by_hop, destination)| Net::V6 { src, dst, hop_by_hop, destination }),
    ]
}

fn built() -> impl Strategy<Value = Built> {
    let carried = prop_oneof![
        1 => any::<(bool, [u8; 4], [u8; 4])>().prop_map(|(request, sender, target)| Carried::Arp { request, sender, target }),
        4 => (net(), any::<u16>(), any::<u16>()).prop_map(|(net, src_port, dst_port)| Carried::Udp { net, src_port, dst_port }),
        2 => (net(), any::<u16>(), any::<u16>()).prop_map(|(net, id, seq)| Carried::Echo { net, id, seq }),
        1 => net().prop_map(|net| Carried::Other { net }),
    ];
    let payload = proptest::collection::vec(any::<u8>(), 0..100);
    (any::<[u8; 6]>(), any::<[u8; 6]>(), proptest::option::of(0_u16..4095), carried, payload).prop_map(
        |(dst, mut src, vlan, carried, payload)| {
            src[0] &= 0xfe;
            Built { dst, src, vlan, carried, payload }
        },
    )
}

impl Net {
    fn headers(&self) -> IpHeaders {
        match *self {
            Self::V4 { src, dst, option_words } => {
                let options = Ipv4Options::try_from(&[1; 40][..option_words * 4]).unwrap();
                let mut header = Ipv4Header::new(0, 64, IpNumber::UDP, src.octets(), dst.octets()).unwrap();
                header.options = options;
                IpHeaders::Ipv4(header, Default::default())
            }
            Self::V6 { src, dst, hop_by_hop, destination } => {
                let padding = Ipv6RawExtHeader::new_raw(IpNumber::UDP, &[1, 4, 0, 0, 0, 0]).unwrap();
                let extensions = Ipv6Extensions {
                    hop_by_hop_options: hop_by_hop.then(|| padding.clone()),
                    destination_options: destination.then_some(padding),
                    ..Ipv6Extensions::default()
                };
                let header = Ipv6Header {
                    hop_limit: 64,
                    source: src.octets(),
                    destination: dst.octets(),
                    ..Ipv6Header::default()
                };
                IpHeaders::Ipv6(header, extensions)
            }
        }
    }

    fn pair(&self) -> (IpAddr, IpAddr) {
        match *self {
            Self::V4 { src, dst, .. } => (src.into(), dst.into()),
            Self::V6 { src, dst, .. } => (src.into(), dst.into()),
        }
    }
}

impl Built {
    fn frame(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let link = PacketBuilder::ethernet2(self.src, self.dst);
        let tag = self.vlan.map(|id| {
            VlanHeader::Single(SingleVlanHeader {
                vlan_id: VlanId::try_new(id).unwrap(),
                ..SingleVlanHeader::default()
            })
        });
        let net = match &self.carried {
            Carried::Arp { request, sender, target } => {
                let operation = if *request { ArpOperation::REQUEST } else { ArpOperation::REPLY };
                let arp: ArpPacket = ArpEthIpv4Packet {
                    operation,
                    sender_mac: self.src,
                    sender_ipv4: *sender,
                    target_mac: self.dst,
                    target_ipv4: *target,
                }
                .into();
                match tag {
                    Some(tag) => link.vlan(tag).arp(arp).write(&mut out).unwrap(),
                    None => link.arp(arp).write(&mut out).unwrap(),
                }
                return out;
            }
            Carried::Udp { net, .. } | Carried::Echo { net, .. } | Carried::Other { net } => net,
        };
        let ip = match tag {
            Some(tag) => link.vlan(tag).ip(net.headers()),
            None => link.ip(net.headers()),
        };
        match (&self.carried, net) {
            (Carried::Udp { src_port, dst_port, .. }, _) => {
                ip.udp(*src_port, *dst_port).write(&mut out, &self.payload).unwrap();
            }
            (Carried::Echo { id, seq, .. }, Net::V4 { .. }) => {
                ip.icmpv4_echo_request(*id, *seq).write(&mut out, &self.payload).unwrap();
            }
            (Carried::Echo { id, seq, .. }, Net::V6 { .. }) => {
                ip.icmpv6_echo_request(*id, *seq).write(&mut out, &self.payload).unwrap();
            }
            _ => ip.write(&mut out, IpNumber(253), &self.payload).unwrap(),
        }
        out
    }
}

/// Whether the words of `bytes` add up to all ones, by etherparse.
fn adds_up(bytes: &[u8]) -> bool {
    Sum16BitWords::new().add_slice(bytes).ones_complement() == 0
}

/// Whether a UDP checksum is right, by etherparse.
fn udp_adds_up(net: &NetSlice<'_>, udp: &UdpSlice<'_>) -> bool {
    let header = udp.to_header();
    let computed = match net {
        NetSlice::Ipv4(ip) => {
            header.calc_checksum_ipv4_raw(ip.header().source(), ip.header().destination(), udp.payload())
        }
        NetSlice::Ipv6(ip) => {
            header.calc_checksum_ipv6_raw(ip.header().source(), ip.header().destination(), udp.payload())
        }
        NetSlice::Arp(_) => panic!("UDP over ARP"),
    };
    computed.unwrap() == header.checksum
}

fn offset(frame: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - frame.as_ptr() as usize
}

/// What we took, seen by etherparse.
fn agree_taken(frame: &[u8], parsed: &Parsed, checks: Checks) {
    let lax = LaxSlicedPacket::from_ethernet(frame).unwrap();
    let Some(LinkSlice::Ethernet2(link)) = &lax.link else { panic!("no link header") };
    assert_eq!((parsed.link.dst.0, parsed.link.src.0), (link.destination(), link.source()));
    // Etherparse knows more tags (0x9100, MACsec); to us those are other EtherTypes.
    let first_ext = match lax.link_exts.first() {
        Some(LaxLinkExtSlice::Vlan(vlan)) if link.ether_type() == EtherType::VLAN_TAGGED_FRAME => Some(vlan),
        _ => None,
    };
    let tag = parsed.link.vlan;
    assert_eq!(tag.map(|tag| tag.id()), first_ext.map(|vlan| vlan.vlan_identifier().value()));
    assert_eq!(tag.map(|tag| tag.priority()), first_ext.map(|vlan| u16::from(vlan.priority_code_point().value())));
    let ether_type = first_ext.map_or_else(|| link.ether_type(), |vlan| vlan.ether_type());
    assert_eq!(parsed.link.ether_type.0, ether_type.0);

    // The IP header, of whatever it carries.
    if let Some(LaxNetSlice::Ipv4(ip)) = &lax.net {
        assert!(checks.ip == Check::Trust || adds_up(ip.header().slice()), "header checksum");
        assert!(!ip.is_payload_fragmented());
    }
    match parsed.packet {
        Packet::Udp { flow, payload } => {
            let strict = SlicedPacket::from_ethernet(frame).unwrap();
            let net = strict.net.unwrap();
            let Some(TransportSlice::Udp(udp)) = strict.transport else { panic!("not UDP") };
            assert_eq!((flow.src_port, flow.dst_port), (udp.source_port(), udp.destination_port()));
            assert_eq!(
                payload.range(),
                offset(frame, udp.payload())..offset(frame, udp.payload()) + udp.payload().len()
            );
            let pair: (IpAddr, IpAddr) = match &net {
                NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
                NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
                NetSlice::Arp(_) => panic!("UDP over ARP"),
            };
            assert_eq!((flow.addresses.src(), flow.addresses.dst()), pair);
            let unsummed = udp.checksum() == 0 && matches!(net, NetSlice::Ipv4(_));
            assert!(checks.udp == Check::Trust || unsummed || udp_adds_up(&net, &udp), "UDP checksum");
        }
        Packet::Arp(found) => {
            let Some(LaxNetSlice::Arp(arp)) = &lax.net else { panic!("not ARP") };
            let theirs = arp.to_packet().try_eth_ipv4().unwrap();
            assert_eq!(found.operation == arp::Operation::Request, theirs.operation == ArpOperation::REQUEST);
            assert_eq!((found.sender_mac.0, found.target_mac.0), (theirs.sender_mac, theirs.target_mac));
            assert_eq!(found.sender_ip, theirs.sender_ipv4_addr());
            assert_eq!(found.target_ip, theirs.target_ipv4_addr());
        }
        Packet::Icmpv4 { src, dst, message, span } => {
            let Some(LaxNetSlice::Ipv4(ip)) = &lax.net else { panic!("not IPv4") };
            assert_eq!((src, dst), (ip.header().source_addr(), ip.header().destination_addr()));
            let whole = ip.payload().payload;
            assert_eq!(&frame[span.range()], whole);
            assert!(adds_up(whole), "ICMP checksum");
            let (kind, code) = (whole[0], whole[1]);
            match message {
                icmpv4::Message::EchoRequest { .. } => assert_eq!((kind, code), (8, 0)),
                icmpv4::Message::DestinationUnreachable { code: found, .. } => assert_eq!((3, found), (kind, code)),
                icmpv4::Message::Other { kind: k, code: c } => assert_eq!((k, c), (kind, code)),
            }
        }
        Packet::Icmpv6 { src, dst, message, span } => {
            let strict = SlicedPacket::from_ethernet(frame).unwrap();
            let Some(NetSlice::Ipv6(ip)) = &strict.net else { panic!("not IPv6") };
            let Some(TransportSlice::Icmpv6(icmp)) = &strict.transport else { panic!("not ICMPv6") };
            assert_eq!((src, dst), (ip.header().source_addr(), ip.header().destination_addr()));
            assert_eq!(&frame[span.range()], icmp.slice());
            assert!(icmp.is_checksum_valid(src.octets(), dst.octets()));
            if let icmpv6::Message::EchoRequest { .. } = message {
                assert_eq!((icmp.type_u8(), icmp.code_u8()), (128, 0));
            }
        }
        Packet::OtherIp(protocol) => match &lax.net {
            Some(LaxNetSlice::Ipv4(ip)) => assert_eq!(protocol.0, ip.header().protocol().0),
            Some(LaxNetSlice::Ipv6(ip)) => {
                // Etherparse walks over more kinds of extension headers than we; it stops where we do or later.
                let walked_further = matches!(protocol.0, 43 | 51);
                let empty = ip.header().payload_length() == 0;
                assert!(walked_further || empty || ip.payload().ip_number.0 == protocol.0);
            }
            other => panic!("not IP: {other:?}"),
        },
        Packet::OtherEtherType(_) => assert!(!matches!(
            ether_type,
            EtherType::ARP | EtherType::IPV4 | EtherType::IPV6 | EtherType::VLAN_TAGGED_FRAME
        )),
    }
}

/// What we refused, seen by etherparse: it refuses, too, or we are stricter on purpose.
fn agree_refused(frame: &[u8], cause: Malformed) {
    let strict = SlicedPacket::from_ethernet(frame);
    let short = matches!(strict, Err(SliceError::Len(_)));
    let net = strict.as_ref().ok().and_then(|packet| packet.net.clone());
    let transport = strict.as_ref().ok().and_then(|packet| packet.transport.clone());
    let lax_net = LaxSlicedPacket::from_ethernet(frame).ok().and_then(|packet| packet.net);
    let empty_ipv6 = matches!(&lax_net, Some(LaxNetSlice::Ipv6(ip)) if ip.header().payload_length() == 0);
    let agreed = match cause {
        Malformed::Runt | Malformed::Ipv4TotalLength | Malformed::Ipv6HeaderLength | Malformed::Ipv6PayloadLength => {
            short
        }
        Malformed::Oversized => frame.len() > 65_535,
        Malformed::DoubleTag => {
            let tags = strict
                .as_ref()
                .map_or(2, |packet| packet.link_exts.iter().filter(|ext| matches!(ext, LinkExtSlice::Vlan(_))).count());
            tags >= 2 || frame[12..14] == [0x88, 0xa8]
        }
        Malformed::ReservedVlan => frame[14] & 0x0F == 0x0F && frame[15] == 0xFF,
        Malformed::GroupSource => frame[6] & 1 == 1,
        Malformed::ArpMalformed => match net {
            Some(NetSlice::Arp(arp)) => arp
                .to_packet()
                .try_eth_ipv4()
                .map_or(true, |packet| ![ArpOperation::REQUEST, ArpOperation::REPLY].contains(&packet.operation)),
            _ => short,
        },
        Malformed::Ipv4Version => short || matches!(strict, Err(SliceError::Ipv4(_))),
        Malformed::Ipv4HeaderLength => short || matches!(strict, Err(SliceError::Ipv4(_))),
        Malformed::Ipv6Version => matches!(strict, Err(SliceError::Ipv6(_))),
        Malformed::Ipv4Checksum => {
            let Some(LaxNetSlice::Ipv4(ip)) = lax_net else { panic!("not IPv4") };
            !adds_up(ip.header().slice())
        }
        Malformed::Fragment => match lax_net {
            Some(LaxNetSlice::Ipv4(ip)) => ip.is_payload_fragmented(),
            Some(LaxNetSlice::Ipv6(ip)) => {
                short || ip.header().next_header().0 == 44 || {
                    ip.extensions().clone().into_iter().any(|ext| matches!(ext, Ipv6ExtensionSlice::Fragment(_)))
                }
            }
            other => panic!("not IP: {other:?}"),
        },
        // Options are not looked into by etherparse, so that it has nothing to say if it could slice the header.
        Malformed::Ipv6Extension => {
            strict.is_err() || matches!(net, Some(NetSlice::Ipv6(ip)) if !ip.extensions().is_empty())
        }
        Malformed::UdpLength => {
            let unset = matches!(&transport, Some(TransportSlice::Udp(udp)) if udp.length() == 0);
            short || unset || empty_ipv6
        }
        Malformed::UdpChecksum => {
            let (Some(net), Some(TransportSlice::Udp(udp))) = (&net, &transport) else { panic!("not UDP") };
            udp.checksum() != 0 && !udp_adds_up(net, udp)
        }
        Malformed::UdpChecksumMissing => {
            matches!((&net, &transport), (Some(NetSlice::Ipv6(_)), Some(TransportSlice::Udp(udp))) if udp.checksum() == 0)
        }
        Malformed::IcmpMalformed => short || empty_ipv6,
        Malformed::IcmpChecksum => match lax_net {
            Some(LaxNetSlice::Ipv4(ip)) => !adds_up(ip.payload().payload),
            Some(LaxNetSlice::Ipv6(ip)) => {
                let Some(TransportSlice::Icmpv6(icmp)) = &transport else { panic!("not ICMPv6") };
                !icmp.is_checksum_valid(ip.header().source(), ip.header().destination())
            }
            other => panic!("not IP: {other:?}"),
        },
        Malformed::NdpMalformed => {
            matches!(&transport, Some(TransportSlice::Icmpv6(icmp)) if [135, 136].contains(&icmp.type_u8()))
        }
    };
    assert!(agreed, "refused as {cause}, but etherparse says {strict:?}");
}

/// How a frame is bent.
#[derive(Clone, Debug)]
enum Bend {
    /// Replaces one of the first bytes, where the headers are.
    Byte(Index, u8),
    /// Replaces one of the bytes that say most: EtherType, version, lengths, fragment, protocol.
    Field(Index, Index),
    /// Cuts the frame.
    Cut(Index),
    /// Pads the frame.
    Pad(u8),
    /// Makes the IPv4 header's checksum right again.
    Mend,
    /// Puts one more tag in front of the others: a customer's or a service provider's.
    Tag(bool),
    /// Takes the UDP checksum away.
    Unsum,
}

fn bend() -> impl Strategy<Value = Bend> {
    prop_oneof![
        any::<(Index, u8)>().prop_map(|(at, value)| Bend::Byte(at, value)),
        any::<(Index, Index)>().prop_map(|(at, value)| Bend::Field(at, value)),
        any::<Index>().prop_map(Bend::Cut),
        any::<u8>().prop_map(Bend::Pad),
        Just(Bend::Mend),
        any::<bool>().prop_map(Bend::Tag),
        Just(Bend::Unsum),
    ]
}

fn apply(frame: &mut Vec<u8>, link_len: usize, bend: &Bend) {
    if frame.is_empty() {
        return;
    }
    match bend {
        Bend::Byte(at, value) => {
            let at = at.index(frame.len().min(90));
            frame[at] = *value;
        }
        Bend::Field(at, value) => {
            // Offsets of fields from the IP header's begin, UDP's and extension headers' among them.
            let offsets = [0, 2, 3, 4, 5, 6, 7, 9, 20, 24, 25, 26, 27, 40, 41, 42, 44, 45, 46, 47, 48, 49];
            let values =
                [0, 1, 6, 7, 8, 17, 20, 28, 43, 44, 51, 58, 60, 0x20, 0x40, 0x44, 0x45, 0x46, 0x60, 0x81, 0xff];
            let at = link_len + offsets[at.index(offsets.len())];
            if let Some(byte) = frame.get_mut(at) {
                *byte = values[value.index(values.len())];
            }
        }
        Bend::Cut(at) => frame.truncate(at.index(frame.len())),
        Bend::Pad(len) => frame.resize(frame.len() + usize::from(*len), 0),
        Bend::Tag(service) => {
            let at = frame.len().min(12);
            frame.splice(at..at, [if *service { 0x88 } else { 0x81 }, if *service { 0xa8 } else { 0 }, 0x20, 7]);
        }
        Bend::Unsum => {
            let ip_len = if frame.get(link_len).is_some_and(|first| first >> 4 == 4) { 20 } else { 40 };
            if let Some(checksum) = frame.get_mut(link_len + ip_len + 6..link_len + ip_len + 8) {
                checksum.fill(0);
            }
        }
        Bend::Mend => {
            if let Some(header) = frame.get_mut(link_len..link_len + 20).filter(|header| header[0] == 0x45) {
                header[10..12].fill(0);
                let checksum = Sum16BitWords::new().add_slice(header).ones_complement().to_be();
                header[10..12].copy_from_slice(&checksum.to_be_bytes());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]

    #[test]
    fn frames_of_etherparse(built in built(), pad in 0_usize..30) {
        let mut frame = built.frame();
        frame.resize(frame.len() + pad, 0x55);
        let parsed = parse(&frame, Checks::VERIFY).unwrap();
        agree_taken(&frame, &parsed, Checks::VERIFY);
        prop_assert_eq!((parsed.link.dst.0, parsed.link.src.0), (built.dst, built.src));
        prop_assert_eq!(parsed.link.vlan.map(|tag| tag.id()), built.vlan);
        match (&built.carried, parsed.packet) {
            (Carried::Udp { net, src_port, dst_port }, Packet::Udp { flow: Flow { addresses, src_port: s, dst_port: d }, payload }) => {
                prop_assert_eq!((s, d), (*src_port, *dst_port));
                prop_assert_eq!((addresses.src(), addresses.dst()), net.pair());
                prop_assert_eq!(&frame[payload.range()], &built.payload[..]);
            }
            (Carried::Echo { id, seq, .. }, Packet::Icmpv4 { message: icmpv4::Message::EchoRequest { identifier, sequence }, .. })
            | (Carried::Echo { id, seq, .. }, Packet::Icmpv6 { message: icmpv6::Message::EchoRequest { identifier, sequence }, .. }) => {
                prop_assert_eq!((identifier, sequence), (*id, *seq));
            }
            (Carried::Arp { request, sender, target }, Packet::Arp(arp)) => {
                prop_assert_eq!(arp.operation == arp::Operation::Request, *request);
                prop_assert_eq!((arp.sender_ip.octets(), arp.target_ip.octets()), (*sender, *target));
            }
            (Carried::Other { .. }, Packet::OtherIp(protocol)) => prop_assert_eq!(protocol.0, 253),
            (carried, packet) => panic!("{carried:?} became {packet:?}"),
        }
    }

    #[test]
    fn frames_bent_and_cut(
        built in built(), bends in proptest::collection::vec(bend(), 1..5), ip in any::<bool>(), udp in any::<bool>(),
    ) {
        let mut frame = built.frame();
        let link_len = if built.vlan.is_some() { 18 } else { 14 };
        for bend in &bends {
            apply(&mut frame, link_len, bend);
        }
        let check = |verify| if verify { Check::Verify } else { Check::Trust };
        let checks = Checks { ip: check(ip), udp: check(udp) };
        match parse(&frame, checks) {
            Ok(parsed) => agree_taken(&frame, &parsed, checks),
            Err(cause) => agree_refused(&frame, cause),
        }
    }
}
