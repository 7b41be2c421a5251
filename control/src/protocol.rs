//! What goes over the control socket: one line of JSON with a request, one line with its reply. Field names carry their units.
//!
//! Request: `{"words":["show","workers"]}`. Reply: `{"ok":{…}}`, the body being one of the types of this module, or
//! `{"error":{"code","message","help"}}`.

mod look;
mod reload;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use look::{
    CaptureState, Core, Cores, Count, Done, Mempool, Mempools, PortInfo, PortInfos, PortXstats, PortXstatsList,
    TraceLine, TracePage, Version,
};
pub use reload::{Reloaded, SettingChange};

/// Longest request line, in bytes, its newline included.
pub const REQUEST_MAX_BYTES: usize = 4_096;

/// Longest reply line that a client reads, in bytes.
pub const REPLY_MAX_BYTES: u64 = 64 << 20;

/// Sessions and files listed in one reply; the reply says when it left some out.
pub const LIST_LIMIT: usize = 1_000;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The words of `bypassctl`.
    pub words: Vec<String>,
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// Done, or the facts asked for.
    Ok(Body),
    /// Not done.
    Error(Refusal),
}

/// A reply as a client reads it, before it knows which [`Body`] it is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RawReply {
    /// Done, or the facts asked for.
    Ok(serde_json::Value),
    /// Not done.
    Error(Refusal),
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// For people.
    pub message: String,
    /// What to do instead; may be empty.
    pub help: String,
}

/// Kinds of [`Refusal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// The line is no request.
    BadRequest,
    /// The words mean nothing.
    UnknownWords,
    /// There is no such port, worker or the like.
    NotFound,
    /// Too many clients at a time.
    Busy,
    /// The daemon is ending and no longer takes this.
    Ending,
    /// It was tried, and everything is as it was.
    NotDone,
}

/// The facts of a reply, by the words that asked for them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Body {
    /// `show workers`.
    Workers(Workers),
    /// `show stats`.
    Stats(Stats),
    /// `show sessions`.
    Sessions(Sessions),
    /// `show files`.
    Files(Files),
    /// `show drops`.
    Drops(Drops),
    /// `show port stats`.
    Ports(Ports),
    /// `show latency`.
    Latencies(Latencies),
    /// `drain`, `resume`, `stop`.
    Accepted(Accepted),
    /// `reload`.
    Reloaded(Box<Reloaded>),
    /// `show port info`.
    PortInfos(PortInfos),
    /// `show port xstats`.
    PortXstats(PortXstatsList),
    /// `clear port stats`, `clear port xstats`.
    Done(Done),
    /// `show version`.
    Version(Version),
    /// `show config cores`.
    Cores(Cores),
    /// `show mempool`.
    Mempools(Mempools),
    /// `capture start`, `capture stop`, `show capture`.
    Capture(CaptureState),
    /// `trace CLIENT`, `trace read`, `trace stop`.
    Trace(TracePage),
}

/// An order that was taken; it is carried out after the reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// What happens now.
    pub message: String,
    /// Transfers that were running.
    pub live_sessions: u64,
}

/// `show workers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workers {
    /// Workers that have not ended.
    pub count: usize,
    /// All of them, ended ones too.
    pub workers: Vec<Worker>,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// Counted from 0.
    pub id: u16,
    /// Its lcore.
    pub lcore: u16,
    /// What it is doing.
    pub state: WorkerState,
    /// Ports that it polls.
    pub ports: Vec<u16>,
    /// Frames taken.
    pub rx_frames: u64,
    /// Frames given to the ports.
    pub tx_frames: u64,
    /// Transfers that it runs now.
    pub sessions: u64,
    /// Turns of its loop.
    pub polls: u64,
    /// Turns without a frame.
    pub empty_polls: u64,
    /// Time of the turns with a frame, since the start.
    #[serde(default)]
    pub busy_us: u64,
    /// Share of the time that such turns took, in the last second or two.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub busy_percent: Option<f64>,
    /// TSC cycles of turns with a frame, for each frame received or sent, whichever are more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cycles_per_packet: Option<f64>,
    /// Received bursts by the frames in them: place n counts bursts of n frames; place 0 is always 0, see `empty_polls`.
    #[serde(default)]
    pub bursts: Vec<u64>,
    /// Times that its loop stood still for a while ([`crate::stall`]).
    #[serde(default)]
    pub stalls: u64,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// Launched, not yet polling.
    Starting,
    /// Polling and taking requests.
    Polling,
    /// Polling for running transfers only.
    Draining,
    /// Ended as asked.
    Stopped,
    /// Ended on its own.
    Failed,
    /// Should poll, but its loop stands still.
    Stalled,
}

