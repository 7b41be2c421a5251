//! A frame of `top` as text, and the terminal's other screen that it is drawn on, which goes away when it is over.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use rustix::termios::tcgetwinsize;

use super::frame::Frame;
use crate::tables::{Align, escaped, table};

const OPEN: &str = "\x1b[?1049h\x1b[?25l";
const CLOSE: &str = "\x1b[?25h\x1b[?1049l";

/// Whether both ends are a terminal.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal() && io::stdin().is_terminal()
}

/// The other screen.
pub(super) struct Pages<'a> {
    out: &'a mut dyn Write,
}

impl<'a> Pages<'a> {
    pub(super) fn open(out: &'a mut dyn Write) -> io::Result<Self> {
        out.write_all(OPEN.as_bytes())?;
        Ok(Self { out })
    }

    pub(super) fn show(&mut self, frame: &Frame, interval: Duration) -> io::Result<()> {
        let mut text = Vec::new();
        writeln!(text, "bypassctl top, every {} s; q ends it", interval.as_secs())?;
        write(&mut text, frame)?;
        self.show_text(&String::from_utf8_lossy(&text))
    }

    /// Cut to the screen's size, asked anew each time.
    pub(super) fn show_text(&mut self, text: &str) -> io::Result<()> {
        let (rows, columns) = match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (usize::from(size.ws_row), usize::from(size.ws_col)),
            _ => (24, 80),
        };
        self.out.write_all(page(text, rows, columns).as_bytes())?;
        self.out.flush()
    }
}

impl Drop for Pages<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no putting back.
        drop(self.out.write_all(CLOSE.as_bytes()).and_then(|()| self.out.flush()));
    }
}

/// The text over what was there before, line by line, so that nothing flickers.
fn page(text: &str, rows: usize, columns: usize) -> String {
    let mut page = String::from("\x1b[H");
    for (at, line) in text.lines().take(rows).enumerate() {
        if at > 0 {
            page.push_str("\r\n");
        }
        page.extend(line.chars().take(columns));
        // Clears the rest of the line.
        page.push_str("\x1b[K");
    }
    // And what is below.
    page.push_str("\x1b[J");
    page
}

fn rate(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".to_owned(), short)
}

/// `12.3k`: four figures at most, so that columns stand still.
fn short(number: f64) -> String {
    for (limit, unit) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if number >= limit * 10.0 {
            return format!("{:.1}{unit}", number / limit);
        }
    }
    if number >= 100.0 || number == 0.0 { format!("{number:.0}") } else { format!("{number:.1}") }
}

/// The whole frame, as many lines as it takes.
pub(super) fn write(out: &mut dyn Write, frame: &Frame) -> io::Result<()> {
    let up = frame.uptime_seconds;
    writeln!(
        out,
        "up {}:{:02}:{:02}, {} transfer(s) running, {} opened/s, {} resent/s",
        up / 3_600,
        up / 60 % 60,
        up % 60,
        frame.running_sessions,
        rate(frame.opened_per_second),
        rate(frame.blocks_resent_per_second)
    )?;
    writeln!(
        out,
        "rx {} frames/s, tx {} frames/s, file data {} bit/s, pool empty {}/s",
        rate(frame.rx_frames_per_second),
        rate(frame.tx_frames_per_second),
        rate(frame.data_bits_per_second),
        rate(frame.pool_empty_per_second)
    )?;
    for (title, counts) in [("ended", &frame.ended_per_second), ("dropped", &frame.dropped_per_second)] {
        let counts: Vec<String> =
            counts.iter().map(|(name, &count)| format!("{} {}/s", escaped(name), short(count))).collect();
        writeln!(out, "{title}: {}", if counts.is_empty() { "-".to_owned() } else { counts.join(", ") })?;
    }
    writeln!(out)?;
    write_workers(out, frame)?;
    writeln!(out)?;
    write_ports(out, frame)?;
    writeln!(out)?;
    write_sessions(out, frame)
}

fn write_workers(out: &mut dyn Write, frame: &Frame) -> io::Result<()> {
    let header = [
        ("worker", Align::Right),
        ("lcore", Align::Right),
        ("state", Align::Left),
        ("busy-%", Align::Right),
        ("rx/s", Align::Right),
        ("tx/s", Align::Right),
        ("sessions", Align::Right),
    ];
    let rows: Vec<Vec<String>> = frame
        .workers
        .iter()
        .map(|worker| {
            vec![
                worker.id.to_string(),
                worker.lcore.to_string(),
                worker.state.name().to_owned(),
                worker.busy_percent.map_or_else(|| "-".to_owned(), |busy| format!("{busy:.1}")),
                rate(worker.rx_frames_per_second),
                rate(worker.tx_frames_per_second),
                worker.sessions.to_string(),
            ]
        })
        .collect();
    table(out, &header, &rows)
}

fn write_ports(out: &mut dyn Write, frame: &Frame) -> io::Result<()> {
    let header = [
        ("port", Align::Right),
        ("device", Align::Left),
        ("link", Align::Left),
        ("rx-pps", Align::Right),
        ("rx-bit/s", Align::Right),
        ("tx-pps", Align::Right),
        ("tx-bit/s", Align::Right),
        ("rx-missed", Align::Right),
        ("tx-errors", Align::Right),
    ];
    let rows: Vec<Vec<String>> = frame
        .ports
        .iter()
        .map(|port| {
            vec![
                port.port.to_string(),
                port.name.clone(),
                if port.link.up { "up" } else { "down" }.to_owned(),
                rate(port.rate.map(|rate| rate.rx_pps)),
                rate(port.rate.map(|rate| rate.rx_bps)),
                rate(port.rate.map(|rate| rate.tx_pps)),
                rate(port.rate.map(|rate| rate.tx_bps)),
                port.rx_missed.to_string(),
                port.tx_errors.to_string(),
            ]
        })
        .collect();
    table(out, &header, &rows)
}

fn write_sessions(out: &mut dyn Write, frame: &Frame) -> io::Result<()> {
    let header = [
        ("client", Align::Left),
        ("file", Align::Left),
        ("state", Align::Left),
        ("%", Align::Right),
        ("resent", Align::Right),
        ("age-s", Align::Right),
    ];
    let rows: Vec<Vec<String>> = frame
        .sessions
        .iter()
        .map(|session| {
            vec![
                session.client.clone(),
                session.file.clone(),
                session.state.clone(),
                session.percent().to_string(),
                session.resent_blocks.to_string(),
                session.age_seconds.to_string(),
            ]
        })
        .collect();
    table(out, &header, &rows)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::frame::tests::sample;
    use super::*;

    #[test]
    fn a_page_is_cut_to_the_screen_and_clears_what_was_there() {
        let drawn = page("one\ntwo long\nthree\n", 2, 5);
        assert_eq!(drawn, "\x1b[Hone\x1b[K\r\ntwo l\x1b[K\x1b[J");
    }

    #[test]
    fn numbers_stay_short() {
        for (number, text) in
            [(0.0, "0"), (3.25, "3.2"), (250.0, "250"), (9_999.0, "9999"), (12_345.0, "12.3k"), (2e10, "20.0G")]
        {
            assert_eq!(short(number), text);
        }
    }

    #[test]
    fn the_text_has_all_parts() {
        let mut out = Vec::new();
        write(&mut out, &Frame::between(None, &sample(Instant::now(), 3_725, 10))).unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in ["up 1:02:05, 3 transfer(s) running", "worker  lcore", "rx-pps", "client  file", "dropped: -"] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }
}
