//! Names, as hostile-input rule l and rows 6 and 8 to 10 of requests on port 69 want them.

#![allow(clippy::unwrap_used, reason = "a test may fail; the exemption for tests does not reach their helpers")]

use dataplane::files::{NAME_MAX, Name, NameError, NameOptions, escape};
use proptest::prelude::*;

const FOLDING: NameOptions = NameOptions { backslash: true, fold_case: true };
const SLASH_ONLY: NameOptions = NameOptions { backslash: false, fold_case: false };

fn parse(raw: &[u8]) -> Result<Vec<u8>, NameError> {
    Name::parse(raw, NameOptions::default()).map(|name| name.as_bytes().to_vec())
}

#[track_caller]
fn becomes(raw: &str, expected: &str) {
    assert_eq!(parse(raw.as_bytes()).as_deref(), Ok(expected.as_bytes()), "{raw}");
}

#[test]
fn separators_collapse_and_dots_drop() {
    becomes("pxelinux.0", "pxelinux.0");
    becomes("/pxelinux.0", "pxelinux.0");
    becomes("///boot////grub.cfg", "boot/grub.cfg");
    becomes("./a", "a");
    becomes(".//./a/./b/.", "a/b");
    becomes("a/", "a");
    becomes("\\boot\\bcd", "boot/bcd");
    becomes("\\\\boot/\\bcd", "boot/bcd");
}

#[test]
fn legal_names_that_look_odd() {
    becomes("a..b", "a..b");
    becomes("...", "...");
    becomes("..a/b..", "..a/b..");
    becomes(".hidden", ".hidden");
    becomes("a b", "a b");
    becomes("%n%s", "%n%s");
    becomes("a/C:/b", "a/C:/b");
    becomes("1:2", "1:2");
    becomes("C:x", "C:x");
    assert_eq!(parse("g\u{fc}n".as_bytes()).as_deref(), Ok("g\u{fc}n".as_bytes()));
}

#[test]
fn row_10_climbing_names() {
    for raw in ["..", "../x", "a/../../x", "a/..", "..\\x", "a\\..\\x", "/..", "C:\\x", "c:/x", "/C:/x", ".\\Z:", "C:"]
    {
        assert_eq!(parse(raw.as_bytes()), Err(NameError::Climbs), "{raw}");
    }
}

#[test]
fn without_the_option_a_backslash_is_a_byte() {
    let name = Name::parse(b"..\\x", SLASH_ONLY).unwrap();
    assert_eq!(name.as_bytes(), b"..\\x");
}

#[test]
fn row_6_nothing_left() {
    for raw in ["", "/", "//", ".", "./", "\\", "/./."] {
        assert_eq!(parse(raw.as_bytes()), Err(NameError::Empty), "{raw}");
    }
}

#[test]
fn row_9_each_forbidden_byte_and_no_other() {
    for byte in 0..=255_u8 {
        let forbidden = byte < 0x20 || byte == 0x7f || byte == 0xff;
        assert_eq!(parse(&[b'a', byte, b'b']) == Err(NameError::ForbiddenByte), forbidden, "{byte:#x}");
    }
}

#[test]
fn row_8_448_bytes_and_not_one_more() {
    let longest = [b'a'; NAME_MAX];
    assert_eq!(parse(&longest).as_deref(), Ok(longest.as_slice()));
    assert_eq!(parse(&[b'a'; NAME_MAX + 1]), Err(NameError::TooLong));
    // What counts is the normalised length.
    let padded = [b"////".as_slice(), &longest, b"//./"].concat();
    assert_eq!(parse(&padded).as_deref(), Ok(longest.as_slice()));
    let two = [&[b'a'; 223][..], b"/", &[b'b'; 224]].concat();
    assert_eq!(parse(&two).as_deref(), Ok(two.as_slice()));
    assert_eq!(parse(&[two.as_slice(), b"/c"].concat()), Err(NameError::TooLong));
    assert_eq!(parse(&[b'a'; 65_000]), Err(NameError::TooLong));
}

#[test]
fn folding_is_ascii_only() {
    let name = Name::parse("Boot\\X64/\u{c4}".as_bytes(), FOLDING).unwrap();
    assert_eq!(name.as_bytes(), "boot/x64/\u{c4}".as_bytes());
}

#[test]
fn escaping_keeps_printable_ascii_only() {
    assert_eq!(escape(b"a b~%n").to_string(), "a b~%n");
    assert_eq!(escape(b"\x00\n\x1b[31m\x7f\x80\xff").to_string(), "\\x00\\x0a\\x1b[31m\\x7f\\x80\\xff");
    assert_eq!(format!("{:?}", Name::parse(b"a\x80", SLASH_ONLY).unwrap()), "Name(a\\x80)");
}

proptest! {
    #[test]
    fn a_normalised_name_is_clean_and_stays_as_it_is(
        raw in prop::collection::vec(prop_oneof![Just(b'/'), Just(b'\\'), Just(b'.'), Just(b'a'), Just(b':'), any::<u8>()], 0..600),
        fold_case: bool,
    ) {
        let options = NameOptions { backslash: true, fold_case };
        if let Ok(name) = Name::parse(&raw, options) {
            let bytes = name.as_bytes();
            prop_assert!(!bytes.is_empty() && bytes.len() <= NAME_MAX);
            for component in bytes.split(|&byte| byte == b'/') {
                prop_assert!(!component.is_empty() && component != b"." && component != b"..");
            }
            prop_assert!(!bytes.contains(&b'\\') && !bytes.contains(&0));
            prop_assert_eq!(Name::parse(bytes, options), Ok(name.clone()));
        }
    }
}

proptest! {
    #[test]
    fn what_is_normal_stays_as_it_is(raw in "[a-zA-Z0-9./:\\\\ \u{7f}\u{1}-]{0,24}", backslash: bool, fold_case: bool) {
        let options = NameOptions { backslash, fold_case };
        if Name::is_normal(raw.as_bytes(), options) {
            let name = Name::parse(raw.as_bytes(), options).unwrap();
            prop_assert_eq!(name.as_bytes(), raw.as_bytes());
        }
    }
}

#[test]
fn usual_names_are_normal() {
    let options = NameOptions::default();
    for name in ["pxelinux.0", "boot/x86_64/vmlinuz-6.1", "EFI/BOOT/BOOTX64.EFI", "a"] {
        assert!(Name::is_normal(name.as_bytes(), options), "{name}");
    }
    for name in ["", "/a", "a/", "a//b", "./a", "a/../b", "C:a", "a\\b", "a\nb"] {
        assert!(!Name::is_normal(name.as_bytes(), options), "{name}");
    }
    let long = [b'a'; NAME_MAX + 1];
    assert!(!Name::is_normal(&long, options));
    assert!(Name::is_normal(&long[1..], options));
}
