//! Loading trees from a disk: what is served, what is left out and why, and what the names then answer.

#![allow(clippy::unwrap_used, reason = "a test may fail; the exemption for tests does not reach their helpers")]

use std::ffi::OsStr;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use dataplane::files::{
    ArenaError, Catalogue, Denied, GenerationId, LoadError, LoadOptions, LoadReport, Lookup, NAME_MAX, Name,
    NameOptions, Phase, Reason, load,
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

fn options() -> LoadOptions {
    LoadOptions { generation: GenerationId(7), ..LoadOptions::default() }
}

fn folding() -> LoadOptions {
    LoadOptions { names: NameOptions { fold_case: true, backslash: true }, ..options() }
}

fn tree() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn dir(root: &TempDir, name: &str) {
    let path = root.path().join(name);
    fs::create_dir_all(&path).unwrap();
    mode(&path, 0o755);
}

fn put(root: &TempDir, name: &str, bytes: &[u8]) {
    let path = root.path().join(name);
    if let Some((above, _)) = name.rsplit_once('/') {
        dir(root, above);
    }
    fs::write(&path, bytes).unwrap();
    mode(&path, 0o644);
}

fn load_with(root: &Path, options: &LoadOptions) -> (Catalogue, LoadReport) {
    load(root, options, &mut |_| ()).unwrap()
}

fn load_tree(root: &TempDir) -> (Catalogue, LoadReport) {
    load_with(root.path(), &options())
}

fn ask(catalogue: &Catalogue, raw: &[u8]) -> Lookup {
    catalogue.lookup(&Name::parse(raw, catalogue.name_options()).unwrap())
}

#[track_caller]
fn bytes<'a>(catalogue: &'a Catalogue, name: &str) -> &'a [u8] {
    let Lookup::File(id) = ask(catalogue, name.as_bytes()) else { panic!("{name} is not served") };
    catalogue.bytes(id, 0..u64::MAX)
}

#[track_caller]
fn denied(catalogue: &Catalogue, name: &str, why: Denied) {
    assert_eq!(ask(catalogue, name.as_bytes()), Lookup::Denied(why), "{name}");
}

#[track_caller]
fn absent(catalogue: &Catalogue, name: &str) {
    assert_eq!(ask(catalogue, name.as_bytes()), Lookup::NotFound, "{name}");
}

#[track_caller]
fn only_left_out(report: &LoadReport, reason: Reason, examples: &[&str]) {
    assert_eq!(report.examples(reason), examples);
    assert_eq!(report.left_out(reason), examples.len() as u64);
    assert_eq!(report.left_out_total(), examples.len() as u64, "{report}");
}

#[test]
fn serves_a_plain_tree() {
    let root = tree();
    put(&root, "pxelinux.0", b"loader");
    put(&root, "boot/grub/grub.cfg", b"set x\n");
    put(&root, "empty", b"");
    let (catalogue, report) = load_tree(&root);
    assert_eq!(bytes(&catalogue, "\\boot//grub/grub.cfg"), b"set x\n");
    assert_eq!(bytes(&catalogue, "/pxelinux.0"), b"loader");
    assert_eq!(bytes(&catalogue, "empty"), b"");
    absent(&catalogue, "PXELINUX.0");
    absent(&catalogue, "boot/missing");
    absent(&catalogue, "pxelinux.0/x");
    denied(&catalogue, "boot", Denied::Directory);
    denied(&catalogue, "boot/grub/", Denied::Directory);
    assert_eq!(catalogue.generation(), GenerationId(7));
    assert_eq!((report.files(), report.bytes(), report.aliases(), report.left_out_total()), (3, 12, 0, 0));
    assert_eq!((catalogue.file_count(), catalogue.total_bytes()), (3, 12));
    let names: Vec<_> = catalogue.files().map(|file| (file.name().to_vec(), file.len())).collect();
    assert_eq!(names, [(b"boot/grub/grub.cfg".to_vec(), 6), (b"empty".to_vec(), 0), (b"pxelinux.0".to_vec(), 6)]);
}

#[test]
fn an_empty_tree_loads() {
    let root = tree();
    for hugepages in [false, true] {
        let (catalogue, report) = load_with(root.path(), &LoadOptions { hugepages, ..options() });
        assert_eq!((catalogue.file_count(), report.files()), (0, 0));
        absent(&catalogue, "x");
    }
}

