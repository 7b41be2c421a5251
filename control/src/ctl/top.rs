//! `top`: what bypassd does now, in rates between two looks. At a terminal a screen that renews itself, elsewhere a record per
//! interval.

mod frame;
mod screen;

use std::io;
use std::time::Duration;

use serde::de::DeserializeOwned;

use self::frame::{Frame, Sample};
use super::interrupt::Interrupt;
use super::session::{Screen, Session};
use super::{DONE, NOT_DONE};
use crate::grammar::Arguments;
use crate::protocol::RawReply;
use crate::tables::escaped;

/// Runs until it is told to end, or has shown as many frames as were asked for.
pub(super) fn run(session: &Session, said: &Arguments, screen: &mut Screen<'_>) -> io::Result<u8> {
    let interval = Duration::from_secs(said.number("SECONDS").unwrap_or(1));
    let frames = said.number("FRAMES").unwrap_or(u64::MAX);
    let interrupt = Interrupt::watch()?;
    if !session.json && screen::is_terminal() {
        return live(session, interval, frames, &interrupt, screen);
    }
    records(session, interval, frames, &interrupt, screen)
}

/// Renews the screen. A daemon that goes away may come back.
fn live(
    session: &Session,
    interval: Duration,
    frames: u64,
    interrupt: &Interrupt,
    screen: &mut Screen<'_>,
) -> io::Result<u8> {
    let mut pages = screen::Pages::open(screen.out)?;
    let mut before = None;
    for _ in 0..frames {
        match look(session) {
            Ok(now) => {
                pages.show(&Frame::between(before.as_ref(), &now), interval)?;
                before = Some(now);
            }
            Err(reason) => {
                pages.show_text(&reason)?;
                before = None;
            }
        }
        if interrupt.wait(interval)? {
            break;
        }
    }
    Ok(DONE)
}

/// One record per interval, which has to be over first: a line of JSON, or text for people.
fn records(
    session: &Session,
    interval: Duration,
    frames: u64,
    interrupt: &Interrupt,
    screen: &mut Screen<'_>,
) -> io::Result<u8> {
    let mut before: Option<Sample> = None;
    let mut shown = 0;
    while shown < frames {
        let now = match look(session) {
            Ok(now) => now,
            Err(reason) => {
                screen.complain(&reason, "")?;
                return Ok(NOT_DONE);
            }
        };
        if before.is_some() {
            let frame = Frame::between(before.as_ref(), &now);
            if session.json {
                serde_json::to_writer(&mut *screen.out, &frame)?;
                writeln!(screen.out)?;
            } else {
                screen::write(screen.out, &frame)?;
                writeln!(screen.out)?;
            }
            screen.out.flush()?;
            shown += 1;
        }
        before = Some(now);
        if shown < frames && interrupt.wait(interval)? {
            break;
        }
    }
    Ok(DONE)
}

fn look(session: &Session) -> Result<Sample, String> {
    Ok(Sample {
        at: std::time::Instant::now(),
        workers: ask(session, "workers")?,
        stats: ask(session, "stats")?,
        sessions: ask(session, "sessions")?,
    })
}

fn ask<T: DeserializeOwned>(session: &Session, what: &str) -> Result<T, String> {
    match session.ask(&["show".to_owned(), what.to_owned()]) {
        Ok(RawReply::Ok(value)) => {
            serde_json::from_value(value).map_err(|error| format!("bypassd is of another version: {error}"))
        }
        Ok(RawReply::Error(refusal)) => Err(escaped(&refusal.message)),
        Err(error) => Err(error.to_string()),
    }
}
