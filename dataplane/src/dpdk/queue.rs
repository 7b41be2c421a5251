//! Receive and transmit queues: bursts of owned mbufs, moved. One owner polls a queue; nothing here allocates, locks or logs.

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::ptr;
use std::sync::Arc;

use dpdk_sys as sys;

use super::device::{DeviceInner, PortId};
use super::loan::Loans;
use super::mbuf::Mbuf;
use super::mempool::Mempool;
use crate::files::Arena;
use crate::port::{ArenaNumber, Backlog, Burst, Frame, Payload, Port, TooLong};

/// A queue of a port, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(u16);

impl QueueId {
    pub(super) const fn new(index: u16) -> Self {
        Self(index)
    }

    /// The queue's number, from 0.
    #[must_use]
    pub const fn index(self) -> u16 {
        self.0
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "queue {}", self.0)
    }
}

/// Fills what is free in `burst`; returns how many frames came.
///
/// # Safety
/// The port is started, the queue is set up, and nobody else polls it meanwhile.
#[inline]
pub(super) unsafe fn receive_burst(port: PortId, queue: QueueId, burst: &mut Burst<Mbuf>) -> usize {
    let (len, free) = (burst.len(), burst.remaining_capacity());
    // A burst has far fewer than 65536 places.
    let wanted = u16::try_from(free).unwrap_or(u16::MAX);
    // SAFETY: `len` is within the array.
    let places = unsafe { burst.as_mut_ptr().add(len) };
    // SAFETY: the queue is the caller's. An `Mbuf` is one non-null pointer to an mbuf, which is what DPDK writes, into at most
    // `wanted` places.
    let received = usize::from(unsafe { sys::bp_rx_burst(port.index(), queue.0, places.cast(), wanted) });
    // SAFETY: DPDK filled `received` more places, at most as many as were free, with mbufs that are now ours.
    unsafe { burst.set_len(len + received) };
    received
}

/// Asks for a cache line; does nothing on machines whose instruction for it is not known here.
#[inline]
fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing and cannot fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ptr::from_ref(place).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// One receive queue. Goes to the lcore that polls it, and is polled by one at a time:
///
/// ```
/// fn takes_send<T: Send>() {}
/// takes_send::<dataplane::dpdk::RxQueue>();
/// ```
/// ```compile_fail,E0277
/// fn takes_sync<T: Sync>() {}
/// takes_sync::<dataplane::dpdk::RxQueue>();
/// ```
/// ```compile_fail,E0277
/// fn takes_clone<T: Clone>() {}
/// takes_clone::<dataplane::dpdk::RxQueue>();
/// ```
#[derive(Debug)]
pub struct RxQueue {
    device: Arc<DeviceInner>,
    queue: QueueId,
    not_sync: PhantomData<Cell<()>>,
}

impl RxQueue {
    /// Adds received frames to `burst`, as many as are there now and fit; returns how many (`rte_eth_rx_burst`).
    ///
    /// Some drivers take only whole groups of up to 32, so pass an empty burst.
    #[inline]
    pub fn receive(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        if !self.device.is_started() {
            return 0;
        }
        // SAFETY: started, which needed a queue that is set up; `configure` made one `RxQueue` for it, borrowed mutably here.
        unsafe { receive_burst(self.device.port(), self.queue, burst) }
    }
}

/// One transmit queue. Goes to the lcore that sends on it, and is used by one at a time:
///
/// ```
/// fn takes_send<T: Send>() {}
/// takes_send::<dataplane::dpdk::TxQueue>();
/// ```
/// ```compile_fail,E0277
/// fn takes_sync<T: Sync>() {}
/// takes_sync::<dataplane::dpdk::TxQueue>();
/// ```
/// ```compile_fail,E0277
/// fn takes_clone<T: Clone>() {}
/// takes_clone::<dataplane::dpdk::TxQueue>();
/// ```
#[derive(Debug)]
pub struct TxQueue {
    device: Arc<DeviceInner>,
    queue: QueueId,
    not_sync: PhantomData<Cell<()>>,
}

impl TxQueue {
    /// Asks the device to let go of frames that it has sent (`rte_eth_tx_done_cleanup`), which it otherwise does when it sends more.
    /// Not all drivers can.
    #[cold]
    fn clean_up(&mut self) {
        if self.device.is_started() {
            // SAFETY: started, which needed a queue that is set up; `configure` made one `TxQueue` for it, borrowed mutably here.
            unsafe { sys::rte_eth_tx_done_cleanup(self.device.port().index(), self.queue.0, 0) };
        }
    }

