//! One user of bypassctl: says words, shows answers, and remembers what the next answer is compared with. Holds no connection
//! between two words, so that a daemon may end and begin again meanwhile.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::rates::PortRates;
use super::{DONE, NOT_DONE, WRONG_USAGE, follow, top};
use crate::client::{self, ClientError};
use crate::grammar::Arguments;
use crate::protocol::{Body, RawReply, Refusal, Request};
use crate::settings::Environment;
use crate::tables;
use crate::words::{self, Asks, Command, Does, Local};

/// What came of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Exit status of a bypassctl that says no more.
    pub status: u8,
    /// Whether no more is to be said.
    pub quit: bool,
}

impl Said {
    /// Goes on after this.
    #[must_use]
    pub const fn with(status: u8) -> Self {
        Self { status, quit: false }
    }
}

/// Where answers and complaints go.
pub struct Screen<'a> {
    /// Answers.
    pub out: &'a mut dyn Write,
    /// Complaints.
    pub err: &'a mut dyn Write,
    /// `FILE:LINE` of what is being said, innermost.
    pub(super) place: Option<String>,
}

impl<'a> Screen<'a> {
    /// For words that are not from a file.
    pub fn new(out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Self { out, err, place: None }
    }

    /// Says what is wrong, where, and what to do about it. The texts are ours or were made harmless.
    pub(super) fn complain(&mut self, message: &str, help: &str) -> io::Result<()> {
        let place = self.place.as_ref().map_or_else(String::new, |place| format!("{place}: "));
        writeln!(self.err, "bypassctl: {place}{message}")?;
        if help.is_empty() { Ok(()) } else { writeln!(self.err, "help: {help}") }
    }
}

/// A refusal as programs see it.
#[derive(Serialize)]
struct PlacedRefusal<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'a str>,
    #[serde(flatten)]
    refusal: &'a Refusal,
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    control: Option<PathBuf>,
    environment: Environment,
    pub(super) json: bool,
    pub(super) keep_going: bool,
    /// Files that load each other.
    pub(super) depth: usize,
    rates: PortRates,
}

impl Session {
    /// For the daemon at `control`, or at one of the usual places.
    #[must_use]
    pub fn new(control: Option<PathBuf>, environment: Environment, json: bool, keep_going: bool) -> Self {
        Self { control, environment, json, keep_going, depth: 0, rates: PortRates::default() }
    }

    /// Where the daemon is looked for. Asked anew each time: it may begin while we wait.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.control.clone().unwrap_or_else(|| {
            let places = self.environment.client_sockets();
            let found = places.iter().find(|place| place.symlink_metadata().is_ok()).or_else(|| places.last());
            found.cloned().unwrap_or_else(|| self.environment.control_socket())
        })
    }

    /// Asks the daemon.
    ///
    /// # Errors
    /// There was no answer, or none that can be read.
    pub fn ask(&self, words: &[String]) -> Result<RawReply, ClientError> {
        self.ask_for(words, false)
    }

    fn ask_for(&self, words: &[String], patient: bool) -> Result<RawReply, ClientError> {
        client::ask(&self.path(), &Request { words: words.to_vec() }, patient)
    }

    /// Says one line of words and shows what comes of it.
    ///
    /// # Errors
    /// The screen cannot be written to.
    pub fn say(&mut self, words: &[String], screen: &mut Screen<'_>) -> io::Result<Said> {
        let command = match Command::parse(words) {
            Ok(command) => command,
            Err(error) => {
                screen.complain(&error.to_string(), &error.help())?;
                return Ok(Said::with(WRONG_USAGE));
            }
        };
        let said = match command.word.does {
            Does::Asks(asks) => self.ask_and_show(asks, words, screen).map(Said::with),
            Does::Follows(asks, local) => {
                // Its first answer only says that it began.
                match self.fetch(asks, words, screen)? {
                    Some(_) => self.act(local, &command.arguments, screen),
                    None => Ok(Said::with(NOT_DONE)),
                }
            }
            Does::Local(local) => self.act(local, &command.arguments, screen),
        }?;
        screen.out.flush()?;
        Ok(said)
    }

    fn act(&mut self, local: Local, said: &Arguments, screen: &mut Screen<'_>) -> io::Result<Said> {
        match local {
            Local::Help => help(said, screen).map(Said::with),
            Local::Quit => Ok(Said { status: DONE, quit: true }),
            Local::Load => self.load(said.text("FILE").unwrap_or_default().as_ref(), screen),
            Local::Top => top::run(self, said, screen).map(Said::with),
            Local::Trace => follow::run(self, screen).map(Said::with),
        }
    }

    fn ask_and_show(&mut self, asks: Asks, words: &[String], screen: &mut Screen<'_>) -> io::Result<u8> {
        match self.fetch(asks, words, screen)? {
            Some(answer) => self.show(&answer, screen),
            None => Ok(NOT_DONE),
        }
    }

    /// Asks, and complains where there is no answer that we understand.
    pub(super) fn fetch(&self, asks: Asks, words: &[String], screen: &mut Screen<'_>) -> io::Result<Option<Answer>> {
        let value = match self.ask_for(words, asks.patient) {
            Ok(RawReply::Ok(value)) => value,
            Ok(RawReply::Error(refusal)) => {
                self.show_refusal(&refusal, screen)?;
                return Ok(None);
            }
            Err(error) => {
                screen.complain(&error.to_string(), "")?;
                return Ok(None);
            }
        };
        if self.json {
            return Ok(Some(Answer::Json(value)));
        }
        match (asks.decode)(value) {
            Ok(body) => Ok(Some(Answer::Body(Box::new(body)))),
            Err(error) => {
                let message = format!("bypassd is of another version, its answer is not understood: {error}");
                screen.complain(&message, "use the bypassctl of the same version, or --json")?;
                Ok(None)
            }
        }
    }

    fn show_refusal(&self, refusal: &Refusal, screen: &mut Screen<'_>) -> io::Result<()> {
        if self.json {
            let placed = PlacedRefusal { place: screen.place.as_deref(), refusal };
            serde_json::to_writer_pretty(&mut *screen.err, &placed)?;
            return writeln!(screen.err);
        }
        screen.complain(&tables::escaped(&refusal.message), &tables::escaped(&refusal.help))
    }

    fn show(&mut self, answer: &Answer, screen: &mut Screen<'_>) -> io::Result<u8> {
        match answer {
            Answer::Json(value) => {
                serde_json::to_writer_pretty(&mut *screen.out, value)?;
                writeln!(screen.out)?;
            }
            Answer::Body(body) => match &**body {
                Body::Ports(ports) => {
                    let rates = self.rates.since_last(std::time::Instant::now(), &ports.ports);
                    tables::write_ports(screen.out, &ports.ports, &rates)?;
                }
                body => tables::write(screen.out, body)?,
            },
        }
        Ok(DONE)
    }
}

/// What the daemon said.
pub(super) enum Answer {
    /// As it is.
    Json(serde_json::Value),
    /// Understood.
    Body(Box<Body>),
}

fn help(said: &Arguments, screen: &mut Screen<'_>) -> io::Result<u8> {
    let about: Vec<String> = said.texts("WORD").map(str::to_owned).collect();
    let lines = words::help(&about);
    if lines.is_empty() {
        screen.complain(&format!("nothing begins with `{}`", tables::escaped(&about.join(" "))), "say `help`")?;
        return Ok(WRONG_USAGE);
    }
    lines.iter().try_for_each(|line| writeln!(screen.out, "{line}"))?;
    Ok(DONE)
}
