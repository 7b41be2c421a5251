//! The kernel's view of the network, out of `/proc/net` and `/sys/class/net`: ways out, addresses, UDP sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::host::Host;

/// An address that the kernel answers for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KernelAddress {
    pub(super) address: IpAddr,
    /// The interface that carries it, as far as the kernel tells.
    pub(super) interface: Option<String>,
}

/// A UDP socket of the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UdpSocket {
    /// Unspecified: all of the kernel's addresses.
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) inode: u64,
}

/// Whether an interface of that name is in our network namespace, whichever the sysfs shows; `None`: the kernel does not tell.
pub(super) fn has_interface(host: &Host, name: &str) -> Option<bool> {
    let text = host.text("/proc/net/dev")?;
    Some(text.lines().any(|line| line.split_once(':').is_some_and(|(interface, _)| interface.trim() == name)))
}

/// The hexadecimal digits of an address in the order of memory, as proc prints 32-bit words on a little-endian machine.
fn ipv4_of_hex(text: &str) -> Option<Ipv4Addr> {
    let word = u32::from_str_radix(text, 16).ok()?;
    Some(Ipv4Addr::from(word.to_ne_bytes()))
}

/// Four such words, one behind the other.
fn ipv6_of_words(text: &str) -> Option<Ipv6Addr> {
    let mut bytes = [0; 16];
    for (at, place) in bytes.chunks_exact_mut(4).enumerate() {
        let word = u32::from_str_radix(text.get(at * 8..at * 8 + 8)?, 16).ok()?;
        place.copy_from_slice(&word.to_ne_bytes());
    }
    Some(Ipv6Addr::from(bytes))
}

/// 32 digits in the order of the address, as `/proc/net/if_inet6` has them.
fn ipv6_of_digits(text: &str) -> Option<Ipv6Addr> {
    u128::from_str_radix(text, 16).ok().map(Ipv6Addr::from_bits)
}

/// The interfaces through which default routes lead, with those below them (the NICs of a bond or bridge, the NIC of a VLAN).
pub(super) fn default_route_interfaces(host: &Host) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    // Interface, destination, gateway, flags, …, mask in the eighth column.
    for line in host.text("/proc/net/route").unwrap_or_default().lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [interface, "00000000", _, _, _, _, _, "00000000", ..] = fields[..] {
            found.push(interface.to_owned());
        }
    }
    // Destination, its length, …, interface last. Without a route the kernel shows a reject route on `lo`.
    for line in host.text("/proc/net/ipv6_route").unwrap_or_default().lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [destination, "00", .., interface] = fields[..]
            && destination.bytes().all(|digit| digit == b'0')
            && interface != "lo"
        {
            found.push(interface.to_owned());
        }
    }
    let mut at = 0;
    while let Some(interface) = found.get(at).cloned() {
        let names = host.names(format!("/sys/class/net/{interface}"));
        let lower = names.iter().filter_map(|name| name.strip_prefix("lower_")).map(str::to_owned);
        let new: Vec<String> = lower.filter(|name| !found.contains(name)).collect();
        found.extend(new);
        at += 1;
    }
    found.sort();
    found.dedup();
    found
}

/// All addresses of the kernel's interfaces, those of loopback left out.
pub(super) fn addresses(host: &Host) -> Vec<KernelAddress> {
    let mut found: Vec<KernelAddress> = Vec::new();
    let routes = connected_routes(host);
    // The trie prints a leaf `|-- 192.0.2.2`, then what it is: `/32 host LOCAL`.
    let mut leaf: Option<Ipv4Addr> = None;
    for line in host.text("/proc/net/fib_trie").unwrap_or_default().lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line == "/32 host LOCAL"
            && let Some(address) = leaf
            && !address.is_loopback()
            && found.iter().all(|known| known.address != IpAddr::V4(address))
        {
            let covers = |(network, mask, _): &&(u32, u32, String)| address.to_bits() & mask == *network;
            let interface =
                routes.iter().filter(covers).max_by_key(|(_, mask, _)| *mask).map(|(.., name)| name.clone());
            found.push(KernelAddress { address: address.into(), interface });
        }
    }
    for line in host.text("/proc/net/if_inet6").unwrap_or_default().lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [digits, _, _, _, _, interface] = fields[..]
            && let Some(address) = ipv6_of_digits(digits)
            && !address.is_loopback()
        {
            found.push(KernelAddress { address: address.into(), interface: Some(interface.to_owned()) });
        }
    }
    found
}

