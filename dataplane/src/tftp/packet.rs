//! The six packets, as views and as values: `parse(emit(x)) == x`. Says what is on the wire, decides nothing.

use thiserror::Error;

/// Bytes before the payload of a DATA packet, and the whole of an ACK (RFC 1350 §5).
pub const HEADER_LEN: usize = 4;

const OPCODE_LEN: usize = 2;

/// Operation codes, RFC 1350 §5 and RFC 2347.
mod opcode {
    pub(super) const READ_REQUEST: u16 = 1;
    pub(super) const WRITE_REQUEST: u16 = 2;
    pub(super) const DATA: u16 = 3;
    pub(super) const ACK: u16 = 4;
    pub(super) const ERROR: u16 = 5;
    pub(super) const OPTION_ACK: u16 = 6;
}

/// Error codes that a server sends, RFC 1350 appendix and RFC 2347.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ErrorCode {
    /// 0: not defined, see the text.
    NotDefined = 0,
    /// 1: file not found.
    FileNotFound = 1,
    /// 2: access violation.
    AccessViolation = 2,
    /// 4: illegal TFTP operation.
    IllegalOperation = 4,
    /// 5: unknown transfer ID.
    UnknownTransferId = 5,
    /// 8: the options that were asked for cannot be had (RFC 2347).
    OptionsRefused = 8,
}

/// A packet. Variable parts are borrowed; text is bytes, because nothing on the wire promises UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// RRQ. `body` is everything behind the opcode: see [`Request`](super::Request).
    ReadRequest {
        /// Name, mode and options, NUL-terminated each.
        body: &'a [u8],
    },
    /// WRQ, in the same shape.
    WriteRequest {
        /// Name, mode and options, NUL-terminated each.
        body: &'a [u8],
    },
    /// DATA.
    Data {
        /// Block number modulo 65536; the first block is 1.
        block: u16,
        /// At most the negotiated block size; shorter ends the transfer.
        payload: &'a [u8],
    },
    /// ACK. Bytes behind the fourth are ignored: Windows clients send one more.
    Ack {
        /// Block number modulo 65536.
        block: u16,
    },
    /// ERROR. Whatever is missing of it reads as code 0 and no text: even a torn ERROR ends a session.
    Error {
        /// Error code as sent.
        code: u16,
        /// Text up to the first NUL or the end.
        message: &'a [u8],
    },
    /// OACK, RFC 2347.
    OptionAck {
        /// Pairs of NUL-terminated option name and value.
        body: &'a [u8],
    },
}

/// Why bytes are not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PacketError {
    /// Fewer bytes than the packet's fixed part.
    #[error("shorter than the fixed part of its packet type")]
    TooShort,
    /// An opcode outside 1..=6.
    #[error("unknown opcode {0}")]
    UnknownOpcode(u16),
}

/// The buffer given to [`Packet::emit`] is too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the buffer is too short for the packet")]
pub struct NoRoom;

impl<'a> Packet<'a> {
    /// Reads a UDP payload.
    ///
    /// # Errors
    /// [`PacketError`] when the opcode is unknown or a fixed field is cut off.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let (opcode, rest) = split_u16(bytes).ok_or(PacketError::TooShort)?;
        match opcode {
            opcode::READ_REQUEST => Ok(Self::ReadRequest { body: rest }),
            opcode::WRITE_REQUEST => Ok(Self::WriteRequest { body: rest }),
            opcode::DATA => {
                let (block, payload) = split_u16(rest).ok_or(PacketError::TooShort)?;
                Ok(Self::Data { block, payload })
            }
            opcode::ACK => {
                let (block, _ignored) = split_u16(rest).ok_or(PacketError::TooShort)?;
                Ok(Self::Ack { block })
            }
            opcode::ERROR => {
                let (code, text) = split_u16(rest).unwrap_or((0, &[]));
                let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
                Ok(Self::Error { code, message: &text[..end] })
            }
            opcode::OPTION_ACK => Ok(Self::OptionAck { body: rest }),
            unknown => Err(PacketError::UnknownOpcode(unknown)),
        }
    }

    /// Length on the wire in bytes.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        match self {
            Self::ReadRequest { body } | Self::WriteRequest { body } | Self::OptionAck { body } => {
                OPCODE_LEN + body.len()
            }
            Self::Data { payload, .. } => HEADER_LEN + payload.len(),
            Self::Ack { .. } => HEADER_LEN,
            Self::Error { message, .. } => HEADER_LEN + message.len() + 1,
        }
    }

    /// Writes the packet to the start of `buffer`; returns its length.
    ///
    /// # Errors
    /// [`NoRoom`] when `buffer` is shorter than [`wire_len`](Self::wire_len).
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, NoRoom> {
        let len = self.wire_len();
        let buffer = buffer.get_mut(..len).ok_or(NoRoom)?;
        let (opcode, fixed, rest): (u16, Option<u16>, &[u8]) = match *self {
            Self::ReadRequest { body } => (opcode::READ_REQUEST, None, body),
            Self::WriteRequest { body } => (opcode::WRITE_REQUEST, None, body),
            Self::Data { block, payload } => (opcode::DATA, Some(block), payload),
            Self::Ack { block } => (opcode::ACK, Some(block), &[]),
            Self::Error { code, message } => (opcode::ERROR, Some(code), message),
            Self::OptionAck { body } => (opcode::OPTION_ACK, None, body),
        };
        let (head, mut tail) = buffer.split_at_mut(OPCODE_LEN);
        head.copy_from_slice(&opcode.to_be_bytes());
        if let Some(field) = fixed {
            let (head, rest_of_tail) = tail.split_at_mut(2);
            head.copy_from_slice(&field.to_be_bytes());
            tail = rest_of_tail;
        }
        tail[..rest.len()].copy_from_slice(rest);
        // RFC 1350 §5: the error message is a netascii string terminated by a zero byte. Cisco and others insist on it.
        tail[rest.len()..].fill(0);
        Ok(len)
    }
}

