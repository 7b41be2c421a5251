//! What a port did since it was last shown, out of counters that only grow until somebody clears them.

use std::time::Instant;

use serde::Serialize;

use crate::protocol::PortStats;

/// Per second, since the last show.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PortRate {
    /// Packets received.
    pub rx_pps: f64,
    /// Bits received.
    pub rx_bps: f64,
    /// Packets sent.
    pub tx_pps: f64,
    /// Bits sent.
    pub tx_bps: f64,
}

/// Each port as it was last shown.
#[derive(Debug, Default)]
pub(super) struct PortRates(Vec<(Instant, PortStats)>);

impl PortRates {
    /// The ports' rates, in their order; none for a port that was not shown before, or was cleared or restarted since.
    pub(super) fn since_last(&mut self, now: Instant, ports: &[PortStats]) -> Vec<Option<PortRate>> {
        ports
            .iter()
            .map(|port| match self.0.iter_mut().find(|(_, known)| known.port == port.port) {
                None => {
                    self.0.push((now, port.clone()));
                    None
                }
                Some(known) => {
                    let (then, before) = std::mem::replace(known, (now, port.clone()));
                    rate(&before, port, now.saturating_duration_since(then).as_secs_f64())
                }
            })
            .collect()
    }
}

/// What happened within `seconds`.
pub(super) fn rate(before: &PortStats, now: &PortStats, seconds: f64) -> Option<PortRate> {
    let per_second = |counter: fn(&PortStats) -> u64| {
        let grown = counter(now).checked_sub(counter(before))?;
        (seconds > 0.0).then(|| grown as f64 / seconds)
    };
    Some(PortRate {
        rx_pps: per_second(|port| port.rx_packets)?,
        rx_bps: per_second(|port| port.rx_bytes)? * 8.0,
        tx_pps: per_second(|port| port.tx_packets)?,
        tx_bps: per_second(|port| port.tx_bytes)? * 8.0,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_port_is_compared_with_itself() {
        let port = |port, rx_packets| PortStats { port, rx_packets, tx_bytes: rx_packets * 2, ..PortStats::default() };
        let mut rates = PortRates::default();
        let start = Instant::now();
        assert_eq!(rates.since_last(start, &[port(0, 100)]), [None]);
        let later = start + Duration::from_secs(2);
        let shown = rates.since_last(later, &[port(0, 300), port(1, 5)]);
        assert_eq!(shown, [Some(PortRate { rx_pps: 100.0, rx_bps: 0.0, tx_pps: 0.0, tx_bps: 1_600.0 }), None]);
        let cleared = rates.since_last(later + Duration::from_secs(1), &[port(0, 1)]);
        assert_eq!(cleared, [None], "cleared in between");
        assert_eq!(rates.since_last(later + Duration::from_secs(1), &[port(0, 1)]), [None], "no time has passed");
    }
}
