//! The environment abstraction layer as a value: started once, cleaned up when the last thing that needs it is gone.

use core::ffi::{CStr, c_char, c_int};
use core::fmt;
use core::marker::PhantomData;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};
use std::borrow::Cow;
use std::ffi::CString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dpdk_sys as sys;

use super::device::PortId;
use super::error::{EalError, Errno};
use super::lcore::LcoreId;
use super::loan::Loan;
use super::mempool::RawPool;

pub use dpdk_sys::BUILT_VERSION;

/// Whether this process has tried to start EAL, which it can do once.
static STARTED: AtomicBool = AtomicBool::new(false);

/// A NUMA node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(pub(super) c_int);

impl SocketId {
    /// Whichever has memory (`SOCKET_ID_ANY`).
    pub const ANY: Self = Self(-1);

    /// The node's number; -1 for whichever.
    #[must_use]
    pub const fn index(self) -> i32 {
        self.0
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ANY { f.write_str("any socket") } else { write!(f, "socket {}", self.0) }
    }
}

/// The folder from which EAL loads its drivers, each a shared object (`RTE_EAL_PMD_PATH`); empty when they are linked in.
#[must_use]
pub fn driver_directory() -> &'static str {
    sys::RTE_EAL_PMD_PATH.to_str().unwrap_or_default()
}

/// The DPDK that this process was loaded with, such as `22.11.11`. Compare with [`BUILT_VERSION`]. Needs no running EAL.
#[must_use]
pub fn running_version() -> String {
    let text = version_text();
    text.strip_prefix("DPDK ").unwrap_or(&text).to_owned()
}

fn version_text() -> Cow<'static, str> {
    // SAFETY: no precondition (rte_version).
    let text = unsafe { sys::rte_version() };
    // SAFETY: a static C string.
    unsafe { CStr::from_ptr(text) }.to_string_lossy()
}

/// A running EAL. Stays on the thread that started it, which is the main lcore.
///
/// EAL is cleaned up when this value and all devices, pools and handles made from it are gone.
///
/// ```compile_fail,E0277
/// fn takes_send<T: Send>() {}
/// takes_send::<dataplane::dpdk::Eal>();
/// ```
#[derive(Debug)]
pub struct Eal {
    pub(super) guard: Arc<EalGuard>,
    /// The main lcore is a thread: launching and joining belong to it.
    not_send: PhantomData<*const ()>,
}

impl Eal {
    /// Starts EAL with `args`, which do not include the program name (`rte_eal_init`).
    ///
    /// A `--vdev` or `-a` device whose driver is there but refuses it is only logged by EAL: look for it with
    /// [`Device::find`](super::Device::find), or add it with [`hotplug_vdev`](Self::hotplug_vdev), which reports the refusal.
    ///
    /// EAL writes its log to standard error and pins the calling thread to the main lcore's CPU. `--help` ends the process.
    ///
    /// # Errors
    /// [`EalError`]; after any error but [`EalError::NulInArgument`] this process cannot start EAL any more.
    #[cold]
    pub fn init(args: &[String]) -> Result<Self, EalError> {
        let mut arguments = vec![c"bypassd".to_owned()];
        for arg in args {
            arguments.push(CString::new(arg.as_str()).map_err(|_| EalError::NulInArgument(arg.clone()))?);
        }
        let count = c_int::try_from(arguments.len()).map_err(|_| EalError::TooManyArguments)?;
        if STARTED.swap(true, Ordering::Relaxed) {
            return Err(EalError::AlreadyStarted);
        }
        // EAL's getopt reorders this vector and may keep pointers to the texts, so they are owned by EAL's guard, or never
        // freed when EAL fails. It does not write to the texts.
        let mut argv: Vec<*mut c_char> = arguments.iter().map(|text| text.as_ptr().cast_mut()).collect();
        argv.push(null_mut());
        // SAFETY: `argv` holds `count` C strings and a terminating null; first and only call in this process.
        let used = unsafe { sys::rte_eal_init(count, argv.as_mut_ptr()) };
        if used < 0 {
            core::mem::forget(arguments);
            return Err(init_error(Errno::last(), args));
        }
        let guard = EalGuard {
            _arguments: arguments,
            ports: Mutex::default(),
            retired: Mutex::default(),
            loans: Mutex::default(),
        };
        Ok(Self { guard: Arc::new(guard), not_send: PhantomData })
    }

    /// The lcore of the thread that started EAL.
    #[must_use]
    pub fn main_lcore(&self) -> LcoreId {
        // SAFETY: EAL is up.
        LcoreId::new(unsafe { sys::rte_get_main_lcore() })
    }

    /// All other lcores, in rising order.
    #[must_use]
    pub fn worker_lcores(&self) -> Vec<LcoreId> {
        // `u32::MAX` asks for the first one; the end is RTE_MAX_LCORE.
        let next = |after: u32| {
            // SAFETY: EAL is up; any number is allowed.
            let lcore = unsafe { sys::rte_get_next_lcore(after, 1, 0) };
            (lcore < sys::BP_MAX_LCORES).then_some(lcore)
        };
        core::iter::successors(next(u32::MAX), |lcore| next(*lcore)).map(LcoreId::new).collect()
    }

