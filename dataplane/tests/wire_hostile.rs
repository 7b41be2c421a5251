//! Hostile input below UDP: the rows of the table "Below UDP", each cause of a drop, and the rules of RFC 4861 §7.1, by name.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use core::net::{Ipv4Addr, Ipv6Addr};

use dataplane::wire::ethernet::Header;
use dataplane::wire::{
    Addresses, Checks, EtherType, Flow, MacAddr, Malformed, Packet, Protocol, Sum, icmpv6, ipv4, ipv6, ndp, parse, udp,
};
use proptest::prelude::*;

const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

const V4: Addresses = Addresses::V4 { src: Ipv4Addr::new(192, 0, 2, 2), dst: Ipv4Addr::new(192, 0, 2, 1) };
const V6: Addresses = Addresses::V6 {
    src: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2),
    dst: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
};

/// First byte of the IP header in an untagged frame.
const IP: usize = 14;
/// First byte of the UDP header behind an IPv4 header without options.
const UDP4: usize = IP + 20;
/// The same behind an IPv6 header.
const UDP6: usize = IP + 40;

/// An IP packet in an untagged frame.
fn ip_frame(addresses: Addresses, protocol: Protocol, hop_limit: u8, ip_payload: &[u8]) -> Vec<u8> {
    let payload_len = u16::try_from(ip_payload.len()).unwrap();
    let mut bytes = vec![0; UDP6];
    let ether_type = match addresses {
        Addresses::V4 { src, dst } => {
            ipv4::Repr { src, dst, protocol, payload_len }.emit(&mut bytes[IP..]).unwrap();
            bytes.truncate(UDP4);
            EtherType::IPV4
        }
        Addresses::V6 { src, dst } => {
            ipv6::Repr { src, dst, next_header: protocol, payload_len, hop_limit }.emit(&mut bytes[IP..]).unwrap();
            EtherType::IPV6
        }
    };
    Header { dst: OWN, src: PEER, vlan: None, ether_type }.emit(&mut bytes).unwrap();
    bytes.extend_from_slice(ip_payload);
    bytes
}

/// A read request's frame, 16 bytes of payload.
fn request(addresses: Addresses) -> Vec<u8> {
    let payload = b"\0\x01boot.img\0octet";
    let payload_len = u16::try_from(payload.len()).unwrap();
    let mut segment = vec![0; udp::Repr::LEN];
    udp::Repr { src_port: 2070, dst_port: 69, payload_len }.emit(&mut segment, &addresses, Sum::of(payload)).unwrap();
    segment.extend_from_slice(payload);
    ip_frame(addresses, Protocol::UDP, 64, &segment)
}

fn cause(frame: &[u8]) -> Option<Malformed> {
    parse(frame, Checks::VERIFY).err()
}

fn payload_of(frame: &[u8]) -> &[u8] {
    match parse(frame, Checks::VERIFY).unwrap().packet {
        Packet::Udp { payload, .. } => &frame[payload.range()],
        other => panic!("{other:?}"),
    }
}

/// Makes the IPv4 header's checksum right again, so that a test reaches what lies behind it.
fn mend_ipv4(frame: &mut [u8]) {
    let end = IP + usize::from(frame[IP] & 0x0f) * 4;
    frame[IP + 10..IP + 12].fill(0);
    let checksum = Sum::of(&frame[IP..end]).finish();
    frame[IP + 10..IP + 12].copy_from_slice(&checksum.to_be_bytes());
}

fn with_ipv4_options(options: &[u8]) -> Vec<u8> {
    let mut frame = request(V4);
    frame.splice(UDP4..UDP4, options.iter().copied());
    let words = u8::try_from(options.len() / 4).unwrap();
    frame[IP] += words;
    frame[IP + 3] += words * 4;
    mend_ipv4(&mut frame);
    frame
}

#[test]
fn row_34_ihl_below_five() {
    for ihl in 0..5 {
        let mut frame = request(V4);
        frame[IP] = 0x40 | ihl;
        assert_eq!(cause(&frame), Some(Malformed::Ipv4HeaderLength));
    }
}

#[test]
fn row_34_ip_header_beyond_total_length_or_frame() {
    let mut frame = request(V4);
    frame[IP] = 0x4f;
    assert_eq!(cause(&frame), Some(Malformed::Ipv4TotalLength));
    frame.truncate(IP + 20);
    assert_eq!(cause(&frame), Some(Malformed::Ipv4TotalLength));
    frame.truncate(IP + 19);
    assert_eq!(cause(&frame), Some(Malformed::Ipv4HeaderLength));
}

