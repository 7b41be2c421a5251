//! Checksum offload seen from outside: a port that completes checksums (`net_tap`) sends into a kernel interface, and a second
//! port (`net_af_packet`) reads there what really went out. Needs root and `/dev/net/tun`; says so and passes without.
#![cfg(feature = "dpdk")]

use std::fs::{OpenOptions, metadata};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use dataplane::dpdk::{Device, DeviceConfig, Eal, Mempool, QueuePair, SocketId};
use dataplane::port::{Backlog, Burst, ChecksumRequest, Frame, Port};

const PAYLOAD: &[u8] = b"odd payload";

#[test]
fn a_tap_port_completes_the_checksums_that_it_is_asked_for() {
    let root = metadata("/proc/self").expect("procfs").uid() == 0;
    if !root || OpenOptions::new().read(true).write(true).open("/dev/net/tun").is_err() {
        eprintln!("skipped: a tap interface needs root and /dev/net/tun");
        return;
    }
    let args = ["--no-huge", "-m", "256", "--no-shconf", "--no-pci", "--no-telemetry", "--lcores", "0@0"];
    let eal = Eal::init(&args.map(str::to_owned)).expect("EAL without hugepages");
    let interface = format!("bp{}", std::process::id());

    let (mut tap, mut out) = started(&eal, "net_tap0", &format!("iface={interface}"));
    assert!(tap.grants().tx_checksum && out.completes_checksums());
    assert!(tap.grants().all_multicast);
    assert_ne!(tap.mac().expect("MAC"), [0; 6]);
    let (_watch, mut seen) = started(&eal, "net_af_packet0", &format!("iface={interface}"));

    for ipv4 in [true, false] {
        let mut backlog = Backlog::new();
        backlog.push(unfinished(&mut out, ipv4));
        assert_eq!(out.send(&mut backlog), 1);
        let frame = receive_ours(&mut seen, ipv4);
        let (ip, udp) = if ipv4 { (14..34, 34) } else { (14..54, 54) };
        if ipv4 {
            assert_eq!(sum(&frame[ip.clone()]), 0xffff, "IPv4 header: {frame:02x?}");
        }
        let mut covered = pseudo_header(&frame[ip], ipv4);
        covered.extend_from_slice(&frame[udp..]);
        assert_eq!(sum(&covered), 0xffff, "UDP over IPv{}: {frame:02x?}", if ipv4 { 4 } else { 6 });
    }
    the_link_is_told(&mut tap, &interface);
}

/// The link follows the kernel's side, although this driver hints at nothing; hints can be asked for again.
fn the_link_is_told(tap: &mut Device, interface: &str) {
    let (hint, mut first) = UnixStream::pair().expect("a pair");
    tap.hint_link_changes(Arc::new(OwnedFd::from(hint))).expect("registered");
    for (word, up) in [("down", false), ("up", true)] {
        let done = Command::new("ip").args(["link", "set", interface, word]).status().expect("ip runs");
        assert!(done.success());
        assert_eq!(tap.link().expect("a link").up, up);
    }
    let (hint, _second) = UnixStream::pair().expect("a pair");
    tap.hint_link_changes(Arc::new(OwnedFd::from(hint))).expect("registered again");
    let mut told = Vec::new();
    first.read_to_end(&mut told).expect("the first one was given up and closed");
    assert_eq!(told.len() % 8, 0, "whole numbers, if any");
}

fn started(eal: &Eal, name: &str, args: &str) -> (Device, QueuePair) {
    let pool: Arc<Mempool> = Mempool::new(eal, name, 1023, 2048, 0, SocketId::ANY).expect("pool");
    eal.hotplug_vdev(name, args).expect("device");
    let port = Device::find(eal, name).expect("port");
    let config = DeviceConfig {
        queue_pairs: 1,
        rx_descriptors: 256,
        tx_descriptors: 256,
        mtu: None,
        checksum_offload: true,
        all_multicast: true,
        zero_copy_min_bytes: 0,
    };
    let (mut device, mut pairs) = Device::configure(eal, port, &config, &[pool]).expect("configuration");
    device.start().expect("start");
    (device, pairs.pop().expect("one queue pair"))
}

/// A UDP frame with a zero IPv4 header checksum and the pseudo-header's sum in place of the UDP checksum.
fn unfinished(port: &mut QueuePair, ipv4: bool) -> <QueuePair as Port>::Frame {
    let udp_len = u8::try_from(8 + PAYLOAD.len()).expect("short");
    let mut bytes = vec![0xff; 6];
    bytes.extend_from_slice(&[2, 0, 0, 0, 0, 1]);
    if ipv4 {
        bytes.extend_from_slice(&[
            8,
            0,
            0x45,
            0,
            0,
            20 + udp_len,
            0,
            0,
            0,
            0,
            64,
            17,
            0,
            0,
            192,
            0,
            2,
            1,
            192,
            0,
            2,
            2,
        ]);
    } else {
        bytes.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, udp_len, 17, 64]);
        for last in [1, 2] {
            bytes.extend_from_slice(&[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
    }
    let pseudo = sum(&pseudo_header(&bytes[14..], ipv4)).to_be_bytes();
    let network_header_len = if ipv4 { 20 } else { 40 };
    bytes.extend_from_slice(&[0, 69, 0x30, 0x39, 0, udp_len, pseudo[0], pseudo[1]]);

    let mut frame = port.allocate().expect("a frame");
    frame.resize(bytes.len()).expect("room");
    frame.bytes_mut().copy_from_slice(&bytes);
    frame.append(PAYLOAD).expect("room");
    frame.request_checksums(ChecksumRequest { link_header_len: 14, network_header_len, ipv4 });
    frame
}

/// Addresses, length and protocol, as the UDP checksum covers them (RFC 768, RFC 8200 section 8.1).
fn pseudo_header(ip: &[u8], ipv4: bool) -> Vec<u8> {
    let mut bytes = if ipv4 { ip[12..20].to_vec() } else { ip[8..40].to_vec() };
    bytes.extend_from_slice(&[0, 17, 0, u8::try_from(8 + PAYLOAD.len()).expect("short")]);
    bytes
}

/// The folded one's complement sum (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let total: u32 = words.sum();
    let folded = (total & 0xffff) + (total >> 16);
    u16::try_from((folded & 0xffff) + (folded >> 16)).expect("folded")
}

/// The kernel sends frames of its own on a new interface; ours come from MAC 02:00:00:00:00:01.
fn receive_ours(port: &mut QueuePair, ipv4: bool) -> Vec<u8> {
    let ethertype = if ipv4 { [8, 0] } else { [0x86, 0xdd] };
    for _ in 0..500 {
        let mut burst = Burst::new();
        port.receive(&mut burst);
        let ours = |frame: &&_| Frame::bytes(*frame)[6..14] == [&[2, 0, 0, 0, 0, 1][..], &ethertype].concat();
        if let Some(frame) = burst.iter().find(ours) {
            return frame.bytes().to_vec();
        }
        sleep(Duration::from_millis(10));
    }
    panic!("no frame came through the kernel interface");
}
