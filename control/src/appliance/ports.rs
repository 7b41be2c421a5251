//! Ports and frame buffers out of the settings: one queue pair per worker on each port, one pool per worker.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use dataplane::dpdk::{
    Device, DeviceConfig, DeviceInfo, Eal, LINK_OVERHEAD, LcoreId, Mbuf, Mempool, PortId, QueuePair, WhyCopied,
    ZeroCopy,
};
use dataplane::engine::{Interface, LocalAddress};
use dataplane::port::HashedFields;
use dataplane::session::{Steering, WorkerIndex};
use dataplane::wire::MacAddr;
use dataplane::worker::{Attachment, Ring};

use super::error::{BuildError, Unsteered};
use crate::notice::say;
use crate::settings::{KERNEL_DESCRIPTORS, KERNEL_RING_FRAMES, Settings};

/// Smallest frame buffer, in bytes: what drivers expect to find.
const DATA_ROOM_MIN: u16 = 2_048;

/// Buffers that a worker's cache of the pool holds.
const POOL_CACHE: u32 = 256;

/// Frames that may wait for another worker.
const RING_FRAMES: usize = 1_024;

/// Name of the device behind `--kernel-interface`.
const KERNEL_DEVICE: &str = "net_tap_bypassd_kernel";

/// A configured port.
pub(super) struct Port {
    pub(super) device: Device,
    pub(super) info: DeviceInfo,
    pub(super) interface: Interface,
    /// The ways to it, one per worker.
    pub(super) attachments: Vec<Attachment<QueuePair, Arc<Mempool>>>,
    /// One per worker.
    pub(super) inboxes: Vec<Ring<Mbuf>>,
    /// What workers without a queue want sent, where there are such.
    pub(super) relayed: Option<Ring<Mbuf>>,
    /// How its RSS spreads requests over the workers, once it is started; `None` where they are handed over.
    pub(super) steering: Option<Arc<Steering>>,
}

impl Port {
    fn queues(&self) -> usize {
        self.attachments.iter().filter(|each| matches!(each, Attachment::Queue(_))).count()
    }

    /// Asks the device, which is started, how it spreads frames over the workers' queues. Queue *n* is worker *n*'s.
    fn steering(&mut self) -> Result<Steering, Unsteered> {
        let (workers, queues) = (self.attachments.len(), self.queues());
        if queues < workers {
            return Err(Unsteered::FewQueues { queues, workers });
        }
        let spread = self.device.rss_spread()?;
        let owners = spread.reta.iter().map(|queue| WorkerIndex(queue.index())).collect();
        let count = u16::try_from(workers).unwrap_or(u16::MAX);
        Ok(Steering::new(&spread.key, owners, count, spread.ipv4, spread.ipv6)?)
    }

    fn describe_queues(&self) -> String {
        let workers = self.attachments.len();
        let queues = self.queues();
        if queues == workers {
            return format!("{queues} queue pair(s)");
        }
        format!(
            "{queues} queue pair(s) for {workers} workers, of which the others send through the first (more queues: \
             qpairs={workers} for net_af_packet, queues={workers} for net_vhost and net_virtio_user)"
        )
    }
}

/// The kernel interface, and the ring that leads to it.
pub(super) struct KernelInterface {
    pub(super) device: Device,
    pub(super) queue: QueuePair,
    pub(super) ring: Ring<Mbuf>,
}

/// All ports, not started.
pub(super) struct Ports {
    pub(super) ports: Vec<Port>,
    pub(super) kernel: Option<KernelInterface>,
    /// One per worker.
    pub(super) pools: Vec<Arc<Mempool>>,
}

