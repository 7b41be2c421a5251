//! Bodies of the words for looking closely: ports, cores, pools, captures, traces.

use serde::{Deserialize, Serialize};

use super::Link;

/// `show port info`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortInfos {
    /// Those asked for.
    pub ports: Vec<PortInfo>,
}

/// What a port is and was given (`rte_eth_dev_info_get` and the like).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortInfo {
    /// DPDK's number.
    pub port: u16,
    /// Device name.
    pub name: String,
    /// Driver name.
    pub driver: String,
    /// Bus name; empty for none.
    pub bus: String,
    /// Link address.
    pub mac: String,
    /// NUMA node; -1: any.
    pub socket: i32,
    /// Link.
    pub link: Link,
    /// Whether both ends may send at once.
    pub full_duplex: bool,
    /// In bytes.
    pub mtu: u16,
    /// Smallest and largest that the device takes.
    pub mtu_range: [u16; 2],
    /// Whether it takes frames for any address.
    pub promiscuous: bool,
    /// Whether it takes all multicast frames.
    pub all_multicast: bool,
    /// Queue pairs in use.
    pub queue_pairs: u16,
    /// Most receive and transmit queues.
    pub max_queues: [u16; 2],
    /// Descriptors per receive queue.
    pub rx_descriptors: u16,
    /// Descriptors per transmit queue.
    pub tx_descriptors: u16,
    /// What the device does for us.
    pub offloads: Vec<String>,
    /// How file bytes get into frames.
    pub payload: String,
}

/// `show port xstats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortXstatsList {
    /// Those asked for.
    pub ports: Vec<PortXstats>,
}

/// A driver's own counters (`rte_eth_xstats_get`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortXstats {
    /// DPDK's number.
    pub port: u16,
    /// Device name.
    pub name: String,
    /// In the driver's order.
    pub xstats: Vec<Count>,
    /// Why there are none, if the driver could not tell.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// A name and a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// What is counted.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// Done, with nothing to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What was done.
    pub message: String,
}

/// `show version`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// bypassd's.
    pub bypassd: String,
    /// DPDK that it was built with.
    pub dpdk_built: String,
    /// DPDK that it runs on.
    pub dpdk_running: String,
    /// Process number.
    pub pid: u32,
}

/// `show config cores`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cores {
    /// The lcores in use, control's first.
    pub cores: Vec<Core>,
}

/// One lcore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Core {
    /// EAL's number.
    pub lcore: u16,
    /// Its worker; none for control.
    pub worker: Option<u16>,
    /// CPUs that its thread may run on, as the kernel writes them: `0,2-3`.
    pub cpus: String,
    /// NUMA node; -1: any.
    pub socket: i32,
    /// Ports that it polls.
    pub ports: Vec<u16>,
}

/// `show mempool`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mempools {
    /// One per worker.
    pub pools: Vec<Mempool>,
}

/// Frame buffers of one worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mempool {
    /// Whose.
    pub worker: u16,
    /// Buffers in all.
    pub frames: u32,
    /// In the pool, its caches included.
    pub available: u32,
    /// In rings and in hands.
    pub in_use: u32,
    /// Bytes that a frame may have.
    pub data_room_bytes: u16,
}

/// `capture start`, `capture stop`, `show capture`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureState {
    /// Its file.
    pub file: String,
    /// Whether it goes on.
    pub running: bool,
    /// Packets in the file, or on their way there.
    pub packets: u64,
    /// Packets that found no room on their way.
    pub lost: u64,
    /// Length of the file, with what is on its way.
    pub bytes: u64,
    /// Why it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended: Option<String>,
}

/// `trace CLIENT`, `trace read`, `trace stop`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracePage {
    /// Whose packets.
    pub client: String,
    /// Whether more may come.
    pub running: bool,
    /// Since the last answer.
    pub lines: Vec<TraceLine>,
    /// Packets without a line, since the start: no room on their way.
    pub lost: u64,
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceLine {
    /// Microseconds since 1970.
    pub unix_us: u64,
    /// From the client to us, or from us to the client.
    pub received: bool,
    /// `address:port`.
    pub client: String,
    /// Our port.
    pub server_port: u16,
    /// What it says.
    pub packet: String,
    /// Whether it said so before.
    pub again: bool,
}
