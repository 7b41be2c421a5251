//! Two network namespaces with a veth pair between them. What it makes has names of its own and is gone when it is dropped.

use super::Failure;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

/// The server's address.
pub(super) const SERVER: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 99, 0, 1);

/// The client's address.
pub(super) const CLIENT: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 99, 0, 2);

/// The server's end of the link.
pub(super) const SERVER_LINK: &str = "srv0";

/// The client's end of the link.
const CLIENT_LINK: &str = "cli0";

/// Runs a command to its end; its standard output.
pub(super) fn run(words: &[&str]) -> Result<String, Failure> {
    let (program, args) = words.split_first().unwrap_or((&"", &[]));
    let failed = |why: String| Failure::Command { command: words.join(" "), why };
    let done = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(format!("{error}\nhelp: configs/setup.sh installs what is needed")))?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    } else {
        Err(failed(format!("{}: {}", done.status, String::from_utf8_lossy(&done.stderr).trim())))
    }
}

/// A network namespace of our own.
#[derive(Debug)]
pub(super) struct Namespace {
    name: String,
}

impl Namespace {
    fn new(role: &str) -> Result<Self, Failure> {
        let name = format!("bpb{}{role}", std::process::id());
        run(&["ip", "netns", "add", &name])?;
        Ok(Self { name })
    }

    /// The words that run a command in here; they replace themselves with it, so that the process id is its own.
    pub(super) fn prefix(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// Runs a command in here.
    pub(super) fn run(&self, words: &[&str]) -> Result<String, Failure> {
        run(&[&self.prefix(), words].concat())
    }

    /// Kills what still runs in here; nobody else knows the name.
    pub(super) fn clear(&self) {
        let pids = run(&["ip", "netns", "pids", &self.name]).unwrap_or_default();
        for pid in pids.split_whitespace().filter_map(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?)) {
            // It may have ended by itself. A process that only visits (ourselves) is left alone.
            if pid != rustix::process::getpid() {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.clear();
        // Nothing can be done about a namespace that does not go.
        let _ = run(&["ip", "netns", "del", &self.name]);
    }
}

/// The calling thread is in a namespace until this is dropped.
#[derive(Debug)]
pub(super) struct Visit {
    home: File,
}

impl Visit {
    fn begin(namespace: &Namespace) -> Result<Self, Failure> {
        let open = |path: &str| {
            File::open(path).map_err(|source| Failure::System { what: format!("cannot open {path}"), source })
        };
        let home = open("/proc/thread-self/ns/net")?;
        enter(&open(&format!("/run/netns/{}", namespace.name))?)
            .map_err(|source| Failure::System { what: "cannot enter a network namespace".to_owned(), source })?;
        Ok(Self { home })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // The thread ends soon; sockets of the namespace end with it.
        let _ = enter(&self.home);
    }
}

fn enter(namespace: &File) -> std::io::Result<()> {
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// The link with its two ends.
#[derive(Debug)]
pub(super) struct Lab {
    /// Where the servers run.
    pub(super) server: Namespace,
    /// Where the client runs.
    client: Namespace,
}

impl Lab {
    /// Makes the namespaces and the link. Every frame on it carries finished checksums, and the kernel sends nothing of its own
    /// accord.
    pub(super) fn build() -> Result<Self, Failure> {
        let lab = Self { server: Namespace::new("s")?, client: Namespace::new("c")? };
        let (server, client) = (&lab.server.name, &lab.client.name);
        run(&[
            "ip",
            "link",
            "add",
            SERVER_LINK,
            "netns",
            server,
            "type",
            "veth",
            "peer",
            "name",
            CLIENT_LINK,
            "netns",
            client,
        ])?;
        for (namespace, link) in [(&lab.server, SERVER_LINK), (&lab.client, CLIENT_LINK)] {
            namespace.run(&["sysctl", "-qw", &format!("net.ipv6.conf.{link}.disable_ipv6=1")])?;
            namespace.run(&["ethtool", "-K", link, "tx", "off", "rx", "off"])?;
            namespace.run(&["ip", "link", "set", "lo", "up"])?;
            namespace.run(&["ip", "link", "set", link, "up"])?;
        }
        lab.client.run(&["ip", "address", "add", &format!("{CLIENT}/24"), "dev", CLIENT_LINK])?;
        Ok(lab)
    }

    /// Gives the server's kernel its address, or takes it away: bypassd answers for it itself.
    pub(super) fn address_server(&self, by_kernel: bool) -> Result<(), Failure> {
        self.server.run(&["ip", "address", "flush", "dev", SERVER_LINK])?;
        if by_kernel {
            self.server.run(&["ip", "address", "add", &format!("{SERVER}/24"), "dev", SERVER_LINK])?;
        }
        Ok(())
    }

    /// Puts the calling thread where the client is.
    pub(super) fn visit_client(&self) -> Result<Visit, Failure> {
        Visit::begin(&self.client)
    }
}
