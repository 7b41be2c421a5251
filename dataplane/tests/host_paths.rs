//! Ways to the server: VLAN tags, routers, link-local addresses, announcements, and a kernel that answers for us.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a panic is how a test fails; test data is small"
)]

mod lab;

use dataplane::engine::{Answering, Outcome};
use dataplane::wire::{self, Checks, EtherType, MacAddr, Packet, Protocol, arp, icmpv6, ndp};
use lab::frames::{Host, solicitation};
use lab::hand::{Peer, Reply, Said, blocks};
use lab::kernel::KernelBench;
use lab::{Bench, SERVER_MAC, Setup, catalogue, content};
use std::net::{IpAddr, Ipv4Addr};

const OWN_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

fn bench() -> Bench {
    Bench::new(&Setup::default(), catalogue(1, &[("file", content(5_000, 1))]))
}

/// Reads "file" in lockstep; every reply must come back the way of `peer`.
#[track_caller]
fn download(bench: &mut Bench, peer: Peer) {
    let mut replies = bench.expect(&peer.request("file", &[]), Outcome::RequestOpened);
    let mut bytes = Vec::new();
    for next in 1.. {
        let [reply] = replies.as_slice() else { panic!("{replies:?}") };
        let Said::Data { block, bytes: more } = &reply.said else { panic!("{reply:?}") };
        assert_eq!(*block, next);
        assert_eq!((reply.link.dst, reply.link.src), (peer.host.mac, SERVER_MAC));
        assert_eq!(reply.link.vlan.map(|tag| tag.0), peer.host.vlan);
        assert_eq!((reply.flow.addresses.dst(), reply.flow.addresses.src()), (peer.host.ip, peer.host.server));
        bytes.extend_from_slice(more);
        if more.len() < 512 {
            bench.expect_silence(&peer.ack(reply.tid(), next), Outcome::AckFinished);
            assert!(bytes == content(5_000, 1));
            return;
        }
        let tid = reply.tid();
        replies = bench.expect(&peer.ack(tid, next), Outcome::AckProgress);
    }
}

#[test]
fn one_vlan_tag_comes_back_with_its_priority() {
    let mut bench = bench();
    // No tag, a priority tag without VLAN, VLANs 1, 100 and 4094 with priorities and the drop-eligible bit.
    for (port, vlan) in (3_000..).zip([None, Some(0xE000), Some(1), Some(0x6064), Some(0x7FFE), Some(0x1005)]) {
        for mut peer in [Peer::v4(2, port), Peer::v6(2, port)] {
            peer.host.vlan = vlan;
            download(&mut bench, peer);
            // An ERROR takes the same way.
            let reply = bench.expect_error(&peer.request("missing", &[]), Outcome::RequestRefused, 1);
            assert_eq!(reply.link.vlan.map(|tag| tag.0), vlan);
        }
    }
}

#[test]
fn vlan_4095_is_never_answered_without_its_tag() {
    // IEEE 802.1Q-2018 table 9-2: VID 4095 shall not be transmitted. A reply may be left out, but never leave its VLAN.
    for tag in [0x0FFF, 0xFFFF] {
        let mut bench = bench();
        let mut peer = Peer::v4(2, 3_000);
        peer.host.vlan = Some(tag);
        let mut sent = bench.exchange(&peer.request("file", &[]));
        sent.extend(bench.pass_ms(2_000));
        for frame in sent {
            assert_eq!(Reply::read(&frame).link.vlan.map(|tag| tag.0), Some(tag), "a reply to another VLAN");
        }
    }
}

#[test]
fn behind_a_router_replies_go_to_the_router() {
    let mut bench = bench();
    let router = MacAddr([2, 0, 0, 0, 9, 9]);
    let behind = |ip: &str, port| {
        let mut peer = if ip.contains(':') { Peer::v6(2, port) } else { Peer::v4(2, port) };
        peer.host.ip = lab::ip(ip);
        peer.host.mac = router;
        peer
    };
    let clients = [
        behind("192.168.1.20", 3_000),
        behind("172.16.5.20", 3_000),
        behind("192.168.1.20", 3_001),
        behind("2001:db8:1::20", 3_000),
        behind("2001:db8:2::20", 3_000),
    ];
    // All at a time: one MAC, five clients, five sessions.
    let tids: Vec<u16> = clients.iter().map(|client| client.open(&mut bench, "file", &[]).0).collect();
    assert_eq!(bench.live_sessions(), 5);
    for (client, &tid) in clients.iter().zip(&tids) {
        let replies = bench.expect(&client.ack(tid, 1), Outcome::AckProgress);
        assert_eq!(blocks(&replies), [2]);
        assert_eq!(replies[0].link.dst, router);
        assert_eq!(replies[0].flow.addresses.dst(), client.host.ip);
        // The same router does not make them one.
        for (other, &theirs) in clients.iter().zip(&tids) {
            if theirs != tid {
                let outcome = Outcome::StrangerRefused;
                assert_eq!(bench.expect_error(&other.ack(tid, 1), outcome, 5).flow.addresses.dst(), other.host.ip);
            }
        }
        bench.expect_silence(&client.error(tid, 0), Outcome::ClientError);
    }
    clients.iter().for_each(|&client| download(&mut bench, client));
}

