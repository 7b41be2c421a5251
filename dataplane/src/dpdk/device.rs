//! Ports: what a device can do, its set-up, start, link and counters. A port is stopped and closed when the [`Device`] and all
//! its queues are gone.

use core::cell::Cell;
use core::ffi::{CStr, c_char, c_int};
use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use dpdk_sys as sys;

use super::dma::DmaDevice;
use super::eal::{Eal, EalGuard, SocketId};
use super::error::{DeviceError, Errno};
use super::loan::{ArenaReach, Loans, Reach, Terms, WhyCopied, ZeroCopy};
use super::mempool::Mempool;
use super::queue::{QueueId, QueuePair, receive_burst};
use crate::port::{BURST, Burst};

/// Ethernet header, two VLAN tags and the frame check sequence: what an MTU leaves out. In bytes.
pub const LINK_OVERHEAD: u16 = 14 + 2 * 4 + 4;

/// Ethernet's own MTU, which an unasked port gets unless its device takes less. In bytes.
const DEFAULT_MTU: u16 = 1500;

/// How often it is tried, a millisecond apart, to take a callback back while it runs: it writes eight bytes.
const UNWATCH_TRIES: u32 = 100;

/// Frames per queue that are fetched and freed before a port is closed; more than any usual ring holds.
const DRAIN_FRAMES: usize = 8192;

/// A port by its DPDK number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(u16);

impl PortId {
    /// The port of that DPDK number.
    #[must_use]
    pub const fn new(index: u16) -> Self {
        Self(index)
    }

    /// The DPDK number.
    #[must_use]
    pub const fn index(self) -> u16 {
        self.0
    }

    /// Gives a failed call this port's name.
    pub(super) fn check(self, call: &'static str, returned: c_int) -> Result<(), DeviceError> {
        Errno::check(returned).map_err(|errno| match errno {
            Errno::NoDevice => DeviceError::NoSuchPort(self),
            errno => DeviceError::Call { port: self, call, errno },
        })
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {}", self.0)
    }
}

/// What a device can take over from software.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Checks the IPv4 header checksum of received frames.
    pub rx_checksum_ipv4: bool,
    /// Checks their UDP checksum.
    pub rx_checksum_udp: bool,
    /// Completes the IPv4 header checksum of sent frames.
    pub tx_checksum_ipv4: bool,
    /// Completes their UDP checksum.
    pub tx_checksum_udp: bool,
    /// Spreads received frames over queues by a hash of IP addresses or UDP ports.
    pub rss: bool,
    /// Chains mbufs for a frame that is longer than one.
    pub scatter: bool,
    /// Sends chained mbufs as one frame.
    pub multi_segments: bool,
}

/// What a device is, before it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its port number.
    pub port: PortId,
    /// Its port name, such as `0000:00:04.0` or `net_ring0`.
    pub name: String,
    /// Its driver's name, such as `net_e1000_igb`.
    pub driver: String,
    /// The bus that its device is on, such as `pci` or `vdev`; empty when it has none.
    pub bus: String,
    /// Where its memory should be.
    pub socket: SocketId,
    /// Receive queues that it has.
    pub max_rx_queues: u16,
    /// Transmit queues that it has.
    pub max_tx_queues: u16,
    /// Least MTU, in bytes.
    pub min_mtu: u16,
    /// Greatest MTU, in bytes.
    pub max_mtu: u16,
    /// What it can take over.
    pub capabilities: Capabilities,
}

/// What is asked of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceConfig {
    /// Receive and transmit queues, one pair for each worker.
    pub queue_pairs: u16,
    /// Per receive queue; moved into the device's limits.
    pub rx_descriptors: u16,
    /// Per transmit queue; moved into the device's limits.
    pub tx_descriptors: u16,
    /// In bytes; `None` for Ethernet's 1500, or less where the device takes less.
    pub mtu: Option<u16>,
    /// Let the device check and complete checksums where it can.
    pub checksum_offload: bool,
    /// Receive all multicast frames, which IPv6 neighbour discovery needs.
    pub all_multicast: bool,
    /// Let frames refer to file bytes, instead of copying them, from so many on, where the port can; 0 for never.
    pub zero_copy_min_bytes: u16,
}

