//! The Internet checksum: a one's complement sum of 16-bit words (RFC 1071). Reads each byte once, never allocates.

use core::fmt;

/// Bytes that the inner loop takes at a time; a multiple of every vector width in use.
const BLOCK: usize = 64;

/// Lanes of the inner loop.
const LANES: usize = BLOCK / 8;

/// A one's complement sum under way.
///
/// The words are added in the machine's byte order, 64 bits at a time, and only [`fold`](Self::fold) turns the result into network
/// order: RFC 1071 §2(B) shows that the order does not matter to the sum. Sums of pieces can be computed apart, kept (as their
/// [`fold`](Self::fold)), and combined later in any order, as long as every piece begins at an even offset of the whole.
#[derive(Clone, Copy, Default)]
#[must_use]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// The sum of `bytes`, which begin at an even offset; an odd last byte counts as the high half of a word (RFC 1071 §4.1).
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        Self::ZERO.add_bytes(bytes)
    }

    /// A sum that [`fold`](Self::fold) gave earlier.
    #[inline]
    pub const fn from_folded(folded: u16) -> Self {
        Self(folded.to_be() as u64)
    }

    /// Adds `bytes`, which begin at an even offset. After an odd number of bytes nothing may be added behind them.
    #[inline]
    pub fn add_bytes(self, bytes: &[u8]) -> Self {
        let (blocks, tail) = bytes.as_chunks::<BLOCK>();
        let mut sum = if blocks.is_empty() { self } else { self.add_blocks(blocks) };
        let (words, tail) = tail.as_chunks::<8>();
        for word in words {
            sum = sum.add_word(u64::from_ne_bytes(*word));
        }
        let mut rest = tail;
        if let Some((word, behind)) = rest.split_first_chunk::<4>() {
            sum = sum.add_word(u64::from(u32::from_ne_bytes(*word)));
            rest = behind;
        }
        if let Some((word, behind)) = rest.split_first_chunk::<2>() {
            sum = sum.add_word(u64::from(u16::from_ne_bytes(*word)));
            rest = behind;
        }
        if let [last] = rest {
            sum = sum.add_word(u64::from(u16::from_ne_bytes([*last, 0])));
        }
        sum
    }

    /// Adds a 16-bit field.
    #[inline]
    pub const fn add_u16(self, field: u16) -> Self {
        self.add_word(field.to_be() as u64)
    }

    /// Adds a 32-bit field.
    #[inline]
    pub const fn add_u32(self, field: u32) -> Self {
        self.add_word(field.to_be() as u64)
    }

    /// Adds the sum of another piece that begins at an even offset.
    #[inline]
    pub const fn combine(self, other: Self) -> Self {
        self.add_word(other.0)
    }

    /// The 16-bit sum in network order's numeric value, not complemented: what checksum offload wants in the field of a
    /// pseudo-header's sum. 0 only if every word was 0.
    #[inline]
    #[must_use]
    pub const fn fold(self) -> u16 {
        // 2^16 ≡ 1 modulo 2^16 - 1, so adding the halves keeps the sum; each line leaves at most one carry for the next.
        let sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        let sum = (sum >> 32) + (sum & 0xffff_ffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        ((sum & 0xffff) as u16).to_be()
    }

    /// The checksum: the sum's one's complement, to be written in network order.
    #[inline]
    #[must_use]
    pub const fn finish(self) -> u16 {
        !self.fold()
    }

    /// Whether a text summed with its checksum in it is right: the sum is then all ones (RFC 1071 §1, step 3).
    #[inline]
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.fold() == 0xffff
    }

    /// Adds 64 bits with the end-around carry.
    #[inline]
    const fn add_word(self, word: u64) -> Self {
        let (sum, carry) = self.0.overflowing_add(word);
        // A sum that overflowed is at most 2^64 - 2, so the carry cannot overflow it again.
        Self(sum + carry as u64)
    }

    /// Adds whole blocks. The 32-bit halves go to separate 64-bit lanes, so that no carry links one addition to the next and the
    /// loop becomes vector code; a lane overflows after 2^32 blocks, more than any frame or file block has. Out of line, so that the sum of
    /// a header or an acknowledgement stays a few instructions.
    #[inline(never)]
    fn add_blocks(self, blocks: &[[u8; BLOCK]]) -> Self {
        let mut low = [0_u64; LANES];
        let mut high = [0_u64; LANES];
        for block in blocks {
            let (words, _) = block.as_chunks::<8>();
            for (lane, word) in words.iter().enumerate() {
                let word = u64::from_ne_bytes(*word);
                low[lane] += word & 0xffff_ffff;
                high[lane] += word >> 32;
            }
        }
        let mut sum = self;
        for lane in 0..LANES {
            sum = sum.add_word(low[lane]).add_word(high[lane]);
        }
        sum
    }
}

/// Shows the folded sum, which does not depend on how it was added up.
impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sum({:#06x})", self.fold())
    }
}
