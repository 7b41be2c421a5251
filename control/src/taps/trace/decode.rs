//! One copied frame as a line: who said what, and whether it was said before. Text from the network is made harmless here.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use dataplane::files::escape;
use dataplane::tftp::Packet;
use dataplane::wire::{EtherType, Protocol};
use dataplane::worker::{Direction, TapRecord};

use crate::protocol::TraceLine;

/// Flows whose last words are remembered; more than one client has.
const FLOWS: usize = 1_024;

/// The last words of one flow, each way.
#[derive(Debug, Default)]
struct Last {
    /// Highest block sent, as the client counts.
    block: Option<u16>,
    ack: Option<u16>,
    /// The last request, OACK or ERROR, each way.
    spoken: [Option<Vec<u8>>; 2],
}

/// Remembers what was said.
#[derive(Debug)]
pub(super) struct Decoder {
    client: IpAddr,
    flows: HashMap<(u16, u16), Last>,
}

/// A UDP datagram, as far as it was kept.
struct Datagram<'a> {
    source: SocketAddr,
    target: SocketAddr,
    /// Bytes of payload that it says to have.
    len: usize,
    payload: &'a [u8],
}

impl Decoder {
    pub(super) fn new(client: IpAddr) -> Self {
        Self { client, flows: HashMap::new() }
    }

    /// None for what is no UDP of this client's.
    pub(super) fn line(&mut self, unix_ns: u64, record: &TapRecord) -> Option<TraceLine> {
        let datagram = Datagram::read(&record.bytes)?;
        let received = record.direction == Direction::Received;
        let (client, server) =
            if received { (datagram.source, datagram.target) } else { (datagram.target, datagram.source) };
        if client.ip() != self.client {
            return None;
        }
        if self.flows.len() >= FLOWS {
            self.flows.clear();
        }
        let last = self.flows.entry((client.port(), server.port())).or_default();
        let (packet, again) = describe(&datagram, last, received);
        Some(TraceLine {
            unix_us: unix_ns / 1_000,
            received,
            client: client.to_string(),
            server_port: server.port(),
            packet,
            again,
        })
    }
}

/// In words, and whether it was said before.
fn describe(datagram: &Datagram<'_>, last: &mut Last, received: bool) -> (String, bool) {
    let side = usize::from(received);
    let mut spoken = |bytes: &[u8]| last.spoken[side].replace(bytes.to_vec()).is_some_and(|before| before == bytes);
    match Packet::parse(datagram.payload) {
        Ok(Packet::ReadRequest { body }) => (format!("RRQ {}", request(body)), spoken(datagram.payload)),
        Ok(Packet::WriteRequest { body }) => (format!("WRQ {}", request(body)), spoken(datagram.payload)),
        Ok(Packet::OptionAck { body }) => (format!("OACK {}", options(body)), spoken(datagram.payload)),
        Ok(Packet::Error { code, message }) => {
            (format!("ERROR {code} \"{}\"", escape(message)), spoken(datagram.payload))
        }
        Ok(Packet::Data { block, .. }) => {
            let len = datagram.len.saturating_sub(4);
            // Block numbers go round: half of them are before, half behind.
            let again = last.block.is_some_and(|highest| block.wrapping_sub(highest).wrapping_sub(1) >= 0x8000);
            if !again {
                last.block = Some(block);
            }
            (format!("DATA {block}, {len} bytes"), again)
        }
        Ok(Packet::Ack { block }) => (format!("ACK {block}"), last.ack.replace(block) == Some(block)),
        Err(error) => (format!("{} bytes that are no TFTP: {error}", datagram.len), false),
    }
}

/// `"name" octet blksize=1428`.
fn request(body: &[u8]) -> String {
    let mut strings = body.split(|&byte| byte == 0);
    let name = escape(strings.next().unwrap_or_default()).to_string();
    let mode = escape(strings.next().unwrap_or_default()).to_string();
    let after = body.iter().enumerate().filter(|(_, byte)| **byte == 0).nth(1).map_or(body.len(), |(at, _)| at + 1);
    let options = options(&body[after..]);
    format!("\"{name}\" {mode} {options}").trim_end().to_owned()
}

