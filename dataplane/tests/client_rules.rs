//! Client and remap rules in the engine: who gets which file under which name, on which terms, and who gets nothing.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a panic is how a test fails; test data is small"
)]

mod lab;

use dataplane::engine::Outcome;
use dataplane::files::NameOptions;
use dataplane::rules::{ClientRule, Deny, PatternText, RemapRule, RuleSource, Rules, Then};
use dataplane::tftp::OptionSet;
use dataplane::tftp::options::OptionKind;
use lab::client::read_request;
use lab::hand::{Bystander, Peer, Said, bench_with_bystander};
use lab::{Bench, Setup, content};
use std::sync::Arc;

const NAMES: NameOptions = NameOptions { backslash: true, fold_case: false };

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("file", content(100, 1)),
        ("only-common", content(100, 2)),
        ("lab/file", content(100, 3)),
        ("by/10.99.0.7/file", content(100, 4)),
        ("by/02-00-00-00-01-08/file", content(100, 5)),
        ("six/file", content(100, 6)),
        ("large", content(5_000, 7)),
        ("private/file", content(100, 8)),
    ]
}

fn client(who: &[&str], folders: &[&str]) -> ClientRule {
    ClientRule {
        prefixes: who.iter().map(|text| text.parse().unwrap()).collect(),
        folders: folders.iter().map(|&text| text.to_owned()).collect(),
        ..ClientRule::default()
    }
}

fn remap(regex: &str, to: Option<&str>, then: Then) -> RemapRule {
    RemapRule {
        pattern: PatternText::Regex(regex.to_owned()),
        ignore_case: false,
        unless: false,
        clients: Vec::new(),
        to: to.map(str::to_owned),
        every: false,
        then,
    }
}

fn rules(source: &RuleSource) -> Option<Arc<Rules>> {
    Some(Arc::new(Rules::compile(source, NAMES).unwrap()))
}

fn bench(source: &RuleSource) -> (Bench, Bystander) {
    let (mut bench, bystander) = bench_with_bystander(&Setup::default(), &files());
    assert!(bench.lane.engine_mut().set_rules(rules(source)).is_none());
    (bench, bystander)
}