#[test]
fn tftp_over_link_local_addresses() {
    let mut bench = bench();
    let mut peer = Peer::v6(2, 3_000);
    peer.host.ip = lab::ip("fe80::2ff:fe00:102");
    peer.host.server = lab::ip("fe80::ff:fe00:1");
    download(&mut bench, peer);
    // The same client by another of our addresses is refused there, and no harm is done here.
    peer.port = 3_001;
    let (tid, _) = peer.open(&mut bench, "file", &[]);
    let mut by_global = peer;
    by_global.host.server = lab::ip(lab::SERVER_V6);
    assert!(bench.exchange(&by_global.ack(tid, 1)).is_empty());
    assert_eq!(blocks(&bench.expect(&peer.ack(tid, 1), Outcome::AckProgress)), [2]);
}

#[test]
fn rfc5227_2_3_and_rfc4861_7_2_6_announcements() {
    let mut bench = bench();
    bench.lane.announce(bench.now);
    let sent: Vec<Vec<u8>> = bench.poll().iter().map(|frame| dataplane::port::Frame::bytes(frame).to_vec()).collect();
    assert_eq!(sent.len(), 3, "one per address, the link-local one included");
    let (link, packet) = parse(&sent[0]);
    assert_eq!((link.dst, link.src, link.vlan), (MacAddr::BROADCAST, SERVER_MAC, None));
    let Packet::Arp(packet) = packet else { panic!("{packet:?}") };
    assert!(packet.is_announcement());
    assert_eq!((packet.sender_ip, packet.sender_mac, packet.target_ip), (OWN_V4, SERVER_MAC, OWN_V4));
    for (frame, address) in sent[1..].iter().zip([lab::SERVER_V6, "fe80::ff:fe00:1"]) {
        let (link, packet) = parse(frame);
        assert_eq!((link.dst, link.src), (MacAddr([0x33, 0x33, 0, 0, 0, 1]), SERVER_MAC));
        let Packet::Icmpv6 { src, dst, message: icmpv6::Message::NeighbourAdvertisement(said), .. } = packet else {
            panic!("{packet:?}")
        };
        assert_eq!((IpAddr::V6(src), dst), (lab::ip(address), ndp::ALL_NODES));
        assert_eq!(IpAddr::V6(said.target), lab::ip(address));
        assert!(!said.solicited && said.override_entry && !said.router);
        assert_eq!(said.target_mac, Some(SERVER_MAC));
        assert_eq!(frame[14 + 7], 255);
    }
    // Announcements that a switch sends back to us are neither conflicts nor answered.
    for frame in &sent {
        let replies = bench.exchange(frame);
        assert!(replies.is_empty(), "we answered ourselves");
    }
    assert_eq!(bench.count(Outcome::AddressConflict), 0);
    assert_eq!(bench.lane.engine().neighbours().iter().count(), 0, "nor are we our own neighbour");
    // Without a buffer nothing is sent, and nothing breaks.
    let mut poor = Bench::new(&Setup { pool_frames: 0, ..Setup::default() }, catalogue(1, &[]));
    poor.lane.announce(poor.now);
    assert!(poor.poll().is_empty());
}

fn parse(frame: &[u8]) -> (wire::ethernet::Header, Packet) {
    let parsed = wire::parse(frame, Checks::VERIFY).expect("the server sends sound frames");
    (parsed.link, parsed.packet)
}

fn beside_a_kernel(ring_len: usize) -> KernelBench {
    let setup = Setup { answering: Answering::Kernel, ..Setup::default() };
    KernelBench::new(&setup, catalogue(1, &[("file", content(5_000, 1))]), ring_len)
}