#[test]
fn ranges_are_clamped_to_the_file() {
    let root = tree();
    put(&root, "a", b"0123456789");
    put(&root, "b", b"secret of the next file");
    let (catalogue, _) = load_tree(&root);
    let Lookup::File(id) = ask(&catalogue, b"a") else { panic!() };
    assert_eq!(catalogue.bytes(id, 2..4), b"23");
    assert_eq!(catalogue.bytes(id, 8..100), b"89");
    assert_eq!(catalogue.bytes(id, 10..11), b"");
    assert_eq!(catalogue.bytes(id, u64::MAX - 1..u64::MAX), b"");
    #[expect(clippy::reversed_empty_ranges, reason = "a hostile range is the point")]
    let reversed = 5..2;
    assert_eq!(catalogue.bytes(id, reversed), b"");
}

#[test]
fn netascii_by_catalogue() {
    let root = tree();
    let text = b"one\ntwo\r\nthree\r".repeat(3000);
    put(&root, "a.txt", b"\n");
    put(&root, "b.bin", &[0; 10_000]);
    put(&root, "c.txt", &text);
    let (catalogue, _) = load_tree(&root);
    let wire: Vec<u8> = text
        .iter()
        .flat_map(|&b| match b {
            b'\n' => vec![b'\r', b'\n'],
            b'\r' => vec![b'\r', 0],
            _ => vec![b],
        })
        .collect();
    let Lookup::File(c) = ask(&catalogue, b"c.txt") else { panic!() };
    assert_eq!(catalogue.netascii_len(c), wire.len() as u64);
    for offset in (0..wire.len()).step_by(509) {
        let mut out = [0; 512];
        let n = catalogue.read_netascii(c, offset as u64, &mut out);
        assert_eq!(&out[..n], &wire[offset..(offset + 512).min(wire.len())]);
    }
    let Lookup::File(b) = ask(&catalogue, b"b.bin") else { panic!() };
    assert_eq!(catalogue.netascii_len(b), 10_000);
    let mut out = [1; 512];
    assert_eq!(catalogue.read_netascii(b, 9_900, &mut out), 100);
    let Lookup::File(a) = ask(&catalogue, b"a.txt") else { panic!() };
    assert_eq!(catalogue.read_netascii(a, 1, &mut out), 1);
    assert_eq!(out[0], b'\n');
}

#[test]
fn sizes_around_chunks_and_pieces() {
    let root = tree();
    let sizes = [1, 63, 64, 65, 4095, 4096, 4097, 262_143, 262_144, 262_145, 3 << 20];
    let content = |size: usize| -> Vec<u8> { (0..size).map(|i| (i * 31 + size).to_le_bytes()[0]).collect() };
    for size in sizes {
        put(&root, &format!("f{size}"), &content(size));
    }
    let (catalogue, report) = load_with(root.path(), &LoadOptions { hugepages: true, ..options() });
    for size in sizes {
        let got = bytes(&catalogue, &format!("f{size}"));
        assert!(got == content(size), "{size}");
        assert_eq!(got.as_ptr().addr() % 64, 0);
        let Lookup::File(id) = ask(&catalogue, format!("f{size}").as_bytes()) else { panic!() };
        let expanding = content(size).iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count();
        assert_eq!(catalogue.netascii_len(id), (size + expanding) as u64, "{size}");
    }
    assert_eq!(report.page_kind(), catalogue.page_kind());
}

#[test]
fn the_root_may_be_a_symlink() {
    let (root, elsewhere) = (tree(), tree());
    put(&root, "boot/a", b"a");
    symlink("boot", root.path().join("relative")).unwrap();
    let link = elsewhere.path().join("tftp");
    symlink(root.path(), &link).unwrap();
    symlink(link.join("boot/a"), root.path().join("absolute-by-link")).unwrap();
    let (catalogue, report) = load_with(&link, &options());
    for name in ["boot/a", "relative/a", "absolute-by-link"] {
        assert_eq!(bytes(&catalogue, name), b"a", "{name}");
    }
    assert_eq!((report.files(), report.aliases(), report.left_out_total()), (1, 2, 0));
}

#[test]
fn the_root_itself_need_not_be_open_to_others() {
    let root = tree();
    put(&root, "a", b"a");
    symlink("a", root.path().join("b")).unwrap();
    mode(root.path(), 0o700);
    let (catalogue, _) = load_tree(&root);
    assert_eq!(bytes(&catalogue, "b"), b"a");
}

