//! EAL's argument vector as a pure function of the settings and of what the machine has. Every decision is a line in
//! [`EalPlan::notes`]; a flag that the operator gave after `--` is never added a second time, and his arguments come last.

use std::fmt;

use crate::advice::Advice;
use crate::defaults;
use crate::lcores::{Lcore, LcoreList, MAX_LCORES};
use crate::leftovers;
use crate::machine::Machine;
use crate::settings::Settings;

/// Which lcores EAL will have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LcorePlan {
    /// Ours to say.
    Chosen {
        /// EAL's main lcore.
        control: u16,
        /// The others, at least one, in the order in which they were named.
        workers: Vec<u16>,
    },
    /// Raw arguments say it: ask EAL once it is up.
    Given,
}

/// Where EAL's memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Hugepages.
    Huge,
    /// Ordinary pages.
    Ordinary,
    /// Raw arguments say it.
    Given,
}

/// What `rte_eal_init` is to be called with, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EalPlan {
    /// The vector, `argv[0]` included; no NUL in any of them.
    pub args: Vec<String>,
    /// One line for each decision, for the log.
    pub notes: Vec<String>,
    /// Lcores.
    pub lcores: LcorePlan,
    /// The lcores with their CPUs, control's first; none when raw arguments say it.
    pub placed: Vec<Lcore>,
    /// Memory.
    pub memory: Memory,
    /// Memory that EAL needs, in MiB; 0 when raw arguments say it.
    pub needed_mib: u64,
    /// Whether lcores share a CPU, so that a polling worker would starve the other.
    pub shares_cpu: bool,
    /// Sleep of a worker without work, in microseconds: as configured, or forced by `shares_cpu`; 0: it keeps polling.
    pub idle_sleep_us: u32,
}

/// Why a plan cannot be carried out on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EalError {
    /// The affinity mask could not be read and no lcores were given.
    NoCpus,
    /// An lcore was put on a CPU outside of the affinity mask.
    CpuNotAllowed {
        /// The CPU.
        cpu: u16,
        /// The list that names it.
        list: String,
        /// Those that may be used.
        allowed: String,
    },
    /// `eal.huge = true`, but there are too few pages.
    NoHugepages {
        /// What is lacking.
        reason: String,
        /// Memory that the run needs.
        needed_mib: u64,
        /// What reserves it.
        command: String,
    },
}

impl EalError {
    /// The words for it.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            Self::NoCpus => Advice::new("cannot find out which CPUs this process may use", "bypassd run -l 0-1 ..."),
            Self::CpuNotAllowed { cpu, list, allowed } => Advice::new(
                format!("CPU {cpu} of `{list}` is not among those that this process may use ({allowed})"),
                format!("bypassd run -l {allowed} ..."),
            )
            .or("give this process more CPUs (taskset, AllowedCPUs= of its unit)"),
            Self::NoHugepages { reason, command, .. } => Advice::new(format!("eal.huge is set, but {reason}"), command)
                .or("remove eal.huge, to run on ordinary memory where there are too few"),
        }
    }
}

impl fmt::Display for EalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.advice().fmt(f)
    }
}

impl std::error::Error for EalError {}

const LCORE_FLAGS: &[&str] = &["-l", "-c", "--lcores"];
const MEMORY_FLAGS: &[&str] = &[
    "-m",
    "--no-huge",
    "--socket-mem",
    "--socket-limit",
    "--huge-dir",
    "--huge-unlink",
    "--legacy-mem",
    "--in-memory",
];
/// EAL refuses --in-memory beside these, or they make no sense with it.
const NOT_WITH_IN_MEMORY: &[&str] =
    &["--in-memory", "--legacy-mem", "--huge-dir", "--huge-unlink", "--proc-type", "--no-huge"];
/// Mounts hugepages where EAL and systemd expect them.
pub const MOUNT: &str = "mkdir -p /dev/hugepages && mount -t hugetlbfs -o pagesize=2M nodev /dev/hugepages";
const DEVICE_FLAGS: &[&str] = &["--vdev", "-a", "--allow", "-b", "--block"];
const PCI_FLAGS: &[&str] = &["-a", "--allow", "-b", "--block", "--no-pci"];

/// Whether raw EAL arguments name devices, so that the number of ports is not ours to know.
#[must_use]
pub fn names_devices(extra: &[String]) -> bool {
    gave(extra, DEVICE_FLAGS)
}

