//! Trees that change under the loader's hands, and after it: never a crash, a mixed version or a byte of another file.

#![allow(clippy::unwrap_used, reason = "a test may fail; the exemption for tests does not reach their helpers")]

use std::fs;
use std::io::Write;
use std::num::NonZeroUsize;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use dataplane::files::{Catalogue, Denied, LoadOptions, LoadReport, Lookup, Name, Phase, Progress, Reason, load};
use dataplane::wire::Sum;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

const BIG: usize = 1 << 20;

fn put(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

/// `a` small, `b` big, `c` small: what happens to b must not show in its neighbours.
fn tree() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    put(&root.path().join("a"), b"first");
    put(&root.path().join("b"), &[b'b'; BIG]);
    put(&root.path().join("c"), b"last");
    root
}

fn ask(catalogue: &Catalogue, name: &str) -> Lookup {
    catalogue.lookup(&Name::parse(name.as_bytes(), catalogue.name_options()).unwrap())
}

fn bytes<'a>(catalogue: &'a Catalogue, name: &str) -> &'a [u8] {
    let Lookup::File(id) = ask(catalogue, name) else { panic!("{name} is not served") };
    catalogue.bytes(id, 0..u64::MAX)
}

/// Loads; `between` runs once, after the scan and before the first file is opened.
fn load_and(root: &TempDir, between: impl Fn(&Path)) -> (Catalogue, LoadReport) {
    let mut done = false;
    load(root.path(), &LoadOptions::default(), &mut |progress| {
        if progress.phase == Phase::Read && !done {
            done = true;
            between(&root.path().join("b"));
        }
    })
    .unwrap()
}

/// Loads by one thread; `during` runs after each piece of `b`, at most `times` times.
fn load_during(root: &TempDir, times: u32, during: impl Fn(&Path)) -> (Catalogue, LoadReport) {
    let mut left = times;
    let options = LoadOptions { threads: NonZeroUsize::new(1), ..LoadOptions::default() };
    load(root.path(), &options, &mut |progress| {
        if progress.phase == Phase::Read && progress.files_done == 1 && progress.bytes_done > 5 && left > 0 {
            left -= 1;
            during(&root.path().join("b"));
        }
    })
    .unwrap()
}

#[track_caller]
fn neighbours_are_whole(catalogue: &Catalogue) {
    assert_eq!(bytes(catalogue, "a"), b"first");
    assert_eq!(bytes(catalogue, "c"), b"last");
}

fn truncate(path: &Path, len: u64) {
    fs::File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}

