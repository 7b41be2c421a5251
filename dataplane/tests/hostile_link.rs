//! Hostile input below UDP, rows 34 to 39, as the engine meets it: dropped under its cause, never answered, nobody else harmed.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a panic is how a test fails; test data is small"
)]

mod lab;

use dataplane::engine::Outcome;
use dataplane::port::{ChecksumRequest, ReceivedChecksums};
use dataplane::session::{WorkerIndex, WorkerShare};
use dataplane::time::Instant;
use dataplane::wire::{Addresses, EtherType, MacAddr, Protocol, Sum, arp, ndp};
use lab::frames::Host;
use lab::hand::{Bystander, Peer, Reply, bench_with_bystander, blocks};
use lab::odd::{OddFrame, Offloading};
use lab::{Bench, SERVER_MAC, Setup, catalogue, content};
use std::net::IpAddr;

const IP: usize = 14;
const UDP4: usize = IP + 20;
const UDP6: usize = IP + 40;

fn setup() -> (Bench, Bystander) {
    bench_with_bystander(&Setup::default(), &[("file", content(5_000, 1))])
}

fn v4() -> Peer {
    Peer::v4(2, 3_000)
}

fn v6() -> Peer {
    Peer::v6(2, 3_000)
}

/// Makes the IPv4 header's checksum right again.
fn mend_ipv4(frame: &mut [u8]) {
    let end = IP + usize::from(frame[IP] & 0x0f) * 4;
    frame[IP + 10..IP + 12].fill(0);
    let checksum = Sum::of(&frame[IP..end]).finish();
    frame[IP + 10..IP + 12].copy_from_slice(&checksum.to_be_bytes());
}

fn bent(mut frame: Vec<u8>, bend: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    bend(&mut frame);
    frame
}

/// A request over IPv4, changed, with a right header checksum.
fn bent_v4(bend: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = bent(v4().request("file", &[]), bend);
    mend_ipv4(&mut frame);
    frame
}

fn bent_v6(bend: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    bent(v6().request("file", &[]), bend)
}

fn all_dropped(frames: Vec<(Vec<u8>, Outcome)>) {
    let (mut bench, bystander) = setup();
    for (number, (frame, outcome)) in frames.iter().enumerate() {
        let sent = bench.expect_frames(frame, *outcome);
        assert!(sent.is_empty(), "frame {number} was answered");
        assert_eq!(bench.live_sessions(), 1, "frame {number} opened a session");
    }
    bystander.finish(&mut bench);
}

#[test]
fn row34_lengths_that_lie() {
    let total = v4().request("file", &[]).len() - IP;
    let udp = total - 20;
    let mut frames = Vec::new();
    for ihl in 0..5 {
        frames.push((bent(v4().request("file", &[]), |f| f[IP] = 0x40 | ihl), Outcome::Ipv4Header));
    }
    frames.push((bent(v4().request("file", &[]), |f| f[IP] = 0x4f), Outcome::Ipv4Header));
    for len in [total + 1, total + 1_000, 65_535, 0, 19] {
        frames.push((bent_v4(|f| f[IP + 2..IP + 4].copy_from_slice(&(len as u16).to_be_bytes())), Outcome::Ipv4Header));
    }
    for len in [0, 1, 7, udp + 1, 65_535] {
        let bend = |f: &mut Vec<u8>| f[UDP4 + 4..UDP4 + 6].copy_from_slice(&(len as u16).to_be_bytes());
        frames.push((bent_v4(bend), Outcome::UdpLength));
        let bend = |f: &mut Vec<u8>| f[UDP6 + 4..UDP6 + 6].copy_from_slice(&(len as u16).to_be_bytes());
        frames.push((bent_v6(bend), Outcome::UdpLength));
    }
    for len in [udp + 1, 65_535] {
        let bend = |f: &mut Vec<u8>| f[IP + 4..IP + 6].copy_from_slice(&(len as u16).to_be_bytes());
        frames.push((bent_v6(bend), Outcome::Ipv6Header));
    }
    frames.push((bent_v6(|f| f[IP + 4..IP + 6].fill(0)), Outcome::UdpLength));
    for version in [0, 5, 6, 15] {
        frames.push((bent_v4(|f| f[IP] = version << 4 | 5), Outcome::Ipv4Header));
    }
    frames.push((bent_v6(|f| f[IP] = 0x45), Outcome::Ipv6Header));
    all_dropped(frames);
}

