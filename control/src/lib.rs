//! The control side of bypassd: everything slow that must never happen on a worker.
//!
//! It reads the command line and the configuration ([`args`], [`config`], [`settings`]), works out the EAL arguments for this machine
//! ([`machine`], [`eal_args`]).

pub mod address;
pub mod args;
pub mod config;
pub mod defaults;
pub mod device;
pub mod eal_args;
pub mod lcores;
pub mod machine;
pub mod mistake;
pub mod settings;
pub mod startup;
