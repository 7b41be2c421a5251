//! TFTP, read only, without I/O: packets, options and the transfer's state machine. Never reads a clock, never logs, never
//! allocates; RFC 1350, 2347, 2348, 2349, 7440 and RFC 1123 §4.2.3.

pub mod options;
pub mod packet;
pub mod policy;
pub mod request;
pub mod transfer;

pub use options::{Asked, Caps, Granted, OptionKind, OptionOrder, OptionSet};
pub use packet::{ErrorCode, Packet, PacketError};
pub use policy::{Policy, Retransmission};
pub use request::{Mode, Request, RequestError};
pub use transfer::{AckEffect, DeadlineEffect, Transfer};

/// The well-known port of requests, RFC 1350 §4.
pub const REQUEST_PORT: u16 = 69;
