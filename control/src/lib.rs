//! The control side of bypassd: everything slow that must never happen on a worker.
//!
//! It reads the command line and the configuration ([`args`], [`config`], [`settings`]), works out the EAL arguments for this machine
//! ([`machine`], [`eal_args`]), and then watches over the workers ([`supervisor`], [`driver`]) and answers `bypassctl`
//! ([`protocol`], [`socket`], [`words`]). It knows the running dataplane only as a [`fleet::Fleet`].

pub mod address;
pub mod appliance;
pub mod args;
pub mod client;
pub mod config;
pub mod count;
pub mod ctl;
pub mod defaults;
pub mod device;
pub mod driver;
pub mod eal_args;
pub mod fleet;
pub mod lcores;
pub mod leftovers;
pub mod machine;
pub mod map_test;
pub mod mistake;
pub mod notice;
pub mod progress;
pub mod protocol;
pub mod rules;
pub mod settings;
pub mod signals;
pub mod socket;
pub mod startup;
pub mod supervisor;
pub mod tables;
pub mod words;
