//! The control socket: who gets in, what is left behind, and what clients may not do to it; and `bypassctl` as a process.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::protocol::{RawReply, Refusal, RefusalCode};
use control::settings::ControlSettings;
use control::socket::{ControlSocket, MAX_CLIENTS, SocketError};
use control::supervisor::Order;
use control::words;
use crossbeam::channel::{Receiver, bounded};
use support::FakeFleet;

fn settings(path: &Path) -> ControlSettings {
    ControlSettings { socket: path.to_owned(), mode: 0o600, group: None }
}

struct Daemon {
    socket: ControlSocket,
    orders: Receiver<Order>,
    path: PathBuf,
    fleet: Arc<FakeFleet>,
    _dir: tempfile::TempDir,
}

fn daemon() -> Daemon {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("bypassd/control.sock");
    let (sender, orders) = bounded(4);
    let fleet = Arc::new(FakeFleet::new(3));
    let handler = {
        let fleet = Arc::clone(&fleet);
        Arc::new(move |request| words::answer(&request, &*fleet, &sender))
    };
    let socket = ControlSocket::open(&settings(&path), handler).expect("the socket opens");
    Daemon { socket, orders, path, fleet, _dir: dir }
}

fn nothing() -> control::socket::Handler {
    Arc::new(|_| control::protocol::Reply::Error(Refusal::new(RefusalCode::NotFound, "nothing here", "")))
}

fn say(stream: &mut UnixStream, line: &str) -> String {
    stream.write_all(line.as_bytes()).expect("sent");
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply).expect("answered");
    reply
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o7777
}

fn bypassctl(path: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bypassctl")).arg("--control").arg(path).args(words).output().expect("it runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn nobody_else_gets_in_and_nothing_is_left_behind() {
    let daemon = daemon();
    assert_eq!(mode(&daemon.path), 0o600);
    assert_eq!(mode(daemon.path.parent().unwrap()) & 0o007, 0, "others cannot even look into the directory");
    let path = daemon.path.clone();
    drop(daemon.socket);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0, "neither socket nor lock is left");
}

#[test]
fn mode_and_group_are_as_configured() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let gid = fs::metadata(dir.path()).unwrap().gid();
    let configured = ControlSettings { mode: 0o660, group: Some(gid.to_string()), ..settings(&path) };
    let _socket = ControlSocket::open(&configured, nothing()).unwrap();
    assert_eq!((mode(&path), fs::metadata(&path).unwrap().gid()), (0o660, gid));
    let unknown = ControlSettings { group: Some("no-such-group-here".to_owned()), ..settings(&dir.path().join("b")) };
    assert!(matches!(ControlSocket::open(&unknown, nothing()), Err(SocketError::NoSuchGroup { .. })));
    assert!(!dir.path().join("b").exists());
}

#[test]
fn a_stale_socket_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket(), "a killed daemon leaves this");
    let _socket = ControlSocket::open(&settings(&path), nothing()).unwrap();
    assert!(say(&mut UnixStream::connect(&path).unwrap(), "{\"words\":[]}\n").contains("nothing here"));
}