/// What a port was given of what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grants {
    /// Per receive queue.
    pub rx_descriptors: u16,
    /// Per transmit queue.
    pub tx_descriptors: u16,
    /// Received frames tell about their IPv4 and UDP checksums.
    pub rx_checksum: bool,
    /// Sent frames may ask for their IPv4 and UDP checksums.
    pub tx_checksum: bool,
    /// Received frames are spread over the queues; else they arrive where the device likes, mostly on the first.
    pub rss: bool,
    /// Frames longer than an mbuf arrive chained; else the device or its driver drops them.
    pub scatter: bool,
    /// All multicast frames are received. `false` until the port is started.
    pub all_multicast: bool,
}

/// The state of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// Whether frames can pass.
    pub up: bool,
    /// In Mbit/s; `None` when the device does not know.
    pub speed_mbps: Option<u32>,
    /// Whether both ends may send at once.
    pub full_duplex: bool,
}

/// A port's counters since EAL found it (`rte_eth_stats_get`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames that the device dropped because a receive queue was full.
    pub rx_missed: u64,
    /// Frames received with errors.
    pub rx_errors: u64,
    /// Frames lost because a pool was empty.
    pub rx_no_mbuf: u64,
    /// Frames that were not sent.
    pub tx_errors: u64,
}

/// A configured port: its controls. Its frames pass through the [`QueuePair`]s that [`configure`](Self::configure) gives.
///
/// Its controls may go to another thread, but are used by one at a time:
///
/// ```compile_fail,E0277
/// fn takes_sync<T: Sync>() {}
/// takes_sync::<dataplane::dpdk::Device>();
/// ```
#[derive(Debug)]
pub struct Device {
    /// Given up before the port is.
    link_hint: Option<LinkHint>,
    inner: Arc<DeviceInner>,
    grants: Grants,
    wants_all_multicast: bool,
    /// DPDK's control calls on one port do not lock against each other.
    not_sync: PhantomData<Cell<()>>,
}

impl Device {
    /// All ports, in rising order.
    #[must_use]
    pub fn list(_eal: &Eal) -> Vec<PortId> {
        let from = |first: u16| {
            // SAFETY: EAL is up; any number is allowed.
            let port = unsafe { sys::bp_port_next(first) };
            (u32::from(port) < sys::BP_MAX_PORTS).then_some(port)
        };
        core::iter::successors(from(0), |port| from(port + 1)).map(PortId).collect()
    }

    /// The port of that name.
    ///
    /// # Errors
    /// [`DeviceError::NoSuchName`].
    pub fn find(_eal: &Eal, name: &str) -> Result<PortId, DeviceError> {
        let no_such_name = || DeviceError::NoSuchName(name.to_owned());
        let c_name = CString::new(name).map_err(|_| no_such_name())?;
        let mut port = 0;
        // SAFETY: EAL is up; a C string and a place for the answer.
        let returned = unsafe { sys::rte_eth_dev_get_port_by_name(c_name.as_ptr(), &raw mut port) };
        Errno::check(returned).map(|()| PortId(port)).map_err(|_| no_such_name())
    }

    /// What the device behind a port is and can.
    ///
    /// # Errors
    /// [`DeviceError::NoSuchPort`], [`DeviceError::Call`].
    pub fn info(_eal: &Eal, port: PortId) -> Result<DeviceInfo, DeviceError> {
        Self::ask(port).map(|(info, _)| info)
    }

