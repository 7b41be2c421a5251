//! Hostile input on port 69, rows 1 to 14: each gets its one answer, and nobody else notices.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a panic is how a test fails; test data is small"
)]

mod lab;

use dataplane::engine::Outcome;
use lab::client::read_request;
use lab::hand::{Bystander, Peer, Said, bench_with_bystander};
use lab::{Bench, Setup, content};

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("file", content(1_000, 1)),
        ("empty", Vec::new()),
        ("boot/kernel", content(700, 2)),
        ("100%n", content(10, 3)),
    ]
}

fn setup() -> (Bench, Bystander) {
    bench_with_bystander(&Setup::default(), &files())
}

const MALICE: u16 = 3_000;

/// Each of these payloads to port 69, over IPv4 and IPv6, is dropped under `outcome`.
fn all_dropped(payloads: &[&[u8]], outcome: Outcome) {
    let (mut bench, bystander) = setup();
    for payload in payloads {
        for peer in [Peer::v4(2, MALICE), Peer::v6(2, MALICE)] {
            bench.expect_silence(&peer.to(69, payload), outcome);
            assert_eq!(bench.live_sessions(), 1, "{payload:?}");
        }
    }
    bystander.finish(&mut bench);
}

/// Each of these payloads to port 69 is answered with one ERROR of this code, from a TID, and leaves no session.
fn all_refused(payloads: &[Vec<u8>], code: u16) {
    let (mut bench, bystander) = setup();
    for payload in payloads {
        for peer in [Peer::v4(2, MALICE), Peer::v6(2, MALICE)] {
            let shown = String::from_utf8_lossy(payload);
            let reply = bench.expect_error(&peer.to(69, payload), Outcome::RequestRefused, code);
            assert_eq!(reply.flow.dst_port, MALICE, "{shown:?}");
            assert_eq!(reply.flow.addresses.dst(), peer.host.ip, "{shown:?}");
            assert_eq!(reply.flow.addresses.src(), peer.host.server, "{shown:?}");
            assert_eq!(reply.link.dst, peer.host.mac, "{shown:?}");
            assert_eq!(bench.live_sessions(), 1, "{shown:?}");
        }
    }
    bystander.finish(&mut bench);
    assert!(bench.pass(100, 60_000).is_empty(), "an ERROR is never sent again");
}

fn names(names: &[&str]) -> Vec<Vec<u8>> {
    names.iter().map(|name| read_request(name, "octet", &[])).collect()
}

#[test]
fn row01_empty_one_byte_opcode_only() {
    all_dropped(
        &[b"", b"\0", b"\x01", b"\0\x01", b"\0\x02", b"\0\x03", b"\0\x04", b"\0\x05", b"\0\x06"],
        Outcome::NotARequest,
    );
}

#[test]
fn row02_other_opcodes_are_never_answered() {
    all_dropped(
        &[
            b"\0\0file\0octet\0",
            b"\0\x07file\0octet\0",
            b"\0\x08file\0octet\0",
            b"\x01\x01file\0octet\0",
            b"\xff\xfffile\0octet\0",
            b"\0\x03\0\x01data",
            b"\0\x04\0\0",
            b"\0\x04\0\x01",
            b"\0\x05\0\0\0",
            b"\0\x05\0\x05unknown transfer ID\0",
            b"\0\x06blksize\x00512\0",
        ],
        Outcome::NotARequest,
    );
}

#[test]
fn row03_source_port_0_or_69() {
    let (mut bench, bystander) = setup();
    for port in [0, 69] {
        for peer in [Peer::v4(2, port), Peer::v6(2, port)] {
            for payload in
                [&read_request("file", "octet", &[])[..], b"\0\x01missing\0octet\0", b"\0\x02x\0octet\0", b"junk", b""]
            {
                bench.expect_silence(&peer.to(69, payload), Outcome::SourcePortForbidden);
                assert_eq!(bench.live_sessions(), 1);
            }
        }
    }
    Peer::v4(2, 1).open(&mut bench, "file", &[]);
    Peer::v4(2, 68).open(&mut bench, "file", &[]);
    Peer::v4(2, 65_535).open(&mut bench, "file", &[]);
    bystander.finish(&mut bench);
}

