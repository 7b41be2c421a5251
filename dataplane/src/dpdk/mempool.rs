//! Pools of mbufs. A pool is freed with its last handle, but never under an mbuf that is still out.

use core::ffi::c_uint;
use core::ptr::NonNull;
use std::ffi::CString;
use std::sync::Arc;

use dpdk_sys as sys;

use super::eal::{Eal, EalGuard, SocketId};
use super::error::{Errno, PoolError};
use super::mbuf::Mbuf;
use crate::port::Pool;

/// A pool of equal mbufs, shared by any number of queues and threads.
///
/// A thread that drops mbufs while others end should hold a handle on their pool until it has dropped the last one, as a
/// worker does with its [`QueuePair`](super::QueuePair).
#[derive(Debug)]
pub struct Mempool {
    pool: RawPool,
    frames: u32,
    data_room: u16,
    guard: Arc<EalGuard>,
}

impl Mempool {
    /// Makes a pool of `frames` mbufs (`rte_pktmbuf_pool_create`).
    ///
    /// `data_room_bytes` is what a frame may use; DPDK's headroom is added to it. `cache` is the number of mbufs that each
    /// lcore keeps for itself: at most 512 and at most two thirds of `frames`. Best use of memory: `frames` = 2^n - 1.
    ///
    /// # Errors
    /// [`PoolError`].
    #[cold]
    pub fn new(
        eal: &Eal,
        name: &str,
        frames: u32,
        data_room_bytes: u16,
        cache: u32,
        socket: SocketId,
    ) -> Result<Arc<Self>, PoolError> {
        let c_name = CString::new(name).map_err(|_| PoolError::BadName(name.to_owned()))?;
        let headroom = u16::try_from(sys::BP_HEADROOM).unwrap_or(u16::MAX);
        let room = data_room_bytes.checked_add(headroom).ok_or(PoolError::RoomTooLarge(data_room_bytes))?;
        // SAFETY: EAL is up; the name is a C string that is copied; DPDK checks the numbers.
        let pool = unsafe { sys::rte_pktmbuf_pool_create(c_name.as_ptr(), frames, cache, 0, room, socket.0) };
        let pool = NonNull::new(pool).ok_or_else(|| match Errno::last() {
            Errno::AlreadyExists => PoolError::NameInUse(name.to_owned()),
            Errno::NameTooLong => PoolError::BadName(name.to_owned()),
            Errno::OutOfMemory => PoolError::OutOfMemory { name: name.to_owned(), frames },
            errno => PoolError::Create { name: name.to_owned(), errno },
        })?;
        let guard = Arc::clone(&eal.guard);
        Ok(Arc::new(Self { pool: RawPool(pool), frames, data_room: data_room_bytes, guard }))
    }

    /// An empty frame (length 0); `None` when the pool is empty, which is an ordinary outcome.
    #[inline]
    #[must_use]
    pub fn allocate(&self) -> Option<Mbuf> {
        // SAFETY: the pool is alive. It allows several producers and consumers; an lcore's cache is used by that lcore only.
        let mbuf = unsafe { sys::bp_mbuf_alloc(self.pool.0.as_ptr()) };
        // SAFETY: a fresh mbuf that nobody else holds.
        NonNull::new(mbuf).map(|mbuf| unsafe { Mbuf::from_raw(mbuf) })
    }

    /// Mbufs that are in the pool, counting the lcores' caches. Exact when nobody allocates or frees.
    #[must_use]
    pub fn available(&self) -> u32 {
        // SAFETY: the pool is alive.
        unsafe { sys::rte_mempool_avail_count(self.pool.0.as_ptr()) }
    }

    /// Mbufs that are out: in somebody's hands or in a ring. Exact when nobody allocates or frees.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.pool.in_use()
    }

    /// Mbufs in all.
    #[must_use]
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// Bytes that a frame may use.
    #[must_use]
    pub fn data_room_bytes(&self) -> u16 {
        self.data_room
    }

    /// For DPDK's queue set-up.
    pub(super) fn as_ptr(&self) -> *mut sys::rte_mempool {
        self.pool.0.as_ptr()
    }
}

impl Drop for Mempool {
    fn drop(&mut self) {
        self.guard.retire(RawPool(self.pool.0));
    }
}

/// A pool without a keeper: alive until [`free_if_unused`](Self::free_if_unused) says otherwise.
#[derive(Debug)]
pub(super) struct RawPool(NonNull<sys::rte_mempool>);

// SAFETY: a mempool is made for use from any thread: its ring takes several producers and consumers, and its caches are
// indexed by the calling lcore.
unsafe impl Send for RawPool {}
// SAFETY: as above.
unsafe impl Sync for RawPool {}

impl RawPool {
    fn in_use(&self) -> c_uint {
        // SAFETY: the pool is alive.
        unsafe { sys::rte_mempool_in_use_count(self.0.as_ptr()) }
    }

    /// Frees the pool when all its mbufs are back, else returns it: an mbuf has no handle on its pool, so the pool waits for it.
    pub(super) fn free_if_unused(self) -> Result<(), Self> {
        if self.in_use() > 0 {
            return Err(self);
        }
        // SAFETY: its last handle is gone (no queue and no thread can allocate) and no mbuf is out. DPDK counts an mbuf as back a
        // few instructions before it has stored its pointer; a thread that frees mbufs holds a handle on the pool meanwhile (its
        // queue's), or has been joined, so nobody is within these instructions.
        unsafe { sys::rte_mempool_free(self.0.as_ptr()) };
        Ok(())
    }
}

impl Pool for Arc<Mempool> {
    type Frame = Mbuf;

    fn allocate(&self) -> Option<Mbuf> {
        Mempool::allocate(self)
    }
}
