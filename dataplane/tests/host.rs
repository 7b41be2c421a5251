//! What a host owes its link: ARP, neighbour discovery, ping.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a panic is how a test fails; test data is small"
)]

mod lab;

use dataplane::engine::Outcome;
use dataplane::wire::{self, Addresses, Checks, EtherType, MacAddr, Packet, Sum, arp, icmpv6, ipv6, ndp};
use lab::frames::{Host, solicitation};
use lab::{Bench, SERVER_MAC, Setup, catalogue, content};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const OWN_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const OWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
/// Made of [`SERVER_MAC`], RFC 4291 appendix A.
const OWN_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 1);

fn bench() -> Bench {
    Bench::new(&Setup::default(), catalogue(1, &[("file", content(5_000, 1))]))
}

fn v4_of(host: &Host) -> Ipv4Addr {
    let IpAddr::V4(ip) = host.ip else { panic!("an IPv6 host") };
    ip
}

fn v6_of(host: &Host) -> Ipv6Addr {
    let IpAddr::V6(ip) = host.ip else { panic!("an IPv4 host") };
    ip
}

fn who_has(host: &Host, target_ip: Ipv4Addr) -> arp::Packet {
    arp::Packet {
        operation: arp::Operation::Request,
        sender_mac: host.mac,
        sender_ip: v4_of(host),
        target_mac: MacAddr([0; 6]),
        target_ip,
    }
}

fn learnt(bench: &Bench, ip: impl Into<IpAddr>) -> Option<MacAddr> {
    bench.lane.engine().neighbours().find(ip.into()).map(|neighbour| neighbour.mac)
}

fn parse(frame: &[u8]) -> (wire::ethernet::Header, Packet) {
    let parsed = wire::parse(frame, Checks::VERIFY).expect("the server sends sound frames");
    (parsed.link, parsed.packet)
}

#[track_caller]
fn only(mut frames: Vec<Vec<u8>>) -> Vec<u8> {
    assert_eq!(frames.len(), 1, "one reply");
    frames.remove(0)
}

#[test]
fn arp_requests_for_us_are_answered() {
    let mut bench = bench();
    let mut host = Host::v4(2);
    for vlan in [None, Some(0x2064)] {
        host.vlan = vlan;
        // Broadcast, and unicast as a host does that refreshes its entry; padded as on a real wire.
        let mut to_us = host.arp(&who_has(&host, OWN_V4));
        let to_all = to_us.clone();
        to_us[..6].copy_from_slice(&SERVER_MAC.0);
        to_us.resize(64, 0xEE);
        for request in [to_all, to_us] {
            let reply = only(bench.expect_frames(&request, Outcome::ArpReplied));
            let (link, packet) = parse(&reply);
            assert_eq!((link.dst, link.src), (host.mac, SERVER_MAC));
            assert_eq!(link.vlan.map(|tag| tag.0), vlan);
            assert_eq!(reply.len(), link.header_len() + 28, "nothing of the request's padding goes back");
            let wanted = arp::Packet {
                operation: arp::Operation::Reply,
                sender_mac: SERVER_MAC,
                sender_ip: OWN_V4,
                target_mac: host.mac,
                target_ip: v4_of(&host),
            };
            assert_eq!(packet, Packet::Arp(wanted));
        }
    }
    assert_eq!(learnt(&bench, host.ip), Some(host.mac));
}

#[test]
fn arp_for_others_is_left_alone() {
    let mut bench = bench();
    let host = Host::v4(2);
    for target in ["10.99.0.2", "10.99.0.3", "10.99.0.255", "10.98.0.1", "0.0.0.0"] {
        let target: Ipv4Addr = target.parse().unwrap();
        let outcome = if target == v4_of(&host) { Outcome::ArpLearnt } else { Outcome::ArpForOthers };
        bench.expect_silence(&host.arp(&who_has(&host, target)), outcome);
    }
    bench.expect_silence(&host.link(SERVER_MAC, EtherType::ARP, &[0; 27]), Outcome::ArpMalformed);
    let mut rarp = host.arp(&who_has(&host, OWN_V4));
    rarp[21] = 3;
    bench.expect_silence(&rarp, Outcome::ArpMalformed);
    let mut elsewhere = host.arp(&who_has(&host, OWN_V4));
    elsewhere[..6].copy_from_slice(&[2, 0, 0, 0, 0, 77]);
    bench.expect_silence(&elsewhere, Outcome::NotOurMac);
}

