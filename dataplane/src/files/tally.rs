//! How often each file of a catalogue was asked for, and how many of its bytes arrived. Each worker writes counters of its own, and
//! only when a transfer begins or ends; anybody may read them at any time.

use super::catalogue::FileId;
use crate::counter::Counter;

/// What one worker counted of one file.
#[derive(Debug, Default)]
pub struct FileTally {
    /// Transfers begun.
    pub hits: Counter,
    /// Bytes that clients acknowledged, counted when their transfer ends; as they were sent, so that netascii counts more than
    /// the file has.
    pub bytes: Counter,
}

impl FileTally {
    /// A transfer begins; only the tally's own worker may say so.
    #[inline]
    pub fn count_begin(&self) {
        self.hits.add(1);
    }

    /// A transfer ends whose client acknowledged so many bytes; only the tally's own worker may say so.
    #[inline]
    pub fn count_end(&self, bytes: u64) {
        self.bytes.add(bytes);
    }
}

/// Tallies of a cache line: no two workers write to the same one.
const PER_LINE: usize = 4;

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([FileTally; PER_LINE]);

/// The tallies of one catalogue: for each worker 16 bytes per file.
#[derive(Debug, Default)]
pub(super) struct Tallies(Box<[Box<[Line]>]>);

impl Tallies {
    /// Zeros for `workers` workers and `files` files.
    pub(super) fn new(workers: u16, files: usize) -> Self {
        let of_one = || (0..files.div_ceil(PER_LINE)).map(|_| Line::default()).collect();
        Self((0..workers).map(|_| of_one()).collect())
    }

    /// A worker's tally of a file; `None` where none is kept.
    #[inline]
    pub(super) fn get(&self, worker: u16, file: FileId) -> Option<&FileTally> {
        let place = file.index() as usize;
        Some(&self.0.get(usize::from(worker))?.get(place / PER_LINE)?.0[place % PER_LINE])
    }

    /// Hits and bytes of a file, all workers together.
    pub(super) fn total(&self, file: FileId) -> (u64, u64) {
        (0..)
            .take(self.0.len())
            .filter_map(|worker| self.get(worker, file))
            .fold((0, 0), |(hits, bytes), tally| (hits + tally.hits.get(), bytes + tally.bytes.get()))
    }
}