    /// The same, and the device to map memory for. EAL is up.
    pub(super) fn ask(port: PortId) -> Result<(DeviceInfo, Option<DmaDevice>), DeviceError> {
        let mut info = MaybeUninit::<sys::bp_port_info>::zeroed();
        // SAFETY: EAL is up; the shim checks the port and writes one structure.
        port.check("rte_eth_dev_info_get", unsafe { sys::bp_port_info(port.0, info.as_mut_ptr()) })?;
        // SAFETY: zeroed, then filled; all zeros is a value of it too.
        let info = unsafe { info.assume_init() };
        // SAFETY: DPDK terminates the name within its array, which was zeroed.
        let name = unsafe { CStr::from_ptr(info.name.as_ptr()) }.to_string_lossy().into_owned();
        let text = |text: *const c_char| {
            if text.is_null() {
                return String::new();
            }
            // SAFETY: a C string in the driver or the bus, which stays loaded.
            unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
        };
        let (driver, bus) = (text(info.driver), text(info.bus));
        // SAFETY: devices stay until EAL ends: nothing here takes one away.
        let device = NonNull::new(info.device).map(|device| unsafe { DmaDevice::new(device) });
        let info = DeviceInfo {
            port,
            name,
            driver,
            bus,
            socket: SocketId(info.socket),
            max_rx_queues: info.max_rx_queues,
            max_tx_queues: info.max_tx_queues,
            min_mtu: info.min_mtu,
            max_mtu: info.max_mtu,
            capabilities: Capabilities {
                rx_checksum_ipv4: info.rx_checksum_ipv4,
                rx_checksum_udp: info.rx_checksum_udp,
                tx_checksum_ipv4: info.tx_checksum_ipv4,
                tx_checksum_udp: info.tx_checksum_udp,
                rss: info.rss,
                scatter: info.scatter,
                multi_segments: info.multi_segments,
            },
        };
        Ok((info, device))
    }

    /// Sets a port and its queues up; queue *n* receives into `pools[n]`. The port is not started yet.
    ///
    /// Checksum offload is all or nothing in each direction, IPv4 header and UDP: half of it would save nothing, and a peer in
    /// a virtual machine may then send unfinished checksums. Receive hashing (IP and UDP) is on with several queues where the
    /// device has it. A frame that is longer than an mbuf of its pool can only come in where the MTU asks for it and the device
    /// chains, or from a driver that chains unasked; it is then not [linear](crate::port::Frame::is_linear).
    ///
    /// # Errors
    /// [`DeviceError`]. After a failure in or behind the first queue's set-up the port is closed, and gone.
    #[cold]
    pub fn configure(
        eal: &Eal,
        port: PortId,
        config: &DeviceConfig,
        pools: &[Arc<Mempool>],
    ) -> Result<(Self, Vec<QueuePair>), DeviceError> {
        let (info, device) = Self::ask(port)?;
        let terms = Arc::new(terms(&info, device, config));
        let request = plan(&info, config, terms.zero_copy, pools)?;
        let (mut rx_descriptors, mut tx_descriptors) = (config.rx_descriptors, config.tx_descriptors);

        let claim = Claim::new(eal, port)?;
        // SAFETY: EAL is up and the port exists; the claim makes this its only, and not running, use. `request` outlives the call.
        port.check("rte_eth_dev_configure", unsafe { sys::bp_port_configure(port.0, &raw const request) })?;
        // SAFETY: the port exists; both places outlive the call.
        let returned =
            unsafe { sys::bp_port_clamp_descriptors(port.0, &raw mut rx_descriptors, &raw mut tx_descriptors) };
        port.check("rte_eth_dev_adjust_nb_rx_tx_desc", returned)?;
        if config.mtu.is_some() {
            // SAFETY: the port is configured and not started.
            let returned = unsafe { sys::bp_port_set_mtu(port.0, request.mtu) };
            // A driver without this call goes by the configuration.
            if Errno::check(returned) != Err(Errno::NotSupported) {
                port.check("rte_eth_dev_set_mtu", returned)?;
            }
        }

        let pools_kept = pools.to_vec();
        let inner = Arc::new(DeviceInner { claim, started: AtomicBool::new(false), pools: pools_kept, terms });
        let mut queue_pairs = Vec::with_capacity(pools.len());
        for (queue, pool) in (0..config.queue_pairs).zip(pools) {
            // SAFETY: the port is configured with this queue; `inner` keeps the pool until the port is closed.
            let returned = unsafe { sys::bp_rx_queue_setup(port.0, queue, rx_descriptors, pool.as_ptr()) };
            port.check("rte_eth_rx_queue_setup", returned)?;
            // SAFETY: the port is configured with this queue.
            let returned = unsafe { sys::bp_tx_queue_setup(port.0, queue, tx_descriptors) };
            port.check("rte_eth_tx_queue_setup", returned)?;
            let loans = Loans::new(&inner.terms, &eal.guard);
            queue_pairs.push(QueuePair::new(&inner, QueueId::new(queue), pool, request.tx_checksum, loans));
        }
        let grants = Grants {
            rx_descriptors,
            tx_descriptors,
            rx_checksum: request.rx_checksum,
            tx_checksum: request.tx_checksum,
            rss: request.rss,
            scatter: request.scatter,
            all_multicast: false,
        };
        let wants_all_multicast = config.all_multicast;
        Ok((Self { link_hint: None, inner, grants, wants_all_multicast, not_sync: PhantomData }, queue_pairs))
    }

