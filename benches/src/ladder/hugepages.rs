//! Hugepages for two processes that share memory: reserved for the run where the machine has too few, given back afterwards.

use std::fs;
use thiserror::Error;

const COUNT: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
const FREE: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";

/// Pages of 2 MiB that both processes need together.
const NEEDED: u64 = 288;

/// Why there are none.
#[derive(Debug, Error)]
pub(crate) enum HugepageError {
    /// The kernel does not tell, or may not be asked.
    #[error(
        "hugepages of 2 MiB cannot be reserved ({0}): run as root, or reserve {NEEDED}: dpdk-hugepages.py --setup 576M"
    )]
    Forbidden(#[from] std::io::Error),
    /// Too little memory in one piece.
    #[error("{free} hugepages of 2 MiB are free and {NEEDED} are needed: end other programs, or reserve them at boot")]
    TooFew {
        /// What there is.
        free: u64,
    },
}

/// Enough free hugepages. The former number comes back when it is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    former: Option<u64>,
}

impl Reservation {
    /// Reserves what is missing.
    pub(crate) fn make() -> Result<Self, HugepageError> {
        let (count, free) = (read(COUNT)?, read(FREE)?);
        if free >= NEEDED {
            return Ok(Self { former: None });
        }
        fs::write(COUNT, (count + NEEDED - free).to_string())?;
        let reservation = Self { former: Some(count) };
        match read(FREE)? {
            free if free < NEEDED => Err(HugepageError::TooFew { free }),
            _ => Ok(reservation),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(former) = self.former
            && let Err(error) = fs::write(COUNT, former.to_string())
        {
            eprintln!("ladder: {former} hugepages could not be restored in {COUNT}: {error}");
        }
    }
}

fn read(path: &str) -> std::io::Result<u64> {
    fs::read_to_string(path)?.trim().parse().map_err(std::io::Error::other)
}