/// Frames that are the kernel's business.
fn not_ours() -> Vec<Vec<u8>> {
    let (v4, v6) = (Host::v4(2), Host::v6(2));
    let who_has = arp::Packet {
        operation: arp::Operation::Request,
        sender_mac: v4.mac,
        sender_ip: Ipv4Addr::new(10, 99, 0, 2),
        target_mac: MacAddr([0; 6]),
        target_ip: OWN_V4,
    };
    let IpAddr::V6(own_v6) = v6.server else { unreachable!() };
    let stray = Peer::v4(2, 4_000);
    let mut fragment = stray.request("file", &[]);
    fragment[20] = 0x20;
    let mut torn = stray.request("file", &[]);
    torn.truncate(40);
    vec![
        v4.arp(&who_has),
        v4.icmp(&[8, 0, 0, 0, 0, 1, 0, 1]),
        v6.icmp(&[128, 0, 0, 0, 0, 1, 0, 1]),
        v6.icmp_to(&v6.addresses(), 255, &solicitation(own_v6, Some(v6.mac))),
        v4.packet(&v4.addresses(), Protocol::TCP, 64, &[0; 20]),
        v4.link(MacAddr([1, 0x80, 0xc2, 0, 0, 0]), EtherType(60), &[0; 60]),
        v4.link(SERVER_MAC, EtherType(0x88cc), &[0; 60]),
        stray.to(22, b"ssh"),
        stray.to(68, b"dhcp"),
        stray.ack(50_000, 1),
        stray.error(50_000, 0),
        Peer::v6(2, 4_000).ack(50_000, 1),
        fragment,
        torn,
        vec![0; 13],
    ]
}

#[test]
fn beside_a_kernel_all_but_tftp_goes_there_untouched() {
    let mut bench = beside_a_kernel(64);
    for frame in not_ours() {
        let (to_link, to_kernel) = bench.expect(&frame, Outcome::ToKernel);
        assert!(to_link.is_empty(), "we answered what is the kernel's");
        assert_eq!(to_kernel, [frame]);
    }
    assert_eq!(bench.lane.engine().active_sessions(), 0);
    assert_eq!(bench.pool.in_use(), 0);
}

#[test]
fn beside_a_kernel_tftp_is_served() {
    let mut bench = beside_a_kernel(64);
    for mut peer in [Peer::v4(2, 3_000), Peer::v6(2, 3_000)] {
        peer.host.vlan = Some(5);
        let (to_link, to_kernel) = bench.expect(&peer.request("file", &[]), Outcome::RequestOpened);
        assert!(to_kernel.is_empty());
        let reply = Reply::read(&to_link[0]);
        assert_eq!(reply.link.dst, peer.host.mac);
        let tid = reply.tid();
        for block in 1..=9 {
            let (to_link, to_kernel) = bench.expect(&peer.ack(tid, block), Outcome::AckProgress);
            assert!(to_kernel.is_empty());
            assert_eq!(blocks(&[Reply::read(&to_link[0])]), [block + 1]);
        }
        // The TID of a session is ours, whoever sends to it (row 30).
        let stranger = Peer::v4(7, 3_333);
        let (to_link, to_kernel) = bench.expect(&stranger.ack(tid, 1), Outcome::StrangerRefused);
        assert!(to_kernel.is_empty() && Reply::read(&to_link[0]).is_error(5));
        bench.expect(&peer.ack(tid, 10), Outcome::AckFinished);
        let (to_link, to_kernel) = bench.expect(&peer.request("missing", &[]), Outcome::RequestRefused);
        assert!(to_kernel.is_empty() && Reply::read(&to_link[0]).is_error(1));
        // Port 69 is ours whatever comes to it.
        let (to_link, to_kernel) = bench.expect(&peer.to(69, b"\0\x04\0\x01"), Outcome::NotARequest);
        assert!(to_link.is_empty() && to_kernel.is_empty());
    }
    assert_eq!(bench.pool.in_use(), 0);
}

#[test]
fn beside_a_kernel_an_icmp_error_about_a_session_ends_it() {
    let mut bench = beside_a_kernel(64);
    for peer in [Peer::v4(2, 3_000), Peer::v6(2, 3_000)] {
        let (sent, _) = bench.expect(&peer.request("file", &[]), Outcome::RequestOpened);
        let error = peer.host.port_unreachable(&sent[0]);
        let (_, to_kernel) = bench.expect(&error, Outcome::Unreachable);
        assert!(to_kernel.is_empty());
        // Once the session is gone it may be about something of the kernel's.
        let (_, to_kernel) = bench.expect(&error, Outcome::ToKernel);
        assert_eq!(to_kernel, [error]);
    }
    assert_eq!(bench.lane.engine().active_sessions(), 0);
}

#[test]
fn beside_a_kernel_its_own_frames_go_out() {
    let mut bench = beside_a_kernel(64);
    let frames: Vec<Vec<u8>> = (0..100).map(|number| content(60 + number, number as u8)).collect();
    frames.iter().for_each(|frame| bench.kernel.deliver(frame));
    let mut sent = Vec::new();
    for _ in 0..10 {
        bench.lane.poll(bench.now);
        sent.extend(bench.port.sent());
    }
    assert_eq!(sent, frames, "all of them, as they were, in order");
    assert_eq!(bench.counters.from_kernel.get(), 100);
    assert_eq!(bench.counters.tx_frames.get(), 100);
    assert_eq!(bench.pool.in_use(), 0);
}

