//! The flags that control raises for all workers: the global stop flag, read once per burst, and the drain flag, read with the mail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// On a cache line of its own: a reader must not share it with something that is written.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line(AtomicBool);

/// The stop flag. Clones share it; it is never lowered.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<Line>);

impl StopFlag {
    /// A lowered flag.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks all workers to end.
    pub fn raise(&self) {
        self.0.0.store(true, Ordering::Release);
    }

    /// Whether to end. A plain load on the machines that DPDK runs on.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.0.load(Ordering::Acquire)
    }
}

/// The drain flag: no new requests while it is raised. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct DrainFlag(Arc<Line>);

impl DrainFlag {
    /// A lowered flag.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks all workers to take no new requests.
    pub fn raise(&self) {
        self.0.0.store(true, Ordering::Release);
    }

    /// Lets them take requests again.
    pub fn lower(&self) {
        self.0.0.store(false, Ordering::Release);
    }

    /// Whether new requests are to be ignored.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.0.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_clones_see_it() {
        let flag = StopFlag::new();
        let seen = flag.clone();
        assert!(!seen.is_raised());
        flag.raise();
        assert!(seen.is_raised());
        assert_eq!(align_of::<Line>(), 64);
    }
}
