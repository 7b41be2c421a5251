//! Arenas lent to a queue: frames refer to file bytes instead of copying them, and no byte is unmapped while a frame refers to it,
//! whoever has the frame and in whatever order everything is dropped.

use core::fmt;
use core::mem::ManuallyDrop;
use core::ops::Range;
use core::ptr::NonNull;
use std::sync::{Arc, OnceLock};

use dpdk_sys as sys;

use super::device::Capabilities;
use super::dma::{DmaDevice, DmaMapping};
use super::eal::EalGuard;
use super::error::Errno;
use super::mbuf::Mbuf;
use super::mempool::Mempool;
use crate::files::Arena;
use crate::port::{ArenaNumber, Payload};

/// Arenas that a queue may have on loan; more than an engine keeps catalogues.
const LOANS: usize = 16;

/// The bus of devices that exist in software only.
const VIRTUAL_BUS: &str = "vdev";

/// Virtual devices whose drivers read all of a frame with the CPU while it is being sent, or pass it on within this process: any
/// memory of ours will do. Others give their peer offsets into DPDK's own memory (net_virtio_user; net_memif may).
const READ_BY_CPU: [&str; 6] = ["net_ring", "net_tap", "net_af_packet", "net_pcap", "net_vhost", "net_null"];

/// How file bytes get into a port's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroCopy {
    /// By reference, from that many bytes on.
    From(u16),
    /// By one copy.
    Never(WhyCopied),
}

impl fmt::Display for ZeroCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(bytes) => write!(f, "zero copy from {bytes} bytes on"),
            Self::Never(why) => write!(f, "file bytes are copied ({why})"),
        }
    }
}

/// Why a port copies file bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyCopied {
    /// It was not asked for anything else.
    NotAsked,
    /// The driver sends frames of one segment.
    OneSegment,
    /// The device's peer reads only memory that DPDK allocated.
    PeerMemory,
    /// DPDK gives devices physical addresses, which the arena's pages do not keep (IOVA as PA: no IOMMU).
    PhysicalAddresses,
    /// The arena could not be mapped for the device.
    NotMapped(Errno),
}

impl fmt::Display for WhyCopied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => f.write_str("not asked for anything else"),
            Self::OneSegment => f.write_str("the driver sends one segment per frame"),
            Self::PeerMemory => f.write_str("the device's peer reads only DPDK's own memory"),
            Self::PhysicalAddresses => f.write_str("the device needs an IOMMU for it: EAL runs with IOVA as PA"),
            Self::NotMapped(errno) => write!(f, "the files' memory could not be mapped for the device: {errno}"),
        }
    }
}

/// What is known of a port's way to memory.
pub(super) struct Reach<'a> {
    pub(super) bus: &'a str,
    pub(super) driver: &'a str,
    pub(super) capabilities: Capabilities,
    pub(super) iova_is_va: bool,
}

impl Reach<'_> {
    /// Whether and how frames of the port may refer to file bytes. `min_bytes`: from how many on; 0 for never.
    pub(super) fn decide(&self, min_bytes: u16) -> ZeroCopy {
        let why = if min_bytes == 0 {
            WhyCopied::NotAsked
        } else if !self.capabilities.multi_segments {
            WhyCopied::OneSegment
        } else if self.is_virtual() && !READ_BY_CPU.contains(&self.driver) {
            WhyCopied::PeerMemory
        } else if !self.is_virtual() && !self.iova_is_va {
            WhyCopied::PhysicalAddresses
        } else {
            return ZeroCopy::From(min_bytes);
        };
        ZeroCopy::Never(why)
    }

    pub(super) fn is_virtual(&self) -> bool {
        self.bus == VIRTUAL_BUS
    }
}

/// How one port takes loans; the same for all its queues.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) zero_copy: ZeroCopy,
    /// The device to map arenas for, where it reads memory through an IOMMU.
    pub(super) dma: Option<DmaDevice>,
    /// The first arena that it could not reach.
    pub(super) refused: OnceLock<Errno>,
}

impl Terms {
    /// What came of it.
    pub(super) fn outcome(&self) -> ZeroCopy {
        self.refused.get().map_or(self.zero_copy, |errno| ZeroCopy::Never(WhyCopied::NotMapped(*errno)))
    }
}

