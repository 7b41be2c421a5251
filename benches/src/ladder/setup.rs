//! EAL, pools and port pairs. One `net_ring` port with two queue pairs whose transmit queues are exchanged is a pair of ports
//! whose rings cross: what one side sends the other receives.

use dataplane::dpdk::{
    Device, DeviceConfig, DeviceError, Eal, EalError, LINK_OVERHEAD, LcoreId, Mempool, PoolError, QueuePair, SocketId,
    Tsc,
};
use rustix::thread::CpuSet;
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
    #[error("{0} lacks a queue pair")]
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
    cpu: u32,
    /// The CPU of the second lcore, where there is one.
    second_cpu: Option<u32>,
}

/// Both sides of a link. The device stays open as long as its queues do.
pub(crate) struct Link {
    pub(crate) server: QueuePair,
    pub(crate) generator: QueuePair,
}

impl Machine {
    /// Starts EAL on one CPU, without hugepages: nothing but pointers and the first lines of frames is touched on `net_ring`.
    /// With `second_cpu` there is one more lcore, which sleeps until it is given work.
    pub(crate) fn start(cpu: u32, second_cpu: Option<u32>) -> Result<Self, SetupError> {
        Self::start_with(cpu, second_cpu, &["--no-huge", "--no-shconf"])
    }

    /// Starts EAL on one CPU with memory that another process can map: hugepages, few and large segments.
    pub(crate) fn start_on_hugepages(cpu: u32) -> Result<Self, SetupError> {
        Self::start_with(cpu, None, &["--in-memory", "--single-file-segments"])
    }

    fn start_with(cpu: u32, second_cpu: Option<u32>, memory: &[&str]) -> Result<Self, SetupError> {
        let mut args: Vec<String> = memory.iter().map(|&arg| arg.to_owned()).collect();
        let second = second_cpu.map(|cpu| format!(",1@{cpu}")).unwrap_or_default();
        let lcores = format!("0@{cpu}{second}");
        args.extend(["-m".to_owned(), MEMORY_MIB.to_string(), "--lcores".to_owned(), lcores]);
        args.extend(["--no-pci", "--no-telemetry"].map(str::to_owned));
        args.extend(["eal:error", "vhost.*:error"].map(|quiet| format!("--log-level=lib.{quiet}")));
        args.push("--log-level=pmd.net.virtio.*:error".to_owned());
        let eal = Eal::init(&args)?;
        let pool = |name, mtu: u16| {
            let room = (mtu + LINK_OVERHEAD).max(DATA_ROOM_MIN);
            Mempool::new(&eal, name, FRAMES, room, POOL_CACHE, SocketId::ANY)
        };
        let (ordinary, jumbo) = (pool("ordinary", MTU)?, pool("jumbo", MTU_JUMBO)?);
        Ok(Self { tsc: Tsc::new(&eal), eal, ordinary, jumbo, ports: 0, cpu, second_cpu })
    }

    /// Launches and joins.
    pub(crate) const fn eal(&self) -> &Eal {
        &self.eal
    }

    /// The CPUs of the main and the second lcore, and the latter.
    pub(crate) fn second_worker(&self) -> Option<([u32; 2], LcoreId)> {
        let lcore = self.eal.worker_lcores().first().copied()?;
        Some(([self.cpu, self.second_cpu?], lcore))
    }

    /// One more pool for ordinary frames.
    pub(crate) fn pool(&self, name: &str) -> Result<Arc<Mempool>, SetupError> {
        Ok(Mempool::new(&self.eal, name, FRAMES, DATA_ROOM_MIN, POOL_CACHE, SocketId::ANY)?)
    }

    /// A new link for frames with blocks of this size.
    pub(crate) fn link(&mut self, blksize: u16) -> Result<Link, SetupError> {
        let pool = self.pool_for(blksize);
        self.link_from(blksize, &pool)
    }

    /// A new link whose frames are from this pool.
    pub(crate) fn link_from(&mut self, blksize: u16, pool: &Arc<Mempool>) -> Result<Link, SetupError> {
        // Short: the rings of a port are named after it, in 29 bytes.
        let mut pairs = self.open("net_ring_l", "", blksize, 2, pool)?;
        let (Some(mut generator), Some(mut server)) = (pairs.pop(), pairs.pop()) else {
            return Err(SetupError::QueuesMissing("net_ring".to_owned()));
        };
        server.cross(&mut generator);
        Ok(Link { server, generator })
    }

    /// A new port of a virtual driver, with one queue pair.
    pub(crate) fn attach(&mut self, driver: &str, arguments: &str, blksize: u16) -> Result<QueuePair, SetupError> {
        let pool = self.pool_for(blksize);
        let mut pairs = self.open(driver, arguments, blksize, 1, &pool)?;
        pairs.pop().ok_or_else(|| SetupError::QueuesMissing(driver.to_owned()))
    }

    fn pool_for(&self, blksize: u16) -> Arc<Mempool> {
        Arc::clone(if mtu(blksize) == MTU { &self.ordinary } else { &self.jumbo })
    }

    /// Adds a device, configures it as `bypassd` does, and starts it.
    fn open(
        &mut self,
        prefix: &str,
        arguments: &str,
        blksize: u16,
        queue_pairs: u16,
        pool: &Arc<Mempool>,
    ) -> Result<Vec<QueuePair>, SetupError> {
        let name = format!("{prefix}{}", self.ports);
        self.ports += 1;
        self.eal.hotplug_vdev(&name, arguments)?;
        let port = Device::find(&self.eal, &name)?;
        let mtu = mtu(blksize);
        let config = DeviceConfig {
            queue_pairs,
            rx_descriptors: DESCRIPTORS,
            tx_descriptors: DESCRIPTORS,
            mtu: (mtu != MTU).then_some(mtu),
            checksum_offload: true,
            all_multicast: false,
            zero_copy_min_bytes: control::defaults::ZERO_COPY_MIN_BYTES,
        };
        let pools = vec![Arc::clone(pool); queue_pairs.into()];
        let (mut device, pairs) = Device::configure(&self.eal, port, &config, &pools)?;
        device.start()?;
        Ok(pairs)
    }
}

/// The MTU that a block size asks for.
pub(crate) const fn mtu(blksize: u16) -> u16 {
    if blksize + PACKET_HEADERS <= MTU { MTU } else { MTU_JUMBO }
}

/// Another CPU that this thread may run on: the next one behind `cpu`, or else the first. Ask before EAL pins the thread.
pub(crate) fn second_cpu(cpu: u32) -> Option<u32> {
    let allowed = rustix::thread::sched_getaffinity(None).ok()?;
    let allowed: Vec<u32> =
        (0_u32..).zip(0..CpuSet::MAX_CPU).filter_map(|(cpu, index)| allowed.is_set(index).then_some(cpu)).collect();
    next_behind(&allowed, cpu)
}

fn next_behind(allowed: &[u32], cpu: u32) -> Option<u32> {
    let others = || allowed.iter().copied().filter(|&other| other != cpu);
    others().find(|&other| other > cpu).or_else(|| others().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_cpu_is_another_one() {
        assert_eq!(next_behind(&[0, 1, 2, 3], 0), Some(1));
        assert_eq!(next_behind(&[0, 1, 2, 3], 3), Some(0));
        assert_eq!(next_behind(&[2, 5], 2), Some(5));
        assert_eq!(next_behind(&[0], 0), None);
        assert_eq!(next_behind(&[], 0), None);
    }
}