#[test]
fn row35_padding_is_no_payload() {
    let (mut bench, bystander) = setup();
    for peer in [v4(), v6()] {
        // An ACK padded to the shortest frame, with bytes that would be another packet, and far beyond.
        let (tid, _) = peer.open(&mut bench, "file", &[]);
        for (block, padding) in
            [(1, vec![0; 14]), (2, vec![0xff; 14]), (3, b"\0\x05\0\0\0".repeat(3)), (4, vec![7; 900])]
        {
            let frame = [peer.ack(tid, block), padding].concat();
            assert_eq!(blocks(&bench.expect(&frame, Outcome::AckProgress)), [block + 1]);
        }
        // What is cut off by the IP length is not read: a torn request stays torn.
        let torn = [peer.to(69, b"\0\x01file\0oct"), b"et\0".to_vec()].concat();
        bench.expect_error(&torn, Outcome::RequestRefused, 4);
    }
    bystander.finish(&mut bench);
}

#[test]
fn row36_wrong_checksums() {
    let mut frames = Vec::new();
    for at in [IP + 1, IP + 8, IP + 10, IP + 12, IP + 16] {
        frames.push((bent(v4().request("file", &[]), |f| f[at] ^= 1), Outcome::Ipv4Checksum));
    }
    for at in [UDP4, UDP4 + 6, UDP4 + 8 + 1, UDP4 + 8 + 4] {
        frames.push((bent_v4(|f| f[at] ^= 1), Outcome::UdpChecksum));
        frames.push((bent_v6(|f| f[at + 20] ^= 1), Outcome::UdpChecksum));
    }
    // The pseudo-header counts: another source address with a right header.
    frames.push((bent_v4(|f| f[IP + 15] ^= 1), Outcome::UdpChecksum));
    frames.push((bent_v6(|f| f[IP + 23] ^= 1), Outcome::UdpChecksum));
    frames.push((bent_v6(|f| f[UDP6 + 6..UDP6 + 8].fill(0)), Outcome::UdpChecksum));
    all_dropped(frames);
}

#[test]
fn row36_no_checksum_is_valid_over_ipv4() {
    let (mut bench, bystander) = setup();
    let without = |frame| bent(frame, |f| f[UDP4 + 6..UDP4 + 8].fill(0));
    let replies = bench.expect(&without(v4().request("file", &[])), Outcome::RequestOpened);
    let tid = replies[0].tid();
    assert_ne!(replies[0].frame[UDP4 + 6..UDP4 + 8], [0, 0], "ours always has one");
    assert_eq!(blocks(&bench.expect(&without(v4().ack(tid, 1)), Outcome::AckProgress)), [2]);
    bystander.finish(&mut bench);
}