/// `blksize=1428 tsize=0`.
fn options(body: &[u8]) -> String {
    let strings: Vec<&[u8]> = body.split(|&byte| byte == 0).collect();
    let pair = |pair: &[&[u8]]| match pair {
        [name, value] if !name.is_empty() => Some(format!("{}={}", escape(name), escape(value))),
        _ => None,
    };
    strings.chunks(2).filter_map(pair).collect::<Vec<_>>().join(" ")
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl<'a> Datagram<'a> {
    /// Lenient: what is damaged is shown as far as it goes.
    fn read(frame: &'a [u8]) -> Option<Self> {
        let mut kind = short(frame, 12)?;
        let mut packet = frame.get(14..)?;
        if kind == EtherType::VLAN.0 {
            kind = short(packet, 2)?;
            packet = packet.get(4..)?;
        }
        let (protocol, source, target, udp) = match EtherType(kind) {
            EtherType::IPV4 => {
                let header_len = usize::from(*packet.first()? & 15) * 4;
                let address = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<4>()?));
                (*packet.get(9)?, address(12)?, address(16)?, packet.get(header_len..)?)
            }
            EtherType::IPV6 => {
                let address = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<16>()?));
                (*packet.get(6)?, address(8)?, address(24)?, packet.get(40..)?)
            }
            _ => return None,
        };
        if Protocol(protocol) != Protocol::UDP {
            return None;
        }
        let len = usize::from(short(udp, 4)?).saturating_sub(8);
        let payload = udp.get(8..)?;
        Some(Self {
            source: SocketAddr::new(source, short(udp, 0)?),
            target: SocketAddr::new(target, short(udp, 2)?),
            len,
            // Without what pads a short frame.
            payload: &payload[..payload.len().min(len)],
        })
    }
}

#[cfg(test)]
mod tests {
    use dataplane::time::Instant;

    use super::*;

    const CLIENT: [u8; 4] = [192, 0, 2, 7];
    const SERVER: [u8; 4] = [192, 0, 2, 1];

    fn record(received: bool, server_port: u16, payload: &[u8]) -> TapRecord {
        let mut bytes = vec![2; 12];
        bytes.extend(EtherType::IPV4.0.to_be_bytes());
        bytes.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0]);
        let (from, to) = if received { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
        bytes.extend(from);
        bytes.extend(to);
        let ports = if received { [2_000, server_port] } else { [server_port, 2_000] };
        ports.iter().for_each(|port| bytes.extend(port.to_be_bytes()));
        bytes.extend(u16::try_from(payload.len() + 8).unwrap().to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(payload);
        // What pads a short frame.
        bytes.extend([0; 8]);
        let direction = if received { Direction::Received } else { Direction::Sent };
        TapRecord { at: Instant::ORIGIN, direction, frame_len: bytes.len(), bytes }
    }

    fn lines(records: &[TapRecord]) -> Vec<(String, bool)> {
        let mut decoder = Decoder::new(CLIENT.into());
        let line = |record| decoder.line(5_000, record).map(|line| (line.packet, line.again));
        records.iter().filter_map(line).collect()
    }

    #[test]
    fn a_transfer_reads_as_it_was_spoken() {
        let data = |block: u16| [&[0, 3][..], &block.to_be_bytes(), &[7; 512]].concat();
        let shown = lines(&[
            record(true, 69, b"\0\x01boot/a\0octet\0blksize\x001428\0tsize\x000\0"),
            record(false, 40_000, b"\0\x06blksize\x001428\0tsize\x009999\0"),
            record(true, 40_000, b"\0\x04\0\0"),
            record(false, 40_000, &data(1)),
            record(false, 40_000, &data(1)),
            record(true, 40_000, b"\0\x04\0\x01"),
            record(true, 40_000, b"\0\x05\0\0\x1b[2Jgone\0"),
        ]);
        let expected = [
            ("RRQ \"boot/a\" octet blksize=1428 tsize=0", false),
            ("OACK blksize=1428 tsize=9999", false),
            ("ACK 0", false),
            ("DATA 1, 512 bytes", false),
            ("DATA 1, 512 bytes", true),
            ("ACK 1", false),
        ];
        assert_eq!(shown[..6], expected.map(|(text, again)| (text.to_owned(), again)));
        assert!(shown[6].0.starts_with("ERROR 0 \"") && !shown[6].0.contains('\u{1b}'), "{}", shown[6].0);
    }

    #[test]
    fn repeats_are_known_across_the_rollover_and_per_flow() {
        let data = |block: u16| [&[0, 3][..], &block.to_be_bytes(), &[7; 8]].concat();
        let sent: Vec<TapRecord> =
            [65_534, 65_535, 0, 65_535, 1].map(|block| record(false, 40_000, &data(block))).into();
        let again: Vec<bool> = lines(&sent).into_iter().map(|(_, again)| again).collect();
        assert_eq!(again, [false, false, false, true, false]);
        let request = b"\0\x01a\0octet\0";
        let twice = [record(true, 69, request), record(true, 69, request), record(false, 41_000, &data(1))];
        assert_eq!(lines(&twice).iter().map(|(_, again)| *again).collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn what_is_cut_or_not_the_clients_makes_no_line() {
        let whole = record(true, 69, b"\0\x01a\0octet\0");
        for len in 0..whole.bytes.len() {
            let cut = TapRecord { bytes: whole.bytes[..len].to_vec(), ..record(true, 69, b"") };
            // No panic, whatever is missing.
            let _ = lines(&[cut]);
        }
        let mut decoder = Decoder::new([192, 0, 2, 8].into());
        assert!(decoder.line(0, &whole).is_none());
        assert!(lines(&[record(true, 69, b"\0\x09x")])[0].0.contains("no TFTP"));
    }
}