    /// Starts the port. Before that its queues receive nothing and send nothing.
    ///
    /// A device that cannot receive all multicast frames starts without; see [`Grants::all_multicast`].
    ///
    /// # Errors
    /// [`DeviceError::Call`].
    #[cold]
    pub fn start(&mut self) -> Result<(), DeviceError> {
        let port = self.port();
        // SAFETY: all queues of the port are set up.
        port.check("rte_eth_dev_start", unsafe { sys::rte_eth_dev_start(port.0) })?;
        self.inner.started.store(true, Ordering::Release);
        if self.wants_all_multicast {
            // SAFETY: the port exists.
            self.grants.all_multicast = Errno::check(unsafe { sys::rte_eth_allmulticast_enable(port.0) }).is_ok();
        }
        Ok(())
    }

    /// Its number.
    #[must_use]
    pub fn port(&self) -> PortId {
        self.inner.port()
    }

    /// How many queue pairs it was given.
    #[must_use]
    pub fn queue_pairs(&self) -> u16 {
        // `plan` saw to it that there is one pool for each of at most 65535.
        u16::try_from(self.inner.pools.len()).unwrap_or(u16::MAX)
    }

    /// What it was given.
    #[must_use]
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// How its queues get file bytes into frames. Known for good once they have been lent the files: a device that needs the memory
    /// mapped may refuse it then.
    #[must_use]
    pub fn zero_copy(&self) -> ZeroCopy {
        self.inner.terms.outcome()
    }

    /// What makes arenas reachable for the device, to be used without it.
    #[must_use]
    pub fn arena_reach(&self) -> ArenaReach {
        ArenaReach { terms: Arc::clone(&self.inner.terms), guard: Arc::clone(&self.inner.claim.guard) }
    }

    /// Its MAC address.
    ///
    /// # Errors
    /// [`DeviceError::Call`].
    pub fn mac(&self) -> Result<[u8; 6], DeviceError> {
        const { assert!(sys::BP_MAC_LEN == 6) };
        let mut mac = [0; 6];
        // SAFETY: the port exists; the shim writes six bytes.
        self.port().check("rte_eth_macaddr_get", unsafe { sys::bp_port_mac(self.port().0, mac.as_mut_ptr()) })?;
        Ok(mac)
    }

    /// Its MTU, in bytes.
    ///
    /// # Errors
    /// [`DeviceError::Call`].
    pub fn mtu(&self) -> Result<u16, DeviceError> {
        let mut mtu = 0;
        // SAFETY: the port exists; there is a place for the answer.
        self.port().check("rte_eth_dev_get_mtu", unsafe { sys::rte_eth_dev_get_mtu(self.port().0, &raw mut mtu) })?;
        Ok(mtu)
    }

