//! The knobs of the protocol, with their defaults. Only numbers, no behaviour.

use crate::time::Duration;

/// How long to wait before sending again, RFC 6298.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retransmission {
    /// Wait before anything was measured (RFC 6298 §2.1: 1 second).
    pub initial: Duration,
    /// Shortest wait. RFC 6298 §2.4 says 1 second for TCP's delayed ACKs, which TFTP has none of.
    pub min: Duration,
    /// Longest wait, backed off or not.
    pub max: Duration,
    /// Timed repeats without progress before the transfer is given up.
    pub tries: u8,
    /// Timed repeats before the client has proven its address with a first ACK.
    pub unproven_tries: u8,
}

/// How transfers are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Largest block in bytes that is granted, MTU permitting.
    pub max_blksize: u16,
    /// Most blocks in flight.
    pub max_window_blocks: u8,
    /// Most bytes in flight.
    pub max_window_bytes: u32,
    /// Retransmission timing.
    pub retransmission: Retransmission,
    /// Longest silence of a client that chose its own interval between repeats (RFC 2349); others end by their tries.
    pub max_idle: Duration,
    /// Longest life of a transfer, however alive its reader is.
    pub max_transfer: Duration,
    /// How long a finished session stays, to take late repeats of the last ACK.
    pub linger: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_blksize: super::options::BLKSIZE_MAX,
            max_window_blocks: 64,
            max_window_bytes: 1 << 20,
            retransmission: Retransmission {
                initial: Duration::from_secs(1),
                min: Duration::from_millis(50),
                max: Duration::from_secs(8),
                tries: 10,
                unproven_tries: 2,
            },
            max_idle: Duration::from_secs(120),
            max_transfer: Duration::from_secs(4 * 3600),
            linger: Duration::from_secs(1),
        }
    }
}
