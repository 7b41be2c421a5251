//! What an engine is driven by: frames, and the few operations that a simulator, a replayer and a NIC queue have in common.
//! Knows no protocol.

pub mod faults;
pub mod memory;
mod spread;

pub use spread::HashedFields;

use crate::files::Arena;
use arrayvec::ArrayVec;
use std::sync::Arc;
use thiserror::Error;

/// Frames taken from a port in one call, as testpmd does it.
pub const BURST: usize = 32;

/// Frames that may wait for room in the transmit ring.
pub const BACKLOG: usize = 256;

/// A received burst.
pub type Burst<F> = ArrayVec<F, BURST>;

/// Frames on their way out, oldest first.
pub type Backlog<F> = ArrayVec<F, BACKLOG>;

/// The frame's buffer cannot hold that many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the frame's buffer is too short")]
pub struct TooLong;

/// What the port found out about the checksums of a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceivedChecksums {
    /// Nothing: check in software.
    Unchecked,
    /// IPv4 header (where there is one) and UDP checksum are right.
    Good,
}

/// Where the port finds the headers whose checksums it is asked to complete. Lengths in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChecksumRequest {
    /// Ethernet header with its tags.
    pub link_header_len: u8,
    /// IP header.
    pub network_header_len: u8,
    /// IPv4 (header checksum asked too) or IPv6.
    pub ipv4: bool,
}

/// The number under which a port knows an arena that was [lent](Port::lend) to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArenaNumber(pub u8);

/// File bytes that a frame is to carry.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// The arena that they lie in.
    pub arena: ArenaNumber,
}

/// One frame buffer, owned. Dropping it gives the buffer back to its pool.
pub trait Frame: Sized {
    /// The frame's linear bytes, from the destination MAC on.
    fn bytes(&self) -> &[u8];

    /// The same, writable.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Whether all bytes of the received frame are in [`bytes`](Self::bytes); a chained one is not.
    fn is_linear(&self) -> bool;

    /// Cuts or extends the linear bytes to `len`; what is new has no particular content.
    ///
    /// # Errors
    /// [`TooLong`] when the buffer is shorter; the frame is unchanged.
    fn resize(&mut self, len: usize) -> Result<(), TooLong>;

    /// Copies `bytes` behind the linear bytes.
    ///
    /// # Errors
    /// [`TooLong`] when they do not fit; the frame is unchanged.
    fn append(&mut self, bytes: &[u8]) -> Result<(), TooLong>;

    /// Makes the frame `header_len` bytes of no particular content with a copy of `payload` behind them; returns the former.
    ///
    /// # Errors
    /// [`TooLong`] when they do not fit; the frame is unchanged.
    fn compose(&mut self, header_len: usize, payload: &[u8]) -> Result<&mut [u8], TooLong> {
        self.resize(header_len + payload.len())?;
        let (header, behind) = self.bytes_mut().split_at_mut(header_len);
        behind.copy_from_slice(payload);
        Ok(header)
    }

    /// Copies at most `most` of the whole frame's bytes, chained ones included, behind what is in `copy`, which has room for them;
    /// returns how many the frame has. For looking on, never for serving.
    #[cold]
    fn copy_into(&self, copy: &mut Vec<u8>, most: usize) -> usize {
        let bytes = self.bytes();
        copy.extend_from_slice(&bytes[..bytes.len().min(most)]);
        bytes.len()
    }

    /// What the port found out about this received frame's checksums.
    fn received_checksums(&self) -> ReceivedChecksums;

    /// Asks the port to complete the UDP checksum (and the IPv4 header's), which the engine left as the pseudo-header's sum
    /// (and zero). Only called on frames of a port whose [`Port::completes_checksums`] holds.
    fn request_checksums(&mut self, request: ChecksumRequest);
}

/// Buffers of one size, for a worker that sends without a queue of its own.
pub trait Pool {
    /// The frame type.
    type Frame: Frame;

    /// An empty frame (length 0); `None` when the pool is empty.
    fn allocate(&self) -> Option<Self::Frame>;
}

/// One receive queue, one transmit queue and the pool behind them, used by one worker.
pub trait Port {
    /// The port's frame type.
    type Frame: Frame;

    /// Adds at most [`BURST`] received frames to `burst`, as many as are there now; returns how many.
    fn receive(&mut self, burst: &mut Burst<Self::Frame>) -> usize;

    /// Moves frames out, oldest first, and leaves in `frames` those that the transmit ring had no room for; returns how many went.
    fn send(&mut self, frames: &mut Backlog<Self::Frame>) -> usize;

    /// An empty frame (length 0) from the pool; `None` when the pool is empty, which is an ordinary outcome.
    fn allocate(&mut self) -> Option<Self::Frame>;

    /// Whether frames of this port may carry a [`ChecksumRequest`].
    fn completes_checksums(&self) -> bool;

    /// Makes a frame `header_len` bytes of no particular content with file bytes behind them, by reference where the port can and
    /// likes it, else by one copy; returns the former.
    ///
    /// # Errors
    /// [`TooLong`] when they do not fit; the frame is unchanged.
    #[inline]
    fn compose<'f>(
        &mut self,
        frame: &'f mut Self::Frame,
        header_len: usize,
        payload: Payload<'_>,
    ) -> Result<&'f mut [u8], TooLong> {
        frame.compose(header_len, payload.bytes)
    }

    /// Whether [`compose`](Self::compose) reads a payload of `len` bytes; else it only refers to it.
    #[inline]
    fn copies(&self, _len: u16) -> bool {
        true
    }

    /// Lets frames refer to an arena's bytes from now on. A port that copies needs no such thing.
    fn lend(&mut self, _number: ArenaNumber, _arena: &Arc<Arena>) {}

    /// Ends a loan. False while frames that refer to the arena are still on their way: then ask again.
    fn reclaim(&mut self, _number: ArenaNumber) -> bool {
        true
    }

    /// Whether what is sent here goes out here, and not through the port of another worker.
    fn is_wire(&self) -> bool {
        true
    }

    /// Brings a place near that will be read soon, where the port's machine has an instruction for it.
    #[inline]
    fn prefetch<T>(&self, _place: &T) {}
}
