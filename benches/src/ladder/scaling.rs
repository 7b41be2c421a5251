//! Two workers against one: each has its own link, pool, engine and clients, on an lcore and a CPU of its own. Measured in turn:
//! the first alone, the second alone, both at once.
//!
//! What counts is, as in the cases, the cycles of the rung's polls per pair; the generator of each worker runs on the worker's
//! own CPU between the polls. Windows in which a worker was taken off its CPU are left out, for that worker.

use super::case::{CaseError, Clock, Effort, Load, Station, full_station_on, open_all};
use super::content::{Layout, Regime};
use super::generator::{Generator, LoadError, Replies, Shape};
use super::rungs::Full;
use super::setup::Machine;
use super::statistics::{Stopwatch, Summary, Windows};
use super::verify::FRAME_MIN;
use core::sync::atomic::{AtomicU32, Ordering};
use dataplane::dpdk::{LcoreId, Mempool};
use dataplane::files::Catalogue;
use serde::Serialize;
use std::fs;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

/// Bytes of a block.
const BLKSIZE: u16 = 512;

/// Live sessions of each worker.
const SESSIONS: u32 = 1_000;

/// Windows per second, as the stopwatch counts them.
const WINDOWS_PER_SECOND: u64 = 1_000;

/// Most rounds, in rounds that are asked for.
const ATTEMPTS: u32 = 5;

/// How often the main lcore looks whether the other one is through, while it has to leave it alone.
const LOOK: Duration = Duration::from_millis(1);

/// Two workers and one: cycles per pair, and what follows.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Scaling {
    /// Where the workers ran.
    pub(crate) cpus: [u32; 2],
    /// Whether the CPUs are two threads of one core, which they then share; `null` where the machine does not tell.
    pub(crate) same_core: Option<bool>,
    /// Each while the other one sleeps.
    pub(crate) alone: [Summary; 2],
    /// Each while the other one works.
    pub(crate) together: [Summary; 2],
    /// Cycles alone over cycles together: 1 when the other one costs nothing.
    pub(crate) efficiency: [f64; 2],
    /// Pairs per second of both at once over the mean of each alone: one value per round. `dropped` counts rounds in which a
    /// worker had no undisturbed window.
    pub(crate) ratio: Summary,
}

/// When a worker runs.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Alone,
    Together,
}

/// One worker with its clients and what it has shown so far.
struct Side {
    station: Station<Full>,
    generator: Generator,
    clock: Clock,
    alone: Windows,
    together: Windows,
}

impl Side {
    fn new(machine: &mut Machine, clock: &Clock, shape: Shape, parts: Parts<'_>) -> Result<Self, CaseError> {
        let link = machine.link_from(shape.blksize, parts.pool)?;
        let station = full_station_on(link, machine.tsc, parts.catalogue, shape.blksize, SESSIONS)?;
        let generator = Generator::new(SESSIONS, shape);
        Ok(Self { station, generator, clock: *clock, alone: Windows::default(), together: Windows::default() })
    }

    /// Opens all transfers and checks some bursts of replies.
    fn prepare(&mut self, shape: &Shape) -> Result<(), LoadError> {
        open_all(&mut self.station, &self.clock, &mut self.generator, shape)?;
        self.station.verify(&self.clock, &mut self.generator, &load())
    }

    /// Works from the moment at which `workers` are there until `windows` and one to warm up are over.
    fn run(&mut self, phase: Phase, gate: &AtomicU32, workers: u32, windows: u32) -> Result<(), LoadError> {
        let Self { station, generator, clock, alone, together } = self;
        let record = match phase {
            Phase::Alone => alone,
            Phase::Together => together,
        };
        record.begin_round();
        gate.fetch_add(1, Ordering::AcqRel);
        while gate.load(Ordering::Acquire) < workers {
            core::hint::spin_loop();
        }
        // Both end at the same moment, however many of their windows are disturbed.
        let ends = clock.tsc.ticks() + u64::from(windows + 1) * clock.tsc.hz() / WINDOWS_PER_SECOND;
        let mut stopwatch = Stopwatch::start(&clock.tsc);
        let mut complete = 0_u32;
        while clock.tsc.ticks() < ends {
            let batch = generator.next_batch();
            station.renew(clock, generator, &batch)?;
            let (cycles, pairs) = station.turn(clock, generator, &batch, &load())?;
            if let Some(window) = stopwatch.add(&clock.tsc, cycles, pairs) {
                if complete > 0 {
                    record.push(window);
                }
                complete += 1;
            }
        }
        Ok(())
    }
}

/// What a worker is made of.
struct Parts<'a> {
    pool: &'a Arc<Mempool>,
    catalogue: &'a Arc<Catalogue>,
}

const fn load() -> Load<'static> {
    Load { frame_len: FRAME_MIN, replies_per_frame: 1, replies: Replies::Files }
}

/// Starts some work of the second worker on its lcore; the main lcore does `meanwhile`, then waits without using its CPU.
fn on_lcore(
    machine: &Machine,
    lcore: LcoreId,
    mut side: Side,
    work: impl FnOnce(&mut Side) -> Result<(), LoadError> + Send + 'static,
    meanwhile: impl FnOnce() -> Result<(), LoadError>,
) -> Result<Side, CaseError> {
    let handle = machine.eal().launch(lcore, move || {
        let result = work(&mut side);
        (side, result)
    })?;
    let here = meanwhile();
    while !handle.is_finished() {
        sleep(LOOK);
    }
    let (side, there) = handle.join()?;
    here?;
    there?;
    Ok(side)
}

