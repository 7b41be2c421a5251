//! The result: a record per case, the figures that others read, a table for people.

use super::content::Regime;
use super::latency::Latency;
use super::scaling::Scaling;
use super::statistics::Summary;
use serde::Serialize;
use std::fmt::{self, Write};

/// One case: all figures in TSC cycles per pair, a pair being one DATA packet out (R0: one frame in and out).
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Case {
    pub(crate) blksize: u16,
    pub(crate) windowsize: u16,
    pub(crate) content: Regime,
    pub(crate) sessions: u32,
    pub(crate) files: u32,
    pub(crate) content_bytes: u64,
    pub(crate) r0a: Summary,
    pub(crate) r0b: Summary,
    pub(crate) r1: Summary,
    pub(crate) r2: Summary,
    /// What R0 measured twice differs by.
    pub(crate) noise_cycles: f64,
    /// Replies that were checked to the last byte.
    pub(crate) verified_replies: u64,
    /// DATA packets that R2 sent again.
    pub(crate) blocks_again: u64,
    /// Transfers that came to their end and were begun anew, outside of the measurement.
    pub(crate) reopened: u64,
}

impl Case {
    fn r0(&self) -> f64 {
        f64::midpoint(self.r0a.median, self.r0b.median)
    }

    /// Cycles that the full server adds to the bare loop.
    pub(crate) fn added(&self) -> f64 {
        self.r2.median - self.r0()
    }

    /// Cycles that it adds to the null responder.
    pub(crate) fn added_to_null(&self) -> f64 {
        self.r2.median - self.r1.median
    }

    /// Pairs per second of the full server over those of the null responder.
    pub(crate) fn r2_over_r1(&self) -> f64 {
        self.r1.median / self.r2.median
    }

    /// Pairs per second of the full server over those of the bare loop.
    pub(crate) fn r2_over_r0(&self) -> f64 {
        self.r0() / self.r2.median
    }
}

/// A case with the figures that follow from it.
#[derive(Debug, Serialize)]
struct CaseLine<'a> {
    #[serde(flatten)]
    case: &'a Case,
    added_r2_r0: f64,
    added_r2_r1: f64,
    r2_over_r0: f64,
    r2_over_r1: f64,
}

/// What the machine is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MachineFacts {
    pub(crate) cpu: String,
    pub(crate) tsc_hz: u64,
    pub(crate) last_level_cache_bytes: u64,
    /// Cycles that a reading of the TSC costs; subtracted once per poll.
    pub(crate) tsc_reading_cycles: u64,
}

/// Everything.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) port: &'static str,
    pub(crate) machine: MachineFacts,
    pub(crate) rounds: u32,
    pub(crate) cases: Vec<Case>,
    /// Cycles per one-block transfer: without options, with an OACK.
    pub(crate) one_block: Option<(Summary, Summary)>,
    pub(crate) bytes_per_session: Option<f64>,
    /// Two workers against one, or why not.
    pub(crate) scaling: Option<Result<Scaling, &'static str>>,
    /// Latency at half load, or why not.
    pub(crate) latency: Option<Result<Latency, &'static str>>,
}

/// The JSON document.
#[derive(Debug, Serialize)]
struct Document<'a> {
    port: &'a str,
    machine: &'a MachineFacts,
    rounds: u32,
    added_cycles_512: Option<f64>,
    added_cycles_1428: Option<f64>,
    r2_over_r0_512: Option<f64>,
    r2_over_r0_1428: Option<f64>,
    noise_cycles: Option<f64>,
    sessions_per_s: Option<f64>,
    sessions_per_s_oack: Option<f64>,
    one_block_cycles: Option<Summary>,
    one_block_oack_cycles: Option<Summary>,
    bytes_per_session: Option<f64>,
    workers_2_over_1: Option<f64>,
    /// Why there is none, when it was to be measured.
    workers_2_over_1_missing: Option<&'a str>,
    scaling: Option<Scaling>,
    latency: Option<Latency>,
    /// Why there is none, when it was to be measured.
    latency_missing: Option<&'a str>,
    cases: Vec<CaseLine<'a>>,
}

impl Report {
    /// The case that stands for a block size: windowsize 1, hot, the fewest sessions, as far as they were measured.
    fn headline(&self, blksize: u16) -> Option<&Case> {
        self.cases
            .iter()
            .filter(|case| case.blksize == blksize)
            .min_by_key(|case| (case.windowsize, case.content == Regime::Cold, case.sessions))
    }

    #[expect(clippy::cast_precision_loss, reason = "a frequency is far below 2^53")]
    fn per_second(&self, cycles: &Summary) -> f64 {
        self.machine.tsc_hz as f64 / cycles.median
    }

