//! Safe DPDK: EAL, lcores, pools, mbufs, ports and queues. Knows no protocol and never names a field of `rte_mbuf`.
//!
//! Life times, from the inside out: an [`Mbuf`] belongs to a pool, a [`QueuePair`] keeps its port and its pool alive, a port
//! keeps the pools of its queues alive, and all of them keep EAL up. An arena that was lent to a queue stays until no mbuf refers
//! to it. So values may be dropped in any order; memory that is
//! still in somebody's hands at the end is left to the end of the process instead of being freed under them.

#![allow(unsafe_code)]

mod clock;
mod device;
mod dma;
mod eal;
mod error;
mod lcore;
mod loan;
mod mbuf;
mod mempool;
mod queue;
mod rss;
mod telemetry;
mod xstats;

pub use clock::Tsc;
pub use device::{
    Capabilities, Device, DeviceConfig, DeviceInfo, Grants, LINK_OVERHEAD, LinkStatus, PortId, PortStats,
};
pub use eal::{BUILT_VERSION, Eal, SocketId, driver_directory, running_version};
pub use error::{DeviceError, EalError, Errno, LaunchError, PoolError, RssError};
pub use lcore::{LcoreHandle, LcoreId, WorkerPanic, panic_message};
pub use loan::{ArenaReach, ReachableArena, WhyCopied, ZeroCopy};
pub use mbuf::{Mbuf, Segments};
pub use mempool::Mempool;
pub use queue::{QueueId, QueuePair, RxQueue, TxQueue};
pub use rss::RssSpread;
pub use telemetry::{Dict, TelemetryCommand, TelemetryError, Value};
pub use xstats::Xstat;
