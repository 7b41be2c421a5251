//! A record as the facts of a line. Names and texts from outside are escaped here, and nowhere later.

use std::net::{IpAddr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use dataplane::files::escape;
use dataplane::worker::{Cut, Record, What};
use serde::Serialize;

/// What is known of a transfer that ended, or of a request that was refused; what does not apply is left out.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    /// Always `transfer`: tells these lines from others.
    event: &'static str,
    /// When it was taken down, up to 20 ms later than it happened: milliseconds since 1970.
    time_ms: u64,
    /// How it ended: a name of [`Ending`](dataplane::engine::Ending), or `refused`.
    outcome: &'static str,
    /// Address and UDP port.
    client: SocketAddr,
    server: IpAddr,
    /// The file's own name, or that which was asked for; `…` at its end stands for more.
    file: String,
    /// `read`, or `write` for what is always refused.
    operation: &'static str,
    worker: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    tid: Option<u16>,
    /// `octet` or `netascii`.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    /// Acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// Of the whole file as it is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    total_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocks_resent: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeouts: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blksize: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    windowsize: Option<u8>,
    /// Of the ERROR: ours if the request was refused, else the client's.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_text: Option<String>,
}

fn shown<const N: usize>(text: &Cut<N>) -> String {
    let more = if text.is_cut() { "…" } else { "" };
    format!("{}{more}", escape(text.as_bytes()))
}

impl Line {
    pub(super) fn of(worker: u16, record: &Record) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = Self {
            event: "transfer",
            time_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            outcome: "refused",
            client: record.client.into(),
            server: record.server,
            file: shown(&record.name),
            operation: "read",
            worker,
            tid: None,
            mode: None,
            bytes: None,
            total_bytes: None,
            duration_us: None,
            blocks_resent: None,
            timeouts: None,
            blksize: None,
            windowsize: None,
            error_code: None,
            error_text: None,
        };
        match &record.what {
            What::Ended(ended) => Self {
                outcome: ended.ending.name(),
                tid: Some(ended.tid),
                mode: Some(if ended.netascii { "netascii" } else { "octet" }),
                bytes: Some(ended.bytes),
                total_bytes: Some(ended.stream_bytes),
                duration_us: Some(ended.duration_us),
                blocks_resent: Some(ended.blocks_again),
                timeouts: Some(ended.timeouts),
                blksize: Some(ended.blksize),
                windowsize: Some(ended.window),
                error_code: ended.error.as_ref().map(|(code, _)| *code),
                error_text: ended.error.as_ref().map(|(_, text)| shown(text)),
                ..line
            },
            What::Refused { code, reason, is_write } => Self {
                operation: if *is_write { "write" } else { "read" },
                error_code: Some(*code as u16),
                error_text: Some((*reason).to_owned()),
                ..line
            },
        }
    }

    /// Says it, where everything else is said.
    pub(super) fn say(&self) {
        tracing::info!(
            event = self.event,
            outcome = self.outcome,
            client = %self.client,
            server = %self.server,
            file = self.file,
            operation = self.operation,
            worker = self.worker,
            tid = self.tid,
            mode = self.mode,
            bytes = self.bytes,
            total_bytes = self.total_bytes,
            duration_us = self.duration_us,
            blocks_resent = self.blocks_resent,
            timeouts = self.timeouts,
            blksize = self.blksize,
            windowsize = self.windowsize,
            error_code = self.error_code,
            error_text = self.error_text.as_deref(),
            "transfer {}",
            self.outcome
        );
    }
}
