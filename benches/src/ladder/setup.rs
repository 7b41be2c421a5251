//! EAL, pools and port pairs. One `net_ring` port with two queue pairs whose transmit queues are exchanged is a pair of ports
//! whose rings cross: what one side sends the other receives.

use dataplane::dpdk::{
    Device, DeviceConfig, DeviceError, Eal, EalError, LINK_OVERHEAD, Mempool, PoolError, QueuePair, SocketId, Tsc,
};
use std::sync::Arc;
use thiserror::Error;

/// Buffers of a pool, as `bypassd` has them for each worker.
const FRAMES: u32 = 8_191;

/// Buffers that the lcore's cache of the pool holds, as in `bypassd`.
const POOL_CACHE: u32 = 256;

/// Smallest data room, in bytes, as in `bypassd`.
const DATA_ROOM_MIN: u16 = 2_048;

/// Descriptors of each queue, as in `bypassd`.
const DESCRIPTORS: u16 = 1_024;

/// Largest IP packet on an ordinary port, in bytes.
const MTU: u16 = 1_500;

/// The same on a jumbo port.
const MTU_JUMBO: u16 = 9_000;

/// IPv4, UDP and TFTP headers.
const PACKET_HEADERS: u16 = 20 + 8 + 4;

/// Memory that EAL takes where there are no hugepages, in MiB.
const MEMORY_MIB: u32 = 256;

/// Why there are no ports.
#[derive(Debug, Error)]
pub(crate) enum SetupError {
    /// EAL did not start, or did not add a device.
    #[error(transparent)]
    Eal(#[from] EalError),
    /// No buffers.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A port was refused.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The port came up with fewer queues than asked for.
    #[error("{0} has no two queue pairs")]
    QueuesMissing(String),
}

/// EAL with what all cases share.
pub(crate) struct Machine {
    eal: Eal,
    pub(crate) tsc: Tsc,
    ordinary: Arc<Mempool>,
    jumbo: Arc<Mempool>,
    /// Ports made so far: each gets a name of its own.
    ports: u32,
}

/// Both sides of a link. The device stays open as long as its queues do.
pub(crate) struct Link {
    pub(crate) server: QueuePair,
    pub(crate) generator: QueuePair,
}

impl Machine {
    /// Starts EAL on one CPU, without hugepages: nothing but pointers and the first lines of frames is touched on `net_ring`.
    pub(crate) fn start(cpu: u32) -> Result<Self, SetupError> {
        let args = [
            "--no-huge".to_owned(),
            "-m".to_owned(),
            MEMORY_MIB.to_string(),
            "--no-shconf".to_owned(),
            "--no-pci".to_owned(),
            "--no-telemetry".to_owned(),
            "--log-level=lib.eal:warning".to_owned(),
            "--lcores".to_owned(),
            format!("0@{cpu}"),
        ];
        let eal = Eal::init(&args)?;
        let pool = |name, mtu: u16| {
            let room = (mtu + LINK_OVERHEAD).max(DATA_ROOM_MIN);
            Mempool::new(&eal, name, FRAMES, room, POOL_CACHE, SocketId::ANY)
        };
        let (ordinary, jumbo) = (pool("ordinary", MTU)?, pool("jumbo", MTU_JUMBO)?);
        Ok(Self { tsc: Tsc::new(&eal), eal, ordinary, jumbo, ports: 0 })
    }

    /// A new link for frames with blocks of this size.
    pub(crate) fn link(&mut self, blksize: u16) -> Result<Link, SetupError> {
        // Short: the rings of a port are named after it, in 29 bytes.
        let name = format!("net_ring_l{}", self.ports);
        self.ports += 1;
        self.eal.hotplug_vdev(&name, "")?;
        let port = Device::find(&self.eal, &name)?;
        let mtu = mtu(blksize);
        let pool = if mtu == MTU { &self.ordinary } else { &self.jumbo };
        let config = DeviceConfig {
            queue_pairs: 2,
            rx_descriptors: DESCRIPTORS,
            tx_descriptors: DESCRIPTORS,
            mtu: (mtu != MTU).then_some(mtu),
            checksum_offload: true,
            all_multicast: false,
        };
        let (mut device, mut pairs) =
            Device::configure(&self.eal, port, &config, &[Arc::clone(pool), Arc::clone(pool)])?;
        device.start()?;
        let (Some(mut generator), Some(mut server)) = (pairs.pop(), pairs.pop()) else {
            return Err(SetupError::QueuesMissing(name));
        };
        server.cross(&mut generator);
        Ok(Link { server, generator })
    }
}

/// The MTU that a block size asks for.
pub(crate) const fn mtu(blksize: u16) -> u16 {
    if blksize + PACKET_HEADERS <= MTU { MTU } else { MTU_JUMBO }
}
