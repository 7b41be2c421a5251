//! Client rules about names and bytes: j, l and m.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a panic is how a test fails; test data is small"
)]

mod lab;

use dataplane::engine::Outcome;
use dataplane::files::{LoadOptions, load};
use lab::client::read_request;
use lab::hand::{Peer, Said};
use lab::{Bench, Setup, catalogue, content};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

/// Reads a whole file in lockstep.
fn read(bench: &mut Bench, peer: Peer, name: &str, mode: &str, blksize: usize) -> Vec<u8> {
    let text = blksize.to_string();
    let replies = bench.expect(&peer.to(69, &read_request(name, mode, &[("blksize", &text)])), Outcome::RequestOpened);
    let tid = replies[0].tid();
    let mut bytes = Vec::new();
    let mut next: u16 = 0;
    loop {
        let replies = bench.expect(&peer.ack(tid, next), Outcome::AckProgress);
        let Said::Data { block, bytes: more } = &replies[0].said else { panic!("{replies:?}") };
        next += 1;
        assert_eq!(*block, next);
        bytes.extend_from_slice(more);
        if more.len() < blksize {
            bench.expect_silence(&peer.ack(tid, next), Outcome::AckFinished);
            return bytes;
        }
    }
}

fn netascii(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &byte in text {
        match byte {
            b'\n' => bytes.extend_from_slice(b"\r\n"),
            b'\r' => bytes.extend_from_slice(b"\r\0"),
            other => bytes.push(other),
        }
    }
    bytes
}

#[test]
fn rule_j_netascii_across_every_block_edge() {
    let texts: Vec<(String, Vec<u8>)> = [
        Vec::new(),
        b"\n".to_vec(),
        b"\r".to_vec(),
        b"1234567\n".to_vec(),
        b"1234567\r".to_vec(),
        b"\n".repeat(4),
        b"\r\n".repeat(500),
        b"\r\0\n\n\r".repeat(321),
        b"plain".repeat(100),
        content(9_000, 4).iter().map(|byte| b"ab\r\n\rc\nd"[usize::from(byte % 8)]).collect(),
    ]
    .into_iter()
    .enumerate()
    .map(|(number, text)| (format!("text{number}"), text))
    .collect();
    let files: Vec<(&str, Vec<u8>)> = texts.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let mut bench = Bench::new(&Setup::default(), catalogue(1, &files));
    for (name, text) in &texts {
        for blksize in [8, 9, 13, 64, 512, 1_448] {
            let peer = Peer::v6(2, 3_000);
            assert!(read(&mut bench, peer, name, "netascii", blksize) == netascii(text), "{name}, {blksize}");
            assert!(read(&mut bench, peer, name, "octet", blksize) == *text, "{name}, {blksize}");
        }
    }
}

#[test]
fn rule_l_names_are_normalised() {
    let files = [("boot/x64/kernel", content(10, 1)), ("bcd", content(10, 2)), ("a b", content(10, 3))];
    let mut bench = Bench::new(&Setup::default(), catalogue(1, &files));
    let spellings = [
        ("boot/x64/kernel", 0),
        ("/boot/x64/kernel", 0),
        ("\\boot\\x64\\kernel", 0),
        ("boot//x64///kernel", 0),
        ("\\\\boot/x64\\kernel", 0),
        ("./boot/./x64/./kernel", 0),
        ("boot/x64/kernel/", 0),
        (".\\bcd", 1),
        ("//bcd", 1),
        ("a b", 2),
    ];
    for (port, (name, file)) in (3_000..).zip(spellings) {
        let (_, said) = Peer::v4(2, port).open(&mut bench, name, &[]);
        assert_eq!(said, Said::Data { block: 1, bytes: files[file].1.clone() }, "{name}");
    }
    for name in ["Boot/x64/kernel", "BCD", "boot/x64", "bootx64/kernel", "bcd.", "boot/x64/kernel.bak"] {
        let replies = bench.expect(&Peer::v4(3, 3_000).request(name, &[]), Outcome::RequestRefused);
        assert!(replies[0].is_error(1) || replies[0].is_error(2), "{name}");
    }
}

fn put(path: &Path, bytes: &[u8], mode: u32) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn rule_m_regular_files_readable_by_others_inside_the_root() {
    let disk = tempfile::tempdir().unwrap();
    let root = disk.path().join("real");
    for dir in ["real", "real/sub", "real/closed", "elsewhere"] {
        fs::create_dir(disk.path().join(dir)).unwrap();
        fs::set_permissions(disk.path().join(dir), fs::Permissions::from_mode(0o755)).unwrap();
    }
    put(&root.join("open"), b"open", 0o644);
    put(&root.join("only-others"), b"others", 0o604);
    put(&root.join("sub/below"), b"below", 0o444);
    put(&root.join("mine"), b"mine", 0o640);
    put(&root.join("closed/inside"), b"inside", 0o644);
    fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o750)).unwrap();
    put(&disk.path().join("elsewhere/secret"), b"secret", 0o644);
    symlink("sub/below", root.join("link")).unwrap();
    symlink("../elsewhere/secret", root.join("way-out")).unwrap();
    symlink("/etc/passwd", root.join("passwd")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    // The root itself may be a symlink, as /tftp often is.
    symlink("real", disk.path().join("root")).unwrap();

    let (catalogue, _) = load(&disk.path().join("root"), &LoadOptions::default(), &mut |_| ()).unwrap();
    let mut bench = Bench::new(&Setup::default(), Arc::new(catalogue));
    let served = [("open", "open"), ("only-others", "others"), ("sub/below", "below"), ("link", "below")];
    for (port, (name, bytes)) in (3_000..).zip(served) {
        let (_, said) = Peer::v4(2, port).open(&mut bench, name, &[]);
        assert_eq!(said, Said::Data { block: 1, bytes: bytes.as_bytes().to_vec() }, "{name}");
    }
    let sessions = bench.live_sessions();
    for name in ["mine", "closed/inside", "way-out", "passwd", "loop", "fifo", "sub", "closed", "../elsewhere/secret"] {
        bench.expect_error(&Peer::v4(3, 3_000).request(name, &[]), Outcome::RequestRefused, 2);
    }
    for name in ["missing", "sub/open"] {
        bench.expect_error(&Peer::v4(3, 3_000).request(name, &[]), Outcome::RequestRefused, 1);
    }
    assert_eq!(bench.live_sessions(), sessions);
    // What is served was read at load time: the disk may do what it likes.
    put(&root.join("open"), b"changed", 0o644);
    fs::remove_file(root.join("sub/below")).unwrap();
    assert_eq!(read(&mut bench, Peer::v4(4, 3_000), "open", "octet", 8), b"open");
    assert_eq!(read(&mut bench, Peer::v4(4, 3_001), "link", "octet", 8), b"below");
}
