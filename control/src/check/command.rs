//! `bypassd check`: settles what it can of file and flags, looks, writes the report.

use std::io::{self, Write};

use super::{Context, Report, Unsettled, Versions, When, configuration, examine};
use crate::args::{CheckArgs, RunArgs};
use crate::config::ConfigFile;
use crate::host::Host;
use crate::settings::{Environment, Settings, SettingsErrorKind};
use crate::startup::{self, StartupError};

/// Stands in for what was not named, until the settings are made; never looked at.
const STAND_IN_DEVICE: &str = "net_null0";
const STAND_IN_ADDRESS: &str = "192.0.2.1/24";

/// Looks this run over and writes what was found; returns the exit status.
///
/// # Errors
/// `out` cannot be written to.
pub fn run(
    args: CheckArgs,
    environment: &Environment,
    host: &Host,
    versions: Versions,
    out: &mut dyn Write,
) -> io::Result<u8> {
    let report = look(args.run, environment, host, versions);
    if args.json {
        report.write_json(out)?;
    } else {
        report.write(out)?;
    }
    Ok(report.summary().exit_status)
}

fn look(args: RunArgs, environment: &Environment, host: &Host, versions: Versions) -> Report {
    let unsettled = match startup::settle(args.clone(), environment) {
        Ok(settings) => return examine(&Context::new(host, environment, &settings, versions), When::Asked),
        Err(_) if is_bare(&args) => Unsettled::Nothing,
        Err(error) => wrong(&error),
    };
    match partly(args, environment) {
        Some(settings) => {
            let context =
                Context { unsettled: Some(unsettled), ..Context::new(host, environment, &settings, versions) };
            examine(&context, When::Asked)
        }
        None => {
            let verdict = configuration::unsettled(&unsettled);
            Report { findings: configuration::CHECKS.iter().map(|check| verdict.clone().of(check)).collect() }
        }
    }
}

/// Whether nothing was named that a run could be about.
fn is_bare(args: &RunArgs) -> bool {
    args.config.is_none()
        && args.vdevs.is_empty()
        && args.allow.is_empty()
        && args.addresses.is_empty()
        && args.eal.is_empty()
}

fn wrong(error: &StartupError) -> Unsettled {
    let text = error.to_string();
    let mut lines = text.lines();
    let cause = lines.next().unwrap_or_default().to_owned();
    let otherwise = lines.find_map(|line| line.strip_prefix("help: ")).map(str::to_owned);
    let mend = match (error.place(), error) {
        (Some(place), _) => format!("${{EDITOR:-vi}} +{} {}", place.line, place.path.display()),
        (None, StartupError::Config(_)) => "bypassd check --config /etc/bypassd.toml".to_owned(),
        (None, _) => "bypassd run --help".to_owned(),
    };
    Unsettled::Wrong { cause, mend, otherwise }
}

/// Settings that have as much of what was asked for as makes sense, and defaults for the rest.
fn partly(mut args: RunArgs, environment: &Environment) -> Option<Settings> {
    let mut file = args.config.as_deref().and_then(|path| ConfigFile::read(path).ok());
    let (mut device, mut address) = (false, false);
    // Each turn adds one thing that is missing, or falls back to the defaults.
    for _ in 0..4 {
        match Settings::resolve(args.clone(), file.as_ref(), environment) {
            Ok(mut settings) => {
                if device {
                    settings.eal.vdevs.clear();
                }
                if address {
                    settings.addresses.clear();
                }
                return Some(settings);
            }
            Err(error) if error.kind == SettingsErrorKind::NoPort && !device => device = true,
            Err(error) if error.kind == SettingsErrorKind::NoAddress && !address => address = true,
            Err(_) => {
                (device, address, file) = (true, true, None);
                args = RunArgs::default();
            }
        }
        if device {
            args.vdevs = STAND_IN_DEVICE.parse().into_iter().collect();
        }
        if address {
            args.addresses = STAND_IN_ADDRESS.parse().into_iter().collect();
        }
    }
    None
}
