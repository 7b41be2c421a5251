//! Parsing what was emitted gives the value back, for every value that is emitted; and what is answered is what was asked.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use core::net::{Ipv4Addr, Ipv6Addr};

use dataplane::wire::ethernet::Header;
use dataplane::wire::{
    Addresses, BufferTooShort, Check, Checks, EtherType, Flow, MacAddr, Packet, Protocol, Sum, VlanTag, arp, icmpv4,
    icmpv6, ipv4, ipv6, ndp, parse, udp,
};
use proptest::prelude::*;

fn mac() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(MacAddr)
}

fn unicast_mac() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(|[a, b, c, d, e, f]| MacAddr([a & 0xfe, b, c, d, e, f]))
}

fn addresses() -> impl Strategy<Value = Addresses> {
    prop_oneof![
        any::<(Ipv4Addr, Ipv4Addr)>().prop_map(|(src, dst)| Addresses::V4 { src, dst }),
        any::<(Ipv6Addr, Ipv6Addr)>().prop_map(|(src, dst)| Addresses::V6 { src, dst }),
    ]
}

/// Any tag but one of the reserved VLAN.
fn tag() -> impl Strategy<Value = VlanTag> {
    any::<u16>().prop_map(VlanTag).prop_filter("a VLAN that may be", |tag| tag.id() != 4_095)
}

fn link() -> impl Strategy<Value = Header> {
    let ether_type =
        any::<u16>().prop_filter("a tag is no payload", |&t| t != 0x8100 && t != 0x88a8).prop_map(EtherType);
    (mac(), unicast_mac(), proptest::option::of(tag()), ether_type).prop_map(|(dst, src, vlan, ether_type)| Header {
        dst,
        src,
        vlan,
        ether_type,
    })
}

/// A whole frame around an IP payload, built only with our own values.
fn frame(vlan: Option<u16>, addresses: Addresses, protocol: Protocol, hop_limit: u8, ip_payload: &[u8]) -> Vec<u8> {
    let payload_len = u16::try_from(ip_payload.len()).unwrap();
    let ether_type = match addresses {
        Addresses::V4 { .. } => EtherType::IPV4,
        Addresses::V6 { .. } => EtherType::IPV6,
    };
    let (dst, src) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
    let link = Header { dst, src, vlan: vlan.map(VlanTag), ether_type };
    let mut bytes = vec![0; link.header_len()];
    link.emit(&mut bytes).unwrap();
    match addresses {
        Addresses::V4 { src, dst } => {
            let mut header = [0; ipv4::Repr::LEN];
            ipv4::Repr { src, dst, protocol, payload_len }.emit(&mut header).unwrap();
            bytes.extend_from_slice(&header);
        }
        Addresses::V6 { src, dst } => {
            let mut header = [0; ipv6::Repr::LEN];
            ipv6::Repr { src, dst, next_header: protocol, payload_len, hop_limit }.emit(&mut header).unwrap();
            bytes.extend_from_slice(&header);
        }
    }
    bytes.extend_from_slice(ip_payload);
    bytes
}

fn udp_segment(flow: &Flow, payload: &[u8]) -> Vec<u8> {
    let payload_len = u16::try_from(payload.len()).unwrap();
    let mut segment = vec![0; udp::Repr::LEN];
    udp::Repr { src_port: flow.src_port, dst_port: flow.dst_port, payload_len }
        .emit(&mut segment, &flow.addresses, Sum::of(payload))
        .unwrap();
    segment.extend_from_slice(payload);
    segment
}

