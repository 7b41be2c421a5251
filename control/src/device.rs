//! Names of devices as DPDK and the kernel know them: a virtual device, a PCI device, a kernel network interface.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;

/// Why a text names no device.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DeviceError {
    /// Empty, or with a blank, a control byte or NUL in it.
    #[error("`{}` is no device: it is empty or has blanks or control characters in it", .0.escape_default())]
    Text(String),
    /// A virtual device without the prefix of network drivers.
    #[error("`{0}` is no virtual network device: their names begin with `net_`, such as net_tap0,iface=boot0")]
    NotANetworkDriver(String),
    /// Not a PCI address.
    #[error("`{0}` is no PCI device: write it as 0000:03:00.0 or 03:00.0, with DPDK's device arguments behind a comma")]
    NotPci(String),
    /// Not a name that the kernel takes for an interface.
    #[error("`{}` is no interface name: 1 to 15 characters, no blank, no `/`", .0.escape_default())]
    NotAnInterface(String),
}

fn plain(text: &str) -> Result<&str, DeviceError> {
    if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(DeviceError::Text(text.to_owned()));
    }
    Ok(text)
}

/// What follows `--vdev`: a driver's name with a number, then its arguments behind commas.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Vdev(String);

impl Vdev {
    /// The device's name: `net_tap0`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split(',').next().unwrap_or(&self.0)
    }

    /// The driver's name: `net_tap`.
    #[must_use]
    pub fn driver(&self) -> &str {
        self.name().trim_end_matches(|c: char| c.is_ascii_digit())
    }
}

impl Vdev {
    /// The value of one of its arguments: `boot0` for `iface` in `net_tap0,iface=boot0`.
    #[must_use]
    pub fn argument(&self, name: &str) -> Option<&str> {
        self.0.split(',').skip(1).find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='))
    }
}

impl FromStr for Vdev {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        if !plain(text)?.starts_with("net_") {
            return Err(DeviceError::NotANetworkDriver(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// What follows `-a`: a PCI address, then the driver's arguments behind commas.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PciDevice(String);

impl PciDevice {
    /// The address with its domain, in lower case: `0000:03:00.0`.
    #[must_use]
    pub fn address(&self) -> String {
        let address = self.0.split(',').next().unwrap_or(&self.0).to_ascii_lowercase();
        if address.split(':').count() == 2 { format!("0000:{address}") } else { address }
    }
}

fn is_pci_address(address: &str) -> bool {
    let hex = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_hexdigit());
    let Some((bus_and_device, function)) = address.rsplit_once('.') else { return false };
    let parts: Vec<&str> = bus_and_device.split(':').collect();
    let function_ok = matches!(function.as_bytes(), [b'0'..=b'7']);
    function_ok
        && match parts[..] {
            [bus, device] => hex(bus, 2) && hex(device, 2),
            // Domains wider than four digits exist (VMD controllers).
            [domain, bus, device] => {
                (4..=8).contains(&domain.len()) && hex(domain, domain.len()) && hex(bus, 2) && hex(device, 2)
            }
            _ => false,
        }
}

impl FromStr for PciDevice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let address = plain(text)?.split(',').next().unwrap_or(text);
        if !is_pci_address(address) {
            return Err(DeviceError::NotPci(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The name of a network interface of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct InterfaceName(String);

impl FromStr for InterfaceName {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        // Linux dev_valid_name(): shorter than IFNAMSIZ (16), not `.` or `..`, no `/`, `:` or blank.
        let taken = plain(text).is_ok() && text.len() < 16 && text != "." && text != ".." && !text.contains(['/', ':']);
        if taken { Ok(Self(text.to_owned())) } else { Err(DeviceError::NotAnInterface(text.to_owned())) }
    }
}

macro_rules! text_like {
    ($($name:ident),*) => {$(
        impl $name {
            /// The text as it was written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = DeviceError;

            fn try_from(text: String) -> Result<Self, DeviceError> {
                text.parse()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

text_like!(Vdev, PciDevice, InterfaceName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vdev_knows_its_name_and_driver() {
        let vdev: Vdev = "net_af_packet0,iface=veth0".parse().unwrap();
        assert_eq!((vdev.name(), vdev.driver()), ("net_af_packet0", "net_af_packet"));
        assert_eq!((vdev.argument("iface"), vdev.argument("if")), (Some("veth0"), None));
        assert_eq!("net_e1000".parse::<Vdev>().unwrap().driver(), "net_e");
        for text in ["", "net_tap 0", "net_tap0\0", "tap0", "crypto_null0"] {
            assert!(text.parse::<Vdev>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_pci_device_has_an_address_and_perhaps_arguments() {
        for (text, address) in [
            ("0000:03:00.0", "0000:03:00.0"),
            ("03:00.1", "0000:03:00.1"),
            ("0000:AF:1f.7,representor=[0-3]", "0000:af:1f.7"),
            ("10000:01:00.0", "10000:01:00.0"),
        ] {
            assert_eq!(text.parse::<PciDevice>().unwrap().address(), address);
        }
        for text in
            ["", "eth0", "03:00", "03:00.8", "3:0.0", "0000:03:00.0.0", "0000:00:03:00.0", "g0:00.0", ",03:00.0"]
        {
            assert!(text.parse::<PciDevice>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_interface_name_is_what_the_kernel_takes() {
        for text in ["boot0", "a", "fifteen-chars-x"] {
            assert!(text.parse::<InterfaceName>().is_ok(), "{text}");
        }
        for text in ["", "sixteen-chars-xx", "a b", "a/b", "a:b", ".", "..", "a\n"] {
            assert!(text.parse::<InterfaceName>().is_err(), "{text:?}");
        }
    }
}
