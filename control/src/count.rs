//! The worker count: how many workers have not ended. A stop is complete when it is zero.
//!
//! Touched when a worker begins and ends, never in its loop.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;

/// Workers that had not ended in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{count} worker(s) still running")]
pub struct StillRunning {
    /// How many.
    pub count: usize,
}

#[derive(Debug, Default)]
struct Shared {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Shared {
    /// A panic elsewhere cannot leave a count half written.
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The count. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct WorkerCount(Arc<Shared>);

/// One worker's share of the count, given back when it is dropped, by a panic too.
#[derive(Debug)]
#[must_use = "the worker counts as ended as soon as this is dropped"]
pub struct CountedWorker(Arc<Shared>);

impl WorkerCount {
    /// A count of zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a worker in. Taken before the worker is launched, so that a stop cannot miss it.
    pub fn enter(&self) -> CountedWorker {
        *self.0.lock() += 1;
        CountedWorker(Arc::clone(&self.0))
    }

    /// Workers that have not ended.
    #[must_use]
    pub fn get(&self) -> usize {
        *self.0.lock()
    }

    /// Waits until all workers have ended.
    ///
    /// # Errors
    /// [`StillRunning`] when some had not after `timeout`.
    pub fn wait_until_zero(&self, timeout: Duration) -> Result<(), StillRunning> {
        let waited = self.0.changed.wait_timeout_while(self.0.lock(), timeout, |count| *count > 0);
        match *waited.unwrap_or_else(PoisonError::into_inner).0 {
            0 => Ok(()),
            count => Err(StillRunning { count }),
        }
    }
}

impl Drop for CountedWorker {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_follows_its_workers() {
        let count = WorkerCount::new();
        assert_eq!(count.wait_until_zero(Duration::ZERO), Ok(()));
        let (one, two) = (count.enter(), count.enter());
        assert_eq!(count.get(), 2);
        drop(one);
        assert_eq!(count.wait_until_zero(Duration::from_millis(1)), Err(StillRunning { count: 1 }));
        drop(two);
        assert_eq!(count.wait_until_zero(Duration::ZERO), Ok(()));
    }

    #[test]
    fn a_wait_ends_when_the_last_worker_does_even_by_a_panic() {
        let count = WorkerCount::new();
        let worker = count.enter();
        let (go, wait) = crossbeam::channel::bounded::<()>(1);
        let thread = std::thread::spawn(move || {
            let _worker = worker;
            wait.recv().unwrap();
            panic!("a frame too many");
        });
        assert!(count.wait_until_zero(Duration::from_millis(5)).is_err());
        go.send(()).unwrap();
        assert_eq!(count.wait_until_zero(Duration::from_secs(10)), Ok(()));
        assert!(thread.join().is_err());
    }
}
