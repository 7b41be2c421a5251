//! Time as the dataplane counts it: microseconds from an origin that the caller chose. Never reads a clock.

use core::ops::{Add, Sub};

/// A moment, in microseconds since the origin that the driver of the engine chose (a worker: its start; a simulation: zero).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

/// A length of time in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(u64);

impl Instant {
    /// The origin.
    pub const ORIGIN: Self = Self(0);

    /// The moment `us` microseconds after the origin.
    #[must_use]
    pub const fn from_micros(us: u64) -> Self {
        Self(us)
    }

    /// Microseconds since the origin.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the origin.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 / 1_000
    }
}

impl Duration {
    /// `us` microseconds.
    #[must_use]
    pub const fn from_micros(us: u64) -> Self {
        Self(us)
    }

    /// `ms` milliseconds.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms * 1_000)
    }

    /// `secs` seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1_000_000)
    }

    /// In microseconds.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// In whole milliseconds, rounded up: a timer never fires early.
    #[must_use]
    pub const fn millis_ceil(self) -> u64 {
        self.0.div_ceil(1_000)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0 + rhs.0)
    }
}

/// The time since an earlier moment; zero when `rhs` is later.
impl Sub for Instant {
    type Output = Duration;

    fn sub(self, rhs: Self) -> Duration {
        Duration(self.0.saturating_sub(rhs.0))
    }
}
