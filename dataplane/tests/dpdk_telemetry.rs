//! Commands on DPDK's telemetry socket: answered by closures, never after those are gone, and a panic in one stays in it. Needs root.
#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs::metadata;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use dataplane::dpdk::{Eal, TelemetryError, Value};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType, connect, recv, send, socket};

const COMMAND: &str = "/bypassd_test/one";

/// One question and its answer, as JSON.
fn ask(client: impl AsFd, question: &str) -> String {
    send(&client, question.as_bytes(), SendFlags::empty()).unwrap();
    hear(client)
}

fn hear(client: impl AsFd) -> String {
    let mut answer = vec![0; 16 << 10];
    let (count, _) = recv(&client, &mut answer, RecvFlags::empty()).unwrap();
    String::from_utf8(answer[..count].to_vec()).unwrap()
}

#[test]
fn commands_are_answered_while_somebody_is_there() {
    if metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("skipped: EAL's runtime directory of root");
        return;
    }
    let prefix = format!("bypassd-test-{}", std::process::id());
    let args = ["--no-huge", "-m", "64", "--no-pci", "--no-shconf", "--lcores", "0@0", "--file-prefix", &prefix];
    let eal = Eal::init(&args.map(str::to_owned)).unwrap();
    let command = eal
        .offer_telemetry(COMMAND, "for a test", |parameters| {
            assert_ne!(parameters, "panic", "as asked");
            let text = format!("{parameters}\u{1b}\"{}", "x".repeat(200));
            let inner = vec![("most".to_owned(), Value::Number(u64::MAX)), ("said".to_owned(), Value::Text(text))];
            (parameters != "none")
                .then(|| vec![("a".to_owned(), Value::Number(1)), ("in/b_2".to_owned(), Value::Dict(inner))])
        })
        .unwrap();

    let client = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    let place = format!("/var/run/dpdk/{prefix}/dpdk_telemetry.v2");
    connect(&client, &SocketAddrUnix::new(place.as_str()).unwrap()).unwrap();
    assert!(hear(&client).contains("max_output_len"), "a greeting");
    let answer = ask(&client, &format!("{COMMAND},7"));
    assert!(
        answer.starts_with(r#"{"/bypassd_test/one":{"a":1,"in/b_2":{"most":18446744073709551615,"said":"7?\"xxx"#),
        "{answer}"
    );
    let nothing = r#"{"/bypassd_test/one":null}"#;
    assert_eq!(ask(&client, &format!("{COMMAND},none")), nothing);
    assert_eq!(ask(&client, &format!("{COMMAND},panic")), nothing);
    assert!(ask(&client, COMMAND).contains(r#""a":1"#), "a panic ends nothing");
    // Names that DPDK does not take.
    let wrong = eal.offer_telemetry("no/slash", "x", |_| None);
    assert!(matches!(wrong, Err(TelemetryError::Refused { .. })), "{wrong:?}");
    let odd =
        eal.offer_telemetry("/bypassd_test/odd", "x", |_| Some(vec![("a b".to_owned(), Value::Number(1))])).unwrap();
    assert_eq!(ask(&client, "/bypassd_test/odd"), r#"{"/bypassd_test/odd":null}"#);
    drop(odd);

    drop(command);
    assert_eq!(ask(&client, COMMAND), nothing, "DPDK knows the command for ever, and nobody answers");
    let again =
        eal.offer_telemetry(COMMAND, "for a test", |_| Some(vec![("again".to_owned(), Value::Number(2))])).unwrap();
    assert_eq!(ask(&client, COMMAND), r#"{"/bypassd_test/one":{"again":2}}"#);
    // Whoever answers may outlive EAL, and the other way round.
    drop(eal);
    drop(again);
    std::fs::remove_dir_all(format!("/var/run/dpdk/{prefix}")).ok();
}
