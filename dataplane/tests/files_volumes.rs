//! Trees that do not fit: what is loaded at start, what on demand, what never; and that a file on demand is the one that the scan saw.

#![allow(clippy::unwrap_used, reason = "a test may fail; the exemption for tests does not reach their helpers")]

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use dataplane::files::budget::{pinned_bytes, volume_bytes};
use dataplane::files::{
    Allowance, BLOCK_SIZES, Catalogue, Denied, FileId, LoadOptions, Loaded, Lookup, NameOptions, Reason, VolumeError,
    load_within,
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

fn put(root: &TempDir, name: &str, bytes: &[u8]) {
    let path = root.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
}

fn bytes(len: usize, seed: u8) -> Vec<u8> {
    let byte = |number: usize| u8::try_from(number % 251).expect("below 251");
    (0..len).map(|at| byte(at / 7) ^ byte(at) ^ seed).collect()
}

/// Four files of 20,000 bytes, one empty, one of 100,000, and other names for some of them.
fn tree() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (seed, name) in (0..).zip(["boot/a.efi", "boot/b.efi", "c", "d"]) {
        put(&root, name, &bytes(20_000, seed));
    }
    put(&root, "empty", b"");
    put(&root, "large", &bytes(100_000, 9));
    symlink("boot/a.efi", root.path().join("default.efi")).unwrap();
    symlink("c", root.path().join("alias")).unwrap();
    root
}

fn load(root: &TempDir, budget_bytes: u64, preload: &[&str]) -> Loaded {
    let allowance = Allowance { budget_bytes, preload: preload.iter().map(|text| text.parse().unwrap()).collect() };
    load_within(root.path(), &LoadOptions::default(), &allowance, &mut |_| ()).unwrap()
}

#[track_caller]
fn file(catalogue: &Catalogue, name: &str) -> FileId {
    match catalogue.lookup_normal(name.as_bytes()) {
        Lookup::File(id) => id,
        other => panic!("{name}: {other:?}"),
    }
}

fn absent(loaded: &Loaded) -> Vec<String> {
    let catalogue = &loaded.catalogue;
    let names = catalogue.names().filter(|&(_, id)| catalogue.is_absent(id));
    names.map(|(name, _)| String::from_utf8(name.to_vec()).unwrap()).collect()
}

#[test]
fn what_fits_is_loaded_and_the_library_is_empty() {
    let loaded = load(&tree(), 1 << 20, &["none*"]);
    assert!(loaded.library.is_empty() && absent(&loaded).is_empty());
    assert_eq!((loaded.report.files(), loaded.report.bytes(), loaded.report.aliases()), (6, 180_000, 2));
    assert_eq!(loaded.library.pinned_cost(), 4 * pinned_bytes(20_000) + pinned_bytes(0) + pinned_bytes(100_000));
    assert_eq!(loaded.catalogue.pinned_bytes(), 180_000);
}

#[test]
fn what_is_preferred_is_loaded_and_the_rest_is_known_by_name_and_length() {
    let root = tree();
    let loaded = load(&root, 165_000, &["default.efi", "*.efi"]);
    let catalogue = &loaded.catalogue;
    assert_eq!(absent(&loaded), ["alias", "c", "d", "large"]);
    assert_eq!((catalogue.file_count(), catalogue.absent_count()), (6, 3));
    assert_eq!((catalogue.total_bytes(), catalogue.pinned_bytes()), (180_000, 40_000));
    assert_eq!((loaded.report.files(), loaded.report.aliases(), loaded.report.left_out_total()), (6, 2, 0));
    let large = file(catalogue, "large");
    assert_eq!((catalogue.file(large).len(), catalogue.file(large).name()), (100_000, &b"large"[..]));
    assert_eq!(catalogue.bytes(large, 0..10), b"", "it has no bytes here");
    assert!(catalogue.block_sum(large, 512, 512).is_none());
    assert_eq!(file(catalogue, "alias"), file(catalogue, "c"), "one content, whatever its names");
    assert_eq!(catalogue.bytes(file(catalogue, "boot/a.efi"), 0..u64::MAX), bytes(20_000, 0));
    assert_eq!(catalogue.bytes(file(catalogue, "empty"), 0..u64::MAX), b"");
    assert!(!catalogue.is_absent(file(catalogue, "empty")), "an empty file needs no room");
    assert_eq!(loaded.library.cost(large), Some(volume_bytes(100_000, false)));
    assert_eq!(loaded.library.cost(file(catalogue, "empty")), None);
}

#[test]
fn a_file_on_demand_is_the_same_as_one_loaded_at_start() {
    let root = tree();
    put(&root, "text", &b"one\ntwo\r\nthree\r".repeat(700));
    let (whole, part) = (load(&root, 1 << 20, &[]), load(&root, 120_000, &[]));
    assert_eq!(absent(&part).len(), 8);
    for name in ["c", "d", "large", "text"] {
        let volume = part.library.read(file(&part.catalogue, name)).unwrap();
        let (number, id) = (file(&whole.catalogue, name), volume.files().next().unwrap().id());
        let len = whole.catalogue.file(number).len();
        assert_eq!(volume.file(id).len(), len);
        assert_eq!(volume.bytes(id, 0..u64::MAX), whole.catalogue.bytes(number, 0..u64::MAX), "{name}");
        assert_eq!(volume.netascii_len(id), whole.catalogue.netascii_len(number), "{name}");
        let mut lines = [[0; 100]; 2];
        volume.read_netascii(id, len / 2, &mut lines[0]);
        whole.catalogue.read_netascii(number, len / 2, &mut lines[1]);
        assert_eq!(lines[0], lines[1], "{name}");
        for size in BLOCK_SIZES {
            for offset in (0..=len).step_by(usize::from(size)) {
                let sums = [volume.block_sum(id, offset, size), whole.catalogue.block_sum(number, offset, size)];
                assert!(sums[0].is_some());
                assert_eq!(sums[0].map(|sum| sum.fold()), sums[1].map(|sum| sum.fold()), "{name} {size} {offset}");
            }
        }
    }
}

