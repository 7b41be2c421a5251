//! Faults as middleware: wraps any port and loses, copies, reorders and damages its frames, empties its pool and fills its
//! transmit ring, all from one seed.

use super::{ArenaNumber, Backlog, Burst, Frame, Payload, Port, TooLong};
use crate::files::Arena;
use crate::random::{Random, Seed};
use std::sync::Arc;

/// How often each fault strikes, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRates {
    /// A received or sent frame disappears.
    pub loss: u32,
    /// A received frame arrives twice (where the pool has a buffer for the copy).
    pub duplication: u32,
    /// A received frame is held back behind later ones.
    pub reordering: u32,
    /// One bit of a received frame is flipped.
    pub corruption: u32,
    /// The pool seems empty.
    pub short_pool: u32,
    /// The transmit ring seems full.
    pub full_ring: u32,
}

/// A port with faults.
#[derive(Debug)]
pub struct Faulty<P: Port> {
    port: P,
    rates: FaultRates,
    random: Random,
    held_back: Option<P::Frame>,
}

impl<P: Port> Faulty<P> {
    /// Wraps `port`; the same seed gives the same faults.
    #[must_use]
    pub const fn new(port: P, rates: FaultRates, seed: u64) -> Self {
        Self { port, rates, random: Random::new(Seed([0xFA; 16]), seed), held_back: None }
    }

    /// The port itself.
    pub const fn inner_mut(&mut self) -> &mut P {
        &mut self.port
    }

    /// Ends all faults; what was held back goes.
    pub fn heal(&mut self) {
        self.rates = FaultRates::default();
        self.held_back = None;
    }

    fn strikes(&mut self, rate: u32) -> bool {
        rate > 0 && self.random.below(1_000) < rate
    }

    fn corrupt(&mut self, frame: &mut P::Frame) {
        let bytes = frame.bytes_mut();
        let bits = u32::try_from(bytes.len() * 8).unwrap_or(u32::MAX);
        if bits > 0 {
            let bit = self.random.below(bits) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    fn copy(&mut self, frame: &P::Frame) -> Option<P::Frame> {
        let mut copy = self.port.allocate()?;
        copy.append(frame.bytes()).ok()?;
        Some(copy)
    }
}

impl<P: Port> Port for Faulty<P> {
    type Frame = P::Frame;

    fn receive(&mut self, burst: &mut Burst<P::Frame>) -> usize {
        let before = burst.len();
        let mut received = Burst::new();
        self.port.receive(&mut received);
        for mut frame in received {
            if self.strikes(self.rates.loss) {
                continue;
            }
            if self.strikes(self.rates.corruption) {
                self.corrupt(&mut frame);
            }
            if self.strikes(self.rates.duplication)
                && let Some(copy) = self.copy(&frame)
            {
                // A full burst drops the copy: nobody promised it.
                let _ = burst.try_push(copy);
            }
            if self.held_back.is_none() && self.strikes(self.rates.reordering) {
                self.held_back = Some(frame);
                continue;
            }
            let _ = burst.try_push(frame);
            if let Some(late) = self.held_back.take() {
                let _ = burst.try_push(late);
            }
        }
        burst.len() - before
    }

    fn send(&mut self, frames: &mut Backlog<P::Frame>) -> usize {
        if frames.is_empty() || self.strikes(self.rates.full_ring) {
            return 0;
        }
        let before = frames.len();
        let mut kept = Backlog::new();
        let mut lost = 0;
        for frame in frames.drain(..) {
            if self.strikes(self.rates.loss) {
                lost += 1;
            } else {
                kept.push(frame);
            }
        }
        self.port.send(&mut kept);
        *frames = kept;
        debug_assert!(before >= frames.len() + lost);
        before - frames.len()
    }

    fn allocate(&mut self) -> Option<P::Frame> {
        if self.strikes(self.rates.short_pool) { None } else { self.port.allocate() }
    }

    fn completes_checksums(&self) -> bool {
        self.port.completes_checksums()
    }

    fn compose<'f>(
        &mut self,
        frame: &'f mut P::Frame,
        header_len: usize,
        payload: Payload<'_>,
    ) -> Result<&'f mut [u8], TooLong> {
        self.port.compose(frame, header_len, payload)
    }

    fn copies(&self, len: u16) -> bool {
        self.port.copies(len)
    }

    fn lend(&mut self, number: ArenaNumber, arena: &Arc<Arena>) {
        self.port.lend(number, arena);
    }

    fn reclaim(&mut self, number: ArenaNumber) -> bool {
        self.port.reclaim(number)
    }

    fn is_wire(&self) -> bool {
        self.port.is_wire()
    }
}
