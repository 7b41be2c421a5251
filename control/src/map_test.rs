//! `bypassd map-test`: which file a client would get for a name, rule by rule, by the code that serves it. Looks at the tree as a load
//! would and opens none of its files.

mod report;

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;
use dataplane::files::{Listing, LoadError, Lookup, escape};
use dataplane::rules::{Deny, MacPrefix, Refused, Requester, RuleSource, Rules, Step, Then, Watch};
use dataplane::tftp::{Caps, ErrorCode, OptionKind};
use thiserror::Error;

use crate::config::{ConfigError, ConfigFile, FileValues};
use crate::defaults;
use crate::rules;
use crate::settings::SettingsError;
pub use report::{Answer, Grant, Report, ReportedStep};

/// The flags of `bypassd map-test`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  Which loader does a machine of the lab get?
    bypassd map-test --config /etc/bypassd.toml 'boot\\x64.efi' 10.1.2.3

  With the MAC address that its rule is about:
    bypassd map-test --config /etc/bypassd.toml --mac 52:54:00:12:34:56 pxelinux.0 10.1.2.3

Exit status: 0 the file would be served now, 1 it would not, 2 wrong usage or configuration.")]
pub struct MapTestArgs {
    /// Name as the client asks for it
    #[arg(value_name = "NAME")]
    pub name: OsString,

    /// The client's address
    #[arg(value_name = "CLIENT")]
    pub client: IpAddr,

    /// The MAC address that its requests come from: its own, or its router's
    #[arg(long, value_name = "MAC")]
    pub mac: Option<MacPrefix>,

    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Directory that is served, instead of the configuration's
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// For programs
    #[arg(long)]
    pub json: bool,
}

