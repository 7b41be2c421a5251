//! Checksums of blocks: each that the catalogue keeps is what adding up the block's bytes gives, however the file got in.

#![allow(clippy::unwrap_used, reason = "a test may fail; the exemption for tests does not reach their helpers")]

use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;

use dataplane::files::{
    BLOCK_SIZES, Catalogue, CatalogueBuilder, FileId, GenerationId, LoadOptions, Name, NameOptions, SumTable, load,
};
use dataplane::wire::Sum;
use proptest::prelude::*;

/// Every block that a transfer could send, the empty one at the end included, and nothing beyond.
fn check_file(catalogue: &Catalogue, id: FileId, bytes: &[u8]) {
    assert!(catalogue.bytes(id, 0..u64::MAX) == bytes);
    let len = bytes.len() as u64;
    for blksize in BLOCK_SIZES {
        let size = u64::from(blksize);
        let table = SumTable::of(blksize).unwrap();
        for block in 0..=len / size {
            let offset = block * size;
            let from = usize::try_from(offset).unwrap();
            let expected = Sum::of(&bytes[from..(from + usize::from(blksize)).min(bytes.len())]).fold();
            let got = catalogue.block_sum(id, offset, blksize).unwrap().fold();
            assert_eq!(got, expected, "block {block} of {blksize} bytes in a file of {len}");
            assert_eq!(catalogue.view(id).block_sum(table, u32::try_from(block).unwrap()).unwrap().fold(), expected);
        }
        assert!(catalogue.block_sum(id, (len / size + 1) * size, blksize).is_none());
        for offset in [1, size - 1, size + 1, u64::MAX, u64::MAX / size * size, 1 << 63] {
            assert!(catalogue.block_sum(id, offset, blksize).is_none(), "{offset}");
        }
    }
    assert!(catalogue.block_sum(id, 0, 511).is_none());
    assert!(catalogue.block_sum(id, 0, 0).is_none());
}

/// Bytes that look random, with runs of ones and zeros, which fold to the two zeros of one's complement.
fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes: Vec<u8> = (0..len).map(|_| next().to_le_bytes()[3]).collect();
    for run in bytes.chunks_mut(3000) {
        match next() % 4 {
            0 => run.fill(0xff),
            1 => run.fill(0),
            _ => {}
        }
    }
    bytes
}

fn lengths() -> impl Strategy<Value = usize> {
    let around_blocks = (prop::sample::select(BLOCK_SIZES.to_vec()), 0..20_usize, -3..4_isize)
        .prop_map(|(size, blocks, more)| (usize::from(size) * blocks).saturating_add_signed(more));
    prop_oneof![
        1 => 0..3_usize,
        4 => 0..2000_usize,
        4 => around_blocks,
        2 => 0..100_000_usize,
        1 => 250_000..530_000_usize,
    ]
}

fn build(files: &[Vec<u8>]) -> Catalogue {
    let room = files.iter().map(|file| file.len().next_multiple_of(64)).sum();
    let mut builder = CatalogueBuilder::new(GenerationId(1), NameOptions::default(), room, false).unwrap();
    for (number, file) in files.iter().enumerate() {
        let id = builder.add_file(file).unwrap();
        builder.add_name(format!("{number:04}").as_bytes(), id).unwrap();
    }
    builder.finish().unwrap()
}

fn check_all(catalogue: &Catalogue, files: &[Vec<u8>]) {
    assert_eq!(catalogue.file_count(), files.len());
    for (record, bytes) in catalogue.files().zip(files) {
        check_file(catalogue, record.id(), bytes);
    }
}

fn load_files(files: &[Vec<u8>], threads: usize) -> Catalogue {
    let root = tempfile::tempdir().unwrap();
    for (number, bytes) in files.iter().enumerate() {
        let path = root.path().join(format!("{number:04}"));
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    let options = LoadOptions { threads: NonZeroUsize::new(threads), ..LoadOptions::default() };
    load(root.path(), &options, &mut |_| ()).unwrap().0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn of_files_from_memory_and_from_a_disk(
        files in prop::collection::vec((lengths(), any::<u64>()), 0..12),
        threads in 1..5_usize,
    ) {
        let files: Vec<_> = files.into_iter().map(|(len, seed)| content(len, seed)).collect();
        check_all(&build(&files), &files);
        check_all(&load_files(&files, threads), &files);
    }
}

#[test]
fn of_files_that_several_threads_read() {
    // From 16 MiB on in stretches of 8 MiB, none of which ends on a block of every size.
    let lengths = [16 << 20, (24 << 20) + 1, 77, (16 << 20) - 1, 0, (8 << 20) * 3, (33 << 20) + 12_345];
    let mut files: Vec<_> = lengths.into_iter().zip(1..).map(|(len, seed)| content(len, seed)).collect();
    // Lines in one stretch only, in none, and in all.
    files[0].iter_mut().for_each(|byte| *byte |= 0x80);
    files[0][(8 << 20) + 5] = b'\n';
    files[5].iter_mut().for_each(|byte| *byte |= 0x80);
    for threads in [1, 2, 4] {
        let catalogue = load_files(&files, threads);
        check_all(&catalogue, &files);
        for (record, bytes) in catalogue.files().zip(&files) {
            let lines = bytes.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count();
            assert_eq!(catalogue.netascii_len(record.id()), (bytes.len() + lines) as u64);
            let mut out = [0; 100];
            let wire_len = catalogue.netascii_len(record.id());
            let n = catalogue.read_netascii(record.id(), wire_len.saturating_sub(50), &mut out);
            assert_eq!(n as u64, wire_len.min(50));
        }
    }
}

#[test]
fn the_catalogue_does_not_depend_on_the_threads() {
    let files: Vec<_> = (0..700).map(|seed| content(usize::try_from(seed * 37 % 9000).unwrap(), seed)).collect();
    let one = load_files(&files, 1);
    for threads in [2, 3, 8] {
        let many = load_files(&files, threads);
        for ((a, b), number) in one.files().zip(many.files()).zip(0..) {
            assert_eq!((a, one.span(a.id())), (b, many.span(b.id())));
            let name = Name::parse(format!("{number:04}").as_bytes(), NameOptions::default()).unwrap();
            assert_eq!(one.lookup(&name), many.lookup(&name));
        }
        assert_eq!(one.overhead_bytes(), many.overhead_bytes());
        check_all(&many, &files);
    }
}

#[test]
fn sums_cost_little_memory() {
    let small: Vec<_> = (0..1000).map(|seed| content(400, seed)).collect();
    let per_file = build(&small).sums_bytes() / small.len();
    assert!(per_file <= 25, "{per_file} bytes per file of 400");
    let big = vec![content(4 << 20, 1)];
    let per_mille = build(&big).sums_bytes() * 1000 / (4 << 20);
    assert!(per_mille <= 15, "{per_mille} per mille");
}
