//! The four servers: where their programs are, how they are started on one core, when they serve, how they end.

use super::content::Content;
use super::lab::{self, Lab};
use super::{Cpus, Failure};
use control::client::ask;
use control::protocol::{RawReply, Request, Workers};
use serde::Serialize;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// EAL and the catalogue take a second or two.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// How long a server may take to end before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Transfers that stock servers may run at a time; more than `--clients` can be.
const TRANSFERS_MAX: &str = "400";

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// This project's.
    Bypassd,
    /// `in.tftpd`: one process per transfer.
    TftpdHpa,
    /// One thread per transfer.
    Atftpd,
    /// One process, one thread for all.
    Dnsmasq,
}

impl Kind {
    /// As it is called in the table.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Bypassd => "bypassd",
            Self::TftpdHpa => "tftpd-hpa",
            Self::Atftpd => "atftpd",
            Self::Dnsmasq => "dnsmasq",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::TftpdHpa => "in.tftpd",
            _ => self.name(),
        }
    }

    /// How to get it.
    pub(super) const fn remedy(self) -> &'static str {
        match self {
            Self::Bypassd => "cargo build --release",
            _ => "configs/setup.sh --peers",
        }
    }

    /// Its program: bypassd beside this one; the others where `configs/setup.sh --peers` unpacks them, or in `PATH`.
    pub(super) fn locate(self, bypassd: Option<&Path>) -> Option<PathBuf> {
        let own = std::env::current_exe().ok()?;
        let beside = own.parent()?;
        if self == Self::Bypassd {
            // A test runs one folder further down.
            let places = [Some(beside.join("bypassd")), beside.parent().map(|parent| parent.join("bypassd"))];
            let place =
                bypassd.map(Path::to_owned).or_else(|| places.into_iter().flatten().find(|place| place.is_file()));
            return place.filter(|place| place.is_file()).and_then(|place| std::path::absolute(place).ok());
        }
        let unpacked = Path::new("peers").join(self.name()).join("usr/sbin").join(self.program());
        let targets = beside.ancestors().take(3).map(|target| target.join(&unpacked));
        let here = std::iter::once(Path::new("target").join(&unpacked));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let installed: Vec<PathBuf> = std::env::split_paths(&path)
            .chain([PathBuf::from("/usr/sbin")])
            .map(|folder| folder.join(self.program()))
            .collect();
        let found = targets.chain(here).chain(installed).find(|place| place.is_file())?;
        std::path::absolute(found).ok()
    }

    /// The command line. The stock servers' is that of the end-to-end tests (`configs/e2e`), with their logs per transfer off.
    fn command(self, program: &Path, content: &Content, work: &Path, cpus: Cpus) -> Vec<String> {
        let program = program.display().to_string();
        let root = content.root().display().to_string();
        let words: Vec<&str> = match self {
            Self::Bypassd => {
                let vdev = format!("net_af_packet0,iface={}", lab::SERVER_LINK);
                let address = format!("{}/24", lab::SERVER);
                let control = control_socket(work).display().to_string();
                // Control sleeps on the client's CPU; the worker has the server's for itself.
                let lcores = format!("0@{},1@{}", cpus.client, cpus.server);
                let words =
                    [&program, "run", "--root", &root, "--control", &control, "--vdev", &vdev, "--address", &address];
                // Our own affinity, which it would inherit, is the client's CPU.
                return pinned(&[cpus.client, cpus.server], words.into_iter().chain(["-l", &lcores]));
            }
            Self::TftpdHpa => vec![&program, "-L", "-s", "-u", "nobody", &root],
            Self::Atftpd => {
                let head = [&program, "--daemon", "--no-fork", "--user", "root.root", "--logfile", "-", "--verbose=0"];
                [&head[..], &["--maxthread", TRANSFERS_MAX, &root]].concat()
            }
            Self::Dnsmasq => {
                let root = format!("--tftp-root={root}");
                let most = format!("--tftp-max={TRANSFERS_MAX}");
                let words = [
                    &program,
                    "-k",
                    "-p0",
                    "--enable-tftp",
                    &root,
                    "-uroot",
                    "-C/dev/null",
                    "-x",
                    &most,
                    "--quiet-tftp",
                ];
                return pinned(&[cpus.server], words.into_iter().chain(["--log-facility=-"]));
            }
        };
        pinned(&[cpus.server], words.into_iter())
    }
}

fn pinned<'a>(cpus: &[usize], words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let cpus = cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let pin = ["taskset", "-c", &cpus].map(str::to_owned);
    pin.into_iter().chain(words.map(str::to_owned)).collect()
}

fn control_socket(work: &Path) -> PathBuf {
    work.join("control.sock")
}