#[test]
fn row37_fragments_are_dropped() {
    let mut frames = Vec::new();
    for fragment in [0x2000_u16, 0x2001, 0x0001, 0x1fff, 0x3fff] {
        frames.push((bent_v4(|f| f[IP + 6..IP + 8].copy_from_slice(&fragment.to_be_bytes())), Outcome::Fragment));
    }
    // RFC 6946: even an atomic fragment, which nobody has a reason to send.
    for (offset, more) in [(0, 1), (1, 0), (0, 0)] {
        let bend = |f: &mut Vec<u8>| {
            f[IP + 6] = Protocol::FRAGMENT.0;
            let header = [Protocol::UDP.0, 0, 0, (offset << 3) | more, 0, 0, 0, 1];
            f.splice(UDP6..UDP6, header);
            let len = u16::from_be_bytes([f[IP + 4], f[IP + 5]]) + 8;
            f[IP + 4..IP + 6].copy_from_slice(&len.to_be_bytes());
        };
        frames.push((bent_v6(bend), Outcome::Fragment));
    }
    all_dropped(frames);
    // "Don't fragment" and the reserved bit are no fragments.
    let (mut bench, bystander) = setup();
    for (number, flags) in (0..).zip([0x4000_u16, 0x8000, 0xc000]) {
        let mut frame = Peer::v4(2, 4_000 + number).request("file", &[]);
        frame[IP + 6..IP + 8].copy_from_slice(&flags.to_be_bytes());
        mend_ipv4(&mut frame);
        assert_eq!(bench.expect(&frame, Outcome::RequestOpened).len(), 1);
    }
    bystander.finish(&mut bench);
}

#[test]
fn row37_ip_options_and_option_headers_are_skipped() {
    let (mut bench, bystander) = setup();
    for (number, options) in (0..).zip([vec![0x94, 4, 0, 0], vec![1; 4], vec![0; 8], vec![0xff; 40]]) {
        let peer = Peer::v4(2, 4_000 + number);
        let with_options = |mut frame: Vec<u8>| {
            frame.splice(UDP4..UDP4, options.iter().copied());
            frame[IP] += (options.len() / 4) as u8;
            let total = u16::from_be_bytes([frame[IP + 2], frame[IP + 3]]) + options.len() as u16;
            frame[IP + 2..IP + 4].copy_from_slice(&total.to_be_bytes());
            mend_ipv4(&mut frame);
            frame
        };
        let replies = bench.expect(&with_options(peer.request("file", &[])), Outcome::RequestOpened);
        assert_eq!(replies[0].frame[IP], 0x45, "the reply has no options");
        assert_eq!(replies[0].frame.len(), IP + 20 + 8 + 4 + 512);
        assert_eq!(blocks(&bench.expect(&with_options(peer.ack(replies[0].tid(), 1)), Outcome::AckProgress)), [2]);
    }
    let peer = Peer::v6(2, 4_000);
    let with_header = |mut frame: Vec<u8>| {
        frame[IP + 6] = Protocol::DESTINATION_OPTIONS.0;
        frame.splice(UDP6..UDP6, [Protocol::UDP.0, 0, 1, 4, 0, 0, 0, 0]);
        let len = u16::from_be_bytes([frame[IP + 4], frame[IP + 5]]) + 8;
        frame[IP + 4..IP + 6].copy_from_slice(&len.to_be_bytes());
        frame
    };
    let replies = bench.expect(&with_header(peer.request("file", &[])), Outcome::RequestOpened);
    assert_eq!(replies[0].frame.len(), IP + 40 + 8 + 4 + 512);
    bystander.finish(&mut bench);
}

#[test]
fn row38_runts_and_every_cut() {
    let (mut bench, bystander) = setup();
    for whole in [v4().request("file", &[]), v6().request("file", &[]), bystander.peer().ack(bystander.tid(), 3)] {
        for len in 0..whole.len() {
            assert!(bench.exchange(&whole[..len]).is_empty(), "{len} bytes of {} were answered", whole.len());
            bench.assert_accounted();
        }
    }
    for len in 0..14 {
        bench.expect_silence(&vec![0; len], Outcome::Runt);
    }
    bench.expect_silence(&[&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0][..], &[0; 3]].concat(), Outcome::Runt);
    assert_eq!(bench.live_sessions(), 1);
    bystander.finish(&mut bench);
}