/// Measures, or tells why there is nothing to measure.
pub(crate) fn measure(
    machine: &mut Machine,
    clock: &Clock,
    effort: &Effort,
) -> Result<Result<Scaling, &'static str>, CaseError> {
    let Some((cpus, lcore)) = machine.second_worker() else {
        return Ok(Err("there is only one CPU to run on"));
    };
    let layout = Layout::of(Regime::Hot, BLKSIZE, 1, SESSIONS, 0);
    let shape = Shape { blksize: BLKSIZE, windowsize: 1, layout, tsize: false };
    let catalogue = Arc::new(layout.build()?);
    let pools = [machine.pool("worker_0")?, machine.pool("worker_1")?];
    let [mut first, mut second] = {
        let mut side = |pool| Side::new(machine, clock, shape, Parts { pool, catalogue: &catalogue });
        [side(&pools[0])?, side(&pools[1])?]
    };
    first.prepare(&shape)?;
    second = on_lcore(machine, lcore, second, move |side| side.prepare(&shape), || Ok(()))?;
    let windows = effort.windows;
    let mut good = 0;
    // Both workers must be left alone at the same time, which a machine that others use grants seldom.
    for _ in 0..ATTEMPTS * effort.rounds {
        first.run(Phase::Alone, &AtomicU32::new(0), 1, windows)?;
        let alone = move |side: &mut Side| side.run(Phase::Alone, &AtomicU32::new(0), 1, windows);
        second = on_lcore(machine, lcore, second, alone, || Ok(()))?;
        let gate = Arc::new(AtomicU32::new(0));
        let other_gate = Arc::clone(&gate);
        let together = move |side: &mut Side| side.run(Phase::Together, &other_gate, 2, windows);
        second = on_lcore(machine, lcore, second, together, || first.run(Phase::Together, &gate, 2, windows))?;
        let records = [&first.alone, &second.alone, &first.together, &second.together];
        good += u32::from(records.into_iter().all(Windows::last_round_counts));
        if good == effort.rounds {
            break;
        }
    }
    let sides = [&first, &second];
    Ok(summarize(cpus, sides.map(|side| &side.alone), sides.map(|side| &side.together)))
}

fn summarize(cpus: [u32; 2], alone: [&Windows; 2], together: [&Windows; 2]) -> Result<Scaling, &'static str> {
    let [a, b] = alone.map(Windows::round_medians);
    let [c, d] = together.map(Windows::round_medians);
    let mut ratios = Windows::default();
    for (((&a, &b), &c), &d) in a.iter().zip(&b).zip(&c).zip(&d) {
        ratios.push(both_over_one([a, b], [c, d]));
    }
    let ratio = ratios.summary();
    if ratio.windows == 0 {
        return Err("in every round a worker was taken off its CPU all the time");
    }
    let (alone, together) = (alone.map(Windows::summary), together.map(Windows::summary));
    let efficiency = [0, 1].map(|worker| alone[worker].median / together[worker].median);
    Ok(Scaling { cpus, same_core: same_core(cpus), alone, together, efficiency, ratio })
}

/// Pairs per second of two workers at once over the mean of each alone, from their cycles per pair.
fn both_over_one(alone: [Option<f64>; 2], together: [Option<f64>; 2]) -> Option<f64> {
    let one = f64::midpoint(1.0 / alone[0]?, 1.0 / alone[1]?);
    Some((1.0 / together[0]? + 1.0 / together[1]?) / one)
}

/// Threads of one core have the same list of siblings.
fn same_core(cpus: [u32; 2]) -> Option<bool> {
    let siblings =
        |cpu: u32| fs::read_to_string(format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")).ok();
    Some(siblings(cpus[0])? == siblings(cpus[1])?)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the values are exact")]
mod tests {
    use super::*;

    fn windows(rounds: &[Option<f64>]) -> Windows {
        let mut windows = Windows::default();
        for &value in rounds {
            windows.begin_round();
            windows.push(value);
        }
        windows
    }

    #[test]
    fn two_that_do_not_disturb_each_other_are_twice_one() {
        assert_eq!(both_over_one([Some(100.0), Some(100.0)], [Some(100.0), Some(100.0)]), Some(2.0));
        assert_eq!(both_over_one([Some(100.0), Some(200.0)], [Some(100.0), Some(200.0)]), Some(2.0), "unequal CPUs");
        assert_eq!(both_over_one([Some(100.0), Some(100.0)], [Some(200.0), Some(200.0)]), Some(1.0), "no gain");
        assert_eq!(both_over_one([Some(100.0), None], [Some(100.0), Some(100.0)]), None);
    }

    #[test]
    fn disturbed_rounds_do_not_count() {
        let (steady, gap) = (windows(&[Some(64.0), Some(64.0)]), windows(&[Some(128.0), None]));
        let scaling = summarize([0, 1], [&steady, &steady], [&gap, &steady]).expect("a round is left");
        assert_eq!((scaling.ratio.median, scaling.ratio.windows, scaling.ratio.dropped), (1.5, 1, 1));
        assert_eq!(scaling.efficiency, [0.5, 1.0]);
        let nothing = windows(&[None, None]);
        assert!(summarize([0, 1], [&steady, &steady], [&nothing, &steady]).is_err());
    }
}