#[test]
fn row_34_total_length_against_frame() {
    let good = request(V4);
    for total in [0, 19, u16::try_from(good.len() - IP + 1).unwrap(), u16::MAX] {
        let mut frame = good.clone();
        frame[IP + 2..IP + 4].copy_from_slice(&total.to_be_bytes());
        mend_ipv4(&mut frame);
        assert_eq!(cause(&frame), Some(Malformed::Ipv4TotalLength), "{total}");
    }
}

#[test]
fn row_34_udp_length_against_ip_payload() {
    for (addresses, at) in [(V4, UDP4), (V6, UDP6)] {
        let good = request(addresses);
        for len in [0, 7, u16::try_from(good.len() - at + 1).unwrap(), u16::MAX] {
            let mut frame = good.clone();
            frame[at + 4..at + 6].copy_from_slice(&len.to_be_bytes());
            assert_eq!(cause(&frame), Some(Malformed::UdpLength), "{len}");
        }
    }
    let frame = ip_frame(V4, Protocol::UDP, 64, &[0; 7]);
    assert_eq!(cause(&frame), Some(Malformed::UdpLength));
}

/// A UDP length shorter than the IP payload cuts, and the checksum covers only what is left.
#[test]
fn row_34_shorter_udp_length_cuts() {
    let whole = request(V4);
    let mut segment = whole[UDP4..].to_vec();
    segment.extend_from_slice(b"behind");
    let frame = ip_frame(V4, Protocol::UDP, 64, &segment);
    assert_eq!(payload_of(&frame), payload_of(&whole));
}

#[test]
fn row_34_ipv6_payload_length_against_frame() {
    let mut frame = request(V6);
    frame[IP + 5] += 1;
    assert_eq!(cause(&frame), Some(Malformed::Ipv6PayloadLength));
    frame[IP + 5] = 0;
    assert_eq!(cause(&frame), Some(Malformed::UdpLength), "no payload, whatever follows");
}

#[test]
fn row_34_versions() {
    for version in 0..16_u8 {
        let (mut four, mut six) = (request(V4), request(V6));
        four[IP] = version << 4 | 5;
        six[IP] = version << 4;
        assert_eq!(cause(&four), (version != 4).then_some(Malformed::Ipv4Version));
        assert_eq!(cause(&six), (version != 6).then_some(Malformed::Ipv6Version));
    }
}

#[test]
fn row_35_padding_is_cut_by_the_ip_length() {
    for addresses in [V4, V6] {
        let good = request(addresses);
        let mut padded = good.clone();
        padded.resize(good.len() + 200, 0xee);
        assert_eq!(payload_of(&padded), payload_of(&good));
    }
}

#[test]
fn row_36_wrong_checksums() {
    let good = request(V4);
    for at in IP + 8..UDP4 {
        let mut frame = good.clone();
        frame[at] ^= 0x10;
        assert_eq!(cause(&frame), Some(Malformed::Ipv4Checksum), "{at}");
        mend_ipv4(&mut frame);
        // The addresses are in the pseudo-header too; the protocol decides before that.
        match at - IP {
            9 => assert_eq!(cause(&frame), Some(Malformed::IcmpChecksum).filter(|_| frame[at] == 1)),
            12.. => assert_eq!(cause(&frame), Some(Malformed::UdpChecksum), "{at}"),
            _ => assert_eq!(cause(&frame), None, "{at}"),
        }
    }
    for addresses in [V4, V6] {
        let good = request(addresses);
        let payload = good.len() - 16;
        for at in payload..good.len() {
            let mut frame = good.clone();
            frame[at] ^= 0x01;
            assert_eq!(cause(&frame), Some(Malformed::UdpChecksum), "{at}");
            assert!(parse(&frame, Checks::TRUST).is_ok(), "the port's word is taken");
        }
    }
}

#[test]
fn row_36_udp_checksum_zero() {
    let (mut four, mut six) = (request(V4), request(V6));
    four[UDP4 + 6..UDP4 + 8].fill(0);
    six[UDP6 + 6..UDP6 + 8].fill(0);
    assert_eq!(cause(&four), None);
    assert_eq!(cause(&six), Some(Malformed::UdpChecksumMissing));
    assert_eq!(parse(&six, Checks::TRUST), Err(Malformed::UdpChecksumMissing), "whatever the port thinks of it");
}