#[test]
fn row38_frames_of_more_than_64_kib() {
    let setup = Setup { mtu: 65_535, ..Setup::default() };
    let (mut bench, bystander) = bench_with_bystander(&setup, &[]);
    for len in [65_536, 65_553] {
        let mut frame = v4().request(Bystander::FILE, &[]);
        frame.resize(len, 0);
        bench.expect_silence(&frame, Outcome::Chained);
    }
    let mut frame = v4().request(Bystander::FILE, &[]);
    frame.resize(65_535, 0);
    assert_eq!(bench.expect(&frame, Outcome::RequestOpened).len(), 1, "padding up to 64 KiB is only padding");
    bystander.finish(&mut bench);
}

fn bare_engine() -> dataplane::engine::Engine {
    let alone = WorkerShare { index: WorkerIndex(0), workers: 1 };
    lab::engine(&Setup::default(), catalogue(1, &[("file", content(5_000, 1))]), alone)
}

#[test]
fn row38_chained_mbufs_are_dropped_unread() {
    let mut engine = bare_engine();
    let mut out = Offloading::default();
    for bytes in [v4().request("file", &[]), v6().request("file", &[]), Vec::new(), vec![0xff; 2_000]] {
        let frame = OddFrame { linear: false, ..OddFrame::new(bytes) };
        assert_eq!(engine.handle(Instant::ORIGIN, frame, &mut out), Some(Outcome::Chained));
    }
    assert!(out.0.is_empty());
    assert_eq!(engine.active_sessions(), 0);
}

#[test]
fn row36_a_port_that_checked_is_believed_and_asked_to_complete_ours() {
    let mut engine = bare_engine();
    let mut out = Offloading::default();
    let good = |bytes| OddFrame { checksums: ReceivedChecksums::Good, ..OddFrame::new(bytes) };
    let broken = bent(v4().request("file", &[]), |f| f[UDP4 + 6] ^= 0x55);
    assert_eq!(engine.handle(Instant::ORIGIN, OddFrame::new(broken.clone()), &mut out), Some(Outcome::UdpChecksum));
    assert_eq!(engine.handle(Instant::ORIGIN, good(broken), &mut out), Some(Outcome::RequestOpened));
    let mut tagged = v6();
    tagged.host.vlan = Some(7);
    assert_eq!(
        engine.handle(Instant::ORIGIN, good(tagged.request("file", &[])), &mut out),
        Some(Outcome::RequestOpened)
    );
    let without = bent(Peer::v6(3, 3_000).request("file", &[]), |f| f[UDP6 + 6..UDP6 + 8].fill(0));
    assert_eq!(engine.handle(Instant::ORIGIN, good(without), &mut out), Some(Outcome::UdpChecksum));
    let missing = Peer::v4(3, 3_000).request("missing", &[]);
    assert_eq!(engine.handle(Instant::ORIGIN, good(missing), &mut out), Some(Outcome::RequestRefused));
    let asked: Vec<_> = out.0.iter().map(|frame| frame.asked.expect("every datagram asks")).collect();
    let request = |link_header_len, network_header_len| ChecksumRequest {
        link_header_len,
        network_header_len,
        ipv4: network_header_len == 20,
    };
    assert_eq!(asked, [request(14, 20), request(18, 40), request(14, 20)]);
    for frame in &out.0 {
        // Completed as a port does it, each frame is sound.
        let asked = frame.asked.unwrap();
        let mut bytes = frame.bytes.clone();
        let network = usize::from(asked.link_header_len);
        let transport = network + usize::from(asked.network_header_len);
        let checksum = Sum::of(&bytes[transport..]).finish();
        bytes[transport + 6..transport + 8].copy_from_slice(&checksum.to_be_bytes());
        if asked.ipv4 {
            assert_eq!(bytes[network + 10..network + 12], [0, 0]);
            mend_ipv4(&mut bytes);
        }
        Reply::read(&bytes);
    }
}

