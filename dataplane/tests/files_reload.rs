//! Reloads: what has not changed is copied from memory and its file never opened, what has is read, and what comes out is what a load
//! from scratch would give.

#![allow(clippy::unwrap_used, reason = "a test may fail; the exemption for tests does not reach their helpers")]

use std::collections::BTreeSet;
use std::fs;
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use dataplane::files::{
    Allowance, BLOCK_SIZES, Catalogue, Changes, Denied, GenerationId, LoadError, LoadOptions, LoadReport, Lookup, Name,
    NameOptions, Reload, fingerprint, load, reload,
};
use rustix::fs::inotify;
use rustix::io::Errno;
use tempfile::TempDir;

/// A load that begins so late that all files are old.
fn options(generation: u32) -> LoadOptions {
    let began = Some(SystemTime::now() + Duration::from_secs(60));
    LoadOptions { generation: GenerationId(generation), began, ..LoadOptions::default() }
}

fn put(root: &TempDir, name: &str, bytes: &[u8]) {
    let path = root.path().join(name);
    let folder = path.parent().unwrap();
    fs::create_dir_all(folder).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let next = path.with_extension("next");
    fs::write(&next, bytes).unwrap();
    fs::set_permissions(&next, fs::Permissions::from_mode(0o644)).unwrap();
    fs::rename(&next, &path).unwrap();
}

fn content(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(31) ^ (at >> 9) ^ usize::from(seed)).to_le_bytes()[0]).collect()
}

/// Small files, an empty one, one with lines, aliases, and one that threads would share.
fn tree() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    put(&root, "a", b"first");
    put(&root, "boot/big", &content((20 << 20) + 777, 1));
    put(&root, "boot/middle", &content(100_000, 2));
    put(&root, "empty", b"");
    put(&root, "lines", &b"one\r\ntwo\n".repeat(3_000));
    put(&root, "whole", &content(8_192 * 3, 3));
    fs::hard_link(root.path().join("a"), root.path().join("b")).unwrap();
    symlink("boot/middle", root.path().join("link")).unwrap();
    symlink("nowhere", root.path().join("dangling")).unwrap();
    root
}

fn first(root: &TempDir) -> Catalogue {
    load(root.path(), &options(1), &mut |_| ()).unwrap().0
}

fn again(root: &TempDir, options: &LoadOptions, previous: &Catalogue) -> (Catalogue, LoadReport, Changes) {
    match reload(root.path(), options, &Allowance::default(), previous, &mut |_| ()).unwrap() {
        Reload::New(loaded, changes) => (loaded.catalogue, loaded.report, changes),
        Reload::Same(report) => panic!("nothing new: {report}"),
    }
}

fn ask(catalogue: &Catalogue, name: &str) -> Lookup {
    catalogue.lookup(&Name::parse(name.as_bytes(), catalogue.name_options()).unwrap())
}

/// All that requests can see.
#[track_caller]
fn assert_serves_the_same(one: &Catalogue, other: &Catalogue) {
    let names = |catalogue: &Catalogue| -> Vec<_> { catalogue.names().map(|(name, id)| (name.to_vec(), id)).collect() };
    assert_eq!(names(one), names(other));
    assert_eq!((one.file_count(), one.total_bytes()), (other.file_count(), other.total_bytes()));
    for (left, right) in one.files().zip(other.files()) {
        let name = String::from_utf8_lossy(left.name()).into_owned();
        assert_eq!((left.name(), left.len()), (right.name(), right.len()));
        assert!(one.bytes(left.id(), 0..u64::MAX) == other.bytes(right.id(), 0..u64::MAX), "{name}");
        for blksize in BLOCK_SIZES {
            for block in 0..=left.len() / u64::from(blksize) {
                let offset = block * u64::from(blksize);
                let sum = |catalogue: &Catalogue, id| catalogue.block_sum(id, offset, blksize).unwrap().fold();
                assert_eq!(sum(one, left.id()), sum(other, right.id()), "{name}, block {block} of {blksize}");
            }
        }
        assert_eq!(one.netascii_len(left.id()), other.netascii_len(right.id()), "{name}");
        let (mut left_wire, mut right_wire) = ([0; 700], [0; 700]);
        let middle = left.len() / 2;
        one.read_netascii(left.id(), middle, &mut left_wire);
        other.read_netascii(right.id(), middle, &mut right_wire);
        assert_eq!(left_wire, right_wire, "{name}");
    }
}

/// Tells which files are opened.
struct Opened {
    inotify: OwnedFd,
    files: Vec<(i32, String)>,
}

impl Opened {
    fn watch(root: &Path, names: &[&str]) -> Self {
        let inotify = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        let watch = |name: &&str| {
            let mask = inotify::WatchFlags::OPEN | inotify::WatchFlags::ACCESS;
            (inotify::add_watch(&inotify, root.join(name), mask).unwrap(), (*name).to_owned())
        };
        let files = names.iter().map(watch).collect();
        Self { inotify, files }
    }

