//! The fleet as OpenMetrics families. Names and labels are an interface: dashboards and alerts of others are built on them.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use dataplane::engine::{Fate, Outcome};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::snapshot::{Durations, LaneSnapshot};
use crate::fleet::Fleet;
use crate::protocol::{Files, PortStats, Worker, WorkerState, Workers};

/// What runs, as `bypassd_build_info` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// Of bypassd.
    pub version: String,
    /// Of the DPDK that runs.
    pub dpdk: String,
}

/// What the endpoint has to say.
pub struct Pages {
    fleet: Arc<dyn Fleet>,
    registry: Registry,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}

impl Pages {
    /// Pages about a fleet whose workers were just launched.
    #[must_use]
    pub fn new(fleet: Arc<dyn Fleet>, build: Build) -> Self {
        let mut registry = Registry::with_prefix("bypassd");
        registry.register_collector(Box::new(FleetCollector {
            fleet: Arc::clone(&fleet),
            build,
            started: Instant::now(),
        }));
        Self { fleet, registry }
    }

    /// All metrics as they are now, in the OpenMetrics text format.
    ///
    /// # Errors
    /// None but what formatting may have, which writes to memory.
    pub fn metrics(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// One line about the workers, and whether all is well: some worker runs and none failed.
    #[must_use]
    pub fn health(&self) -> (bool, String) {
        let failed = self.fleet.failed_workers();
        let running = self.fleet.running_workers();
        match failed.first() {
            Some(failure) => (false, format!("worker {} failed: {}\n", failure.worker, failure.reason)),
            None if running == 0 => (false, "no worker runs\n".to_owned()),
            None => (true, format!("ok: {running} worker(s) run\n")),
        }
    }
}

struct FleetCollector {
    fleet: Arc<dyn Fleet>,
    build: Build,
    started: Instant,
}

impl fmt::Debug for FleetCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetCollector").field("build", &self.build).finish_non_exhaustive()
    }
}

impl Collector for FleetCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        let build = vec![("version", self.build.version.clone()), ("dpdk", self.build.dpdk.clone())];
        families.info("build", "What runs.", [build])?;
        let uptime = self.started.elapsed().as_secs_f64();
        families.gauge("uptime", "Time since the workers were launched.", Some(Unit::Seconds), [(vec![], uptime)])?;
        families.workers(&self.fleet.workers())?;
        families.lanes(&self.fleet.lane_counts())?;
        families.files(&self.fleet.files(0))?;
        families.ports(&self.fleet.ports())?;
        self.fleet.durations().iter().try_for_each(|latency| families.histogram(latency))
    }
}

