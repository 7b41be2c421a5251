//! The dataplane of bypassd: frames in, frames out, files from memory.
//!
//! Arrows point one way: `worker` drives an `engine` with frames from a `port`; the engine knows `wire`, `tftp`, `session`, `rules` and
//! `files`; `dpdk` implements `port` and knows nothing of any protocol. Without the feature `dpdk` the crate has no FFI at all.

mod counter;
#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod engine;
pub mod files;
pub mod port;
pub mod random;
pub mod rules;
pub mod session;
pub mod tftp;
pub mod time;
pub mod wire;
pub mod worker;
