//! A port without a network: frames are vectors, its driver puts them in and takes them out. Counts every buffer, so that a test
//! can see whether all came back.

use super::{BURST, Backlog, Burst, ChecksumRequest, Frame, Pool, Port, ReceivedChecksums, TooLong};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Buffers of one size, and how many of them are in use.
#[derive(Clone, Debug)]
pub struct MemoryPool {
    frame_bytes: usize,
    frames: usize,
    in_use: Arc<AtomicUsize>,
}

impl MemoryPool {
    /// A pool of `frames` buffers of `frame_bytes` bytes each.
    #[must_use]
    pub fn new(frames: usize, frame_bytes: usize) -> Self {
        Self { frame_bytes, frames, in_use: Arc::default() }
    }

    /// Buffers that have not come back.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    /// A frame with these bytes, if a buffer is left and they fit.
    #[must_use]
    pub fn frame(&self, bytes: &[u8]) -> Option<MemoryFrame> {
        let mut frame = self.allocate()?;
        frame.append(bytes).ok()?;
        Some(frame)
    }
}

impl Pool for MemoryPool {
    type Frame = MemoryFrame;

    fn allocate(&self) -> Option<MemoryFrame> {
        if self.in_use() >= self.frames {
            return None;
        }
        self.in_use.fetch_add(1, Ordering::Relaxed);
        Some(MemoryFrame { bytes: Vec::with_capacity(self.frame_bytes), pool: self.clone() })
    }
}

/// One buffer of a [`MemoryPool`].
#[derive(Debug)]
pub struct MemoryFrame {
    bytes: Vec<u8>,
    pool: MemoryPool,
}

impl Drop for MemoryFrame {
    fn drop(&mut self) {
        self.pool.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Frame for MemoryFrame {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn is_linear(&self) -> bool {
        true
    }

    fn resize(&mut self, len: usize) -> Result<(), TooLong> {
        if len > self.pool.frame_bytes {
            return Err(TooLong);
        }
        self.bytes.resize(len, 0);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.bytes.len() + bytes.len() > self.pool.frame_bytes {
            return Err(TooLong);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn received_checksums(&self) -> ReceivedChecksums {
        ReceivedChecksums::Unchecked
    }

    fn request_checksums(&mut self, _request: ChecksumRequest) {
        unreachable!("a memory port completes no checksums");
    }
}

/// Two queues of frames.
#[derive(Debug)]
pub struct MemoryPort {
    pool: MemoryPool,
    arrived: VecDeque<MemoryFrame>,
    sent: VecDeque<MemoryFrame>,
    ring_len: usize,
}

impl MemoryPort {
    /// A port whose transmit ring takes `ring_len` frames before its driver has to empty it.
    #[must_use]
    pub fn new(pool: MemoryPool, ring_len: usize) -> Self {
        Self { pool, arrived: VecDeque::new(), sent: VecDeque::new(), ring_len }
    }

    /// The driver's side: a frame arrives. False when no buffer was left for it.
    pub fn deliver(&mut self, bytes: &[u8]) -> bool {
        self.pool.frame(bytes).map(|frame| self.arrived.push_back(frame)).is_some()
    }

    /// The driver's side: the next frame that was sent.
    pub fn take_sent(&mut self) -> Option<MemoryFrame> {
        self.sent.pop_front()
    }

    /// The pool behind it.
    #[must_use]
    pub const fn pool(&self) -> &MemoryPool {
        &self.pool
    }
}

impl Port for MemoryPort {
    type Frame = MemoryFrame;

    fn receive(&mut self, burst: &mut Burst<MemoryFrame>) -> usize {
        let count = self.arrived.len().min(BURST - burst.len());
        burst.extend(self.arrived.drain(..count));
        count
    }

    fn send(&mut self, frames: &mut Backlog<MemoryFrame>) -> usize {
        let count = frames.len().min(self.ring_len - self.sent.len());
        self.sent.extend(frames.drain(..count));
        count
    }

    fn allocate(&mut self) -> Option<MemoryFrame> {
        self.pool.allocate()
    }

    fn completes_checksums(&self) -> bool {
        false
    }
}
