//! The Internet checksum against a naive loop and against etherparse.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use dataplane::wire::Sum;
use etherparse::checksum::Sum16BitWords;
use proptest::prelude::*;

/// RFC 1071 as its section 4.1 writes it down.
fn naive(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).unwrap()
}

/// RFC 1071 §3 gives this example: the words 0001 f203 f4f5 f6f7 add up to ddf2.
#[test]
fn rfc1071_section_3_example() {
    let sum = Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
    assert_eq!(sum.fold(), 0xddf2);
    assert_eq!(sum.finish(), !0xddf2);
}

#[test]
fn every_alignment_and_length() {
    let mut seed: u32 = 1;
    let mut bytes = [0; 400];
    for byte in &mut bytes {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = seed.to_be_bytes()[0];
    }
    for start in 0..16 {
        for end in start..bytes.len() {
            let piece = &bytes[start..end];
            assert_eq!(Sum::of(piece).finish(), naive(piece), "{start}..{end}");
        }
    }
}

/// All ones makes every lane carry as often as it can; a long text shows that none overflows.
#[test]
fn carries_survive_a_long_text_of_ones() {
    for len in [1, 2, 63, 64, 65, 1428, 65_535, 1 << 24] {
        let bytes = vec![0xff; len];
        assert_eq!(Sum::of(&bytes).finish(), naive(&bytes), "{len}");
    }
}

#[test]
fn zero_only_from_zeros() {
    assert_eq!(Sum::ZERO.fold(), 0);
    assert_eq!(Sum::of(&[0; 100]).fold(), 0);
    assert_eq!(Sum::of(&[0xff; 100]).fold(), 0xffff);
    assert_eq!(Sum::ZERO.add_u16(1).add_u16(0xfffe).fold(), 0xffff);
    assert_eq!(Sum::ZERO.add_u32(u32::MAX).add_u32(u32::MAX).fold(), 0xffff);
}

proptest! {
    #[test]
    fn agrees_with_naive_and_etherparse(bytes in proptest::collection::vec(any::<u8>(), 0..3000), skip in 0_usize..9) {
        let piece = &bytes[skip.min(bytes.len())..];
        prop_assert_eq!(Sum::of(piece).finish(), naive(piece));
        // etherparse gives the number in the machine's order.
        let theirs = Sum16BitWords::new().add_slice(piece).ones_complement().to_be();
        prop_assert_eq!(Sum::of(piece).finish(), theirs);
    }

    /// Pieces summed apart, kept folded, and combined in another order give the sum of the whole.
    #[test]
    fn pieces_combine(
        bytes in proptest::collection::vec(any::<u8>(), 0..3000),
        cuts in (0_usize..1500, 0_usize..1500),
    ) {
        let first = (cuts.0.min(cuts.1) * 2).min(bytes.len() & !1);
        let second = (cuts.0.max(cuts.1) * 2).min(bytes.len() & !1);
        let kept = Sum::of(&bytes[first..second]).fold();
        let parts = Sum::of(&bytes[second..]).combine(Sum::from_folded(kept)).combine(Sum::of(&bytes[..first]));
        prop_assert_eq!(parts.finish(), naive(&bytes));
        let added = Sum::of(&bytes[..first]).add_bytes(&bytes[first..second]).add_bytes(&bytes[second..]);
        prop_assert_eq!(added.finish(), naive(&bytes));
    }

    #[test]
    fn fields_are_bytes_in_network_order(a in any::<u16>(), b in any::<u32>()) {
        let mut bytes = a.to_be_bytes().to_vec();
        bytes.extend_from_slice(&b.to_be_bytes());
        prop_assert_eq!(Sum::ZERO.add_u16(a).add_u32(b).finish(), naive(&bytes));
    }

    /// A text with its checksum put in is valid, and with any one bit turned it is not.
    #[test]
    fn validity(mut bytes in proptest::collection::vec(any::<u8>(), 4..200), bit in any::<proptest::sample::Index>()) {
        bytes[0] = 0;
        bytes[1] = 0;
        bytes[2] |= 1;
        let checksum = Sum::of(&bytes).finish();
        bytes[..2].copy_from_slice(&checksum.to_be_bytes());
        prop_assert!(Sum::of(&bytes).is_valid());
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!Sum::of(&bytes).is_valid());
    }
}
