//! From the command line to everything that a run needs, before anything of DPDK is touched.

use thiserror::Error;

use crate::args::RunArgs;
use crate::check::{self, Context, Report, Status, Versions, When};
use crate::config::{ConfigError, ConfigFile};
use crate::eal_args::{self, EalError, EalPlan};
use crate::host::Host;
use crate::machine::Machine;
use crate::mistake::Place;
use crate::settings::{Environment, Settings, SettingsError};

/// A run that can begin.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Checked settings.
    pub settings: Settings,
    /// What EAL is called with, and why.
    pub eal: EalPlan,
    /// Where the settings came from.
    pub source: Source,
}

/// Where settings come from, to be read again.
#[derive(Clone, Debug)]
pub struct Source {
    args: RunArgs,
    environment: Environment,
}

impl Source {
    /// Reads the file, if there is one, and merges the flags.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(&self) -> Result<Settings, StartupError> {
        settle(self.args.clone(), &self.environment)
    }
}

/// Why a run cannot begin. The message is complete and says how to mend it.
#[derive(Debug, Error)]
pub enum StartupError {
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// File and flags do not fit together.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// This machine lacks something.
    #[error(transparent)]
    Eal(#[from] EalError),
    /// This machine lacks what the report says.
    #[error("this machine is not ready for the run\n{}", .0.lines(Status::Failure).collect::<Vec<_>>().join("\n"))]
    Machine(Report),
}

impl StartupError {
    /// Where in the configuration file it is, if it is there.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Config(ConfigError::Wrong(mistake)) => Some(&mistake.place),
            Self::Settings(error) => error.place.as_deref(),
            _ => None,
        }
    }

    /// 2 for wrong usage or configuration, 1 for what the machine lacks.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Settings(_) => 2,
            Self::Eal(_) | Self::Machine(_) => 1,
        }
    }
}

/// Reads the file and merges the flags.
///
/// # Errors
/// The first thing that is wrong.
pub fn settle(args: RunArgs, environment: &Environment) -> Result<Settings, StartupError> {
    let file = args.config.as_deref().map(ConfigFile::read).transpose()?;
    Ok(Settings::resolve(args, file.as_ref(), environment)?)
}

/// Reads the file, merges the flags, works out EAL's arguments for a machine.
///
/// # Errors
/// The first thing that is wrong.
pub fn prepare(args: RunArgs, environment: &Environment, machine: &Machine) -> Result<Launch, StartupError> {
    let source = Source { args, environment: environment.clone() };
    launch(source.read()?, source, machine)
}

fn launch(settings: Settings, source: Source, machine: &Machine) -> Result<Launch, StartupError> {
    let eal = eal_args::plan(&settings, machine)?;
    Ok(Launch { settings, eal, source })
}

/// The same for this machine, once it has been looked over; the report has no failures then, but perhaps warnings.
///
/// # Errors
/// The first thing that is wrong with file or flags, or all that the machine lacks.
pub fn begin(args: RunArgs, environment: &Environment, host: &Host) -> Result<(Launch, Report), StartupError> {
    let source = Source { args, environment: environment.clone() };
    let settings = source.read()?;
    let report = check::examine(&Context::new(host, environment, &settings, Versions::of_process()), When::Always);
    if report.with(Status::Failure).next().is_some() {
        return Err(StartupError::Machine(report));
    }
    Ok((launch(settings, source, &Machine::look(host))?, report))
}
