//! The words of `bypassctl`: what they mean, and what the daemon answers to them. Reads counters and passes
//! orders on.

use crossbeam::channel::Sender;
use thiserror::Error;

use crate::fleet::Fleet;
use crate::mistake::nearest;
use crate::protocol::{Accepted, Body, LIST_LIMIT, Ports, Refusal, RefusalCode, Reply, Request};
use crate::supervisor::Order;

/// Everything that can be said, with what it does; help and errors are made from it.
pub const KNOWN: &[(&[&str], &str)] = &[
    (&["show", "workers"], "lcores, what they do and how much"),
    (&["show", "stats"], "frames and transfers, summed up"),
    (&["show", "sessions"], "running transfers"),
    (&["show", "files"], "what is served"),
    (&["show", "drops"], "why frames were dropped"),
    (&["show", "latency"], "how long first blocks and whole transfers took"),
    (&["show", "port", "stats", "all"], "the ports' own counters; a port number in place of `all` shows one"),
    (&["drain"], "refuse new requests, let running transfers finish, then end"),
    (&["stop"], "end now; running transfers are cut off"),
];

/// What was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `show workers`.
    ShowWorkers,
    /// `show stats`.
    ShowStats,
    /// `show sessions`.
    ShowSessions,
    /// `show files`.
    ShowFiles,
    /// `show drops`.
    ShowDrops,
    /// `show latency`.
    ShowLatency,
    /// `show port stats all`.
    ShowAllPorts,
    /// `show port stats N`.
    ShowPort(u16),
    /// `drain`.
    Drain,
    /// `stop`.
    Stop,
}

/// Words that mean nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WordsError {
    /// A word that is not known at its place.
    #[error("unknown word `{}`{}", .word.escape_default(), after(.before))]
    Unknown {
        /// The word.
        word: String,
        /// Those before it, which are known.
        before: String,
        /// Those that could stand in its place.
        known: Vec<&'static str>,
    },
    /// It ends too early.
    #[error("something is missing{}", after(.before))]
    Unfinished {
        /// What there is; empty for nothing at all.
        before: String,
        /// Words that could follow.
        known: Vec<&'static str>,
    },
    /// It goes on too long.
    #[error("`{}` is too much{}", .word.escape_default(), after(.before))]
    TooMuch {
        /// The first word too many.
        word: String,
        /// The command before it.
        before: String,
    },
}

fn after(before: &str) -> String {
    if before.is_empty() { String::new() } else { format!(" after `{before}`") }
}

impl WordsError {
    /// What could be said instead.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Unknown { word, known, .. } => match nearest(word, known) {
                Some(near) => format!("did you mean `{near}`? known here: {}", known.join(", ")),
                None => format!("known here: {}", known.join(", ")),
            },
            Self::Unfinished { known, .. } => format!("known here: {}", known.join(", ")),
            Self::TooMuch { before, .. } => format!("say only `{before}`"),
        }
    }
}

impl Command {
    /// Understands the words.
    ///
    /// # Errors
    /// They mean nothing; the error says what is known at the first wrong place.
    pub fn parse(words: &[String]) -> Result<Self, WordsError> {
        let parts: Vec<&str> = words.iter().map(String::as_str).collect();
        let command = match parts[..] {
            ["show", "workers"] => Self::ShowWorkers,
            ["show", "stats"] => Self::ShowStats,
            ["show", "sessions"] => Self::ShowSessions,
            ["show", "files"] => Self::ShowFiles,
            ["show", "drops"] => Self::ShowDrops,
            ["show", "latency"] => Self::ShowLatency,
            ["show", "port", "stats", "all"] => Self::ShowAllPorts,
            ["show", "port", "stats", number] if number.parse::<u16>().is_ok() => {
                Self::ShowPort(number.parse().unwrap_or_default())
            }
            ["drain"] => Self::Drain,
            ["stop"] => Self::Stop,
            _ => return Err(explain(&parts)),
        };
        Ok(command)
    }

    /// The body that a reply to this has.
    ///
    /// # Errors
    /// The daemon sent something else, so it is of another version.
    pub fn decode(self, value: serde_json::Value) -> Result<Body, serde_json::Error> {
        Ok(match self {
            Self::ShowWorkers => Body::Workers(serde_json::from_value(value)?),
            Self::ShowStats => Body::Stats(serde_json::from_value(value)?),
            Self::ShowSessions => Body::Sessions(serde_json::from_value(value)?),
            Self::ShowFiles => Body::Files(serde_json::from_value(value)?),
            Self::ShowDrops => Body::Drops(serde_json::from_value(value)?),
            Self::ShowLatency => Body::Latencies(serde_json::from_value(value)?),
            Self::ShowAllPorts | Self::ShowPort(_) => Body::Ports(serde_json::from_value(value)?),
            Self::Drain | Self::Stop => Body::Accepted(serde_json::from_value(value)?),
        })
    }
}