/// Whether one of the flags is among raw arguments: `--flag`, `--flag=value`, `-f value`, `-fvalue`.
fn gave(extra: &[String], flags: &[&str]) -> bool {
    let is = |argument: &str, flag: &str| match argument.strip_prefix(flag) {
        Some(rest) if flag.starts_with("--") => rest.is_empty() || rest.starts_with('='),
        Some(_) => !argument.starts_with("--"),
        None => false,
    };
    extra.iter().any(|argument| flags.iter().any(|flag| is(argument, flag)))
}

/// Works the vector out.
///
/// # Errors
/// What was asked for cannot be had on this machine.
pub fn plan(settings: &Settings, machine: &Machine) -> Result<EalPlan, EalError> {
    let (plan, lacking) = draft(settings, machine);
    lacking.into_iter().next().map_or(Ok(plan), Err)
}

/// Works out the vector that would do if the machine had what it lacks, and all that it lacks.
#[must_use]
pub fn draft(settings: &Settings, machine: &Machine) -> (EalPlan, Vec<EalError>) {
    let mut plan = EalPlan {
        args: vec!["bypassd".to_owned()],
        notes: Vec::new(),
        lcores: LcorePlan::Given,
        placed: Vec::new(),
        memory: Memory::Given,
        needed_mib: 0,
        shares_cpu: false,
        idle_sleep_us: settings.worker.idle_sleep_us,
    };
    let mut lacking = Vec::new();
    lacking.extend(plan.place_lcores(settings, machine).err());
    lacking.extend(plan.place_memory(settings, machine).err());
    plan.name_files(settings, machine);
    plan.name_devices(settings);
    if !settings.eal.extra.is_empty() {
        plan.note(format!("raw EAL arguments, last: {}", settings.eal.extra.join(" ")));
        plan.args.extend(settings.eal.extra.iter().cloned());
    }
    (plan, lacking)
}

impl EalPlan {
    fn note(&mut self, line: impl Into<String>) {
        self.notes.push(line.into());
    }

    fn push(&mut self, args: &[&str]) {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
    }

    fn place_lcores(&mut self, settings: &Settings, machine: &Machine) -> Result<(), EalError> {
        let extra = &settings.eal.extra;
        if gave(extra, LCORE_FLAGS) {
            self.note("lcores: as given after `--`");
            return Ok(());
        }
        let allowed = settings.eal.lcores.as_ref().map_or(Ok(()), |list| check_cpus(list, machine));
        let lcores = match (&settings.eal.lcores, machine.allowed_cpus[..].split_first()) {
            (Some(list), _) => {
                self.note(format!("lcores: {list} as asked; the first is control's, the others are workers"));
                match list.lcores() {
                    [only] => self.share(&only.cpus),
                    lcores if list.needs_lcores_option() => {
                        self.push(&["--lcores", list.as_str()]);
                        lcores.to_vec()
                    }
                    lcores => {
                        self.push(&["-l", list.as_str()]);
                        lcores.to_vec()
                    }
                }
            }
            (None, None) => return Err(EalError::NoCpus),
            (None, Some((only, []))) => {
                self.note("lcores: this process may use one CPU only");
                self.share(&[*only])
            }
            (None, Some((&first, [second, ..]))) => {
                self.note(format!(
                    "lcores: none asked for, so control on CPU {first} and one worker on CPU {second}; more with -l"
                ));
                self.two(first, *second)
            }
        };
        self.shares_cpu = shares_cpu(&lcores);
        self.placed.clone_from(&lcores);
        if self.shares_cpu {
            let sleep = if self.idle_sleep_us == 0 { defaults::SHARED_CPU_IDLE_SLEEP_US } else { self.idle_sleep_us };
            self.idle_sleep_us = sleep;
            self.note(format!(
                "lcores share a CPU, so a worker without work sleeps for {sleep} us instead of starving the others"
            ));
        }
        if gave(extra, &["--main-lcore"]) {
            self.note("main lcore: as given after `--`");
            return allowed;
        }
        if let [control, workers @ ..] = &lcores[..] {
            // EAL's own choice would be the lowest id, not the first one named.
            self.push(&["--main-lcore", &control.id.to_string()]);
            self.lcores =
                LcorePlan::Chosen { control: control.id, workers: workers.iter().map(|lcore| lcore.id).collect() };
        }
        allowed
    }

