//! What `bypassd map-test` says, to people and to programs. Names are escaped.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

/// All that was found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The client's address.
    pub client: IpAddr,
    /// Its MAC address, if it was given.
    pub mac: Option<String>,
    /// The requested name.
    pub name: String,
    /// Number of the `[[client]]` that decides, counted from 1; none when no rule names the client.
    pub rule: Option<usize>,
    /// By which of its prefixes.
    pub matched: Option<String>,
    /// Whether the client is served at all.
    pub allowed: bool,
    /// There are rules about MAC addresses, but none was given.
    pub mac_rules_not_looked_at: bool,
    /// What happened to the name, in order.
    pub steps: Vec<ReportedStep>,
    /// Whether a file would be sent now.
    pub served: bool,
    /// Its name below the content root.
    pub file: Option<String>,
    /// Its length.
    pub bytes: Option<u64>,
    /// What the client hears.
    pub answer: Answer,
    /// What it may ask for besides.
    pub grant: Option<Grant>,
}

/// One step; rules and folders count from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
#[allow(missing_docs, reason = "see the variants of dataplane::rules::Step")]
pub enum ReportedStep {
    Spelt { name: String },
    NotForClient { remap: usize },
    NoMatch { remap: usize },
    Applied { remap: usize, name: String, then: &'static str },
    FolderUnknown { root: usize },
    LookedUp { name: String, found: String },
}

/// What the client hears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Answer {
    /// Nothing: its request is dropped.
    Nothing,
    /// An ERROR.
    Error {
        /// Its code (RFC 1350 section 5).
        code: u16,
        /// Why, for us; the client is told less.
        reason: String,
    },
    /// The file.
    File,
}

/// The terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// Options that are understood.
    pub options: Vec<&'static str>,
    /// Bytes; none when the option is not understood, and blocks have 512.
    pub max_blksize: Option<u16>,
    /// Blocks; none when the option is not understood.
    pub max_window_blocks: Option<u8>,
    /// Bytes; likewise.
    pub max_window_bytes: Option<u32>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client   {}", self.client)?;
        if let Some(mac) = &self.mac {
            write!(f, ", {mac}")?;
        }
        match (self.rule, &self.matched) {
            (Some(rule), Some(matched)) => write!(f, ": [[client]] number {rule}, by {matched}")?,
            (Some(rule), None) => write!(f, ": [[client]] number {rule}")?,
            (None, _) => write!(f, ": no [[client]] names it, [access] default_action decides")?,
        }
        writeln!(f, ": {}", if self.allowed { "allowed" } else { "denied" })?;
        if self.mac_rules_not_looked_at {
            writeln!(f, "         (rules for MAC addresses were left out: give one with --mac)")?;
        }
        writeln!(f, "name     {}", self.name)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))?;
        match &self.answer {
            Answer::Nothing => writeln!(f, "answer   none: the request is dropped")?,
            Answer::Error { code, reason } => writeln!(f, "answer   ERROR {code}: {reason}")?,
            Answer::File => {}
        }
        match (&self.file, self.bytes) {
            (Some(file), Some(bytes)) if self.served => writeln!(f, "served   {file}, {bytes} bytes")?,
            _ => writeln!(f, "not served")?,
        }
        self.grant.as_ref().map_or(Ok(()), |grant| writeln!(f, "options  {grant}"))
    }
}

impl fmt::Display for ReportedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spelt { name } => write!(f, "         {name} (as rules see it)"),
            Self::NotForClient { remap } => write!(f, "remap {remap:<2} is for other clients"),
            Self::NoMatch { remap } => write!(f, "remap {remap:<2} does not apply"),
            Self::Applied { remap, name, then } => {
                write!(f, "remap {remap:<2} {name}")?;
                match *then {
                    "stop" => write!(f, " (no further rule)"),
                    "again" => write!(f, " (begins again)"),
                    "refuse" => write!(f, " (refused)"),
                    _ => Ok(()),
                }
            }
            Self::FolderUnknown { root } => write!(f, "root {root}   is named after what is not known: give --mac"),
            Self::LookedUp { name, found } => write!(f, "look up  {name}: {found}"),
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.options.is_empty() {
            return f.write_str("none is understood");
        }
        for (number, &option) in self.options.iter().enumerate() {
            write!(f, "{}{option}", if number == 0 { "" } else { ", " })?;
            match (option, self.max_blksize, self.max_window_blocks, self.max_window_bytes) {
                ("blksize", Some(bytes), _, _) => write!(f, " up to {bytes}")?,
                ("windowsize", _, Some(blocks), Some(bytes)) => write!(f, " up to {blocks} blocks and {bytes} bytes")?,
                _ => {}
            }
        }
        Ok(())
    }
}