#[test]
fn row_37_ipv4_fragments() {
    // More fragments; offset 1; the last offset; with "don't fragment"; with the reserved bit.
    for (flags, fragment) in
        [(0x2000_u16, true), (0x0001, true), (0x1fff, true), (0x6000, true), (0x4000, false), (0x8000, false)]
    {
        let mut frame = request(V4);
        frame[IP + 6..IP + 8].copy_from_slice(&flags.to_be_bytes());
        mend_ipv4(&mut frame);
        assert_eq!(cause(&frame), fragment.then_some(Malformed::Fragment), "{flags:04x}");
    }
}

#[test]
fn row_37_ipv6_fragments() {
    let segment = &request(V6)[UDP6..];
    for offset_and_more in [0_u16, 1, 8, 0xfff8] {
        let [a, b] = offset_and_more.to_be_bytes();
        let mut payload = vec![Protocol::UDP.0, 0, a, b, 0, 0, 0, 9];
        payload.extend_from_slice(segment);
        assert_eq!(cause(&ip_frame(V6, Protocol::FRAGMENT, 64, &payload)), Some(Malformed::Fragment));
        // Behind destination options as well.
        let mut behind = vec![Protocol::FRAGMENT.0, 0, 1, 4, 0, 0, 0, 0];
        behind.extend_from_slice(&payload);
        assert_eq!(cause(&ip_frame(V6, Protocol::DESTINATION_OPTIONS, 64, &behind)), Some(Malformed::Fragment));
    }
}

#[test]
fn row_37_ipv4_options_are_skipped() {
    let good = request(V4);
    // Router alert; forty bytes of no-operation; junk that no option is.
    for options in [vec![0x94, 4, 0, 0], vec![1; 40], vec![0xff; 8]] {
        let frame = with_ipv4_options(&options);
        assert_eq!(payload_of(&frame), payload_of(&good));
        let mut broken = frame.clone();
        broken[UDP4] ^= 2;
        assert_eq!(cause(&broken), Some(Malformed::Ipv4Checksum), "the checksum covers the options");
    }
}

/// Option headers of IPv6: `chain` gives each header's type and bytes (without its first, the next header).
fn with_extensions(chain: &[(Protocol, &[u8])]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (at, (_, header)) in chain.iter().enumerate() {
        payload.push(chain.get(at + 1).map_or(Protocol::UDP, |next| next.0).0);
        payload.extend_from_slice(header);
    }
    payload.extend_from_slice(&request(V6)[UDP6..]);
    ip_frame(V6, chain[0].0, 64, &payload)
}