    /// Control and one worker on the same CPUs.
    fn share(&mut self, cpus: &[u16]) -> Vec<Lcore> {
        let text = match cpus {
            [cpu] => cpu.to_string(),
            cpus => format!("({})", join(cpus)),
        };
        self.push(&["--lcores", &format!("0@{text},1@{text}")]);
        [0, 1].map(|id| Lcore { id, cpus: cpus.to_vec() }).to_vec()
    }

    /// Control and one worker on a CPU each.
    fn two(&mut self, control: u16, worker: u16) -> Vec<Lcore> {
        if control < MAX_LCORES && worker < MAX_LCORES {
            self.push(&["-l", &format!("{control},{worker}")]);
            return [control, worker].map(|cpu| Lcore { id: cpu, cpus: vec![cpu] }).to_vec();
        }
        self.push(&["--lcores", &format!("0@{control},1@{worker}")]);
        [(0, control), (1, worker)].map(|(id, cpu)| Lcore { id, cpus: vec![cpu] }).to_vec()
    }

    fn place_memory(&mut self, settings: &Settings, machine: &Machine) -> Result<(), EalError> {
        let extra = &settings.eal.extra;
        let in_memory = !settings.eal.secondary_processes && !gave(extra, NOT_WITH_IN_MEMORY);
        if gave(extra, MEMORY_FLAGS) {
            self.note("memory: as given after `--`");
            if in_memory {
                self.push_in_memory();
            }
            return Ok(());
        }
        let needed = match settings.eal.memory_mib {
            Some(mib) => u64::from(mib),
            None => self.needed_mib(settings, machine),
        };
        self.needed_mib = needed;
        let lacking = match machine.hugepage_mib() {
            0 => Some("no hugepages are free".to_owned()),
            free if free < needed => Some(format!("{free} MiB of hugepages are free and {needed} MiB are needed")),
            // Anonymous hugepages (--in-memory) need no mount, files do.
            _ if !in_memory && !machine.hugetlbfs_mounted => Some("no hugetlbfs is mounted".to_owned()),
            _ => None,
        };
        let command = if machine.hugepage_mib() < needed { machine.reserve_command(needed) } else { MOUNT.to_owned() };
        let why_ordinary = match (settings.eal.huge, lacking) {
            (Some(false), _) => Some("eal.huge is false".to_owned()),
            (Some(true), Some(reason)) => {
                // For what else there is to say about this plan.
                self.memory = Memory::Huge;
                return Err(EalError::NoHugepages { reason, needed_mib: needed, command });
            }
            (None, Some(reason)) => {
                Some(format!("{reason} (`{command}` makes it hugepages: faster, and safer for NICs)"))
            }
            (_, None) => None,
        };
        match why_ordinary {
            Some(reason) => {
                self.memory = Memory::Ordinary;
                self.push(&["--no-huge", "-m", &needed.to_string()]);
                self.note(format!("memory: {needed} MiB of ordinary pages, because {reason}"));
                // --no-huge implies --legacy-mem, which EAL refuses beside --in-memory; this alone leaves no files either.
                if !settings.eal.secondary_processes && !gave(extra, &["--no-shconf", "--proc-type"]) {
                    self.push(&["--no-shconf"]);
                    self.note("--no-shconf: a killed process leaves no files behind; DPDK's secondary processes cannot attach");
                }
                if !settings.eal.allow.is_empty() {
                    self.note(
                        "PCI devices without hugepages work only behind an IOMMU (vfio-pci, IOVA as virtual addresses)",
                    );
                }
            }
            None => {
                self.memory = Memory::Huge;
                if let Some(mib) = settings.eal.memory_mib {
                    self.push(&["-m", &mib.to_string()]);
                }
                self.note(format!("memory: hugepages, {} MiB free, {needed} MiB needed", machine.hugepage_mib()));
                if in_memory {
                    self.push_in_memory();
                }
                self.single_segments(settings);
            }
        }
        Ok(())
    }

    fn push_in_memory(&mut self) {
        self.push(&["--in-memory"]);
        self.note(
            "--in-memory: a killed process leaves no hugepage files behind; DPDK's secondary processes (dpdk-dumpcap, dpdk-proc-info) \
             cannot attach, eal.secondary_processes = true lets them",
        );
    }