/// Why nothing can be said.
#[derive(Debug, Error)]
pub enum MapTestError {
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its rules.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The content root.
    #[error(transparent)]
    Root(#[from] LoadError),
    /// A part of a MAC address.
    #[error("{0} is the begin of a MAC address: write all six bytes")]
    PartOfMac(MacPrefix),
}

/// Finds out and writes what it found; returns the exit status.
///
/// # Errors
/// `out` cannot be written to.
pub fn run(args: &MapTestArgs, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<u8> {
    match examine(args) {
        Ok(report) => {
            if args.json {
                serde_json::to_writer_pretty(&mut *out, &report)?;
                writeln!(out)?;
            } else {
                write!(out, "{report}")?;
            }
            Ok(if report.served { 0 } else { 1 })
        }
        Err(error) => {
            writeln!(errors, "bypassd: {error}")?;
            Ok(2)
        }
    }
}

/// Finds out.
///
/// # Errors
/// [`MapTestError`].
pub fn examine(args: &MapTestArgs) -> Result<Report, MapTestError> {
    let file = args.config.as_deref().map(ConfigFile::read).transpose()?;
    let values = file.as_ref().map(|file| file.values.clone()).unwrap_or_default();
    let source = rules::source(&values.access, &values.client, &values.remap, &values.names)
        .map_err(|mistake| mistake.placed(file.as_ref()))?;
    rules::reply_ports(&values.network).map_err(|mistake| mistake.placed(file.as_ref()))?;
    let names = rules::name_options(&values.names);
    // They compiled a moment ago: source() saw to it.
    let compiled = Rules::compile(&source, names).map_err(|error| SettingsError {
        key: "client",
        place: None,
        kind: crate::settings::SettingsErrorKind::Rule(error.to_string()),
    })?;
    let mac = match args.mac {
        Some(mac) => Some(mac.address().ok_or(MapTestError::PartOfMac(mac))?),
        None => None,
    };
    let root = args.root.clone().or_else(|| values.root.clone()).unwrap_or_else(|| PathBuf::from(defaults::ROOT));
    let listing = Listing::of(&root, names)?;
    let client = Requester { ip: args.client, mac };
    Ok(report(args, &client, &compiled, &source, &values, &listing))
}

fn report(
    args: &MapTestArgs,
    client: &Requester,
    compiled: &Rules,
    source: &RuleSource,
    values: &FileValues,
    listing: &Listing,
) -> Report {
    let raw = args.name.as_bytes();
    let policy = compiled.policy(compiled.policy_of(client));
    let mut report = Report {
        client: client.ip,
        mac: args.mac.map(|mac| mac.to_string()),
        name: escape(raw).to_string(),
        rule: policy.rule().map(|rule| rule + 1),
        matched: policy.rule().and_then(|rule| source.clients.get(rule)?.matched(client)),
        allowed: policy.allows(),
        mac_rules_not_looked_at: client.mac.is_none() && source.clients.iter().any(|rule| !rule.macs.is_empty()),
        steps: Vec::new(),
        served: false,
        file: None,
        bytes: None,
        answer: Answer::Nothing,
        grant: None,
    };
    if !policy.allows() {
        if compiled.deny() == Deny::Error {
            report.answer = Answer::Error { code: ErrorCode::AccessViolation as u16, reason: "denied".to_owned() };
        }
        return report;
    }
    let mut watch = Steps { steps: Vec::new(), last_name: None };
    let found = compiled.find(client, policy, raw, |name| listing.lookup_normal(name), &mut watch);
    report.steps = watch.steps;
    match found {
        Ok(file) => {
            report.served = true;
            report.bytes = Some(listing.size(file));
            report.file = watch.last_name;
            report.answer = Answer::File;
            report.grant = Some(grant(policy.cap(caps(values, client.ip)), |kind| policy.options().contains(kind)));
        }
        Err(refused) => {
            report.answer = Answer::Error { code: refused.code() as u16, reason: reason(refused) };
        }
    }
    report
}

/// What everybody of this address family may get.
fn caps(values: &FileValues, client: IpAddr) -> Caps {
    // RFC 2348 section 1: IP, UDP and TFTP headers take the rest.
    let headers = if client.is_ipv4() { 32 } else { 52 };
    Caps {
        blksize: values.limits.max_blksize.min(values.worker.mtu.saturating_sub(headers)),
        window_blocks: values.limits.max_window_blocks,
        window_bytes: values.limits.max_window_bytes,
    }
}

fn grant(caps: Caps, knows: impl Fn(OptionKind) -> bool) -> Grant {
    Grant {
        options: OptionKind::ALL.into_iter().filter(|&kind| knows(kind)).map(OptionKind::name).collect(),
        max_blksize: knows(OptionKind::Blksize).then_some(caps.blksize),
        max_window_blocks: knows(OptionKind::Windowsize).then_some(caps.window_blocks),
        max_window_bytes: knows(OptionKind::Windowsize).then_some(caps.window_bytes),
    }
}

fn reason(refused: Refused) -> String {
    match refused {
        Refused::ByRemap(rule) => format!("[[remap]] number {} refuses it", rule + 1),
        Refused::RemapGoesRound => "the [[remap]] rules send it round and round".to_owned(),
        Refused::Name(error) => error.to_string(),
        Refused::Denied(denied) => denied.to_string(),
        Refused::NotFound => "no such file".to_owned(),
    }
}

/// Keeps the steps of a walk through the rules.
struct Steps {
    steps: Vec<ReportedStep>,
    last_name: Option<String>,
}

impl Watch for Steps {
    fn step(&mut self, step: Step<'_>) {
        let shown = |name: &[u8]| escape(name).to_string();
        self.steps.push(match step {
            Step::Spelt { name } => ReportedStep::Spelt { name: shown(name) },
            Step::RemapNotForClient { rule } => ReportedStep::NotForClient { remap: rule + 1 },
            Step::RemapNoMatch { rule } => ReportedStep::NoMatch { remap: rule + 1 },
            Step::Remapped { rule, name, then } => ReportedStep::Applied {
                remap: rule + 1,
                name: shown(name),
                then: match then {
                    Then::Next => "next",
                    Then::Stop => "stop",
                    Then::Again => "again",
                    Then::Refuse => "refuse",
                },
            },
            Step::FolderUnknown { folder } => ReportedStep::FolderUnknown { root: folder + 1 },
            Step::LookedUp { name, found } => {
                self.last_name = Some(shown(name));
                let found = match found {
                    Lookup::File(_) => "a file".to_owned(),
                    Lookup::Denied(denied) => denied.to_string(),
                    Lookup::NotFound => "nothing".to_owned(),
                };
                ReportedStep::LookedUp { name: shown(name), found }
            }
        });
    }
}

#[cfg(test)]
mod tests;
