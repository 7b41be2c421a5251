//! Frames that no memory port makes: chained ones, checked ones, and ones whose checksums the port completes.

use dataplane::engine::{Event, Output};
use dataplane::port::{ChecksumRequest, Frame, Payload, ReceivedChecksums, TooLong};
use dataplane::session::WorkerIndex;

/// A frame with what a memory port's never have.
pub struct OddFrame {
    pub bytes: Vec<u8>,
    pub linear: bool,
    pub checksums: ReceivedChecksums,
    pub asked: Option<ChecksumRequest>,
}

impl OddFrame {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, linear: true, checksums: ReceivedChecksums::Unchecked, asked: None }
    }
}

impl Frame for OddFrame {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
    fn is_linear(&self) -> bool {
        self.linear
    }
    fn resize(&mut self, len: usize) -> Result<(), TooLong> {
        self.bytes.resize(len, 0);
        Ok(())
    }
    fn append(&mut self, payload: &[u8]) -> Result<(), TooLong> {
        self.bytes.extend_from_slice(payload);
        Ok(())
    }
    fn received_checksums(&self) -> ReceivedChecksums {
        self.checksums
    }
    fn request_checksums(&mut self, request: ChecksumRequest) {
        self.asked = Some(request);
    }
}

/// Takes what an engine sends, as a port that completes checksums.
#[derive(Default)]
pub struct Offloading(pub Vec<OddFrame>);

impl Output for Offloading {
    type Frame = OddFrame;
    fn allocate(&mut self) -> Option<OddFrame> {
        Some(OddFrame::new(Vec::new()))
    }
    fn room(&self) -> usize {
        100
    }
    fn send(&mut self, frame: OddFrame) {
        self.0.push(frame);
    }
    fn completes_checksums(&self) -> bool {
        true
    }
    fn compose<'f>(
        &mut self,
        frame: &'f mut OddFrame,
        header_len: usize,
        payload: Payload<'_>,
    ) -> Result<&'f mut [u8], TooLong> {
        frame.compose(header_len, payload.bytes)
    }
    fn copies(&self, _: u16) -> bool {
        true
    }
    fn prefetch<T>(&self, _: &T) {}
    fn hand_over(&mut self, _: WorkerIndex, frame: OddFrame) -> Result<(), OddFrame> {
        Err(frame)
    }
    fn to_kernel(&mut self, frame: OddFrame) -> Result<(), OddFrame> {
        Err(frame)
    }
    fn report(&mut self, _: Event<'_>) {}
}
