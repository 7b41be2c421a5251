//! The settings of one run: file and flags merged into values that are right by construction. Nothing later checks them again.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dataplane::files::Pattern;
use dataplane::rules::RuleSource;
use dataplane::session::ReplyPorts;
use serde::{Deserialize, Deserializer, de};
use thiserror::Error;

use crate::address::{Cidr, PortAddress, PortIndex};
use crate::args::RunArgs;
use crate::budget::Budget;
use crate::config::{ConfigFile, FileValues, bounded};
use crate::defaults;
use crate::device::{InterfaceName, PciDevice, Vdev};
use crate::lcores::LcoreList;
use crate::log::LogSettings;
use crate::metrics::Listen;
use crate::mistake::{Mistake, Place};
use crate::rules;

/// `[limits]`: what clients may take. See [`crate::defaults`] for the meaning of each.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "each key is described at its default")]
pub struct Limits {
    #[serde(deserialize_with = "bounded::<_, _, 1, 1_048_576>")]
    pub max_sessions: u32,
    #[serde(deserialize_with = "bounded::<_, _, 1, 1_048_576>")]
    pub max_unproven: u32,
    #[serde(deserialize_with = "bounded::<_, _, 1, 65_535>")]
    pub max_unproven_per_address: u32,
    #[serde(deserialize_with = "bounded::<_, _, 1, 255>")]
    pub max_window_blocks: u8,
    #[serde(deserialize_with = "bounded::<_, _, 512, 1_073_741_824>")]
    pub max_window_bytes: u32,
    #[serde(deserialize_with = "bounded::<_, _, 512, 65_464>")]
    pub max_blksize: u16,
    #[serde(deserialize_with = "bounded::<_, _, 0, 1_000_000>")]
    pub error_budget_per_second: u32,
    #[serde(deserialize_with = "bounded::<_, _, 1, 86_400>")]
    pub idle_seconds: u32,
    #[serde(deserialize_with = "bounded::<_, _, 1, 64_800>")]
    pub total_seconds: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sessions: defaults::MAX_SESSIONS,
            max_unproven: defaults::MAX_UNPROVEN,
            max_unproven_per_address: defaults::MAX_UNPROVEN_PER_ADDRESS,
            max_window_blocks: defaults::MAX_WINDOW_BLOCKS,
            max_window_bytes: defaults::MAX_WINDOW_BYTES,
            max_blksize: defaults::MAX_BLKSIZE,
            error_budget_per_second: defaults::ERROR_BUDGET_PER_SECOND,
            idle_seconds: defaults::IDLE_SECONDS,
            total_seconds: defaults::TOTAL_SECONDS,
        }
    }
}

/// `[timers]`. See [`crate::defaults`] for the meaning of each.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "each key is described at its default")]
pub struct Timers {
    #[serde(deserialize_with = "bounded::<_, _, 1, 255_000>")]
    pub retransmit_initial_ms: u32,
    #[serde(deserialize_with = "bounded::<_, _, 1, 255_000>")]
    pub retransmit_min_ms: u32,
    #[serde(deserialize_with = "bounded::<_, _, 1, 255_000>")]
    pub retransmit_max_ms: u32,
    #[serde(deserialize_with = "bounded::<_, _, 1, 100>")]
    pub tries: u8,
    #[serde(deserialize_with = "bounded::<_, _, 0, 86_400>")]
    pub drain_seconds: u32,
}

impl Timers {
    /// How long running transfers may go on after a request to end.
    #[must_use]
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds.into())
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            retransmit_initial_ms: defaults::RETRANSMIT_INITIAL_MS,
            retransmit_min_ms: defaults::RETRANSMIT_MIN_MS,
            retransmit_max_ms: defaults::RETRANSMIT_MAX_MS,
            tries: defaults::TRIES,
            drain_seconds: defaults::DRAIN_SECONDS,
        }
    }
}

/// `[names]`: how the names of requests are read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Names {
    /// Look names up without regard to letter case.
    pub fold_case: bool,
    /// Let `\` separate as `/` does.
    pub backslash: bool,
}

impl Default for Names {
    fn default() -> Self {
        Self { fold_case: defaults::FOLD_CASE, backslash: defaults::BACKSLASH }
    }
}

/// `[files]`: how much of the content root is kept in memory, what of it first, and whether it is watched.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilesSettings {
    /// Memory that the files may take.
    pub budget: Budget,
    /// Files to load at start where not all fit, the most important first.
    #[serde(deserialize_with = "patterns")]
    pub preload: Vec<Pattern>,
    /// See [`crate::defaults::WATCH_SECONDS`].
    #[serde(deserialize_with = "bounded::<_, _, 0, 86_400>")]
    pub watch_seconds: u32,
}

