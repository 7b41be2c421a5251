//! Whole transfers of one block, per second of the server's core: RRQ, DATA, ACK, or with options RRQ, OACK, ACK, DATA, ACK.
//! Under the default limits: finished sessions linger and make room as they do in `bypassd`, and each leaves a record for the log.

use super::case::{CaseError, Clock, Effort, full_station};
use super::content::Layout;
use super::generator::{Generator, Shape};
use super::rungs::Rung;
use super::setup::Machine;
use super::statistics::{Stopwatch, Summary, Windows};
use std::sync::Arc;

/// Files, and bytes of each.
const FILES: Layout = Layout::one_block(16, 400);

/// Clients that come one after the other; more than sessions can linger.
const CLIENTS: u32 = 200_000;

/// Bursts of transfers that are checked to the last byte.
const VERIFIED_BURSTS: u32 = 64;

/// Cycles per transfer.
pub(crate) fn measure(
    machine: &mut Machine,
    clock: &Clock,
    effort: &Effort,
    with_options: bool,
) -> Result<Summary, CaseError> {
    let shape = Shape { blksize: 512, windowsize: 1, layout: FILES, tsize: with_options };
    let catalogue = Arc::new(FILES.build()?);
    let mut station = full_station(machine, &catalogue, shape.blksize, 0)?;
    let mut generator = Generator::new(CLIENTS, shape);
    let mut windows = Windows::default();
    windows.begin_round();
    station.rung_mut().resume();
    let mut stopwatch = Stopwatch::start(&clock.tsc);
    let (mut bursts, mut complete) = (0_u32, 0);
    // One window more than asked for: the first one warms up. Verified bursts come before it.
    while complete <= effort.rounds * effort.windows {
        generator.verify = bursts < VERIFIED_BURSTS;
        let batch = generator.next_batch();
        let transfers = batch.len() as u64;
        let mut cycles = station.open(clock, &mut generator, &batch)?;
        if with_options {
            cycles += station.acknowledge(clock, &mut generator, &batch, transfers)?;
        }
        cycles += station.acknowledge(clock, &mut generator, &batch, 0)?;
        station.rung_mut().take_records();
        bursts += 1;
        if generator.verify {
            stopwatch = Stopwatch::start(&clock.tsc);
        } else if let Some(window) = stopwatch.add(&clock.tsc, cycles, transfers) {
            if complete > 0 {
                windows.push(window);
            }
            complete += 1;
        }
    }
    Ok(windows.summary())
}
