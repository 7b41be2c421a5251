//! Replies as tables for people. Text from clients and file names cannot reach the terminal as control characters.

mod look;
mod reload;

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::budget::Size;
use crate::ctl::PortRate;
use crate::protocol::{
    Body, Cache, Drops, FileEntry, Files, Latencies, PortStats, Session, Sessions, Stats, Worker, Workers,
};

pub(crate) use look::write_trace_lines;

pub use reload::write_reloaded;

/// A column's alignment: words to the left, numbers to the right.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}
use Align::{Left, Right};

/// The text with control and direction-changing characters made visible.
#[must_use]
pub fn escaped(text: &str) -> String {
    let dangerous = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if dangerous(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// Writes a header and rows in columns of one width each.
pub(crate) fn table(out: &mut dyn Write, header: &[(&str, Align)], rows: &[Vec<String>]) -> io::Result<()> {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| escaped(cell)).collect()).collect();
    let widths: Vec<usize> = header
        .iter()
        .enumerate()
        .map(|(column, (title, _))| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([title.len()]).max().unwrap_or(0)
        })
        .collect();
    let titles: Vec<String> = header.iter().map(|(title, _)| (*title).to_owned()).collect();
    for row in std::iter::once(&titles).chain(&rows) {
        let mut line = String::new();
        for ((cell, width), (_, align)) in row.iter().zip(&widths).zip(header) {
            let cell = if *align == Left { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
            line.push_str(&cell);
            line.push_str("  ");
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Writes a reply.
///
/// # Errors
/// `out` cannot be written to.
pub fn write(out: &mut dyn Write, body: &Body) -> io::Result<()> {
    match body {
        Body::Workers(workers) => write_workers(out, workers),
        Body::Stats(stats) => write_stats(out, stats),
        Body::Sessions(sessions) => write_sessions(out, sessions),
        Body::Files(files) => write_files(out, files),
        Body::Drops(drops) => write_drops(out, drops),
        Body::Ports(ports) => write_ports(out, &ports.ports, &[]),
        Body::Reloaded(reloaded) => write_reloaded(out, reloaded),
        Body::Latencies(latencies) => write_latencies(out, latencies),
        Body::Accepted(accepted) => {
            let message = escaped(&accepted.message);
            writeln!(out, "{message} ({} transfer(s) running)", accepted.live_sessions)
        }
        Body::PortInfos(infos) => infos.ports.iter().try_for_each(|port| look::write_port_info(out, port)),
        Body::PortXstats(list) => list.ports.iter().try_for_each(|port| look::write_xstats(out, port)),
        Body::Done(done) => writeln!(out, "{}", escaped(&done.message)),
        Body::Version(version) => look::write_version(out, version),
        Body::Cores(cores) => look::write_cores(out, &cores.cores),
        Body::Mempools(pools) => look::write_mempools(out, &pools.pools),
        Body::Capture(capture) => look::write_capture(out, capture),
        Body::Trace(page) => look::write_trace(out, page),
    }
}

fn write_workers(out: &mut dyn Write, workers: &Workers) -> io::Result<()> {
    let header = [
        ("worker", Right),
        ("lcore", Right),
        ("state", Left),
        ("ports", Left),
        ("sessions", Right),
        ("rx-frames", Right),
        ("tx-frames", Right),
        ("polls", Right),
        ("empty-polls", Right),
        ("busy-%", Right),
        ("cycles/packet", Right),
        ("stalls", Right),
    ];
    let rows: Vec<Vec<String>> = workers
        .workers
        .iter()
        .map(|worker| {
            let ports: Vec<String> = worker.ports.iter().map(u16::to_string).collect();
            vec![
                worker.id.to_string(),
                worker.lcore.to_string(),
                worker.state.name().to_owned(),
                ports.join(","),
                worker.sessions.to_string(),
                worker.rx_frames.to_string(),
                worker.tx_frames.to_string(),
                worker.polls.to_string(),
                worker.empty_polls.to_string(),
                worker.busy_percent.map_or_else(|| "-".to_owned(), |busy| format!("{busy:.1}")),
                worker.cycles_per_packet.map_or_else(|| "-".to_owned(), |cycles| format!("{cycles:.0}")),
                worker.stalls.to_string(),
            ]
        })
        .collect();
    table(out, &header, &rows)?;
    for worker in &workers.workers {
        write_bursts(out, worker)?;
    }
    writeln!(out, "{} worker(s) running", workers.count)
}

/// In testpmd's shape: the two most frequent sizes, and the rest together.
fn write_bursts(out: &mut dyn Write, worker: &Worker) -> io::Result<()> {
    let total: u64 = worker.bursts.iter().sum();
    if total == 0 {
        return Ok(());
    }
    let mut sizes: Vec<(usize, u64)> =
        worker.bursts.iter().copied().enumerate().filter(|(_, count)| *count > 0).collect();
    sizes.sort_by_key(|&(size, count)| (std::cmp::Reverse(count), size));
    let percent = |count: u64| u128::from(count) * 100 / u128::from(total);
    let mut parts: Vec<String> =
        sizes.iter().take(2).map(|&(size, count)| format!("{}% of {size} pkts", percent(count))).collect();
    let others: u64 = sizes.iter().skip(2).map(|(_, count)| count).sum();
    if others > 0 {
        parts.push(format!("{}% of others", percent(others)));
    }
    writeln!(out, "worker {} RX-bursts: {total} [{}]", worker.id, parts.join(" + "))
}

fn write_latencies(out: &mut dyn Write, latencies: &Latencies) -> io::Result<()> {
    let header = [
        ("latency", Left),
        ("count", Right),
        ("mean-us", Right),
        ("p50-us", Right),
        ("p90-us", Right),
        ("p99-us", Right),
        ("p99.9-us", Right),
        ("max-us", Right),
    ];
    let rows: Vec<Vec<String>> = latencies
        .latencies
        .iter()
        .map(|latency| {
            let times =
                [latency.mean_us, latency.p50_us, latency.p90_us, latency.p99_us, latency.p99_9_us, latency.max_us];
            let times = times.map(|us| if latency.count > 0 { format!("{us:.1}") } else { "-".to_owned() });
            [latency.name.clone(), latency.count.to_string()].into_iter().chain(times).collect()
        })
        .collect();
    table(out, &header, &rows)?;
    for latency in &latencies.latencies {
        writeln!(out, "{}: {}", escaped(&latency.name), escaped(&latency.help))?;
    }
    Ok(())
}

fn write_counts(out: &mut dyn Write, title: &str, counts: &BTreeMap<String, u64>) -> io::Result<()> {
    let rows: Vec<Vec<String>> = counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| vec![name.clone(), count.to_string()])
        .collect();
    if rows.is_empty() {
        return writeln!(out, "{title}: none");
    }
    table(out, &[(title, Left), ("count", Right)], &rows)
}

fn write_stats(out: &mut dyn Write, stats: &Stats) -> io::Result<()> {
    let rows: Vec<Vec<String>> = [
        ("uptime-seconds", stats.uptime_seconds),
        ("rx-frames", stats.rx_frames),
        ("accounted-frames", stats.accounted_frames),
        ("tx-frames", stats.tx_frames),
        ("tx-dropped", stats.tx_dropped),
        ("pool-empty", stats.pool_empty),
        ("to-kernel", stats.to_kernel),
        ("from-kernel", stats.from_kernel),
        ("kernel-lost", stats.kernel_lost),
        ("data-blocks", stats.data_blocks),
        ("data-bytes", stats.data_bytes),
        ("blocks-resent", stats.blocks_resent),
        ("log-records-lost", stats.log_records_lost),
    ]
    .into_iter()
    .map(|(name, value)| vec![name.to_owned(), value.to_string()])
    .collect();
    table(out, &[("total", Left), ("count", Right)], &rows)?;
    for (title, counts) in [("served", &stats.served), ("dropped", &stats.dropped), ("transfers", &stats.transfers)] {
        writeln!(out)?;
        write_counts(out, title, counts)?;
    }
    if stats.cache.values().any(|&count| count > 0) {
        writeln!(out)?;
        write_counts(out, "cache", &stats.cache)?;
    }
    for port in &stats.ports {
        writeln!(out)?;
        write_port(out, port, None)?;
    }
    Ok(())
}

fn session_row(session: &Session) -> Vec<String> {
    vec![
        session.client.clone(),
        session.file.clone(),
        session.state.clone(),
        session.worker.to_string(),
        session.tid.to_string(),
        format!("{}x{}", session.blksize, session.windowsize),
        format!("{}/{}", session.acked_blocks, session.total_blocks),
        session.percent().to_string(),
        session.resent_blocks.to_string(),
        session.age_seconds.to_string(),
        session.rtt_us.map_or_else(|| "-".to_owned(), |rtt| rtt.to_string()),
    ]
}

fn write_sessions(out: &mut dyn Write, sessions: &Sessions) -> io::Result<()> {
    let header = [
        ("client", Left),
        ("file", Left),
        ("state", Left),
        ("worker", Right),
        ("tid", Right),
        ("blksize", Right),
        ("blocks", Right),
        ("%", Right),
        ("resent", Right),
        ("age-s", Right),
        ("rtt-us", Right),
    ];
    let rows: Vec<Vec<String>> = sessions.sessions.iter().map(session_row).collect();
    table(out, &header, &rows)?;
    let shown = sessions.sessions.len();
    if sessions.truncated {
        writeln!(out, "{shown} of {} session(s) shown", sessions.total)
    } else {
        writeln!(out, "{} session(s)", sessions.total)
    }
}

fn file_row(file: &FileEntry) -> Vec<String> {
    vec![file.bytes.to_string(), file.hits.to_string(), file.served_bytes.to_string(), file.name.clone()]
}

fn write_files(out: &mut dyn Write, files: &Files) -> io::Result<()> {
    let columns = [("bytes", Right), ("hits", Right), ("served-bytes", Right), ("name", Left)];
    if files.cache.on_demand_total == 0 {
        let rows: Vec<Vec<String>> = files.list.iter().map(file_row).collect();
        table(out, &columns, &rows)?;
    } else {
        let is_there = |file: &FileEntry| vec![if file.resident { "yes" } else { "-" }.to_owned()];
        let rows: Vec<Vec<String>> = files.list.iter().map(|file| [is_there(file), file_row(file)].concat()).collect();
        table(out, &[&[("in-memory", Left)], &columns[..]].concat(), &rows)?;
    }
    if files.truncated {
        writeln!(out, "the first {} are shown", files.list.len())?;
    }
    for (reason, count) in files.left_out.iter().filter(|(_, count)| **count > 0) {
        writeln!(out, "left out: {count} ({})", escaped(reason))?;
    }
    writeln!(
        out,
        "{} file(s), {} bytes in {} pages, generation {}",
        files.files,
        files.bytes,
        escaped(&files.page_kind),
        files.generation
    )?;
    write_cache(out, &files.cache)
}

fn write_cache(out: &mut dyn Write, cache: &Cache) -> io::Result<()> {
    if cache.on_demand_total == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "cache: {} of {} used; {} loaded at start; {} of {} file(s) on demand there now, {}",
        Size(cache.pinned_bytes.saturating_add(cache.on_demand_bytes)),
        Size(cache.budget_bytes),
        Size(cache.pinned_bytes),
        cache.on_demand_files,
        cache.on_demand_total,
        Size(cache.on_demand_bytes),
    )?;
    write_counts(out, "cache", &cache.counts)
}

fn write_drops(out: &mut dyn Write, drops: &Drops) -> io::Result<()> {
    let mut happened: Vec<_> = drops.drops.iter().filter(|drop| drop.count > 0).collect();
    happened.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.reason.cmp(&other.reason)));
    let rows: Vec<Vec<String>> =
        happened.iter().map(|drop| vec![drop.reason.clone(), drop.count.to_string(), drop.help.clone()]).collect();
    if !rows.is_empty() {
        table(out, &[("reason", Left), ("count", Right), ("meaning", Left)], &rows)?;
    }
    writeln!(out, "{} frame(s) dropped", drops.total)
}

