//! How a port spreads received frames over its queues.

/// What of a UDP datagram decides on the queue that it arrives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashedFields {
    /// Nothing: it arrives where the port likes, mostly on the first queue.
    Nothing,
    /// Source and destination address.
    Addresses,
    /// These, and source and destination port.
    AddressesAndPorts,
}
