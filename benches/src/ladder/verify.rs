//! Is a reply what it must be, to the last byte? Its own arithmetic, byte by byte: nothing of the server's is asked.

use core::net::Ipv4Addr;
use thiserror::Error;

/// Bytes before the TFTP packet: Ethernet, IPv4 without options, UDP.
pub(crate) const HEADERS: usize = 14 + 20 + 8;

/// Opcode and block number.
const DATA_HEADER: usize = 4;

/// Least Ethernet frame, without its check sequence; shorter packets are padded.
pub(crate) const FRAME_MIN: usize = 60;

/// What is wrong with a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Mismatch {
    /// Not as long as its content asks for.
    #[error("a frame of {found} bytes, expected {expected}")]
    Length {
        /// Bytes of the frame.
        found: usize,
        /// What they should be.
        expected: usize,
    },
    /// Wrong MACs or EtherType, or a wrong field of IPv4 or UDP.
    #[error("wrong byte {offset} in the headers: {found:#04x}, expected {expected:#04x}")]
    Header {
        /// Offset in the frame.
        offset: usize,
        /// Its value.
        found: u8,
        /// What it should be.
        expected: u8,
    },
    /// The IPv4 header checksum does not fit.
    #[error("wrong IPv4 header checksum")]
    Ipv4Checksum,
    /// The UDP checksum does not fit, or there is none.
    #[error("wrong UDP checksum")]
    UdpChecksum,
    /// Another block than the one that is due.
    #[error("block {found}, expected {expected}")]
    Block {
        /// Block number of the reply.
        found: u16,
        /// What it should be.
        expected: u16,
    },
    /// A wrong byte of the file.
    #[error("wrong byte {offset} of block {block}")]
    Content {
        /// Block number.
        block: u16,
        /// Offset in the block.
        offset: usize,
    },
}

/// One end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Its MAC.
    pub(crate) mac: [u8; 6],
    /// Its address.
    pub(crate) ip: Ipv4Addr,
    /// Its UDP port.
    pub(crate) port: u16,
}

/// Checks a datagram's way: MACs, addresses, ports, lengths and both checksums.
pub(crate) fn datagram(frame: &[u8], from: Endpoint, to: Endpoint, payload_len: usize) -> Result<(), Mismatch> {
    let expected = (HEADERS + payload_len).max(FRAME_MIN);
    // A reply that is shorter than Ethernet's least frame may leave the padding to the port.
    if frame.len() != HEADERS + payload_len && frame.len() != expected {
        return Err(Mismatch::Length { found: frame.len(), expected });
    }
    let be = |value: usize| u16::try_from(value).unwrap_or(0).to_be_bytes();
    let fields: [(usize, &[u8]); 11] = [
        (0, &to.mac),
        (6, &from.mac),
        (12, &[8, 0, 0x45]),
        (16, &be(28 + payload_len)),
        // No fragment: offset 0 and no "more fragments".
        (20, &[frame[20] & 0x40, 0]),
        (23, &[17]),
        (26, &from.ip.octets()),
        (30, &to.ip.octets()),
        (34, &from.port.to_be_bytes()),
        (36, &to.port.to_be_bytes()),
        (38, &be(8 + payload_len)),
    ];
    for (start, field) in fields {
        for (offset, &expected) in (start..).zip(field) {
            if frame[offset] != expected {
                return Err(Mismatch::Header { offset, found: frame[offset], expected });
            }
        }
    }
    if ones_sum(0, &frame[14..34]) != 0xFFFF {
        return Err(Mismatch::Ipv4Checksum);
    }
    // RFC 768: the pseudo-header is addresses, protocol and length; 0 means that there is no checksum.
    let pseudo = 17 + 8 + u32::try_from(payload_len).unwrap_or(0);
    let udp = &frame[34..HEADERS + payload_len];
    if udp[6..8] == [0, 0] || ones_sum(pseudo + u32::from(ones_sum(0, &frame[26..34])), udp) != 0xFFFF {
        return Err(Mismatch::UdpChecksum);
    }
    Ok(())
}