/// The operation code of DATA (RFC 1350 §5).
pub const DATA: u16 = opcode::DATA;

/// The fixed part of an ACK, as a datagram of four bytes; `None` when it is something else.
#[must_use]
#[inline]
pub fn ack_block(datagram: [u8; HEADER_LEN]) -> Option<u16> {
    let [opcode_high, opcode_low, block_high, block_low] = datagram;
    (u16::from_be_bytes([opcode_high, opcode_low]) == opcode::ACK)
        .then_some(u16::from_be_bytes([block_high, block_low]))
}

/// The fixed part of a DATA packet, for a payload that is attached apart.
#[must_use]
#[inline]
pub fn data_header(block: u16) -> [u8; HEADER_LEN] {
    let [opcode_high, opcode_low] = opcode::DATA.to_be_bytes();
    let [block_high, block_low] = block.to_be_bytes();
    [opcode_high, opcode_low, block_high, block_low]
}

#[inline]
fn split_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*head), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(packet: Packet<'_>) {
        let mut buffer = vec![0xAA; packet.wire_len() + 3];
        let len = packet.emit(&mut buffer).unwrap();
        assert_eq!(len, packet.wire_len());
        assert_eq!(Packet::parse(&buffer[..len]), Ok(packet));
        assert_eq!(&buffer[len..], [0xAA; 3], "nothing is written behind the packet");
        assert_eq!(packet.emit(&mut vec![0; len - 1]), Err(NoRoom));
    }

    proptest! {
        #[test]
        fn every_packet_type_survives_a_round_trip(
            body in proptest::collection::vec(any::<u8>(), 0..600),
            text in proptest::collection::vec(1_u8.., 0..100),
            number in any::<u16>(),
        ) {
            round_trip(Packet::ReadRequest { body: &body });
            round_trip(Packet::WriteRequest { body: &body });
            round_trip(Packet::Data { block: number, payload: &body });
            round_trip(Packet::Ack { block: number });
            round_trip(Packet::Error { code: number, message: &text });
            round_trip(Packet::OptionAck { body: &body });
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(packet) = Packet::parse(&bytes) {
                prop_assert!(packet.wire_len() <= bytes.len() + HEADER_LEN);
            }
        }
    }

    #[test]
    fn data_header_agrees_with_the_packet() {
        let mut buffer = [0; HEADER_LEN];
        Packet::Data { block: 0x1234, payload: &[] }.emit(&mut buffer).unwrap();
        assert_eq!(data_header(0x1234), buffer);
    }

    #[test]
    fn torn_packets_are_told_apart() {
        assert_eq!(Packet::parse(&[]), Err(PacketError::TooShort));
        assert_eq!(Packet::parse(&[0]), Err(PacketError::TooShort));
        assert_eq!(Packet::parse(&[0, 0]), Err(PacketError::UnknownOpcode(0)));
        assert_eq!(Packet::parse(&[0, 7]), Err(PacketError::UnknownOpcode(7)));
        assert_eq!(Packet::parse(&[0, 4]), Err(PacketError::TooShort));
        assert_eq!(Packet::parse(&[0, 4, 1]), Err(PacketError::TooShort));
        assert_eq!(Packet::parse(&[0, 4, 0, 9, 77]), Ok(Packet::Ack { block: 9 }));
        assert_eq!(Packet::parse(&[0, 5]), Ok(Packet::Error { code: 0, message: &[] }));
        assert_eq!(Packet::parse(&[0, 5, 0, 8, b'x']), Ok(Packet::Error { code: 8, message: b"x" }));
    }
}
