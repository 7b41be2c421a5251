//! The frame that a server of blocks sees most, told apart with few loads: a UDP datagram of four bytes over IPv4 without options,
//! untagged. [`parse`](super::parse) decides about everything else, and says the same of this one.

use super::checksum::Sum;
use super::ethernet::MacAddr;
use super::ip::{Addresses, Check, Protocol};
use super::{Checks, field};
use core::net::Ipv4Addr;

/// Bytes from the destination MAC to the end of the payload.
pub const SHORT_LEN: usize = 14 + 20 + 8 + 4;

/// A UDP datagram with a payload of four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortDatagram {
    /// Receiver's MAC address.
    pub dst_mac: MacAddr,
    /// Sender's address.
    pub src: Ipv4Addr,
    /// Receiver's address.
    pub dst: Ipv4Addr,
    /// Sender's port.
    pub src_port: u16,
    /// Receiver's port.
    pub dst_port: u16,
    /// What it says.
    pub payload: [u8; 4],
}

impl ShortDatagram {
    /// Reads such a frame; `None` when it is another one, or not a sound one.
    #[inline]
    #[must_use]
    pub fn parse(frame: &[u8], checks: Checks) -> Option<Self> {
        let head = frame.first_chunk::<SHORT_LEN>()?;
        // EtherType, version and header length, total length. What lies behind it is padding.
        let front = u64::from_be_bytes(field::<12, _, _>(head)) & 0xffff_ff00_ffff_0000;
        // Fragment fields without "don't fragment", protocol.
        let back = u32::from_be_bytes(field::<20, _, _>(head)) & 0x3fff_00ff;
        let udp_len = u16::from_be_bytes(field::<38, _, _>(head));
        let is_one = front == 0x0800_4500_0020_0000 && back == u32::from(Protocol::UDP.0) && udp_len == 12;
        let src_mac = MacAddr(field::<6, _, _>(head));
        if !is_one || src_mac.is_multicast() {
            return None;
        }
        if checks.ip == Check::Verify && !Sum::of(&field::<14, 20, _>(head)).is_valid() {
            return None;
        }
        let src = Ipv4Addr::from_octets(field::<26, _, _>(head));
        let dst = Ipv4Addr::from_octets(field::<30, _, _>(head));
        // RFC 768: zero means that the sender made no checksum.
        if checks.udp == Check::Verify && field::<40, 2, _>(head) != [0, 0] {
            let pseudo_header = Addresses::V4 { src, dst }.pseudo_header(Protocol::UDP, udp_len);
            if !pseudo_header.combine(Sum::of(&field::<34, 12, _>(head))).is_valid() {
                return None;
            }
        }
        Some(Self {
            dst_mac: MacAddr(field::<0, _, _>(head)),
            src,
            dst,
            src_port: u16::from_be_bytes(field::<34, _, _>(head)),
            dst_port: u16::from_be_bytes(field::<36, _, _>(head)),
            payload: field::<42, _, _>(head),
        })
    }
}

