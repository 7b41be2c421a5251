//! Closures on lcores: launched from the main lcore, joined by it. A panic on an lcore is caught there and reported by `join`.

use core::any::Any;
use core::ffi::{c_int, c_void};
use core::fmt;
use core::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use dpdk_sys as sys;
use thiserror::Error;

use super::eal::{Eal, EalGuard};
use super::error::{Errno, LaunchError};

/// An lcore by its EAL number, which is not always the CPU's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LcoreId(u32);

impl LcoreId {
    /// The lcore of that EAL number.
    #[must_use]
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    /// The EAL number.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.0
    }
}

impl fmt::Display for LcoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lcore {}", self.0)
    }
}

/// The closure on an lcore panicked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the worker on {lcore} panicked: {message}")]
pub struct WorkerPanic {
    /// Where.
    pub lcore: LcoreId,
    /// What the panic said.
    pub message: String,
}

/// What an lcore runs.
type Work = Box<dyn FnOnce() + Send>;

/// Where it leaves its result.
type Outcome<T> = Arc<Mutex<Option<Result<T, WorkerPanic>>>>;

impl Eal {
    /// Runs `work` on a worker lcore (`rte_eal_remote_launch`).
    ///
    /// # Errors
    /// [`LaunchError`]; `work` is dropped then.
    #[cold]
    pub fn launch<T, F>(&self, lcore: LcoreId, work: F) -> Result<LcoreHandle<T>, LaunchError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        // `rte_eal_remote_launch` indexes an array with the number, unchecked.
        if !self.worker_lcores().contains(&lcore) {
            return Err(LaunchError::NotAWorker(lcore));
        }
        let outcome: Outcome<T> = Arc::default();
        let place = Arc::clone(&outcome);
        let work: Work = Box::new(move || {
            // What the closure captured is gone when it has returned or unwound; nobody sees it broken.
            let result = catch_unwind(AssertUnwindSafe(work))
                .map_err(|payload| WorkerPanic { lcore, message: panic_message(&*payload) });
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        });
        let argument = Box::into_raw(Box::new(work));
        // SAFETY: EAL is up, the lcore is one of its workers, and `argument` is what the trampoline takes.
        let returned = unsafe { sys::rte_eal_remote_launch(Some(trampoline), argument.cast(), lcore.0) };
        if let Err(errno) = Errno::check(returned) {
            // SAFETY: made by `into_raw` above, and the lcore did not take it.
            drop(unsafe { Box::from_raw(argument) });
            return Err(match errno {
                Errno::Busy => LaunchError::Busy(lcore),
                errno => LaunchError::Failed { lcore, errno },
            });
        }
        Ok(LcoreHandle { lcore, outcome, _guard: Arc::clone(&self.guard), not_send: PhantomData })
    }
}

/// The one function that DPDK calls on an lcore. Never unwinds: `Work` catches what its closure throws.
extern "C" fn trampoline(argument: *mut c_void) -> c_int {
    // SAFETY: `launch` made it from a `Box<Work>` and gave it away; an lcore calls this once for each launch.
    let work = unsafe { Box::from_raw(argument.cast::<Work>()) };
    work();
    0
}

/// What a caught panic said.
#[must_use]
pub fn panic_message(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "no message".to_owned(),
    }
}

/// A closure that runs, or ran, on an lcore. Dropping it waits for the closure's end, as [`join`](Self::join) does.
#[derive(Debug)]
pub struct LcoreHandle<T> {
    lcore: LcoreId,
    outcome: Outcome<T>,
    /// EAL is never cleaned up while an lcore runs.
    _guard: Arc<EalGuard>,
    /// Only the main lcore may wait.
    not_send: PhantomData<*const ()>,
}

impl<T> LcoreHandle<T> {
    /// Where it runs.
    #[must_use]
    pub fn lcore(&self) -> LcoreId {
        self.lcore
    }

    /// Whether the closure has returned or panicked. Does not wait.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Waits for the closure's end and returns its result. Afterwards the lcore can be launched again.
    ///
    /// # Errors
    /// [`WorkerPanic`] when the closure panicked.
    pub fn join(self) -> Result<T, WorkerPanic> {
        self.wait();
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        outcome.unwrap_or_else(|| Err(WorkerPanic { lcore: self.lcore, message: "no result".to_owned() }))
    }

    fn wait(&self) {
        // SAFETY: EAL is up (`_guard`), this is the main lcore (`not_send`), and the lcore is one of EAL's workers.
        unsafe { sys::rte_eal_wait_lcore(self.lcore.0) };
    }
}

impl<T> Drop for LcoreHandle<T> {
    fn drop(&mut self) {
        self.wait();
    }
}
