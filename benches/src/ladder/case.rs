//! One case: the four rungs on four links, opened, verified and measured in turn.
//!
//! A turn is one burst: the generator sends 32 ACKs, the rung is polled until all replies are there, the generator takes them.
//! Only the polls are between two readings of the TSC, and the cost of a reading is subtracted: the generator is never inside.

use super::content::{ContentError, Regime};
use super::generator::{Batch, Generator, LoadError, PREFIX_LEN, Replies, SERVER, Shape};
use super::report::Case as Record;
use super::rungs::{Bare, Full, FullConfig, Null, Rung};
use super::setup::{Link, Machine, SetupError, mtu};
use super::statistics::{Stopwatch, Windows, noise, reading_cost};
use core::net::IpAddr;
use dataplane::dpdk::{LaunchError, QueuePair, Tsc, WorkerPanic};
use dataplane::engine::{LocalAddress, TooManyAddresses};
use dataplane::files::Catalogue;
use dataplane::time::Duration;
use hdrhistogram::CreationError;
use std::sync::Arc;
use thiserror::Error;

/// Polls within which a burst must be answered.
const POLLS_MAX: u32 = 1_000;

/// Bursts per rung that are checked to the last byte.
const VERIFIED_BURSTS: u32 = 256;

/// Microseconds of the engine's time that pass per transfer while nothing is measured.
const QUIET_US: u64 = 1;

/// The engine's time for a batch that is not measured: however slow the machine is, the first transfers must not run out of
/// patience before the last ones are there.
fn quiet_time(batch: &Batch) -> Duration {
    Duration::from_micros(QUIET_US * batch.len() as u64)
}

/// Why a case has no result.
#[derive(Debug, Error)]
pub(crate) enum CaseError {
    /// No ports.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// No files.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// No engine.
    #[error(transparent)]
    Address(#[from] TooManyAddresses),
    /// Replies are missing or wrong.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The second worker was not launched.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The second worker died.
    #[error(transparent)]
    Panic(#[from] WorkerPanic),
    /// No histogram.
    #[error(transparent)]
    Histogram(#[from] CreationError),
}

/// What is varied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) blksize: u16,
    pub(crate) windowsize: u16,
    pub(crate) regime: Regime,
    pub(crate) sessions: u32,
}

/// How long is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Rounds over all rungs.
    pub(crate) rounds: u32,
    /// Windows per rung and round.
    pub(crate) windows: u32,
}

/// A rung, the other end of its link, and what it has shown so far.
pub(crate) struct Station<R> {
    name: &'static str,
    rung: R,
    link: QueuePair,
    windows: Windows,
}

impl<R: Rung> Station<R> {
    pub(crate) fn new(name: &'static str, rung: R, link: QueuePair) -> Self {
        Self { name, rung, link, windows: Windows::default() }
    }

    pub(crate) fn rung_mut(&mut self) -> &mut R {
        &mut self.rung
    }

    /// The rung, and the generator's end of its link.
    pub(crate) fn ends(&mut self) -> (&mut R, &mut QueuePair) {
        (&mut self.rung, &mut self.link)
    }

    /// Polls until `expected` replies are there; returns the cycles of the polls.
    #[inline]
    fn poll_until(
        &mut self,
        clock: &Clock,
        expected: u64,
        mut collect: impl FnMut(&mut QueuePair) -> Result<u64, LoadError>,
    ) -> Result<u64, LoadError> {
        let (mut cycles, mut found) = (0, 0);
        for _ in 0..POLLS_MAX {
            self.rung.resume();
            let begin = clock.tsc.ticks();
            self.rung.poll();
            let end = clock.tsc.ticks();
            self.rung.pause();
            cycles += (end - begin).saturating_sub(clock.reading_cost);
            found += collect(&mut self.link)?;
            if found >= expected {
                return Ok(cycles);
            }
        }
        Err(LoadError::Missing { rung: self.name, found, expected, polls: POLLS_MAX, counted: self.rung.describe() })
    }

