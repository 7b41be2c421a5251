//! Hostile options, rows 15 to 24: bad ones are left out, large ones are clamped, and the request is served.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a panic is how a test fails; test data is small"
)]

mod lab;

use dataplane::engine::Outcome;
use lab::client::read_request;
use lab::hand::{Bystander, Peer, Said, bench_with_bystander};
use lab::{Bench, Setup, catalogue, content};

const SIZE: usize = 12_345;

fn setup() -> (Bench, Bystander) {
    bench_with_bystander(&Setup::default(), &[("file", content(SIZE, 1))])
}

/// Answers of a bench to one request after the other, each from a port of its own.
struct Asker {
    bench: Bench,
    bystander: Bystander,
    port: u16,
}

impl Asker {
    fn new() -> Self {
        let (bench, bystander) = setup();
        Self { bench, bystander, port: 3_000 }
    }

    fn peer(&mut self) -> Peer {
        self.port += 1;
        if self.port.is_multiple_of(2) { Peer::v4(2, self.port) } else { Peer::v6(2, self.port) }
    }

    /// What is said to this request's payload.
    #[track_caller]
    fn said(&mut self, payload: &[u8]) -> Said {
        let request = self.peer().to(69, payload);
        let replies = self.bench.expect(&request, Outcome::RequestOpened);
        assert_eq!(replies.len(), 1, "{replies:?}");
        replies[0].said.clone()
    }

    #[track_caller]
    fn oack(&mut self, payload: &[u8], wanted: &str) {
        assert_eq!(self.said(payload), Said::Oack(wanted.to_owned()), "{:?}", String::from_utf8_lossy(payload));
    }

    /// No OACK: DATA 1 of 512 bytes at once.
    #[track_caller]
    fn plain(&mut self, payload: &[u8]) {
        let said = self.said(payload);
        let Said::Data { block: 1, bytes } = said else {
            panic!("{said:?} to {:?}", String::from_utf8_lossy(payload));
        };
        assert!(bytes == content(SIZE, 1)[..512]);
    }

    #[track_caller]
    fn refused(&mut self, payload: &[u8]) {
        let request = self.peer().to(69, payload);
        let sessions = self.bench.live_sessions();
        self.bench.expect_error(&request, Outcome::RequestRefused, 4);
        assert_eq!(self.bench.live_sessions(), sessions);
    }

    fn done(mut self) {
        self.bystander.finish(&mut self.bench);
    }
}

fn asking(options: &[(&str, &str)]) -> Vec<u8> {
    read_request("file", "octet", options)
}

#[test]
fn row15_no_value_unknown_option_empty_value() {
    let mut asker = Asker::new();
    asker.plain(b"\0\x01file\0octet\0blksize\0");
    asker.plain(b"\0\x01file\0octet\0\0");
    asker.plain(b"\0\x01file\0octet\0\0\0\0\0");
    asker.plain(&asking(&[("blksize", "")]));
    asker.plain(&asking(&[("x", "y"), ("", "1"), ("blksize2", "1024"), ("blk", "1024")]));
    asker.oack(b"\0\x01file\0octet\0tsize\x000\0windowsize\0", "tsize 12345 ");
    asker
        .oack(&asking(&[("x-unknown", "7"), ("blksize", "600"), ("", ""), ("tsize", "0")]), "blksize 600 tsize 12345 ");
    asker.done();
}

#[test]
fn row16_last_value_without_nul() {
    let mut asker = Asker::new();
    asker.refused(b"\0\x01file\0octet\0blksize\x001024");
    asker.refused(b"\0\x01file\0octet\0tsize\x000\0blksize\x001024");
    asker.refused(b"\0\x01file\0octet\0blksize");
    asker.refused(b"\0\x01file\0octet\0x");
    asker.done();
}

#[test]
fn row17_blksize_that_is_none() {
    let mut asker = Asker::new();
    for value in [
        "0",
        "7",
        "-1",
        "-512",
        "0x200",
        "junk",
        "",
        "999999999999999999999999999999",
        "+512",
        " 512",
        "5 12",
        "512 ",
        "1e3",
    ] {
        asker.plain(&asking(&[("blksize", value)]));
        asker.oack(&asking(&[("blksize", value), ("tsize", "0")]), "tsize 12345 ");
    }
    asker.oack(&asking(&[("blksize", "8")]), "blksize 8 ");
    asker.done();
}