    /// The NUMA node of an lcore; [`SocketId::ANY`] for one that EAL does not have.
    #[must_use]
    pub fn socket_of(&self, lcore: LcoreId) -> SocketId {
        if lcore != self.main_lcore() && !self.worker_lcores().contains(&lcore) {
            return SocketId::ANY;
        }
        // SAFETY: EAL is up and has this lcore.
        let socket = unsafe { sys::rte_lcore_to_socket_id(lcore.index()) };
        c_int::try_from(socket).map_or(SocketId::ANY, SocketId)
    }

    /// The CPUs that an lcore's thread may run on; none for one that EAL does not have.
    #[must_use]
    pub fn cpus_of(&self, lcore: LcoreId) -> Vec<u16> {
        if lcore != self.main_lcore() && !self.worker_lcores().contains(&lcore) {
            return Vec::new();
        }
        let mut cpus = vec![0; 1_024];
        let room = c_int::try_from(cpus.len()).unwrap_or(c_int::MAX);
        // SAFETY: EAL is up and has this lcore; there is room for so many.
        let count = unsafe { sys::bp_lcore_cpus(lcore.index(), cpus.as_mut_ptr(), room) };
        cpus.truncate(usize::try_from(count).unwrap_or(0));
        cpus
    }

    /// The DPDK that runs, as it names itself: `DPDK 22.11.11`.
    #[must_use]
    pub fn version(&self) -> String {
        version_text().into_owned()
    }

    /// Adds a virtual device, as `--vdev name,args` would (`rte_eal_hotplug_add`). It stays until EAL ends or its
    /// port is closed; a name that is there already is left as it is.
    ///
    /// # Errors
    /// [`EalError::NoDriver`], [`EalError::Hotplug`], [`EalError::NulInArgument`].
    #[cold]
    pub fn hotplug_vdev(&self, name: &str, args: &str) -> Result<(), EalError> {
        let c_name = CString::new(name).map_err(|_| EalError::NulInArgument(name.to_owned()))?;
        let c_args = CString::new(args).map_err(|_| EalError::NulInArgument(args.to_owned()))?;
        // SAFETY: EAL is up; three C strings that are copied.
        let returned = unsafe { sys::rte_eal_hotplug_add(c"vdev".as_ptr(), c_name.as_ptr(), c_args.as_ptr()) };
        Errno::check(returned).map_err(|errno| match errno {
            // The virtual bus parses a name by asking its drivers, and calls one that none knows a bad address.
            Errno::BadAddress => EalError::NoDriver { name: name.to_owned(), errno },
            _ => EalError::Hotplug { name: name.to_owned(), arguments: args.to_owned(), errno },
        })
    }
}

/// Reads `rte_eal_init`'s failure: it sets EACCES without usable hugepages, ENOMEM with too few, ENOTSUP when a probe fails.
fn init_error(errno: Errno, args: &[String]) -> EalError {
    let arguments = args.to_vec();
    let hugepages = !args.iter().any(|arg| arg == "--no-huge");
    match errno {
        Errno::AccessDenied | Errno::OutOfMemory if hugepages => EalError::Hugepages { errno, arguments },
        Errno::NotSupported | Errno::NoDevice => EalError::Probe { errno, arguments },
        _ => EalError::Init { errno, arguments },
    }
}

/// Keeps EAL up; shared by everything that needs it. The last one to go cleans up.
#[derive(Debug)]
pub(super) struct EalGuard {
    _arguments: Vec<CString>,
    /// Ports whose queues were handed out.
    ports: Mutex<Vec<PortId>>,
    /// Pools that nobody holds any more while some of their mbufs are still out.
    retired: Mutex<Vec<RawPool>>,
    /// Loans of queues that are gone, while frames still refer to them.
    loans: Mutex<Vec<Loan>>,
}

impl EalGuard {
    /// Marks a port as in use; `false` when it already is.
    pub(super) fn claim(&self, port: PortId) -> bool {
        let mut ports = lock(&self.ports);
        let free = !ports.contains(&port);
        if free {
            ports.push(port);
        }
        free
    }

    /// The port's queues are gone.
    pub(super) fn release(&self, port: PortId) {
        lock(&self.ports).retain(|other| *other != port);
    }

    /// Frees a pool whose last handle is gone, now or when its mbufs are back.
    pub(super) fn retire(&self, pool: RawPool) {
        if let Err(pool) = pool.free_if_unused() {
            lock(&self.retired).push(pool);
        }
    }

    /// Ends a loan whose queue is gone, now or when the last frame that refers to it is back.
    pub(super) fn retire_loan(&self, loan: Loan) {
        let mut loans = lock(&self.loans);
        loans.push(loan);
        Loan::drop_over(&mut loans);
    }
}

impl Drop for EalGuard {
    fn drop(&mut self) {
        // Their mappings need EAL. A loan with frames still out is never ended: it leaves its memory mapped.
        lock(&self.loans).clear();
        let retired = core::mem::take(&mut *lock(&self.retired));
        // Every pool gets its try; clean-up unmaps all memory, so it waits for ever for an mbuf that somebody still holds.
        let kept = retired.into_iter().filter_map(|pool| pool.free_if_unused().err()).count();
        if kept == 0 {
            // SAFETY: EAL is up, this is the only clean-up, and nothing that needs EAL is left: it would hold this guard.
            unsafe { sys::rte_eal_cleanup() };
        }
    }
}

/// The lists stay whole when a holder panics: they change in one step.
fn lock<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}
