//! What a reload answers: what is new, what it cost, and which settings it could not change.

use serde::{Deserialize, Serialize};

/// `reload`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Generation of the files that new transfers get.
    pub generation: u64,
    /// Whether that is a new one; false when no file and no name has changed.
    pub renewed: bool,
    /// Files that are served.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Names that were not served before.
    pub added: u64,
    /// Names with other bytes than before.
    pub changed: u64,
    /// Names that are not served any more.
    pub removed: u64,
    /// Names with the same bytes as before.
    pub unchanged: u64,
    /// Files that were read.
    pub read_files: u64,
    /// Their bytes.
    pub read_bytes: u64,
    /// Files that were taken over from memory, because nothing has happened to them.
    pub reused_files: u64,
    /// Paths that are not served, for whatever reason; `show files` says which.
    pub left_out: u64,
    /// Pages that hold the files, as in `show files`.
    pub page_kind: String,
    /// Time to look at the tree, read what is new and build the catalogue.
    pub load_seconds: f64,
    /// Time from the first worker being told until the last one served the new files and settings; 0 when there was nothing to tell.
    pub swap_us: u64,
    /// Settings of the configuration file that hold from now on.
    #[serde(default)]
    pub settings: Vec<SettingChange>,
    /// Settings of the configuration file that differ from what runs and need a restart.
    #[serde(default)]
    pub needs_restart: Vec<SettingChange>,
}

/// A setting that the configuration file gives another value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingChange {
    /// Its key: `limits.max_window_blocks`.
    pub key: String,
    /// What held, or still holds.
    pub old: String,
    /// What the file says.
    pub new: String,
}
