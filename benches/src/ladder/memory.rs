//! What a live transfer costs in memory: resident pages of this process, before and after.

use super::case::{CaseError, Clock, full_station, open_all};
use super::content::Layout;
use super::generator::{Generator, Shape};
use super::setup::Machine;
use std::fs;
use std::sync::Arc;

/// Bytes per session when `sessions` transfers are live in an engine that was made for so many: everything that the engine
/// allocated and the sessions touched, its fixed parts included. `None` where the kernel does not tell resident pages.
pub(crate) fn bytes_per_session(machine: &mut Machine, clock: &Clock, sessions: u32) -> Result<Option<f64>, CaseError> {
    let layout = Layout { files: 4, file_bytes: 16 << 10 };
    let shape = Shape { blksize: 512, windowsize: 1, layout, tsize: false };
    let catalogue = Arc::new(layout.build()?);
    let mut generator = Generator::new(sessions, shape);
    let before = resident_bytes();
    let mut station = full_station(machine, &catalogue, shape.blksize, sessions)?;
    open_all(&mut station, clock, &mut generator, &shape)?;
    let after = resident_bytes();
    Ok(before.zip(after).map(|(before, after)| super::statistics::ratio(after.saturating_sub(before), sessions.into())))
}

/// `VmRSS` of this process.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