#[test]
fn rfc5227_2_1_1_a_probe_is_answered_and_teaches_nothing() {
    let mut bench = bench();
    let host = Host::v4(2);
    let probe = |target| arp::Packet { sender_ip: Ipv4Addr::UNSPECIFIED, ..who_has(&host, target) };
    let reply = only(bench.expect_frames(&host.arp(&probe(OWN_V4)), Outcome::ArpReplied));
    let (link, Packet::Arp(packet)) = parse(&reply) else { panic!("no ARP") };
    assert_eq!(link.dst, host.mac);
    assert_eq!((packet.sender_ip, packet.sender_mac), (OWN_V4, SERVER_MAC));
    assert_eq!((packet.target_ip, packet.target_mac), (Ipv4Addr::UNSPECIFIED, host.mac));
    bench.expect_silence(&host.arp(&probe(Ipv4Addr::new(10, 99, 0, 9))), Outcome::ArpForOthers);
    assert_eq!(bench.lane.engine().neighbours().iter().count(), 0);
}

#[test]
fn gratuitous_arp_is_learnt_and_the_last_word_counts() {
    let mut bench = bench();
    let mut host = Host::v4(2);
    let announcement = who_has(&host, v4_of(&host));
    bench.expect_silence(&host.arp(&announcement), Outcome::ArpLearnt);
    assert_eq!(learnt(&bench, host.ip), Some(host.mac));
    host.mac = MacAddr([2, 0, 0, 0, 5, 5]);
    let reply = arp::Packet { operation: arp::Operation::Reply, ..who_has(&host, v4_of(&host)) };
    bench.expect_silence(&host.arp(&reply), Outcome::ArpLearnt);
    assert_eq!(learnt(&bench, host.ip), Some(host.mac));
    // A reply to us is learnt; group addresses never are.
    let third = Host::v4(3);
    let to_us = arp::Packet { operation: arp::Operation::Reply, target_mac: SERVER_MAC, ..who_has(&third, OWN_V4) };
    bench.expect_silence(&third.arp(&to_us), Outcome::ArpLearnt);
    assert_eq!(learnt(&bench, third.ip), Some(third.mac));
    let group = arp::Packet { sender_mac: MacAddr::BROADCAST, ..who_has(&Host::v4(4), OWN_V4) };
    bench.expect_frames(&Host::v4(4).arp(&group), Outcome::ArpReplied);
    assert_eq!(learnt(&bench, Ipv4Addr::new(10, 99, 0, 4)), None);
}

#[test]
fn rfc5227_2_4_a_conflict_is_counted_and_not_answered() {
    let mut bench = bench();
    let mut host = Host::v4(2);
    host.ip = IpAddr::V4(OWN_V4);
    for target in [OWN_V4, Ipv4Addr::new(10, 99, 0, 2)] {
        for operation in [arp::Operation::Request, arp::Operation::Reply] {
            let claim = arp::Packet { operation, ..who_has(&host, target) };
            bench.expect_silence(&host.arp(&claim), Outcome::AddressConflict);
        }
    }
    assert_eq!(bench.lane.engine().neighbours().iter().count(), 0);
    assert_eq!(learnt(&bench, OWN_V4), None);
}

fn solicit(host: &Host, src: Ipv6Addr, dst: Ipv6Addr, target: Ipv6Addr, source_mac: Option<MacAddr>) -> Vec<u8> {
    let mut frame = host.icmp_to(&Addresses::V6 { src, dst }, 255, &solicitation(target, source_mac));
    if dst.is_multicast() {
        frame[..6].copy_from_slice(&ipv6::multicast_mac(dst).0);
    }
    frame
}