type Labels = Vec<(&'static str, String)>;

/// Writes family by family.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn counter<V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        samples: impl IntoIterator<Item = (Labels, V)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn gauge<V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        samples: impl IntoIterator<Item = (Labels, V)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        for (labels, value) in samples {
            if labels.is_empty() {
                family.encode_gauge(&value)?;
            } else {
                family.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }

    fn info(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Labels>) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Info)?;
        samples.into_iter().try_for_each(|labels| family.encode_info(&labels))
    }

    fn histogram(&mut self, latency: &Durations) -> fmt::Result {
        let unit = Unit::Seconds;
        let mut family = self.0.encode_descriptor(latency.name, latency.help, Some(&unit), MetricType::Histogram)?;
        family.encode_histogram::<NoLabelSet>(latency.sum_seconds, latency.count(), &latency.buckets, None)
    }

    fn workers(&mut self, Workers { count, workers }: &Workers) -> fmt::Result {
        let labels = |worker: &Worker| vec![("worker", worker.id.to_string()), ("lcore", worker.lcore.to_string())];
        let up = |worker: &Worker| matches!(worker.state, WorkerState::Polling | WorkerState::Draining);
        self.gauge("workers", "Workers that have not ended.", None, [(vec![], *count as u64)])?;
        self.gauge(
            "worker_up",
            "1 while the worker polls.",
            None,
            workers.iter().map(|worker| (labels(worker), u64::from(up(worker)))),
        )?;
        self.counter("polls", "Turns of the poll loop.", None, workers.iter().map(|w| (labels(w), w.polls)))?;
        self.counter(
            "empty_polls",
            "Turns of the poll loop without any frame.",
            None,
            workers.iter().map(|w| (labels(w), w.empty_polls)),
        )?;
        self.counter(
            "worker_stalls",
            "Times that a polling worker made no turn for too long.",
            None,
            workers.iter().map(|w| (labels(w), w.stalls)),
        )?;
        self.counter(
            "busy",
            "Time of the turns with a frame: its rate is the worker's load, where the CPU time only says that it polls.",
            Some(Unit::Seconds),
            workers.iter().map(|w| (labels(w), w.busy_us as f64 / 1e6)),
        )
    }

    fn lanes(&mut self, lanes: &[LaneSnapshot]) -> fmt::Result {
        for (name, unit, help, value) in LANE_COUNTERS {
            let samples = lanes.iter().map(|lane| (lane_labels(lane, []), value(lane)));
            self.counter(name, help, unit.clone(), samples)?;
        }
        let outcomes = lanes.iter().flat_map(|lane| {
            lane.outcomes.iter().map(|&(outcome, count)| {
                let fate = if outcome.fate() == Fate::Served { "served" } else { "dropped" };
                (lane_labels(lane, [("fate", fate), ("reason", outcome.name())]), count)
            })
        });
        self.counter(
            "frame_outcomes",
            "What became of received frames, one outcome each; `bypassctl show drops` explains the reasons.",
            None,
            outcomes,
        )?;
        let endings = lanes.iter().flat_map(|lane| {
            lane.endings.iter().map(|&(ending, count)| (lane_labels(lane, [("ending", ending.name())]), count))
        });
        self.counter("transfers_ended", "Transfers by how they ended.", None, endings)?;
        let kernel = lanes.iter().flat_map(|lane| {
            [("to_kernel", lane.to_kernel), ("from_kernel", lane.from_kernel)]
                .map(|(direction, count)| (lane_labels(lane, [("direction", direction)]), count))
        });
        self.counter("kernel_frames", "Frames that passed through the kernel interface.", None, kernel)?;
        let lost = lanes.iter().flat_map(|lane| {
            [("ring", outcome(lane, Outcome::KernelFull)), ("interface", lane.kernel_lost)]
                .map(|(at, count)| (lane_labels(lane, [("at", at)]), count))
        });
        self.counter(
            "kernel_lost_frames",
            "Frames for the kernel that were dropped: at the ring that leads to its interface, or at the interface itself.",
            None,
            lost,
        )?;
        let live = lanes.iter().map(|lane| (lane_labels(lane, []), lane.active_sessions));
        self.gauge("sessions", "Transfers that run now.", None, live)
    }

    fn files(&mut self, files: &Files) -> fmt::Result {
        self.gauge("files", "Files that are served.", None, [(vec![], files.files)])?;
        self.gauge("file", "Size of all files that are served.", Some(Unit::Bytes), [(vec![], files.bytes)])?;
        self.gauge(
            "files_left_out",
            "Files below the root that are not served, by reason.",
            None,
            files.left_out.iter().map(|(reason, &count)| (vec![("reason", reason.clone())], count)),
        )?;
        let help = "Number of the catalogue that new transfers read; it rises when files were loaded anew.";
        self.gauge("catalogue_generation", help, None, [(vec![], files.generation)])
    }

    fn ports(&mut self, ports: &[PortStats]) -> fmt::Result {
        let labels = |port: &PortStats| vec![("port", port.port.to_string())];
        let about = |port: &PortStats| {
            let mut all = labels(port);
            all.push(("device", port.name.clone()));
            all.push(("driver", port.driver.clone()));
            all.push(("mac", port.mac.clone()));
            all.push(("mtu", port.mtu.to_string()));
            all
        };
        self.info("port", "Ports, their devices and drivers.", ports.iter().map(about))?;
        let up = ports.iter().map(|port| (labels(port), u64::from(port.link.up)));
        self.gauge("port_up", "1 while the port's link is up.", None, up)?;
        let speeds = ports.iter().filter_map(|port| {
            port.link.speed_mbps.map(|mbps| (labels(port), u64::from(mbps).saturating_mul(1_000_000)))
        });
        self.gauge("port_speed_bits_per_second", "Speed of the link, where the device knows it.", None, speeds)?;
        for (name, unit, help, value) in PORT_COUNTERS {
            self.counter(name, help, unit.clone(), ports.iter().map(|port| (labels(port), value(port))))?;
        }
        Ok(())
    }
}

