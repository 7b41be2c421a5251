//! One packet buffer, owned: moved into a transmit queue or dropped, which gives it back to its pool. Never cloned.

use core::marker::PhantomData;
use core::ptr::NonNull;
use core::slice;

use dpdk_sys as sys;

use super::mempool::Mempool;
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

// SAFETY: the mbuf is owned, and its pool takes it back from any thread. Its buffer is shared with nobody, or with those who only
// read it: lent memory, and what a driver handed out that others hold too.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// # Safety
    /// `mbuf` is a live mbuf of a pool made by [`Mempool::new`](super::Mempool::new), and one reference to it is the caller's. While
    /// others hold it too, or its buffer is not its own, nobody writes to it. Its segments stay readable as long as it lives.
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

    /// Whether the first segment may be written.
    #[inline]
    fn is_own(&self) -> bool {
        // SAFETY: the mbuf is live and ours; it is only read.
        unsafe { sys::mbuf_is_own(self.0.as_ptr()) }
    }

    /// All bytes of the frame, part by part: one part unless it is chained.
    #[must_use]
    pub fn segments(&self) -> Segments<'_> {
        Segments { next: self.0.as_ptr(), frame: PhantomData }
    }

    /// Chains a reference to lent bytes behind a linear frame. False, and nothing done, when the frame is not linear, the pool is
    /// empty, or the loan can count no more references.
    ///
    /// # Safety
    /// `loan` is alive, and keeps `bytes` readable and unchanged as long as it counts a reference.
    #[inline]
    pub(super) unsafe fn attach_loan(&mut self, loan: NonNull<sys::bp_loan>, bytes: &[u8], pool: &Mempool) -> bool {
        let Ok(len) = u16::try_from(bytes.len()) else { return false };
        // SAFETY: the mbuf is live, ours and linear; pool and loan are alive; the shim counts the reference.
        self.is_linear()
            && unsafe {
                sys::bp_mbuf_attach_loan(self.0.as_ptr(), pool.as_ptr(), loan.as_ptr(), bytes.as_ptr().cast(), len)
            }
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

    /// Those of the first segment; none where they are not the frame's own, as [`is_linear`](Self::is_linear) tells.
    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        if !self.is_own() {
            return &mut [];
        }
        let span = self.span();
        // SAFETY: as in `bytes`; the buffer is the mbuf's own, the mbuf is nobody else's, and `self` is borrowed for this slice.
        unsafe { slice::from_raw_parts_mut(span.data, usize::from(span.len)) }
    }

    /// One segment, whose buffer is its own. A driver that passes pointers may also hand out frames that refer to lent memory.
    #[inline]
    fn is_linear(&self) -> bool {
        // SAFETY: the mbuf is live and ours; it is only read.
        let is_whole = unsafe { sys::mbuf_is_linear(self.0.as_ptr()) };
        is_whole && self.is_own()
    }

    /// Only a linear mbuf can be resized.
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

    #[cold]
    fn copy_into(&self, copy: &mut Vec<u8>, most: usize) -> usize {
        let mut left = most;
        let mut len = 0;
        for segment in self.segments() {
            let taken = segment.len().min(left);
            copy.extend_from_slice(&segment[..taken]);
            left -= taken;
            len += segment.len();
        }
        len
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

/// The parts of a frame, in order.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    next: *const sys::rte_mbuf,
    frame: PhantomData<&'a Mbuf>,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.next.is_null() {
            return None;
        }
        // SAFETY: a segment of a frame that is borrowed: live, and only read.
        let span = unsafe { sys::mbuf_span(self.next) };
        // SAFETY: as above.
        self.next = unsafe { sys::mbuf_next(self.next) };
        // SAFETY: DPDK keeps `len` within the segment's buffer. Nobody writes there: what can be written of a frame takes a mutable
        // borrow, and lent memory is never written.
        Some(unsafe { slice::from_raw_parts(span.data, usize::from(span.len)) })
    }
}