proptest! {
    #[test]
    fn mac_text(address in mac()) {
        prop_assert_eq!(address.to_string().parse(), Ok(address));
        prop_assert_eq!(address.to_string().to_uppercase().parse(), Ok(address));
        prop_assert!(address.is_unicast() != address.is_multicast());
    }

    #[test]
    fn mac_text_never_panics(text in ".*") {
        let _ = text.parse::<MacAddr>();
    }

    #[test]
    fn ethernet(header in link(), rest in proptest::collection::vec(any::<u8>(), 0..20)) {
        let mut bytes = vec![0xaa; header.header_len()];
        prop_assert_eq!(header.emit(&mut bytes), Ok(()));
        bytes.extend_from_slice(&rest);
        prop_assert_eq!(Header::parse(&bytes), Ok(header));
        prop_assert_eq!(header.emit(&mut bytes[..header.header_len() - 1]), Err(BufferTooShort));
        let own = MacAddr([2; 6]);
        prop_assert_eq!(header.reply(own), Header { dst: header.src, src: own, ..header });
    }

    #[test]
    fn arp_packets(
        request in any::<bool>(), sender_mac in mac(), target_mac in mac(), sender_ip: Ipv4Addr, target_ip: Ipv4Addr, pad in 0_usize..30,
    ) {
        let operation = if request { arp::Operation::Request } else { arp::Operation::Reply };
        let packet = arp::Packet { operation, sender_mac, sender_ip, target_mac, target_ip };
        let mut bytes = vec![0xaa; arp::Packet::LEN + pad];
        prop_assert_eq!(packet.emit(&mut bytes), Ok(()));
        prop_assert_eq!(arp::Packet::parse(&bytes), Ok(packet));
        prop_assert_eq!(packet.emit(&mut bytes[..27]), Err(BufferTooShort));
    }

    #[test]
    fn ipv4_headers(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload_len in 0_u16..2000, pad in 0_usize..50) {
        let repr = ipv4::Repr { src, dst, protocol: Protocol(protocol), payload_len };
        let mut bytes = vec![0xaa; ipv4::Repr::LEN + usize::from(payload_len) + pad];
        prop_assert_eq!(repr.emit(&mut bytes), Ok(()));
        let packet = ipv4::Packet::parse(&bytes, Check::Verify).unwrap();
        let payload_len = u16::try_from(packet.payload().len()).unwrap();
        let back = ipv4::Repr { src: packet.src(), dst: packet.dst(), protocol: packet.protocol(), payload_len };
        prop_assert_eq!(back, repr);
        prop_assert_eq!(packet.header_len(), 20);
        // RFC 6864 §4.1: atomic, so DF is set and the identification says nothing.
        prop_assert_eq!(&bytes[4..9], &[0, 0, 0x40, 0, ipv4::TTL]);
        prop_assert_eq!(repr.emit(&mut bytes[..19]), Err(BufferTooShort));
    }

    #[test]
    fn ipv6_headers(src: Ipv6Addr, dst: Ipv6Addr, next: u8, hop_limit: u8, payload_len in 0_u16..2000, pad in 0_usize..50) {
        prop_assume!(![0, 44, 60].contains(&next));
        let repr = ipv6::Repr { src, dst, next_header: Protocol(next), payload_len, hop_limit };
        let mut bytes = vec![0xaa; ipv6::Repr::LEN + usize::from(payload_len) + pad];
        prop_assert_eq!(repr.emit(&mut bytes), Ok(()));
        let packet = ipv6::Packet::parse(&bytes).unwrap();
        let back = ipv6::Repr {
            src: packet.src(),
            dst: packet.dst(),
            next_header: packet.next_header(),
            payload_len: u16::try_from(packet.payload().len()).unwrap(),
            hop_limit: packet.hop_limit(),
        };
        prop_assert_eq!(back, repr);
        prop_assert_eq!(repr.emit(&mut bytes[..39]), Err(BufferTooShort));
    }

    #[test]
    fn udp_datagrams(
        addresses in addresses(), src_port: u16, dst_port: u16, payload in proptest::collection::vec(any::<u8>(), 0..1600),
        vlan in proptest::option::of(tag()), pad in 0_usize..50,
    ) {
        let flow = Flow { addresses, src_port, dst_port };
        let mut bytes = frame(vlan.map(|tag| tag.0), addresses, Protocol::UDP, 64, &udp_segment(&flow, &payload));
        bytes.resize(bytes.len() + pad, 0x55);
        let parsed = parse(&bytes, Checks::VERIFY).unwrap();
        prop_assert_eq!(parsed.link.vlan, vlan);
        let Packet::Udp { flow: found, payload: span } = parsed.packet else { panic!("{parsed:?}") };
        prop_assert_eq!(found, flow);
        prop_assert_eq!(&bytes[span.range()], &payload[..]);
        prop_assert_eq!(usize::from(span.len()), payload.len());
    }

    /// What the engine leaves for a port's offload becomes, once the port has added the rest, what `emit` writes.
    #[test]
    fn udp_offload_completes_to_the_same(
        addresses in addresses(), src_port: u16, dst_port: u16, payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let flow = Flow { addresses, src_port, dst_port };
        let whole = udp_segment(&flow, &payload);
        let mut left = whole.clone();
        let payload_len = u16::try_from(payload.len()).unwrap();
        udp::Repr { src_port, dst_port, payload_len }.emit_for_offload(&mut left, &addresses).unwrap();
        let completed = match Sum::of(&left).finish() {
            0 => 0xffff,
            sum => sum,
        };
        left[6..8].copy_from_slice(&completed.to_be_bytes());
        prop_assert_eq!(left, whole);
    }

    #[test]
    fn ipv4_offload_leaves_the_checksum_zero(src: Ipv4Addr, dst: Ipv4Addr) {
        let repr = ipv4::Repr { src, dst, protocol: Protocol::UDP, payload_len: 0 };
        let (mut left, mut whole) = ([0xaa; 20], [0xaa; 20]);
        repr.emit_for_offload(&mut left).unwrap();
        repr.emit(&mut whole).unwrap();
        whole[10..12].fill(0);
        prop_assert_eq!(left, whole);
    }

    #[test]
    fn neighbour_advertisements(
        src: Ipv6Addr, dst: Ipv6Addr, target: Ipv6Addr, flags in any::<(bool, bool, bool)>(), target_mac in proptest::option::of(mac()),
    ) {
        let (router, solicited, override_entry) = flags;
        prop_assume!(!(target.is_multicast() || solicited && dst.is_multicast()));
        let advertisement = ndp::Advertisement { target, router, solicited, override_entry, target_mac };
        let mut message = vec![0xaa; advertisement.message_len()];
        prop_assert_eq!(advertisement.emit(&mut message, &src, &dst), Ok(()));
        let bytes = frame(None, Addresses::V6 { src, dst }, Protocol::ICMPV6, ndp::HOP_LIMIT, &message);
        let Packet::Icmpv6 { message: found, .. } = parse(&bytes, Checks::VERIFY).unwrap().packet else { panic!() };
        prop_assert_eq!(found, icmpv6::Message::NeighbourAdvertisement(advertisement));
        let short = message.len() - 1;
        prop_assert_eq!(advertisement.emit(&mut message[..short], &src, &dst), Err(BufferTooShort));
    }

    /// The echo reply, made in place, is a valid message with the request's identifier, sequence and data.
    #[test]
    fn echo_answers(addresses in addresses(), body in proptest::collection::vec(any::<u8>(), 4..200)) {
        let (kind, protocol) = match addresses {
            Addresses::V4 { .. } => (8, Protocol::ICMP),
            Addresses::V6 { .. } => (128, Protocol::ICMPV6),
        };
        let mut message = vec![kind, 0, 0, 0];
        message.extend_from_slice(&body);
        let len = u16::try_from(message.len()).unwrap();
        let pseudo = match addresses {
            Addresses::V4 { .. } => Sum::ZERO,
            Addresses::V6 { .. } => addresses.pseudo_header(protocol, len),
        };
        let checksum = pseudo.add_bytes(&message).finish();
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        let mut bytes = frame(Some(7), addresses, protocol, 64, &message);
        let (identifier, sequence) = (u16::from_be_bytes([body[0], body[1]]), u16::from_be_bytes([body[2], body[3]]));
        let span = match parse(&bytes, Checks::VERIFY).unwrap().packet {
            Packet::Icmpv4 { message, span, .. } => {
                prop_assert_eq!(message, icmpv4::Message::EchoRequest { identifier, sequence });
                prop_assert_eq!(icmpv4::answer_echo(&mut bytes[span.range()]), Ok(()));
                prop_assert!(Sum::of(&bytes[span.range()]).is_valid());
                prop_assert_eq!(bytes[usize::from(span.start())], 0);
                span
            }
            Packet::Icmpv6 { src, dst, message, span } => {
                prop_assert_eq!(message, icmpv6::Message::EchoRequest { identifier, sequence });
                prop_assert_eq!(icmpv6::answer_echo(&mut bytes[span.range()], &dst, &src), Ok(()));
                let sum = addresses.reversed().pseudo_header(protocol, len).add_bytes(&bytes[span.range()]);
                prop_assert!(sum.is_valid());
                prop_assert_eq!(bytes[usize::from(span.start())], 129);
                span
            }
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(&bytes[span.range()][4..], &body[..]);
        // A second answer would be an answer to an answer.
        prop_assert!(icmpv4::answer_echo(&mut bytes[span.range()]).is_err());
        prop_assert!(icmpv6::answer_echo(&mut bytes[span.range()], &Ipv6Addr::LOCALHOST, &Ipv6Addr::LOCALHOST).is_err());
    }

    /// The error that a receiver sends about a datagram of ours names that datagram's flow, however much it quotes beyond 8 bytes.
    #[test]
    fn unreachable_quotes(
        addresses in addresses(), src_port: u16, dst_port: u16, payload in proptest::collection::vec(any::<u8>(), 0..60),
        code: u8, cut in any::<proptest::sample::Index>(),
    ) {
        let flow = Flow { addresses, src_port, dst_port };
        let sent = &frame(None, addresses, Protocol::UDP, 64, &udp_segment(&flow, &payload))[14..];
        let quote = &sent[..cut.index(sent.len() + 1)];
        let (kind, protocol, enough) = match addresses {
            Addresses::V4 { .. } => (3, Protocol::ICMP, 28),
            Addresses::V6 { .. } => (1, Protocol::ICMPV6, 48),
        };
        let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(quote);
        let back = addresses.reversed();
        let pseudo = match addresses {
            Addresses::V4 { .. } => Sum::ZERO,
            Addresses::V6 { .. } => back.pseudo_header(protocol, u16::try_from(message.len()).unwrap()),
        };
        let checksum = pseudo.add_bytes(&message).finish();
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        let bytes = frame(None, back, protocol, 64, &message);
        let found = match parse(&bytes, Checks::VERIFY).unwrap().packet {
            Packet::Icmpv4 { message: icmpv4::Message::DestinationUnreachable { code: c, quoted }, .. }
            | Packet::Icmpv6 { message: icmpv6::Message::DestinationUnreachable { code: c, quoted }, .. } => (c, quoted),
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(found, (code, (quote.len() >= enough).then_some(flow)));
    }
}

/// A payload chosen so that the computed checksum is zero is sent with all ones (RFC 768).
#[test]
fn rfc768_computed_zero_is_sent_as_ones() {
    let addresses = Addresses::V4 { src: Ipv4Addr::new(192, 0, 2, 1), dst: Ipv4Addr::new(192, 0, 2, 2) };
    let flow = Flow { addresses, src_port: 69, dst_port: 2000 };
    let plain = udp_segment(&flow, &[0, 0]);
    // What is missing to all ones is exactly the checksum itself.
    let segment = udp_segment(&flow, &plain[6..8]);
    assert_eq!(&segment[6..8], &[0xff, 0xff]);
    let bytes = frame(None, addresses, Protocol::UDP, 64, &segment);
    assert!(parse(&bytes, Checks::VERIFY).is_ok());
}

/// An echo request of zeros but for its type: the reply's checksum is all ones, not the zero of an incremental update.
#[test]
fn rfc1624_echo_reply_of_zeros() {
    let mut message = [8, 0, 0xf7, 0xff, 0, 0, 0, 0, 0, 0];
    assert!(Sum::of(&message).is_valid());
    assert_eq!(icmpv4::answer_echo(&mut message), Ok(()));
    assert_eq!(message, [0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn mac_text_is_strict() {
    assert_eq!(MacAddr([0, 1, 2, 0xab, 0xcd, 0xef]).to_string(), "00:01:02:ab:cd:ef");
    for wrong in [
        "",
        "00:01:02:03:04",
        "00:01:02:03:04:05:06",
        "0:1:2:3:4:5",
        "+0:01:02:03:04:05",
        "00-01-02-03-04-05",
        "00:01:02:03:04:0g",
    ] {
        assert!(wrong.parse::<MacAddr>().is_err(), "{wrong}");
    }
    assert!(MacAddr::BROADCAST.is_broadcast() && MacAddr::BROADCAST.is_multicast());
}

#[test]
fn vlan_tag_fields() {
    let tag = VlanTag(0xb064);
    assert_eq!((tag.priority(), tag.id()), (5, 100));
}

#[test]
fn rfc5227_kinds_of_arp() {
    let (host, own) = (MacAddr([2, 0, 0, 0, 0, 9]), MacAddr([2, 0, 0, 0, 0, 1]));
    let (a, b) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    let packet = |operation, sender_ip, target_ip| arp::Packet {
        operation,
        sender_mac: host,
        sender_ip,
        target_mac: MacAddr::default(),
        target_ip,
    };
    let request = packet(arp::Operation::Request, a, b);
    assert!(!request.is_gratuitous() && !request.is_announcement() && !request.is_probe());
    let announcement = packet(arp::Operation::Request, a, a);
    assert!(announcement.is_gratuitous() && announcement.is_announcement() && !announcement.is_probe());
    let gratuitous = packet(arp::Operation::Reply, a, a);
    assert!(gratuitous.is_gratuitous() && !gratuitous.is_announcement());
    let probe = packet(arp::Operation::Request, Ipv4Addr::UNSPECIFIED, a);
    assert!(probe.is_probe() && !probe.is_gratuitous());
    let nothing = packet(arp::Operation::Request, Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED);
    assert!(!nothing.is_announcement());
    let reply = request.reply(own);
    assert_eq!((reply.operation, reply.sender_mac, reply.sender_ip), (arp::Operation::Reply, own, b));
    assert_eq!((reply.target_mac, reply.target_ip), (host, a));
}

#[test]
fn ipv6_addresses_from_macs() {
    let mac = MacAddr([0x00, 0x1b, 0x21, 0x3c, 0x4d, 0x5e]);
    assert_eq!(ipv6::link_local_from_mac(mac).to_string(), "fe80::21b:21ff:fe3c:4d5e");
    let group = ipv6::solicited_node("2001:db8::1:800:200e:8c6c".parse().unwrap());
    assert_eq!(group.to_string(), "ff02::1:ff0e:8c6c");
    assert_eq!(ipv6::multicast_mac(group).to_string(), "33:33:ff:0e:8c:6c");
}