    /// virtio-user and memif hand our memory to the peer as a few files; one file for each page would be too many.
    fn single_segments(&mut self, settings: &Settings) {
        let shared = settings.eal.vdevs.iter().find(|vdev| matches!(vdev.driver(), "net_virtio_user" | "net_memif"));
        if let Some(vdev) = shared
            && !gave(&settings.eal.extra, &["--single-file-segments"])
        {
            self.push(&["--single-file-segments"]);
            self.note(format!(
                "--single-file-segments: {} shares memory with its peer, which takes few regions only",
                vdev.name()
            ));
        }
    }

    /// What the frame buffers of all workers, one more pool for control, and EAL itself take.
    fn needed_mib(&self, settings: &Settings, machine: &Machine) -> u64 {
        let workers = match &self.lcores {
            LcorePlan::Chosen { workers, .. } => workers.len(),
            LcorePlan::Given => machine.allowed_cpus.len().max(1),
        };
        let pools = u64::try_from(workers).unwrap_or(u64::MAX).saturating_add(1);
        let bytes = pool_bytes(settings).saturating_mul(pools);
        defaults::EAL_BASE_MIB + bytes.div_ceil(1 << 20)
    }

    fn name_files(&mut self, settings: &Settings, machine: &Machine) {
        if gave(&settings.eal.extra, &["--file-prefix"]) {
            return;
        }
        let prefix =
            settings.eal.file_prefix.clone().unwrap_or_else(|| format!("{}{}", leftovers::PREFIX, machine.pid));
        self.push(&["--file-prefix", &prefix]);
        self.note(format!("file prefix: {prefix} (dpdk-telemetry.py -f {prefix})"));
    }

    fn name_devices(&mut self, settings: &Settings) {
        let eal = &settings.eal;
        for vdev in &eal.vdevs {
            self.push(&["--vdev", vdev.as_str()]);
            if vdev.driver() == "net_vhost" {
                self.note(format!(
                    "{}: the guest's memory must be shared (QEMU: memory-backend-file, share=on)",
                    vdev.name()
                ));
            }
        }
        for device in &eal.allow {
            self.push(&["-a", device.as_str()]);
        }
        if eal.allow.is_empty() && !gave(&eal.extra, PCI_FLAGS) {
            self.push(&["--no-pci"]);
            self.note("--no-pci: no PCI device was asked for, so none is touched");
        }
    }
}

/// What the frame buffers of one worker take.
#[must_use]
pub fn pool_bytes(settings: &Settings) -> u64 {
    // RTE_MBUF_DEFAULT_BUF_SIZE, or what a frame of the MTU with two VLAN tags and its FCS takes behind the headroom of 128.
    let data_room = (u64::from(settings.worker.mtu) + 14 + 8 + 4 + 128).max(2_048 + 128);
    // struct rte_mbuf is 128 bytes, the pool's object header 64; both round up to cache lines.
    let frame_bytes = data_room.next_multiple_of(64) + 128 + 64;
    frame_bytes.saturating_mul(u64::from(settings.worker.frames))
}

fn check_cpus(list: &LcoreList, machine: &Machine) -> Result<(), EalError> {
    let allowed = &machine.allowed_cpus;
    let outside = list.lcores().iter().flat_map(|lcore| &lcore.cpus).find(|cpu| !allowed.contains(cpu));
    match outside {
        Some(&cpu) if !allowed.is_empty() => {
            Err(EalError::CpuNotAllowed { cpu, list: list.to_string(), allowed: join(allowed) })
        }
        _ => Ok(()),
    }
}

/// Whether some lcores have fewer CPUs among them than they are, pairwise or altogether.
fn shares_cpu(lcores: &[Lcore]) -> bool {
    let mut distinct: Vec<u16> = lcores.iter().flat_map(|lcore| lcore.cpus.iter().copied()).collect();
    distinct.sort_unstable();
    distinct.dedup();
    let pinned_together = lcores
        .iter()
        .enumerate()
        .any(|(at, one)| one.cpus.len() == 1 && lcores[..at].iter().any(|other| other.cpus == one.cpus));
    distinct.len() < lcores.len() || pinned_together
}

fn join(numbers: &[u16]) -> String {
    numbers.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