#[test]
fn beside_a_kernel_that_does_not_keep_up_frames_are_dropped_and_counted() {
    let mut bench = beside_a_kernel(4);
    let frames = not_ours();
    frames.iter().for_each(|frame| bench.port.deliver(frame));
    bench.lane.poll(bench.now);
    assert_eq!(bench.counters.outcome(Outcome::ToKernel), 4);
    assert_eq!(bench.counters.outcome(Outcome::KernelFull), frames.len() as u64 - 4);
    assert_eq!(bench.counters.rx_frames.get(), bench.counters.accounted_frames());
    assert_eq!(bench.kernel.sent().len(), 4);
    // TFTP does not wait for the kernel.
    bench.expect(&Peer::v4(2, 3_000).request("file", &[]), Outcome::RequestOpened);
}

#[test]
fn beside_a_kernel_a_flood_of_its_frames_leaves_the_turn_to_transfers() {
    let mut bench = beside_a_kernel(64);
    let mut peer = Peer::v4(2, 3_000);
    peer.host.vlan = None;
    let (to_link, _) = bench.expect(&peer.request("file", &[]), Outcome::RequestOpened);
    let tid = Reply::read(&to_link[0]).tid();
    // More comes for the kernel, and from it, than a turn may pass on; an ACK lies in the middle.
    let stray = not_ours().swap_remove(4);
    let before = bench.counters.outcome(Outcome::ToKernel);
    for block in 1..=8 {
        (0..100).for_each(|_| bench.port.deliver(&stray));
        bench.port.deliver(&peer.ack(tid, block));
        (0..50).for_each(|_| bench.kernel.deliver(&stray));
        let (mut given, mut from_kernel, mut answered) = (0, 0, false);
        for _ in 0..4 {
            bench.lane.poll(bench.now);
            given += bench.kernel.sent().len();
            let sent = bench.port.sent();
            answered |= sent.iter().any(|frame| *frame != stray);
            from_kernel += sent.iter().filter(|frame| **frame == stray).count();
        }
        assert!(answered, "block {block}: the ACK waits for no more than the bursts before it");
        assert_eq!(given, 16, "four frames a turn");
        assert!(from_kernel <= 32, "one burst in eight turns, and not in every round: {from_kernel}");
    }
    let passed_or_lost = bench.counters.outcome(Outcome::ToKernel) + bench.counters.outcome(Outcome::KernelFull);
    assert_eq!(passed_or_lost - before, 800);
    assert_eq!(bench.counters.rx_frames.get(), bench.counters.accounted_frames());
    // Without work of our own the kernel gets all that waits for it.
    bench.expect(&peer.error(tid, 0), Outcome::ClientError);
    for _ in 0..20 {
        bench.lane.poll(bench.now);
        bench.kernel.sent();
        bench.port.sent();
    }
    assert_eq!(bench.counters.to_kernel.get(), bench.counters.outcome(Outcome::ToKernel), "what was taken in went out");
    assert_eq!(bench.counters.kernel_lost.get(), 0);
    assert_eq!(bench.counters.from_kernel.get(), 400);
    assert_eq!(bench.pool.in_use(), 0);
}

#[test]
fn beside_a_kernel_its_frames_never_fill_the_backlog() {
    // A link that takes one frame a turn, and a kernel that never stops.
    let setup = Setup { answering: Answering::Kernel, ring_len: 1, ..Setup::default() };
    let mut bench = KernelBench::new(&setup, catalogue(1, &[("file", content(5_000, 1))]), 64);
    let peer = Peer::v4(2, 3_000);
    let stray = not_ours().swap_remove(4);
    let mut waited = None;
    for turn in 0..200 {
        bench.kernel.deliver(&stray);
        bench.kernel.deliver(&stray);
        if turn == 100 {
            bench.port.deliver(&peer.request("file", &[]));
        }
        bench.lane.poll(bench.now);
        if bench.port.sent().iter().any(|frame| *frame != stray) && waited.is_none() {
            waited = Some(turn - 100);
        }
    }
    assert!(waited.is_some_and(|turns| turns <= 34), "no more than one burst is before us: {waited:?} turns");
}

#[test]
fn without_a_kernel_interface_its_frames_are_counted_as_lost() {
    let setup = Setup { answering: Answering::Kernel, ..Setup::default() };
    let mut bench = Bench::new(&setup, catalogue(1, &[("file", content(10, 1))]));
    for frame in not_ours() {
        bench.expect_silence(&frame, Outcome::KernelFull);
    }
    assert_eq!(bench.pool.in_use(), 0);
}
