//! Why a run never began to serve, each with what mends it.

use std::io;

use dataplane::dpdk::{DeviceError, EalError, LaunchError, PoolError, RssError};
use dataplane::engine::TooManyAddresses;
use dataplane::files::LoadError;
use dataplane::rules::RuleError;
use dataplane::session::{NoSteering, ReplyPortsError};

use crate::metrics::EndpointError;
use crate::socket::SocketError;

/// Why a run ended before its workers polled. The message is complete and says how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum ApplianceError {
    /// The files.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// DPDK itself.
    #[error(transparent)]
    Eal(#[from] EalError),
    /// Ports and workers.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The control socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The endpoint for metrics.
    #[error(transparent)]
    Metrics(#[from] EndpointError),
    /// The system.
    #[error("{what}: {source}")]
    System {
        /// What could not be done.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// Why ports and workers cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A port.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Frame buffers.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A worker's lcore.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// Addresses of a port.
    #[error(transparent)]
    Addresses(#[from] TooManyAddresses),
    /// The ports that transfers are served from.
    #[error("network.reply_ports: {0}")]
    ReplyPorts(ReplyPortsError),
    /// Client and remap rules.
    #[error("the rules of the configuration cannot be used: {0}")]
    Rules(RuleError),
    /// The kernel interface.
    #[error(
        "cannot make the kernel interface {name}: {source}. It needs /dev/net/tun (modprobe tun) and CAP_NET_ADMIN"
    )]
    KernelInterface {
        /// Its name.
        name: String,
        /// Why not.
        source: EalError,
    },
    /// More ports than one, some of them from raw EAL arguments.
    #[error("a kernel interface stands for one port, but EAL found {ports}: run one bypassd per port, or leave it out")]
    KernelInterfaceOfManyPorts {
        /// How many there are.
        ports: usize,
    },
    /// EAL came up without a port.
    #[error(
        "EAL found no port. For a PCI NIC: bind it with `dpdk-devbind.py -b vfio-pci BDF` and name it with -a BDF. \
         For a virtual device: see EAL's lines above"
    )]
    NoPorts,
    /// A virtual device is missing.
    #[error(
        "the device {name} did not come up: see EAL's lines above, and check its arguments and that its interface exists"
    )]
    MissingDevice {
        /// As given with `--vdev`.
        name: String,
    },
    /// An address names a port that is not there.
    #[error("port {port} has an address but does not exist: the ports are 0 to {last}")]
    NoSuchPort {
        /// The port.
        port: u16,
        /// The last one there is.
        last: usize,
    },
    /// EAL has a main lcore only.
    #[error("no lcore is left for a worker: -l needs two, such as -l 0-1 (the first is control's)")]
    NoWorkers,
    /// More workers than TIDs can tell apart.
    #[error("{0} workers are more than 64: use fewer lcores")]
    ManyWorkers(usize),
    /// The operating system gave no random numbers.
    #[error("no random numbers from the operating system: {0}")]
    Random(rustix::io::Errno),
}

/// Why requests are handed over to their worker, instead of reaching its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsteered {
    /// Workers without a queue would have nothing to do.
    #[error("{workers} workers share {queues} queue(s)")]
    FewQueues {
        /// How many there are.
        queues: usize,
        /// How many there are.
        workers: usize,
    },
    /// The device tells nothing.
    #[error(transparent)]
    Device(#[from] RssError),
    /// What it tells is of no use.
    #[error(transparent)]
    Spread(#[from] NoSteering),
}
