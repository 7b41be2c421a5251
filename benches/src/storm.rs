//! An open-loop load generator on DPDK: many clients against any TFTP server.

use thiserror::Error;

/// An open-loop load generator on DPDK: many clients against any TFTP server.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Why there is no result.
#[derive(Debug, Error)]
pub(crate) enum Failure {}

pub(crate) fn run(_args: &Args) -> Result<(), Failure> {
    Ok(())
}
