//! The metrics endpoint as its clients see it: right pages, wrong requests, slow and many clients.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::fleet::WorkerFailure;
use control::metrics::{BoundEndpoint, Build, EndpointError, Listen, MetricsServer, Pages};
use support::FakeFleet;

#[allow(dead_code, reason = "each test file uses its part")]
mod support;

fn server(fleet: &Arc<FakeFleet>) -> (MetricsServer, SocketAddr) {
    let endpoint = BoundEndpoint::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = endpoint.address();
    let build = Build { version: "1.2.3".to_owned(), dpdk: "DPDK \"x\"".to_owned() };
    (endpoint.answer(Pages::new(Arc::clone(fleet) as _, build)).unwrap(), address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    answer(stream)
}

#[test]
fn metrics_have_names_units_help_and_sums_of_their_parts() {
    let fleet = Arc::new(FakeFleet::new(1));
    let (_server, address) = server(&fleet);
    let text = ask(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    for line in [
        "HTTP/1.1 200 OK\r",
        "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r",
        "# TYPE bypassd_build info",
        "bypassd_build_info{version=\"1.2.3\",dpdk=\"DPDK \\\"x\\\"\"} 1",
        "# HELP bypassd_rx_frames Frames taken from the receive queue.",
        "# TYPE bypassd_rx_frames counter",
        "bypassd_rx_frames_total{worker=\"1\",port=\"0\"} 10",
        "bypassd_frame_outcomes_total{worker=\"0\",port=\"0\",fate=\"dropped\",reason=\"runt\"} 1",
        "bypassd_frame_outcomes_total{worker=\"0\",port=\"0\",fate=\"served\",reason=\"request_opened\"} 8",
        "bypassd_transfers_ended_total{worker=\"0\",port=\"0\",ending=\"done\"} 7",
        "# UNIT bypassd_data_bytes bytes",
        "bypassd_data_bytes_total{worker=\"0\",port=\"0\"} 1099511627776",
        "bypassd_kernel_lost_frames_total{worker=\"0\",port=\"0\",at=\"ring\"} 1",
        "bypassd_kernel_lost_frames_total{worker=\"0\",port=\"0\",at=\"interface\"} 2",
        "bypassd_busy_seconds_total{worker=\"0\",lcore=\"1\"} 0.125",
        "bypassd_worker_up{worker=\"1\",lcore=\"2\"} 1",
        "bypassd_file_bytes 14280",
        "bypassd_port_rx_packets_total{port=\"0\"} 20",
        "bypassd_port_speed_bits_per_second{port=\"0\"} 10000000000",
        "# TYPE bypassd_first_data_seconds histogram",
        "bypassd_first_data_seconds_count 5",
        "bypassd_first_data_seconds_bucket{le=\"0.00002\"} 3",
        "bypassd_first_data_seconds_bucket{le=\"0.05\"} 5",
        "bypassd_first_data_seconds_bucket{le=\"+Inf\"} 5",
    ] {
        assert!(text.lines().any(|found| found == line.trim_end_matches('\r')), "{line} is missing in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn health_follows_the_workers() {
    let fleet = Arc::new(FakeFleet::new(0));
    let (_server, address) = server(&fleet);
    let ask = || ask(address, "GET /healthz HTTP/1.1\r\n\r\n");
    assert!(ask().starts_with("HTTP/1.1 200 ") && ask().ends_with("ok: 2 worker(s) run\n"), "{}", ask());
    fleet.change(|scene| {
        scene.failed = vec![WorkerFailure { worker: 1, lcore: 2, reason: "asked to fail".to_owned() }];
    });
    assert!(ask().starts_with("HTTP/1.1 503 ") && ask().ends_with("worker 1 failed: asked to fail\n"), "{}", ask());
    fleet.change(|scene| (scene.failed.clear(), scene.running_workers = 0).1);
    assert!(ask().starts_with("HTTP/1.1 503 "), "{}", ask());
}

#[test]
fn what_is_no_scrape_is_refused() {
    let fleet = Arc::new(FakeFleet::new(0));
    let (_server, address) = server(&fleet);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "404"),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello".to_owned(), "405"),
        ("garbage\r\n\r\n".to_owned(), "400"),
        (format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(4_096 - 26)), "431"),
    ] {
        let text = ask(address, &request);
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {text}");
    }
    assert!(ask(address, "HEAD /metrics HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n"), "a head has no body");
}

#[test]
fn a_request_may_come_in_pieces_and_its_sender_may_hang_up() {
    let fleet = Arc::new(FakeFleet::new(0));
    let (_server, address) = server(&fleet);
    let mut slow = connect(address);
    drop(connect(address));
    for piece in ["GET /met", "rics HT", "TP/1.1\r\n", "\r\n"] {
        slow.write_all(piece.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(30));
    }
    assert!(answer(slow).starts_with("HTTP/1.1 200 "));
}

#[test]
fn many_silent_clients_keep_nobody_out() {
    let fleet = Arc::new(FakeFleet::new(0));
    let (server, address) = server(&fleet);
    let mut silent: Vec<TcpStream> = (0..100).map(|_| connect(address)).collect();
    for _ in 0..3 {
        assert!(ask(address, "GET /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
    }
    // Those who waited longest were hung up on to make room.
    assert_eq!(silent[0].read(&mut [0]).unwrap_or(0), 0);
    // The end does not wait for the rest.
    let begun = Instant::now();
    drop(server);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn who_reads_nothing_is_hung_up_on_in_time() {
    let fleet = Arc::new(FakeFleet::new(0));
    let (_server, address) = server(&fleet);
    let mut silent = connect(address);
    assert_eq!(silent.read(&mut [0]).unwrap_or(0), 0, "hung up on before our own patience of 20 s ends");
}

#[test]
fn a_place_that_is_taken_or_elsewhere_is_a_clear_error() {
    let first = BoundEndpoint::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let error = BoundEndpoint::bind(Listen(first.address())).unwrap_err();
    assert!(matches!(error, EndpointError::InUse { .. }) && error.to_string().contains("--metrics"), "{error}");
    let error = BoundEndpoint::bind("192.0.2.77:9569".parse().unwrap()).unwrap_err();
    assert!(matches!(error, EndpointError::NoSuchAddress { .. }), "{error}");
}