#[test]
fn links_share_one_content() {
    let root = tree();
    put(&root, "v2/kernel", &[5; 5000]);
    symlink("v2", root.path().join("current")).unwrap();
    symlink("current/kernel", root.path().join("kernel")).unwrap();
    fs::hard_link(root.path().join("v2/kernel"), root.path().join("hard")).unwrap();
    let (catalogue, report) = load_tree(&root);
    let first = ask(&catalogue, b"v2/kernel");
    for name in ["current/kernel", "kernel", "hard"] {
        assert_eq!(ask(&catalogue, name.as_bytes()), first, "{name}");
    }
    assert_eq!((report.files(), report.bytes(), report.aliases()), (1, 5000, 3));
    denied(&catalogue, "current", Denied::Directory);
    absent(&catalogue, "current/none");
    assert_eq!(catalogue.names().count(), 4);
    assert_eq!(catalogue.files().next().unwrap().name(), b"current/kernel");
}

#[test]
fn row_11_symlinks_that_leave_the_root() {
    let (root, outside) = (tree(), tree());
    put(&outside, "secret", b"secret");
    put(&root, "dir/a", b"a");
    symlink(outside.path().join("secret"), root.path().join("file")).unwrap();
    symlink(outside.path(), root.path().join("dir/out")).unwrap();
    let up = format!("../../{}/secret", outside.path().file_name().unwrap().to_str().unwrap());
    symlink(up, root.path().join("dir/up")).unwrap();
    // A sibling whose path begins with the same letters is not below the root.
    let sibling = root.path().with_extension("sibling");
    fs::write(&sibling, b"s").unwrap();
    mode(&sibling, 0o644);
    symlink(&sibling, root.path().join("sibling")).unwrap();
    let (catalogue, report) = load_tree(&root);
    fs::remove_file(&sibling).unwrap();
    for name in ["file", "dir/out", "dir/up", "sibling", "dir/out/secret", "dir/out/no/such/thing"] {
        denied(&catalogue, name, Denied::Outside);
    }
    only_left_out(&report, Reason::Outside, &["dir/out", "dir/up", "file", "sibling"]);
    assert_eq!(bytes(&catalogue, "dir/a"), b"a");
    absent(&catalogue, "dir/none/out");
}

#[test]
fn dangling_symlinks_are_not_found() {
    let root = tree();
    put(&root, "a", b"a");
    symlink("nothing", root.path().join("gone")).unwrap();
    symlink("a/b", root.path().join("through-a-file")).unwrap();
    let (catalogue, report) = load_tree(&root);
    absent(&catalogue, "gone");
    absent(&catalogue, "through-a-file");
    only_left_out(&report, Reason::Dangling, &["gone", "through-a-file"]);
}

#[test]
fn symlink_loops_end() {
    let root = tree();
    put(&root, "a/b/file", b"f");
    symlink("self", root.path().join("self")).unwrap();
    symlink("pong", root.path().join("ping")).unwrap();
    symlink("ping", root.path().join("pong")).unwrap();
    symlink("..", root.path().join("a/b/up")).unwrap();
    symlink("../..", root.path().join("a/b/top")).unwrap();
    symlink(".", root.path().join("here")).unwrap();
    let (catalogue, report) = load_tree(&root);
    only_left_out(&report, Reason::Loop, &["a/b/top", "a/b/up", "here", "ping", "pong", "self"]);
    for name in ["self", "ping", "here", "here/a/b/file", "a/b/up"] {
        denied(&catalogue, name, Denied::Loop);
    }
    assert_eq!(bytes(&catalogue, "a/b/file"), b"f");
}

#[test]
fn directories_full_of_links_to_each_other_end() {
    let root = tree();
    for i in 0..6 {
        put(&root, &format!("d{i}/f"), b"f");
        for j in (0..6).filter(|&j| j != i) {
            symlink(format!("../d{j}"), root.path().join(format!("d{i}/to{j}"))).unwrap();
        }
    }
    let (catalogue, report) = load_tree(&root);
    assert_eq!(report.files(), 6);
    assert_eq!(bytes(&catalogue, "d0/to1/to2/to3/to4/to5/f"), b"f");
    denied(&catalogue, "d0/to1/to0", Denied::Loop);
    assert_eq!(report.examples(Reason::Loop).len(), 10);
}

#[test]
fn a_path_goes_through_eight_directory_links_at_most() {
    let root = tree();
    for i in 0..12 {
        put(&root, &format!("d{i:02}/f"), b"f");
        symlink(format!("../d{:02}", i + 1), root.path().join(format!("d{i:02}/next"))).unwrap();
    }
    let (catalogue, _) = load_tree(&root);
    assert_eq!(bytes(&catalogue, &format!("d00{}/f", "/next".repeat(8))), b"f");
    denied(&catalogue, &format!("d00{}/f", "/next".repeat(9)), Denied::Loop);
}

