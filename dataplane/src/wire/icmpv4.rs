//! ICMP for IPv4 (RFC 792): echo and destination unreachable. Never sends an error.

use core::net::Ipv4Addr;

use thiserror::Error;

use super::checksum::Sum;
use super::ip::{Addresses, Protocol};
use super::udp::Flow;
use super::{NotEchoRequest, field, ipv4};

/// Bytes of a header.
pub const HEADER_LEN: usize = 8;

const ECHO_REPLY: u8 = 0;
const DESTINATION_UNREACHABLE: u8 = 3;
const ECHO_REQUEST: u8 = 8;

/// Destination unreachable's code "port unreachable" (RFC 792).
pub const PORT_UNREACHABLE: u8 = 3;

/// Why an ICMP message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Icmpv4Error {
    /// Less than 8 bytes.
    #[error("the ICMP message is shorter than 8 bytes")]
    Truncated,
    /// Wrong checksum.
    #[error("the ICMP checksum is wrong")]
    Checksum,
}

/// A checked message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Echo request, to be answered by [`answer_echo`].
    EchoRequest {
        /// The sender's choice, usually one per process.
        identifier: u16,
        /// The sender's choice, usually a counter.
        sequence: u16,
    },
    /// A router or host could not deliver a packet of ours.
    DestinationUnreachable {
        /// Reason, e.g. [`PORT_UNREACHABLE`].
        code: u8,
        /// The datagram that was not delivered, from us to its receiver, if the message quotes enough of a UDP one.
        quoted: Option<Flow>,
    },
    /// Anything else.
    Other {
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
    },
}

impl Message {
    /// Checks the message that an IPv4 payload holds. The checksum is always computed: ports do not check it.
    ///
    /// # Errors
    /// [`Icmpv4Error::Truncated`], [`Icmpv4Error::Checksum`].
    pub fn parse(message: &[u8]) -> Result<Self, Icmpv4Error> {
        let Some((header, body)) = message.split_first_chunk::<HEADER_LEN>() else {
            return Err(Icmpv4Error::Truncated);
        };
        if !Sum::of(message).is_valid() {
            return Err(Icmpv4Error::Checksum);
        }
        Ok(match (header[0], header[1]) {
            (ECHO_REQUEST, 0) => Self::EchoRequest {
                identifier: u16::from_be_bytes(field::<4, _, _>(header)),
                sequence: u16::from_be_bytes(field::<6, _, _>(header)),
            },
            (DESTINATION_UNREACHABLE, code) => Self::DestinationUnreachable { code, quoted: quoted_flow(body) },
            (kind, code) => Self::Other { kind, code },
        })
    }
}

/// Turns an echo request into its reply in place: same identifier, sequence and data (RFC 1122 §3.2.2.6). The caller turns the
/// IP addresses around. The checksum is computed anew, because an incremental one (RFC 1624) leaves a wrong zero for a message
/// of zeros.
///
/// # Errors
/// [`NotEchoRequest`]; the message is then unchanged.
pub fn answer_echo(message: &mut [u8]) -> Result<(), NotEchoRequest> {
    let header = message.first_chunk_mut::<HEADER_LEN>().ok_or(NotEchoRequest)?;
    if header[..2] != [ECHO_REQUEST, 0] {
        return Err(NotEchoRequest);
    }
    header[..4].copy_from_slice(&[ECHO_REPLY, 0, 0, 0]);
    let checksum = Sum::of(message).finish();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    Ok(())
}

/// The flow of a quoted datagram: its IPv4 header and at least 8 bytes behind it (RFC 792, "Internet Header + 64 bits").
fn quoted_flow(quote: &[u8]) -> Option<Flow> {
    let fixed = quote.first_chunk::<{ ipv4::HEADER_LEN }>()?;
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    let fragment_offset = u16::from_be_bytes(field::<6, _, _>(fixed)) & 0x1fff;
    if fixed[0] >> 4 != 4
        || header_len < ipv4::HEADER_LEN
        || Protocol(fixed[9]) != Protocol::UDP
        || fragment_offset != 0
    {
        return None;
    }
    let udp = quote.get(header_len..)?.first_chunk::<{ super::udp::HEADER_LEN }>()?;
    Some(Flow {
        addresses: Addresses::V4 {
            src: Ipv4Addr::from_octets(field::<12, _, _>(fixed)),
            dst: Ipv4Addr::from_octets(field::<16, _, _>(fixed)),
        },
        src_port: u16::from_be_bytes(field::<0, _, _>(udp)),
        dst_port: u16::from_be_bytes(field::<2, _, _>(udp)),
    })
}
