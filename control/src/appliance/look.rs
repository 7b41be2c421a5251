//! The parts of the running dataplane that people look at closely: what ports, lcores and pools are, and who looks on.

use std::sync::{Arc, PoisonError};

use dataplane::dpdk::{BUILT_VERSION, Device, Eal, Grants, LcoreId, Mempool, Tsc};

use super::crew::Member;
use super::fleet::LivePort;
use crate::fleet::PortCounters;
use crate::protocol::{self, Core, Count, Link, PortInfo, PortXstats, Version};
use crate::taps::{LaneAddress, LookingOn, TapBoard};

/// What the fleet needs for it.
pub(super) struct Look {
    pub(super) looking_on: LookingOn,
    pub(super) cores: Vec<Core>,
    pub(super) version: Version,
    /// One per worker.
    pools: Vec<Arc<Mempool>>,
}

impl Look {
    /// At the workers that were launched. `clock` is theirs.
    pub(super) fn new(eal: &Eal, clock: Tsc, members: &[Member], ports: &[LivePort], pools: Vec<Arc<Mempool>>) -> Self {
        let lanes = members.iter().flat_map(|member| {
            ports.iter().enumerate().map(|(lane, port)| LaneAddress {
                worker: member.index,
                lane,
                port: port.info.port.index(),
                device: port.info.name.clone(),
                letters: member.letters.clone(),
            })
        });
        let board = TapBoard::new(lanes.collect(), Box::new(move || clock.now()));
        let version = Version {
            bypassd: env!("CARGO_PKG_VERSION").to_owned(),
            dpdk_built: BUILT_VERSION.to_owned(),
            dpdk_running: eal.version(),
            pid: std::process::id(),
        };
        Self { looking_on: LookingOn::new(board), cores: cores(eal, members, ports), version, pools }
    }

    pub(super) fn mempools(&self) -> Vec<protocol::Mempool> {
        let describe = |(worker, pool): (u16, &Arc<Mempool>)| protocol::Mempool {
            worker,
            frames: pool.frames(),
            available: pool.available(),
            in_use: pool.in_use(),
            data_room_bytes: pool.data_room_bytes(),
        };
        (0..).zip(&self.pools).map(describe).collect()
    }
}

fn cores(eal: &Eal, members: &[Member], ports: &[LivePort]) -> Vec<Core> {
    let core = |lcore: LcoreId, worker: Option<u16>| Core {
        lcore: u16::try_from(lcore.index()).unwrap_or(u16::MAX),
        worker,
        cpus: ranges(&eal.cpus_of(lcore)),
        socket: eal.socket_of(lcore).index(),
        ports: worker.map_or_else(Vec::new, |_| ports.iter().map(|port| port.info.port.index()).collect()),
    };
    let workers = members.iter().map(|member| core(member.lcore, Some(member.index)));
    std::iter::once(core(eal.main_lcore(), None)).chain(workers).collect()
}

/// As the kernel writes lists of CPUs: `0,2-3`.
fn ranges(cpus: &[u16]) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for &cpu in cpus {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(cpu) => *last = cpu,
            _ => ranges.push((cpu, cpu)),
        }
    }
    let text = |(first, last): &(u16, u16)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

impl LivePort {
    fn with_device<T>(&self, ask: impl FnOnce(&Device) -> T) -> T {
        // A panic of another reader leaves the device as it was.
        ask(&self.device.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn describe(&self) -> PortInfo {
        let info = &self.info;
        self.with_device(|device| {
            let link = device.link().ok();
            let grants = device.grants();
            PortInfo {
                port: info.port.index(),
                name: info.name.clone(),
                driver: info.driver.clone(),
                bus: info.bus.clone(),
                mac: self.mac.to_string(),
                socket: info.socket.index(),
                link: Link { up: link.is_some_and(|link| link.up), speed_mbps: link.and_then(|link| link.speed_mbps) },
                full_duplex: link.is_some_and(|link| link.full_duplex),
                mtu: self.mtu,
                mtu_range: [info.min_mtu, info.max_mtu],
                promiscuous: device.is_promiscuous(),
                all_multicast: device.takes_all_multicast(),
                queue_pairs: device.queue_pairs(),
                max_queues: [info.max_rx_queues, info.max_tx_queues],
                rx_descriptors: grants.rx_descriptors,
                tx_descriptors: grants.tx_descriptors,
                offloads: offloads(grants),
                payload: device.zero_copy().to_string(),
            }
        })
    }

    pub(super) fn xstats(&self) -> PortXstats {
        let (xstats, error) = match self.with_device(Device::xstats) {
            Ok(xstats) => {
                (xstats.into_iter().map(|xstat| Count { name: xstat.name, count: xstat.value }).collect(), None)
            }
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        PortXstats { port: self.info.port.index(), name: self.info.name.clone(), xstats, error }
    }

    pub(super) fn clear(&self, what: PortCounters) -> Result<(), String> {
        let cleared = self.with_device(|device| match what {
            PortCounters::Stats => device.reset_stats(),
            PortCounters::Xstats => device.reset_xstats(),
        });
        cleared.map_err(|error| error.to_string())
    }
}

fn offloads(grants: &Grants) -> Vec<String> {
    let granted = [
        (grants.rx_checksum, "rx checksums"),
        (grants.tx_checksum, "tx checksums"),
        (grants.rss, "rss"),
        (grants.scatter, "scatter"),
    ];
    granted.iter().filter(|(granted, _)| *granted).map(|(_, name)| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_written_as_the_kernel_does() {
        assert_eq!(ranges(&[0, 2, 3, 4, 7]), "0,2-4,7");
        assert_eq!(ranges(&[]), "");
        assert_eq!(ranges(&[65_535]), "65535");
    }
}