impl Default for FilesSettings {
    fn default() -> Self {
        Self { budget: Budget::default(), preload: Vec::new(), watch_seconds: defaults::WATCH_SECONDS }
    }
}

fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Pattern>, D::Error> {
    let texts: Vec<String> = Deserialize::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(de::Error::custom)).collect()
}

/// `[worker]`. See [`crate::defaults`] for the meaning of each.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "each key is described at its default")]
pub struct WorkerSettings {
    #[serde(deserialize_with = "bounded::<_, _, 0, 10_000>")]
    pub idle_sleep_us: u32,
    #[serde(deserialize_with = "bounded::<_, _, 32, 32_768>")]
    pub rx_descriptors: u16,
    #[serde(deserialize_with = "bounded::<_, _, 32, 32_768>")]
    pub tx_descriptors: u16,
    #[serde(deserialize_with = "bounded::<_, _, 1_023, 16_777_215>")]
    pub frames: u32,
    #[serde(deserialize_with = "bounded::<_, _, 576, 9_600>")]
    pub mtu: u16,
    #[serde(deserialize_with = "bounded::<_, _, 0, 65_535>")]
    pub zero_copy_min_bytes: u16,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            idle_sleep_us: defaults::IDLE_SLEEP_US,
            rx_descriptors: defaults::RX_DESCRIPTORS,
            tx_descriptors: defaults::TX_DESCRIPTORS,
            frames: defaults::FRAMES,
            mtu: defaults::MTU,
            zero_copy_min_bytes: defaults::ZERO_COPY_MIN_BYTES,
        }
    }
}

/// What EAL is told, before the machine is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EalSettings {
    /// Virtual devices.
    pub vdevs: Vec<Vdev>,
    /// PCI devices.
    pub allow: Vec<PciDevice>,
    /// Lcores, control's first; `None`: chosen from the machine.
    pub lcores: Option<LcoreList>,
    /// `None`: hugepages if there are enough.
    pub huge: Option<bool>,
    /// EAL's memory, in MiB; `None`: as much as is needed.
    pub memory_mib: Option<u32>,
    /// Name of EAL's runtime directory; `None`: unique to the process.
    pub file_prefix: Option<String>,
    /// Whether DPDK's secondary processes may attach.
    pub secondary_processes: bool,
    /// Whether a NIC through which the default route leads may be taken.
    pub allow_default_route: bool,
    /// Raw arguments, last: the file's, then the command line's. No NUL and no `--` among them.
    pub extra: Vec<String>,
}

/// The control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlSettings {
    /// Its path, short enough for a socket address.
    pub socket: PathBuf,
    /// Its permissions; none for others.
    pub mode: u32,
    /// Its group: a name from /etc/group or a number; `None`: the process's.
    pub group: Option<String>,
}

/// Everything that one run of the appliance needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Content root.
    pub root: PathBuf,
    /// Our addresses and their ports; at least one, no address twice.
    pub addresses: Vec<(PortIndex, Cidr)>,
    /// Kernel interface that gets the frames that are not ours.
    pub kernel_interface: Option<InterfaceName>,
    /// End after so long without a transfer.
    pub exit_when_idle: Option<Duration>,
    /// For EAL.
    pub eal: EalSettings,
    /// What clients may take.
    pub limits: Limits,
    /// Timers.
    pub timers: Timers,
    /// Reading of names.
    pub names: Names,
    /// Who may have what under which name. They compile.
    pub rules: RuleSource,
    /// Where replies come from.
    pub reply_ports: ReplyPorts,
    /// Files in memory.
    pub files: FilesSettings,
    /// Workers and their queues.
    pub worker: WorkerSettings,
    /// Control socket.
    pub control: ControlSettings,
    /// Log.
    pub log: LogSettings,
    /// Where the metrics are offered, if they are.
    pub metrics: Option<Listen>,
}

