//! Cycles per ACK→DATA pair on three rungs over one port pair: a bare loop, a null responder, the full engine.

use thiserror::Error;

/// Cycles per ACK→DATA pair on three rungs over one port pair: a bare loop, a null responder, the full engine.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Why there is no result.
#[derive(Debug, Error)]
pub(crate) enum Failure {}

pub(crate) fn run(_args: &Args) -> Result<(), Failure> {
    Ok(())
}
