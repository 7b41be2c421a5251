//! A counter with one writer and any number of readers, who never disturb it: no lock, no atomic read-modify-write.

use core::sync::atomic::{AtomicU64, Ordering};

/// Counts up, or shows a level. On a cache line that only its writer writes.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Zero.
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Counts `by` more; only its own worker may.
    #[inline]
    pub(crate) fn add(&self, by: u64) {
        self.set(self.get() + by);
    }

    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
