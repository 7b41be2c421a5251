//! What monitoring reads, made of the running [`Fleet`](crate::fleet::Fleet) whenever somebody asks: an OpenMetrics endpoint on the
//! host's own network and commands on DPDK's telemetry socket. It loads counters and never writes what a worker reads.

mod collector;
mod listen;
mod request;
mod server;
mod snapshot;
pub mod telemetry;

pub use collector::{Build, Pages};
pub use listen::Listen;
pub use server::{BoundEndpoint, EndpointError, MetricsServer};
pub use snapshot::{Durations, LaneSnapshot};