/// What the process's environment says about where sockets belong.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `RUNTIME_DIRECTORY`, set by systemd; several directories are separated by colons.
    pub runtime_directory: Option<OsString>,
    /// `XDG_RUNTIME_DIR`, set by a login session.
    pub xdg_runtime_dir: Option<OsString>,
    /// Whether the effective user is root.
    pub is_root: bool,
}

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self {
            runtime_directory: std::env::var_os("RUNTIME_DIRECTORY").filter(|dir| !dir.is_empty()),
            xdg_runtime_dir: std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()),
            is_root: rustix::process::geteuid().is_root(),
        }
    }

    /// Where the daemon puts its socket unless told otherwise: the order in which EAL looks for its own runtime directory
    /// (`eal_create_runtime_dir`).
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        let from_systemd = self.runtime_directory.as_ref().map(|dirs| {
            let dirs = dirs.to_string_lossy();
            PathBuf::from(dirs.split(':').next().unwrap_or(&dirs))
        });
        let from_session = || self.xdg_runtime_dir.as_ref().map(|dir| Path::new(dir).join("bypassd"));
        from_systemd
            .or_else(|| if self.is_root { None } else { from_session() })
            .unwrap_or_else(|| PathBuf::from(defaults::CONTROL_DIRECTORY))
            .join(defaults::CONTROL_FILE)
    }

    /// Where EAL keeps its runtime directories, one per file prefix (`eal_create_runtime_dir`).
    #[must_use]
    pub fn eal_runtime_base(&self) -> PathBuf {
        let from_session = || self.xdg_runtime_dir.clone().unwrap_or_else(|| "/tmp".into());
        let base = self
            .runtime_directory
            .clone()
            .unwrap_or_else(|| if self.is_root { "/var/run".into() } else { from_session() });
        Path::new(&base).join("dpdk")
    }

    /// Where bypassctl looks, in this order: the user's own daemon, then the system's.
    #[must_use]
    pub fn client_sockets(&self) -> Vec<PathBuf> {
        let system = Path::new(defaults::CONTROL_DIRECTORY).join(defaults::CONTROL_FILE);
        let own = self.control_socket();
        if own == system { vec![own] } else { vec![own, system] }
    }
}

/// Why file and flags make no settings.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the fields are what the message shows")]
pub enum SettingsErrorKind {
    #[error("no device: name one with --vdev or -a, such as --vdev net_tap0,iface=boot0")]
    NoPort,
    #[error("no address: give one with --address, such as --address 192.0.2.1/24")]
    NoAddress,
    #[error("{cidr} does not say to which of the {ports} ports it belongs: write it as 0={cidr}")]
    AddressWithoutPort { cidr: Cidr, ports: usize },
    #[error("{cidr} belongs to port {port}, but the ports are 0 to {last}")]
    AddressOfUnknownPort { cidr: Cidr, port: PortIndex, last: usize },
    #[error("port {port} has no address: give it one with --address {port}=CIDR")]
    PortWithoutAddress { port: usize },
    #[error("{cidr} is given twice")]
    AddressTwice { cidr: Cidr },
    #[error("device {device} is given twice")]
    DeviceTwice { device: String },
    #[error("a kernel interface stands for one port, but there are {ports}: run one bypassd per port, or leave it out")]
    KernelInterfaceOfManyPorts { ports: usize },
    #[error("{value} is more than {other_key} = {other}")]
    MoreThan { value: u32, other_key: &'static str, other: u32 },
    #[error("{frames} frame buffers are too few: {ports} port(s) with these descriptor rings need {needed}")]
    TooFewFrames { frames: u32, ports: usize, needed: usize },
    #[error("{0}")]
    Rule(String),
    #[error("the path of the control socket is {len} bytes long; the system takes {max}")]
    SocketPath { len: usize, max: usize },
    #[error("`{}` has a NUL byte in it or is a second `--`; EAL would stop reading there", .0.escape_default())]
    EalArgument(String),
    #[error("`{}` is no file prefix: letters, digits, `-`, `_` and `.`, not beginning with a dot", .0.escape_default())]
    FilePrefix(String),
}

/// A [`SettingsErrorKind`] with the key it is about and, if it came from the file, its place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct SettingsError {
    /// Configuration key: `limits.max_unproven`.
    pub key: &'static str,
    /// `None` when it came from the command line or from nowhere.
    pub place: Option<Box<Place>>,
    /// What is wrong.
    pub kind: SettingsErrorKind,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => Mistake {
                place: (**place).clone(),
                key: Some(self.key.to_owned()),
                message: self.kind.to_string(),
                help: None,
            }
            .fmt(f),
            None => self.kind.fmt(f),
        }
    }
}

/// `sun_path` of unix(7), less its NUL.
const SOCKET_PATH_MAX: usize = 107;

/// Frames that a worker holds outside of the rings: a burst, the backlog, the pool's own cache.
const FRAMES_BESIDE_RINGS: usize = 32 + 256 + 256;