fn append(path: &Path, bytes: &[u8]) {
    fs::File::options().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn changes_after_the_load_do_not_show() {
    let root = tree();
    let (catalogue, _) = load_and(&root, |_| ());
    truncate(&root.path().join("b"), 0);
    put(&root.path().join("a"), b"other");
    fs::remove_file(root.path().join("c")).unwrap();
    fs::write(root.path().join("new"), b"x").unwrap();
    fs::rename(root.path().join("new"), root.path().join("b")).unwrap();
    neighbours_are_whole(&catalogue);
    assert!(bytes(&catalogue, "b") == [b'b'; BIG]);
    assert_eq!(ask(&catalogue, "new"), Lookup::NotFound);
    drop(root);
    assert!(bytes(&catalogue, "b") == [b'b'; BIG]);
}

#[test]
fn truncated_between_scan_and_read_serves_the_shorter_version() {
    let root = tree();
    let (catalogue, report) = load_and(&root, |b| truncate(b, 100));
    neighbours_are_whole(&catalogue);
    assert_eq!(bytes(&catalogue, "b"), [b'b'; 100]);
    assert_eq!((report.bytes(), report.left_out_total()), (109, 0));
}

#[test]
fn grown_beyond_its_room_is_left_out() {
    let root = tree();
    let (catalogue, report) = load_and(&root, |b| append(b, &[b'!'; 3 << 20]));
    neighbours_are_whole(&catalogue);
    assert_eq!(ask(&catalogue, "b"), Lookup::Denied(Denied::Unavailable));
    assert_eq!((report.left_out(Reason::Changed), report.examples(Reason::Changed)), (1, &["b".to_owned()][..]));
}

#[test]
fn grown_by_less_than_the_room_of_those_behind_it_leaves_them_theirs() {
    let root = tree();
    // The memory is a's 64 bytes, b's MiB, c's 64 bytes and the rest of the last page: with c's room, b would fit.
    let (catalogue, report) = load_and(&root, |b| append(b, &[b'!'; 4096 - 64 - 32]));
    neighbours_are_whole(&catalogue);
    assert_eq!(report.left_out(Reason::Changed), 1);
}

#[test]
fn grown_within_the_room_that_others_left_is_served() {
    let root = tree();
    let (catalogue, report) = load_and(&root, |b| {
        truncate(b, 0);
        put(&b.with_file_name("c"), &[b'c'; 5000]);
    });
    assert_eq!(bytes(&catalogue, "b"), b"");
    assert_eq!(bytes(&catalogue, "c"), [b'c'; 5000]);
    assert_eq!(report.left_out_total(), 0);
}

#[test]
fn truncated_once_while_being_read_is_read_again() {
    let root = tree();
    let (catalogue, report) = load_during(&root, 1, |b| truncate(b, 300_000));
    neighbours_are_whole(&catalogue);
    assert!(bytes(&catalogue, "b") == [b'b'; 300_000]);
    assert_eq!(report.left_out_total(), 0);
}

#[test]
fn replaced_while_being_read_is_one_version_or_the_other() {
    let root = tree();
    let (catalogue, _) = load_during(&root, 1, |b| {
        let next = b.with_file_name("next");
        put(&next, &[b'B'; BIG]);
        fs::rename(&next, b).unwrap();
    });
    neighbours_are_whole(&catalogue);
    assert!(bytes(&catalogue, "b") == [b'B'; BIG], "the version that has the name at the end");
}

#[test]
fn overwritten_in_place_while_being_read_is_not_mixed() {
    let root = tree();
    let (catalogue, _) = load_during(&root, 1, |b| {
        // Later than the tick of the last write, or the time stamps could not tell.
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::File::options().write(true).open(b).unwrap().write_all(&[b'B'; BIG]).unwrap();
    });
    neighbours_are_whole(&catalogue);
    assert!(bytes(&catalogue, "b") == [b'B'; BIG]);
}

#[test]
fn changing_at_each_attempt_is_left_out() {
    let root = tree();
    let (catalogue, report) = load_during(&root, u32::MAX, |b| append(b, b"+"));
    neighbours_are_whole(&catalogue);
    assert_eq!(ask(&catalogue, "b"), Lookup::Denied(Denied::Unavailable));
    assert_eq!(report.left_out(Reason::Changed), 1);
    assert_eq!(report.files(), 2);
}

#[test]
fn deleted_between_scan_and_read_is_not_found() {
    let root = tree();
    let (catalogue, report) = load_and(&root, |b| fs::remove_file(b).unwrap());
    neighbours_are_whole(&catalogue);
    assert_eq!(ask(&catalogue, "b"), Lookup::NotFound);
    assert_eq!((report.left_out(Reason::Vanished), report.left_out_total()), (1, 1));
}

#[test]
fn replaced_by_a_symlink_is_not_followed() {
    let root = tree();
    let (catalogue, report) = load_and(&root, |b| {
        fs::remove_file(b).unwrap();
        symlink("/etc/passwd", b).unwrap();
    });
    neighbours_are_whole(&catalogue);
    assert_eq!(ask(&catalogue, "b"), Lookup::Denied(Denied::Unavailable));
    assert_eq!(report.left_out(Reason::Changed), 1);
}

#[test]
fn a_directory_replaced_by_a_symlink_is_not_followed() {
    let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    put(&outside.path().join("f"), b"evil");
    let dir = root.path().join("dir");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    put(&dir.join("f"), b"good");
    let (catalogue, _) = load_and(&root, |_| {
        fs::remove_dir_all(&dir).unwrap();
        symlink(outside.path(), &dir).unwrap();
    });
    assert_eq!(ask(&catalogue, "dir/f"), Lookup::Denied(Denied::Unavailable));
}

#[test]
fn a_directory_replaced_by_a_symlink_within_the_root_is_not_followed() {
    let root = tempfile::tempdir().unwrap();
    let (dir, private) = (root.path().join("dir"), root.path().join("private"));
    for (path, mode) in [(&dir, 0o755), (&private, 0o700)] {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    put(&dir.join("f"), b"good");
    put(&private.join("f"), b"evil");
    let (catalogue, _) = load_and(&root, |_| {
        fs::remove_dir_all(&dir).unwrap();
        symlink("private", &dir).unwrap();
    });
    assert_eq!(ask(&catalogue, "dir/f"), Lookup::Denied(Denied::Unavailable));
}

#[test]
fn replaced_by_a_fifo_does_not_hang() {
    let root = tree();
    let (catalogue, report) = load_and(&root, |b| {
        fs::remove_file(b).unwrap();
        mknodat(CWD, b, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    });
    neighbours_are_whole(&catalogue);
    assert_eq!(ask(&catalogue, "b"), Lookup::Denied(Denied::Special));
    assert_eq!(report.left_out(Reason::Special), 1);
}

#[test]
fn closed_to_others_between_scan_and_read_is_denied() {
    let root = tree();
    let (catalogue, _) = load_and(&root, |b| fs::set_permissions(b, fs::Permissions::from_mode(0o600)).unwrap());
    assert_eq!(ask(&catalogue, "b"), Lookup::Denied(Denied::NotReadable));
}

#[test]
fn netascii_counts_survive_a_file_given_up() {
    let root = tree();
    put(&root.path().join("a"), &b"a\n".repeat(5000));
    put(&root.path().join("b"), &vec![b'\n'; BIG]);
    put(&root.path().join("c"), &b"c\r".repeat(5000));
    let (catalogue, _) = load_during(&root, u32::MAX, |b| append(b, b"\n"));
    for (name, wire) in [("a", b"a\r\n"), ("c", b"c\r\0")] {
        let Lookup::File(id) = ask(&catalogue, name) else { panic!() };
        assert_eq!(catalogue.netascii_len(id), 15_000);
        let mut out = [0; 300];
        assert_eq!(catalogue.read_netascii(id, 14_000 / 3 * 3, &mut out), 300);
        assert_eq!(out.as_slice(), wire.repeat(100));
    }
    assert_eq!(ask(&catalogue, "b"), Lookup::Denied(Denied::Unavailable));
    let rest = catalogue.overhead_bytes() - catalogue.sums_bytes();
    assert!(rest < 1000, "the counts of b are gone: {rest}");
}

/// A file of several stretches, which two threads share, between two small ones.
fn tree_with_a_big_file() -> TempDir {
    let root = tree();
    put(&root.path().join("b"), &vec![b'b'; HUGE]);
    root
}

const HUGE: usize = (20 << 20) + 777;

fn by_two_threads(root: &TempDir, progress: &mut dyn FnMut(&Progress)) -> (Catalogue, LoadReport) {
    let options = LoadOptions { threads: NonZeroUsize::new(2), ..LoadOptions::default() };
    load(root.path(), &options, progress).unwrap()
}

/// Loads by two threads; `change` runs once, when the calling thread has read `pieces` pieces of whatever file.
fn load_by_two_threads(root: &TempDir, pieces: u32, change: impl Fn(&Path)) -> (Catalogue, LoadReport) {
    let mut calls = 0;
    by_two_threads(root, &mut |progress| {
        if progress.phase == Phase::Read {
            if calls == pieces {
                change(&root.path().join("b"));
            }
            calls += 1;
        }
    })
}

fn is_all(bytes: &[u8], byte: u8, len: usize) -> bool {
    bytes.len() == len && bytes.iter().all(|&other| other == byte)
}

#[test]
fn a_big_file_truncated_before_two_threads_read_it_is_served_shorter() {
    let root = tree_with_a_big_file();
    let (catalogue, report) = load_by_two_threads(&root, 0, |b| truncate(b, (9 << 20) + 5));
    neighbours_are_whole(&catalogue);
    assert!(is_all(bytes(&catalogue, "b"), b'b', (9 << 20) + 5));
    assert_eq!(report.left_out_total(), 0);
}

#[test]
fn a_big_file_grown_before_two_threads_read_it_is_left_out() {
    let root = tree_with_a_big_file();
    let (catalogue, report) = load_by_two_threads(&root, 0, |b| append(b, &[b'+'; 10_000]));
    neighbours_are_whole(&catalogue);
    assert_eq!(ask(&catalogue, "b"), Lookup::Denied(Denied::Unavailable));
    assert_eq!((report.left_out(Reason::Changed), report.files()), (1, 2));
}

#[test]
fn a_big_file_deleted_before_two_threads_read_it_is_not_found() {
    let root = tree_with_a_big_file();
    let (catalogue, report) = load_by_two_threads(&root, 0, |b| fs::remove_file(b).unwrap());
    neighbours_are_whole(&catalogue);
    assert_eq!(ask(&catalogue, "b"), Lookup::NotFound);
    assert_eq!((report.left_out(Reason::Vanished), report.left_out_total()), (1, 1));
}

#[test]
fn a_big_file_replaced_while_two_threads_read_it_is_of_one_version() {
    for pieces in [1, 2, 10, 35, 50] {
        let root = tree_with_a_big_file();
        let (catalogue, report) = load_by_two_threads(&root, pieces, |b| {
            let next = b.with_file_name("next");
            put(&next, &vec![b'B'; HUGE]);
            fs::rename(&next, b).unwrap();
        });
        neighbours_are_whole(&catalogue);
        let b = bytes(&catalogue, "b");
        assert!(is_all(b, b[0], HUGE), "a mixture after {pieces} pieces");
        assert_eq!(report.left_out_total(), 0);
    }
}

#[test]
fn replaced_again_and_again_while_two_threads_load() {
    let root = tempfile::tempdir().unwrap();
    // The length tells the version, and so does every byte.
    let len_of = |version: u8| usize::from(version) * 5000 + if version.is_multiple_of(2) { 17 << 20 } else { 3 };
    let name = |number: usize| format!("f{number:02}");
    let publish = |number: usize, version: u8| {
        let next = root.path().with_extension(format!("next-{number}"));
        put(&next, &vec![version; len_of(version)]);
        fs::rename(&next, root.path().join(name(number))).unwrap();
    };
    (0..8).for_each(|number| publish(number, u8::try_from(number).unwrap() * 5));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in (0..250_u8).cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                publish(usize::from(turn % 8), turn);
            }
        });
        for _ in 0..6 {
            let (catalogue, report) = by_two_threads(&root, &mut |_| ());
            for record in catalogue.files() {
                let served = catalogue.bytes(record.id(), 0..u64::MAX);
                let version = served[0];
                assert!(is_all(served, version, len_of(version)), "a mixture of {} bytes", served.len());
                let sum = catalogue.block_sum(record.id(), 0, 1428).unwrap();
                assert_eq!(sum.fold(), Sum::of(&served[..served.len().min(1428)]).fold());
            }
            assert_eq!(report.files() + report.left_out(Reason::Changed), 8, "{report}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn grown_files_take_the_room_of_one_that_vanished() {
    for (c_len, fits) in [(BIG, true), (BIG + 1, false)] {
        let root = tree();
        put(&root.path().join("d"), b"behind");
        let (catalogue, report) = load_and(&root, |b| {
            fs::remove_file(b).unwrap();
            put(&b.with_file_name("a"), &[b'a'; 70]);
            put(&b.with_file_name("c"), &vec![b'c'; c_len]);
        });
        // The rooms of a (64 bytes), b and c (64) lie side by side. a comes first and takes 128; a MiB is left.
        assert!(is_all(bytes(&catalogue, "a"), b'a', 70));
        assert_eq!(bytes(&catalogue, "d"), b"behind");
        assert_eq!(ask(&catalogue, "b"), Lookup::NotFound);
        assert_eq!(report.left_out(Reason::Changed), u64::from(!fits));
        if fits {
            assert!(is_all(bytes(&catalogue, "c"), b'c', c_len));
        } else {
            assert_eq!(ask(&catalogue, "c"), Lookup::Denied(Denied::Unavailable));
        }
        for record in catalogue.files() {
            let whole = catalogue.bytes(record.id(), 0..u64::MAX);
            let sum = catalogue.block_sum(record.id(), 0, 512).unwrap();
            assert_eq!(sum.fold(), Sum::of(&whole[..whole.len().min(512)]).fold());
        }
    }
}
