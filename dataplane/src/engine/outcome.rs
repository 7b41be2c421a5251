//! What became of a received frame: exactly one outcome each, so that received = sum of all outcomes, always.

use crate::wire::Malformed;

/// Served, or dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It did what its sender wanted, or told us something.
    Served,
    /// It did nothing.
    Dropped,
}

macro_rules! outcomes {
    ($($variant:ident, $fate:ident, $name:literal, $help:literal;)*) => {
        /// What became of a received frame. The discriminants count up from 0, fit for an array of counters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Outcome {
            $(#[doc = $help] $variant,)*
        }

        impl Outcome {
            /// How many outcomes there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Every outcome, in the order of the discriminants.
            pub const ALL: [Self; [$(Self::$variant),*].len()] = [$(Self::$variant),*];

            /// Its name in statistics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }

            /// Whether the frame was served or dropped.
            #[must_use]
            pub const fn fate(self) -> Fate {
                match self { $(Self::$variant => Fate::$fate,)* }
            }
        }
    };
}

outcomes! {
    AckProgress, Served, "ack_progress", "An ACK that moved a transfer on.";
    AckFinished, Served, "ack_finished", "The ACK of a last block.";
    AckRepeated, Served, "ack_repeated", "A repeat of the last ACK: at most one resend of its window follows.";
    RequestOpened, Served, "request_opened", "A read request that began a transfer.";
    RequestRepeated, Served, "request_repeated", "A read request again, answered from the same TID.";
    RequestRefused, Served, "request_refused", "A request answered with an ERROR: no such file, no access, or not understood.";
    RequestParked, Served, "request_parked", "A read request for a file that is being loaded: answered when it is there.";
    ClientError, Served, "client_error", "An ERROR from a client: it ended its session and is never answered.";
    StrangerRefused, Served, "stranger_refused", "A packet to somebody else's TID, answered with ERROR 5.";
    Unreachable, Served, "unreachable", "An ICMP unreachable that ended the session it quotes.";
    ArpReplied, Served, "arp_replied", "An ARP request for one of our addresses.";
    ArpLearnt, Served, "arp_learnt", "An ARP reply or announcement.";
    NdReplied, Served, "nd_replied", "A neighbour solicitation for one of our addresses.";
    NdLearnt, Served, "nd_learnt", "A neighbour advertisement.";
    EchoReplied, Served, "echo_replied", "A ping, answered.";
    ToKernel, Served, "to_kernel", "Not ours: given to the kernel interface.";

    Runt, Dropped, "runt", "Ends inside its link header.";
    Chained, Dropped, "chained", "Larger than one receive buffer.";
    BadTag, Dropped, "bad_tag", "More than one VLAN tag, a service tag, or the reserved VLAN 4095.";
    GroupSource, Dropped, "group_source", "Sent from a group MAC address.";
    NotOurMac, Dropped, "not_our_mac", "Addressed to another station: the port is promiscuous, or a switch floods.";
    ArpMalformed, Dropped, "arp_malformed", "Not an ARP packet for IPv4 over Ethernet.";
    ArpForOthers, Dropped, "arp_for_others", "An ARP request for an address that is not ours.";
    AddressConflict, Dropped, "address_conflict", "ARP or ND from another station that claims one of our addresses: look for a duplicate.";
    Ipv4Header, Dropped, "ipv4_header", "IPv4 version, header length or total length is wrong.";
    Ipv4Checksum, Dropped, "ipv4_checksum", "IPv4 header checksum is wrong.";
    Ipv6Header, Dropped, "ipv6_header", "IPv6 version, length or extension headers are wrong.";
    Fragment, Dropped, "fragment", "An IP fragment: requests and ACKs are far too short to need any.";
    NotOurAddress, Dropped, "not_our_address", "IP destination is not one of our addresses.";
    UdpLength, Dropped, "udp_length", "UDP length is shorter than its header or longer than the packet.";
    UdpChecksum, Dropped, "udp_checksum", "UDP checksum is wrong, or missing over IPv6. On a veth: ethtool -K IF tx off.";
    IcmpMalformed, Dropped, "icmp_malformed", "ICMP or neighbour discovery that breaks its rules.";
    IcmpOther, Dropped, "icmp_other", "An ICMP message that asks nothing of us.";
    NdForOthers, Dropped, "nd_for_others", "A neighbour solicitation for an address that is not ours.";
    NotUdp, Dropped, "not_udp", "Neither UDP nor ICMP.";
    NotIp, Dropped, "not_ip", "Neither ARP nor IP.";
    NoListener, Dropped, "no_listener", "UDP to a port that serves nothing.";

    SourceForbidden, Dropped, "source_forbidden", "Sent from an address that nobody can have: unspecified, loopback, group or our own.";
    SourcePortForbidden, Dropped, "source_port_forbidden", "From UDP port 0 or 69, which no client has: an answer could loop for ever.";
    NotARequest, Dropped, "not_a_request", "Port 69 takes requests only: too short, or another packet type.";
    ClientDenied, Dropped, "client_denied", "A request from a client that is not served: see `[access]` and `[[client]]` in the configuration.";
    NotParked, Dropped, "not_parked", "A request for a file that is being loaded, too long to be kept: its repeat is answered.";
    UnprovenCap, Dropped, "unproven_cap", "The address has too many requests open that it never acknowledged.";
    TableFull, Dropped, "table_full", "No room for another session: raise limits.max_sessions.";
    ErrorBudget, Dropped, "error_budget", "An ERROR was due, but its prefix had too many: raise limits.errors_per_second.";
    Draining, Dropped, "draining", "A request while the appliance stops.";
    NoSession, Dropped, "no_session", "To a TID from which nobody is served: the session has ended.";
    StaleAck, Dropped, "stale_ack", "An ACK of an old block, or of one that was never sent.";
    NotAnAck, Dropped, "not_an_ack", "A session takes ACK and ERROR only: torn, or another packet type.";
    PoolEmpty, Dropped, "pool_empty", "The answer had no buffer: raise worker.frames.";
    HandOverFull, Dropped, "hand_over_full", "The owning worker's ring is full.";
    KernelFull, Dropped, "kernel_full", "The kernel interface does not keep up: frames that are not ours go first.";
}

impl From<Malformed> for Outcome {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Runt => Self::Runt,
            Malformed::Oversized => Self::Chained,
            Malformed::DoubleTag | Malformed::ReservedVlan => Self::BadTag,
            Malformed::GroupSource => Self::GroupSource,
            Malformed::ArpMalformed => Self::ArpMalformed,
            Malformed::Ipv4Version | Malformed::Ipv4HeaderLength | Malformed::Ipv4TotalLength => Self::Ipv4Header,
            Malformed::Ipv4Checksum => Self::Ipv4Checksum,
            Malformed::Ipv6Version
            | Malformed::Ipv6HeaderLength
            | Malformed::Ipv6PayloadLength
            | Malformed::Ipv6Extension => Self::Ipv6Header,
            Malformed::Fragment => Self::Fragment,
            Malformed::UdpLength => Self::UdpLength,
            Malformed::UdpChecksum | Malformed::UdpChecksumMissing => Self::UdpChecksum,
            Malformed::IcmpMalformed | Malformed::IcmpChecksum | Malformed::NdpMalformed => Self::IcmpMalformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn discriminants_are_indices_and_names_are_unique() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
        }
        assert_eq!(Outcome::ALL.map(Outcome::name).into_iter().collect::<HashSet<_>>().len(), Outcome::COUNT);
    }
}
