//! Adds up all blocks of all sizes of a file in one pass over its bytes, while they are in the cache. Never looks back.
//!
//! Per 16 KiB: the running sum of 32-bit words at each 64-byte chunk, which is vector code; then each block edge costs one look-up
//! in those and one masked chunk. The sum of a block is the difference of the running sums at its edges. That is exact though the
//! running sum wraps: a block's own sum is below 2^46.

use super::sums::{SumSlots, SumTable, TABLES};

/// Bytes per running sum.
const CHUNK: usize = 64;

/// Bytes taken at a time: they and their running sums fit the first-level cache.
const SPAN: usize = 16 << 10;

/// Bytes of a 32-bit word.
const WORD: usize = 4;

/// The pass over one file, or over a part of one.
#[derive(Debug)]
pub(super) struct SumPass<'s, 'a> {
    slots: &'s mut SumSlots<'a>,
    lanes: [Lane; TABLES],
    /// Of the next byte, in the file.
    position: u64,
    /// Of all words so far; wraps.
    total: u64,
}

/// Where the pass is in the blocks of one size.
#[derive(Clone, Copy, Debug)]
struct Lane {
    table: SumTable,
    /// Where the block under way ends, in the file.
    end: u64,
    /// The total where it began.
    before: u64,
    /// Its slot; `usize::MAX` when it began before this part, and is not ours.
    slot: usize,
}

impl<'s, 'a> SumPass<'s, 'a> {
    /// Begins at `offset` (a multiple of 64) of the file that has `start` and `place` in the arena. The block that `offset` cuts in
    /// two is left to somebody who sees both halves.
    pub(super) fn new(slots: &'s mut SumSlots<'a>, start: u64, place: u32, offset: u64) -> Self {
        let lanes = SumTable::all().map(|table| {
            let size = u64::from(table.blksize());
            let block = table.block_at(offset);
            let whole = block * size == offset;
            let slot = if whole { slots.slot(table, start, block, place) } else { usize::MAX };
            Lane { table, end: (block + 1) * size, before: 0, slot }
        });
        Self { slots, lanes, position: offset, total: 0 }
    }

    /// Takes the next bytes. Every piece but the last must be a multiple of 64 bytes long.
    pub(super) fn push(&mut self, piece: &[u8]) {
        for span in piece.chunks(SPAN) {
            self.push_span(span);
        }
    }

    fn push_span(&mut self, span: &[u8]) {
        let (chunks, rest) = span.as_chunks::<CHUNK>();
        let mut running = [0; SPAN / CHUNK + 1];
        let mut total = self.total;
        for (chunk, running) in chunks.iter().zip(&mut running) {
            *running = total;
            total = total.wrapping_add(words_of(chunk));
        }
        running[chunks.len()] = total;
        // An odd last byte counts as the high half of a 16-bit word (RFC 1071 §4.1), which zero bytes behind it make it.
        let mut last = [0; CHUNK];
        last[..rest.len()].copy_from_slice(rest);
        self.total = total.wrapping_add(words_of(&last));

        let behind = self.position + span.len() as u64;
        for lane in &mut self.lanes {
            let size = usize::from(lane.table.blksize());
            // An edge on the end of the span belongs to the next span, or to `finish`.
            while lane.end < behind {
                let at = usize::try_from(lane.end - self.position).unwrap_or(0);
                let (chunk, inside) = (at / CHUNK, at % CHUNK);
                let mut sum = running[chunk];
                if !size.is_multiple_of(CHUNK) {
                    sum = sum.wrapping_add(words_before(chunks.get(chunk).unwrap_or(&last), inside));
                }
                self.slots.put(lane.table, lane.slot, sum.wrapping_sub(lane.before));
                lane.before = sum;
                lane.slot = lane.slot.wrapping_add(1);
                lane.end += size as u64;
            }
        }
        self.position = behind;
    }

    /// Ends the file: keeps the sums of the last blocks, short or not.
    pub(super) fn finish(self) {
        for lane in self.lanes {
            self.slots.put(lane.table, lane.slot, self.total.wrapping_sub(lane.before));
            if lane.end == self.position {
                // The empty block that ends a transfer (RFC 1350 §6). A given-up attempt at a longer version may have been here.
                self.slots.put(lane.table, lane.slot.wrapping_add(1), 0);
            }
        }
    }
}

/// The sum of a chunk's 32-bit words, two at a time in the halves of 64 bits.
#[inline]
fn words_of(chunk: &[u8; CHUNK]) -> u64 {
    let (pairs, _) = chunk.as_chunks::<8>();
    let (mut low, mut high) = (0, 0);
    for pair in pairs {
        let pair = u64::from_ne_bytes(*pair);
        low += pair & 0xffff_ffff;
        high += pair >> 32;
    }
    low + high
}

/// The sum of the 32-bit words among the first `len` bytes of a chunk, without a branch on `len`.
#[inline]
fn words_before(chunk: &[u8; CHUNK], len: usize) -> u64 {
    let masks = &MASKS[(len / WORD) % (CHUNK / WORD)];
    let (pairs, _) = chunk.as_chunks::<8>();
    let (mut low, mut high) = (0, 0);
    for (pair, mask) in pairs.iter().zip(masks) {
        let pair = u64::from_ne_bytes(*pair) & mask;
        low += pair & 0xffff_ffff;
        high += pair >> 32;
    }
    low + high
}

/// For n words: ones over the first n words of a chunk, zeros over the rest.
const MASKS: [[u64; CHUNK / 8]; CHUNK / WORD] = {
    let mut masks = [[0; CHUNK / 8]; CHUNK / WORD];
    let mut words = 0;
    while words < CHUNK / WORD {
        let mut word = 0;
        while word < words {
            let first_of_pair = word % 2 == 0;
            let half = if first_of_pair == cfg!(target_endian = "little") { 0xffff_ffff } else { 0xffff_ffff << 32 };
            masks[words][word / 2] |= half;
            word += 1;
        }
        words += 1;
    }
    masks
};

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::time::{Duration, Instant};

    use super::super::netascii::LineCounter;
    use super::super::sums::SumTables;
    use super::*;

    /// Prints what the pass costs; `cargo test --release -p dataplane --lib cost_of_the_pass -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement: it asserts nothing"]
    fn cost_of_the_pass() {
        let piece: Vec<u8> = (0..256_usize << 10).map(|i| (i * 31 + i / 251).to_le_bytes()[0]).collect();
        let mut tables = SumTables::default();
        tables.reserve(piece.len() as u64, 1);
        let (mut sums, mut counts, mut reads) = (Duration::MAX, Duration::MAX, Duration::MAX);
        for _ in 0..2000 {
            let mut slots = tables.slots();
            let started = Instant::now();
            let mut pass = SumPass::new(&mut slots, 0, 0, 0);
            pass.push(black_box(&piece));
            pass.finish();
            sums = sums.min(started.elapsed());

            let started = Instant::now();
            let mut kept = Vec::new();
            let mut counter = LineCounter::new(&mut kept);
            counter.push(black_box(&piece));
            black_box(counter.finish());
            counts = counts.min(started.elapsed());

            let started = Instant::now();
            black_box(crate::wire::checksum::Sum::of(black_box(&piece)));
            reads = reads.min(started.elapsed());
        }
        let per_byte = |time: Duration| time.as_secs_f64() * 1e9 / piece.len() as f64;
        println!(
            "ns per byte: all sums {:.4}, one sum {:.4}, CR and LF {:.4}",
            per_byte(sums),
            per_byte(reads),
            per_byte(counts)
        );
    }
}