/// The number of the file that a client got; none when it got ERROR 1.
#[track_caller]
fn got(bench: &mut Bench, peer: Peer, name: &str) -> Option<usize> {
    let mut replies = bench.exchange(&peer.request(name, &[]));
    let said = lab::hand::Reply::read(&replies.remove(0)).said;
    match said {
        Said::Data { block: 1, bytes } => Some(files().iter().position(|(_, content)| *content == bytes).unwrap()),
        Said::Error { code: 1, .. } => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_name_is_another_file_for_each_subnet() {
    let source = RuleSource {
        clients: vec![
            client(&["10.99.0.2", "10.99.0.4/30"], &["lab"]),
            client(&["10.99.0.3"], &["lab", "/"]),
            client(&["fd00::/64"], &["six"]),
            client(&["10.99.0.7"], &["by/{ip}", "lab"]),
            ClientRule { macs: vec!["02:00:00:00:01:08".parse().unwrap()], ..client(&[], &["by/{mac}"]) },
        ],
        ..RuleSource::default()
    };
    let (mut bench, bystander) = bench(&source);
    let v4 = |number| Peer::v4(number, 2_000);
    assert_eq!(got(&mut bench, v4(2), "file"), Some(2));
    assert_eq!(got(&mut bench, v4(2), "\\file"), Some(2));
    assert_eq!(got(&mut bench, v4(6), "./file"), Some(2));
    assert_eq!(got(&mut bench, v4(2), "only-common"), None, "its folder is all that it has");
    assert_eq!(got(&mut bench, v4(3), "only-common"), Some(1), "here the content root comes next");
    assert_eq!(got(&mut bench, v4(9), "file"), Some(0), "no rule names it");
    assert_eq!(got(&mut bench, Peer::v6(2, 2_000), "file"), Some(5));
    assert_eq!(got(&mut bench, v4(7), "file"), Some(3));
    assert_eq!(got(&mut bench, v4(8), "file"), Some(4));
    assert_eq!(got(&mut bench, v4(9), "lab/file"), Some(2));
    bystander.finish(&mut bench);
}

/// Rows 9 to 12: in a folder of its own a client climbs no more than elsewhere.
#[test]
fn a_folder_is_no_way_out() {
    let (mut bench, bystander) =
        bench(&RuleSource { clients: vec![client(&["10.99.0.0/24"], &["lab", "/"])], ..RuleSource::default() });
    let peer = Peer::v4(2, 2_000);
    for (name, code) in [
        ("../file", 2),
        ("x/../../file", 2),
        ("..\\file", 2),
        ("C:\\file", 2),
        ("/", 2),
        ("directory", 2),
        ("private", 2),
        ("private/x", 2),
        ("absent", 1),
        ("file\x01", 1),
        (&"a".repeat(446), 1),
    ] {
        bench.expect_error(&peer.request(name, &[]), Outcome::RequestRefused, code);
    }
    bystander.finish(&mut bench);
}

#[test]
fn who_is_denied_hears_nothing_or_an_error() {
    let deny = |deny, deny_others| RuleSource {
        deny,
        deny_others,
        clients: vec![
            ClientRule { allow: deny_others, ..client(&["10.99.0.2", "fd00::2"], &[]) },
            ClientRule { allow: !deny_others, ..client(&["10.99.0.250"], &[]) },
        ],
        ..RuleSource::default()
    };
    for deny_others in [false, true] {
        let denied = |family: fn(u8, u16) -> Peer| if deny_others { family(3, 2_000) } else { family(2, 2_000) };
        let served = |family: fn(u8, u16) -> Peer| if deny_others { family(2, 2_000) } else { family(3, 2_000) };
        for family in [Peer::v4, Peer::v6] {
            let requests = |peer: Peer| {
                [
                    peer.request("file", &[]),
                    peer.request("absent", &[]),
                    peer.to(69, b"\0\x01malformed"),
                    peer.to(69, b"\0\x02file\0octet\0"),
                ]
            };
            let (mut bench, bystander) = bench(&deny(Deny::Drop, deny_others));
            for request in requests(denied(family)) {
                bench.expect_silence(&request, Outcome::ClientDenied);
            }
            // What is no request is what it always was (row 2).
            bench.expect_silence(&denied(family).to(69, b"\0\x04\0\x01"), Outcome::NotARequest);
            assert_eq!(bench.live_sessions(), 1);
            assert_eq!(got(&mut bench, served(family), "file"), Some(0));
            // A rule that comes while a transfer runs does it no harm.
            bystander.finish(&mut bench);

            bench.lane.engine_mut().set_rules(rules(&deny(Deny::Error, deny_others)));
            for request in requests(denied(family)) {
                bench.expect_error(&request, Outcome::RequestRefused, 2);
            }
        }
    }
}

#[test]
fn remap_rules_come_before_the_look_up() {
    let source = RuleSource {
        clients: vec![client(&["10.99.0.2"], &["lab"])],
        remaps: vec![
            remap(r"\xff+$", Some(""), Then::Next),
            remap("^private/", None, Then::Refuse),
            remap("^(.*)\\.cfg$", Some(r"\1"), Then::Next),
            remap("^climb", Some(".."), Then::Next),
            remap("^grow$", Some("a/file"), Then::Next),
            remap("^round", Some("round"), Then::Again),
            remap("^long", Some(&r"\0".repeat(200)), Then::Next),
        ],
        ..RuleSource::default()
    };
    let (mut bench, bystander) = bench(&source);
    let peer = Peer::v4(9, 2_000);
    assert_eq!(got(&mut bench, peer, "file.cfg"), Some(0));
    assert_eq!(got(&mut bench, Peer::v4(2, 2_000), "file.cfg"), Some(2), "rules first, then the client's folder");
    let rubbish = bench.exchange(&peer.to(69, b"\0\x01only-common\xff\xff\0octet\0"));
    assert!(matches!(lab::hand::Reply::read(&rubbish[0]).said, Said::Data { .. }));
    assert_eq!(got(&mut bench, peer, "grow"), None);
    assert_eq!(got(&mut bench, peer, "long"), None, "longer than any name");
    for name in ["private/file", "\\.\\private//file", "climb/file", "round"] {
        bench.expect_error(&peer.request(name, &[]), Outcome::RequestRefused, 2);
    }
    bystander.finish(&mut bench);
}

#[test]
fn caps_are_seen_in_the_oack() {
    let capped = ClientRule {
        max_blksize: Some(600),
        max_window_blocks: Some(2),
        options: OptionSet::ALL.without(OptionKind::Timeout),
        ..client(&["10.99.0.2"], &[])
    };
    let no_window =
        ClientRule { options: OptionSet::ALL.without(OptionKind::Windowsize), ..client(&["10.99.0.3"], &[]) };
    let nothing = ClientRule { options: OptionSet::NONE, ..client(&["10.99.0.4"], &[]) };
    let (mut bench, bystander) =
        bench(&RuleSource { clients: vec![capped, no_window, nothing], ..RuleSource::default() });
    let options = [("windowsize", "16"), ("timeout", "3"), ("blksize", "1400"), ("tsize", "0")];
    let said = |bench: &mut Bench, number| Peer::v4(number, 2_000).open(bench, "large", &options).1;
    assert_eq!(said(&mut bench, 2), Said::Oack("windowsize 2 blksize 600 tsize 5000 ".into()));
    assert_eq!(said(&mut bench, 3), Said::Oack("timeout 3 blksize 1400 tsize 5000 ".into()));
    assert_eq!(said(&mut bench, 4), Said::Data { block: 1, bytes: content(5_000, 7)[..512].to_vec() });
    assert_eq!(said(&mut bench, 5), Said::Oack("windowsize 16 timeout 3 blksize 1400 tsize 5000 ".into()));
    bystander.finish(&mut bench);
}

#[test]
fn rules_that_say_nothing_change_nothing() {
    let names: Vec<Vec<u8>> = files()
        .iter()
        .map(|(name, _)| *name)
        .chain(["../x", "C:\\x", "absent", "/", "directory", "fifo", "lab"])
        .map(|name| read_request(name, "octet", &[("blksize", "900"), ("tsize", "0")]))
        .chain([
            b"\0\x01x".to_vec(),
            b"\0\x01\0octet\0".to_vec(),
            b"\0\x02x\0octet\0".to_vec(),
            b"\0\x01x\xff\0octet\0".to_vec(),
        ])
        .collect();
    let never = RuleSource { remaps: vec![remap("never-asked", Some("x"), Then::Next)], ..RuleSource::default() };
    let (mut plain, _) = bench_with_bystander(&Setup::default(), &files());
    let (mut ruled, _) = bench(&never);
    for (number, request) in (0..).zip(&names) {
        let frame = Peer::v4(2, 2_000 + number).to(69, request);
        assert_eq!(plain.exchange(&frame), ruled.exchange(&frame), "{}", String::from_utf8_lossy(request));
    }
}

#[test]
fn rules_can_be_taken_away() {
    let source = RuleSource { clients: vec![client(&["10.99.0.2"], &["lab"])], ..RuleSource::default() };
    let (mut bench, bystander) = bench(&source);
    assert_eq!(got(&mut bench, Peer::v4(2, 2_000), "file"), Some(2));
    assert!(bench.lane.engine_mut().set_rules(None).is_some(), "the old ones come back, to be dropped elsewhere");
    assert_eq!(got(&mut bench, Peer::v4(2, 2_001), "file"), Some(0));
    bystander.finish(&mut bench);
}