/// Source address, source port and destination port of what looks like UDP over IPv4, untagged; nothing is checked.
#[inline]
#[must_use]
pub fn peek(frame: &[u8]) -> Option<(Ipv4Addr, u16, u16)> {
    let head = frame.first_chunk::<SHORT_LEN>()?;
    (field::<12, 3, _>(head) == [0x08, 0x00, 0x45]).then(|| {
        let src = Ipv4Addr::from_octets(field::<26, _, _>(head));
        (src, u16::from_be_bytes(field::<34, _, _>(head)), u16::from_be_bytes(field::<36, _, _>(head)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{EtherType, Packet, ethernet, ipv4, parse, udp};
    use proptest::prelude::*;

    fn frame(src: u32, dst: u32, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
        let (src, dst) = (Ipv4Addr::from_bits(src), Ipv4Addr::from_bits(dst));
        let len = u16::try_from(payload.len()).unwrap();
        let mut bytes = vec![0; 42];
        let link = ethernet::Header {
            dst: MacAddr([2, 0, 0, 0, 0, 1]),
            src: MacAddr([2, 0, 0, 0, 0, 2]),
            vlan: None,
            ether_type: EtherType::IPV4,
        };
        link.emit(&mut bytes).unwrap();
        ipv4::Repr { src, dst, protocol: Protocol::UDP, payload_len: 8 + len }.emit(&mut bytes[14..]).unwrap();
        udp::Repr { src_port: ports.0, dst_port: ports.1, payload_len: len }
            .emit(&mut bytes[34..], &Addresses::V4 { src, dst }, Sum::of(payload))
            .unwrap();
        bytes.extend_from_slice(payload);
        bytes
    }

    /// What [`parse`] says of the frame, if it is such a datagram.
    fn slowly(frame: &[u8], checks: Checks) -> Option<ShortDatagram> {
        let parsed = parse(frame, checks).ok()?;
        let Packet::Udp { flow, payload } = parsed.packet else { return None };
        let Addresses::V4 { src, dst } = flow.addresses else { return None };
        let payload = frame[payload.range()].try_into().ok()?;
        Some(ShortDatagram {
            dst_mac: parsed.link.dst,
            src,
            dst,
            src_port: flow.src_port,
            dst_port: flow.dst_port,
            payload,
        })
    }

    proptest! {
        #[test]
        fn it_reads_what_parse_reads(
            addresses in any::<(u32, u32)>(),
            ports in any::<(u16, u16)>(),
            payload in any::<[u8; 4]>(),
            padding in 0_usize..20,
        ) {
            let mut frame = frame(addresses.0, addresses.1, ports, &payload);
            frame.resize(frame.len() + padding, 0x55);
            let quick = ShortDatagram::parse(&frame, Checks::VERIFY);
            prop_assert!(quick.is_some());
            prop_assert_eq!(quick, slowly(&frame, Checks::VERIFY));
        }

        #[test]
        fn it_takes_nothing_that_parse_does_not_take(
            damage in proptest::collection::vec((0_usize..60, any::<u8>()), 1..4),
            trusts in any::<bool>(),
            len in 0_usize..60,
        ) {
            let mut frame = frame(0x0a00_0002, 0x0a00_0001, (2_000, 3_000), &[0, 4, 0, 9]);
            frame.resize(60, 0);
            for (at, byte) in damage {
                frame[at] = byte;
            }
            frame.truncate(len.max(30));
            let checks = if trusts { Checks::TRUST } else { Checks::VERIFY };
            if let Some(quick) = ShortDatagram::parse(&frame, checks) {
                prop_assert_eq!(Some(quick), slowly(&frame, checks));
            }
        }
    }

    #[test]
    fn each_check_counts() {
        let sound = frame(0x0a00_0002, 0x0a00_0001, (2_000, 3_000), &[0, 4, 0, 9]);
        assert!(ShortDatagram::parse(&sound, Checks::VERIFY).is_some());
        // Group source, EtherType, version, header length, total length, fragment, protocol, both checksums, addresses, ports, UDP
        // length, payload.
        for at in [6, 12, 13, 14, 16, 17, 20, 21, 23, 24, 26, 30, 34, 36, 38, 39, 40, 42, 45] {
            let mut spoilt = sound.clone();
            spoilt[at] ^= 0x11;
            assert_eq!(ShortDatagram::parse(&spoilt, Checks::VERIFY), None, "byte {at}");
        }
        let mut unchecked = sound;
        unchecked[40..42].fill(0);
        assert!(ShortDatagram::parse(&unchecked, Checks::VERIFY).is_some(), "RFC 768: no checksum");
        assert!(frame(1, 2, (3, 4), &[0, 4, 0, 9, 0]).len() == SHORT_LEN + 1);
        assert_eq!(ShortDatagram::parse(&frame(1, 2, (3, 4), &[0, 4, 0, 9, 0]), Checks::VERIFY), None);
    }
}