    /// As JSON.
    pub(crate) fn to_json(&self) -> Result<String, serde_json::Error> {
        let (small, large) = (self.headline(512), self.headline(1428));
        serde_json::to_string_pretty(&Document {
            port: self.port,
            machine: &self.machine,
            rounds: self.rounds,
            added_cycles_512: small.map(Case::added),
            added_cycles_1428: large.map(Case::added),
            r2_over_r0_512: small.map(Case::r2_over_r0),
            r2_over_r0_1428: large.map(Case::r2_over_r0),
            noise_cycles: small.or(large).map(|case| case.noise_cycles),
            sessions_per_s: self.one_block.as_ref().map(|(plain, _)| self.per_second(plain)),
            sessions_per_s_oack: self.one_block.as_ref().map(|(_, oack)| self.per_second(oack)),
            one_block_cycles: self.one_block.map(|(plain, _)| plain),
            one_block_oack_cycles: self.one_block.map(|(_, oack)| oack),
            bytes_per_session: self.bytes_per_session,
            workers_2_over_1: self.scaling.and_then(Result::ok).map(|scaling| scaling.ratio.median),
            workers_2_over_1_missing: self.scaling.and_then(Result::err),
            scaling: self.scaling.and_then(Result::ok),
            latency: self.latency.and_then(Result::ok),
            latency_missing: self.latency.and_then(Result::err),
            cases: self
                .cases
                .iter()
                .map(|case| CaseLine {
                    case,
                    added_r2_r0: case.added(),
                    added_r2_r1: case.added_to_null(),
                    r2_over_r0: case.r2_over_r0(),
                    r2_over_r1: case.r2_over_r1(),
                })
                .collect(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MachineFacts { cpu, last_level_cache_bytes, tsc_reading_cycles, .. } = &self.machine;
        writeln!(
            f,
            "{}: {cpu}, TSC {} MHz, last-level cache {} MiB, {} rounds; a TSC reading costs {tsc_reading_cycles} cycles",
            self.port,
            self.machine.tsc_hz / 1_000_000,
            last_level_cache_bytes >> 20,
            self.rounds,
        )?;
        writeln!(f, "TSC cycles per pair: median of windows of 1 ms (p10..p90)")?;
        writeln!(
            f,
            "{:>5} {:>3} {:>4} {:>8} {:>20} {:>20} {:>20} {:>7} {:>7} {:>7} {:>6} {:>5}",
            "blk",
            "win",
            "data",
            "sessions",
            "R0 bare",
            "R1 null",
            "R2 full",
            "R2-R0",
            "R2-R1",
            "R2/R0",
            "noise",
            "drop"
        )?;
        for case in &self.cases {
            let show = |summary: &Summary| {
                let mut text = String::new();
                let _ = write!(text, "{:.1} ({:.0}..{:.0})", summary.median, summary.p10, summary.p90);
                text
            };
            let dropped = case.r0a.dropped + case.r0b.dropped + case.r1.dropped + case.r2.dropped;
            writeln!(
                f,
                "{:>5} {:>3} {:>4} {:>8} {:>20} {:>20} {:>20} {:>7.1} {:>7.1} {:>7.3} {:>6.1} {:>5}",
                case.blksize,
                case.windowsize,
                if case.content == Regime::Hot { "hot" } else { "cold" },
                case.sessions,
                show(&case.r0a),
                show(&case.r1),
                show(&case.r2),
                case.added(),
                case.added_to_null(),
                case.r2_over_r0(),
                case.noise_cycles,
                dropped,
            )?;
        }
        if let Some((plain, oack)) = &self.one_block {
            for (what, cycles) in [("without options", plain), ("with an OACK", oack)] {
                writeln!(
                    f,
                    "one-block transfers {what}: {:.2} M/s per core, {:.0} cycles ({:.0}..{:.0})",
                    self.per_second(cycles) / 1e6,
                    cycles.median,
                    cycles.p10,
                    cycles.p90
                )?;
            }
        }
        if let Some(bytes) = self.bytes_per_session {
            writeln!(f, "memory per live session: {bytes:.1} bytes resident")?;
        }
        match &self.scaling {
            Some(Ok(scaling)) => show_scaling(f, scaling)?,
            Some(Err(reason)) => writeln!(f, "two workers over one: not measured: {reason}")?,
            None => {}
        }
        match &self.latency {
            Some(Ok(latency)) => show_latency(f, latency)?,
            Some(Err(reason)) => writeln!(f, "latency at half load: not measured: {reason}")?,
            None => {}
        }
        Ok(())
    }
}

fn show_scaling(f: &mut fmt::Formatter<'_>, scaling: &Scaling) -> fmt::Result {
    let Scaling { cpus, same_core, alone, together, efficiency, ratio } = scaling;
    writeln!(
        f,
        "two workers over one: {:.3} ({:.3}..{:.3}) on CPUs {} and {}{}, {} rounds, {} dropped",
        ratio.median,
        ratio.p10,
        ratio.p90,
        cpus[0],
        cpus[1],
        match same_core {
            Some(true) => ", two threads of one core",
            Some(false) => ", two cores",
            None => "",
        },
        ratio.windows,
        ratio.dropped,
    )?;
    for worker in 0..cpus.len() {
        let (alone, together) = (&alone[worker], &together[worker]);
        writeln!(
            f,
            "  CPU {}: R2 alone {:.1} ({:.0}..{:.0}) cycles per pair, with the other one {:.1} ({:.0}..{:.0}): {:.3}",
            cpus[worker],
            alone.median,
            alone.p10,
            alone.p90,
            together.median,
            together.p10,
            together.p90,
            efficiency[worker],
        )?;
    }
    Ok(())
}

fn show_latency(f: &mut fmt::Formatter<'_>, latency: &Latency) -> fmt::Result {
    let Latency { r1, r2, ratio_p50, ratio_p99, rounds_p50, rounds_p99, load_per_s } = latency;
    writeln!(f, "latency at {:.2} M ACKs/s, generator included:", load_per_s / 1e6)?;
    for (name, rung) in [("R1", r1), ("R2", r2)] {
        writeln!(
            f,
            "  {name}: p50 {} ns, p99 {} ns; {:.2} M/s when ACKs are always due; {} replies, {} slices dropped",
            rung.p50_ns,
            rung.p99_ns,
            rung.saturated_per_s / 1e6,
            rung.samples,
            rung.dropped,
        )?;
    }
    writeln!(
        f,
        "  R2 over R1: p50 {ratio_p50:.3} (rounds {:.3}, {:.3}..{:.3}), p99 {ratio_p99:.3} (rounds {:.3}, {:.3}..{:.3})",
        rounds_p50.median, rounds_p50.p10, rounds_p50.p90, rounds_p99.median, rounds_p99.p10, rounds_p99.p90,
    )
}
