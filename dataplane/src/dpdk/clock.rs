//! The TSC as microseconds: one multiplication per reading, no division, no system call.

use dpdk_sys as sys;

use super::eal::Eal;
use crate::time::{Instant, Reading};

/// A clock that begins at zero where it was made. All lcores read the same moment where the TSC is invariant and in step over
/// cores (`constant_tsc nonstop_tsc` in `/proc/cpuinfo`).
#[derive(Clone, Copy, Debug)]
pub struct Tsc {
    origin: u64,
    /// Microseconds per tick, times 2^64.
    multiplier: u64,
    hz: u64,
}

impl Tsc {
    /// A clock whose origin is now.
    #[must_use]
    pub fn new(_eal: &Eal) -> Self {
        // SAFETY: EAL is up and has measured the frequency.
        let hz = unsafe { sys::rte_get_tsc_hz() };
        Self { origin: ticks(), multiplier: multiplier(hz), hz }
    }

    /// The TSC itself, for measuring: ticks since the machine's start.
    #[inline]
    #[must_use]
    pub fn ticks(&self) -> u64 {
        ticks()
    }

    /// Ticks per second, as EAL measured them.
    #[must_use]
    pub const fn hz(&self) -> u64 {
        self.hz
    }

    /// Microseconds since the origin. Right for as long as 64 bits of ticks last (centuries).
    #[inline]
    #[must_use]
    pub fn now(&self) -> Instant {
        self.read().now
    }

    /// Micro- and nanoseconds since the origin, of the same moment.
    #[inline]
    #[must_use]
    pub fn read(&self) -> Reading {
        // A core whose TSC is a little behind reads the origin, not the end of time.
        let (micros, nanos) = micros_and_nanos(ticks().saturating_sub(self.origin), self.multiplier);
        Reading { now: Instant::from_micros(micros), nanos }
    }
}

#[inline]
fn ticks() -> u64 {
    // SAFETY: reads a register.
    unsafe { sys::bp_tsc() }
}

/// `10^6 / hz` as a fraction of 2^64. A clock of 1 MHz or less, which no TSC has, counts as the fastest that fits.
fn multiplier(hz: u64) -> u64 {
    let scaled = (1_000_000_u128 << 64) / u128::from(hz.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// The high half of a 64 by 64 bit multiplication, and what its low half is in nanoseconds.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "both halves of 128 bits")]
fn micros_and_nanos(ticks: u64, multiplier: u64) -> (u64, u64) {
    let product = u128::from(ticks) * u128::from(multiplier);
    let (micros, fraction) = ((product >> 64) as u64, product as u64);
    (micros, micros * 1_000 + ((u128::from(fraction) * 1_000) >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_microseconds_for_decades() {
        for hz in [1_000_003, 25_000_000, 2_300_000_000, 5_200_000_000_u64] {
            let multiplier = multiplier(hz);
            for seconds in [0, 1, 86_400, 50 * 365 * 86_400_u64] {
                let exact = seconds * 1_000_000;
                let (counted, nanos) = micros_and_nanos(seconds * hz, multiplier);
                assert_eq!(nanos / 1_000, counted);
                assert!(counted <= exact && exact - counted <= 1, "{hz} Hz, {seconds} s: {counted} instead of {exact}");
            }
        }
    }

    #[test]
    fn a_tick_that_is_not_a_microsecond_yet_counts_nothing() {
        let multiplier = multiplier(2_000_000_000);
        assert_eq!(micros_and_nanos(1_999, multiplier), (0, 999));
        assert_eq!(micros_and_nanos(2_001, multiplier), (1, 1_000));
    }
}