/// Finds the first word that no known command has at its place.
fn explain(parts: &[&str]) -> WordsError {
    for at in 0..=parts.len() {
        let before = parts[..at].join(" ");
        let mut known: Vec<&'static str> = Vec::new();
        for (command, _) in KNOWN {
            if let Some(next) = command.get(at)
                && command[..at] == parts[..at]
                && !known.contains(next)
            {
                known.push(next);
            }
        }
        match parts.get(at) {
            None => return WordsError::Unfinished { before, known },
            Some(word) if known.is_empty() => return WordsError::TooMuch { word: (*word).to_owned(), before },
            Some(word) if !known.contains(word) => {
                return WordsError::Unknown { word: (*word).to_owned(), before, known };
            }
            Some(_) => {}
        }
    }
    WordsError::Unfinished { before: parts.join(" "), known: Vec::new() }
}

/// Answers one request.
pub fn answer(request: &Request, fleet: &dyn Fleet, orders: &Sender<Order>) -> Reply {
    let command = match Command::parse(&request.words) {
        Ok(command) => command,
        Err(error) => return Reply::Error(Refusal::new(RefusalCode::UnknownWords, error.to_string(), error.help())),
    };
    let body = match command {
        Command::ShowWorkers => Body::Workers(fleet.workers()),
        Command::ShowStats => Body::Stats(fleet.stats()),
        Command::ShowSessions => Body::Sessions(fleet.sessions(LIST_LIMIT)),
        Command::ShowFiles => Body::Files(fleet.files(LIST_LIMIT)),
        Command::ShowDrops => Body::Drops(fleet.drops()),
        Command::ShowLatency => Body::Latencies(fleet.latencies()),
        Command::ShowAllPorts => Body::Ports(Ports { ports: fleet.ports() }),
        Command::ShowPort(number) => {
            let ports: Vec<_> = fleet.ports().into_iter().filter(|port| port.port == number).collect();
            if ports.is_empty() {
                let message = format!("there is no port {number}");
                return Reply::Error(Refusal::new(RefusalCode::NotFound, message, "show port stats all"));
            }
            Body::Ports(Ports { ports })
        }
        Command::Drain => return order(fleet, orders, Order::Drain, "draining, then ending"),
        Command::Stop => return order(fleet, orders, Order::Stop, "ending now"),
    };
    Reply::Ok(body)
}

fn order(fleet: &dyn Fleet, orders: &Sender<Order>, order: Order, message: &str) -> Reply {
    let live_sessions = fleet.live_sessions();
    match orders.try_send(order) {
        Ok(()) => Reply::Ok(Body::Accepted(Accepted { message: message.to_owned(), live_sessions })),
        Err(_) => Reply::Error(Refusal::new(RefusalCode::Ending, "bypassd is already ending", "show workers")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Command, WordsError> {
        Command::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn every_known_command_is_understood() {
        for (words, _) in KNOWN {
            assert!(parse(&words.join(" ")).is_ok(), "{words:?}");
        }
        assert_eq!(parse("show port stats 3"), Ok(Command::ShowPort(3)));
    }

    #[test]
    fn an_error_names_the_first_wrong_word_and_what_is_known_there() {
        for (text, message, help) in [
            ("", "something is missing", "known here: show, drain, stop"),
            ("shwo stats", "unknown word `shwo`", "did you mean `show`? known here: show, drain, stop"),
            ("show worker", "unknown word `worker` after `show`", "did you mean `workers`?"),
            ("show", "something is missing after `show`", "workers, stats, sessions, files, drops, latency, port"),
            ("show port", "something is missing after `show port`", "known here: stats"),
            ("show port stats x", "unknown word `x` after `show port stats`", "known here: all"),
            ("drain now", "`now` is too much after `drain`", "say only `drain`"),
            ("show port stats all 1", "`1` is too much after `show port stats all`", "say only `show port stats all`"),
            ("show\u{1b}[2J", "unknown word `show\\u{1b}[2J`", "known here"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.to_string(), message, "{text}");
            assert!(error.help().contains(help), "{text}: {}", error.help());
        }
    }
}
