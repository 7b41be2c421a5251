//! EAL with one lcore, one port and one pool for the generator.

use std::path::Path;

use control::device::{PciDevice, Vdev};
use control::host::Host;
use control::lcores::LcoreList;
use control::leftovers;
use control::machine::Machine;
use dataplane::dpdk::{Device, DeviceConfig, DeviceError, Eal, EalError, LINK_OVERHEAD, Mempool, PoolError, QueuePair};
use dataplane::wire::MacAddr;
use thiserror::Error;

/// Buffers: what both rings hold, and what is under way.
const FRAMES: u32 = 16_383;

/// Buffers that the lcore keeps for itself.
const CACHE: u32 = 256;

/// Smallest buffer, in bytes: what drivers expect to find.
const DATA_ROOM_MIN: u16 = 2_048;

/// Per ring.
const DESCRIPTORS: u16 = 4_096;

/// Memory that EAL and drivers need beside the buffers, in MiB.
const BASE_MIB: u64 = 96;

/// MTU that is not asked for: some virtual devices refuse to be told even their own.
const DEFAULT_MTU: u16 = 1_500;

/// Which device.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// A virtual one.
    Virtual(Vdev),
    /// A NIC.
    Pci(PciDevice),
}

/// Why there is no port.
#[derive(Debug, Error)]
pub(crate) enum PortError {
    /// The affinity mask could not be read and no lcore was given.
    #[error("cannot find out which CPUs this process may use: name one with -l")]
    NoCpu,
    /// More than one lcore.
    #[error("the generator takes one lcore, and `{0}` is more")]
    Lcores(String),
    /// EAL does not start.
    #[error(transparent)]
    Eal(#[from] EalError),
    /// EAL has no such port: the driver refused the device.
    #[error("{0} is not there: its driver refused it, see above")]
    Missing(String),
    /// No buffers.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The port cannot be set up.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// A started port. Dropped in this order: queues, port, EAL.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) queue: QueuePair,
    pub(crate) device: Device,
    pub(crate) mac: MacAddr,
    pub(crate) name: String,
    pub(crate) eal: Eal,
}

/// Starts EAL on one lcore and the port with one queue pair.
pub(crate) fn open(
    wanted: &Wanted,
    lcores: Option<&LcoreList>,
    mtu: u16,
    extra: &[String],
) -> Result<Opened, PortError> {
    let args = eal_args(wanted, lcores, mtu, extra, &Machine::look(&Host::this()))?;
    eprintln!("EAL arguments: {}", args.join(" "));
    let eal = Eal::init(&args)?;
    let name = match wanted {
        Wanted::Virtual(vdev) => vdev.name().to_owned(),
        Wanted::Pci(device) => device.address(),
    };
    let port = Device::find(&eal, &name).map_err(|_| PortError::Missing(name.clone()))?;
    let room = mtu.saturating_add(LINK_OVERHEAD).max(DATA_ROOM_MIN);
    let pool = Mempool::new(&eal, "storm", FRAMES, room, CACHE, eal.socket_of(eal.main_lcore()))?;
    let config = DeviceConfig {
        queue_pairs: 1,
        rx_descriptors: DESCRIPTORS,
        tx_descriptors: DESCRIPTORS,
        mtu: (mtu != DEFAULT_MTU).then_some(mtu),
        checksum_offload: true,
        // Neighbour discovery asks groups for clients.
        all_multicast: true,
        // A client sends nothing of a file.
        zero_copy_min_bytes: 0,
    };
    let (mut device, mut queues) = Device::configure(&eal, port, &config, &[pool])?;
    device.start()?;
    let mac = MacAddr(device.mac()?);
    let queue = queues.pop().ok_or_else(|| PortError::Missing(name.clone()))?;
    Ok(Opened { queue, device, mac, name, eal })
}

/// EAL's directory, which it leaves behind.
pub(crate) fn clean_up(runtime_base: &Path) {
    leftovers::remove_own(runtime_base);
}

/// What EAL is called with: what was given after `--` comes last and is not given twice.
fn eal_args(
    wanted: &Wanted,
    lcores: Option<&LcoreList>,
    mtu: u16,
    extra: &[String],
    machine: &Machine,
) -> Result<Vec<String>, PortError> {
    let gave = |flags: &[&str]| {
        extra
            .iter()
            .any(|argument| flags.iter().any(|flag| argument == flag || argument.starts_with(&format!("{flag}="))))
    };
    let mut args: Vec<String> = Vec::new();
    let mut push = |words: &[&str]| args.extend(words.iter().map(|&word| word.to_owned()));
    if !gave(&["-l", "-c", "--lcores"]) {
        match lcores {
            Some(list) if list.lcores().len() > 1 => return Err(PortError::Lcores(list.to_string())),
            Some(list) if list.needs_lcores_option() => push(&["--lcores", list.as_str()]),
            Some(list) => push(&["-l", list.as_str()]),
            None => {
                let cpu = machine.allowed_cpus.first().ok_or(PortError::NoCpu)?;
                push(&["--lcores", &format!("0@{cpu}")]);
            }
        }
    }
    if !gave(&["-m", "--no-huge", "--socket-mem", "--in-memory", "--legacy-mem", "--huge-dir"]) {
        // A buffer with its headroom, its rte_mbuf and its pool's header.
        let buffer = u64::from(mtu.saturating_add(LINK_OVERHEAD).max(DATA_ROOM_MIN)) + 128 + 128 + 64;
        let needed = BASE_MIB + (buffer * u64::from(FRAMES)).div_ceil(1 << 20);
        if machine.hugepage_mib() >= needed {
            push(&["--in-memory"]);
        } else {
            push(&["--no-huge", "-m", &needed.to_string(), "--no-shconf"]);
        }
        if matches!(wanted, Wanted::Virtual(vdev) if ["net_virtio_user", "net_memif"].contains(&vdev.driver())) {
            push(&["--single-file-segments"]);
        }
    }
    if !gave(&["--file-prefix"]) {
        push(&["--file-prefix", &format!("{}{}", leftovers::PREFIX, machine.pid)]);
    }
    if !gave(&["--log-level"]) {
        push(&["--log-level", "lib.eal:warning"]);
    }
    match wanted {
        Wanted::Virtual(vdev) => push(&["--no-pci", "--no-telemetry", "--vdev", vdev.as_str()]),
        Wanted::Pci(device) => push(&["--no-telemetry", "-a", device.as_str()]),
    }
    args.extend(extra.iter().cloned());
    Ok(args)
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::machine::Hugepages;

    fn args(device: &str, lcores: Option<&str>, extra: &[&str], pages: u64) -> Result<String, PortError> {
        let hugepages = vec![Hugepages { page_kib: 2_048, available: pages, total: pages }];
        let machine = Machine { allowed_cpus: vec![3, 4], hugepages, hugetlbfs_mounted: false, pid: 7 };
        let wanted = match device.parse() {
            Ok(vdev) => Wanted::Virtual(vdev),
            Err(_) => Wanted::Pci(device.parse().unwrap()),
        };
        let extra: Vec<String> = extra.iter().map(|&word| word.to_owned()).collect();
        let lcores = lcores.map(|list| list.parse().unwrap());
        eal_args(&wanted, lcores.as_ref(), 1_500, &extra, &machine).map(|args| args.join(" "))
    }

    #[test]
    fn one_lcore_and_memory_as_the_machine_has_it() {
        let text = args("net_af_packet0,iface=v", None, &[], 0).unwrap();
        assert!(text.starts_with("--lcores 0@3 --no-huge -m "), "{text}");
        assert!(text.ends_with("--no-pci --no-telemetry --vdev net_af_packet0,iface=v"), "{text}");
        assert!(
            args("net_null0", Some("1"), &[], 1_000).unwrap().starts_with("-l 1 --in-memory --file-prefix bypassd-7")
        );
        assert!(matches!(args("net_null0", Some("0-1"), &[], 0), Err(PortError::Lcores(_))));
        assert!(args("net_memif0", None, &[], 1_000).unwrap().contains("--single-file-segments"));
    }

    #[test]
    fn what_is_given_raw_is_not_given_twice() {
        let text = args("0000:03:00.0", Some("1"), &["-l", "5", "-m", "64", "--file-prefix=x"], 0).unwrap();
        assert_eq!(text, "--log-level lib.eal:warning --no-telemetry -a 0000:03:00.0 -l 5 -m 64 --file-prefix=x");
    }
}
