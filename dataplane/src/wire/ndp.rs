//! Neighbour solicitations and advertisements (RFC 4861). Keeps no neighbours, never solicits.

use core::net::Ipv6Addr;

use thiserror::Error;

use super::ip::{Protocol, pseudo_header_v6};
use super::{BufferTooShort, MacAddr, field, ipv6};

/// Hop limit of every neighbour discovery packet: what came through a router has less (RFC 4861 §7.1).
pub const HOP_LIMIT: u8 = 255;

/// All nodes of the link (RFC 4291 §2.7.1): who answers the unspecified address, answers here (RFC 4861 §7.2.4).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// ICMPv6 type of a solicitation.
pub(super) const SOLICITATION: u8 = 135;
/// ICMPv6 type of an advertisement.
pub(super) const ADVERTISEMENT: u8 = 136;

const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;

const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// Bytes of either message without options.
const FIXED_LEN: usize = 24;

/// Why a neighbour discovery message is not taken (RFC 4861 §7.1.1 and §7.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NdpError {
    /// Less than 24 bytes.
    #[error("the neighbour discovery message is shorter than 24 bytes")]
    Truncated,
    /// Hop limit other than 255.
    #[error("the neighbour discovery message came through a router")]
    HopLimit,
    /// Code other than 0.
    #[error("the neighbour discovery message's code is not 0")]
    Code,
    /// The target is a group.
    #[error("the neighbour discovery message's target is a group")]
    Target,
    /// An option of length 0, an option that ends behind the message, or a link-layer address that is not a MAC.
    #[error("the neighbour discovery message has an option of a wrong length")]
    OptionLength,
    /// From the unspecified address, but not to a solicited-node group or with a source link-layer address.
    #[error("the solicitation from the unspecified address is not one of address detection")]
    UnspecifiedSource,
    /// Solicited, but sent to a group.
    #[error("the solicited advertisement was sent to a group")]
    SolicitedGroup,
}

/// A checked solicitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicitation {
    /// Whose holder is asked for.
    pub target: Ipv6Addr,
    /// The sender's MAC, if it says so.
    pub source_mac: Option<MacAddr>,
}

impl Solicitation {
    /// Checks the solicitation that the payload of an IPv6 packet holds; its type and checksum are checked by
    /// [`icmpv6::Message::parse`](super::icmpv6::Message::parse).
    ///
    /// # Errors
    /// [`NdpError`], by cause.
    pub(super) fn parse(ip: &ipv6::Packet<'_>) -> Result<Self, NdpError> {
        let (fixed, target, options) = parse_fixed(ip)?;
        debug_assert_eq!(fixed[0], SOLICITATION);
        let source_mac = link_layer_option(options, SOURCE_LINK_LAYER)?;
        // RFC 4861 §7.1.1, the last two rules.
        if ip.src().is_unspecified() && (!is_solicited_node(ip.dst()) || source_mac.is_some()) {
            return Err(NdpError::UnspecifiedSource);
        }
        Ok(Self { target, source_mac })
    }

    /// The advertisement that answers this solicitation from `src`, and where to send it: `own` has the target address
    /// (RFC 4861 §7.2.4).
    #[must_use]
    pub fn answer(&self, src: Ipv6Addr, own: MacAddr) -> (Ipv6Addr, Advertisement) {
        let solicited = !src.is_unspecified();
        let advertisement = Advertisement {
            target: self.target,
            router: false,
            solicited,
            override_entry: true,
            target_mac: Some(own),
        };
        (if solicited { src } else { ALL_NODES }, advertisement)
    }
}

/// An advertisement, both as parsed and as emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// The address that is told of.
    pub target: Ipv6Addr,
    /// R flag: the sender is a router. We never are.
    pub router: bool,
    /// S flag: an answer to a solicitation.
    pub solicited: bool,
    /// O flag: replaces what the receiver knew.
    pub override_entry: bool,
    /// The holder's MAC, if it says so.
    pub target_mac: Option<MacAddr>,
}

