//! Tables of the words for looking closely: ports, cores, pools, captures, traces.

use std::io::{self, Write};

use super::Align::{Left, Right};
use super::{escaped, table};
use crate::protocol::{CaptureState, Core, Mempool, PortInfo, PortXstats, TraceLine, TracePage, Version};

fn yes(yes: bool) -> &'static str {
    if yes { "enabled" } else { "disabled" }
}

/// In testpmd's shape.
pub(super) fn write_port_info(out: &mut dyn Write, port: &PortInfo) -> io::Result<()> {
    writeln!(out, "\n********************* Infos for port {:<2} *********************", port.port)?;
    let link = if port.link.up { "up" } else { "down" };
    let speed = port.link.speed_mbps.map_or_else(|| "unknown".to_owned(), |speed| format!("{speed} Mbps"));
    let socket = if port.socket < 0 { "any".to_owned() } else { port.socket.to_string() };
    let offloads = if port.offloads.is_empty() { "none".to_owned() } else { port.offloads.join(", ") };
    for (name, value) in [
        ("MAC address", port.mac.clone()),
        ("Device name", port.name.clone()),
        ("Driver name", port.driver.clone()),
        ("Bus name", port.bus.clone()),
        ("Connect to socket", socket),
        ("Link status", link.to_owned()),
        ("Link speed", speed),
        ("Link duplex", if port.full_duplex { "full-duplex" } else { "half-duplex" }.to_owned()),
        ("MTU", format!("{} ({} to {})", port.mtu, port.mtu_range[0], port.mtu_range[1])),
        ("Promiscuous mode", yes(port.promiscuous).to_owned()),
        ("Allmulticast mode", yes(port.all_multicast).to_owned()),
        ("Queue pairs", format!("{} (of {} RX, {} TX)", port.queue_pairs, port.max_queues[0], port.max_queues[1])),
        ("RX descriptors", port.rx_descriptors.to_string()),
        ("TX descriptors", port.tx_descriptors.to_string()),
        ("Offloads in use", offloads),
        ("File bytes", port.payload.clone()),
    ] {
        writeln!(out, "{name}: {}", escaped(&value))?;
    }
    Ok(())
}

/// In testpmd's shape.
pub(super) fn write_xstats(out: &mut dyn Write, port: &PortXstats) -> io::Result<()> {
    writeln!(out, "###### NIC extended statistics for port {} ({})", port.port, escaped(&port.name))?;
    if let Some(error) = &port.error {
        return writeln!(out, "none: {}", escaped(error));
    }
    port.xstats.iter().try_for_each(|xstat| writeln!(out, "{}: {}", escaped(&xstat.name), xstat.count))
}

pub(super) fn write_version(out: &mut dyn Write, version: &Version) -> io::Result<()> {
    let bypassctl = env!("CARGO_PKG_VERSION");
    writeln!(out, "bypassd {} (pid {}), bypassctl {bypassctl}", escaped(&version.bypassd), version.pid)?;
    writeln!(out, "DPDK {}, built with {}", escaped(&version.dpdk_running), escaped(&version.dpdk_built))
}

pub(super) fn write_cores(out: &mut dyn Write, cores: &[Core]) -> io::Result<()> {
    let header = [("lcore", Right), ("role", Left), ("cpus", Left), ("socket", Right), ("ports", Left)];
    let row = |core: &Core| {
        let ports: Vec<String> = core.ports.iter().map(u16::to_string).collect();
        vec![
            core.lcore.to_string(),
            core.worker.map_or_else(|| "control".to_owned(), |worker| format!("worker {worker}")),
            core.cpus.clone(),
            if core.socket < 0 { "any".to_owned() } else { core.socket.to_string() },
            if ports.is_empty() { "-".to_owned() } else { ports.join(",") },
        ]
    };
    table(out, &header, &cores.iter().map(row).collect::<Vec<_>>())
}

pub(super) fn write_mempools(out: &mut dyn Write, pools: &[Mempool]) -> io::Result<()> {
    let header = [("worker", Right), ("frames", Right), ("available", Right), ("in-use", Right), ("bytes-each", Right)];
    let row = |pool: &Mempool| {
        let numbers = [pool.frames, pool.available, pool.in_use, pool.data_room_bytes.into()];
        [pool.worker.to_string()].into_iter().chain(numbers.map(|number| number.to_string())).collect()
    };
    table(out, &header, &pools.iter().map(row).collect::<Vec<_>>())
}

pub(super) fn write_capture(out: &mut dyn Write, capture: &CaptureState) -> io::Result<()> {
    let CaptureState { file, packets, lost, bytes, .. } = capture;
    let state = match &capture.ended {
        Some(reason) => format!("ended ({})", escaped(reason)),
        None if capture.running => "running".to_owned(),
        None => "ended".to_owned(),
    };
    writeln!(out, "{}: {state}, {packets} packet(s) written, {lost} lost, {bytes} bytes", escaped(file))
}

pub(super) fn write_trace(out: &mut dyn Write, page: &TracePage) -> io::Result<()> {
    write_trace_lines(out, &page.lines)?;
    let state = if page.running { "goes on" } else { "has ended" };
    writeln!(out, "the trace of {} {state}, {} packet(s) lost", escaped(&page.client), page.lost)
}

/// `12:00:01.000345  192.0.2.7:2000 > 69     RRQ …`, in UTC.
pub(crate) fn write_trace_lines(out: &mut dyn Write, lines: &[TraceLine]) -> io::Result<()> {
    for line in lines {
        let of_day_us = line.unix_us % 86_400_000_000;
        let (seconds, us) = (of_day_us / 1_000_000, of_day_us % 1_000_000);
        let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        let way = if line.received { '>' } else { '<' };
        let again = if line.again { "  (again)" } else { "" };
        writeln!(
            out,
            "{hours:02}:{minutes:02}:{seconds:02}.{us:06}  {} {way} {:<5}  {}{again}",
            escaped(&line.client),
            line.server_port,
            escaped(&line.packet)
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_line_says_when_who_and_what() {
        let line = TraceLine {
            unix_us: 86_400_000_000 * 3 + 3_723_000_045,
            received: false,
            client: "192.0.2.7:2000".to_owned(),
            server_port: 40_000,
            packet: "DATA 1, 512 bytes".to_owned(),
            again: true,
        };
        let mut out = Vec::new();
        write_trace_lines(&mut out, &[line]).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "01:02:03.000045  192.0.2.7:2000 < 40000  DATA 1, 512 bytes  (again)\n"
        );
    }

    #[test]
    fn a_capture_says_how_it_ended() {
        let mut capture =
            CaptureState { file: "/tmp/x".to_owned(), running: true, packets: 3, ..CaptureState::default() };
        let text = |capture: &CaptureState| {
            let mut out = Vec::new();
            write_capture(&mut out, capture).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(&capture), "/tmp/x: running, 3 packet(s) written, 0 lost, 0 bytes\n");
        capture.running = false;
        capture.ended = Some("the time is over".to_owned());
        assert!(text(&capture).contains("ended (the time is over), 3 packet(s) written"));
    }
}