#[test]
fn a_living_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let _first = ControlSocket::open(&settings(&path), nothing()).unwrap();
    assert!(matches!(ControlSocket::open(&settings(&path), nothing()), Err(SocketError::InUse { .. })));
    assert!(UnixStream::connect(&path).is_ok(), "nothing was removed");
    // Before it has bound its socket, too: the path is taken from the lock on.
    fs::remove_file(&path).unwrap();
    assert!(matches!(ControlSocket::open(&settings(&path), nothing()), Err(SocketError::InUse { .. })));
    // One that does not know of the lock, too.
    let other = dir.path().join("other.sock");
    let _listener = UnixListener::bind(&other).unwrap();
    assert!(matches!(ControlSocket::open(&settings(&other), nothing()), Err(SocketError::InUse { .. })));
    assert!(UnixStream::connect(&other).is_ok());
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    fs::write(&path, "precious").unwrap();
    assert!(matches!(ControlSocket::open(&settings(&path), nothing()), Err(SocketError::NotASocket { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let link = dir.path().join("link.sock");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(ControlSocket::open(&settings(&link), nothing()), Err(SocketError::NotASocket { .. })));
    let deep = dir.path().join("no/such/control.sock");
    assert!(matches!(ControlSocket::open(&settings(&deep), nothing()), Err(SocketError::System { .. })));
}

#[test]
fn a_successors_socket_survives_our_end() {
    let daemon = daemon();
    fs::remove_file(&daemon.path).unwrap();
    let _successor = UnixListener::bind(&daemon.path).unwrap();
    drop(daemon.socket);
    assert!(daemon.path.exists());
}

#[test]
fn several_requests_go_over_one_connection() {
    let daemon = daemon();
    let mut stream = UnixStream::connect(&daemon.path).unwrap();
    for _ in 0..3 {
        let reply: RawReply = serde_json::from_str(&say(&mut stream, "{\"words\":[\"show\",\"stats\"]}\n")).unwrap();
        let RawReply::Ok(stats) = reply else { panic!("{reply:?}") };
        assert_eq!(stats["rx_frames"], stats["accounted_frames"]);
    }
}

#[test]
fn what_is_no_request_is_refused_with_its_reason() {
    let daemon = daemon();
    for line in [
        "\n",
        "show workers\n",
        "{\"words\":\"stop\"}\n",
        "{\"words\":[\"stop\"],\"now\":1}\n",
        "\u{0}\u{ff}\n",
        "[[[[[[\n",
    ] {
        let mut stream = UnixStream::connect(&daemon.path).unwrap();
        assert!(say(&mut stream, line).contains("\"bad_request\""), "{line:?}");
        assert!(say(&mut stream, "{\"words\":[\"show\",\"drops\"]}\n").contains("\"ok\""), "the connection goes on");
    }
    let mut endless = UnixStream::connect(&daemon.path).unwrap();
    assert!(say(&mut endless, &"x".repeat(4096)).contains("one line of at most 4096 bytes"));
    let mut rest = String::new();
    // Closed with or without a reset, but closed.
    assert!(matches!(endless.read_to_string(&mut rest), Ok(0) | Err(_)));
    assert!(daemon.orders.is_empty(), "none of it was an order");
}

#[test]
fn the_number_of_clients_is_bounded_and_recovers() {
    let daemon = daemon();
    let mut held: Vec<UnixStream> = (0..MAX_CLIENTS).map(|_| UnixStream::connect(&daemon.path).unwrap()).collect();
    for stream in &mut held {
        assert!(say(stream, "{\"words\":[\"show\",\"drops\"]}\n").contains("\"ok\""));
    }
    let refused = bypassctl(&daemon.path, &["show", "drops"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("8 clients are connected already"), "{}", text(&refused.stderr));
    drop(held);
    let deadline = Instant::now() + Duration::from_secs(10);
    while bypassctl(&daemon.path, &["show", "drops"]).status.code() != Some(0) {
        assert!(Instant::now() < deadline, "a place never came free");
    }
}

#[test]
fn an_end_does_not_wait_for_silent_clients() {
    let daemon = daemon();
    let mut silent = UnixStream::connect(&daemon.path).unwrap();
    let mut halfway = UnixStream::connect(&daemon.path).unwrap();
    assert!(say(&mut silent, "{\"words\":[\"show\",\"drops\"]}\n").contains("\"ok\""));
    halfway.write_all(b"{\"wor").unwrap();
    let begin = Instant::now();
    drop(daemon.socket);
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[test]
fn bypassctl_shows_tables() {
    let daemon = daemon();
    for (words, parts) in [
        (&["show", "workers"][..], &["lcore", "polling", "12.5", "2 worker(s) running"][..]),
        (&["show", "stats"], &["rx-frames", "runt", "request", "NIC statistics for port 0"]),
        (&["show", "sessions"], &["192.0.2.2:1024", "1428x16", "boot\\u{1b}[31m/vmlinuz", "1 of 3 session(s) shown"]),
        (&["show", "files"], &["14280     3         42840  vmlinuz", "generation 1"]),
        (&["show", "drops"], &["too short", "3 frame(s) dropped"]),
        (&["show", "port", "stats", "all"], &["RX-packets: 20", "RX-nombuf:", "10000 Mbit/s"]),
        (&["show", "port", "stats", "0"], &["RX-packets: 20"]),
    ] {
        let output = bypassctl(&daemon.path, words);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{words:?}");
        for part in parts {
            assert!(text(&output.stdout).contains(part), "{part} is missing in\n{}", text(&output.stdout));
        }
    }
}

#[test]
fn bypassctl_prints_json() {
    let daemon = daemon();
    let output = bypassctl(&daemon.path, &["--json", "show", "workers"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&value["count"], &value["workers"][1]["state"]), (&2.into(), &"polling".into()));
    let refused = bypassctl(&daemon.path, &["--json", "show", "port", "stats", "7"]);
    let value: serde_json::Value = serde_json::from_slice(&refused.stderr).unwrap();
    assert_eq!((refused.status.code(), &value["code"]), (Some(1), &"not_found".into()));
}

#[test]
fn bypassctl_gives_orders() {
    let daemon = daemon();
    let orders = [
        (&["drain"][..], Order::Drain),
        (&["drain", "hold"], Order::Hold),
        (&["resume"], Order::Resume),
        (&["stop"], Order::Stop),
    ];
    for (words, order) in orders {
        let output = bypassctl(&daemon.path, words);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("3 transfer(s) running"));
        assert_eq!(daemon.orders.try_recv(), Ok(order));
    }
}

#[test]
fn bypassctl_reloads_and_says_what_came_of_it() {
    let daemon = daemon();
    let output = bypassctl(&daemon.path, &["reload"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    assert!(text(&output.stdout).starts_with("generation 2: 1 added"), "{}", text(&output.stdout));
    let output = bypassctl(&daemon.path, &["--json", "reload"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&value["generation"], &value["renewed"]), (&2.into(), &true.into()));
    daemon.fleet.change(|scene| scene.root_is_gone = true);
    let failed = bypassctl(&daemon.path, &["reload"]);
    assert_eq!(failed.status.code(), Some(1));
    for part in ["the root /tftp does not exist", "generation 1 is still served"] {
        assert!(text(&failed.stderr).contains(part), "{}", text(&failed.stderr));
    }
    assert_eq!(daemon.fleet.scene().reloaded, 3);
}

#[test]
fn a_reload_under_way_holds_nobody_else_up() {
    let daemon = daemon();
    let (begun, go_on) = (Instant::now(), Duration::from_millis(1_500));
    daemon.fleet.change(|scene| scene.reload_takes = go_on);
    let path = daemon.path.clone();
    let reload = std::thread::spawn(move || bypassctl(&path, &["reload"]).status.code());
    let mut others = 0;
    while daemon.fleet.scene().reloaded == 0 || others < 3 {
        assert_eq!(bypassctl(&daemon.path, &["show", "files"]).status.code(), Some(0));
        others += u32::from(daemon.fleet.scene().reloaded > 0);
        assert!(!reload.is_finished() || begun.elapsed() >= go_on);
    }
    assert_eq!(reload.join().unwrap(), Some(0));
}

#[test]
fn bypassctl_explains_wrong_words_without_a_daemon() {
    for words in [&["show", "worker"][..], &["reboot"]] {
        let output = bypassctl(Path::new("/nonexistent/control.sock"), words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(text(&output.stderr).contains("known here"), "{}", text(&output.stderr));
    }
}

#[test]
fn bypassctl_says_how_to_mend_what_keeps_it_out() {
    let dir = tempfile::tempdir().unwrap();
    let missing = bypassctl(&dir.path().join("none.sock"), &["stop"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("bypassd run"), "{}", text(&missing.stderr));

    let stale = dir.path().join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    let refused = bypassctl(&stale, &["stop"]);
    assert!(text(&refused.stderr).contains("left its socket behind"), "{}", text(&refused.stderr));

    let nonsense = dir.path().join("nonsense.sock");
    let listener = UnixListener::bind(&nonsense).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n").unwrap();
    });
    let answer = bypassctl(&nonsense, &["stop"]);
    server.join().unwrap();
    assert_eq!(answer.status.code(), Some(1));
    assert!(text(&answer.stderr).contains("does not speak this protocol"), "{}", text(&answer.stderr));
}

#[test]
fn bypassctl_says_the_lines_of_a_pipe_and_of_a_file() {
    let daemon = daemon();
    let mut child = Command::new(env!("CARGO_BIN_EXE_bypassctl"))
        .arg("--control")
        .arg(&daemon.path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines =
        b"# two shows, between which rates are known\nshow port stats 0\n\nshow port stats all\nshow prot\nstop\n";
    child.stdin.take().unwrap().write_all(lines).unwrap();
    let piped = child.wait_with_output().unwrap();
    assert_eq!(piped.status.code(), Some(2));
    assert_eq!(text(&piped.stdout).matches("RX-packets: 20").count(), 2);
    assert_eq!(text(&piped.stdout).matches("Rx-pps:").count(), 1, "{}", text(&piped.stdout));
    assert!(text(&piped.stderr).starts_with("bypassctl: stdin:5: unknown word `prot` after `show`"));
    assert!(daemon.orders.is_empty(), "it stopped before `stop`");

    let file = daemon.path.with_extension("txt");
    fs::write(&file, "show port stats 7\nstop\n").unwrap();
    let failed = bypassctl(&daemon.path, &["--file", file.to_str().unwrap()]);
    assert_eq!(failed.status.code(), Some(1));
    let place = format!("{}:1: there is no port 7", file.display());
    assert!(text(&failed.stderr).contains(&place), "{}", text(&failed.stderr));
    assert!(daemon.orders.is_empty());
    let gone_on = bypassctl(&daemon.path, &["--keep-going", "load", file.to_str().unwrap()]);
    assert_eq!((gone_on.status.code(), daemon.orders.try_recv()), (Some(1), Ok(Order::Stop)));
}

#[test]
fn top_prints_a_record_per_interval_where_there_is_no_terminal() {
    let daemon = daemon();
    let output = bypassctl(&daemon.path, &["--json", "top", "1", "frames", "2"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let records: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("one record per line")).collect();
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|record| record["interval_seconds"].as_f64().is_some_and(|seconds| seconds >= 1.0)));
    assert_eq!(records[1]["workers"][0]["state"], "polling");
    let people = bypassctl(&daemon.path, &["top", "frames", "1"]);
    assert!(text(&people.stdout).contains("rx-pps") && !text(&people.stdout).contains('\u{1b}'));
    let nobody = bypassctl(Path::new("/nonexistent/control.sock"), &["top"]);
    assert_eq!(nobody.status.code(), Some(1));
}
