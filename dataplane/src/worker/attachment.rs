//! How a worker is joined to a port: by a queue of its own, or, where the port has fewer queues than there are workers, through
//! another worker's. That one brings it frames anyway, as it does to every owner of a flow.

use super::lane::Ring;
use crate::files::Arena;
use crate::port::{ArenaNumber, Backlog, Burst, Frame, Payload, Pool, Port, TooLong};
use std::sync::Arc;

/// A worker's way to a port.
pub enum Attachment<P: Port, L: Pool<Frame = P::Frame>> {
    /// A queue pair of its own.
    Queue(P),
    /// Nothing is received; what is sent goes through a ring to a worker that has a queue.
    Relay {
        /// Emptied by that worker.
        ring: Ring<P::Frame>,
        /// This worker's own frames.
        pool: L,
    },
}

impl<P: Port, L: Pool<Frame = P::Frame>> Port for Attachment<P, L> {
    type Frame = P::Frame;

    #[inline]
    fn receive(&mut self, burst: &mut Burst<P::Frame>) -> usize {
        match self {
            Self::Queue(port) => port.receive(burst),
            Self::Relay { .. } => 0,
        }
    }

    #[inline]
    fn send(&mut self, frames: &mut Backlog<P::Frame>) -> usize {
        match self {
            Self::Queue(port) => port.send(frames),
            Self::Relay { ring, .. } => relay(ring, frames),
        }
    }

    #[inline]
    fn allocate(&mut self) -> Option<P::Frame> {
        match self {
            Self::Queue(port) => port.allocate(),
            Self::Relay { pool, .. } => pool.allocate(),
        }
    }

    #[inline]
    fn completes_checksums(&self) -> bool {
        match self {
            Self::Queue(port) => port.completes_checksums(),
            Self::Relay { .. } => false,
        }
    }

    #[inline]
    fn compose<'f>(
        &mut self,
        frame: &'f mut P::Frame,
        header_len: usize,
        payload: Payload<'_>,
    ) -> Result<&'f mut [u8], TooLong> {
        match self {
            Self::Queue(port) => port.compose(frame, header_len, payload),
            Self::Relay { .. } => frame.compose(header_len, payload.bytes),
        }
    }

    #[inline]
    fn copies(&self, len: u16) -> bool {
        match self {
            Self::Queue(port) => port.copies(len),
            Self::Relay { .. } => true,
        }
    }

    fn lend(&mut self, number: ArenaNumber, arena: &Arc<Arena>) {
        if let Self::Queue(port) = self {
            port.lend(number, arena);
        }
    }

    fn reclaim(&mut self, number: ArenaNumber) -> bool {
        match self {
            Self::Queue(port) => port.reclaim(number),
            Self::Relay { .. } => true,
        }
    }

    fn is_wire(&self) -> bool {
        matches!(self, Self::Queue(_))
    }

    #[inline]
    fn prefetch<T>(&self, place: &T) {
        if let Self::Queue(port) = self {
            port.prefetch(place);
        }
    }
}

/// Moves frames into the ring, oldest first, as far as it has room.
fn relay<F>(ring: &Ring<F>, frames: &mut Backlog<F>) -> usize {
    let before = frames.len();
    let mut waiting = core::mem::take(frames).into_iter();
    for frame in waiting.by_ref() {
        if let Err(refused) = ring.push(frame) {
            frames.push(refused);
            break;
        }
    }
    frames.extend(waiting);
    before - frames.len()
}