/// The advertisement in a frame, with the frame's link header and addresses.
fn advertisement(frame: &[u8]) -> (wire::ethernet::Header, Ipv6Addr, Ipv6Addr, ndp::Advertisement) {
    let (link, packet) = parse(frame);
    match packet {
        Packet::Icmpv6 { src, dst, message: icmpv6::Message::NeighbourAdvertisement(advertisement), .. } => {
            assert_eq!(frame[link.header_len() + 7], 255, "RFC 4861 §7.1.2: the hop limit");
            (link, src, dst, advertisement)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn rfc4861_7_2_4_solicitations_unicast_and_multicast() {
    let mut bench = bench();
    let mut host = Host::v6(2);
    for vlan in [None, Some(0xE00A)] {
        host.vlan = vlan;
        for target in [OWN_V6, OWN_LINK_LOCAL] {
            for (dst, source_mac) in
                [(target, Some(host.mac)), (target, None), (ipv6::solicited_node(target), Some(host.mac))]
            {
                let request = solicit(&host, v6_of(&host), dst, target, source_mac);
                let reply = only(bench.expect_frames(&request, Outcome::NdReplied));
                let (link, src, dst, said) = advertisement(&reply);
                assert_eq!((link.dst, link.src, link.vlan.map(|tag| tag.0)), (host.mac, SERVER_MAC, vlan));
                assert_eq!((src, dst), (target, v6_of(&host)));
                let wanted = ndp::Advertisement {
                    target,
                    router: false,
                    solicited: true,
                    override_entry: true,
                    target_mac: Some(SERVER_MAC),
                };
                assert_eq!(said, wanted);
            }
        }
    }
    assert_eq!(learnt(&bench, host.ip), Some(host.mac));
}

#[test]
fn rfc4862_5_4_3_detection_of_duplicates_is_answered_to_all_nodes() {
    let mut bench = bench();
    let host = Host::v6(2);
    let probe = solicit(&host, Ipv6Addr::UNSPECIFIED, ipv6::solicited_node(OWN_V6), OWN_V6, None);
    let reply = only(bench.expect_frames(&probe, Outcome::NdReplied));
    let (link, src, dst, said) = advertisement(&reply);
    assert_eq!((src, dst), (OWN_V6, ndp::ALL_NODES));
    assert_eq!(link.dst, MacAddr([0x33, 0x33, 0, 0, 0, 1]));
    assert!(!said.solicited && said.override_entry && said.target_mac == Some(SERVER_MAC));
    assert_eq!(bench.lane.engine().neighbours().iter().count(), 0);
}

#[test]
fn nd_that_is_not_for_us_or_lies() {
    let mut bench = bench();
    let host = Host::v6(2);
    let src = v6_of(&host);
    let other: Ipv6Addr = "fd00::9".parse().unwrap();
    let own_group = ipv6::solicited_node(OWN_V6);
    bench.expect_silence(&solicit(&host, src, ndp::ALL_NODES, other, Some(host.mac)), Outcome::NdForOthers);
    bench.expect_silence(&solicit(&host, src, ipv6::solicited_node(other), other, None), Outcome::NotOurAddress);
    bench.expect_silence(&solicit(&host, OWN_V6, own_group, OWN_V6, Some(host.mac)), Outcome::AddressConflict);
    // Through a router, or from an unspecified source that names its MAC: RFC 4861 §7.1.1.
    let far = host.icmp_to(&Addresses::V6 { src, dst: OWN_V6 }, 254, &solicitation(OWN_V6, None));
    bench.expect_silence(&far, Outcome::IcmpMalformed);
    let unspecified = solicit(&host, Ipv6Addr::UNSPECIFIED, own_group, OWN_V6, Some(host.mac));
    bench.expect_silence(&unspecified, Outcome::IcmpMalformed);
    // Nobody sends from a group or from the loopback address: an answer would reach many, or none.
    for src in ["ff02::1", "ff0e::1", "::1", "::ffff:10.99.0.2"] {
        let forged = solicit(&host, src.parse().unwrap(), own_group, OWN_V6, None);
        bench.expect_silence(&forged, Outcome::SourceForbidden);
    }
    assert_eq!(bench.lane.engine().neighbours().iter().count(), 0);
}

#[test]
fn advertisements_are_learnt_and_conflicts_counted() {
    let mut bench = bench();
    let host = Host::v6(2);
    let advertise = |target: Ipv6Addr, target_mac, dst: Ipv6Addr| {
        let said = ndp::Advertisement { target, router: false, solicited: false, override_entry: true, target_mac };
        let mut message = vec![0; said.message_len()];
        said.emit(&mut message, &v6_of(&host), &dst).unwrap();
        let mut frame = host.icmp_to(&Addresses::V6 { src: v6_of(&host), dst }, 255, &message);
        if dst.is_multicast() {
            frame[..6].copy_from_slice(&ipv6::multicast_mac(dst).0);
        }
        frame
    };
    let other: Ipv6Addr = "fd00::9".parse().unwrap();
    let mac = MacAddr([2, 0, 0, 0, 7, 7]);
    bench.expect_silence(&advertise(other, Some(mac), ndp::ALL_NODES), Outcome::NdLearnt);
    assert_eq!(learnt(&bench, other), Some(mac));
    bench.expect_silence(&advertise(other, None, OWN_V6), Outcome::NdLearnt);
    assert_eq!(learnt(&bench, other), Some(host.mac), "without a MAC it is the sender's");
    bench.expect_silence(&advertise(OWN_V6, Some(mac), ndp::ALL_NODES), Outcome::AddressConflict);
    bench.expect_silence(&advertise(OWN_LINK_LOCAL, None, OWN_V6), Outcome::AddressConflict);
    assert_eq!(learnt(&bench, OWN_V6), None);
}

fn echo(kind: u8, data: &[u8]) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0x12, 0x34, 0, 7][..], data].concat()
}