    /// One burst of ACKs and its replies; returns cycles and pairs.
    #[inline]
    pub(crate) fn turn(
        &mut self,
        clock: &Clock,
        generator: &mut Generator,
        batch: &Batch,
        load: &Load<'_>,
    ) -> Result<(u64, u64), LoadError> {
        generator.send_acks(&mut self.link, batch, load.frame_len)?;
        let pairs = batch.len() as u64 * load.replies_per_frame;
        let cycles = self.poll_until(clock, pairs, |link| generator.collect(link, load.replies))?;
        Ok((cycles, pairs))
    }

    /// Opens the transfers of some clients, up to the first full window; returns the cycles that it took.
    pub(crate) fn open(&mut self, clock: &Clock, generator: &mut Generator, batch: &[u32]) -> Result<u64, LoadError> {
        generator.send_requests(&mut self.link, batch)?;
        self.poll_until(clock, batch.len() as u64, |link| generator.collect_first(link))
    }

    /// Sends the clients' ACKs, takes `replies` new replies; returns the cycles that it took.
    pub(crate) fn acknowledge(
        &mut self,
        clock: &Clock,
        generator: &mut Generator,
        batch: &[u32],
        replies: u64,
    ) -> Result<u64, LoadError> {
        generator.send_acks(&mut self.link, batch, super::verify::FRAME_MIN)?;
        self.poll_until(clock, replies, |link| generator.collect(link, Replies::Files))
    }

    /// Begins the transfers of a batch anew whose files end.
    pub(crate) fn renew(&mut self, clock: &Clock, generator: &mut Generator, batch: &Batch) -> Result<(), LoadError> {
        let over = generator.exhausted(batch);
        if over.is_empty() {
            return Ok(());
        }
        generator.send_aborts(&mut self.link, &over)?;
        self.rung.poll();
        self.open(clock, generator, &over).map(|_| ())
    }

    /// Measures for some windows; the first one warms the caches up and does not count.
    fn round(
        &mut self,
        clock: &Clock,
        generator: &mut Generator,
        load: &Load<'_>,
        windows: u32,
    ) -> Result<(), LoadError> {
        let mut stopwatch = Stopwatch::start(&clock.tsc);
        let (mut complete, mut good) = (0, 0);
        self.windows.begin_round();
        // On a machine that others use some windows are lost; where nearly all are, the round ends all the same.
        while good < windows && complete <= 4 * windows {
            let batch = generator.next_batch();
            if load.replies == Replies::Files {
                self.renew(clock, generator, &batch)?;
            }
            let (cycles, pairs) = self.turn(clock, generator, &batch, load)?;
            if let Some(window) = stopwatch.add(&clock.tsc, cycles, pairs) {
                if complete > 0 {
                    self.windows.push(window);
                    good += u32::from(window.is_some());
                }
                complete += 1;
            }
        }
        Ok(())
    }

    /// Checks every byte of some bursts of replies. That takes long, and the engine's time does not count it.
    pub(crate) fn verify(
        &mut self,
        clock: &Clock,
        generator: &mut Generator,
        load: &Load<'_>,
    ) -> Result<(), LoadError> {
        generator.verify = true;
        for _ in 0..VERIFIED_BURSTS {
            let batch = generator.next_batch();
            self.rung.advance(quiet_time(&batch));
            if load.replies == Replies::Files {
                self.renew(clock, generator, &batch)?;
            }
            self.turn(clock, generator, &batch, load)?;
        }
        generator.verify = false;
        Ok(())
    }
}

/// The TSC, and what reading it costs.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) tsc: Tsc,
    pub(crate) reading_cost: u64,
}

impl Clock {
    pub(crate) fn new(tsc: Tsc) -> Self {
        Self { tsc, reading_cost: reading_cost(&tsc) }
    }
}

/// What is sent to a rung, and what comes back.
pub(crate) struct Load<'a> {
    pub(crate) frame_len: usize,
    pub(crate) replies_per_frame: u64,
    pub(crate) replies: Replies<'a>,
}