/// Checks a DATA packet (RFC 1350 §5) with everything around it.
pub(crate) fn data(frame: &[u8], from: Endpoint, to: Endpoint, block: u16, content: &[u8]) -> Result<(), Mismatch> {
    datagram(frame, from, to, DATA_HEADER + content.len())?;
    let packet = &frame[HEADERS..];
    if packet[..2] != [0, 3] {
        return Err(Mismatch::Header { offset: HEADERS + 1, found: packet[1], expected: 3 });
    }
    let found = u16::from_be_bytes([packet[2], packet[3]]);
    if found != block {
        return Err(Mismatch::Block { found, expected: block });
    }
    let sent = &packet[DATA_HEADER..DATA_HEADER + content.len()];
    match sent.iter().zip(content).position(|(sent, due)| sent != due) {
        Some(offset) => Err(Mismatch::Content { block, offset }),
        None => Ok(()),
    }
}

/// The folded one's complement sum of 16-bit words (RFC 1071), added to `start`.
fn ones_sum(start: u32, bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    let mut sum = bytes.chunks(2).map(word).sum::<u64>() + u64::from(start);
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(0xFFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Endpoint = Endpoint { mac: [2, 0, 0, 0, 0, 1], ip: Ipv4Addr::new(10, 0, 0, 1), port: 40_000 };
    const CLIENT: Endpoint = Endpoint { mac: [2, 0, 0, 0, 0, 2], ip: Ipv4Addr::new(10, 1, 2, 3), port: 2_070 };

    /// A right DATA packet, made by another library's idea of one: fields by hand, checksums from the definition.
    fn reply(block: u16, content: &[u8]) -> Vec<u8> {
        let total = u16::try_from(32 + content.len()).unwrap();
        let mut frame = [&CLIENT.mac[..], &SERVER.mac, &[8, 0, 0x45, 0], &total.to_be_bytes()].concat();
        frame.extend_from_slice(&[0, 0, 0x40, 0, 64, 17, 0, 0]);
        frame.extend_from_slice(&SERVER.ip.octets());
        frame.extend_from_slice(&CLIENT.ip.octets());
        let sum = !ones_sum(0, &frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame.extend_from_slice(&SERVER.port.to_be_bytes());
        frame.extend_from_slice(&CLIENT.port.to_be_bytes());
        frame.extend_from_slice(&(total - 20).to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 3]);
        frame.extend_from_slice(&block.to_be_bytes());
        frame.extend_from_slice(content);
        let mut covered = frame[26..34].to_vec();
        covered.extend_from_slice(&[0, 17]);
        covered.extend_from_slice(&(total - 20).to_be_bytes());
        covered.extend_from_slice(&frame[34..]);
        let sum = !ones_sum(0, &covered);
        frame[40..42].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    #[test]
    fn a_right_reply_passes() {
        for len in [0, 1, 13, 14, 511, 512, 1428] {
            let content: Vec<u8> = (0..len).map(|n: u32| n.to_le_bytes()[0]).collect();
            assert_eq!(data(&reply(7, &content), SERVER, CLIENT, 7, &content), Ok(()), "{len} bytes");
        }
    }

    #[test]
    fn every_corrupted_bit_is_found() {
        let content = [0x5A; 100];
        let right = reply(7, &content);
        for bit in 0..right.len() * 8 {
            let mut wrong = right.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(data(&wrong, SERVER, CLIENT, 7, &content).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn right_checksums_over_wrong_content_are_found() {
        let mut content = [0x5A; 100];
        content[31] = 0;
        let frame = reply(7, &content);
        assert_eq!(data(&frame, SERVER, CLIENT, 7, &[0x5A; 100]), Err(Mismatch::Content { block: 7, offset: 31 }));
        assert_eq!(data(&frame, SERVER, CLIENT, 8, &content), Err(Mismatch::Block { found: 7, expected: 8 }));
        let other = Endpoint { port: 40_001, ..SERVER };
        assert!(matches!(data(&frame, other, CLIENT, 7, &content), Err(Mismatch::Header { offset: 35, .. })));
        assert!(matches!(data(&frame[..100], SERVER, CLIENT, 7, &content), Err(Mismatch::Length { .. })));
    }
}
