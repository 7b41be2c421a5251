//! What was counted and where: the format of the baseline.

use super::environment::Environment;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};
use thiserror::Error;

/// The instructions of one scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Count {
    /// Instructions in all counted turns.
    pub(crate) instructions: u64,
    /// By how many packets (or turns, or blocks) they are divided.
    pub(crate) packets: u64,
}

impl Count {
    /// Instructions per packet.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(crate) fn per_packet(self) -> f64 {
        self.instructions as f64 / self.packets.max(1) as f64
    }
}

/// Counts by scenario, and what else they depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// Where they hold.
    pub(crate) environment: Environment,
    /// By name.
    pub(crate) counts: BTreeMap<String, Count>,
}

/// Why a record could not be read or written.
#[derive(Debug, Error)]
pub(crate) enum RecordError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Format { path: PathBuf, source: serde_json::Error },
}

impl Record {
    pub(crate) fn read(path: &Path) -> Result<Self, RecordError> {
        let text = fs::read_to_string(path).map_err(|source| RecordError::File { path: path.to_owned(), source })?;
        serde_json::from_str(&text).map_err(|source| RecordError::Format { path: path.to_owned(), source })
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), RecordError> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|source| RecordError::Format { path: path.to_owned(), source })?;
        fs::write(path, text + "\n").map_err(|source| RecordError::File { path: path.to_owned(), source })
    }
}