/// A server that runs; dropping it ends it and everything else in its namespace.
#[derive(Debug)]
pub(super) struct Running<'a> {
    kind: Kind,
    child: Child,
    lab: &'a Lab,
    work: PathBuf,
}

impl<'a> Running<'a> {
    /// Starts it and returns when it serves. `work` is a folder for its log and socket.
    pub(super) fn start(
        kind: Kind,
        program: &Path,
        lab: &'a Lab,
        content: &Content,
        work: &Path,
        cpus: Cpus,
        cancelled: &AtomicBool,
    ) -> Result<Self, Failure> {
        lab.address_server(kind != Kind::Bypassd)?;
        let failed = |what: &str, source| Failure::System { what: format!("{what} {}", kind.name()), source };
        let log = File::create(log_file(kind, work)).map_err(|error| failed("cannot write the log of", error))?;
        let log_too = log.try_clone().map_err(|error| failed("cannot write the log of", error))?;
        let command = kind.command(program, content, work, cpus);
        let mut words = lab.server.prefix().into_iter().map(str::to_owned).chain(command);
        let child = Command::new(words.next().unwrap_or_default())
            .args(words)
            .current_dir(work)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too)
            // Ctrl-C is for us; we end it.
            .process_group(0)
            .spawn()
            .map_err(|error| failed("cannot start", error))?;
        let mut running = Self { kind, child, lab, work: work.to_owned() };
        running.wait_until_it_serves(cancelled)?;
        Ok(running)
    }

    fn wait_until_it_serves(&mut self, cancelled: &AtomicBool) -> Result<(), Failure> {
        let end = Instant::now() + START_PATIENCE;
        loop {
            if cancelled.load(Ordering::Relaxed) {
                return Err(Failure::Interrupted);
            }
            let ended = matches!(self.child.try_wait(), Ok(Some(_)) | Err(_));
            if ended || Instant::now() > end {
                return Err(Failure::Server { name: self.kind.name(), log: self.log_tail() });
            }
            let serves = match self.kind {
                Kind::Bypassd => says_ready(&self.log()),
                _ => listens(&self.lab.server.run(&["cat", "/proc/net/udp", "/proc/net/udp6"])?),
            };
            if serves {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Microseconds of the turns in which the worker had work; bypassd's only.
    pub(super) fn busy_us(&self) -> Result<Option<u64>, Failure> {
        if self.kind != Kind::Bypassd {
            return Ok(None);
        }
        let request = Request { words: ["show", "workers"].map(str::to_owned).to_vec() };
        match ask(&control_socket(&self.work), &request, false)? {
            RawReply::Ok(body) => {
                let workers: Workers =
                    serde_json::from_value(body).map_err(|error| Failure::Answer(error.to_string()))?;
                Ok(Some(workers.workers.iter().map(|worker| worker.busy_us).sum()))
            }
            RawReply::Error(refusal) => Err(Failure::Answer(refusal.message)),
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(log_file(self.kind, &self.work)).unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let end = Instant::now() + STOP_PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A forking server's children.
        self.lab.server.clear();
    }
}

fn log_file(kind: Kind, work: &Path) -> PathBuf {
    work.join(format!("{}.log", kind.name()))
}

/// bypassd's promise: one line with this word when all workers poll.
fn says_ready(log: &str) -> bool {
    log.split(|c: char| !c.is_alphanumeric()).any(|word| word == "ready")
}

/// Whether `/proc/net/udp` has a socket on port 69.
fn listens(table: &str) -> bool {
    let local = |line: &str| line.split_whitespace().nth(1).map(|address| address.ends_with(":0045"));
    table.lines().filter_map(local).any(|found| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_port_69_is_found() {
        let table = "  sl  local_address rem_address   st\n  12: 00000000:0035 00000000:0000 07\n";
        assert!(!listens(table));
        assert!(!listens("  13: 00000000:0100 0A00000A:0045 07\n"), "that is the other end");
        assert!(listens(&format!("{table}  13: 00000000:0045 00000000:0000 07\n")));
    }

    #[test]
    fn stock_servers_have_one_cpu_and_bypassd_puts_its_worker_on_it() {
        let content = Content::build().unwrap();
        let cpus = Cpus { server: 1, client: 0 };
        for kind in [Kind::TftpdHpa, Kind::Atftpd, Kind::Dnsmasq] {
            let words = kind.command(Path::new("/x/server"), &content, Path::new("/w"), cpus);
            assert_eq!(words[..4], ["taskset", "-c", "1", "/x/server"], "{words:?}");
        }
        let words = Kind::Bypassd.command(Path::new("/x/bypassd"), &content, Path::new("/w"), cpus);
        assert_eq!(words[..5], ["taskset", "-c", "0,1", "/x/bypassd", "run"]);
        assert_eq!(words[words.len() - 2..], ["-l", "0@0,1@1"]);
    }
}