impl WorkerState {
    /// In lower case, as on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Polling => "polling",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Stalled => "stalled",
        }
    }
}

/// `show stats`: sums over all workers. `rx_frames` and `accounted_frames` are equal but for frames in work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Frames taken.
    pub rx_frames: u64,
    /// Frames that ended in a counter of `served` or `dropped`.
    pub accounted_frames: u64,
    /// Frames between the two, where they are counted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub in_flight_frames: Option<u64>,
    /// Received frames by what they were good for.
    pub served: BTreeMap<String, u64>,
    /// Received frames by why they were dropped.
    pub dropped: BTreeMap<String, u64>,
    /// Frames given to the ports.
    pub tx_frames: u64,
    /// Frames that the transmit rings had no room for.
    pub tx_dropped: u64,
    /// Times that a worker found its frame buffers exhausted; the timer repairs what was not sent.
    pub pool_empty: u64,
    /// Frames that the kernel interface took.
    #[serde(default)]
    pub to_kernel: u64,
    /// Frames that passed from the kernel interface to the port.
    pub from_kernel: u64,
    /// Frames for the kernel interface that it had no room for.
    pub kernel_lost: u64,
    /// File bytes sent, repeats included.
    pub data_bytes: u64,
    /// DATA packets sent, repeats included.
    pub data_blocks: u64,
    /// DATA packets sent again.
    pub blocks_resent: u64,
    /// Transfers by how they ended, and `opened`.
    pub transfers: BTreeMap<String, u64>,
    /// Records of transfers that the log did not take in time.
    #[serde(default)]
    pub log_records_lost: u64,
    /// What became of requests for files that are loaded on demand, and of these files.
    #[serde(default)]
    pub cache: BTreeMap<String, u64>,
    /// Ports.
    pub ports: Vec<PortStats>,
    /// Time since the workers started.
    pub uptime_seconds: u64,
}

/// `show sessions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// Those listed.
    pub sessions: Vec<Session>,
    /// How many there are.
    pub total: u64,
    /// Whether some are not listed.
    pub truncated: bool,
}

/// One transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// `address:port`, `[address]:port`.
    pub client: String,
    /// Link address that replies go to.
    pub client_mac: String,
    /// VLAN id, if tagged.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vlan: Option<u16>,
    /// Our address.
    pub server: String,
    /// Our port for this transfer.
    pub tid: u16,
    /// Name of the file.
    pub file: String,
    /// Catalogue generation that the transfer began with.
    pub generation: u64,
    /// Its worker.
    pub worker: u16,
    /// What it waits for.
    pub state: String,
    /// Block size in bytes.
    pub blksize: u16,
    /// Window in blocks.
    pub windowsize: u16,
    /// Blocks acknowledged.
    pub acked_blocks: u64,
    /// Blocks of the whole file.
    pub total_blocks: u64,
    /// Bytes acknowledged.
    pub acked_bytes: u64,
    /// Bytes of the whole file.
    pub total_bytes: u64,
    /// Blocks sent more than once.
    pub resent_blocks: u64,
    /// Time since the request.
    pub age_seconds: u64,
    /// Smoothed round trip, once measured.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rtt_us: Option<u64>,
}

impl Session {
    /// Acknowledged bytes, in percent of the file.
    #[must_use]
    pub fn percent(&self) -> u128 {
        (u128::from(self.acked_bytes) * 100).checked_div(u128::from(self.total_bytes)).unwrap_or(100)
    }
}

/// `show files`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// Generation of the catalogue.
    pub generation: u64,
    /// Files that are served.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were left out, by reason.
    pub left_out: BTreeMap<String, u64>,
    /// Pages that hold them: `huge`, `ordinary`.
    pub page_kind: String,
    /// Names and sizes, in order of name.
    pub list: Vec<FileEntry>,
    /// Whether some are not listed.
    pub truncated: bool,
    /// The memory that they may take, and do.
    #[serde(default)]
    pub cache: Cache,
}

/// The cache, as `show files` says it. Costs are bytes of the budget: lengths rounded up, and the sums of blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// What all files together may cost.
    pub budget_bytes: u64,
    /// Cost of those that were loaded at start, and stay.
    pub pinned_bytes: u64,
    /// Cost of those that were loaded on demand and are there now.
    pub on_demand_bytes: u64,
    /// How many those are.
    pub on_demand_files: u64,
    /// Files that are loaded when they are asked for, there or not.
    pub on_demand_total: u64,
    /// What happened: `hits`, `misses`, `loads`, `evictions` and more, as in `show stats`.
    pub counts: BTreeMap<String, u64>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name below the root.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Transfers begun, of the content, whatever name was asked for.
    #[serde(default)]
    pub hits: u64,
    /// Bytes that clients acknowledged, of transfers that have ended.
    #[serde(default)]
    pub served_bytes: u64,
    /// Whether it is in memory.
    #[serde(default)]
    pub resident: bool,
}