    fn names(&self) -> BTreeSet<&str> {
        let mut buffer = [MaybeUninit::uninit(); 4_096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut names = BTreeSet::new();
        loop {
            match reader.next() {
                Ok(event) if event.events().intersects(inotify::ReadFlags::OPEN | inotify::ReadFlags::ACCESS) => {
                    let (_, name) = self.files.iter().find(|(watch, _)| *watch == event.wd()).unwrap();
                    names.insert(name.as_str());
                }
                // A file that goes takes its watch along.
                Ok(_) => {}
                Err(Errno::AGAIN) => return names,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

const FILES: [&str; 6] = ["a", "boot/big", "boot/middle", "empty", "lines", "whole"];

#[test]
fn a_file_that_has_not_changed_is_never_opened_and_serves_the_same() {
    for threads in [1, 2] {
        let root = tree();
        let before = first(&root);
        let opened = Opened::watch(root.path(), &FILES);
        put(&root, "new", &content(5_000, 4));
        let two = LoadOptions { threads: NonZeroUsize::new(threads), ..options(2) };
        let (after, report, changes) = again(&root, &two, &before);
        assert_eq!(opened.names(), BTreeSet::new());
        assert_eq!((report.files(), report.reused_files()), (7, 6));
        assert_eq!(report.reused_bytes(), before.total_bytes());
        assert!(report.to_string().contains("6 files of them not read again"), "{report}");
        assert_eq!(changes, Changes { added: 1, changed: 0, removed: 0, unchanged: 8 });
        assert_eq!(after.generation(), GenerationId(2));
        assert_serves_the_same(&after, &load(root.path(), &two, &mut |_| ()).unwrap().0);
        // The control: a load does open them.
        assert_eq!(opened.names(), BTreeSet::from(FILES));
    }
}

#[test]
fn what_has_changed_is_read_and_nothing_else() {
    let root = tree();
    let before = first(&root);
    let opened = Opened::watch(root.path(), &FILES);
    // In place, of the same length: only the time stamps tell.
    std::thread::sleep(Duration::from_millis(20));
    fs::write(root.path().join("whole"), content(8_192 * 3, 9)).unwrap();
    opened.names();
    put(&root, "lines", b"shorter\n");
    fs::remove_file(root.path().join("link")).unwrap();
    fs::remove_file(root.path().join("empty")).unwrap();
    // Other bytes in front: everything behind moves in the arena.
    put(&root, "Aaa", &content(70_001, 5));
    let (after, report, changes) = again(&root, &options(2), &before);
    assert_eq!(opened.names(), BTreeSet::from(["whole"]), "`lines` is another inode, which is not watched");
    assert_eq!((report.files(), report.reused_files()), (6, 3));
    assert_eq!(changes, Changes { added: 1, changed: 2, removed: 2, unchanged: 4 });
    let Lookup::File(id) = ask(&after, "whole") else { panic!() };
    assert!(after.bytes(id, 0..u64::MAX) == content(8_192 * 3, 9));
    assert_eq!(ask(&after, "empty"), Lookup::NotFound);
    assert_serves_the_same(&after, &load(root.path(), &options(3), &mut |_| ()).unwrap().0);
    // The catalogue before it serves what it did.
    let Lookup::File(id) = ask(&before, "whole") else { panic!() };
    assert!(before.bytes(id, 0..u64::MAX) == content(8_192 * 3, 3));
}

#[test]
fn a_tree_in_which_nothing_changed_gives_no_new_catalogue() {
    let root = tree();
    let before = first(&root);
    let opened = Opened::watch(root.path(), &FILES);
    let Reload::Same(report) = reload(root.path(), &options(2), &Allowance::default(), &before, &mut |_| ()).unwrap()
    else {
        panic!()
    };
    assert_eq!(opened.names(), BTreeSet::new());
    assert_eq!((report.files(), report.bytes(), report.aliases()), (6, before.total_bytes(), 2));
    assert_eq!((report.reused_files(), report.left_out_total()), (6, 1));
    // Another way to the same files is the same tree.
    let link = tempfile::tempdir().unwrap();
    symlink(root.path(), link.path().join("tftp")).unwrap();
    let same = reload(&link.path().join("tftp"), &options(2), &Allowance::default(), &before, &mut |_| ()).unwrap();
    assert!(matches!(same, Reload::Same(_)));
}

#[test]
fn each_change_of_names_alone_gives_a_new_catalogue() {
    type Change = (&'static str, fn(&TempDir), Changes);
    let changes: [Change; 6] = [
        (
            "moved",
            |root| fs::rename(root.path().join("a"), root.path().join("z")).unwrap(),
            Changes { added: 1, removed: 1, unchanged: 7, changed: 0 },
        ),
        (
            "aliased",
            |root| symlink("a", root.path().join("z")).unwrap(),
            Changes { added: 1, unchanged: 8, ..Changes::default() },
        ),
        (
            "led elsewhere",
            |root| {
                fs::remove_file(root.path().join("link")).unwrap();
                symlink("whole", root.path().join("link")).unwrap();
            },
            Changes { changed: 1, unchanged: 7, ..Changes::default() },
        ),
        (
            "a denied name",
            |root| symlink("/etc", root.path().join("z")).unwrap(),
            Changes { unchanged: 8, ..Changes::default() },
        ),
        (
            "closed",
            |root| fs::set_permissions(root.path().join("whole"), fs::Permissions::from_mode(0o600)).unwrap(),
            Changes { removed: 1, unchanged: 7, ..Changes::default() },
        ),
        (
            "touched",
            |root| {
                fs::File::options()
                    .append(true)
                    .open(root.path().join("whole"))
                    .unwrap()
                    .set_modified(SystemTime::UNIX_EPOCH)
                    .unwrap()
            },
            Changes { unchanged: 8, ..Changes::default() },
        ),
    ];
    for (what, change, expected) in changes {
        let root = tree();
        let before = first(&root);
        let before_it = fingerprint(root.path(), NameOptions::default()).unwrap();
        change(&root);
        assert_ne!(fingerprint(root.path(), NameOptions::default()).unwrap(), before_it, "{what}");
        let (after, report, changes) = again(&root, &options(2), &before);
        assert_eq!(changes, expected, "{what}");
        assert_eq!(report.fingerprint(), fingerprint(root.path(), NameOptions::default()).unwrap(), "{what}");
        assert_serves_the_same(&after, &load(root.path(), &options(2), &mut |_| ()).unwrap().0);
    }
}

#[test]
fn a_file_that_changed_just_before_it_was_read_is_read_again() {
    let root = tree();
    let now = LoadOptions { began: Some(SystemTime::now()), ..options(1) };
    let (before, _) = load(root.path(), &now, &mut |_| ()).unwrap();
    let opened = Opened::watch(root.path(), &FILES);
    let (second, report, changes) = again(&root, &options(2), &before);
    assert_eq!((report.reused_files(), changes.unchanged), (0, 8), "same bytes, but the time stamps did not prove it");
    assert_eq!(opened.names(), BTreeSet::from(FILES));
    assert!(
        matches!(
            reload(root.path(), &options(3), &Allowance::default(), &second, &mut |_| ()).unwrap(),
            Reload::Same(_)
        ),
        "now they do"
    );
    let unknown = LoadOptions { began: None, ..options(1) };
    let (timeless, _) = load(root.path(), &unknown, &mut |_| ()).unwrap();
    assert_eq!(again(&root, &options(2), &timeless).1.reused_files(), 0);
}

#[test]
fn other_name_options_give_a_new_catalogue_of_the_same_bytes() {
    let root = tree();
    put(&root, "Upper", b"case");
    let before = first(&root);
    let folding = LoadOptions { names: NameOptions { fold_case: true, backslash: true }, ..options(2) };
    let (after, report, changes) = again(&root, &folding, &before);
    assert_eq!((report.reused_files(), changes.unchanged), (7, 9));
    assert!(matches!(ask(&after, "uPPER"), Lookup::File(_)));
    assert_eq!(ask(&before, "upper"), Lookup::NotFound);
}

#[test]
fn what_could_not_be_read_is_tried_again() {
    let root = tree();
    let mut done = false;
    let (before, report) = load(root.path(), &options(1), &mut |progress| {
        if progress.phase == dataplane::files::Phase::Read && !done {
            done = true;
            let mut whole = fs::File::options().append(true).open(root.path().join("whole")).unwrap();
            std::io::Write::write_all(&mut whole, &[0; 4_096]).unwrap();
        }
    })
    .unwrap();
    assert_eq!((report.left_out_total(), ask(&before, "whole")), (2, Lookup::Denied(Denied::Unavailable)));
    let (after, report, changes) = again(&root, &options(2), &before);
    assert!(matches!(ask(&after, "whole"), Lookup::File(_)));
    assert_eq!((report.reused_files(), changes.added), (5, 1));
}

#[test]
fn a_reload_without_a_root_fails_and_leaves_the_catalogue() {
    let root = tree();
    let before = first(&root);
    let away = root.path().with_extension("away");
    fs::rename(root.path(), &away).unwrap();
    let failed = reload(root.path(), &options(2), &Allowance::default(), &before, &mut |_| ());
    let missing = fingerprint(root.path(), NameOptions::default());
    fs::rename(&away, root.path()).unwrap();
    assert!(matches!(failed, Err(LoadError::RootMissing { .. })), "{failed:?}");
    assert!(matches!(missing, Err(LoadError::RootMissing { .. })));
    assert!(matches!(ask(&before, "a"), Lookup::File(_)));
    assert!(matches!(
        reload(root.path(), &options(2), &Allowance::default(), &before, &mut |_| ()).unwrap(),
        Reload::Same(_)
    ));
}
