//! A listing says of every name what a load says of it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use dataplane::files::{Listing, LoadOptions, Lookup, NameOptions, load};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

#[test]
fn a_listing_agrees_with_a_load() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (name, content, mode) in [
        ("plain", &b"twelve bytes"[..], 0o644),
        ("Upper", b"x", 0o644),
        ("upper", b"yy", 0o644),
        ("private", b"x", 0o640),
        ("sub/deep", b"", 0o644),
        ("closed/inside", b"x", 0o644),
    ] {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(root.join("sub"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("plain", root.join("alias")).unwrap();
    symlink("/etc/hostname", root.join("leak")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    for fold_case in [false, true] {
        let names = NameOptions { backslash: true, fold_case };
        let listing = Listing::of(root, names).unwrap();
        let options = LoadOptions { names, ..LoadOptions::default() };
        let (catalogue, report) = load(root, &options, &mut |_| {}).unwrap();
        for name in [
            "plain",
            "Upper",
            "upper",
            "private",
            "sub",
            "sub/deep",
            "closed",
            "closed/inside",
            "alias",
            "leak",
            "leak/x",
            "dangling",
            "absent",
        ] {
            let folded = if fold_case { name.to_lowercase() } else { name.to_owned() };
            match (listing.lookup_normal(folded.as_bytes()), catalogue.lookup_normal(folded.as_bytes())) {
                (Lookup::File(listed), Lookup::File(loaded)) => {
                    assert_eq!(listing.size(listed), catalogue.file(loaded).len(), "{name}");
                }
                (listed, loaded) => assert_eq!(listed, loaded, "{name}"),
            }
        }
        assert_eq!(listing.report().left_out_total(), report.left_out_total());
    }
}