#[test]
fn pings_of_all_sizes_come_back_as_they_were() {
    let mut bench = bench();
    for (mut host, request, reply_kind, header_len) in [(Host::v4(2), 8, 0, 20), (Host::v6(2), 128, 129, 40)] {
        for (number, len) in
            [0, 1, 2, 7, 17, 18, 19, 56, 57, 999, 1_400, 1_472 - (header_len - 20)].into_iter().enumerate()
        {
            host.vlan = (number % 2 == 1).then_some(0x8009);
            let message = echo(request, &content(len, 7));
            // Padding behind the packet does not come back.
            let frame = [host.icmp(&message), vec![0xAA; 60_usize.saturating_sub(message.len() + 34)]].concat();
            let reply = only(bench.expect_frames(&frame, Outcome::EchoReplied));
            let (link, packet) = parse(&reply);
            assert_eq!((link.dst, link.src, link.vlan.map(|tag| tag.0)), (host.mac, SERVER_MAC, host.vlan));
            let (Packet::Icmpv4 { span, .. } | Packet::Icmpv6 { span, .. }) = packet else { panic!("{packet:?}") };
            assert_eq!(reply.len(), link.header_len() + header_len + message.len());
            let answer = &reply[span.range()];
            assert_eq!((answer[0], answer[1]), (reply_kind, 0));
            assert_eq!(answer[4..], message[4..], "identifier, sequence and data of {len} bytes");
            match packet {
                Packet::Icmpv4 { src, dst, .. } => assert_eq!((src, dst), (OWN_V4, v4_of(&host))),
                Packet::Icmpv6 { src, dst, .. } => assert_eq!((src, dst), (OWN_V6, v6_of(&host))),
                _ => unreachable!(),
            }
        }
    }
}

#[test]
fn a_ping_with_ip_options_is_answered_without_them() {
    let mut bench = bench();
    let host = Host::v4(2);
    for (options, len) in [(4, 0), (4, 33), (40, 1), (40, 1_400)] {
        let message = echo(8, &content(len, 8));
        let mut frame = host.icmp(&message);
        frame.splice(34..34, vec![1; options]);
        frame[14] += (options / 4) as u8;
        let total = (20 + options + message.len()) as u16;
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        frame[24..26].fill(0);
        let checksum = Sum::of(&frame[14..34 + options]).finish();
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        let reply = only(bench.expect_frames(&frame, Outcome::EchoReplied));
        let (_, Packet::Icmpv4 { span, .. }) = parse(&reply) else { panic!("no ICMP") };
        assert_eq!(reply[14], 0x45);
        assert_eq!(reply.len(), 14 + 20 + message.len());
        assert_eq!(reply[span.range()][4..], message[4..]);
    }
}

#[test]
fn rfc1122_3_2_2_6_pings_to_everybody_are_not_answered() {
    let mut bench = bench();
    let host = Host::v4(2);
    let message = echo(8, b"smurf");
    for dst in ["10.99.0.255", "255.255.255.255", "224.0.0.1", "10.99.0.7"] {
        let addresses = Addresses::V4 { src: v4_of(&host), dst: dst.parse().unwrap() };
        for mac in [MacAddr::BROADCAST, SERVER_MAC] {
            let mut frame = host.icmp_to(&addresses, 64, &message);
            frame[..6].copy_from_slice(&mac.0);
            bench.expect_silence(&frame, Outcome::NotOurAddress);
        }
    }
    // Our address in a broadcast frame.
    let mut frame = host.icmp(&message);
    frame[..6].fill(0xff);
    bench.expect_silence(&frame, Outcome::NotOurAddress);
    // From addresses that nobody has: the reply would reach many, or ourselves.
    for src in ["0.0.0.0", "127.0.0.1", "10.99.0.255", "255.255.255.255", "224.0.0.1", "10.99.0.1"] {
        let addresses = Addresses::V4 { src: src.parse().unwrap(), dst: OWN_V4 };
        bench.expect_silence(&host.icmp_to(&addresses, 64, &message), Outcome::SourceForbidden);
    }
    let host = Host::v6(2);
    let message = echo(128, b"smurf");
    let mut to_all = host.icmp_to(&Addresses::V6 { src: v6_of(&host), dst: ndp::ALL_NODES }, 64, &message);
    to_all[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
    bench.expect_silence(&to_all, Outcome::IcmpOther);
    for src in ["::", "::1", "ff02::1", "fd00::1"] {
        let addresses = Addresses::V6 { src: src.parse().unwrap(), dst: OWN_V6 };
        bench.expect_silence(&host.icmp_to(&addresses, 64, &message), Outcome::SourceForbidden);
    }
    // Echo replies, timestamps, redirects and errors are never answered.
    for kind in [0, 4, 5, 11, 13, 17] {
        bench.expect_silence(&Host::v4(2).icmp(&echo(kind, b"12345678")), Outcome::IcmpOther);
    }
    for kind in [129, 2, 3, 133, 134, 137] {
        bench.expect_silence(&host.icmp(&echo(kind, b"12345678")), Outcome::IcmpOther);
    }
}