#[test]
fn row04_writes_are_refused() {
    let well_formed = [read_request("new", "octet", &[]), read_request("file", "netascii", &[("blksize", "1024")])];
    let torn: [&[u8]; 5] = [b"\0\x01x", b"\0\x01\0", b"\0\x01\0\0", b"\0\x01x\0mail\0", b"\0\x01../x\0octet\0"];
    let writes: Vec<Vec<u8>> = well_formed
        .iter()
        .map(Vec::as_slice)
        .chain(torn)
        .map(|request| {
            let mut write = request.to_vec();
            write[1] = 2;
            write
        })
        .collect();
    all_refused(&writes, 2);
}

#[test]
fn row05_missing_terminators() {
    let torn: [&[u8]; 6] = [b"file", b"file\0", b"file\0octet", b"\0", b"f", b"file\0oct"];
    let requests: Vec<Vec<u8>> = torn.iter().map(|body| [b"\0\x01", *body].concat()).collect();
    all_refused(&requests, 4);
}

#[test]
fn row06_empty_name_empty_or_unknown_mode() {
    let requests: Vec<Vec<u8>> =
        [("", "octet"), ("file", ""), ("", ""), ("file", "mail"), ("file", "binary"), ("file", "octets")]
            .iter()
            .map(|(name, mode)| read_request(name, mode, &[]))
            .collect();
    all_refused(&requests, 4);
}

#[test]
fn row07_mode_in_any_letter_case() {
    let (mut bench, bystander) = setup();
    for (number, mode) in (0_u16..).zip(["octet", "OCTET", "Octet", "oCtEt", "netascii", "NETASCII", "NetASCII"]) {
        let peer = Peer::v4(2, MALICE + number);
        let replies = bench.expect(&peer.to(69, &read_request("file", mode, &[])), Outcome::RequestOpened);
        assert!(matches!(&replies[0].said, Said::Data { block: 1, bytes } if bytes.len() == 512), "{mode}");
    }
    bystander.finish(&mut bench);
}

#[test]
fn row08_names_longer_than_the_index_allows() {
    let long = |len: usize| "a".repeat(len);
    let nested = format!("{}/file", "d/".repeat(225));
    // A name that begins like a file's is not cut down to it.
    let padded = format!("file{}", "/.".repeat(200));
    all_refused(&names(&[&long(448), &long(449), &long(480), &nested]), 1);
    let (mut bench, bystander) = setup();
    Peer::v4(2, MALICE).open(&mut bench, &padded, &[]);
    for len in [511, 600, 1_400] {
        // What exceeds a request's 512 bytes cannot be told from a name without an end (row 24).
        let request = Peer::v4(2, MALICE + 1).request(&long(len), &[]);
        let replies = bench.expect(&request, Outcome::RequestRefused);
        assert!(replies.len() == 1 && (replies[0].is_error(1) || replies[0].is_error(4)), "{len}: {replies:?}");
    }
    bystander.finish(&mut bench);
}

#[test]
fn row09_names_with_percent_control_bytes_and_0xff() {
    let mut requests = names(&["%n%n%n%s", "file%n", "%s", "file\n", "\x1b[2Jfile", "fi\x07le", "file\x7f", "\x01"]);
    for body in [&b"\xff\0octet\0"[..], b"file\xff\0octet\0", b"\xff\xfe\xfd\0octet\0", b"\xc3\x28\0octet\0"] {
        requests.push([b"\0\x01", body].concat());
    }
    all_refused(&requests, 1);
    let (mut bench, bystander) = setup();
    Peer::v4(2, MALICE).open(&mut bench, "100%n", &[]);
    bystander.finish(&mut bench);
}

#[test]
fn row10_climbing_out_of_the_root() {
    all_refused(
        &names(&[
            "../x",
            "../file",
            "a/../../x",
            "boot/../file",
            "..",
            "/..",
            "./../x",
            "..\\x",
            "boot\\..\\..\\x",
            "/../../etc/passwd",
            "C:\\x",
            "c:/x",
            "C:",
            "\\\\..\\x",
        ]),
        2,
    );
}

#[test]
fn row11_what_is_there_but_not_served() {
    all_refused(
        &names(&["directory", "directory/", "/", ".", "\\", "fifo", "private", "private/x", "outside", "outside/a/b"]),
        2,
    );
}

#[test]
fn row12_not_there() {
    all_refused(
        &names(&["missing", "FILE", "file.", "file ", "boot", "boot/kernel/x", "kernel", "...", "directory/x"]),
        1,
    );
}

