//! Latency at half load, open loop: ACKs are due at fixed moments, whether the rung keeps up or not, and a reply's latency
//! counts from the moment at which its ACK was due. R1 and R2 in turn, at the same number of ACKs per second: half of what R2
//! answers when ACKs are always due, generator included.
//!
//! Generator and rung share one thread, so the generator's own time is part of every latency, on both rungs alike: the ratio is
//! nearer to 1 than that of the rungs alone. R2's sessions are opened within a few milliseconds, as in a storm; their timers
//! fall due together ever after, every 50 ms of the engine's time, and the polls that look at them are in R2's tail.

use super::case::{CaseError, Clock, Effort, Load, Station, full_station, open_all};
use super::content::{Layout, Regime};
use super::generator::{Batch, Generator, LoadError, Replies, Shape};
use super::rungs::{Full, Null, Rung};
use super::setup::Machine;
use super::statistics::{Summary, Windows, involuntary_switches, ratio};
use super::verify::FRAME_MIN;
use dataplane::port::BURST;
use hdrhistogram::{CreationError, Histogram};
use serde::Serialize;
use std::sync::Arc;

/// Bytes of a block.
const BLKSIZE: u16 = 512;

/// Live sessions: many more than replies can be under way.
const SESSIONS: u32 = 1_000;

/// ACKs of a slice that are due at once, for the throughput.
const SATURATING: u64 = 4_096;

/// Slices of which the throughput is the median, on each rung.
const SATURATING_SLICES: u32 = 60;

/// Least and most rounds: no file may come to its end before the last one, which it does after 8,192 blocks per session.
const ROUNDS: (u32, u32) = (10, 40);

/// Undisturbed slices of a round: about 20 ms of load.
const SLICES: u32 = 10;

/// Slices per second. One that was disturbed is left out whole, and the next one begins with nothing due.
const SLICES_PER_SECOND: u64 = 500;

/// Greatest latency that is told apart, in ns.
const LONGEST_NS: u64 = 10_000_000_000;

/// Turns without a reply after which replies count as lost.
const IDLE_TURNS_MAX: u32 = 1_000;

/// Latencies of one rung, in ns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    /// Replies that count.
    pub(crate) samples: u64,
    /// Slices that were dropped because the thread was taken off its CPU.
    pub(crate) dropped: u32,
    /// Pairs per second when ACKs are always due, generator included.
    pub(crate) saturated_per_s: f64,
}

/// Both rungs at the same load.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) r1: Quantiles,
    pub(crate) r2: Quantiles,
    /// R2 over R1, of all rounds together.
    pub(crate) ratio_p50: f64,
    pub(crate) ratio_p99: f64,
    /// R2 over R1 within each round.
    pub(crate) rounds_p50: Summary,
    pub(crate) rounds_p99: Summary,
    /// ACKs due per second.
    pub(crate) load_per_s: f64,
}

/// When the ACKs of a slice are due, in ticks of the TSC.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    begins: u64,
    /// Ticks between two ACKs; 0: all are due at once.
    interval: u64,
    acks: u64,
}

impl Schedule {
    /// How many are due by now.
    #[inline]
    fn due(&self, now: u64) -> u64 {
        // Behind a core's TSC that is a little ahead nothing is due yet.
        let since = now.saturating_sub(self.begins);
        since.checked_div(self.interval).map_or(self.acks, |intervals| self.acks.min(intervals + 1))
    }

    /// When the one with this number, from 0, is due.
    #[inline]
    fn moment(&self, number: u64) -> u64 {
        self.begins + number * self.interval
    }
}

/// A rung with its clients and what it has shown so far.
struct Probe<R> {
    name: &'static str,
    station: Station<R>,
    generator: Generator,
    /// Of each client, when its last ACK was due.
    due: Vec<u64>,
    /// Latencies of a slice, in ticks.
    ticks: Vec<u64>,
    round: Histogram<u64>,
    all: Histogram<u64>,
    dropped: u32,
    saturated_per_s: f64,
}

impl<R: Rung> Probe<R> {
    fn new(name: &'static str, station: Station<R>, generator: Generator) -> Result<Self, CreationError> {
        let histogram = || Histogram::new_with_bounds(1, LONGEST_NS, 3);
        let due = vec![0; generator.clients() as usize];
        let (round, all) = (histogram()?, histogram()?);
        Ok(Self { name, station, generator, due, ticks: Vec::new(), round, all, dropped: 0, saturated_per_s: 0.0 })
    }

