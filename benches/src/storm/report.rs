//! The result for people and for programs. The JSON's `schema` names its version: fields may be added to it, none changes its
//! meaning.

use std::fmt;

use dataplane::dpdk::PortStats;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::tally::{Counts, Latencies};

/// Name and version of the JSON's shape.
pub(crate) const SCHEMA: &str = "bypassbench.storm/1";

/// What part of the beginnings may be late or missing in a load that was kept.
const MISSED_SHARE: f64 = 0.01;

/// The quantiles that are reported, with their names.
const QUANTILES: [(&str, f64); 5] =
    [("p50_us", 0.5), ("p90_us", 0.9), ("p99_us", 0.99), ("p999_us", 0.999), ("p9999_us", 0.9999)];

/// How the load was made.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Setting {
    pub(crate) server: String,
    pub(crate) server_mac: String,
    pub(crate) device: String,
    pub(crate) clients: u32,
    pub(crate) clients_from: String,
    /// `poisson`, `uniform`, `burst` or `closed`.
    pub(crate) arrivals: String,
    /// Transfers per second; `null` in a closed loop.
    pub(crate) offered_rate: Option<f64>,
    pub(crate) burst: Option<u32>,
    pub(crate) think_ms: Option<u64>,
    pub(crate) duration_s: f64,
    pub(crate) blksize: Option<u16>,
    pub(crate) windowsize: Option<u16>,
    pub(crate) timeout: Option<u8>,
    pub(crate) tsize: bool,
    pub(crate) loss_percent: f64,
    pub(crate) seed: u64,
}

/// Whether the load was what was asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LoadResult {
    /// Until no transfer began any more.
    pub(crate) seconds: f64,
    /// Until the last block came; the rates of what was done and came are over this time.
    pub(crate) seconds_busy: f64,
    /// With the grace time.
    pub(crate) seconds_in_all: f64,
    /// Transfers begun per second of the load.
    pub(crate) started_per_s: f64,
    /// Transfers completed per second.
    pub(crate) done_per_s: f64,
    pub(crate) blocks_per_s: f64,
    pub(crate) bytes_per_s: f64,
    /// At most 1 % began late or not at all; `null` in a closed loop.
    pub(crate) rate_kept: Option<bool>,
    /// Ended by a signal.
    pub(crate) interrupted: bool,
}

/// What the device says about frames that the generator never saw.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct PortResult {
    /// Dropped because the receive ring was full.
    pub(crate) rx_missed: u64,
    /// Received with errors.
    pub(crate) rx_errors: u64,
    /// Lost because no buffer was free.
    pub(crate) rx_no_mbuf: u64,
    /// Not sent.
    pub(crate) tx_errors: u64,
}

impl From<PortStats> for PortResult {
    fn from(stats: PortStats) -> Self {
        let PortStats { rx_missed, rx_errors, rx_no_mbuf, tx_errors, .. } = stats;
        Self { rx_missed, rx_errors, rx_no_mbuf, tx_errors }
    }
}

/// What content was compared with, and how that went.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verification {
    /// `files` (every byte with the files of `--verify`) or `consistency` (size and CRC-32 with the first client's).
    pub(crate) mode: &'static str,
    /// Completed transfers with wrong content.
    pub(crate) mismatches: u64,
    /// The first one, in words.
    pub(crate) first_mismatch: Option<String>,
}

/// How one file went.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FileResult {
    pub(crate) name: String,
    /// `null` while unknown.
    pub(crate) bytes: Option<u64>,
    pub(crate) done: u64,
    pub(crate) mismatches: u64,
}

/// One histogram in a few numbers, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Distribution {
    pub(crate) count: u64,
    pub(crate) min_us: u64,
    pub(crate) mean_us: f64,
    #[serde(flatten)]
    quantiles: serde_json::Map<String, serde_json::Value>,
    pub(crate) max_us: u64,
}

impl Distribution {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |(name, quantile): (&str, f64)| (name.to_owned(), histogram.value_at_quantile(quantile).into());
        Self {
            count: histogram.len(),
            min_us: histogram.min(),
            mean_us: histogram.mean(),
            quantiles: QUANTILES.into_iter().map(at).collect(),
            max_us: histogram.max(),
        }
    }

    fn quantile(&self, name: &str) -> u64 {
        self.quantiles.get(name).and_then(serde_json::Value::as_u64).unwrap_or_default()
    }
}

/// All latencies. They begin at the intended start.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LatencyReport {
    pub(crate) first_data: Distribution,
    pub(crate) oack: Distribution,
    pub(crate) transfer: Distribution,
    /// How late the generator itself began them.
    pub(crate) start_lag: Distribution,
}

