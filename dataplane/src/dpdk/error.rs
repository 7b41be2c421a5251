//! What can go wrong in DPDK, by name, with the command that mends it where one is known. C error numbers are read here only.

use core::ffi::{CStr, c_int};
use core::fmt;

use dpdk_sys as sys;
use thiserror::Error;

use super::device::PortId;
use super::lcore::LcoreId;

/// A C error number as DPDK reports it: `errno(3)` and the two of its own (`rte_errno.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// `EPERM`.
    NotPermitted,
    /// `ENOENT`.
    NotFound,
    /// `EIO`; from a port: it was unplugged.
    Io,
    /// `EAGAIN`.
    TryAgain,
    /// `ENOMEM`.
    OutOfMemory,
    /// `EACCES`.
    AccessDenied,
    /// `EFAULT`; from EAL: a device name that no driver knows.
    BadAddress,
    /// `EBUSY`.
    Busy,
    /// `EEXIST`.
    AlreadyExists,
    /// `ENODEV`.
    NoDevice,
    /// `EINVAL`.
    InvalidArgument,
    /// `ENOSPC`.
    NoSpace,
    /// `ERANGE`.
    OutOfRange,
    /// `ENAMETOOLONG`.
    NameTooLong,
    /// `ENOTSUP`.
    NotSupported,
    /// `EALREADY`.
    AlreadyDone,
    /// `E_RTE_SECONDARY`: only a primary process may do this.
    SecondaryProcess,
    /// `E_RTE_NO_CONFIG`: EAL has no configuration.
    NoConfig,
    /// Any other number.
    Unknown(i32),
}

/// The one table between numbers and names.
const NUMBERS: [(c_int, Errno); 18] = [
    (libc::EPERM, Errno::NotPermitted),
    (libc::ENOENT, Errno::NotFound),
    (libc::EIO, Errno::Io),
    (libc::EAGAIN, Errno::TryAgain),
    (libc::ENOMEM, Errno::OutOfMemory),
    (libc::EACCES, Errno::AccessDenied),
    (libc::EFAULT, Errno::BadAddress),
    (libc::EBUSY, Errno::Busy),
    (libc::EEXIST, Errno::AlreadyExists),
    (libc::ENODEV, Errno::NoDevice),
    (libc::EINVAL, Errno::InvalidArgument),
    (libc::ENOSPC, Errno::NoSpace),
    (libc::ERANGE, Errno::OutOfRange),
    (libc::ENAMETOOLONG, Errno::NameTooLong),
    (libc::ENOTSUP, Errno::NotSupported),
    (libc::EALREADY, Errno::AlreadyDone),
    (1001, Errno::SecondaryProcess),
    (1002, Errno::NoConfig),
];

impl Errno {
    /// The name of a positive error number.
    #[must_use]
    pub fn from_raw(number: i32) -> Self {
        NUMBERS.iter().find(|(raw, _)| *raw == number).map_or(Self::Unknown(number), |(_, name)| *name)
    }

    /// The positive error number.
    #[must_use]
    pub fn raw(self) -> i32 {
        match self {
            Self::Unknown(number) => number,
            named => NUMBERS.iter().find(|(_, name)| *name == named).map_or(0, |(raw, _)| *raw),
        }
    }

    /// This thread's `rte_errno`.
    pub(super) fn last() -> Self {
        // SAFETY: reads a thread-local integer.
        Self::from_raw(unsafe { sys::bp_errno() })
    }

    /// A C return value: negative is an error number.
    pub(super) fn check(returned: c_int) -> Result<(), Self> {
        if returned < 0 { Err(Self::from_raw(returned.saturating_neg())) } else { Ok(()) }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: answers any number, with or without EAL.
        let text = unsafe { sys::rte_strerror(self.raw()) };
        // SAFETY: a NUL-terminated text, static or in a buffer of this thread that the next call on it overwrites.
        let text = unsafe { CStr::from_ptr(text) };
        write!(f, "{} ({self:?})", text.to_string_lossy())
    }
}

