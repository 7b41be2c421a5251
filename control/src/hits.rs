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

#[cfg(test)]
mod tests {
    use dataplane::files::{CatalogueBuilder, GenerationId, NameOptions};

    use super::*;

    fn catalogue(generation: u32, names: &[&str]) -> Catalogue {
        let options = NameOptions { backslash: true, fold_case: false };
        let mut builder = CatalogueBuilder::new(GenerationId(generation), options, 4_096, false).unwrap();
        for name in names {
            let id = builder.add_file(name.as_bytes()).unwrap();
            builder.add_name(name.as_bytes(), id).unwrap();
        }
        let mut catalogue = builder.finish().unwrap();
        catalogue.keep_tallies(2);
        catalogue
    }

    fn id(catalogue: &Catalogue, name: &str) -> FileId {
        catalogue.files().find(|file| file.name() == name.as_bytes()).unwrap().id()
    }

    fn serve(catalogue: &Catalogue, worker: u16, name: &str, bytes: u64) {
        let tally = catalogue.tally(worker, id(catalogue, name)).unwrap();
        tally.count_begin();
        tally.count_end(bytes);
    }

    #[test]
    fn a_name_keeps_its_hits_over_catalogues_whatever_its_number() {
        let (old, new) = (catalogue(1, &["a", "b"]), catalogue(2, &["0", "b", "c"]));
        let mut earlier = EarlierHits::default();
        serve(&old, 0, "b", 10);
        serve(&old, 1, "b", 20);
        serve(&old, 1, "a", 1);
        assert_eq!(earlier.of(&old, id(&old, "b")), Hits { hits: 2, bytes: 30 });
        earlier.retire(&old);
        serve(&new, 0, "b", 5);
        assert_eq!(earlier.of(&new, id(&new, "b")), Hits { hits: 3, bytes: 35 });
        assert_eq!(earlier.of(&new, id(&new, "c")), Hits::default());
        earlier.retire(&new);
        let next = catalogue(3, &["a", "b"]);
        assert_eq!(earlier.of(&next, id(&next, "b")), Hits { hits: 3, bytes: 35 });
        assert_eq!(earlier.of(&next, id(&next, "a")), Hits { hits: 1, bytes: 1 }, "it came back");
    }

    #[test]
    fn a_worker_without_a_tally_counts_nothing() {
        let catalogue = catalogue(1, &["a"]);
        assert!(catalogue.tally(2, id(&catalogue, "a")).is_none());
    }
}
