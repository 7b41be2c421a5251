//! Netascii (RFC 764, as RFC 1350 §1 uses it) as a stream that can be entered anywhere: LF is sent as CR LF, CR as CR NUL. Never
//! converts a whole file, never keeps state between reads.
//!
//! Per 4 KiB of file a count says how many bytes before its end expand, so a position is found by a binary search in the counts
//! and a scan of at most one chunk. A file without CR and LF has no counts.

/// Source bytes per count.
pub(super) const CHUNK: usize = 4096;

pub(super) const CHUNK_U64: u64 = CHUNK as u64;

/// Counts the CR and LF bytes of a file while it is read, piece by piece.
#[derive(Debug)]
pub(super) struct LineCounter<'a> {
    counts: &'a mut Vec<u64>,
    start: usize,
    total: u64,
}

impl<'a> LineCounter<'a> {
    /// Begins a file; its counts go behind those of the files before it.
    pub(super) fn new(counts: &'a mut Vec<u64>) -> Self {
        let start = counts.len();
        Self { counts, start, total: 0 }
    }

    /// Takes the next bytes of the file. Every piece but the last must be a multiple of [`CHUNK`] long.
    pub(super) fn push(&mut self, piece: &[u8]) {
        for chunk in piece.chunks(CHUNK) {
            self.total += expanding_bytes(chunk);
            self.counts.push(self.total);
        }
    }

    /// Ends the file: where its counts begin, or `None` (and nothing stored) when no byte of it expands.
    pub(super) fn finish(self) -> Option<usize> {
        if self.total > 0 {
            return Some(self.start);
        }
        self.abandon();
        None
    }

    /// Forgets the file.
    pub(super) fn abandon(self) {
        self.counts.truncate(self.start);
    }
}

/// How many bytes of `chunk` (at most [`CHUNK`]) are CR or LF. Runs of 128 are summed in bytes, which the compiler turns into vector
/// adds; a wider sum would cost it eight times the work.
fn expanding_bytes(chunk: &[u8]) -> u64 {
    chunk.chunks(128).map(|run| u64::from(run.iter().map(|&byte| u8::from(expands(byte))).sum::<u8>())).sum()
}

const fn expands(byte: u8) -> bool {
    byte == b'\r' || byte == b'\n'
}

/// A file's bytes as netascii.
#[derive(Clone, Copy, Debug)]
pub(super) struct Netascii<'a> {
    bytes: &'a [u8],
    /// For each chunk, the CR and LF bytes up to its end; empty when there are none in the file.
    counts: &'a [u64],
}

impl<'a> Netascii<'a> {
    /// `counts`: what [`LineCounter`] stored for exactly these bytes.
    pub(super) const fn new(bytes: &'a [u8], counts: &'a [u64]) -> Self {
        Self { bytes, counts }
    }

