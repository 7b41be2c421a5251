//! Monitoring of one run: the endpoint for metrics, where one is configured, and the telemetry commands.

use std::sync::Arc;

use dataplane::dpdk::{Eal, TelemetryCommand};

use super::error::ApplianceError;
use crate::fleet::Fleet;
use crate::metrics::{BoundEndpoint, Build, EndpointError, MetricsServer, Pages, telemetry};
use crate::notice::say;
use crate::settings::Settings;

/// Answers until it is dropped.
pub(super) struct Monitoring {
    _server: Option<MetricsServer>,
    _commands: Vec<TelemetryCommand>,
}

/// Takes the endpoint's place early, so that a wrong address ends the run before anything long was done.
pub(super) fn bind(settings: &Settings) -> Result<Option<BoundEndpoint>, EndpointError> {
    let Some(listen) = settings.metrics else { return Ok(None) };
    let endpoint = BoundEndpoint::bind(listen)?;
    let address = endpoint.address();
    let who = if address.ip().is_loopback() { "this host only" } else { "everyone who reaches this address" };
    say(format_args!("metrics: http://{address}/metrics, for {who}"));
    Ok(Some(endpoint))
}

/// Begins to answer.
pub(super) fn begin(
    eal: &Eal,
    fleet: Arc<dyn Fleet>,
    endpoint: Option<BoundEndpoint>,
) -> Result<Monitoring, ApplianceError> {
    let commands = telemetry::offer(eal, &fleet).unwrap_or_else(|error| {
        // The service does not depend on it.
        say(format_args!("telemetry: {error}"));
        Vec::new()
    });
    let build = Build { version: env!("CARGO_PKG_VERSION").to_owned(), dpdk: eal.version() };
    let server = endpoint.map(|endpoint| endpoint.answer(Pages::new(fleet, build))).transpose()?;
    Ok(Monitoring { _server: server, _commands: commands })
}
