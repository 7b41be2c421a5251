//! Time as the dataplane counts it: microseconds from an origin that the caller chose. Never reads a clock.

use core::ops::{Add, Sub};

/// A moment, in microseconds since the origin that the driver of the engine chose (a worker: its start; a simulation: zero).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    micros: u64,
    /// Milliseconds, rounded up, modulo 2^32: wanted for every block, so divided once per reading of the clock.
    millis_ceil: u32,
}

/// One reading of a clock: the moment, and the same one finer, for measuring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The moment.
    pub now: Instant,
    /// Nanoseconds since the same origin.
    pub nanos: u64,
}

/// A clock that tells microseconds only.
impl From<Instant> for Reading {
    fn from(now: Instant) -> Self {
        Self { now, nanos: now.micros() * 1_000 }
    }
}

/// A length of time in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(u64);

impl Instant {
    /// The origin.
    pub const ORIGIN: Self = Self::from_micros(0);

    /// The moment `us` microseconds after the origin.
    #[must_use]
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "modulo 2^32 by definition")]
    pub const fn from_micros(us: u64) -> Self {
        Self { micros: us, millis_ceil: us.div_ceil(1_000) as u32 }
    }

    /// Microseconds since the origin.
    #[must_use]
    #[inline]
    pub const fn micros(self) -> u64 {
        self.micros
    }

    /// Whole milliseconds since the origin.
    #[must_use]
    #[inline]
    pub const fn millis(self) -> u64 {
        self.micros / 1_000
    }

    /// The first whole millisecond that is not before this moment, modulo 2^32.
    #[must_use]
    #[inline]
    pub const fn millis_ceil_wrapping(self) -> u32 {
        self.millis_ceil
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
        Self::from_micros(self.micros + rhs.0)
    }
}

/// The time since an earlier moment; zero when `rhs` is later.
impl Sub for Instant {
    type Output = Duration;

    fn sub(self, rhs: Self) -> Duration {
        Duration(self.micros.saturating_sub(rhs.micros))
    }
}
