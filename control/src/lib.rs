//! The control side of bypassd: everything slow that must never happen on a worker.
//!
//! It reads the command line and the configuration ([`args`], [`config`], [`settings`]), works out the EAL arguments for this machine
//! ([`host`], [`machine`], [`eal_args`]), says what the machine lacks ([`check`]), then watches over the workers ([`supervisor`], [`driver`],
//! [`stall`], [`watchdog`]) and the ports' links ([`links`]), tells the service manager ([`manager`]), and answers `bypassctl`
//! ([`protocol`], [`socket`], [`words`]) and monitoring ([`metrics`]). It knows the running dataplane only as a [`fleet::Fleet`].

pub mod address;
pub mod advice;
pub mod appliance;
pub mod args;
pub mod budget;
pub mod check;
pub mod client;
pub mod config;
pub mod count;
pub mod ctl;
pub mod defaults;
pub mod device;
pub mod driver;
pub mod eal_args;
pub mod fleet;
pub mod grammar;
pub mod hits;
pub mod host;
pub mod latency;
pub mod lcores;
pub mod leftovers;
pub mod links;
pub mod live;
pub mod log;
pub mod machine;
pub mod manager;
pub mod map_test;
pub mod metrics;
pub mod mistake;
pub mod notice;
pub mod progress;
pub mod protocol;
pub mod reload;
pub mod rules;
pub mod settings;
pub mod signals;
pub mod socket;
pub mod stall;
pub mod startup;
pub mod supervisor;
pub mod tables;
pub mod taps;
pub mod transfer_log;
pub mod watch;
pub mod watchdog;
pub mod words;
