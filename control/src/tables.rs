//! Replies as tables for people. Text from clients and file names cannot reach the terminal as control characters.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::ctl::PortRate;
use crate::protocol::{Body, Drops, Files, PortStats, Session, Sessions, Stats, Workers};

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
        Body::Accepted(accepted) => {
            let message = escaped(&accepted.message);
            writeln!(out, "{message} ({} transfer(s) running)", accepted.live_sessions)
        }
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
                worker.stalls.to_string(),
            ]
        })
        .collect();
    table(out, &header, &rows)?;
    writeln!(out, "{} worker(s) running", workers.count)
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
        ("from-kernel", stats.from_kernel),
        ("kernel-lost", stats.kernel_lost),
        ("data-blocks", stats.data_blocks),
        ("data-bytes", stats.data_bytes),
        ("blocks-resent", stats.blocks_resent),
    ]
    .into_iter()
    .map(|(name, value)| vec![name.to_owned(), value.to_string()])
    .collect();
    table(out, &[("total", Left), ("count", Right)], &rows)?;
    for (title, counts) in [("served", &stats.served), ("dropped", &stats.dropped), ("transfers", &stats.transfers)] {
        writeln!(out)?;
        write_counts(out, title, counts)?;
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

fn write_files(out: &mut dyn Write, files: &Files) -> io::Result<()> {
    let rows: Vec<Vec<String>> =
        files.list.iter().map(|file| vec![file.bytes.to_string(), file.name.clone()]).collect();
    table(out, &[("bytes", Right), ("name", Left)], &rows)?;
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
    )
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
    writeln!(
        out,
        "  {} ({}) {} mtu {} link {}{speed}",
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
    use crate::protocol::{Drop, FileEntry};

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
                .map(|(name, bytes)| FileEntry { name: name.to_owned(), bytes })
                .to_vec(),
            left_out: [("not readable".to_owned(), 3), ("empty name".to_owned(), 0)].into(),
            ..Files::default()
        };
        assert_eq!(
            text(&Body::Files(files)),
            "bytes  name\n    5  a\n 1000  boot/é\nleft out: 3 (not readable)\n2 file(s), 1005 bytes in huge pages, generation 0\n"
        );
    }

    #[test]
    fn names_cannot_drive_the_terminal() {
        let file = FileEntry { name: "a\u{1b}[2J\r\n\u{202e}b".to_owned(), bytes: 1 };
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
}
