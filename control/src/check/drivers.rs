//! Whether DPDK has a driver for each device: drivers are shared objects that tell in a text which devices they are for.

use serde::Deserialize;

use dataplane::dpdk;

use super::{Context, Verdict};
use crate::device::PciDevice;
use crate::host::Host;

/// What `PMD_INFO_STRING=` announces (`buildtools/pmdinfogen.py`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Driver {
    name: String,
    /// Vendor, device, subsystem vendor, subsystem device; 65535 stands for any.
    #[serde(default)]
    pci_ids: Vec<[u32; 4]>,
}

const MARK: &[u8] = b"PMD_INFO_STRING= ";
/// `RTE_PCI_ANY_ID`.
const ANY: u32 = 0xffff;

impl Driver {
    /// As `rte_pci_match`.
    fn takes_pci(&self, id: [u32; 4]) -> bool {
        self.pci_ids.iter().any(|known| known.iter().zip(id).all(|(&known, id)| known == id || known == ANY))
    }

    /// As `vdev_parse`: a device's name begins with its driver's.
    fn takes_vdev(&self, name: &str) -> bool {
        self.pci_ids.is_empty() && name.starts_with(&self.name)
    }
}

/// The drivers that a shared object announces.
fn announced(object: &[u8]) -> Vec<Driver> {
    let mut found = Vec::new();
    let mut rest = object;
    while let Some(at) = rest.iter().position(|&byte| byte == MARK[0]) {
        rest = &rest[at..];
        if let Some(text) = rest.strip_prefix(MARK) {
            let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
            found.extend(serde_json::from_slice::<Driver>(text).ok());
        }
        rest = &rest[1..];
    }
    found
}

/// All network drivers in the directory from which EAL loads them, or `None` when it is not there.
fn installed(host: &Host) -> Option<Vec<Driver>> {
    let directory = dpdk::driver_directory();
    if !host.is_directory(directory) {
        return None;
    }
    // Each is there three times, twice as a symlink with its version.
    let objects =
        host.names(directory).into_iter().filter(|name| name.starts_with("librte_net_") && name.ends_with(".so"));
    Some(
        objects
            .filter_map(|name| host.bytes(format!("{directory}/{name}")))
            .flat_map(|object| announced(&object))
            .collect(),
    )
}

/// For each device: whether there is a driver for it.
pub(super) fn pmd(context: &Context<'_>) -> Vec<Verdict> {
    // Behind --kernel-interface is a tap.
    let kernel = context.settings.kernel_interface.as_ref().map(|name| (name.as_str(), "net_tap"));
    let vdevs: Vec<(&str, &str)> =
        context.vdevs().iter().map(|vdev| (vdev.name(), vdev.driver())).chain(kernel).collect();
    if context.pci().is_empty() && vdevs.is_empty() {
        return vec![Verdict::skipped("no device was named")];
    }
    if context.settings.eal.extra.iter().any(|argument| argument.starts_with("-d")) {
        return vec![Verdict::skipped("raw EAL arguments name drivers (-d)")];
    }
    let directory = dpdk::driver_directory();
    let is_shared = context.host.text("/proc/self/maps").is_some_and(|text| text.contains("librte_eal.so"));
    if directory.is_empty() || !is_shared {
        return vec![Verdict::skipped("drivers are linked in")];
    }
    let Some(drivers) = installed(context.host) else {
        let cause = format!("{directory} is not there, so DPDK has no drivers at all");
        return vec![Verdict::failure(cause, "apt install librte-meta-net")];
    };
    let pci = |device: &PciDevice| {
        let verdict = match pci_id(context.host, device) {
            None => Verdict::skipped("the kernel does not tell its id"),
            Some(id) => match drivers.iter().find(|driver| driver.takes_pci(id)) {
                Some(driver) => Verdict::ok(driver.name.as_str()),
                None => Verdict::failure(
                    format!("none of the drivers in {directory} takes {:04x}:{:04x}", id[0], id[1]),
                    "apt install librte-meta-net",
                )
                .or("name a NIC that DPDK supports (core.dpdk.org/supported/nics)"),
            },
        };
        verdict.about(device.address())
    };
    let mut verdicts: Vec<Verdict> = context.pci().iter().map(pci).collect();
    verdicts.extend(vdevs.into_iter().map(|(name, driver)| {
        let verdict = match drivers.iter().find(|known| known.takes_vdev(driver)) {
            Some(known) => Verdict::ok(known.name.as_str()),
            None => Verdict::failure(
                format!("none of the drivers in {directory} makes a {driver}"),
                "apt install librte-meta-net",
            )
            .or("see that its name is spelt as DPDK spells it"),
        };
        verdict.about(name)
    }));
    verdicts
}

fn pci_id(host: &Host, device: &PciDevice) -> Option<[u32; 4]> {
    let read = |file: &str| {
        let text = host.text(format!("/sys/bus/pci/devices/{}/{file}", device.address()))?;
        u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()
    };
    Some([
        read("vendor")?,
        read("device")?,
        read("subsystem_vendor").unwrap_or(ANY),
        read("subsystem_device").unwrap_or(ANY),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_are_found_among_other_bytes() {
        let object = [
            b"\x7fELF\0\0PMD_INFO_STRING= {\"name\": \"net_x\", \"params\": \"a=<int>\", \"pci_ids\": [[1, 2, 65535, 65535]]}\0".as_slice(),
            b"\xff\xfePMD_INFO_STRING= {\"name\": \"net_y\"}\0PMD_INFO_STRING= {broken\0",
        ]
        .concat();
        let found = announced(&object);
        assert_eq!(found.iter().map(|driver| driver.name.as_str()).collect::<Vec<_>>(), ["net_x", "net_y"]);
        assert!(found[0].takes_pci([1, 2, 3, 4]) && !found[0].takes_pci([1, 3, 3, 4]));
        assert!(found[1].takes_vdev("net_y0") && !found[1].takes_vdev("net_z0") && !found[0].takes_vdev("net_x0"));
    }

    #[test]
    fn the_drivers_of_this_machine_are_read() {
        let drivers = installed(&Host::this()).unwrap();
        for name in ["net_tap0", "net_af_packet0", "net_null0", "net_ring0", "net_virtio_user0", "net_vhost0"] {
            assert!(drivers.iter().any(|driver| driver.takes_vdev(name)), "{name}");
        }
        // Intel 82599, ConnectX-5, virtio 1.0.
        for (vendor, device) in [(0x8086, 0x10fb), (0x15b3, 0x1017), (0x1af4, 0x1041)] {
            assert!(drivers.iter().any(|driver| driver.takes_pci([vendor, device, 0, 0])), "{vendor:04x}:{device:04x}");
        }
    }
}
