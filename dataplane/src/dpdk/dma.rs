//! Memory that is not DPDK's, made reachable for devices: registered once, mapped into the IOMMU of each device that will read it.
//! Slow (it pins all pages), so it is done where a catalogue is installed, never per frame.

use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dpdk_sys as sys;

use super::error::Errno;
use crate::files::{Arena, PageKind};

/// Bytes of an ordinary page.
const PAGE: usize = 4096;

/// Bytes of a hugepage.
const HUGE_PAGE: usize = 2 << 20;

/// A device behind a port (`struct rte_device`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DmaDevice(NonNull<c_void>);

// SAFETY: only an address to us; DPDK locks what it does with it, and `REGISTERED` is locked around each call.
unsafe impl Send for DmaDevice {}
// SAFETY: as above.
unsafe impl Sync for DmaDevice {}

impl DmaDevice {
    /// # Safety
    /// The device stays until EAL ends.
    pub(super) unsafe fn new(device: NonNull<c_void>) -> Self {
        Self(device)
    }
}

/// One arena that DPDK knows.
struct Registered {
    start: usize,
    len: usize,
    users: u32,
    devices: Vec<DmaDevice>,
}

/// What is registered in this process, since EAL is up once in it. The lock also keeps apart those who change an arena's protection.
static REGISTERED: Mutex<Vec<Registered>> = Mutex::new(Vec::new());

fn registered() -> MutexGuard<'static, Vec<Registered>> {
    // The list stays whole when a holder panics: it changes in one step.
    REGISTERED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The right to let a device read an arena. The last one of an arena ends its mappings in all devices: ports share an IOMMU's.
///
/// Must be dropped before the arena, while EAL is up.
#[derive(Debug)]
pub(super) struct DmaMapping {
    start: usize,
}

impl DmaMapping {
    /// Registers an arena (`rte_extmem_register`) and maps it for a device (`rte_dev_dma_map`), where that is not done yet.
    ///
    /// # Errors
    /// What DPDK said: a bus without DMA mapping, an IOMMU that is full, a limit of locked memory.
    #[cold]
    pub(super) fn new(arena: &Arena, device: DmaDevice) -> Result<Self, Errno> {
        let (start, len) = (arena.mapping().as_ptr().addr(), arena.mapping().len());
        let mut list = registered();
        let known = list.iter().position(|each| each.start == start);
        let index = match known {
            Some(index) => index,
            None => {
                register(arena)?;
                list.push(Registered { start, len, users: 0, devices: Vec::new() });
                list.len() - 1
            }
        };
        let entry = &mut list[index];
        if !entry.devices.contains(&device) {
            if let Err(errno) = map(arena, device) {
                if entry.users == 0 {
                    unregister(&list.swap_remove(index));
                }
                return Err(errno);
            }
            entry.devices.push(device);
        }
        entry.users += 1;
        Ok(Self { start })
    }
}

impl Drop for DmaMapping {
    fn drop(&mut self) {
        let mut list = registered();
        let Some(index) = list.iter().position(|each| each.start == self.start) else { return };
        list[index].users -= 1;
        if list[index].users == 0 {
            unregister(&list.swap_remove(index));
        }
    }
}

fn address(arena: &Arena) -> *mut c_void {
    arena.mapping().as_ptr().cast_mut().cast()
}

fn register(arena: &Arena) -> Result<(), Errno> {
    let page = if arena.page_kind() == PageKind::Huge2M { HUGE_PAGE } else { PAGE };
    // SAFETY: EAL is up. The memory is whole pages, which DPDK only takes note of.
    let returned = unsafe { sys::rte_extmem_register(address(arena), arena.mapping().len(), null_mut(), 0, page) };
    if returned == 0 { Ok(()) } else { Err(Errno::last()) }
}

/// Drivers map for reading and writing, for which the kernel asks that we may write ourselves: the arena's seal is open meanwhile.
fn map(arena: &Arena, device: DmaDevice) -> Result<(), Errno> {
    protect(arena, libc::PROT_READ | libc::PROT_WRITE)?;
    // SAFETY: EAL is up and the device there. The memory is registered, and stays until it is unmapped (see `DmaMapping`). What
    // devices are told of it, in frames, is only to be read.
    let returned = unsafe { sys::bp_dma_map(device.0.as_ptr(), address(arena), arena.mapping().len()) };
    let mapped = if returned == 0 { Ok(()) } else { Err(Errno::last()) };
    protect(arena, libc::PROT_READ).and(mapped)
}

fn protect(arena: &Arena, protection: i32) -> Result<(), Errno> {
    // SAFETY: a private mapping that stays readable throughout; nothing in this process writes to it.
    let returned = unsafe { libc::mprotect(address(arena), arena.mapping().len(), protection) };
    let errno = || Errno::from_raw(std::io::Error::last_os_error().raw_os_error().unwrap_or_default());
    if returned == 0 { Ok(()) } else { Err(errno()) }
}

/// Failures leave pages pinned, and nothing that could be done about it.
fn unregister(entry: &Registered) {
    let start: *mut c_void = core::ptr::without_provenance_mut(entry.start);
    for device in &entry.devices {
        // SAFETY: EAL is up, the device there; nothing that it was told to send refers to the memory any more.
        unsafe { sys::bp_dma_unmap(device.0.as_ptr(), start, entry.len) };
    }
    // SAFETY: EAL is up; registered with this address and length.
    unsafe { sys::rte_extmem_unregister(start, entry.len) };
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;
    use crate::dpdk::{Device, Eal};
    use crate::files::ArenaBuilder;

    fn protection(arena: &Arena) -> String {
        let address = arena.mapping().as_ptr().addr();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let holds = |range: &str| {
            let (from, to) = range.split_once('-').unwrap();
            (usize::from_str_radix(from, 16).unwrap()..usize::from_str_radix(to, 16).unwrap()).contains(&address)
        };
        let line = maps.lines().find(|line| holds(line.split(' ').next().unwrap())).unwrap();
        line.split(' ').nth(1).unwrap().to_owned()
    }

    /// The only test of this binary that starts EAL. A virtual device takes any mapping and does nothing with it: what an IOMMU says
    /// is not seen here.
    #[test]
    fn arenas_are_registered_once_and_sealed_whatever_the_device_says() {
        let args = ["--no-huge", "-m", "64", "--no-shconf", "--no-pci", "--no-telemetry", "--lcores", "0@0"];
        let eal = Eal::init(&args.map(str::to_owned)).unwrap();
        eal.hotplug_vdev("net_ring_dma", "").unwrap();
        let (_, device) = Device::ask(Device::find(&eal, "net_ring_dma").unwrap()).unwrap();
        let device = device.unwrap();
        let mut builder = ArenaBuilder::new(3 << 20, false).unwrap();
        builder.all().fill(7);
        let arena = Arc::new(builder.seal().unwrap());

        let first = DmaMapping::new(&arena, device).unwrap();
        let second = DmaMapping::new(&arena, device).unwrap();
        assert_eq!(protection(&arena), "r--p", "sealed again");
        let known = || -> Vec<_> { registered().iter().map(|each| (each.users, each.devices.len())).collect() };
        assert_eq!(known(), [(2, 1)]);
        drop(first);
        assert_eq!(register(&arena), Err(Errno::AlreadyExists), "one user is left");
        drop(second);
        assert!(registered().is_empty());
        register(&arena).expect("it was unregistered with its last user");
        assert_eq!(DmaMapping::new(&arena, device).map(drop), Err(Errno::AlreadyExists), "known to DPDK, not to us");
        assert!(registered().is_empty());
    }
}