    /// Length on the wire, in bytes.
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64 + self.counts.last().copied().unwrap_or(0)
    }

    /// Copies wire bytes from `offset` on into `out`; returns how many there were.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        if offset >= self.len() {
            return 0;
        }
        let (position, mut second_half) = self.locate(offset);
        let mut done = 0;
        for &byte in &self.bytes[position..] {
            // RFC 1350 §1 with RFC 764: end of line is CR LF, a bare CR is CR NUL.
            let wire: &[u8] = match byte {
                b'\n' => b"\r\n",
                b'\r' => b"\r\0",
                _ => &[byte],
            };
            for &byte in &wire[usize::from(second_half)..] {
                let Some(place) = out.get_mut(done) else { return done };
                *place = byte;
                done += 1;
            }
            second_half = false;
        }
        done
    }

    /// The source byte that wire byte `offset` (which exists) comes from, and whether it is the second of its pair.
    fn locate(&self, offset: u64) -> (usize, bool) {
        // The last chunk whose first wire byte is not behind `offset`.
        let chunk = self.chunk_of(offset);
        let before = if chunk == 0 { 0 } else { self.counts.get(chunk - 1).copied().unwrap_or(0) };
        let mut position = chunk * CHUNK;
        let mut wire = position as u64 + before;
        if self.counts.is_empty() {
            let rest = usize::try_from(offset - wire).unwrap_or(usize::MAX);
            return (position.saturating_add(rest), false);
        }
        for &byte in &self.bytes[position..] {
            let width = if expands(byte) { 2 } else { 1 };
            if offset < wire + width {
                break;
            }
            wire += width;
            position += 1;
        }
        (position, offset > wire)
    }

    fn chunk_of(&self, offset: u64) -> usize {
        // Chunk i + 1 begins on the wire at (i + 1) * CHUNK + counts[i]; a binary search by hand, for it needs the index.
        let (mut low, mut high) = (0, self.counts.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let next_begins = (middle as u64 + 1) * CHUNK_U64 + self.counts[middle];
            if next_begins <= offset {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn model(bytes: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        for &byte in bytes {
            match byte {
                b'\n' => wire.extend(b"\r\n"),
                b'\r' => wire.extend([b'\r', 0]),
                other => wire.push(other),
            }
        }
        wire
    }

    fn counts(bytes: &[u8]) -> Vec<u64> {
        let mut counts = Vec::new();
        let mut counter = LineCounter::new(&mut counts);
        counter.push(bytes);
        let _ = counter.finish();
        counts
    }

    fn check_all_offsets(bytes: &[u8], step: usize) {
        let (wire, counts) = (model(bytes), counts(bytes));
        let netascii = Netascii::new(bytes, &counts);
        assert_eq!(netascii.len(), wire.len() as u64);
        let mut out = [0xee; 37];
        for offset in (0..wire.len() + 3).step_by(step) {
            let expected = &wire[offset.min(wire.len())..(offset + out.len()).min(wire.len())];
            let n = netascii.read(offset as u64, &mut out);
            assert_eq!(&out[..n], expected, "offset {offset}");
        }
    }

    #[test]
    fn every_offset_of_chunk_edge_cases() {
        for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 5] {
            check_all_offsets(&vec![b'\n'; len], 1);
            check_all_offsets(&vec![b'\r'; len], 1);
            check_all_offsets(&vec![b'x'; len], 1);
            let mut last = vec![b'x'; len];
            if let Some(byte) = last.last_mut() {
                *byte = b'\n';
            }
            check_all_offsets(&last, 1);
        }
    }

    #[test]
    fn a_file_without_lines_keeps_no_counts() {
        assert!(counts(&[b'x'; 3 * CHUNK]).is_empty());
        assert_eq!(counts(b"a\r\nb"), [2]);
    }

    fn rich_in_lines() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(b'\n'), Just(b'\r'), Just(0_u8), Just(b'a'), any::<u8>()];
        let sparse = prop::collection::vec(prop_oneof![1 => Just(b'\n'), 400 => Just(b'a')], 0..3 * CHUNK);
        prop_oneof![prop::collection::vec(byte, 0..3 * CHUNK), sparse]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn agrees_with_the_model_at_any_offset_and_length(
            bytes in rich_in_lines(),
            places in prop::collection::vec((any::<prop::sample::Index>(), 0..2000_usize), 40),
        ) {
            let (wire, counts) = (model(&bytes), counts(&bytes));
            let netascii = Netascii::new(&bytes, &counts);
            prop_assert_eq!(netascii.len(), wire.len() as u64);
            for (place, length) in places {
                let offset = place.index(wire.len() + 2);
                let mut out = vec![0xee; length];
                let n = netascii.read(offset as u64, &mut out);
                let from = offset.min(wire.len());
                prop_assert_eq!(&out[..n], &wire[from..(from + length).min(wire.len())]);
            }
        }

        #[test]
        fn every_offset_of_short_files(bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'a')], 0..300)) {
            check_all_offsets(&bytes, 1);
        }

        #[test]
        fn blocks_in_order_give_the_whole(bytes in rich_in_lines(), block in 8..1500_usize) {
            let counts = counts(&bytes);
            let netascii = Netascii::new(&bytes, &counts);
            let (mut whole, mut out) = (Vec::<u8>::new(), vec![0; block]);
            loop {
                let n = netascii.read(whole.len() as u64, &mut out);
                whole.extend(&out[..n]);
                if n < block { break; }
            }
            prop_assert_eq!(whole, model(&bytes));
        }
    }
}