/// `show drops`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drops {
    /// Reasons, those that never happened included.
    pub drops: Vec<Drop>,
    /// Sum of their counts.
    pub total: u64,
}

/// One reason for dropping a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drop {
    /// Its name in `show stats`.
    pub reason: String,
    /// What it means and what to look at.
    pub help: String,
    /// Frames dropped for it.
    pub count: u64,
}

/// `show latency`: all workers together, since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// What is measured.
    pub latencies: Vec<Latency>,
}

/// How long one thing took; values keep two digits, those that never happened are 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// What.
    pub name: String,
    /// What begins and what ends it.
    pub help: String,
    /// How often it was measured.
    pub count: u64,
    /// Mean.
    pub mean_us: f64,
    /// Half of them took no longer.
    pub p50_us: f64,
    /// 90 % took no longer.
    pub p90_us: f64,
    /// 99 % took no longer.
    pub p99_us: f64,
    /// 99.9 % took no longer.
    pub p99_9_us: f64,
    /// The longest.
    pub max_us: f64,
    /// What the histogram is in: `ns` or `us`.
    pub unit: String,
    /// All of it, as HdrHistogram's logs and plotters have it: V2, compressed, in Base64.
    pub hdr_histogram: String,
}

/// `show port stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// Those asked for.
    pub ports: Vec<PortStats>,
}

/// One port's own counters (`rte_eth_stats_get`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStats {
    /// DPDK's number.
    pub port: u16,
    /// Device name.
    pub name: String,
    /// Driver name.
    pub driver: String,
    /// Link address.
    pub mac: String,
    /// In bytes.
    pub mtu: u16,
    /// Link.
    pub link: Link,
    /// Times that it went down while it was watched.
    #[serde(default)]
    pub link_losses: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets that the device dropped because the receive ring was full (`imissed`).
    pub rx_missed: u64,
    /// Packets with errors.
    pub rx_errors: u64,
    /// Times that the pool had no mbuf for a received packet (`rx_nombuf`).
    pub rx_nombuf: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
}

/// A port's link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Whether it carries.
    pub up: bool,
    /// Speed, where the device knows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub speed_mbps: Option<u32>,
}

impl Refusal {
    /// A refusal with a hint.
    #[must_use]
    pub fn new(code: RefusalCode, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: help.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_is_fixed() {
        let request: Request = serde_json::from_str(r#"{"words":["show","workers"]}"#).unwrap();
        assert_eq!(request.words, ["show", "workers"]);
        assert!(serde_json::from_str::<Request>(r#"{"words":["stop"],"force":true}"#).is_err());
        let ok = Reply::Ok(Body::Accepted(Accepted { message: "m".to_owned(), live_sessions: 2 }));
        assert_eq!(serde_json::to_string(&ok).unwrap(), r#"{"ok":{"message":"m","live_sessions":2}}"#);
        let error = Reply::Error(Refusal::new(RefusalCode::UnknownWords, "m", "h"));
        let line = serde_json::to_string(&error).unwrap();
        assert_eq!(line, r#"{"error":{"code":"unknown_words","message":"m","help":"h"}}"#);
        assert!(matches!(
            serde_json::from_str(&line).unwrap(),
            RawReply::Error(Refusal { code: RefusalCode::UnknownWords, .. })
        ));
    }

    #[test]
    fn absent_values_are_left_out_and_read_back() {
        let worker = Worker {
            id: 0,
            lcore: 1,
            state: WorkerState::Polling,
            ports: vec![0],
            rx_frames: 1,
            tx_frames: 2,
            sessions: 3,
            polls: 4,
            empty_polls: 5,
            busy_us: 6,
            busy_percent: None,
            cycles_per_packet: None,
            bursts: Vec::new(),
            stalls: 7,
        };
        let text = serde_json::to_string(&worker).unwrap();
        assert!(text.contains(r#""state":"polling""#) && !text.contains("busy_percent"), "{text}");
        assert!(text.contains(r#""busy_us":6"#) && text.contains(r#""stalls":7"#), "{text}");
        assert_eq!(serde_json::from_str::<Worker>(&text).unwrap(), worker);
    }
}
