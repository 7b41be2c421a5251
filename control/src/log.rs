//! Where the log goes: lines for people on standard error, JSON for programs there, or journald. Set up once, by `bypassd run`, and
//! written by control's threads alone; no worker ever touches it.

mod text;

use std::io;

use clap::ValueEnum;
use serde::Deserialize;
use std::path::PathBuf;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::set_global_default;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::bounded;
use crate::defaults;
use crate::notice::warn;
use text::Plain;

/// What a line looks like and who gets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people, on standard error
    #[default]
    Text,
    /// One JSON object per line, on standard error
    Json,
    /// The journal, with a field for each fact (journalctl -o verbose)
    Journald,
}

/// What is said at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What ends the service
    Error,
    /// What somebody should look at
    Warn,
    /// What happens, transfers included
    #[default]
    Info,
    /// Everything
    Debug,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
        }
    }
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// What a line looks like and who gets it.
    pub format: LogFormat,
    /// What is said at least.
    pub level: LogLevel,
    /// Whether lines for people begin with the time.
    pub timestamps: bool,
    /// Whether there is a line for each transfer that ended and each request that was refused.
    pub transfers: bool,
    /// A file of its own for those lines, in JSON, in place of the log.
    pub transfer_file: Option<PathBuf>,
    /// Refused requests that get a line, per second; twice as many at once. The others are counted in one line.
    #[serde(deserialize_with = "bounded::<_, _, 0, 1_000_000>")]
    pub refusals_per_second: u32,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            format: LogFormat::default(),
            level: LogLevel::default(),
            timestamps: defaults::LOG_TIMESTAMPS,
            transfers: defaults::LOG_TRANSFERS,
            transfer_file: None,
            refusals_per_second: defaults::LOG_REFUSALS_PER_SECOND,
        }
    }
}

type Leveled = tracing_subscriber::layer::Layered<reload::Layer<LevelFilter, Registry>, Registry>;

/// The log of this process, to change what it says.
#[derive(Clone, Debug)]
pub struct Logging {
    level: reload::Handle<LevelFilter, Registry>,
}

impl Logging {
    /// Sends everything that is said from now on where the settings want it. A process has one log: a second call changes nothing.
    ///
    /// Where there is no journal to talk to, the log goes to standard error as text: a service that can serve must not fail for it.
    #[must_use]
    pub fn start(settings: &LogSettings) -> Self {
        let (filter, level) = reload::Layer::new(LevelFilter::from(settings.level));
        let leveled = Registry::default().with(filter);
        let (output, lacking) = output(settings);
        // Only a test has another one already.
        let _ = set_global_default(leveled.with(output));
        if let Some(error) = lacking {
            warn(format_args!(
                "no journal to log to ({error}), so the log goes here: is systemd-journald running? Else use --log-format json"
            ));
        }
        Self { level }
    }

    /// Changes what is said at least, at once.
    pub fn set_level(&self, level: LogLevel) {
        // The log is as old as the process: there is nothing that could have gone.
        let _ = self.level.modify(|filter| *filter = level.into());
    }
}

type Output = Box<dyn Layer<Leveled> + Send + Sync>;

fn output(settings: &LogSettings) -> (Output, Option<io::Error>) {
    let plain = || -> Output {
        let format = Plain { timestamps: settings.timestamps };
        Box::new(fmt::layer().event_format(format).with_writer(io::stderr).log_internal_errors(false))
    };
    match settings.format {
        LogFormat::Text => (plain(), None),
        LogFormat::Json => {
            let json = fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
            (Box::new(json.with_target(false).with_writer(io::stderr).log_internal_errors(false)), None)
        }
        LogFormat::Journald => match tracing_journald::layer() {
            Ok(journal) => {
                let journal = journal.with_field_prefix(Some("BYPASSD".to_owned()));
                (Box::new(journal.with_syslog_identifier("bypassd".to_owned())), None)
            }
            Err(error) => (plain(), Some(error)),
        },
    }
}