#[test]
fn row13_empty_file() {
    let (mut bench, bystander) = setup();
    let plain = Peer::v4(2, MALICE);
    let (tid, said) = plain.open(&mut bench, "empty", &[]);
    assert_eq!(said, Said::Data { block: 1, bytes: Vec::new() });
    bench.expect_silence(&plain.ack(tid, 1), Outcome::AckFinished);

    let asking = Peer::v6(2, MALICE);
    let (tid, said) = asking.open(&mut bench, "empty", &[("tsize", "0"), ("blksize", "1024")]);
    assert_eq!(said, Said::Oack("tsize 0 blksize 1024 ".to_owned()));
    let replies = bench.expect(&asking.ack(tid, 0), Outcome::AckProgress);
    assert_eq!(replies.len(), 1);
    assert_eq!(replies[0].said, Said::Data { block: 1, bytes: Vec::new() });
    bench.expect_silence(&asking.ack(tid, 1), Outcome::AckFinished);
    bystander.finish(&mut bench);
}

#[test]
fn row14_sources_that_nobody_can_have() {
    let (mut bench, bystander) = setup();
    let v4 = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.254", "224.0.0.1", "239.255.255.255", "255.255.255.255"];
    let ours = ["10.99.0.255", "10.99.0.1"];
    let v6 = ["::", "::1", "ff02::1", "ff05::1:3", "fd00::1", "fe80::ff:fe00:1"];
    for address in v4.iter().chain(&ours).chain(&v6) {
        let mut peer = if address.contains(':') { Peer::v6(2, MALICE) } else { Peer::v4(2, MALICE) };
        peer.host.ip = lab::ip(address);
        for request in [peer.request("file", &[]), peer.request("missing", &[]), peer.to(69, b"\0\x02x\0octet\0")] {
            bench.expect_silence(&request, Outcome::SourceForbidden);
            assert_eq!(bench.live_sessions(), 1, "{address}");
        }
    }
    bystander.finish(&mut bench);
}

#[test]
fn row14_ipv4_mapped_sources_over_ipv6() {
    // RFC 6890 table 20: ::ffff:0:0/96 is no source. It must not pass for the IPv4 client that it maps either.
    let (mut bench, bystander) = setup();
    for address in ["::ffff:10.99.0.2", "::ffff:10.99.0.250", "::ffff:0.0.0.0", "::ffff:127.0.0.1"] {
        let mut peer = Peer::v6(2, 6_000);
        peer.host.ip = lab::ip(address);
        bench.expect_silence(&peer.request("file", &[]), Outcome::SourceForbidden);
        bench.expect_silence(&peer.request("missing", &[]), Outcome::SourceForbidden);
        assert_eq!(bench.live_sessions(), 1, "{address}");
    }
    bystander.finish(&mut bench);
}

#[test]
fn requests_to_other_ports_and_addresses_find_nobody() {
    let (mut bench, bystander) = setup();
    let peer = Peer::v4(2, MALICE);
    for port in [0, 67, 68, 70, 1_023] {
        bench.expect_silence(&peer.to(port, &read_request("file", "octet", &[])), Outcome::NoListener);
    }
    let mut stray = peer;
    for address in ["10.99.0.7", "255.255.255.255", "10.99.0.255", "224.0.0.1"] {
        stray.host.server = lab::ip(address);
        bench.expect_silence(&stray.request("file", &[]), Outcome::NotOurAddress);
    }
    let mut to_all = peer.request("file", &[]);
    to_all[..6].fill(0xff);
    bench.expect_silence(&to_all, Outcome::NotOurAddress);
    let mut to_another = peer.request("file", &[]);
    to_another[..6].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    bench.expect_silence(&to_another, Outcome::NotOurMac);
    assert_eq!(bench.live_sessions(), 1);
    bystander.finish(&mut bench);
}

#[test]
fn a_draining_appliance_ignores_requests_and_finishes_what_runs() {
    let (mut bench, bystander) = setup();
    let unproven = Peer::v4(2, MALICE);
    let (tid, _) = unproven.open(&mut bench, "file", &[]);
    bench.lane.engine_mut().set_draining(true);
    for request in [unproven.request("file", &[]), unproven.request("empty", &[]), Peer::v4(3, 1).request("file", &[])]
    {
        bench.expect_silence(&request, Outcome::Draining);
    }
    assert_eq!(bench.lane.engine().active_sessions(), 2);
    bystander.finish(&mut bench);
    // The first reply is still repeated, and the transfer that it began still runs to its end.
    assert_eq!(bench.pass(10, 1_500).len(), 1);
    bench.expect(&unproven.ack(tid, 1), Outcome::AckProgress);
    bench.expect_silence(&unproven.ack(tid, 2), Outcome::AckFinished);
    assert_eq!(bench.lane.engine().active_sessions(), 0, "now it may stop");
}
