//! One packet buffer, owned: moved into a transmit queue or dropped, which gives it back to its pool. Never cloned.

use core::ptr::NonNull;
use core::slice;

use dpdk_sys as sys;

use crate::port::{ChecksumRequest, Frame, ReceivedChecksums, TooLong};

/// A DPDK mbuf, with whatever is chained behind it. Exactly one pointer, so that a burst of them is what DPDK takes.
///
/// It may go to another thread, but is used by one at a time:
///
/// ```
/// fn takes_send<T: Send>() {}
/// takes_send::<dataplane::dpdk::Mbuf>();
/// ```
/// ```compile_fail,E0277
/// fn takes_sync<T: Sync>() {}
/// takes_sync::<dataplane::dpdk::Mbuf>();
/// ```
/// ```compile_fail,E0277
/// fn takes_clone<T: Clone>() {}
/// takes_clone::<dataplane::dpdk::Mbuf>();
/// ```
#[derive(Debug)]
#[repr(transparent)]
pub struct Mbuf(NonNull<sys::rte_mbuf>);

// SAFETY: the mbuf is owned, its buffer is shared with nobody, and its pool takes it back from any thread.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// # Safety
    /// `mbuf` is a live mbuf with a reference count of one that nobody else holds, from a pool made by
    /// [`Mempool::new`](super::Mempool::new), without an external buffer.
    #[inline]
    pub(super) unsafe fn from_raw(mbuf: NonNull<sys::rte_mbuf>) -> Self {
        Self(mbuf)
    }

    #[inline]
    fn span(&self) -> sys::Span {
        // SAFETY: the mbuf is live and ours; it is only read.
        unsafe { sys::mbuf_span(self.0.as_ptr()) }
    }

    /// Of a linear mbuf.
    #[inline]
    fn set_len(&mut self, len: u16) {
        // SAFETY: the mbuf is live and ours; callers checked `len` against its room and that nothing is chained to it.
        unsafe { sys::mbuf_set_len(self.0.as_ptr(), len) };
    }

    /// The new total length, when the only segment has room for it.
    #[inline]
    fn fits(&self, len: usize, room: u16) -> Result<u16, TooLong> {
        match u16::try_from(len) {
            Ok(short) if short <= room && self.is_linear() => Ok(short),
            _ => Err(TooLong),
        }
    }
}

impl Frame for Mbuf {
    #[inline]
    fn bytes(&self) -> &[u8] {
        let span = self.span();
        // SAFETY: DPDK keeps `len` within the segment's buffer, whose memory was zeroed when it was mapped; nobody writes to
        // it while `self` is borrowed.
        unsafe { slice::from_raw_parts(span.data, usize::from(span.len)) }
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        let span = self.span();
        // SAFETY: as in `bytes`, and `self` is borrowed for this slice alone.
        unsafe { slice::from_raw_parts_mut(span.data, usize::from(span.len)) }
    }

    #[inline]
    fn is_linear(&self) -> bool {
        // SAFETY: the mbuf is live and ours; it is only read.
        unsafe { sys::mbuf_is_linear(self.0.as_ptr()) }
    }

    /// A chained mbuf cannot be resized.
    #[inline]
    fn resize(&mut self, len: usize) -> Result<(), TooLong> {
        let len = self.fits(len, self.span().room)?;
        self.set_len(len);
        Ok(())
    }

    /// One copy behind the bytes of the only segment.
    #[inline]
    fn append(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        let span = self.span();
        let used = usize::from(span.len);
        let len = self.fits(used.saturating_add(bytes.len()), span.room)?;
        // SAFETY: `used` is within the buffer.
        let tail = unsafe { span.data.add(used) };
        // SAFETY: `bytes` fits between `tail` and the buffer's end, as `fits` found. It cannot overlap it: what is readable
        // of this buffer is only lent out by borrowing `self`, which is borrowed mutably here.
        unsafe { tail.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.set_len(len);
        Ok(())
    }

    #[inline]
    fn compose(&mut self, header_len: usize, payload: &[u8]) -> Result<&mut [u8], TooLong> {
        let span = self.span();
        let len = self.fits(header_len.saturating_add(payload.len()), span.room)?;
        // SAFETY: `header_len` is within the buffer.
        let tail = unsafe { span.data.add(header_len) };
        // SAFETY: as in `append`.
        unsafe { tail.copy_from_nonoverlapping(payload.as_ptr(), payload.len()) };
        self.set_len(len);
        // SAFETY: within the buffer, whose memory was zeroed when it was mapped; `self` is borrowed for this slice alone.
        Ok(unsafe { slice::from_raw_parts_mut(span.data, header_len) })
    }

    #[inline]
    fn received_checksums(&self) -> ReceivedChecksums {
        // SAFETY: the mbuf is live and ours; it is only read.
        if unsafe { sys::mbuf_checksums_good(self.0.as_ptr()) } {
            ReceivedChecksums::Good
        } else {
            ReceivedChecksums::Unchecked
        }
    }

    #[inline]
    fn request_checksums(&mut self, request: ChecksumRequest) {
        let ChecksumRequest { link_header_len, network_header_len, ipv4 } = request;
        // SAFETY: the mbuf is live and ours. Wrong lengths spoil the frame, not memory: drivers read them into a descriptor.
        unsafe { sys::bp_mbuf_request_checksums(self.0.as_ptr(), link_header_len, network_header_len, ipv4) };
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: live, ours and not used again. Its pool is alive: a pool is not freed while an mbuf of it is out.
        unsafe { sys::bp_mbuf_free(self.0.as_ptr()) };
    }
}