impl core::error::Error for Errno {}

/// Why EAL did not start, or did not take a device.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EalError {
    /// EAL starts once in a process: a second start, also after a failed or an ended one.
    #[error("EAL was already started in this process; it starts only once")]
    AlreadyStarted,
    /// An argument holds a NUL byte.
    #[error("EAL argument {0:?} holds a NUL byte")]
    NulInArgument(String),
    /// More arguments than C can count.
    #[error("too many EAL arguments")]
    TooManyArguments,
    /// EAL found no, or not enough, free hugepages.
    #[error(
        "EAL found too few free hugepages: {errno}; arguments {arguments:?}; reserve them with `sysctl vm.nr_hugepages=512` \
         (2 MiB each), or do without: `--no-huge -m 512`"
    )]
    Hugepages {
        /// `rte_errno`.
        errno: Errno,
        /// As given, without the program name.
        arguments: Vec<String>,
    },
    /// A device given in the arguments has no driver, or its driver failed.
    #[error(
        "EAL could not bring up a device: {errno}; arguments {arguments:?}; missing drivers: `apt install librte-meta-net`; \
         EAL's own words are on standard error"
    )]
    Probe {
        /// `rte_errno`.
        errno: Errno,
        /// As given, without the program name.
        arguments: Vec<String>,
    },
    /// Any other failure of `rte_eal_init`.
    #[error("EAL did not start: {errno}; arguments {arguments:?}; EAL's own words are on standard error")]
    Init {
        /// `rte_errno`.
        errno: Errno,
        /// As given, without the program name.
        arguments: Vec<String>,
    },
    /// The virtual device's driver is not there (or its name is misspelt).
    #[error("no driver for virtual device {name:?}: {errno}; drivers are plugins: `apt install librte-meta-net`")]
    NoDriver {
        /// Of the virtual device.
        name: String,
        /// `rte_eal_hotplug_add`'s answer.
        errno: Errno,
    },
    /// The virtual device's driver refused.
    #[error("virtual device {name:?} was not added: {errno}; its arguments were {arguments:?}")]
    Hotplug {
        /// Of the virtual device.
        name: String,
        /// Of the virtual device.
        arguments: String,
        /// `rte_eal_hotplug_add`'s answer.
        errno: Errno,
    },
}

/// Why a closure was not launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LaunchError {
    /// Not among [`Eal::worker_lcores`](super::Eal::worker_lcores).
    #[error("{0} is not a worker lcore; lcores are chosen with the EAL argument `-l` or `--lcores`")]
    NotAWorker(LcoreId),
    /// An earlier closure still runs there.
    #[error("{0} is still running an earlier closure")]
    Busy(LcoreId),
    /// Any other failure of `rte_eal_remote_launch`.
    #[error("{lcore} was not launched: {errno}")]
    Failed {
        /// Where.
        lcore: LcoreId,
        /// `rte_eal_remote_launch`'s answer.
        errno: Errno,
    },
}

/// Why a pool was not made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PoolError {
    /// The name holds a NUL byte or is too long.
    #[error("{0:?} is no pool name: at most 25 bytes, no NUL")]
    BadName(String),
    /// A pool of that name exists.
    #[error("a pool named {0:?} exists")]
    NameInUse(String),
    /// Data room and headroom together exceed an mbuf's 65535 bytes.
    #[error("a data room of {0} bytes is more than an mbuf can hold behind its headroom")]
    RoomTooLarge(u16),
    /// EAL's memory does not suffice.
    #[error(
        "no memory for pool {name:?} of {frames} frames; reserve more hugepages (`sysctl vm.nr_hugepages=...`), or give more \
         with `-m MEGABYTES` when running with `--no-huge`"
    )]
    OutOfMemory {
        /// Of the pool.
        name: String,
        /// Asked for.
        frames: u32,
    },
    /// Any other failure of `rte_pktmbuf_pool_create`, such as a cache of more than 512 or two thirds of the frames.
    #[error("pool {name:?} was not made: {errno}")]
    Create {
        /// Of the pool.
        name: String,
        /// `rte_errno`.
        errno: Errno,
    },
}