    /// One slice from the first ACK to the last reply; leaves the latencies in `ticks`. Returns its length in ticks; `None`
    /// when it was disturbed.
    #[inline]
    fn slice(&mut self, clock: &Clock, interval: u64, acks: u64) -> Result<Option<u64>, LoadError> {
        let Self { name, station, generator, due, ticks, .. } = self;
        ticks.clear();
        ticks.reserve(usize::try_from(acks).unwrap_or(0));
        let (rung, link) = station.ends();
        rung.resume();
        let switches = involuntary_switches();
        let begins = clock.tsc.ticks();
        let schedule = Schedule { begins, interval, acks };
        let (mut now, mut sent, mut idle) = (begins, 0_u64, 0_u32);
        let mut answered = Batch::new();
        while (ticks.len() as u64) < acks {
            let burst = usize::try_from(schedule.due(now) - sent).unwrap_or(BURST).min(BURST);
            if burst > 0 {
                let batch = generator.next_clients(burst);
                for &client in &batch {
                    due[client as usize] = schedule.moment(sent);
                    sent += 1;
                }
                generator.send_acks(link, &batch, FRAME_MIN)?;
            }
            rung.poll();
            generator.collect_batch(link, Replies::Files, &mut answered)?;
            now = clock.tsc.ticks();
            ticks.extend(answered.iter().map(|&client| now.saturating_sub(due[client as usize])));
            idle = if answered.is_empty() && sent > ticks.len() as u64 { idle + 1 } else { 0 };
            if idle > IDLE_TURNS_MAX {
                let (found, polls) = (ticks.len() as u64, idle);
                return Err(LoadError::Missing { rung: name, found, expected: sent, polls, counted: rung.describe() });
            }
        }
        rung.pause();
        Ok((involuntary_switches() == switches).then_some(now - begins))
    }

    /// Measures pairs per second with ACKs always due.
    fn saturate(&mut self, clock: &Clock) -> Result<(), LoadError> {
        let mut lengths = Windows::default();
        for number in 0..=SATURATING_SLICES {
            let length = self.slice(clock, 0, SATURATING)?;
            // The first one warms the caches up.
            if number > 0 {
                lengths.push(length.map(|ticks| ratio(ticks, SATURATING)));
            }
        }
        self.saturated_per_s = ratio(clock.tsc.hz(), 1) / lengths.summary().median;
        Ok(())
    }

    /// About 20 ms of load; p50 and p99 in ns, `None` when all was disturbed.
    fn round(&mut self, clock: &Clock, interval: u64) -> Result<Option<[u64; 2]>, LoadError> {
        let acks = (clock.tsc.hz() / SLICES_PER_SECOND / interval).max(1);
        let mut good = 0;
        self.round.reset();
        // The first one warms the caches up. Where nearly all slices are disturbed the round ends all the same.
        for number in 0..=4 * SLICES {
            let undisturbed = self.slice(clock, interval, acks)?.is_some();
            if number == 0 {
                continue;
            }
            if !undisturbed {
                self.dropped += 1;
                continue;
            }
            for &ticks in &self.ticks {
                let ns = nanoseconds(ticks, clock.tsc.hz());
                self.round.saturating_record(ns);
                self.all.saturating_record(ns);
            }
            good += 1;
            if good == SLICES {
                break;
            }
        }
        Ok((good > 0).then(|| quantiles(&self.round)))
    }

    fn result(&self) -> Quantiles {
        let [p50_ns, p99_ns] = quantiles(&self.all);
        let (dropped, saturated_per_s) = (self.dropped, self.saturated_per_s);
        Quantiles { p50_ns, p99_ns, samples: self.all.len(), dropped, saturated_per_s }
    }
}

fn quantiles(histogram: &Histogram<u64>) -> [u64; 2] {
    [0.50, 0.99].map(|quantile| histogram.value_at_quantile(quantile))
}

fn nanoseconds(ticks: u64, hz: u64) -> u64 {
    u64::try_from(u128::from(ticks) * 1_000_000_000 / u128::from(hz.max(1))).unwrap_or(u64::MAX)
}

