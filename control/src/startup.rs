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
    let file = args.config.as_deref().map(ConfigFile::read).transpose()?;
    let settings = Settings::resolve(args, file.as_ref(), environment)?;
    let eal = eal_args::plan(&settings, machine)?;
    Ok(Launch { settings, eal })
}