/// Why a port does not do as it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DeviceError {
    /// No such port.
    #[error(
        "there is no {0}; a NIC must be bound (`dpdk-devbind.py -b vfio-pci ADDRESS`), a virtual device given with `--vdev`"
    )]
    NoSuchPort(PortId),
    /// No port has that name.
    #[error("no port is named {0:?}")]
    NoSuchName(String),
    /// The port is already configured; its queues exist once.
    #[error("{0} is already in use")]
    InUse(PortId),
    /// Zero queue pairs, or more than the device has.
    #[error("{port} cannot have {asked} queue pairs: it has 1 to {max}")]
    QueuePairs {
        /// Which port.
        port: PortId,
        /// Asked for.
        asked: u16,
        /// What the device has of receive or transmit queues, the lesser.
        max: u16,
    },
    /// Not one pool for each queue pair.
    #[error("{port} needs {queue_pairs} pools, one for each queue pair, and got {pools}")]
    PoolCount {
        /// Which port.
        port: PortId,
        /// Asked for.
        queue_pairs: u16,
        /// Given.
        pools: usize,
    },
    /// The device does not take that MTU.
    #[error("{port} cannot have an MTU of {asked} bytes: it takes {min} to {max}")]
    Mtu {
        /// Which port.
        port: PortId,
        /// Asked for.
        asked: u16,
        /// Least.
        min: u16,
        /// Most.
        max: u16,
    },
    /// A frame of the MTU does not fit into one mbuf, and the device cannot chain.
    #[error(
        "{port}: a frame of {frame} bytes does not fit into the pool's {room} bytes, and the device cannot chain mbufs"
    )]
    RoomTooShort {
        /// Which port.
        port: PortId,
        /// Longest frame at that MTU, in bytes.
        frame: u32,
        /// The pool's data room, in bytes.
        room: u16,
    },
    /// A DPDK call failed.
    #[error("{port}: {call} failed: {errno}")]
    Call {
        /// Which port.
        port: PortId,
        /// The step, by its DPDK name.
        call: &'static str,
        /// Its answer.
        errno: Errno,
    },
}

/// Why it is not known how a port spreads frames over its queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RssError {
    /// One queue, or a device that cannot hash.
    #[error("RSS is off")]
    Off,
    /// A DPDK call failed; most often the driver does not have it.
    #[error("{call} failed: {errno}")]
    Call {
        /// The step, by its DPDK name.
        call: &'static str,
        /// Its answer.
        errno: Errno,
    },
    /// It hashes something else than whole addresses and ports, or by another function than Toeplitz.
    #[error("it hashes in another way than by addresses and ports")]
    OtherHash,
    /// There is no redirection table.
    #[error("it has no redirection table")]
    NoTable,
    /// The redirection table names a queue that the port was not given.
    #[error("its redirection table names queue {queue} of {queues}")]
    NoSuchQueue {
        /// Named by an entry.
        queue: u16,
        /// How many there are.
        queues: u16,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_agree_both_ways() {
        for (raw, name) in NUMBERS {
            assert_eq!(Errno::from_raw(raw), name);
            assert_eq!(name.raw(), raw);
        }
        assert_eq!(Errno::from_raw(7_777), Errno::Unknown(7_777));
        assert_eq!(Errno::Unknown(7_777).raw(), 7_777);
    }

    #[test]
    fn the_text_is_rte_strerrors() {
        assert_eq!(Errno::OutOfMemory.to_string(), "Cannot allocate memory (OutOfMemory)");
        assert_eq!(Errno::NoConfig.to_string(), "Missing rte_config structure (NoConfig)");
    }

    #[test]
    fn only_a_negative_return_value_is_an_error() {
        assert_eq!(Errno::check(0), Ok(()));
        assert_eq!(Errno::check(3), Ok(()));
        assert_eq!(Errno::check(-libc::EBUSY), Err(Errno::Busy));
    }
}
