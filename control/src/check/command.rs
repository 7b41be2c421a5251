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
        report.write(out, args.all)?;
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
    let otherwise = lines.find_map(|line| line.trim_start().strip_prefix("help: ")).map(str::to_owned);
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};
    use crate::check::{Finding, Status};

    /// What is found on a machine that tells nothing, of file and flags; and how many findings there are.
    fn settled(words: &str, text: Option<&str>) -> (Finding, usize) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.toml");
        let mut words: Vec<String> =
            ["bypassd", "check"].into_iter().chain(words.split_whitespace()).map(str::to_owned).collect();
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
            words.extend(["--config".to_owned(), path.to_str().unwrap().to_owned()]);
        }
        let Command::Check(args) = Cli::parse_from(words).command else { panic!("it checks") };
        let versions = Versions { built: "1.1.1".to_owned(), running: "1.1.1".to_owned() };
        let report = look(args.run, &Environment::default(), &Host::below(directory.path()), versions);
        let count = report.findings.len();
        let mut finding = report.findings.into_iter().find(|finding| finding.id == "configuration").unwrap();
        for text in [Some(&mut finding.cause), finding.mend.as_mut()].into_iter().flatten() {
            *text = text.replace(directory.path().to_str().unwrap(), "DIR");
        }
        (finding, count)
    }

    const ONE: &str = "--vdev net_null0 --address 192.0.2.1/24";

    #[test]
    fn what_is_right_is_said() {
        let (finding, _) = settled(ONE, None);
        assert_eq!((finding.status, finding.cause.as_str()), (Status::Ok, "1 device(s), 1 address(es), root /tftp"));
        let (finding, _) = settled(&format!("{ONE} -- --vdev net_null1"), None);
        assert!(finding.cause.ends_with("those in raw EAL arguments are not looked at"));
    }

    #[test]
    fn without_anything_named_the_machine_alone_is_looked_at() {
        let (finding, count) = settled("", None);
        assert_eq!(finding.status, Status::Warning);
        assert!(finding.cause.contains("only the machine was looked at"), "{}", finding.cause);
        assert!(count >= 25, "{count}");
    }

    #[test]
    fn a_mistake_is_shown_with_its_place_and_the_rest_is_looked_at_all_the_same() {
        for (words, text, cause, mend) in [
            (
                "",
                Some("[limits]\nmax_sesions = 1\n"),
                "DIR/x.toml:2:1: limits.max_sesions: unknown key",
                "+2 DIR/x.toml",
            ),
            (
                ONE,
                Some("[timers]\nretransmit_min_ms = 2000\n"),
                "is more than timers.retransmit_initial_ms",
                "+2 DIR/x.toml",
            ),
            ("--vdev net_null0", None, "no address: give one with --address", "bypassd run --help"),
            ("--address 192.0.2.1/24", None, "no device: name one with --vdev or -a", "bypassd run --help"),
            (
                "--config /nonexistent/x.toml",
                None,
                "cannot read the configuration /nonexistent/x.toml",
                "bypassd check --config",
            ),
        ] {
            let (finding, count) = settled(words, text);
            assert_eq!(finding.status, Status::Failure, "{words}");
            assert!(finding.cause.contains(cause), "{}", finding.cause);
            assert!(finding.mend.as_ref().is_some_and(|text| text.contains(mend)), "{:?}", finding.mend);
            assert!(count >= 25, "{count}");
        }
        assert!(settled("", Some("[limits]\nmax_sesions = 1\n")).0.otherwise.unwrap().contains("max_sessions"));
    }

    #[test]
    fn devices_are_looked_at_before_they_have_an_address() {
        let args = RunArgs { allow: vec!["03:00.0".parse().unwrap()], ..RunArgs::default() };
        let settings = partly(args, &Environment::default()).unwrap();
        assert_eq!((settings.eal.allow.len(), settings.eal.vdevs.len(), settings.addresses.len()), (1, 0, 0));
    }
}