fn lane_labels<const N: usize>(lane: &LaneSnapshot, more: [(&'static str, &'static str); N]) -> Labels {
    let mut labels = vec![("worker", lane.worker.to_string()), ("port", lane.port.to_string())];
    labels.extend(more.map(|(name, value)| (name, value.to_owned())));
    labels
}

fn outcome(lane: &LaneSnapshot, wanted: Outcome) -> u64 {
    lane.outcomes.iter().find(|(outcome, _)| *outcome == wanted).map_or(0, |(_, count)| *count)
}

/// Name without its unit, unit, help, value.
type Row<T> = (&'static str, Option<Unit>, &'static str, fn(&T) -> u64);

const LANE_COUNTERS: [Row<LaneSnapshot>; 10] = [
    ("rx_frames", None, "Frames taken from the receive queue.", |lane| lane.rx_frames),
    (
        "handed_over_frames",
        None,
        "Received frames given to the worker that owns their flow, where they have their outcome.",
        |lane| lane.handed_over,
    ),
    (
        "tx_frames",
        None,
        "Frames that left the worker: the transmit queue took them, or a worker that has one.",
        |lane| lane.tx_frames,
    ),
    ("relayed_frames", None, "Frames sent for workers without a queue, which count them as sent too.", |lane| {
        lane.relayed
    }),
    ("tx_dropped_frames", None, "Frames given up because the transmit queue took nothing for too long.", |lane| {
        lane.tx_dropped
    }),
    ("data_blocks", None, "DATA packets queued, repeats included.", |lane| lane.data_blocks),
    ("data_blocks_resent", None, "DATA packets whose block went out before.", |lane| lane.blocks_again),
    ("data", Some(Unit::Bytes), "File bytes in DATA packets, repeats included.", |lane| lane.data_bytes),
    ("pool_empty", None, "Times that no frame buffer was free for an OACK or a block; the timer repairs it.", |lane| {
        lane.pool_empty
    }),
    ("transfers_opened", None, "Transfers begun.", |lane| lane.opened),
];

const PORT_COUNTERS: [Row<PortStats>; 8] = [
    ("port_rx_packets", None, "Packets that the device received.", |port| port.rx_packets),
    ("port_rx", Some(Unit::Bytes), "Bytes that the device received.", |port| port.rx_bytes),
    ("port_rx_missed_packets", None, "Packets that the device dropped because the receive ring was full.", |port| {
        port.rx_missed
    }),
    ("port_rx_errors", None, "Packets that the device received with errors.", |port| port.rx_errors),
    ("port_rx_no_buffer", None, "Times that the pool had no buffer for a received packet.", |port| port.rx_nombuf),
    ("port_tx_packets", None, "Packets that the device sent.", |port| port.tx_packets),
    ("port_tx", Some(Unit::Bytes), "Bytes that the device sent.", |port| port.tx_bytes),
    ("port_tx_errors", None, "Packets that the device could not send.", |port| port.tx_errors),
];