#[test]
fn a_shelfmark_is_kept_for_absent_files_only() {
    let loaded = load(&tree(), 120_000, &["c"]);
    let catalogue = &loaded.catalogue;
    let (c, d) = (file(catalogue, "c"), file(catalogue, "d"));
    assert_eq!(
        (catalogue.shelfmark(c), catalogue.shelfmark(d)),
        (Some(None), Some(None)),
        "the large one needs the room"
    );
    catalogue.set_shelfmark(d, Some(7));
    assert_eq!((catalogue.shelfmark(c), catalogue.shelfmark(d)), (Some(None), Some(Some(7))));
    catalogue.set_shelfmark(d, None);
    let empty = file(catalogue, "empty");
    catalogue.set_shelfmark(empty, Some(1));
    assert_eq!((catalogue.shelfmark(d), catalogue.shelfmark(empty)), (Some(None), None));
}

#[test]
fn what_is_larger_than_the_budget_is_left_out_by_name() {
    let loaded = load(&tree(), 90_000, &["large"]);
    assert_eq!(loaded.catalogue.lookup_normal(b"large"), Lookup::Denied(Denied::TooLarge));
    assert_eq!(loaded.report.left_out(Reason::TooLarge), 1);
    assert_eq!(loaded.report.examples(Reason::TooLarge), ["large"]);
    assert!(
        loaded
            .report
            .to_string()
            .contains("larger than the cache budget (raise files.budget or --cache-budget): large")
    );
    assert_eq!(loaded.report.files(), 5);
}

#[test]
fn case_is_folded_in_patterns_where_it_is_in_names() {
    let root = tree();
    let allowance = Allowance { budget_bytes: 165_000, preload: vec!["BOOT/*.EFI".parse().unwrap()] };
    let names = NameOptions { fold_case: true, backslash: true };
    let options = LoadOptions { names, ..LoadOptions::default() };
    let loaded = load_within(root.path(), &options, &allowance, &mut |_| ()).unwrap();
    assert_eq!(loaded.catalogue.pinned_bytes(), 40_000);
}

#[track_caller]
fn refused(loaded: &Loaded, name: &str) -> VolumeError {
    loaded.library.read(file(&loaded.catalogue, name)).expect_err("it is not what it was")
}

#[test]
fn what_is_not_the_file_of_the_scan_is_refused() {
    let root = tree();
    let loaded = load(&root, 120_000, &[]);
    let at = |name: &str| root.path().join(name);
    assert!(matches!(loaded.library.read(file(&loaded.catalogue, "empty")), Err(VolumeError::Unknown)));

    put(&root, "next", &bytes(20_000, 2));
    fs::rename(at("next"), at("c")).unwrap();
    assert!(matches!(refused(&loaded, "c"), VolumeError::Changed), "the same bytes in another file");
    assert!(matches!(refused(&loaded, "alias"), VolumeError::Changed));
    fs::remove_file(at("c")).unwrap();
    assert!(matches!(refused(&loaded, "c"), VolumeError::Left(Reason::Vanished)));
    symlink("/etc/hostname", at("c")).unwrap();
    assert!(matches!(refused(&loaded, "c"), VolumeError::Changed));
    fs::remove_file(at("c")).unwrap();
    mknodat(CWD, at("c"), FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    assert!(matches!(refused(&loaded, "c"), VolumeError::Changed), "and it does not wait for a writer");

    File::options().append(true).open(at("d")).unwrap().set_len(20_001).unwrap();
    assert!(matches!(refused(&loaded, "d"), VolumeError::Changed));
    let later = SystemTime::now() + Duration::from_secs(5);
    File::open(at("large")).unwrap().set_times(FileTimes::new().set_modified(later)).unwrap();
    assert!(matches!(refused(&loaded, "large"), VolumeError::Changed));

    let parent = at("boot");
    fs::rename(&parent, at("elsewhere")).unwrap();
    symlink("elsewhere", &parent).unwrap();
    assert!(matches!(refused(&loaded, "boot/b.efi"), VolumeError::Changed), "a symlink in the way");
}

#[test]
fn a_mode_or_another_name_makes_no_other_file() {
    let root = tree();
    let loaded = load(&root, 120_000, &[]);
    let path = root.path().join("d");
    let read = || loaded.library.read(file(&loaded.catalogue, "d"));
    fs::hard_link(&path, root.path().join("linked")).unwrap();
    assert!(read().is_ok());
    mode(&path, 0o640);
    assert!(matches!(read(), Err(VolumeError::Left(Reason::NotReadable))));
    mode(&path, 0o444);
    assert!(read().is_ok());
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