/// Measures, or tells why there is no result.
pub(crate) fn measure(
    machine: &mut Machine,
    clock: &Clock,
    effort: &Effort,
) -> Result<Result<Latency, &'static str>, CaseError> {
    let layout = Layout::of(Regime::Hot, BLKSIZE, 1, SESSIONS, 0);
    let shape = Shape { blksize: BLKSIZE, windowsize: 1, layout, tsize: false };
    let catalogue = Arc::new(layout.build()?);

    let mut station: Station<Full> = full_station(machine, &catalogue, BLKSIZE, SESSIONS)?;
    let mut generator = Generator::new(SESSIONS, shape);
    open_all(&mut station, clock, &mut generator, &shape)?;
    let full = Load { frame_len: FRAME_MIN, replies_per_frame: 1, replies: Replies::Files };
    station.verify(clock, &mut generator, &full)?;
    let mut r2 = Probe::new("R2", station, generator)?;

    // Its clients have asked for nothing; it takes their ACKs all the same, and each answer is the block that they expect.
    let payload = vec![0x5A; usize::from(BLKSIZE)];
    let link = machine.link(BLKSIZE)?;
    let mut station = Station::new("R1", Null::new(link.server, payload.clone(), 1), link.generator);
    let mut generator = Generator::new(SESSIONS, shape);
    station.verify(clock, &mut generator, &Load { replies: Replies::Constant(&payload), ..full })?;
    let mut r1 = Probe::new("R1", station, generator)?;

    r1.saturate(clock)?;
    r2.saturate(clock)?;
    let Some(interval) = half_load(clock.tsc.hz(), r2.saturated_per_s) else {
        return Ok(Err("the thread was taken off its CPU all the time"));
    };
    let (mut rounds_p50, mut rounds_p99) = (Windows::default(), Windows::default());
    for _ in 0..effort.rounds.clamp(ROUNDS.0, ROUNDS.1) {
        let null = r1.round(clock, interval)?;
        let full = r2.round(clock, interval)?;
        let over = |which: usize| null.zip(full).map(|(null, full)| ratio(full[which], null[which]));
        rounds_p50.push(over(0));
        rounds_p99.push(over(1));
    }
    let (r1, r2) = (r1.result(), r2.result());
    if r1.samples == 0 || r2.samples == 0 {
        return Ok(Err("the thread was taken off its CPU all the time"));
    }
    Ok(Ok(Latency {
        r1,
        r2,
        ratio_p50: ratio(r2.p50_ns, r1.p50_ns),
        ratio_p99: ratio(r2.p99_ns, r1.p99_ns),
        rounds_p50: rounds_p50.summary(),
        rounds_p99: rounds_p99.summary(),
        load_per_s: ratio(clock.tsc.hz(), interval),
    }))
}

/// Ticks between two ACKs at half of so many per second.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number of ticks, checked")]
fn half_load(hz: u64, per_second: f64) -> Option<u64> {
    let interval = (2.0 * ratio(hz, 1) / per_second).round();
    (1.0..=ratio(hz, 1)).contains(&interval).then_some(interval as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acks_are_due_at_their_moments_and_not_before() {
        let schedule = Schedule { begins: 1_000, interval: 10, acks: 3 };
        assert_eq!([0, 1_000, 1_009, 1_010, 1_020, 9_999].map(|now| schedule.due(now)), [1, 1, 1, 2, 3, 3]);
        for number in 0..schedule.acks {
            assert_eq!(schedule.due(schedule.moment(number)), number + 1);
        }
        let at_once = Schedule { interval: 0, ..schedule };
        assert_eq!((at_once.due(1_000), at_once.moment(2)), (3, 1_000));
    }

    #[test]
    fn half_load_is_twice_the_interval() {
        assert_eq!(half_load(2_000_000_000, 4_000_000.0), Some(1_000));
        assert_eq!(half_load(2_000_000_000, f64::INFINITY), None, "nothing was measured");
        assert_eq!(half_load(2_000_000_000, 1e12), None);
        assert_eq!(half_load(2_000_000_000, 0.0), None);
    }

    #[test]
    fn ticks_become_nanoseconds() {
        assert_eq!(nanoseconds(2_100, 2_100_000_000), 1_000);
        assert_eq!(nanoseconds(u64::MAX, 1), u64::MAX);
    }
}