#[test]
fn row_11_special_files_are_never_opened() {
    let root = tree();
    put(&root, "a", b"a");
    mknodat(CWD, root.path().join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    let _socket = UnixListener::bind(root.path().join("socket")).unwrap();
    symlink("fifo", root.path().join("to-fifo")).unwrap();
    let (catalogue, report) = load_tree(&root);
    for name in ["fifo", "socket", "to-fifo"] {
        denied(&catalogue, name, Denied::Special);
    }
    only_left_out(&report, Reason::Special, &["fifo", "socket", "to-fifo"]);
}

#[test]
fn row_11_mode_bits_decide_even_for_root() {
    let root = tree();
    put(&root, "private", b"x");
    mode(&root.path().join("private"), 0o640);
    put(&root, "readable", b"x");
    mode(&root.path().join("readable"), 0o604);
    symlink("private", root.path().join("to-private")).unwrap();
    put(&root, "searchable/f", b"f");
    mode(&root.path().join("searchable"), 0o711);
    let (catalogue, report) = load_tree(&root);
    denied(&catalogue, "private", Denied::NotReadable);
    denied(&catalogue, "to-private", Denied::NotReadable);
    assert_eq!(bytes(&catalogue, "readable"), b"x");
    assert_eq!(bytes(&catalogue, "searchable/f"), b"f");
    only_left_out(&report, Reason::NotReadable, &["private", "to-private"]);
}

#[test]
fn directories_must_be_searchable_by_others() {
    let root = tree();
    put(&root, "closed/inner/f", b"f");
    mode(&root.path().join("closed"), 0o754);
    symlink("closed/inner/f", root.path().join("way-in")).unwrap();
    symlink("closed/inner", root.path().join("way-in-dir")).unwrap();
    symlink("closed", root.path().join("to-closed")).unwrap();
    let (catalogue, report) = load_tree(&root);
    assert_eq!(report.files(), 0);
    for name in ["closed", "closed/inner/f", "closed/none", "way-in", "way-in-dir", "way-in-dir/f", "to-closed"] {
        denied(&catalogue, name, Denied::NotReadable);
    }
    only_left_out(&report, Reason::NotSearchable, &["closed", "to-closed", "way-in", "way-in-dir"]);
}

#[test]
fn names_that_no_request_can_have() {
    let root = tree();
    for name in [&b"a\nb"[..], b"c\xffd", b"back\\slash", b"C:"] {
        fs::write(root.path().join(OsStr::from_bytes(name)), b"x").unwrap();
        mode(&root.path().join(OsStr::from_bytes(name)), 0o644);
    }
    put(&root, "fine%n..x", b"x");
    let (catalogue, report) = load_tree(&root);
    only_left_out(&report, Reason::NameForbidden, &["C:", "a\\x0ab", "back\\slash", "c\\xffd"]);
    assert_eq!(bytes(&catalogue, "fine%n..x"), b"x");
    absent(&catalogue, "back/slash");
    let plain = NameOptions { backslash: false, fold_case: false };
    let (catalogue, report) = load_with(root.path(), &LoadOptions { names: plain, ..options() });
    assert_eq!(report.left_out(Reason::NameForbidden), 3);
    assert_eq!(bytes(&catalogue, "back\\slash"), b"x");
}

#[test]
fn row_8_names_of_448_and_449_bytes() {
    let root = tree();
    let above = format!("{}/{}", "d".repeat(200), "e".repeat(200));
    let longest = format!("{above}/{}", "f".repeat(NAME_MAX - 402));
    let too_long = format!("{above}/{}", "g".repeat(NAME_MAX - 401));
    assert_eq!((longest.len(), too_long.len()), (448, 449));
    put(&root, &longest, b"just fits");
    put(&root, &too_long, b"does not");
    let (catalogue, report) = load_tree(&root);
    assert_eq!(bytes(&catalogue, &longest), b"just fits");
    only_left_out(&report, Reason::NameTooLong, &[&too_long]);
    // Truncation would find this one.
    absent(&catalogue, &longest[..447]);
}

#[test]
fn case_folding_first_in_byte_order_wins() {
    let root = tree();
    put(&root, "Boot/BCD", b"first");
    put(&root, "boot/bcd", b"second");
    put(&root, "boot/Font.ttf", b"font");
    put(&root, "README", b"upper");
    put(&root, "readme", b"lower");
    dir(&root, "TWIN");
    put(&root, "twin", b"a file beats a directory");
    let (catalogue, report) = load_with(root.path(), &folding());
    assert_eq!(bytes(&catalogue, "BOOT\\bcd"), b"first");
    assert_eq!(bytes(&catalogue, "boot/FONT.TTF"), b"font");
    assert_eq!(bytes(&catalogue, "ReadMe"), b"upper");
    assert_eq!(bytes(&catalogue, "Twin"), b"a file beats a directory");
    denied(&catalogue, "BOOT", Denied::Directory);
    only_left_out(&report, Reason::CaseConflict, &["boot/bcd", "readme"]);
    let Lookup::File(id) = ask(&catalogue, b"boot/font.ttf") else { panic!() };
    assert_eq!(catalogue.file(id).name(), b"boot/Font.ttf");
    assert_eq!(report.files(), 4);
}

#[test]
fn barriers_hold_under_case_folding() {
    let root = tree();
    symlink("/etc", root.path().join("Out")).unwrap();
    let (catalogue, _) = load_with(root.path(), &folding());
    denied(&catalogue, "oUT/passwd", Denied::Outside);
}

#[test]
fn only_ten_examples_are_kept() {
    let root = tree();
    for i in 0..25 {
        symlink("nothing", root.path().join(format!("l{i:02}"))).unwrap();
    }
    let (_, report) = load_tree(&root);
    assert_eq!(report.left_out(Reason::Dangling), 25);
    assert_eq!(report.examples(Reason::Dangling).len(), 10);
    let text = report.to_string();
    assert!(text.contains("left out: 25 symlink to nothing: l00, l01") && text.ends_with("l09, ..."), "{text}");
}

#[test]
fn twenty_thousand_small_files_at_small_cost() {
    let root = tree();
    for d in 0..20 {
        dir(&root, &format!("dir{d:02}"));
        for f in 0..1000 {
            put(&root, &format!("dir{d:02}/node-{f:04}.cfg"), format!("{d} {f}").as_bytes());
        }
    }
    let (mut last, mut calls) = (None, 0_u64);
    let one_thread = LoadOptions { threads: NonZeroUsize::new(1), ..options() };
    let (catalogue, report) = load(root.path(), &one_thread, &mut |progress| {
        calls += 1;
        last = Some(*progress);
    })
    .unwrap();
    assert_eq!((report.files(), report.left_out_total()), (20_000, 0));
    for (d, f) in [(0, 0), (7, 123), (19, 999)] {
        assert_eq!(bytes(&catalogue, &format!("dir{d:02}/node-{f:04}.cfg")), format!("{d} {f}").as_bytes());
    }
    absent(&catalogue, "dir00/node-1000.cfg");
    let last = last.unwrap();
    assert_eq!((last.phase, last.files_done, last.files_total), (Phase::Seal, 20_000, 20_000));
    assert_eq!((last.bytes_done, last.bytes_total), (report.bytes(), report.bytes()));
    assert!(calls > 20_000);
    let per_file = catalogue.overhead_bytes() / catalogue.file_count();
    println!("{per_file} bytes of overhead per file, name of 19 bytes included");
    assert!(per_file <= 128, "{per_file}");
    let but_sums = (catalogue.overhead_bytes() - catalogue.sums_bytes()) / catalogue.file_count();
    assert!(but_sums <= 104, "{but_sums}");
}

#[test]
fn roots_that_cannot_be_loaded_are_named() {
    let root = tree();
    let missing = root.path().join("none");
    let error = load(&missing, &options(), &mut |_| ()).unwrap_err();
    assert!(matches!(error, LoadError::RootMissing { .. }));
    let text = error.to_string();
    assert!(text.contains(&format!("mkdir -p {}", missing.display())) && text.contains("--root"), "{text}");

    put(&root, "file", b"");
    for path in ["file", "file/below"] {
        let error = load(&root.path().join(path), &options(), &mut |_| ()).unwrap_err();
        assert!(matches!(error, LoadError::RootNotDirectory { .. }), "{error}");
    }

    symlink("nowhere", root.path().join("dangling")).unwrap();
    let error = load(&root.path().join("dangling"), &options(), &mut |_| ()).unwrap_err();
    assert!(matches!(error, LoadError::RootDangling { ref target, .. } if target == Path::new("nowhere")), "{error}");
}

#[test]
fn a_tree_larger_than_memory_is_refused() {
    let root = tree();
    put(&root, "huge", b"");
    let file = fs::File::options().write(true).open(root.path().join("huge")).unwrap();
    file.set_len(8 << 40).unwrap();
    let error = load(root.path(), &options(), &mut |_| ()).unwrap_err();
    let LoadError::Arena(ArenaError::NotEnoughMemory { needed_bytes, available_bytes }) = error else {
        panic!("{error}")
    };
    assert_eq!(needed_bytes, 8 << 40);
    assert!(available_bytes > 0 && error.to_string().contains("not enough memory"), "{error}");
}
