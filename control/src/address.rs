//! Addresses that the appliance answers for, as an operator writes them: `192.0.2.1/24`, or `1=192.0.2.1/24` for port 1.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;

/// A DPDK port, counted from 0 in the order in which EAL found the devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortIndex(pub u16);

impl fmt::Display for PortIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An address of ours with the length of its network's prefix. Always a unicast address that a host may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Cidr {
    address: IpAddr,
    prefix_len: u8,
}

/// Why a text is no [`Cidr`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CidrError {
    /// No `/`.
    #[error("`{0}` lacks its prefix length: write it as 192.0.2.1/24 or 2001:db8::1/64")]
    NoPrefix(String),
    /// The part before the `/` is no address.
    #[error("`{0}` is no IP address: write it as 192.0.2.1/24 or 2001:db8::1/64")]
    NotAnAddress(String),
    /// The part after the `/` is no number or beyond the address family's width.
    #[error("`{given}` is no prefix length of this address: 1 to {longest}")]
    PrefixLength {
        /// What was written.
        given: String,
        /// 32 or 128.
        longest: u8,
    },
    /// An address that no host may have.
    #[error("{address} cannot be the address of a host: it is {what}")]
    NotAHost {
        /// The address.
        address: IpAddr,
        /// Which kind it is.
        what: &'static str,
    },
}

impl Cidr {
    /// The host's address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// Prefix length in bits: 1 to 32, or 1 to 128.
    #[must_use]
    pub fn prefix_len(self) -> u8 {
        self.prefix_len
    }

    fn checked(address: IpAddr, prefix_len: u8) -> Result<Self, CidrError> {
        let what = match address {
            _ if address.is_unspecified() => Some("the unspecified address"),
            _ if address.is_loopback() => Some("a loopback address"),
            _ if address.is_multicast() => Some("a multicast address"),
            IpAddr::V4(Ipv4Addr::BROADCAST) => Some("the broadcast address"),
            // A /31 has neither (RFC 3021 section 2.1), a /32 is a single host.
            IpAddr::V4(v4) if prefix_len < 31 => {
                let host_mask = u32::MAX >> prefix_len;
                match v4.to_bits() & host_mask {
                    0 => Some("the address of its network"),
                    host if host == host_mask => Some("the broadcast address of its network"),
                    _ => None,
                }
            }
            _ => None,
        };
        match what {
            Some(what) => Err(CidrError::NotAHost { address, what }),
            None => Ok(Self { address, prefix_len }),
        }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let Some((address, prefix)) = text.split_once('/') else {
            return Err(CidrError::NoPrefix(text.to_owned()));
        };
        let address: IpAddr = address.parse().map_err(|_| CidrError::NotAnAddress(address.to_owned()))?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        match prefix.parse::<u8>() {
            Ok(prefix_len) if (1..=longest).contains(&prefix_len) => Self::checked(address, prefix_len),
            _ => Err(CidrError::PrefixLength { given: prefix.to_owned(), longest }),
        }
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Self, CidrError> {
        text.parse()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// An address as written, with or without the port that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PortAddress {
    /// `None`: the only port.
    pub port: Option<PortIndex>,
    /// The address.
    pub cidr: Cidr,
}

/// Why a text is no [`PortAddress`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PortAddressError {
    /// The part before `=` is no port number.
    #[error("`{0}` is no port number: write the address of port 1 as 1=192.0.2.1/24")]
    Port(String),
    /// The address itself.
    #[error(transparent)]
    Cidr(#[from] CidrError),
}

impl FromStr for PortAddress {
    type Err = PortAddressError;

    fn from_str(text: &str) -> Result<Self, PortAddressError> {
        match text.split_once('=') {
            None => Ok(Self { port: None, cidr: text.parse()? }),
            Some((port, cidr)) => {
                let port = port.parse().map_err(|_| PortAddressError::Port(port.to_owned()))?;
                Ok(Self { port: Some(PortIndex(port)), cidr: cidr.parse()? })
            }
        }
    }
}

impl TryFrom<String> for PortAddress {
    type Error = PortAddressError;

    fn try_from(text: String) -> Result<Self, PortAddressError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_address_is_taken_and_printed_as_written() {
        for text in ["192.0.2.1/24", "10.0.0.0/31", "10.0.0.1/31", "10.0.0.0/32", "2001:db8::1/64", "fe80::1/128"] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_no_host_may_carry_is_refused() {
        for text in [
            "0.0.0.0/24",
            "127.0.0.1/8",
            "224.0.0.1/4",
            "255.255.255.255/32",
            "192.0.2.0/24",
            "192.0.2.255/24",
            "::/64",
            "::1/128",
            "ff02::1/16",
        ] {
            assert!(matches!(text.parse::<Cidr>(), Err(CidrError::NotAHost { .. })), "{text}");
        }
    }

    #[test]
    fn each_other_mistake_has_its_own_error() {
        assert!(matches!("192.0.2.1".parse::<Cidr>(), Err(CidrError::NoPrefix(_))));
        assert!(matches!("192.0.2/24".parse::<Cidr>(), Err(CidrError::NotAnAddress(_))));
        for text in ["192.0.2.1/33", "192.0.2.1/0", "192.0.2.1/", "192.0.2.1/-1", "2001:db8::1/129", "192.0.2.1/24/7"] {
            assert!(matches!(text.parse::<Cidr>(), Err(CidrError::PrefixLength { .. })), "{text}");
        }
        assert!(matches!("x=192.0.2.1/24".parse::<PortAddress>(), Err(PortAddressError::Port(_))));
    }

    #[test]
    fn a_port_may_be_named() {
        let one: PortAddress = "1=2001:db8::1/64".parse().unwrap();
        assert_eq!(one.port, Some(PortIndex(1)));
        assert_eq!(one.cidr.prefix_len(), 64);
        assert_eq!("192.0.2.1/24".parse::<PortAddress>().unwrap().port, None);
    }
}