/// Frames that may wait for the kernel interface, of whichever worker; further ones are dropped. Few, because each of them is a
/// buffer that transfers lack.
pub(crate) const KERNEL_RING_FRAMES: usize = 256;

/// Descriptors of each of the kernel interface's queues. net_tap keeps as many frame buffers for reception.
pub(crate) const KERNEL_DESCRIPTORS: u16 = 64;

impl Settings {
    /// Merges the flags over the file.
    ///
    /// # Errors
    /// The first thing that does not fit together.
    pub fn resolve(args: RunArgs, file: Option<&ConfigFile>, environment: &Environment) -> Result<Self, SettingsError> {
        let FileValues {
            root,
            address,
            kernel_interface,
            exit_when_idle_seconds,
            eal,
            limits,
            timers,
            names,
            access,
            client,
            remap,
            network,
            files,
            worker,
            control,
            log,
            metrics,
        } = file.map(|file| file.values.clone()).unwrap_or_default();

        let devices_by_flag = !args.vdevs.is_empty() || !args.allow.is_empty();
        let (vdevs, allow) = if devices_by_flag { (args.vdevs, args.allow) } else { (eal.vdev, eal.allow) };
        let addresses_by_flag = !args.addresses.is_empty();
        let addresses = if addresses_by_flag { args.addresses } else { address };
        let eal = EalSettings {
            vdevs,
            allow,
            lcores: args.lcores.or(eal.lcores),
            huge: eal.huge,
            memory_mib: eal.memory_mib,
            file_prefix: eal.file_prefix,
            secondary_processes: eal.secondary_processes,
            allow_default_route: args.allow_default_route || eal.allow_default_route,
            extra: [eal.extra, args.eal].concat(),
        };
        let control = ControlSettings {
            socket: args.control.or(control.socket).unwrap_or_else(|| environment.control_socket()),
            mode: control.mode,
            group: control.group,
        };

        let log = LogSettings {
            format: args.log_format.unwrap_or(log.format),
            level: args.log_level.unwrap_or(log.level),
            ..log
        };

        let fail = |key: &'static str, kind| SettingsError {
            key,
            place: file.and_then(|file| file.place_of(key)).map(Box::new),
            kind,
        };
        let flag_or_file = |by_flag: bool, key: &'static str, kind| {
            if by_flag { SettingsError { key, place: None, kind } } else { fail(key, kind) }
        };

        check_eal_texts(&eal).map_err(|(key, kind)| fail(key, kind))?;
        let ports = ports(&eal).map_err(|kind| flag_or_file(devices_by_flag, "eal", kind))?;
        let addresses = assign(&addresses, ports).map_err(|kind| flag_or_file(addresses_by_flag, "address", kind))?;
        check_values(&limits, &timers).map_err(|(key, kind)| fail(key, kind))?;
        let rules = rules::source(&access, &client, &remap, &names).map_err(|error| error.placed(file))?;
        let reply_ports = rules::reply_ports(&network).map_err(|error| error.placed(file))?;

        let by_flag = args.kernel_interface.is_some();
        let kernel_interface = args.kernel_interface.or(kernel_interface);
        let for_kernel = kernel_interface.as_ref().map_or(0, |_| KERNEL_RING_FRAMES + usize::from(KERNEL_DESCRIPTORS));
        check_frames(&worker, ports.unwrap_or(1), for_kernel).map_err(|kind| fail("worker.frames", kind))?;
        if let (Some(_), Some(ports @ 2..)) = (&kernel_interface, ports) {
            let kind = SettingsErrorKind::KernelInterfaceOfManyPorts { ports };
            return Err(flag_or_file(by_flag, "kernel_interface", kind));
        }
        let len = control.socket.as_os_str().len();
        if len > SOCKET_PATH_MAX {
            return Err(fail("control.socket", SettingsErrorKind::SocketPath { len, max: SOCKET_PATH_MAX }));
        }

        let exit_when_idle = args.exit_when_idle.or(exit_when_idle_seconds);
        Ok(Self {
            root: args.root.or(root).unwrap_or_else(|| PathBuf::from(defaults::ROOT)),
            addresses,
            kernel_interface,
            exit_when_idle: exit_when_idle.map(|seconds| Duration::from_secs(seconds.into())),
            eal,
            limits,
            timers,
            names,
            rules,
            reply_ports,
            files: FilesSettings { budget: args.cache_budget.unwrap_or(files.budget), ..files },
            worker,
            control,
            log,
            metrics: args.metrics.or(metrics.listen),
        })
    }
}

