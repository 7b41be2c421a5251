//! What is served: files whose bytes follow from their number and the offset, so that a reply can be checked without asking the
//! server's own memory. Never touches a disk.

use dataplane::files::{ArenaError, BuildError, Catalogue, CatalogueBuilder, GenerationId, NameOptions};
use serde::{Deserialize, Serialize};
use std::fs;
use thiserror::Error;

/// Workers that share the files.
const WORKERS_MAX: u16 = 2;

/// Bytes that the files of a case may take together.
const CONTENT_BYTES_MAX: u64 = 2 << 30;

/// Hot: so many files, of which all clients read the same few blocks at a time.
const HOT_FILES: u64 = 4;

/// Bytes of all hot files together.
const HOT_BYTES: u64 = 128 << 20;

/// Cold: what is read between two readings of the same block, in last-level caches.
const COLD_CACHES: u64 = 8;

/// Most windows that a file holds; more would never be read in a run.
const FILE_WINDOWS_MAX: u64 = 8_192;

/// What is assumed where the machine does not tell its last-level cache.
const CACHE_BYTES_DEFAULT: u64 = 32 << 20;

/// Which content regime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Regime {
    /// Few files: a boot storm; what is sent was sent a moment ago.
    Hot,
    /// Many files, several times the last-level cache, in random order.
    Cold,
}

/// Why there is no content.
#[derive(Debug, Error)]
pub(crate) enum ContentError {
    /// No memory.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// The files do not fit.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// How many files of what length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Files, numbered from 0 and named `f0`, `f1` and so on.
    pub(crate) files: u32,
    /// Bytes of each: a multiple of the block size, so that every block but the last, empty one is full.
    pub(crate) file_bytes: u64,
}

impl Layout {
    /// The files for a case.
    ///
    /// Cold: no block is read again before eight last-level caches have been read in between. With as many files as sessions no
    /// block is read twice at all; with fewer, all sessions of one pass read `files` different windows in random order.
    pub(crate) fn of(regime: Regime, blksize: u16, windowsize: u16, sessions: u32, cache_bytes: u64) -> Self {
        let window_bytes = u64::from(blksize) * u64::from(windowsize);
        let (files, all_bytes) = match regime {
            Regime::Hot => (HOT_FILES, HOT_BYTES),
            Regime::Cold => {
                let apart = (COLD_CACHES * cache_bytes).div_ceil(window_bytes);
                (apart.min(u64::from(sessions)).max(1), CONTENT_BYTES_MAX)
            }
        };
        let windows = (all_bytes / files / window_bytes).clamp(3, FILE_WINDOWS_MAX);
        Self { files: u32::try_from(files).unwrap_or(u32::MAX), file_bytes: windows * window_bytes }
    }

    /// Files of one block each, which is not full.
    pub(crate) const fn one_block(files: u32, file_bytes: u64) -> Self {
        Self { files, file_bytes }
    }

    /// Bytes of all files together.
    pub(crate) fn all_bytes(&self) -> u64 {
        u64::from(self.files) * self.file_bytes
    }

    /// Builds the catalogue.
    pub(crate) fn build(&self) -> Result<Catalogue, ContentError> {
        let len = usize::try_from(self.file_bytes).unwrap_or(usize::MAX);
        let capacity = len.next_multiple_of(64).saturating_mul(self.files as usize);
        let mut builder = CatalogueBuilder::new(GenerationId(0), NameOptions::default(), capacity, false)?;
        let mut bytes = vec![0; len];
        for file in 0..self.files {
            fill(file, 0, &mut bytes);
            let id = builder.add_file(&bytes)?;
            builder.add_name(name(file).as_bytes(), id)?;
        }
        let mut catalogue = builder.finish()?;
        // Hits are counted, as bypassd does.
        catalogue.keep_tallies(WORKERS_MAX);
        Ok(catalogue)
    }
}

/// The name of a file.
pub(crate) fn name(file: u32) -> String {
    format!("f{file}")
}

/// The bytes of a file from `offset` on.
pub(crate) fn fill(file: u32, offset: u64, out: &mut [u8]) {
    let skip = usize::try_from(offset % 8).unwrap_or(0);
    let (head, rest) = out.split_at_mut(if skip == 0 { 0 } else { (8 - skip).min(out.len()) });
    head.copy_from_slice(&word(file, offset / 8)[skip..skip + head.len()]);
    let first = offset.div_ceil(8);
    for (index, place) in (first..).zip(rest.chunks_mut(8)) {
        place.copy_from_slice(&word(file, index)[..place.len()]);
    }
}

/// Eight bytes of a file: the finaliser of SplitMix64 over file and position.
fn word(file: u32, index: u64) -> [u8; 8] {
    let mut x = (u64::from(file) << 40) ^ index ^ 0x9E37_79B9_7F4A_7C15;
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (x ^ (x >> 31)).to_le_bytes()
}

/// Size of the last-level cache, in bytes, as the kernel tells it.
pub(crate) fn last_level_cache_bytes() -> u64 {
    let read = |index: u32, what: &str| {
        fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{what}")).ok()
    };
    (0..8)
        .filter_map(|index| {
            let level: u32 = read(index, "level")?.trim().parse().ok()?;
            let kib: u64 = read(index, "size")?.trim().strip_suffix('K')?.parse().ok()?;
            Some((level, kib * 1024))
        })
        .max()
        .map_or(CACHE_BYTES_DEFAULT, |(_, bytes)| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::files::Lookup;

    #[test]
    fn any_part_of_a_file_is_the_same_part() {
        let mut whole = [0; 100];
        fill(7, 0, &mut whole);
        for offset in 0..100 {
            let mut part = vec![0; (100 - offset).min(17)];
            fill(7, offset as u64, &mut part);
            assert_eq!(part, whole[offset..offset + part.len()], "from {offset}");
        }
        let mut other = [0; 100];
        fill(8, 0, &mut other);
        assert_ne!(whole, other);
    }

    #[test]
    fn the_catalogue_holds_these_bytes() {
        let layout = Layout { files: 3, file_bytes: 1428 };
        let catalogue = layout.build().unwrap();
        let parsed = dataplane::files::Name::parse(name(2).as_bytes(), catalogue.name_options()).unwrap();
        let Lookup::File(id) = catalogue.lookup(&parsed) else { panic!("not found") };
        let mut expected = [0; 28];
        fill(2, 1400, &mut expected);
        assert_eq!(catalogue.bytes(id, 1400..2000), expected);
    }

    #[test]
    fn cold_content_is_larger_than_the_cache_and_bounded() {
        for blksize in [512, 1428, 8192] {
            for windowsize in [1, 16] {
                for sessions in [1_000, 100_000, 1_000_000] {
                    let layout = Layout::of(Regime::Cold, blksize, windowsize, sessions, 32 << 20);
                    assert!(layout.all_bytes() <= CONTENT_BYTES_MAX + (CONTENT_BYTES_MAX >> 1), "{layout:?}");
                    assert!(layout.all_bytes() >= 4 * (32 << 20), "{layout:?}");
                    assert_eq!(layout.file_bytes % (u64::from(blksize) * u64::from(windowsize)), 0);
                }
            }
        }
    }
}