/// Makes arenas reachable for one device ahead of the loans to its queues, which then cost nothing.
#[derive(Clone, Debug)]
pub struct ArenaReach {
    pub(super) terms: Arc<Terms>,
    pub(super) guard: Arc<EalGuard>,
}

impl ArenaReach {
    /// Maps an arena for the device; `None` where loans cost nothing anyway, or where it cannot be done, as
    /// [`Device::zero_copy`](super::Device::zero_copy) tells once it is lent. Slow: it pins all pages. Kept until the loans are over, it
    /// spares the workers the end of it, too.
    #[must_use]
    pub fn open(&self, arena: &Arc<Arena>) -> Option<ReachableArena> {
        let Terms { zero_copy, dma, .. } = &*self.terms;
        let device = dma.filter(|_| matches!(zero_copy, ZeroCopy::From(_)) && !arena.mapping().is_empty())?;
        let mapping = DmaMapping::new(arena, device).ok()?;
        Some(ReachableArena { _mapping: mapping, _arena: Arc::clone(arena), _guard: Arc::clone(&self.guard) })
    }
}

/// An arena that a device can read for as long as this is there, whoever else comes and goes.
#[derive(Debug)]
pub struct ReachableArena {
    /// Ends first.
    _mapping: DmaMapping,
    _arena: Arc<Arena>,
    _guard: Arc<EalGuard>,
}

/// One arena on loan to one queue.
#[derive(Debug)]
pub(super) struct Loan {
    count: NonNull<sys::bp_loan>,
    addresses: Range<usize>,
    /// The mapping goes before the memory.
    kept: ManuallyDrop<(Option<DmaMapping>, Arc<Arena>)>,
}

// SAFETY: the count is atomic, and freed by the loan's one owner.
unsafe impl Send for Loan {}
// SAFETY: as above; shared references only read the count.
unsafe impl Sync for Loan {}

impl Loan {
    /// `None` when there is no memory for the count, which is one cache line.
    fn new(arena: &Arc<Arena>, mapping: Option<DmaMapping>) -> Option<Self> {
        // SAFETY: no precondition.
        let count = NonNull::new(unsafe { sys::bp_loan_new() })?;
        let start = arena.mapping().as_ptr().addr();
        let addresses = start..start + arena.mapping().len();
        Some(Self { count, addresses, kept: ManuallyDrop::new((mapping, Arc::clone(arena))) })
    }

    /// Whether no frame refers to the arena.
    fn is_over(&self) -> bool {
        // SAFETY: alive as long as `self`.
        unsafe { sys::bp_loan_references(self.count.as_ptr()) == 0 }
    }

    #[inline]
    fn covers(&self, bytes: &[u8]) -> bool {
        let start = bytes.as_ptr().addr();
        // The bytes of a slice do not wrap around.
        start >= self.addresses.start && start + bytes.len() <= self.addresses.end
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if !self.is_over() {
            // Nobody knows who has these frames, or for how long: the memory and its count stay until the process ends.
            return;
        }
        // SAFETY: no frame refers to it, and none will: frames are only attached through `self`.
        unsafe { sys::bp_loan_free(self.count.as_ptr()) };
        // SAFETY: not used again.
        unsafe { ManuallyDrop::drop(&mut self.kept) };
    }
}

/// The arenas on loan to one queue, by their numbers.
#[derive(Debug)]
pub(super) struct Loans {
    /// `usize::MAX`: none is taken.
    min_bytes: usize,
    places: [Option<Loan>; LOANS],
    terms: Arc<Terms>,
    guard: Arc<EalGuard>,
}

impl Loans {
    pub(super) fn new(terms: &Arc<Terms>, guard: &Arc<EalGuard>) -> Self {
        let min_bytes = match terms.zero_copy {
            ZeroCopy::From(bytes) => usize::from(bytes),
            ZeroCopy::Never(_) => usize::MAX,
        };
        let places = [const { None }; LOANS];
        Self { min_bytes, places, terms: Arc::clone(terms), guard: Arc::clone(guard) }
    }