    /// Moves frames into the transmit ring, oldest first, and leaves in `frames`, in order, those that it had no room for;
    /// returns how many went (`rte_eth_tx_burst`).
    ///
    /// Mbufs that were sent go back to their pool when the queue is used again: call this from time to time on an idle queue
    /// too, where the pool is short.
    #[inline]
    pub fn send(&mut self, frames: &mut Backlog<Mbuf>) -> usize {
        if !self.device.is_started() {
            return 0;
        }
        let len = frames.len();
        // A backlog has far fewer than 65536 places.
        let offered = u16::try_from(len).unwrap_or(u16::MAX);
        let first = frames.as_mut_ptr();
        // SAFETY: started, which needed a queue that is set up; `configure` made one `TxQueue` for it, borrowed mutably here. An
        // `Mbuf` is one pointer to an mbuf that is ours, and the first `offered` places hold one each.
        let sent =
            usize::from(unsafe { sys::bp_tx_burst(self.device.port().index(), self.queue.0, first.cast(), offered) });
        // SAFETY: the mbufs in the first `sent` places are the port's now: forget them all, then count the rest in again.
        unsafe { frames.set_len(0) };
        // SAFETY: `sent` is at most `len`.
        let unsent = unsafe { first.add(sent) };
        // SAFETY: `len - sent` initialised places, moved towards the front of the same array.
        unsafe { ptr::copy(unsent, first, len - sent) };
        // SAFETY: that many places at the front hold the unsent mbufs, which are still ours.
        unsafe { frames.set_len(len - sent) };
        sent
    }
}

/// A receive queue, a transmit queue and the pool behind them: what one worker drives. Keeps its port open and its pool alive.
///
/// ```
/// fn takes_send<T: Send>() {}
/// takes_send::<dataplane::dpdk::QueuePair>();
/// ```
/// ```compile_fail,E0277
/// fn takes_sync<T: Sync>() {}
/// takes_sync::<dataplane::dpdk::QueuePair>();
/// ```
/// ```compile_fail,E0277
/// fn takes_clone<T: Clone>() {}
/// takes_clone::<dataplane::dpdk::QueuePair>();
/// ```
#[derive(Debug)]
pub struct QueuePair {
    rx: RxQueue,
    tx: TxQueue,
    pool: Arc<Mempool>,
    completes_checksums: bool,
    /// Behind the queues: a port that closes gives its frames back first.
    loans: Loans,
}

impl QueuePair {
    /// Called once for each queue of a port.
    pub(super) fn new(
        device: &Arc<DeviceInner>,
        queue: QueueId,
        pool: &Arc<Mempool>,
        completes_checksums: bool,
        loans: Loans,
    ) -> Self {
        let rx = RxQueue { device: Arc::clone(device), queue, not_sync: PhantomData };
        let tx = TxQueue { device: Arc::clone(device), queue, not_sync: PhantomData };
        Self { rx, tx, pool: Arc::clone(pool), completes_checksums, loans }
    }

    /// Whose queues they are.
    #[must_use]
    pub fn port(&self) -> PortId {
        self.rx.device.port()
    }

    /// Which of the port's queues they are.
    #[must_use]
    pub fn queue(&self) -> QueueId {
        self.rx.queue
    }

    /// Where [`allocate`](Port::allocate) takes frames from.
    #[must_use]
    pub fn pool(&self) -> &Arc<Mempool> {
        &self.pool
    }

    /// Exchanges the transmit queues of two pairs: on a port that returns what is sent (`net_ring`), what one then sends the
    /// other receives.
    pub const fn cross(&mut self, other: &mut Self) {
        core::mem::swap(&mut self.tx, &mut other.tx);
    }

    /// Apart, for two lcores of which one receives and the other sends.
    #[must_use]
    pub fn split(self) -> (RxQueue, TxQueue) {
        (self.rx, self.tx)
    }
}

impl Port for QueuePair {
    type Frame = Mbuf;

    #[inline]
    fn receive(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        self.rx.receive(burst)
    }

    #[inline]
    fn send(&mut self, frames: &mut Backlog<Mbuf>) -> usize {
        self.tx.send(frames)
    }

    #[inline]
    fn allocate(&mut self) -> Option<Mbuf> {
        self.pool.allocate()
    }

    #[inline]
    fn completes_checksums(&self) -> bool {
        self.completes_checksums
    }

    /// By reference where the port was configured for it, the payload is long enough and its arena is on loan; else by one copy.
    #[inline]
    fn compose<'f>(
        &mut self,
        frame: &'f mut Mbuf,
        header_len: usize,
        payload: Payload<'_>,
    ) -> Result<&'f mut [u8], TooLong> {
        if self.loans.wants(payload.bytes.len()) {
            frame.resize(header_len)?;
            if self.loans.attach(frame, payload, &self.pool) {
                return Ok(frame.bytes_mut());
            }
        }
        frame.compose(header_len, payload.bytes)
    }

    #[inline]
    fn copies(&self, len: u16) -> bool {
        !self.loans.wants(usize::from(len))
    }

    /// May take long where a device needs the memory mapped.
    fn lend(&mut self, number: ArenaNumber, arena: &Arc<Arena>) {
        self.loans.lend(number, arena);
    }

    fn reclaim(&mut self, number: ArenaNumber) -> bool {
        let Self { tx, loans, .. } = self;
        loans.reclaim(number, || tx.clean_up())
    }

    #[inline]
    fn prefetch<T>(&self, place: &T) {
        prefetch(place);
    }
}
