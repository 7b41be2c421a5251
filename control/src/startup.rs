//! From the command line to everything that a run needs, before anything of DPDK is touched.

use thiserror::Error;

use crate::args::RunArgs;
use crate::config::{ConfigError, ConfigFile};
use crate::eal_args::{self, EalError, EalPlan};
use crate::machine::Machine;
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
        let file = self.args.config.as_deref().map(ConfigFile::read).transpose()?;
        Ok(Settings::resolve(self.args.clone(), file.as_ref(), &self.environment)?)
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
}

impl StartupError {
    /// 2 for wrong usage or configuration, 1 for what the machine lacks.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Settings(_) => 2,
            Self::Eal(_) => 1,
        }
    }
}

/// Reads the file, merges the flags, looks at the machine.
///
/// # Errors
/// The first thing that is wrong.
pub fn prepare(args: RunArgs, environment: &Environment, machine: &Machine) -> Result<Launch, StartupError> {
    let source = Source { args, environment: environment.clone() };
    let settings = source.read()?;
    let eal = eal_args::plan(&settings, machine)?;
    Ok(Launch { settings, eal, source })
}