fn check_eal_texts(eal: &EalSettings) -> Result<(), (&'static str, SettingsErrorKind)> {
    if let Some(text) = eal.extra.iter().find(|text| text.contains('\0') || text.as_str() == "--") {
        return Err(("eal.extra", SettingsErrorKind::EalArgument(text.clone())));
    }
    if let Some(prefix) = &eal.file_prefix {
        // It becomes the name of a directory.
        let plain = prefix.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if prefix.is_empty() || prefix.len() > 64 || prefix.starts_with('.') || !plain {
            return Err(("eal.file_prefix", SettingsErrorKind::FilePrefix(prefix.clone())));
        }
    }
    Ok(())
}

/// How many ports there will be; `None` when raw EAL arguments may add some.
fn ports(eal: &EalSettings) -> Result<Option<usize>, SettingsErrorKind> {
    let mut names: Vec<String> = eal.vdevs.iter().map(|vdev| vdev.name().to_owned()).collect();
    names.extend(eal.allow.iter().map(PciDevice::address));
    for (at, device) in names.iter().enumerate() {
        if names[..at].contains(device) {
            return Err(SettingsErrorKind::DeviceTwice { device: device.clone() });
        }
    }
    // A representor argument makes several ports of one device.
    let open = crate::eal_args::names_devices(&eal.extra)
        || eal.allow.iter().any(|device| device.as_str().contains("representor"));
    match (names.len(), open) {
        (0, false) => Err(SettingsErrorKind::NoPort),
        (_, true) => Ok(None),
        (ports, false) => Ok(Some(ports)),
    }
}

/// Gives each address its port.
fn assign(addresses: &[PortAddress], ports: Option<usize>) -> Result<Vec<(PortIndex, Cidr)>, SettingsErrorKind> {
    if addresses.is_empty() {
        return Err(SettingsErrorKind::NoAddress);
    }
    let mut assigned: Vec<(PortIndex, Cidr)> = Vec::with_capacity(addresses.len());
    for &PortAddress { port, cidr } in addresses {
        let port = match (port, ports) {
            (None, Some(ports @ 2..)) => return Err(SettingsErrorKind::AddressWithoutPort { cidr, ports }),
            (None, _) => PortIndex(0),
            (Some(port), Some(ports)) if usize::from(port.0) >= ports => {
                return Err(SettingsErrorKind::AddressOfUnknownPort { cidr, port, last: ports - 1 });
            }
            (Some(port), _) => port,
        };
        if assigned.iter().any(|(_, known)| known.address() == cidr.address()) {
            return Err(SettingsErrorKind::AddressTwice { cidr });
        }
        assigned.push((port, cidr));
    }
    let without = (0..ports.unwrap_or(0)).find(|&port| assigned.iter().all(|(known, _)| usize::from(known.0) != port));
    match without {
        Some(port) => Err(SettingsErrorKind::PortWithoutAddress { port }),
        None => Ok(assigned),
    }
}

fn check_values(limits: &Limits, timers: &Timers) -> Result<(), (&'static str, SettingsErrorKind)> {
    let ordered = [
        ("limits.max_unproven", limits.max_unproven, "limits.max_sessions", limits.max_sessions),
        (
            "limits.max_unproven_per_address",
            limits.max_unproven_per_address,
            "limits.max_unproven",
            limits.max_unproven,
        ),
        ("limits.idle_seconds", limits.idle_seconds, "limits.total_seconds", limits.total_seconds),
        (
            "timers.retransmit_min_ms",
            timers.retransmit_min_ms,
            "timers.retransmit_initial_ms",
            timers.retransmit_initial_ms,
        ),
        (
            "timers.retransmit_initial_ms",
            timers.retransmit_initial_ms,
            "timers.retransmit_max_ms",
            timers.retransmit_max_ms,
        ),
    ];
    match ordered.into_iter().find(|(_, value, _, other)| value > other) {
        Some((key, value, other_key, other)) => Err((key, SettingsErrorKind::MoreThan { value, other_key, other })),
        None => Ok(()),
    }
}

fn check_frames(worker: &WorkerSettings, ports: usize, for_kernel: usize) -> Result<(), SettingsErrorKind> {
    let rings = usize::from(worker.rx_descriptors) + usize::from(worker.tx_descriptors);
    let needed = ports * rings + FRAMES_BESIDE_RINGS + for_kernel;
    match usize::try_from(worker.frames) {
        Ok(frames) if frames < needed => Err(SettingsErrorKind::TooFewFrames { frames: worker.frames, ports, needed }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