    /// Its link, as far as the device knows at once.
    ///
    /// # Errors
    /// [`DeviceError::Call`].
    pub fn link(&self) -> Result<LinkStatus, DeviceError> {
        let mut link = sys::bp_link { speed_mbps: 0, up: false, full_duplex: false };
        // SAFETY: the port exists; there is a place for the answer.
        self.port().check("rte_eth_link_get_nowait", unsafe { sys::bp_port_link(self.port().0, &raw mut link) })?;
        let speed_mbps = (link.speed_mbps != 0 && link.speed_mbps != u32::MAX).then_some(link.speed_mbps);
        Ok(LinkStatus { up: link.up, speed_mbps, full_duplex: link.full_duplex })
    }

    /// From now on `eventfd`, which must not block, is written to when the driver tells that its link came or went
    /// (`RTE_ETH_EVENT_INTR_LSC`). A hint: most drivers tell only where the link interrupt was configured, which it is not, so
    /// that [`link`](Self::link) always asks the driver. A second call replaces the first.
    ///
    /// # Errors
    /// [`DeviceError::Call`].
    #[cold]
    pub fn hint_link_changes(&mut self, eventfd: Arc<OwnedFd>) -> Result<(), DeviceError> {
        self.link_hint = None;
        self.link_hint = Some(LinkHint::new(self.port(), eventfd)?);
        Ok(())
    }

    /// Its counters.
    ///
    /// # Errors
    /// [`DeviceError::Call`].
    pub fn stats(&self) -> Result<PortStats, DeviceError> {
        let mut stats = MaybeUninit::<sys::bp_port_stats>::zeroed();
        // SAFETY: the port exists; the shim writes one structure.
        self.port().check("rte_eth_stats_get", unsafe { sys::bp_port_stats(self.port().0, stats.as_mut_ptr()) })?;
        // SAFETY: zeroed, then filled; any numbers are a value of it.
        let stats = unsafe { stats.assume_init() };
        Ok(PortStats {
            rx_packets: stats.rx_packets,
            rx_bytes: stats.rx_bytes,
            tx_packets: stats.tx_packets,
            tx_bytes: stats.tx_bytes,
            rx_missed: stats.rx_missed,
            rx_errors: stats.rx_errors,
            rx_no_mbuf: stats.rx_no_mbuf,
            tx_errors: stats.tx_errors,
        })
    }
}

/// Turns what is wanted into what this device can be asked for.
fn plan(
    info: &DeviceInfo,
    config: &DeviceConfig,
    zero_copy: ZeroCopy,
    pools: &[Arc<Mempool>],
) -> Result<sys::bp_port_request, DeviceError> {
    let &DeviceInfo { port, min_mtu: min, max_mtu: max, capabilities: can, .. } = info;
    let queue_pairs = config.queue_pairs;
    let most = info.max_rx_queues.min(info.max_tx_queues);
    if queue_pairs == 0 || queue_pairs > most {
        return Err(DeviceError::QueuePairs { port, asked: queue_pairs, max: most });
    }
    if pools.len() != usize::from(queue_pairs) {
        return Err(DeviceError::PoolCount { port, queue_pairs, pools: pools.len() });
    }
    let mtu = config.mtu.unwrap_or_else(|| DEFAULT_MTU.min(max));
    if mtu < min || mtu > max {
        return Err(DeviceError::Mtu { port, asked: mtu, min, max });
    }
    let frame = u32::from(mtu) + u32::from(LINK_OVERHEAD);
    let room = pools.iter().map(|pool| pool.data_room_bytes()).min().unwrap_or(0);
    let too_long = frame > u32::from(room);
    if too_long && !can.scatter {
        return Err(DeviceError::RoomTooShort { port, frame, room });
    }
    Ok(sys::bp_port_request {
        queue_pairs,
        mtu,
        rx_checksum: config.checksum_offload && can.rx_checksum_ipv4 && can.rx_checksum_udp,
        tx_checksum: config.checksum_offload && can.tx_checksum_ipv4 && can.tx_checksum_udp,
        rss: queue_pairs > 1 && can.rss,
        scatter: too_long,
        multi_segments: matches!(zero_copy, ZeroCopy::From(_)),
    })
}