#[test]
fn row18_blksize_beyond_mtu_or_rfc_is_clamped() {
    for (mtu, v4, v6) in [(1_500, 1_468, 1_448), (9_000, 8_968, 8_948), (576, 544, 524), (65_535, 65_464, 65_464)] {
        let setup = Setup { mtu, ..Setup::default() };
        let mut bench = Bench::new(&setup, catalogue(1, &[("file", content(200_000, 1))]));
        let values = ["65464", "65465", "65535", "65536", "99999", "4294967296", "18446744073709551615"];
        for (port, value) in (3_000..).zip(values) {
            for (peer, blksize) in [(Peer::v4(2, port), v4), (Peer::v6(2, port), v6)] {
                let (tid, said) = peer.open(&mut bench, "file", &[("blksize", value)]);
                assert_eq!(said, Said::Oack(format!("blksize {blksize} ")), "MTU {mtu}, {value}");
                let replies = bench.expect(&peer.ack(tid, 0), Outcome::AckProgress);
                let Said::Data { block: 1, bytes } = &replies[0].said else { panic!("{replies:?}") };
                assert!(*bytes == content(200_000, 1)[..blksize]);
                assert!(replies[0].frame.len() <= usize::from(mtu) + 14, "no frame exceeds the MTU");
            }
        }
        bench.assert_accounted();
    }
}

#[test]
fn row19_timeout_that_is_none() {
    let mut asker = Asker::new();
    for value in ["0", "256", "junk", "", "-1", "1.5", "99999999999999999999"] {
        asker.plain(&asking(&[("timeout", value)]));
    }
    asker.oack(&asking(&[("timeout", "1")]), "timeout 1 ");
    asker.oack(&asking(&[("timeout", "255")]), "timeout 255 ");
    asker.done();
}

#[test]
fn row20_windowsize_that_is_none_or_large() {
    let mut asker = Asker::new();
    for value in ["0", "junk", "", "-4", "65536", "4294967297"] {
        asker.plain(&asking(&[("windowsize", value)]));
    }
    asker.oack(&asking(&[("windowsize", "65535")]), "windowsize 64 ");
    asker.oack(&asking(&[("windowsize", "1")]), "windowsize 1 ");
    asker.done();

    let mut setup = Setup { mtu: 9_000, ..Setup::default() };
    setup.policy.max_window_bytes = 40_000;
    let mut bench = Bench::new(&setup, catalogue(1, &[("file", content(200_000, 1))]));
    let peer = Peer::v4(2, 3_000);
    let (tid, said) = peer.open(&mut bench, "file", &[("windowsize", "65535"), ("blksize", "8968")]);
    assert_eq!(said, Said::Oack("windowsize 4 blksize 8968 ".to_owned()), "bytes in flight count too");
    assert_eq!(bench.expect(&peer.ack(tid, 0), Outcome::AckProgress).len(), 4);
}

#[test]
fn row21_tsize_that_is_none() {
    let mut asker = Asker::new();
    for value in ["junk", "", "-1", "0x0", "99999999999999999999999"] {
        asker.plain(&asking(&[("tsize", value)]));
    }
    for value in ["0", "1", "12345", "4294967296", "18446744073709551615"] {
        asker.oack(&asking(&[("tsize", value)]), "tsize 12345 ");
    }
    asker.done();
}

#[test]
fn row22_tsize_with_netascii_is_left_out() {
    let mut asker = Asker::new();
    asker.plain_netascii(&[("tsize", "0")]);
    asker.oack(&read_request("file", "netascii", &[("tsize", "0"), ("blksize", "600")]), "blksize 600 ");
    asker.done();
}

impl Asker {
    /// No OACK, but the begin of the file as netascii.
    #[track_caller]
    fn plain_netascii(&mut self, options: &[(&str, &str)]) {
        let said = self.said(&read_request("file", "netascii", options));
        assert!(matches!(&said, Said::Data { block: 1, bytes } if bytes.len() == 512), "{said:?}");
    }
}

#[test]
fn row23_options_of_others() {
    let mut asker = Asker::new();
    let foreign = [("multicast", ""), ("msftwindow", "31416"), ("utimeout", "1000"), ("rollover", "1")];
    asker.plain(&asking(&foreign));
    for each in foreign {
        asker.plain(&asking(&[each]));
        asker.oack(&asking(&[("tsize", "0"), each, ("blksize", "1400")]), "tsize 12345 blksize 1400 ");
    }
    asker.done();
}

