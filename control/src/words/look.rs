//! Answers to the words for looking closely: captures and traces.

use std::time::Duration;

use dataplane::worker::{Layer, TapFilter};

use super::Asked;
use crate::fleet::PortCounters;
use crate::grammar::Arguments;
use crate::protocol::{Body, Done, Refusal, RefusalCode};
use crate::taps::capture::CaptureError;
use crate::taps::trace::TraceError;
use crate::taps::{CaptureRequest, LookingOn, TraceRequest};

/// Longest file of a capture that does not say, in bytes.
const LIMIT_BYTES: u64 = 100 << 20;

/// Longest time of a capture that does not say, in seconds.
const CAPTURE_SECONDS: u64 = 60;

/// Longest time of a trace that does not say, in seconds.
const TRACE_SECONDS: u64 = 600;

/// Bytes of a frame that are kept unless said otherwise.
pub(super) const SNAPLEN: u16 = 2_048;

fn looking_on<'a>(asked: &Asked<'a>) -> Result<&'a LookingOn, Refusal> {
    let none = || Refusal::new(RefusalCode::NotFound, "these workers let nobody look on", "");
    asked.fleet.looking_on().ok_or_else(none)
}

pub(super) fn start_capture(asked: &Asked<'_>, said: &Arguments) -> Result<Body, Refusal> {
    let request = CaptureRequest {
        path: said.text("FILE").unwrap_or_default().into(),
        filter: TapFilter { host: said.address("IP"), port: said.short("PORT"), layer: layer(said)? },
        limit_bytes: said.number("SIZE").unwrap_or(LIMIT_BYTES),
        time: Duration::from_secs(said.number("SECONDS").unwrap_or(CAPTURE_SECONDS)),
        snaplen: said.short("BYTES").unwrap_or(SNAPLEN),
    };
    looking_on(asked)?.start_capture(&request).map(Body::Capture).map_err(|error| capture_refusal(&error))
}

/// The one that was said, if any.
fn layer(said: &Arguments) -> Result<Option<Layer>, Refusal> {
    let known = [("arp", Layer::Arp), ("icmp", Layer::Icmp), ("udp", Layer::Udp)];
    let mut chosen = known.iter().filter(|(word, _)| said.has(word));
    match (chosen.next(), chosen.next()) {
        (Some((one, _)), Some((other, _))) => {
            let message = format!("no frame is {one} and {other} at a time, and all that is said must hold");
            Err(Refusal::new(RefusalCode::UnknownWords, message, format!("say only `{one}` or `{other}`")))
        }
        (first, _) => Ok(first.map(|(_, layer)| *layer)),
    }
}

pub(super) fn stop_capture(asked: &Asked<'_>) -> Result<Body, Refusal> {
    looking_on(asked)?.stop_capture().map(Body::Capture).map_err(|error| capture_refusal(&error))
}

pub(super) fn show_capture(asked: &Asked<'_>) -> Result<Body, Refusal> {
    looking_on(asked)?.capture().map(Body::Capture).map_err(|error| capture_refusal(&error))
}

fn capture_refusal(error: &CaptureError) -> Refusal {
    let (code, help) = match error {
        CaptureError::Running(_) => (RefusalCode::Busy, "capture stop"),
        CaptureError::None => (RefusalCode::NotFound, "capture start /tmp/new.pcapng"),
        CaptureError::NotAbsolute(_) => (RefusalCode::UnknownWords, "name it from the root, such as /tmp/new.pcapng"),
        CaptureError::File { .. } => {
            (RefusalCode::NotFound, "name a new file in a directory that bypassd may write to, such as /tmp/new.pcapng")
        }
        CaptureError::Workers(_) => (RefusalCode::Ending, "show workers"),
    };
    Refusal::new(code, error.to_string(), help)
}

pub(super) fn start_trace(asked: &Asked<'_>, said: &Arguments) -> Result<Body, Refusal> {
    let Some(client) = said.address("CLIENT") else {
        return Err(Refusal::new(RefusalCode::UnknownWords, "whose packets?", "trace 192.0.2.7"));
    };
    let time = Duration::from_secs(said.number("SECONDS").unwrap_or(TRACE_SECONDS));
    let started = looking_on(asked)?.start_trace(TraceRequest { client, time });
    started.map(Body::Trace).map_err(|error| trace_refusal(&error))
}

pub(super) fn read_trace(asked: &Asked<'_>) -> Result<Body, Refusal> {
    looking_on(asked)?.read_trace().map(Body::Trace).map_err(|error| trace_refusal(&error))
}

pub(super) fn stop_trace(asked: &Asked<'_>) -> Result<Body, Refusal> {
    looking_on(asked)?.stop_trace().map(Body::Trace).map_err(|error| trace_refusal(&error))
}

fn trace_refusal(error: &TraceError) -> Refusal {
    let (code, help) = match error {
        TraceError::Running(_) => (RefusalCode::Busy, "trace stop"),
        TraceError::None => (RefusalCode::NotFound, "trace 192.0.2.7"),
        TraceError::Workers(_) | TraceError::Thread(_) => (RefusalCode::Ending, "show workers"),
    };
    Refusal::new(code, error.to_string(), help)
}

pub(super) fn clear_ports(asked: &Asked<'_>, said: &Arguments, what: PortCounters) -> Result<Body, Refusal> {
    let wanted = said.short("N");
    let cleared = asked.fleet.clear_ports(wanted, what);
    if cleared.is_empty() {
        let message = wanted.map_or_else(|| "there are no ports".to_owned(), |port| format!("there is no port {port}"));
        return Err(Refusal::new(RefusalCode::NotFound, message, "show port info all"));
    }
    let failed: Vec<String> = cleared.iter().filter_map(|(_, result)| result.clone().err()).collect();
    if !failed.is_empty() {
        return Err(Refusal::new(RefusalCode::NotFound, failed.join("; "), "some drivers cannot zero their counters"));
    }
    let ports: Vec<String> = cleared.iter().map(|(port, _)| port.to_string()).collect();
    Ok(Body::Done(Done { message: format!("cleared the counters of port {}", ports.join(", ")) }))
}