impl Advertisement {
    /// Checks the advertisement that the payload of an IPv6 packet holds; its type and checksum are checked by
    /// [`icmpv6::Message::parse`](super::icmpv6::Message::parse).
    ///
    /// # Errors
    /// [`NdpError`], by cause.
    pub(super) fn parse(ip: &ipv6::Packet<'_>) -> Result<Self, NdpError> {
        let (fixed, target, options) = parse_fixed(ip)?;
        debug_assert_eq!(fixed[0], ADVERTISEMENT);
        let flags = fixed[4];
        // RFC 4861 §7.1.2.
        if flags & SOLICITED != 0 && ip.dst().is_multicast() {
            return Err(NdpError::SolicitedGroup);
        }
        Ok(Self {
            target,
            router: flags & ROUTER != 0,
            solicited: flags & SOLICITED != 0,
            override_entry: flags & OVERRIDE != 0,
            target_mac: link_layer_option(options, TARGET_LINK_LAYER)?,
        })
    }

    /// Bytes of the emitted message: 24, or 32 with the MAC.
    #[must_use]
    pub const fn message_len(&self) -> usize {
        if self.target_mac.is_some() { FIXED_LEN + 8 } else { FIXED_LEN }
    }

    /// Writes the message, from its ICMPv6 type on and with its checksum, to the front of `out`. The IPv6 header in front of it
    /// goes from `src` to `dst` with [`HOP_LIMIT`].
    ///
    /// # Errors
    /// [`BufferTooShort`] when `out` has less than [`message_len`](Self::message_len) bytes.
    pub fn emit(&self, out: &mut [u8], src: &Ipv6Addr, dst: &Ipv6Addr) -> Result<(), BufferTooShort> {
        let out = out.get_mut(..self.message_len()).ok_or(BufferTooShort)?;
        let mut flags = 0;
        for (set, flag) in [(self.router, ROUTER), (self.solicited, SOLICITED), (self.override_entry, OVERRIDE)] {
            if set {
                flags |= flag;
            }
        }
        out[..8].copy_from_slice(&[ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0]);
        out[8..FIXED_LEN].copy_from_slice(&self.target.octets());
        let mut len = 24;
        if let Some(MacAddr(mac)) = self.target_mac {
            out[24..26].copy_from_slice(&[TARGET_LINK_LAYER, 1]);
            out[26..].copy_from_slice(&mac);
            len = 32;
        }
        let checksum = pseudo_header_v6(src, dst, Protocol::ICMPV6, len).add_bytes(out).finish();
        out[2..4].copy_from_slice(&checksum.to_be_bytes());
        Ok(())
    }
}

/// What both messages have in common: fixed part, target, options.
fn parse_fixed<'a>(ip: &ipv6::Packet<'a>) -> Result<(&'a [u8; FIXED_LEN], Ipv6Addr, &'a [u8]), NdpError> {
    let Some((fixed, options)) = ip.payload().split_first_chunk::<FIXED_LEN>() else {
        return Err(NdpError::Truncated);
    };
    if ip.hop_limit() != HOP_LIMIT {
        return Err(NdpError::HopLimit);
    }
    if fixed[1] != 0 {
        return Err(NdpError::Code);
    }
    let target = Ipv6Addr::from_octets(field::<8, _, _>(fixed));
    if target.is_multicast() {
        return Err(NdpError::Target);
    }
    Ok((fixed, target, options))
}

/// Checks every option's length and gives the MAC in the first one of `kind`. Other options are passed over (RFC 4861 §7.1.1).
fn link_layer_option(mut options: &[u8], kind: u8) -> Result<Option<MacAddr>, NdpError> {
    let mut found = None;
    while let Some((option, _)) = options.split_first_chunk::<8>() {
        let units = usize::from(option[1]);
        if units == 0 {
            return Err(NdpError::OptionLength);
        }
        options = options.get(units * 8..).ok_or(NdpError::OptionLength)?;
        if option[0] == kind {
            // RFC 2464 §6: with a MAC the option is one unit long.
            if units != 1 {
                return Err(NdpError::OptionLength);
            }
            found = found.or_else(|| Some(MacAddr(field::<2, _, _>(option))));
        }
    }
    if options.is_empty() { Ok(found) } else { Err(NdpError::OptionLength) }
}

/// Whether `address` is some node's solicited-node group.
fn is_solicited_node(address: Ipv6Addr) -> bool {
    address == ipv6::solicited_node(address)
}