#[test]
fn row24_long_requests_are_read_as_far_as_512_bytes() {
    let mut asker = Asker::new();
    let hundred: Vec<(String, String)> =
        (0..100).map(|number| (format!("option{number}"), number.to_string())).collect();
    let mut options: Vec<(&str, &str)> = vec![("blksize", "1400")];
    options.extend(hundred.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    options.push(("windowsize", "4"));
    let request = asking(&options);
    assert!((513..1_400).contains(&request.len()));
    asker.oack(&request, "blksize 1400 ");
    // A hundred that fit, all the same and all different.
    asker.oack(&asking(&[("tsize", "0"); 50]), "tsize 12345 ");
    let short: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    asker.plain(&asking(&short.iter().map(|name| (name.as_str(), "")).collect::<Vec<_>>()));
    // Exactly 512 bytes are read whole; an option behind them is not.
    for (len, wanted) in [(512, "blksize 600 tsize 12345 "), (513, "blksize 600 ")] {
        let mut request = asking(&[("blksize", "600")]);
        let tail = b"tsize\x000\0";
        let padding = len - request.len() - tail.len();
        request.extend_from_slice(&b"p".repeat(padding - 2));
        request.extend_from_slice(b"\0\0");
        request.extend_from_slice(tail);
        assert_eq!(request.len(), len);
        asker.oack(&request, wanted);
    }
    // Never ending names, modes and options: an ERROR or service, but no more than one packet.
    asker.refused(&[b"\0\x01".as_slice(), &b"a".repeat(1_400)].concat());
    asker.refused(&[b"\0\x01file\0".as_slice(), &b"o".repeat(1_400)].concat());
    asker.plain(&[b"\0\x01file\0octet\0".as_slice(), &b"x".repeat(1_400)].concat());
    asker.oack(&[b"\0\x01file\0octet\0tsize\x000\0blksize\0".as_slice(), &b"1".repeat(1_400)].concat(), "tsize 12345 ");
    asker.done();
}

#[test]
fn rule_b_oack_says_what_was_asked_once_in_the_asked_order() {
    let mut asker = Asker::new();
    for (options, wanted) in [
        (&[("tsize", "0"), ("BLKSIZE", "01024")][..], "tsize 12345 blksize 1024 "),
        (&[("blksize", "1024"), ("tsize", "0")], "blksize 1024 tsize 12345 "),
        (
            &[("WindowSize", "00004"), ("TimeOut", "007"), ("tSize", "000"), ("blksize", "512")],
            "windowsize 4 timeout 7 tsize 12345 blksize 512 ",
        ),
        (&[("blksize", "600"), ("blksize", "700"), ("tsize", "0"), ("BLKSIZE", "800")], "blksize 600 tsize 12345 "),
        (&[("timeout", "3")], "timeout 3 "),
        (&[("blksize", "junk"), ("blksize", "900")], "blksize 900 "),
    ] {
        asker.oack(&asking(options), wanted);
    }
    asker.plain(&asking(&[]));
    asker.done();
}

#[test]
fn rule_b_a_window_never_starts_before_ack_0() {
    let (mut bench, bystander) = setup();
    let peer = Peer::v4(2, 3_000);
    let (tid, said) = peer.open(&mut bench, "file", &[("windowsize", "8")]);
    assert_eq!(said, Said::Oack("windowsize 8 ".to_owned()));
    for block in [1, 2, 8, 65_535] {
        bench.expect_silence(&peer.ack(tid, block), Outcome::StaleAck);
    }
    let replies = bench.expect(&peer.ack(tid, 0), Outcome::AckProgress);
    assert_eq!(lab::hand::blocks(&replies), [1, 2, 3, 4, 5, 6, 7, 8]);
    bystander.finish(&mut bench);
}

#[test]
fn rule_i_values_at_the_edges() {
    let mut asker = Asker::new();
    for (name, value) in
        [("blksize", "8"), ("blksize", "1448"), ("timeout", "1"), ("timeout", "255"), ("windowsize", "64")]
    {
        asker.oack(&asking(&[(name, value)]), &format!("{name} {value} "));
    }
    asker.done();
    // An odd block size makes odd lengths and offsets; each byte has to arrive all the same.
    let (mut bench, bystander) = setup();
    for (peer, blksize) in [(Peer::v4(2, 3_000), 8), (Peer::v6(2, 3_001), 13), (Peer::v4(2, 3_002), 1_467)] {
        let text = blksize.to_string();
        let (tid, _) = peer.open(&mut bench, "file", &[("blksize", &text)]);
        let mut bytes = Vec::new();
        let mut next = 0;
        while bytes.len() < SIZE {
            let replies = bench.expect(&peer.ack(tid, next), Outcome::AckProgress);
            let Said::Data { block, bytes: more } = &replies[0].said else { panic!("{replies:?}") };
            next += 1;
            assert_eq!(*block, next);
            bytes.extend_from_slice(more);
        }
        assert!(bytes == content(SIZE, 1), "blksize {blksize}");
        bench.expect_silence(&peer.ack(tid, next), Outcome::AckFinished);
    }
    bystander.finish(&mut bench);
}
