//! bypassd and stock servers side by side on one veth link.

use thiserror::Error;

/// bypassd and stock servers side by side on one veth link.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Why there is no result.
#[derive(Debug, Error)]
pub(crate) enum Failure {}

pub(crate) fn run(_args: &Args) -> Result<(), Failure> {
    Ok(())
}