/// Everything that a liar on the link can say about who has the address of `victim`.
fn lies(victim: &Host) -> Vec<(Vec<u8>, Outcome)> {
    let liar = Host { mac: MacAddr([2, 0, 0, 0, 6, 6]), ..*victim };
    match (victim.ip, victim.server) {
        (IpAddr::V4(ip), IpAddr::V4(server)) => {
            let packet = |operation, target_ip| arp::Packet {
                operation,
                sender_mac: liar.mac,
                sender_ip: ip,
                target_mac: SERVER_MAC,
                target_ip,
            };
            [
                (packet(arp::Operation::Reply, server), Outcome::ArpLearnt),
                (packet(arp::Operation::Request, ip), Outcome::ArpLearnt),
                (packet(arp::Operation::Reply, ip), Outcome::ArpLearnt),
                (packet(arp::Operation::Request, server), Outcome::ArpReplied),
            ]
            .map(|(packet, outcome)| (liar.arp(&packet), outcome))
            .to_vec()
        }
        (IpAddr::V6(ip), IpAddr::V6(server)) => {
            let advertisement = ndp::Advertisement {
                target: ip,
                router: false,
                solicited: true,
                override_entry: true,
                target_mac: Some(liar.mac),
            };
            let mut message = vec![0; advertisement.message_len()];
            advertisement.emit(&mut message, &ip, &server).unwrap();
            let solicitation = lab::frames::solicitation(server, Some(liar.mac));
            let addresses = Addresses::V6 { src: ip, dst: server };
            vec![
                (liar.icmp_to(&addresses, 255, &message), Outcome::NdLearnt),
                (liar.icmp_to(&addresses, 255, &solicitation), Outcome::NdReplied),
            ]
        }
        _ => unreachable!(),
    }
}

#[test]
fn row39_a_session_keeps_the_mac_that_it_began_with() {
    for peer in [v4(), v6()] {
        let mut bench = Bench::new(&Setup::default(), catalogue(1, &[("file", content(5_000, 1))]));
        let (tid, _) = peer.open(&mut bench, "file", &[]);
        for (frame, outcome) in lies(&peer.host) {
            bench.expect_frames(&frame, outcome);
            let learnt = bench.lane.engine().neighbours().find(peer.host.ip).expect("people may see the lie");
            assert_eq!(learnt.mac, MacAddr([2, 0, 0, 0, 6, 6]));
        }
        // In the reply to an ACK, in a timed resend, and even when the ACK itself comes another way.
        let mut elsewhere = peer;
        elsewhere.host.mac = MacAddr([2, 0, 0, 0, 6, 6]);
        elsewhere.host.vlan = Some(66);
        let mut replies = bench.expect(&peer.ack(tid, 1), Outcome::AckProgress);
        replies.extend(bench.pass(1, 3_000));
        replies.extend(bench.expect(&elsewhere.ack(tid, 2), Outcome::AckProgress));
        assert!(replies.len() >= 3);
        for reply in &replies {
            assert_eq!(reply.link.dst, peer.host.mac);
            assert_eq!(reply.link.vlan, None);
        }
    }
}

#[test]
fn other_protocols_and_tags_are_counted_and_dropped() {
    let host = Host::v4(2);
    let tcp = host.packet(&host.addresses(), Protocol::TCP, 64, &[0; 20]);
    let double = bent(v4().request("file", &[]), |f| {
        f.splice(12..12, [0x81, 0, 0, 5, 0x81, 0, 0, 6]);
    });
    let service = bent(v4().request("file", &[]), |f| {
        f.splice(12..12, [0x88, 0xa8, 0, 5]);
    });
    all_dropped(vec![
        (tcp, Outcome::NotUdp),
        (host.link(SERVER_MAC, EtherType(0x88cc), &[0; 46]), Outcome::NotIp),
        (host.link(SERVER_MAC, EtherType(46), &[0; 46]), Outcome::NotIp),
        (double, Outcome::BadTag),
        (service, Outcome::BadTag),
        (bent(v4().request("file", &[]), |f| f[6] |= 1), Outcome::GroupSource),
    ]);
}