/// Decides whether frames of this device may refer to file bytes.
fn terms(info: &DeviceInfo, device: Option<DmaDevice>, config: &DeviceConfig) -> Terms {
    let reach = Reach {
        bus: &info.bus,
        driver: &info.driver,
        capabilities: info.capabilities,
        // SAFETY: EAL is up.
        iova_is_va: unsafe { sys::bp_iova_is_va() },
    };
    let dma = device.filter(|_| !reach.is_virtual());
    let zero_copy = match reach.decide(config.zero_copy_min_bytes) {
        ZeroCopy::From(_) if dma.is_none() && !reach.is_virtual() => {
            ZeroCopy::Never(WhyCopied::NotMapped(Errno::NoDevice))
        }
        decided => decided,
    };
    Terms { zero_copy, dma, refused: OnceLock::new() }
}

/// A registered callback that writes to an eventfd. Taken back when dropped.
#[derive(Debug)]
struct LinkHint {
    port: PortId,
    eventfd: Arc<OwnedFd>,
}

impl LinkHint {
    fn new(port: PortId, eventfd: Arc<OwnedFd>) -> Result<Self, DeviceError> {
        // SAFETY: the port exists; the eventfd stays open until the callback is taken back.
        let returned = unsafe { sys::bp_port_watch_link(port.0, eventfd.as_raw_fd()) };
        port.check("rte_eth_dev_callback_register", returned)?;
        Ok(Self { port, eventfd })
    }
}

impl Drop for LinkHint {
    fn drop(&mut self) {
        for _ in 0..UNWATCH_TRIES {
            // SAFETY: the port exists: its device holds it for longer than this.
            let returned = unsafe { sys::bp_port_unwatch_link(self.port.0, self.eventfd.as_raw_fd()) };
            if Errno::check(returned) != Err(Errno::TryAgain) {
                return;
            }
            std::thread::sleep(core::time::Duration::from_millis(1));
        }
        // Still being written to: it must never become the number of another file.
        core::mem::forget(Arc::clone(&self.eventfd));
    }
}

/// The right to use a port, of which there is one: its queues must not exist twice.
#[derive(Debug)]
struct Claim {
    port: PortId,
    guard: Arc<EalGuard>,
}

impl Claim {
    fn new(eal: &Eal, port: PortId) -> Result<Self, DeviceError> {
        if !eal.guard.claim(port) {
            return Err(DeviceError::InUse(port));
        }
        Ok(Self { port, guard: Arc::clone(&eal.guard) })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.guard.release(self.port);
    }
}

/// A port with queues, held by its [`Device`] and by each of its queues.
#[derive(Debug)]
pub(super) struct DeviceInner {
    claim: Claim,
    started: AtomicBool,
    /// The receive queues' pools: the device fills them until it is closed. Dropped after that.
    pools: Vec<Arc<Mempool>>,
    terms: Arc<Terms>,
}

impl DeviceInner {
    #[inline]
    pub(super) fn port(&self) -> PortId {
        self.claim.port
    }

    /// Whether its queues may be polled: `rte_eth_dev_start` exchanges the burst functions and their queues one by one, so a
    /// poll must not run into it. Read once per burst from a line that nobody writes any more.
    #[inline]
    pub(super) fn is_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    /// Frees what waits in the receive queues: a driver over rings leaves it there, and its pool would never be whole again.
    fn drain(&self) {
        for (queue, _) in (0..).zip(&self.pools) {
            for _ in 0..DRAIN_FRAMES / BURST {
                let mut burst = Burst::new();
                // SAFETY: the queue is set up, the port started, and the queue's owner is gone.
                if unsafe { receive_burst(self.port(), QueueId::new(queue), &mut burst) } == 0 {
                    break;
                }
            }
        }
    }
}

impl Drop for DeviceInner {
    fn drop(&mut self) {
        let port = self.port().0;
        if *self.started.get_mut() {
            self.drain();
            // SAFETY: the port is started, and nobody polls it: its queues are gone. A failure leaves nothing to do but close.
            unsafe { sys::rte_eth_dev_stop(port) };
        }
        // SAFETY: the port is stopped. Drivers that cannot close say so and stay as they are until EAL ends.
        unsafe { sys::rte_eth_dev_close(port) };
    }
}
