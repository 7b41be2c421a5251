//! How often files were asked for, over all catalogues since the start: a catalogue counts from zero, and what an older one counted
//! is kept by name.

use std::collections::HashMap;

use dataplane::files::{Catalogue, FileId};

/// Transfers begun, and bytes that arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// Transfers begun.
    pub hits: u64,
    /// Bytes that clients acknowledged, of transfers that have ended.
    pub bytes: u64,
}

/// What catalogues counted that are no more.
#[derive(Clone, Debug, Default)]
pub struct EarlierHits(HashMap<Vec<u8>, Hits>);

impl EarlierHits {
    /// Keeps what a catalogue counted; to be called once, when no transfer reads it any more. Counts of a file are kept under its
    /// own name, not its aliases.
    pub fn retire(&mut self, catalogue: &Catalogue) {
        for file in catalogue.files() {
            let (hits, bytes) = catalogue.tally_total(file.id());
            if hits > 0 {
                let kept = self.0.entry(file.name().to_vec()).or_default();
                kept.hits += hits;
                kept.bytes += bytes;
            }
        }
    }

    /// Hits of a file of the current catalogue, now and before.
    #[must_use]
    pub fn of(&self, catalogue: &Catalogue, file: FileId) -> Hits {
        let (hits, bytes) = catalogue.tally_total(file);
        let earlier = self.0.get(catalogue.file(file).name()).copied().unwrap_or_default();
        Hits { hits: earlier.hits + hits, bytes: earlier.bytes + bytes }
    }
}
