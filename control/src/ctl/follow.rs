//! `trace CLIENT`: asks for new lines until the trace ends, a person ends it, or the daemon is gone.

use std::io::{self, Write};
use std::time::Duration;

use super::interrupt::Interrupt;
use super::session::{Screen, Session};
use super::{DONE, NOT_DONE};
use crate::protocol::{RawReply, TracePage};
use crate::tables;

/// How often new lines are asked for.
const INTERVAL: Duration = Duration::from_millis(200);

pub(super) fn run(session: &Session, screen: &mut Screen<'_>) -> io::Result<u8> {
    let interrupt = Interrupt::watch()?;
    loop {
        let ended = interrupt.wait(INTERVAL)?;
        let page = match ask(session, if ended { "stop" } else { "read" }) {
            Ok(page) => page,
            Err(reason) => {
                screen.complain(&reason, "")?;
                return Ok(NOT_DONE);
            }
        };
        show(session.json, &page, screen.out)?;
        if ended || !page.running {
            if page.lost > 0 {
                screen.complain(&format!("{} packet(s) came too fast and are not shown", page.lost), "")?;
            }
            return Ok(DONE);
        }
    }
}

fn ask(session: &Session, what: &str) -> Result<TracePage, String> {
    match session.ask(&["trace".to_owned(), what.to_owned()]) {
        Ok(RawReply::Ok(value)) => {
            serde_json::from_value(value).map_err(|error| format!("bypassd is of another version: {error}"))
        }
        Ok(RawReply::Error(refusal)) => Err(tables::escaped(&refusal.message)),
        Err(error) => Err(error.to_string()),
    }
}

/// For programs one line of JSON per packet.
fn show(json: bool, page: &TracePage, out: &mut dyn Write) -> io::Result<()> {
    if json {
        for line in &page.lines {
            serde_json::to_writer(&mut *out, line)?;
            writeln!(out)?;
        }
    } else {
        tables::write_trace_lines(out, &page.lines)?;
    }
    out.flush()
}
