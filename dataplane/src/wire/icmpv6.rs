//! ICMPv6 (RFC 4443): echo, destination unreachable, and neighbour discovery by way of [`ndp`]. Never sends an error.

use core::net::Ipv6Addr;

use thiserror::Error;

use super::ip::{Addresses, Protocol, pseudo_header_v6};
use super::ndp::{self, NdpError};
use super::udp::Flow;
use super::{NotEchoRequest, field, ipv6};

/// Bytes of a header with the first word of the body, which every message that we know has.
pub const HEADER_LEN: usize = 8;

const DESTINATION_UNREACHABLE: u8 = 1;
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;

/// Destination unreachable's code "port unreachable" (RFC 4443 §3.1).
pub const PORT_UNREACHABLE: u8 = 4;

/// Why an ICMPv6 message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Icmpv6Error {
    /// Less than 8 bytes.
    #[error("the ICMPv6 message is shorter than 8 bytes")]
    Truncated,
    /// Wrong checksum.
    #[error("the ICMPv6 checksum is wrong")]
    Checksum,
    /// A neighbour discovery message that breaks its rules.
    #[error(transparent)]
    Ndp(#[from] NdpError),
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
    /// Somebody asks for the holder of an address.
    NeighbourSolicitation(ndp::Solicitation),
    /// Somebody tells of an address of its own.
    NeighbourAdvertisement(ndp::Advertisement),
    /// Anything else.
    Other {
        /// ICMPv6 type.
        kind: u8,
        /// ICMPv6 code.
        code: u8,
    },
}

impl Message {
    /// Checks the message that the payload of an IPv6 packet holds. The checksum is always computed: ports do not check it.
    ///
    /// # Errors
    /// [`Icmpv6Error::Truncated`], [`Icmpv6Error::Checksum`], [`Icmpv6Error::Ndp`].
    pub fn parse(ip: &ipv6::Packet<'_>) -> Result<Self, Icmpv6Error> {
        let message = ip.payload();
        let Some((header, body)) = message.split_first_chunk::<HEADER_LEN>() else {
            return Err(Icmpv6Error::Truncated);
        };
        // The payload's length came from a 16-bit field.
        let Ok(len) = u16::try_from(message.len()) else {
            return Err(Icmpv6Error::Truncated);
        };
        if !pseudo_header_v6(&ip.src(), &ip.dst(), Protocol::ICMPV6, len).add_bytes(message).is_valid() {
            return Err(Icmpv6Error::Checksum);
        }
        Ok(match (header[0], header[1]) {
            (ECHO_REQUEST, 0) => Self::EchoRequest {
                identifier: u16::from_be_bytes(field::<4, _, _>(header)),
                sequence: u16::from_be_bytes(field::<6, _, _>(header)),
            },
            (DESTINATION_UNREACHABLE, code) => Self::DestinationUnreachable { code, quoted: quoted_flow(body) },
            (ndp::SOLICITATION, _) => Self::NeighbourSolicitation(ndp::Solicitation::parse(ip)?),
            (ndp::ADVERTISEMENT, _) => Self::NeighbourAdvertisement(ndp::Advertisement::parse(ip)?),
            (kind, code) => Self::Other { kind, code },
        })
    }
}

/// Turns an echo request into its reply in place: same identifier, sequence and data (RFC 4443 §4.2). `src` and `dst` are the
/// reply's addresses, which need not be the request's turned around: an answer to a group comes from one of our own addresses.
///
/// # Errors
/// [`NotEchoRequest`], also for more than 65535 bytes; the message is then unchanged.
pub fn answer_echo(message: &mut [u8], src: &Ipv6Addr, dst: &Ipv6Addr) -> Result<(), NotEchoRequest> {
    let len = u16::try_from(message.len()).map_err(|_| NotEchoRequest)?;
    let header = message.first_chunk_mut::<HEADER_LEN>().ok_or(NotEchoRequest)?;
    if header[..2] != [ECHO_REQUEST, 0] {
        return Err(NotEchoRequest);
    }
    header[..4].copy_from_slice(&[ECHO_REPLY, 0, 0, 0]);
    let checksum = pseudo_header_v6(src, dst, Protocol::ICMPV6, len).add_bytes(message).finish();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    Ok(())
}

/// The flow of a quoted datagram: its IPv6 header and at least 8 bytes behind it (RFC 4443 §3.1, "as much of invoking packet as
/// possible"). What we send has no extension headers, so a quote with some is not of ours.
fn quoted_flow(quote: &[u8]) -> Option<Flow> {
    let (fixed, behind) = quote.split_first_chunk::<{ ipv6::HEADER_LEN }>()?;
    if fixed[0] >> 4 != 6 || Protocol(fixed[6]) != Protocol::UDP {
        return None;
    }
    let udp = behind.first_chunk::<{ super::udp::HEADER_LEN }>()?;
    Some(Flow {
        addresses: Addresses::V6 {
            src: Ipv6Addr::from_octets(field::<8, _, _>(fixed)),
            dst: Ipv6Addr::from_octets(field::<24, _, _>(fixed)),
        },
        src_port: u16::from_be_bytes(field::<0, _, _>(udp)),
        dst_port: u16::from_be_bytes(field::<2, _, _>(udp)),
    })
}