    /// Takes an arena on loan. Where that cannot be, its bytes are copied: the port takes none, the device does not reach it, or the
    /// number still belongs to another.
    #[cold]
    pub(super) fn lend(&mut self, number: ArenaNumber, arena: &Arc<Arena>) {
        let Some(place) = self.places.get_mut(usize::from(number.0)) else { return };
        let is_free = place.as_ref().is_none_or(Loan::is_over);
        if self.min_bytes == usize::MAX || arena.mapping().is_empty() || !is_free {
            return;
        }
        let mapping = match self.terms.dma.map(|device| DmaMapping::new(arena, device)).transpose() {
            Ok(mapping) => mapping,
            Err(errno) => {
                // Only the first is told.
                let _ = self.terms.refused.set(errno);
                return;
            }
        };
        *place = Loan::new(arena, mapping);
    }

    /// Ends a loan, if no frame refers to it; `clean_up` may make the device let go of frames that it has sent.
    #[cold]
    pub(super) fn reclaim(&mut self, number: ArenaNumber, clean_up: impl FnOnce()) -> bool {
        let Some(place) = self.places.get_mut(usize::from(number.0)) else { return true };
        if place.as_ref().is_some_and(|loan| !loan.is_over()) {
            clean_up();
        }
        if place.as_ref().is_some_and(|loan| !loan.is_over()) {
            return false;
        }
        *place = None;
        true
    }

    /// Whether a payload is long enough to go by reference.
    #[inline]
    pub(super) const fn wants(&self, len: usize) -> bool {
        len >= self.min_bytes
    }

    /// Chains a reference to the payload behind a frame; false, and nothing done, where it has to be copied: the frame is not
    /// linear, the arena is not on loan or has all the references that can be counted, or the pool is empty.
    pub(super) fn attach(&self, frame: &mut Mbuf, payload: Payload<'_>, pool: &Mempool) -> bool {
        let bytes = payload.bytes;
        match self.places.get(usize::from(payload.arena.0)) {
            // SAFETY: the bytes are in the arena, which the loan keeps as long as something refers to it, and nobody writes there.
            Some(Some(loan)) if loan.covers(bytes) => unsafe { frame.attach_loan(loan.count, bytes, pool) },
            _ => false,
        }
    }
}

impl Drop for Loans {
    fn drop(&mut self) {
        self.places.iter_mut().filter_map(Option::take).for_each(|loan| self.guard.retire_loan(loan));
    }
}

impl Loan {
    /// Drops loans that are over.
    pub(super) fn drop_over(loans: &mut Vec<Self>) {
        loans.retain(|loan| !loan.is_over());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_refers_to_memory_that_its_device_can_read() {
        let capabilities = Capabilities {
            rx_checksum_ipv4: false,
            rx_checksum_udp: false,
            tx_checksum_ipv4: false,
            tx_checksum_udp: false,
            rss: false,
            scatter: false,
            multi_segments: true,
        };
        let reach = |bus, driver, iova_is_va, min_bytes| {
            let outcome = Reach { bus, driver, capabilities, iova_is_va }.decide(min_bytes);
            match outcome {
                ZeroCopy::From(bytes) => Ok(bytes),
                ZeroCopy::Never(why) => Err(why),
            }
        };
        for driver in ["net_ring", "net_tap", "net_vhost", "net_af_packet"] {
            assert_eq!(reach("vdev", driver, false, 512), Ok(512));
            assert_eq!(reach("vdev", driver, true, 0), Err(WhyCopied::NotAsked));
        }
        for driver in ["net_virtio_user", "net_memif", "net_af_xdp"] {
            assert_eq!(reach("vdev", driver, true, 512), Err(WhyCopied::PeerMemory));
        }
        for bus in ["pci", "auxiliary", ""] {
            assert_eq!(reach(bus, "net_ice", true, 512), Ok(512));
            assert_eq!(reach(bus, "net_ice", false, 512), Err(WhyCopied::PhysicalAddresses));
        }
        let capabilities = Capabilities { multi_segments: false, ..capabilities };
        let outcome = Reach { bus: "pci", driver: "net_ice", capabilities, iova_is_va: true }.decide(512);
        assert_eq!(outcome, ZeroCopy::Never(WhyCopied::OneSegment));
    }
}