/// Ports' counters, each with its rate where there is one at its place.
///
/// # Errors
/// `out` cannot be written to.
pub fn write_ports(out: &mut dyn Write, ports: &[PortStats], rates: &[Option<PortRate>]) -> io::Result<()> {
    let rate = |at: usize| rates.get(at).copied().flatten();
    ports.iter().enumerate().try_for_each(|(at, port)| write_port(out, port, rate(at)))
}

/// In testpmd's shape, with what it shows elsewhere on the first line.
fn write_port(out: &mut dyn Write, port: &PortStats, rate: Option<PortRate>) -> io::Result<()> {
    writeln!(out, "  {:#<24} NIC statistics for port {:<2} {:#<24}", "", port.port, "")?;
    let speed = port.link.speed_mbps.map_or_else(String::new, |speed| format!(" {speed} Mbit/s"));
    let losses = if port.link_losses > 0 { format!(", lost {} time(s)", port.link_losses) } else { String::new() };
    writeln!(
        out,
        "  {} ({}) {} mtu {} link {}{speed}{losses}",
        escaped(&port.name),
        escaped(&port.driver),
        escaped(&port.mac),
        port.mtu,
        if port.link.up { "up" } else { "down" }
    )?;
    writeln!(
        out,
        "  RX-packets: {:<10} RX-missed: {:<10} RX-bytes:  {}",
        port.rx_packets, port.rx_missed, port.rx_bytes
    )?;
    writeln!(out, "  RX-errors:  {}", port.rx_errors)?;
    writeln!(out, "  RX-nombuf:  {}", port.rx_nombuf)?;
    writeln!(
        out,
        "  TX-packets: {:<10} TX-errors: {:<10} TX-bytes:  {}",
        port.tx_packets, port.tx_errors, port.tx_bytes
    )?;
    if let Some(rate) = rate {
        writeln!(out)?;
        writeln!(out, "  Throughput (since last show)")?;
        writeln!(out, "  Rx-pps: {:>14.0}          Rx-bps: {:>14.0}", rate.rx_pps, rate.rx_bps)?;
        writeln!(out, "  Tx-pps: {:>14.0}          Tx-bps: {:>14.0}", rate.tx_pps, rate.tx_bps)?;
    }
    writeln!(out, "  {:#<76}", "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Drop, Latency, WorkerState};

    fn text(body: &Body) -> String {
        let mut out = Vec::new();
        write(&mut out, body).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_aligned_and_end_without_blanks() {
        let files = Files {
            files: 2,
            bytes: 1_005,
            page_kind: "huge".to_owned(),
            list: [("a", 5), ("boot/é", 1_000)]
                .map(|(name, bytes)| FileEntry {
                    name: name.to_owned(),
                    bytes,
                    hits: 2,
                    served_bytes: 2 * bytes,
                    resident: true,
                })
                .to_vec(),
            left_out: [("not readable".to_owned(), 3), ("empty name".to_owned(), 0)].into(),
            ..Files::default()
        };
        assert_eq!(
            text(&Body::Files(files)),
            "bytes  hits  served-bytes  name\n    5     2            10  a\n 1000     2          2000  boot/é\nleft out: 3 (not readable)\n2 file(s), 1005 bytes in huge pages, generation 0\n"
        );
    }

    #[test]
    fn a_cache_that_does_not_hold_everything_is_shown() {
        let entry =
            |name: &str, resident| FileEntry { name: name.to_owned(), bytes: 7, hits: 0, served_bytes: 0, resident };
        let cache = Cache {
            budget_bytes: 4 << 20,
            pinned_bytes: 1 << 20,
            on_demand_bytes: 1 << 19,
            on_demand_files: 1,
            on_demand_total: 2,
            counts: [("hits".to_owned(), 3), ("wants_lost".to_owned(), 0)].into(),
        };
        let list = vec![entry("a", true), entry("b", false)];
        let files = Files { files: 2, bytes: 14, page_kind: "ordinary".to_owned(), list, cache, ..Files::default() };
        assert_eq!(
            text(&Body::Files(files)),
            "in-memory  bytes  hits  served-bytes  name\nyes            7     0             0  a\n-              7     0             0  b\n\
             2 file(s), 14 bytes in ordinary pages, generation 0\n\
             cache: 1.50 MiB of 4.00 MiB used; 1.00 MiB loaded at start; 1 of 2 file(s) on demand there now, 512.00 KiB\n\
             cache  count\nhits       3\n"
        );
    }

    #[test]
    fn names_cannot_drive_the_terminal() {
        let file = FileEntry {
            name: "a\u{1b}[2J\r\n\u{202e}b".to_owned(),
            bytes: 1,
            hits: 0,
            served_bytes: 0,
            resident: true,
        };
        let shown = text(&Body::Files(Files { list: vec![file], ..Files::default() }));
        assert!(shown.contains("a\\u{1b}[2J\\r\\n\\u{202e}b"), "{shown}");
    }

    #[test]
    fn drops_that_happened_come_first_and_the_others_not_at_all() {
        let drops = [("runt", 1), ("checksum", 0), ("fragment", 7)].map(|(reason, count)| Drop {
            reason: reason.to_owned(),
            help: "h".to_owned(),
            count,
        });
        let shown = text(&Body::Drops(Drops { drops: drops.to_vec(), total: 8 }));
        assert_eq!(shown, "reason    count  meaning\nfragment      7  h\nrunt          1  h\n8 frame(s) dropped\n");
    }

    #[test]
    fn bursts_are_shown_as_testpmd_does() {
        let worker = Worker {
            id: 3,
            lcore: 1,
            state: WorkerState::Polling,
            ports: vec![0],
            rx_frames: 1,
            tx_frames: 1,
            sessions: 0,
            polls: 1,
            empty_polls: 0,
            busy_us: 1,
            busy_percent: Some(1.0),
            cycles_per_packet: Some(173.4),
            bursts: vec![0, 50, 10, 0, 40],
            stalls: 0,
        };
        let shown = text(&Body::Workers(Workers { count: 1, workers: vec![worker] }));
        assert!(shown.contains("worker 3 RX-bursts: 100 [50% of 1 pkts + 40% of 4 pkts + 10% of others]\n"), "{shown}");
        assert!(shown.contains("cycles/packet") && shown.contains("  173  "), "{shown}");
    }

    #[test]
    fn a_latency_that_was_never_measured_has_no_numbers() {
        let latency = |name: &str, count, us| Latency {
            name: name.to_owned(),
            help: "h".to_owned(),
            count,
            p50_us: us,
            max_us: us,
            ..Latency::default()
        };
        let shown = text(&Body::Latencies(Latencies { latencies: vec![latency("a", 2, 1.25), latency("b", 0, 0.0)] }));
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[1].starts_with("a ") && lines[1].contains("1.2"), "{shown}");
        assert_eq!(lines[2].matches('-').count(), 6, "{shown}");
        assert_eq!(lines[3], "a: h");
    }
}
