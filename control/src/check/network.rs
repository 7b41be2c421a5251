//! Whether the kernel, or we ourselves, get in the way of our addresses.

use std::net::IpAddr;

use super::kernel_network::{UdpSocket, addresses, socket_owner, udp_sockets};
use super::links::interface_of;
use super::{Check, Context, Family, Verdict, check};
use crate::address::Cidr;
use crate::host::Host;

pub(super) const CHECKS: &[Check] = &[
    check("address-conflict", Family::Network, "address", address_conflict),
    check("tftp-port", Family::Network, "UDP port 69", tftp_port),
    check("network-overlap", Family::Network, "networks apart", network_overlap),
];

const TFTP: u16 = 69;
const NO_ADDRESS: &str = "no address was named";

/// Of one address, two that answer: frames go to whoever was heard last.
fn address_conflict(context: &Context<'_>) -> Vec<Verdict> {
    let ours = &context.settings.addresses;
    if ours.is_empty() {
        return vec![Verdict::skipped(NO_ADDRESS)];
    }
    let theirs = addresses(context.host);
    let links: Vec<&str> = context.vdevs().iter().filter_map(interface_of).collect();
    let own = context.settings.kernel_interface.as_ref().map(|name| name.as_str());
    let verdict = |&(_, cidr): &(_, Cidr)| {
        let address = cidr.address();
        let verdict = match theirs.iter().find(|known| known.address == address) {
            None => Verdict::ok("the kernel does not have it"),
            Some(known) => {
                let interface = known.interface.as_deref();
                let shown = interface.unwrap_or("an interface");
                let mend = format!("ip address del {address} dev {shown}");
                match interface {
                    Some(name) if own == Some(name) => Verdict::ok(format!("{name} carries it, as it is meant to")),
                    Some(name) if links.contains(&name) => Verdict::failure(
                        format!("the kernel has it too, on the same link ({name}): both would answer"),
                        mend,
                    ),
                    _ => Verdict::warning(
                        format!(
                            "the kernel has it too, on {shown}: this machine would speak to itself instead of bypassd"
                        ),
                        mend,
                    ),
                }
            }
        };
        verdict.about(cidr.to_string())
    };
    ours.iter().map(verdict).collect()
}

/// The unit or process that has a socket, and what ends it.
fn owner(host: &Host, socket: &UdpSocket) -> (String, String) {
    match socket_owner(host, socket.inode) {
        Some((pid, name)) => {
            let mend = match name.as_str() {
                "in.tftpd" => "systemctl disable --now tftpd-hpa".to_owned(),
                "atftpd" | "dnsmasq" => format!("systemctl disable --now {name}"),
                _ => format!("kill {pid}"),
            };
            (format!("{name} ({pid})"), mend)
        }
        // Only root sees the files of others.
        None => ("a program".to_owned(), "fuser -k -n udp 69".to_owned()),
    }
}

fn tftp_port(context: &Context<'_>) -> Vec<Verdict> {
    let ours: Vec<IpAddr> = context.settings.addresses.iter().map(|(_, cidr)| cidr.address()).collect();
    let sockets = udp_sockets(context.host, TFTP);
    let Some(socket) = sockets.iter().find(|each| each.address.is_unspecified() || ours.contains(&each.address)) else {
        return vec![Verdict::ok("no program of this machine serves it")];
    };
    let theirs = addresses(context.host);
    let shared = ours.iter().find(|&&address| theirs.iter().any(|known| known.address == address));
    let (who, mend) = owner(context.host, socket);
    let verdict = match (shared, &context.settings.kernel_interface) {
        (Some(address), _) => {
            Verdict::warning(format!("{who} serves it too, on {address}: clients may get either's files"), mend)
        }
        (None, Some(interface)) => Verdict::warning(
            format!("{who} serves it too, but nothing reaches it through {interface}: bypassd takes all of it"),
            mend,
        ),
        (None, None) => Verdict::ok(format!("{who} serves it too, on addresses that are not ours")),
    };
    vec![verdict]
}

fn covers(cidr: Cidr, other: IpAddr) -> bool {
    match (cidr.address(), other) {
        (IpAddr::V4(own), IpAddr::V4(other)) => {
            (own.to_bits() ^ other.to_bits()) >> (32 - u32::from(cidr.prefix_len())) == 0
        }
        (IpAddr::V6(own), IpAddr::V6(other)) => {
            (own.to_bits() ^ other.to_bits()) >> (128 - u32::from(cidr.prefix_len())) == 0
        }
        _ => false,
    }
}

/// A client in two of our networks is answered through one port only, and an uplink that is cut shows as half of the clients lost.
fn network_overlap(context: &Context<'_>) -> Vec<Verdict> {
    let ours = &context.settings.addresses;
    let pair = ours.iter().enumerate().find_map(|(at, (port, cidr))| {
        let (other_port, other) = ours[..at].iter().find(|(other_port, other)| {
            other_port != port && (covers(*cidr, other.address()) || covers(*other, cidr.address()))
        })?;
        Some((*other_port, *other, *port, *cidr))
    });
    let verdict = match (ours.len(), pair) {
        (0, _) => Verdict::skipped(NO_ADDRESS),
        (1, _) => Verdict::skipped("there is one address only"),
        (_, None) => Verdict::ok("no two ports are in one network"),
        (_, Some((one, cidr, other, other_cidr))) => Verdict::warning(
            format!(
                "{cidr} of port {one} and {other_cidr} of port {other} are in one network, and clients reach one through the other's port"
            ),
            format!("bypassd run --address {one}={cidr} --address {other}=OTHER-NETWORK ..."),
        ),
    };
    vec![verdict]
}