impl Ports {
    /// Configures all ports that EAL found for workers on these lcores.
    pub(super) fn open(eal: &Eal, settings: &Settings, lcores: &[LcoreId]) -> Result<Self, BuildError> {
        for vdev in &settings.eal.vdevs {
            Device::find(eal, vdev.name()).map_err(|_| BuildError::MissingDevice { name: vdev.name().to_owned() })?;
        }
        let ids = Device::list(eal);
        let Some(last) = ids.len().checked_sub(1) else { return Err(BuildError::NoPorts) };
        if let Some((port, _)) = settings.addresses.iter().find(|(port, _)| usize::from(port.0) > last) {
            return Err(BuildError::NoSuchPort { port: port.0, last });
        }
        if settings.kernel_interface.is_some() && last > 0 {
            return Err(BuildError::KernelInterfaceOfManyPorts { ports: ids.len() });
        }
        let room = settings.worker.mtu.saturating_add(LINK_OVERHEAD).max(DATA_ROOM_MIN);
        let pools = lcores
            .iter()
            .enumerate()
            .map(|(worker, &lcore)| {
                let name = format!("frames-{worker}");
                Mempool::new(eal, &name, settings.worker.frames, room, POOL_CACHE, eal.socket_of(lcore))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let ports = (0_u16..)
            .zip(ids)
            .map(|(number, id)| open_port(eal, settings, number, id, &pools))
            .collect::<Result<Vec<_>, _>>()?;
        let kernel = match &settings.kernel_interface {
            Some(name) => Some(open_kernel_interface(eal, settings, name.as_str(), &ports[0].device, &pools[0])?),
            None => None,
        };
        Ok(Self { ports, kernel, pools })
    }

    /// From now on frames come in and wait in the receive rings. With several workers it says how requests find theirs.
    pub(super) fn start(&mut self) -> Result<(), BuildError> {
        for (number, port) in self.ports.iter_mut().enumerate() {
            port.device.start()?;
            if port.attachments.len() > 1 {
                let steering = port.steering();
                say(format_args!("port {number}: {}", describe_steering(&steering)));
                port.steering = steering.ok().map(Arc::new);
            }
        }
        if let Some(kernel) = &mut self.kernel {
            kernel.device.start()?;
        }
        Ok(())
    }

    /// One line per port, for the log.
    pub(super) fn describe(&self) -> Vec<String> {
        let line = |(number, port): (usize, &Port)| {
            let interface = &port.interface;
            let addresses: Vec<String> =
                interface.addresses().iter().map(|each| format!("{}/{}", each.ip, each.prefix_len)).collect();
            format!(
                "port {number}: {} ({}), MAC {}, MTU {}, {}, {}, addresses {}",
                port.info.name,
                port.info.driver,
                interface.mac(),
                interface.mtu(),
                port.describe_queues(),
                port.device.zero_copy(),
                addresses.join(" ")
            )
        };
        self.ports.iter().enumerate().map(line).collect()
    }

    /// The same for each port that could not be given the files' memory, which is known once the workers have lent it.
    pub(super) fn describe_refusals(&self) -> Vec<String> {
        let line = |(number, port): (usize, &Port)| match port.device.zero_copy() {
            refused @ ZeroCopy::Never(WhyCopied::NotMapped(_)) => Some(format!("port {number}: {refused}")),
            _ => None,
        };
        self.ports.iter().enumerate().filter_map(line).collect()
    }
}

/// How requests find their worker, for the log.
fn describe_steering(steering: &Result<Steering, Unsteered>) -> String {
    let family = |fields| match fields {
        HashedFields::Nothing => "handed over",
        HashedFields::Addresses => "by addresses",
        HashedFields::AddressesAndPorts => "by addresses and ports",
    };
    match steering {
        Ok(steering) => {
            let (ipv4, ipv6) = (family(steering.ipv4()), family(steering.ipv6()));
            format!("requests are steered to their worker by RSS (IPv4 {ipv4}, IPv6 {ipv6})")
        }
        Err(why) => format!("requests are handed over to their worker: {why}"),
    }
}

fn open_port(
    eal: &Eal,
    settings: &Settings,
    number: u16,
    id: PortId,
    pools: &[Arc<Mempool>],
) -> Result<Port, BuildError> {
    let info = Device::info(eal, id)?;
    let offered = usize::from(info.max_rx_queues.min(info.max_tx_queues)).clamp(1, pools.len());
    let (with_queue, without) = pools.split_at(offered);
    let (device, queues) = Device::configure(eal, id, &device_config(settings, with_queue.len()), with_queue)?;
    let relayed = (!without.is_empty()).then(|| Arc::new(ArrayQueue::new(RING_FRAMES)));
    let relays = without.iter().zip(relayed.iter().cycle());
    let attachments = queues
        .into_iter()
        .map(Attachment::Queue)
        .chain(relays.map(|(pool, ring)| Attachment::Relay { ring: Arc::clone(ring), pool: Arc::clone(pool) }))
        .collect();
    let mtu = device.mtu()?.min(settings.worker.mtu);
    let addresses: Vec<LocalAddress> = settings
        .addresses
        .iter()
        .filter(|(port, _)| port.0 == number)
        .map(|(_, cidr)| LocalAddress { ip: cidr.address(), prefix_len: cidr.prefix_len() })
        .collect();
    let interface = Interface::new(MacAddr(device.mac()?), mtu, &addresses)?;
    let inboxes = pools.iter().map(|_| Arc::new(ArrayQueue::new(RING_FRAMES))).collect();
    Ok(Port { device, info, interface, attachments, inboxes, relayed, steering: None })
}

fn open_kernel_interface(
    eal: &Eal,
    settings: &Settings,
    name: &str,
    port: &Device,
    pool: &Arc<Mempool>,
) -> Result<KernelInterface, BuildError> {
    let arguments = format!("iface={name},mac={}", MacAddr(port.mac()?));
    eal.hotplug_vdev(KERNEL_DEVICE, &arguments)
        .map_err(|source| BuildError::KernelInterface { name: name.to_owned(), source })?;
    let id = Device::find(eal, KERNEL_DEVICE)?;
    let config = DeviceConfig {
        rx_descriptors: KERNEL_DESCRIPTORS,
        tx_descriptors: KERNEL_DESCRIPTORS,
        checksum_offload: false,
        zero_copy_min_bytes: 0,
        ..device_config(settings, 1)
    };
    let (device, mut queues) = Device::configure(eal, id, &config, &[Arc::clone(pool)])?;
    let queue = queues.pop().ok_or_else(|| BuildError::MissingDevice { name: KERNEL_DEVICE.to_owned() })?;
    Ok(KernelInterface { device, queue, ring: Arc::new(ArrayQueue::new(KERNEL_RING_FRAMES)) })
}

fn device_config(settings: &Settings, queue_pairs: usize) -> DeviceConfig {
    DeviceConfig {
        queue_pairs: u16::try_from(queue_pairs).unwrap_or(u16::MAX),
        rx_descriptors: settings.worker.rx_descriptors,
        tx_descriptors: settings.worker.tx_descriptors,
        // Some virtual devices refuse to be told even their own MTU.
        mtu: (settings.worker.mtu != crate::defaults::MTU).then_some(settings.worker.mtu),
        checksum_offload: true,
        // The kernel wants all groups, we want those of our IPv6 addresses.
        all_multicast: settings.kernel_interface.is_some()
            || settings.addresses.iter().any(|(_, cidr)| cidr.address().is_ipv6()),
        zero_copy_min_bytes: settings.worker.zero_copy_min_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_how_requests_find_their_worker() {
        let workers = vec![WorkerIndex(0), WorkerIndex(1)];
        let steering = Steering::new(&[7; 40], workers, 2, HashedFields::AddressesAndPorts, HashedFields::Nothing);
        assert_eq!(
            describe_steering(&steering.map_err(Unsteered::from)),
            "requests are steered to their worker by RSS (IPv4 by addresses and ports, IPv6 handed over)"
        );
        assert_eq!(
            describe_steering(&Err(Unsteered::FewQueues { queues: 1, workers: 2 })),
            "requests are handed over to their worker: 2 workers share 1 queue(s)"
        );
        assert_eq!(
            describe_steering(&Err(dataplane::dpdk::RssError::Off.into())),
            "requests are handed over to their worker: RSS is off"
        );
    }
}
