//! When transfers are meant to begin: a rate and a process, decided by the seed alone. Never looks at how the server does.

use dataplane::random::Random;
use dataplane::time::Instant;

/// How beginnings are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Process {
    /// Independently of each other: exponential gaps
    Poisson,
    /// At equal gaps
    Uniform,
    /// Many at once, then a pause, at the same mean rate
    Burst,
}

/// Intended beginnings, one after the other, without end.
#[derive(Clone, Debug)]
pub(crate) struct Arrivals {
    process: Process,
    gap_ns: f64,
    burst: u32,
    /// Of the burst that is under way.
    left: u32,
    next_ns: f64,
    random: Random,
}

impl Arrivals {
    /// `rate` beginnings per second, more than 0; `burst` at a time, at least 1, where that is the process.
    pub(crate) fn new(process: Process, rate: f64, burst: u32, random: Random) -> Self {
        let mut arrivals = Self { process, gap_ns: 1e9 / rate, burst, left: burst, next_ns: 0.0, random };
        // A Poisson process has no beginning at its origin; the others begin there.
        if process == Process::Poisson {
            arrivals.advance();
        }
        arrivals
    }

    /// The next one, since the load's origin.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "never negative, and centuries below the end of 64 bits"
    )]
    pub(crate) fn next(&self) -> Instant {
        Instant::from_micros((self.next_ns / 1e3) as u64)
    }

    /// Passes on to the one after.
    #[inline]
    pub(crate) fn advance(&mut self) {
        match self.process {
            Process::Poisson => self.next_ns -= self.gap_ns * uniform(&mut self.random).ln(),
            Process::Uniform => self.next_ns += self.gap_ns,
            Process::Burst => {
                self.left -= 1;
                if self.left == 0 {
                    self.left = self.burst;
                    self.next_ns += self.gap_ns * f64::from(self.burst);
                }
            }
        }
    }
}

/// In (0, 1]: its logarithm is finite.
fn uniform(random: &mut Random) -> f64 {
    const STEPS: f64 = (1_u64 << 53) as f64;
    ((random.next_u64() >> 11) + 1) as f64 / STEPS
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::random::Seed;

    /// Beginnings in each of the first `seconds`.
    fn counts(process: Process, rate: f64, burst: u32, seed: u8, seconds: usize) -> Vec<f64> {
        let mut arrivals = Arrivals::new(process, rate, burst, Random::new(Seed([seed; 16]), 0));
        let mut counts = vec![0.0; seconds];
        while let Some(count) = counts.get_mut(usize::try_from(arrivals.next().micros() / 1_000_000).unwrap()) {
            *count += 1.0;
            arrivals.advance();
        }
        counts
    }

    fn mean_and_variance(counts: &[f64]) -> (f64, f64) {
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        (mean, counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / (counts.len() - 1) as f64)
    }

    #[test]
    fn every_process_keeps_its_mean_rate() {
        for (process, tolerance) in [(Process::Poisson, 0.01), (Process::Uniform, 1e-4), (Process::Burst, 1e-2)] {
            let (mean, _) = mean_and_variance(&counts(process, 250.0, 25, 1, 2_000));
            assert!((mean / 250.0 - 1.0).abs() < tolerance, "{process:?}: {mean}");
        }
    }

    #[test]
    fn a_poisson_process_varies_as_much_as_its_mean() {
        let (mean, variance) = mean_and_variance(&counts(Process::Poisson, 100.0, 1, 2, 4_000));
        // The standard error of the ratio is sqrt(2 / 4000) = 0.022.
        assert!((variance / mean - 1.0).abs() < 0.1, "{variance} / {mean}");
        let (_, variance) = mean_and_variance(&counts(Process::Uniform, 100.0, 1, 2, 4_000));
        assert!(variance < 1.0, "{variance}");
    }

    #[test]
    fn bursts_begin_together() {
        let mut arrivals = Arrivals::new(Process::Burst, 1_000.0, 50, Random::new(Seed([3; 16]), 0));
        for burst in 0..4 {
            for _ in 0..50 {
                assert_eq!(arrivals.next().micros(), burst * 50_000);
                arrivals.advance();
            }
        }
    }

    #[test]
    fn the_seed_decides() {
        let (one, two) = (counts(Process::Poisson, 50.0, 1, 4, 50), counts(Process::Poisson, 50.0, 1, 5, 50));
        assert_eq!(one, counts(Process::Poisson, 50.0, 1, 4, 50));
        assert_ne!(one, two);
    }
}