/// The whole result.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    schema: &'static str,
    version: &'static str,
    pub(crate) setting: Setting,
    pub(crate) load: LoadResult,
    #[serde(flatten)]
    pub(crate) counts: Counts,
    pub(crate) port: PortResult,
    pub(crate) latency: LatencyReport,
    pub(crate) verification: Verification,
    pub(crate) files: Vec<FileResult>,
}

/// How long it took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Seconds in which transfers began.
    pub(crate) load: f64,
    /// Seconds until the last block came, or the load's end where that was later.
    pub(crate) busy: f64,
    /// Seconds in all.
    pub(crate) all: f64,
    /// Whether a signal ended it.
    pub(crate) interrupted: bool,
}

impl Report {
    /// Puts it together.
    pub(crate) fn new(
        setting: Setting,
        times: Times,
        counts: Counts,
        latencies: &Latencies,
        port: PortResult,
        verification: Verification,
        files: Vec<FileResult>,
    ) -> Self {
        // What came in the grace time counts, and so does the time until then, but not the wait for what never came.
        let (seconds, busy) = (times.load.max(1e-6), times.busy.max(1e-6));
        let transfers = &counts.transfers;
        let missed = transfers.started_late + transfers.not_started;
        let due = transfers.started + transfers.not_started;
        let kept = missed as f64 <= MISSED_SHARE * due as f64;
        let load = LoadResult {
            seconds,
            seconds_busy: busy,
            seconds_in_all: times.all,
            started_per_s: transfers.started as f64 / seconds,
            done_per_s: transfers.done as f64 / busy,
            blocks_per_s: counts.packets.blocks as f64 / busy,
            bytes_per_s: counts.packets.bytes as f64 / busy,
            rate_kept: setting.offered_rate.map(|_| kept),
            interrupted: times.interrupted,
        };
        let latency = LatencyReport {
            first_data: Distribution::of(&latencies.first_data),
            oack: Distribution::of(&latencies.oack),
            transfer: Distribution::of(&latencies.transfer),
            start_lag: Distribution::of(&latencies.start_lag),
        };
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            setting,
            load,
            counts,
            port,
            latency,
            verification,
            files,
        }
    }

    fn why_not_kept(&self) -> &'static str {
        let transfers = &self.counts.transfers;
        if transfers.waited_for_client * 2 >= transfers.started_late && transfers.waited_for_client > 0 {
            "all clients were busy: the server is slower than the load, or there are too few clients (--clients)"
        } else {
            "the generator was too slow, or had too little CPU time"
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, load, counts, port, latency, verification, .. } = self;
        let Counts { transfers, failures, packets, frames } = counts;
        let offered = match setting.offered_rate {
            Some(rate) => format!("{} arrivals, {rate} transfers/s offered", setting.arrivals),
            None => format!("closed loop, {} ms between transfers", setting.think_ms.unwrap_or(0)),
        };
        writeln!(f, "storm on {}: {} clients, {offered}, {:.1} s", setting.server, setting.clients, load.seconds)?;
        writeln!(
            f,
            "  transfers   {} started, {} done, {} failed, {} unfinished",
            transfers.started, transfers.done, transfers.failed, transfers.unfinished
        )?;
        for (cause, count) in failures.in_words().filter(|(_, count)| *count > 0) {
            writeln!(f, "              {count} failed: {cause}")?;
        }
        writeln!(
            f,
            "  rate        {:.0} started/s, {:.0} done/s, {:.0} blocks/s, {:.2} MB/s",
            load.started_per_s,
            load.done_per_s,
            load.blocks_per_s,
            load.bytes_per_s / 1e6
        )?;
        if load.rate_kept == Some(false) {
            writeln!(
                f,
                "  NOT KEPT    the offered rate: {} transfers began late, {} not at all; {}",
                transfers.started_late,
                transfers.not_started,
                self.why_not_kept()
            )?;
        }
        writeln!(
            f,
            "  resent      {} requests and {} ACKs by the timer, {} ACKs for what was out of order",
            packets.requests_resent, packets.acks_resent, packets.acks_repeated
        )?;
        writeln!(
            f,
            "  received    {} blocks, {} OACKs, {} duplicates, {} gaps, {} from strangers, {} strays",
            packets.blocks, packets.oacks, packets.duplicates, packets.gaps, packets.strangers, packets.stray
        )?;
        writeln!(
            f,
            "  frames      {} received, {} sent, {} malformed, {} foreign, {} + {} dropped on purpose, {} unsent",
            frames.received,
            frames.sent,
            frames.malformed,
            frames.foreign,
            frames.lost_received,
            frames.lost_sent,
            frames.ring_full + frames.pool_empty
        )?;
        let PortResult { rx_missed, rx_errors, rx_no_mbuf, tx_errors } = port;
        if rx_missed + rx_errors + rx_no_mbuf + tx_errors > 0 {
            writeln!(
                f,
                "              the port lost {rx_missed} (ring full), {rx_no_mbuf} (no buffer), {rx_errors} (errors), {tx_errors} (sent)"
            )?;
        }
        if frames.malformed > frames.received / 2 {
            writeln!(
                f,
                "              many malformed: on a veth, switch offload off at both ends (ethtool -K IF tx off rx off)"
            )?;
        }
        writeln!(
            f,
            "  latency/ms        count        p50        p90        p99      p99.9        max   (from the intended start)"
        )?;
        for (name, distribution) in
            [("first DATA", &latency.first_data), ("OACK", &latency.oack), ("transfer", &latency.transfer)]
        {
            let ms = |us: u64| us as f64 / 1e3;
            let [p50, p90, p99, p999] =
                ["p50_us", "p90_us", "p99_us", "p999_us"].map(|name| ms(distribution.quantile(name)));
            writeln!(
                f,
                "  {name:<12} {:>10} {p50:>10.3} {p90:>10.3} {p99:>10.3} {p999:>10.3} {:>10.3}",
                distribution.count,
                ms(distribution.max_us)
            )?;
        }
        let compared = if verification.mode == "files" { "with the files" } else { "between clients (size, CRC-32)" };
        writeln!(f, "  content     compared {compared}: {} mismatches", verification.mismatches)?;
        if let Some(first) = &verification.first_mismatch {
            writeln!(f, "              first: {first}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storm::tally::{Transfers, record};
    use dataplane::time::Duration;

    fn report(transfers: Transfers, offered_rate: Option<f64>) -> Report {
        let setting = Setting {
            server: "10.0.0.1".to_owned(),
            server_mac: "02:00:00:00:00:01".to_owned(),
            device: "net_null0".to_owned(),
            clients: 10,
            clients_from: "10.0.0.2".to_owned(),
            arrivals: "poisson".to_owned(),
            offered_rate,
            burst: None,
            think_ms: None,
            duration_s: 1.0,
            blksize: None,
            windowsize: None,
            timeout: None,
            tsize: false,
            loss_percent: 0.0,
            seed: 1,
        };
        let mut latencies = Latencies::new().unwrap();
        for us in 1..=1_000 {
            record(&mut latencies.transfer, Duration::from_micros(us));
        }
        let times = Times { load: 1.0, busy: 1.5, all: 2.0, interrupted: false };
        let verification = Verification { mode: "files", mismatches: 0, first_mismatch: None };
        Report::new(
            setting,
            times,
            Counts { transfers, ..Counts::default() },
            &latencies,
            PortResult::default(),
            verification,
            Vec::new(),
        )
    }

    #[test]
    fn a_load_that_was_not_kept_says_so_and_why() {
        let started = Transfers { started: 1_000, done: 1_000, ..Transfers::default() };
        for (transfers, kept, words) in [
            (Transfers { started_late: 10, ..started }, true, ""),
            (Transfers { started_late: 11, ..started }, false, "generator was too slow"),
            (Transfers { started_late: 600, waited_for_client: 500, ..started }, false, "all clients were busy"),
            (Transfers { not_started: 50, ..started }, false, "50 not at all"),
        ] {
            let report = report(transfers, Some(1_000.0));
            assert_eq!(report.load.rate_kept, Some(kept), "{transfers:?}");
            assert_eq!(report.to_string().contains("NOT KEPT"), !kept);
            assert!(report.to_string().contains(words), "{report}");
        }
        assert_eq!(report(Transfers { not_started: 50, ..started }, None).load.rate_kept, None);
    }

    #[test]
    fn the_json_names_its_schema_and_has_all_quantiles() {
        let json = serde_json::to_value(report(Transfers { started: 7, ..Transfers::default() }, Some(1.0))).unwrap();
        assert_eq!(json["schema"], SCHEMA);
        assert_eq!(json["transfers"]["started"], 7);
        assert_eq!(json["failures"]["server_error"].as_array().unwrap().len(), 9);
        let transfer = &json["latency"]["transfer"];
        assert_eq!((&transfer["count"], &transfer["max_us"]), (&1_000.into(), &1_000.into()));
        for (name, expected) in
            [("p50_us", 500), ("p90_us", 900), ("p99_us", 990), ("p999_us", 999), ("p9999_us", 1_000)]
        {
            assert_eq!(transfer[name], expected, "{name}");
        }
    }
}