#[test]
fn row_37_ipv6_option_headers_are_skipped() {
    const HBH: Protocol = Protocol::HOP_BY_HOP;
    const DST: Protocol = Protocol::DESTINATION_OPTIONS;
    let padding = [0, 1, 4, 0, 0, 0, 0];
    let router_alert = [0, 5, 2, 0, 0, 0, 0];
    let long = [1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let good = request(V6);
    for chain in [
        vec![(HBH, &padding[..])],
        vec![(HBH, &router_alert[..]), (DST, &padding[..])],
        vec![(DST, &long[..])],
        vec![(HBH, &padding[..]), (DST, &long[..]), (DST, &padding[..])],
    ] {
        assert_eq!(payload_of(&with_extensions(&chain)), payload_of(&good));
    }
    let wrong = Some(Malformed::Ipv6Extension);
    let pad = &padding[..];
    assert_eq!(cause(&with_extensions(&[(DST, pad), (HBH, pad)])), wrong, "hop-by-hop stands first");
    assert_eq!(cause(&with_extensions(&[(DST, pad); 4])), wrong, "too many");
    assert_eq!(cause(&with_extensions(&[(HBH, &[0, 0xc2, 4, 0, 1, 0, 0])])), wrong, "jumbo payload must be understood");
    assert_eq!(cause(&with_extensions(&[(DST, &[0, 0x40, 4, 0, 0, 0, 0])])), wrong, "discard if unknown");
    assert_eq!(cause(&with_extensions(&[(DST, &[0, 1, 5, 0, 0, 0, 0])])), wrong, "option beyond its header");
    assert_eq!(cause(&with_extensions(&[(DST, &[0, 0, 0, 0, 0, 0, 1])])), wrong, "option without length");
    assert_eq!(cause(&with_extensions(&[(DST, &[255, 1, 4, 0, 0, 0, 0])])), wrong, "header beyond the payload");
    assert_eq!(cause(&ip_frame(V6, HBH, 64, &[])), wrong);
    let routing = ip_frame(V6, Protocol(43), 64, &[17, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(parse(&routing, Checks::VERIFY).unwrap().packet, Packet::OtherIp(Protocol(43)));
}

#[test]
fn row_38_runts_and_every_truncation() {
    for addresses in [V4, V6] {
        let good = request(addresses);
        for len in 0..good.len() {
            let found = cause(&good[..len]);
            if len < Header::LEN {
                assert_eq!(found, Some(Malformed::Runt));
            } else {
                assert!(found.is_some(), "{len}");
            }
        }
        assert_eq!(cause(&good), None);
    }
}

#[test]
fn row_38_jumbo() {
    let payload = vec![7; 65_000];
    let mut segment = vec![0; 8];
    udp::Repr { src_port: 1, dst_port: 69, payload_len: 65_000 }.emit(&mut segment, &V4, Sum::of(&payload)).unwrap();
    segment.extend_from_slice(&payload);
    let mut frame = ip_frame(V4, Protocol::UDP, 64, &segment);
    assert_eq!(payload_of(&frame), &payload[..]);
    frame.resize(65_535, 0);
    assert_eq!(payload_of(&frame), &payload[..]);
    frame.resize(65_536, 0);
    assert_eq!(cause(&frame), Some(Malformed::Oversized));
}

#[test]
fn vlan_tags() {
    let good = request(V4);
    let tagged = |tpids: &[u16]| {
        let mut frame = good.clone();
        for tpid in tpids.iter().rev() {
            let [a, b] = tpid.to_be_bytes();
            frame.splice(12..12, [a, b, 0xe0, 0x07]);
        }
        frame
    };
    let one = tagged(&[0x8100]);
    let parsed = parse(&one, Checks::VERIFY).unwrap();
    assert_eq!(parsed.link.vlan.map(|tag| tag.0), Some(0xe007));
    assert_eq!(payload_of(&one), payload_of(&good));
    for tpids in [&[0x8100, 0x8100][..], &[0x8100, 0x88a8], &[0x88a8], &[0x88a8, 0x8100]] {
        assert_eq!(cause(&tagged(tpids)), Some(Malformed::DoubleTag), "{tpids:x?}");
    }
    for len in 14..18 {
        assert_eq!(cause(&one[..len]), Some(Malformed::Runt), "{len}");
    }
}

#[test]
fn sources_that_are_groups() {
    for first in [0x01, 0x33, 0xff] {
        let mut frame = request(V4);
        frame[6] = first;
        assert_eq!(cause(&frame), Some(Malformed::GroupSource));
    }
}

#[test]
fn arp_of_other_kinds() {
    let mut frame = vec![0xff; 6];
    frame.extend_from_slice(&PEER.0);
    frame.extend_from_slice(&[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend_from_slice(&[0; 20]);
    assert!(matches!(parse(&frame, Checks::VERIFY).unwrap().packet, Packet::Arp(_)));
    assert_eq!(cause(&frame[..41]), Some(Malformed::ArpMalformed));
    // Hardware type, protocol type, both lengths, operation.
    for (at, value) in [(15, 6), (16, 0x86), (18, 8), (19, 16), (21, 0), (21, 3), (20, 1)] {
        let mut wrong = frame.clone();
        wrong[at] = value;
        assert_eq!(cause(&wrong), Some(Malformed::ArpMalformed), "{at}");
    }
}

#[test]
fn icmp_short_or_wrong() {
    let echo = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    assert_eq!(cause(&ip_frame(V4, Protocol::ICMP, 64, &echo)), None);
    assert_eq!(cause(&ip_frame(V4, Protocol::ICMP, 64, &echo[..7])), Some(Malformed::IcmpMalformed));
    assert_eq!(cause(&ip_frame(V4, Protocol::ICMP, 64, &[8, 0, 0, 0, 0, 0, 0, 0])), Some(Malformed::IcmpChecksum));
    assert_eq!(cause(&ip_frame(V6, Protocol::ICMPV6, 64, &[128, 0, 0])), Some(Malformed::IcmpMalformed));
    assert_eq!(cause(&ip_frame(V6, Protocol::ICMPV6, 64, &[128; 8])), Some(Malformed::IcmpChecksum));
    // Each family's ICMP means nothing in the other.
    let other = ip_frame(V4, Protocol::ICMPV6, 64, &echo);
    assert_eq!(parse(&other, Checks::VERIFY).unwrap().packet, Packet::OtherIp(Protocol::ICMPV6));
}

/// A quote that is not the begin of an unfragmented UDP datagram names no flow.
#[test]
fn row_33_quotes_that_name_no_flow() {
    let sent = request(V4)[IP..].to_vec();
    let quoted = |quote: &[u8]| {
        let mut message = vec![3, 3, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(quote);
        let checksum = Sum::of(&message).finish();
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        match parse(&ip_frame(V4, Protocol::ICMP, 64, &message), Checks::VERIFY).unwrap().packet {
            Packet::Icmpv4 {
                message: dataplane::wire::icmpv4::Message::DestinationUnreachable { code: 3, quoted },
                ..
            } => quoted,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(quoted(&sent[..28]), Some(Flow { addresses: V4, src_port: 2070, dst_port: 69 }));
    assert_eq!(quoted(&sent[..27]), None);
    // Version, IHL too small, IHL too large, offset, protocol.
    for (at, value) in [(0, 0x65), (0, 0x44), (0, 0x4f), (7, 1), (9, 6)] {
        let mut wrong = sent[..28].to_vec();
        wrong[at] = value;
        assert_eq!(quoted(&wrong), None, "{at}");
    }
}

/// A neighbour discovery message of `kind` about 2001:db8::1 in its frame.
fn neighbour(kind: u8, flags: u8, src: Ipv6Addr, dst: Ipv6Addr, hop_limit: u8, edit: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    message.extend_from_slice(&TARGET.octets());
    edit(&mut message);
    let addresses = Addresses::V6 { src, dst };
    let len = u16::try_from(message.len()).unwrap();
    let checksum = addresses.pseudo_header(Protocol::ICMPV6, len).add_bytes(&message).finish();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    ip_frame(addresses, Protocol::ICMPV6, hop_limit, &message)
}

const TARGET: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const ASKER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const SLLA: [u8; 8] = [1, 1, 2, 0, 0, 0, 0, 2];
const TLLA: [u8; 8] = [2, 1, 2, 0, 0, 0, 0, 2];

#[test]
fn rfc4861_7_1_1_solicitations() {
    let group = ipv6::solicited_node(TARGET);
    let unspecified = Ipv6Addr::UNSPECIFIED;
    let good = neighbour(135, 0, ASKER, group, 255, |m| m.extend_from_slice(&SLLA));
    let Packet::Icmpv6 { message: icmpv6::Message::NeighbourSolicitation(found), src, .. } =
        parse(&good, Checks::VERIFY).unwrap().packet
    else {
        panic!()
    };
    assert_eq!(found, ndp::Solicitation { target: TARGET, source_mac: Some(PEER) });
    let (to, answer) = found.answer(src, OWN);
    assert_eq!(to, ASKER);
    assert_eq!((answer.target, answer.target_mac), (TARGET, Some(OWN)));
    assert!(answer.solicited && answer.override_entry && !answer.router);

    let detection = neighbour(135, 0, unspecified, group, 255, |_| ());
    let Packet::Icmpv6 { message: icmpv6::Message::NeighbourSolicitation(found), src, .. } =
        parse(&detection, Checks::VERIFY).unwrap().packet
    else {
        panic!()
    };
    let (to, answer) = found.answer(src, OWN);
    assert_eq!((to, answer.solicited), (ndp::ALL_NODES, false));

    let wrong = Some(Malformed::NdpMalformed);
    for hop_limit in [0, 64, 254] {
        assert_eq!(cause(&neighbour(135, 0, ASKER, group, hop_limit, |_| ())), wrong, "hop limit");
    }
    assert_eq!(cause(&neighbour(135, 0, ASKER, group, 255, |m| m[1] = 1)), wrong, "code");
    assert_eq!(cause(&neighbour(135, 0, ASKER, group, 255, |m| m.truncate(23))), wrong, "length");
    assert_eq!(cause(&neighbour(135, 0, ASKER, group, 255, |m| m[8] = 0xff)), wrong, "target");
    assert_eq!(cause(&neighbour(135, 0, unspecified, TARGET, 255, |_| ())), wrong, "not to a group");
    assert_eq!(cause(&neighbour(135, 0, unspecified, ndp::ALL_NODES, 255, |_| ())), wrong, "not to its group");
    assert_eq!(cause(&neighbour(135, 0, unspecified, group, 255, |m| m.extend_from_slice(&SLLA))), wrong, "with a MAC");
    for option in [&[1, 0, 2, 0, 0, 0, 0, 2][..], &[14, 0, 0, 0, 0, 0, 0, 0], &[1, 2, 2, 0, 0, 0, 0, 2], &SLLA[..7]] {
        assert_eq!(cause(&neighbour(135, 0, ASKER, group, 255, |m| m.extend_from_slice(option))), wrong, "{option:?}");
    }
    let two_units = [1, 2, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(cause(&neighbour(135, 0, ASKER, group, 255, |m| m.extend_from_slice(&two_units))), wrong, "no MAC");
}

/// Options that a solicitation is not known to have are passed over, and the first link-layer address counts.
#[test]
fn rfc4861_7_1_1_unknown_options() {
    let frame = neighbour(135, 0, ASKER, ipv6::solicited_node(TARGET), 255, |m| {
        m.extend_from_slice(&[14, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        m.extend_from_slice(&SLLA);
        m.extend_from_slice(&[1, 1, 9, 9, 9, 9, 9, 9]);
        m.extend_from_slice(&TLLA);
    });
    let Packet::Icmpv6 { message, .. } = parse(&frame, Checks::VERIFY).unwrap().packet else { panic!() };
    let expected = ndp::Solicitation { target: TARGET, source_mac: Some(PEER) };
    assert_eq!(message, icmpv6::Message::NeighbourSolicitation(expected));
}

#[test]
fn rfc4861_7_1_2_advertisements() {
    let wrong = Some(Malformed::NdpMalformed);
    assert_eq!(cause(&neighbour(136, 0x60, ASKER, TARGET, 255, |m| m.extend_from_slice(&TLLA))), None);
    assert_eq!(cause(&neighbour(136, 0x20, ASKER, ndp::ALL_NODES, 255, |_| ())), None);
    assert_eq!(cause(&neighbour(136, 0x40, ASKER, ndp::ALL_NODES, 255, |_| ())), wrong, "solicited, to a group");
    assert_eq!(cause(&neighbour(136, 0, ASKER, TARGET, 64, |_| ())), wrong, "hop limit");
    assert_eq!(cause(&neighbour(136, 0, ASKER, TARGET, 255, |m| m[1] = 9)), wrong, "code");
    assert_eq!(cause(&neighbour(136, 0, ASKER, TARGET, 255, |m| m[8] = 0xff)), wrong, "target");
    assert_eq!(cause(&neighbour(136, 0, ASKER, TARGET, 255, |m| m.truncate(16))), wrong, "length");
    assert_eq!(
        cause(&neighbour(136, 0, ASKER, TARGET, 255, |m| m.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0]))),
        wrong
    );
}

/// Counters are arrays with one place per cause.
#[test]
fn causes_count_up() {
    for (at, cause) in Malformed::ALL.into_iter().enumerate() {
        assert_eq!(cause as usize, at);
    }
    assert_eq!(Malformed::COUNT, 21);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Whatever comes, nothing panics, and every span lies in the frame.
    #[test]
    fn row_38_arbitrary_bytes(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        kind in proptest::option::of(0_usize..4), verify in any::<bool>(),
    ) {
        // Most frames would otherwise end at the EtherType.
        if let (Some(kind), true) = (kind, bytes.len() > 20) {
            bytes[12..14].copy_from_slice(&[[8, 0], [0x86, 0xdd], [8, 6], [0x81, 0]][kind]);
            bytes[14] = [0x45, 0x60, 0, 0][kind];
            bytes[16..18].copy_from_slice(&[[0, 60], [0, 0], [8, 0], [8, 0]][kind]);
        }
        let checks = if verify { Checks::VERIFY } else { Checks::TRUST };
        if let Ok(parsed) = parse(&bytes, checks) {
            match parsed.packet {
                Packet::Udp { payload: span, .. } | Packet::Icmpv4 { span, .. } | Packet::Icmpv6 { span, .. } => {
                    prop_assert!(bytes.get(span.range()).is_some());
                }
                _ => {}
            }
        }
    }
}