/// Opens all transfers of a generator: request, first reply, first window.
pub(crate) fn open_all(
    station: &mut Station<Full>,
    clock: &Clock,
    generator: &mut Generator,
    shape: &Shape,
) -> Result<(), LoadError> {
    let mut opened = 0;
    while opened < generator.clients() {
        let mut batch = generator.next_batch();
        batch.truncate((generator.clients() - opened) as usize);
        opened += u32::try_from(batch.len()).unwrap_or(u32::MAX);
        station.rung.advance(quiet_time(&batch));
        station.open(clock, generator, &batch)?;
        station.acknowledge(clock, generator, &batch, batch.len() as u64 * u64::from(shape.windowsize))?;
    }
    Ok(())
}

/// An R2 on a link of its own.
pub(crate) fn full_station(
    machine: &mut Machine,
    catalogue: &Arc<Catalogue>,
    blksize: u16,
    sessions: u32,
) -> Result<Station<Full>, CaseError> {
    let link = machine.link(blksize)?;
    Ok(full_station_on(link, machine.tsc, catalogue, blksize, sessions)?)
}

/// An R2 on this link.
pub(crate) fn full_station_on(
    link: Link,
    tsc: Tsc,
    catalogue: &Arc<Catalogue>,
    blksize: u16,
    sessions: u32,
) -> Result<Station<Full>, TooManyAddresses> {
    let config = FullConfig {
        catalogue: Arc::clone(catalogue),
        mac: SERVER.mac,
        address: LocalAddress { ip: IpAddr::V4(SERVER.ip), prefix_len: PREFIX_LEN },
        mtu: mtu(blksize),
        sessions,
    };
    Ok(Station::new("R2", Full::new(link.server, config, tsc)?, link.generator))
}

/// Measures one case.
pub(crate) fn measure(
    machine: &mut Machine,
    clock: &Clock,
    point: &Point,
    shape: &Shape,
    effort: &Effort,
    catalogue: &Arc<Catalogue>,
) -> Result<Record, CaseError> {
    let bare = |machine: &mut Machine, name| {
        machine.link(point.blksize).map(|link| Station::new(name, Bare::new(link.server, None), link.generator))
    };
    let (mut r0a, mut r0b) = (bare(machine, "R0")?, bare(machine, "R0 again")?);
    let payload = vec![0x5A; usize::from(point.blksize)];
    let link = machine.link(point.blksize)?;
    let mut r1 = Station::new("R1", Null::new(link.server, payload.clone(), point.windowsize), link.generator);
    let mut r2 = full_station(machine, catalogue, point.blksize, point.sessions)?;
    let mut generator = Generator::new(point.sessions, *shape);
    open_all(&mut r2, clock, &mut generator, shape)?;

    let window = u64::from(point.windowsize);
    let bare = Load { frame_len: shape.data_frame_len(), replies_per_frame: 1, replies: Replies::Returned };
    let null =
        Load { frame_len: super::verify::FRAME_MIN, replies_per_frame: window, replies: Replies::Constant(&payload) };
    let full = Load { replies: Replies::Files, ..null };
    r0a.verify(clock, &mut generator, &bare)?;
    r0b.verify(clock, &mut generator, &bare)?;
    r1.verify(clock, &mut generator, &null)?;
    r2.verify(clock, &mut generator, &full)?;
    for _ in 0..effort.rounds {
        r0a.round(clock, &mut generator, &bare, effort.windows)?;
        r1.round(clock, &mut generator, &null, effort.windows)?;
        r2.round(clock, &mut generator, &full, effort.windows)?;
        r0b.round(clock, &mut generator, &bare, effort.windows)?;
    }
    Ok(Record {
        blksize: point.blksize,
        windowsize: point.windowsize,
        content: point.regime,
        sessions: point.sessions,
        files: shape.layout.files,
        content_bytes: shape.layout.all_bytes(),
        r0a: r0a.windows.summary(),
        r0b: r0b.windows.summary(),
        r1: r1.windows.summary(),
        r2: r2.windows.summary(),
        noise_cycles: noise(&r0a.windows, &r0b.windows),
        verified_replies: generator.verified,
        blocks_again: r2.rung.counters().blocks_again.get(),
        reopened: generator.reopened,
    })
}
