//! A driver's own counters, and the zeroing of counters.

use core::ffi::{CStr, c_int};

use dpdk_sys as sys;

use super::device::Device;
use super::error::{DeviceError, Errno};

/// Most counters that are read of one port; drivers have some hundreds.
const MOST: usize = 4_096;

/// One of a driver's own counters (`rte_eth_xstats_get`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xstat {
    /// As the driver calls it: `rx_q0_packets`.
    pub name: String,
    /// What it counted.
    pub value: u64,
}

impl Device {
    /// All counters of the driver, in its order.
    ///
    /// # Errors
    /// [`DeviceError::Call`]; of a driver that has too many counters, too.
    pub fn xstats(&self) -> Result<Vec<Xstat>, DeviceError> {
        let call = "rte_eth_xstats_get";
        let mut found: Vec<sys::bp_xstat> = Vec::new();
        loop {
            let room = c_int::try_from(found.capacity()).unwrap_or(c_int::MAX);
            // SAFETY: the port exists; there is room for so many counters, of which the shim writes all or none.
            let count = unsafe { sys::bp_port_xstats(self.port().index(), found.as_mut_ptr(), room) };
            self.port().check(call, count)?;
            let count = usize::try_from(count).unwrap_or(0);
            if count <= found.capacity() {
                // SAFETY: the shim wrote so many.
                unsafe { found.set_len(count) };
                return Ok(found.iter().map(named).collect());
            }
            if count > MOST {
                return Err(DeviceError::Call { port: self.port(), call, errno: Errno::from_raw(libc::E2BIG) });
            }
            found.reserve_exact(count);
        }
    }

    /// Zeroes what [`stats`](Self::stats) tells, where the driver can.
    ///
    /// # Errors
    /// [`DeviceError::Call`].
    pub fn reset_stats(&self) -> Result<(), DeviceError> {
        // SAFETY: the port exists.
        let returned = unsafe { sys::rte_eth_stats_reset(self.port().index()) };
        self.port().check("rte_eth_stats_reset", returned)
    }

    /// Zeroes what [`xstats`](Self::xstats) tells, where the driver can.
    ///
    /// # Errors
    /// [`DeviceError::Call`].
    pub fn reset_xstats(&self) -> Result<(), DeviceError> {
        // SAFETY: the port exists.
        let returned = unsafe { sys::rte_eth_xstats_reset(self.port().index()) };
        self.port().check("rte_eth_xstats_reset", returned)
    }

    /// Whether it takes frames for any address.
    #[must_use]
    pub fn is_promiscuous(&self) -> bool {
        // SAFETY: the port exists.
        unsafe { sys::rte_eth_promiscuous_get(self.port().index()) == 1 }
    }

    /// Whether it takes all multicast frames.
    #[must_use]
    pub fn takes_all_multicast(&self) -> bool {
        // SAFETY: the port exists.
        unsafe { sys::rte_eth_allmulticast_get(self.port().index()) == 1 }
    }
}

fn named(xstat: &sys::bp_xstat) -> Xstat {
    // SAFETY: the shim ends each name with a NUL within its bytes.
    let name = unsafe { CStr::from_ptr(xstat.name.as_ptr()) };
    Xstat { name: name.to_string_lossy().into_owned(), value: xstat.value }
}