/// Networks that the kernel reaches without a gateway: network, mask, interface.
fn connected_routes(host: &Host) -> Vec<(u32, u32, String)> {
    let text = host.text("/proc/net/route").unwrap_or_default();
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [interface, network, "00000000", _, _, _, _, mask, ..] = fields[..] else { return None };
        Some((ipv4_of_hex(network)?.to_bits(), ipv4_of_hex(mask)?.to_bits(), interface.to_owned()))
    };
    text.lines().skip(1).filter_map(route).collect()
}

/// The UDP sockets that wait on a port.
pub(super) fn udp_sockets(host: &Host, port: u16) -> Vec<UdpSocket> {
    let mut found = Vec::new();
    for file in ["/proc/net/udp", "/proc/net/udp6"] {
        for line in host.text(file).unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, local, _, _, _, _, _, _, _, inode, ..] = fields[..] else { continue };
            let Some((address, local_port)) = local.split_once(':') else { continue };
            let address = if address.len() == 8 {
                ipv4_of_hex(address).map(IpAddr::V4)
            } else {
                ipv6_of_words(address).map(IpAddr::V6)
            };
            if let (Some(address), Ok(number), Ok(inode)) =
                (address, u16::from_str_radix(local_port, 16), inode.parse())
                && number == port
            {
                found.push(UdpSocket { address, port, inode });
            }
        }
    }
    found
}

/// The process that has a socket open, as far as we may look; its number and the name of its program.
pub(super) fn socket_owner(host: &Host, inode: u64) -> Option<(u32, String)> {
    let wanted = format!("socket:[{inode}]");
    let pids = host.names("/proc").into_iter().filter_map(|name| name.parse::<u32>().ok());
    for pid in pids {
        let place = format!("/proc/{pid}/fd");
        let owns = |fd: &String| host.link_name(format!("{place}/{fd}")).is_some_and(|target| target == wanted);
        if host.names(&place).iter().any(owns) {
            return Some((pid, host.program_of(pid).unwrap_or_default()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let directory = tempfile::tempdir().unwrap();
        let host = Host::below(directory.path());
        for (path, text) in files {
            let path = host.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        (directory, host)
    }

    #[test]
    fn default_routes_are_found_with_the_nics_below() {
        let route = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                     br0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\n\
                     eth7\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n";
        let route6 = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe80 1 1 0 3 eth3\n\
                      00000000000000000000000000000000 00 00000000000000000000000000000000 00 0 ffffffff 1 0 200200 lo\n\
                      fe800000000000000000000000000000 40 00000000000000000000000000000000 00 0 100 1 0 1 eth4\n";
        let (_directory, host) = host(&[
            ("/proc/net/route", route),
            ("/proc/net/ipv6_route", route6),
            ("/sys/class/net/br0/lower_bond0/x", ""),
        ]);
        fs::create_dir_all(host.path("/sys/class/net/bond0/lower_eth1")).unwrap();
        assert_eq!(default_route_interfaces(&host), ["bond0", "br0", "eth1", "eth3"]);
    }

    #[test]
    fn addresses_are_found_with_their_interface() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
                    \x20    |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 192.0.2.2\n        /32 host LOCAL\n\
                    \x20    |-- 192.0.2.255\n        /32 link BROADCAST\nLocal:\n     |-- 192.0.2.2\n        /32 host LOCAL\n";
        let route = "head\neth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\neth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n";
        let inet6 = "00000000000000000000000000000001 01 80 10 80       lo\nfd000000000000000000000000000002 04 40 00 82     eth1\n";
        let (_directory, host) =
            host(&[("/proc/net/fib_trie", trie), ("/proc/net/route", route), ("/proc/net/if_inet6", inet6)]);
        let found: Vec<_> =
            addresses(&host).into_iter().map(|each| (each.address.to_string(), each.interface.unwrap())).collect();
        assert_eq!(found, [("192.0.2.2".into(), "eth0".into()), ("fd00::2".into(), "eth1".into())]);
    }

    #[test]
    fn sockets_of_this_process_are_found() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let six = std::net::UdpSocket::bind("[::1]:0").unwrap();
        let host = Host::this();
        for socket in [socket, six] {
            let local = socket.local_addr().unwrap();
            let found = udp_sockets(&host, local.port());
            let ours = found.iter().find(|each| each.address == local.ip()).unwrap();
            assert_eq!(socket_owner(&host, ours.inode).unwrap().0, std::process::id());
        }
    }
}
