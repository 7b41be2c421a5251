//! What the checks look at: the run that is meant, and the machine that it is meant for.

use std::cell::OnceCell;

use dataplane::dpdk;
use dataplane::files::{LoadError, Survey};

use crate::device::{PciDevice, Vdev};
use crate::eal_args::{self, EalError, EalPlan, Memory};
use crate::host::{Host, Identity, number_list};
use crate::lcores::Lcore;
use crate::machine::Machine;
use crate::settings::{Environment, Settings};

/// DPDK's two versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// What we were built against.
    pub built: String,
    /// What the process was loaded with.
    pub running: String,
}

impl Versions {
    /// Of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self { built: dpdk::BUILT_VERSION.to_owned(), running: dpdk::running_version() }
    }
}

/// The run that is meant, on the machine that it is meant for.
#[derive(Debug)]
pub struct Context<'a> {
    /// The machine.
    pub host: &'a Host,
    /// The process's environment.
    pub environment: &'a Environment,
    /// What the settings are; where there were none to be had, their defaults.
    pub settings: &'a Settings,
    /// Why the settings are not those that were asked for: nothing was, or what was asked for is wrong.
    pub unsettled: Option<Unsettled>,
    /// DPDK's versions.
    pub versions: Versions,
    /// Who we are.
    pub identity: Identity,
    /// Facts that decide EAL's arguments.
    pub machine: Machine,
    /// EAL's arguments.
    pub plan: EalPlan,
    /// What the machine lacks for them.
    pub lacking: Vec<EalError>,
    /// What is below the content root, once somebody has asked.
    pub(super) survey: OnceCell<Result<Survey, LoadError>>,
}

/// Why there are no settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsettled {
    /// Neither a file nor a device nor an address was named.
    Nothing,
    /// What was named makes no run.
    Wrong {
        /// What is wrong, and where.
        cause: String,
        /// The command with which one gets at it.
        mend: String,
        /// What would be right, if that can be guessed.
        otherwise: Option<String>,
    },
}

impl<'a> Context<'a> {
    /// For settings that are right.
    #[must_use]
    pub fn new(host: &'a Host, environment: &'a Environment, settings: &'a Settings, versions: Versions) -> Self {
        let machine = Machine::look(host);
        let (plan, lacking) = eal_args::draft(settings, &machine);
        let identity = host.identity();
        let survey = OnceCell::new();
        Self { host, environment, settings, unsettled: None, versions, identity, machine, plan, lacking, survey }
    }

    /// A text about files with their paths as they are on the machine, wherever that is kept.
    pub(super) fn unprefixed(&self, text: &str) -> String {
        let root = self.host.path("/");
        match root.to_str().map(|root| root.trim_end_matches('/')) {
            Some("") | None => text.to_owned(),
            Some(root) => text.replace(root, ""),
        }
    }

    /// The PCI devices that are named, those in raw EAL arguments left out.
    pub(super) fn pci(&self) -> &[PciDevice] {
        &self.settings.eal.allow
    }

    /// The virtual devices that are named, those in raw EAL arguments left out.
    pub(super) fn vdevs(&self) -> &[Vdev] {
        &self.settings.eal.vdevs
    }

    /// Whether raw EAL arguments name devices that nobody looks at here.
    pub(super) fn has_raw_devices(&self) -> bool {
        eal_args::names_devices(&self.settings.eal.extra)
    }

    /// Whether EAL is going to use hugepages. With raw arguments that is not known, and counts as no.
    pub(super) fn uses_hugepages(&self) -> bool {
        self.plan.memory == Memory::Huge
    }

    /// Whether EAL is going to make files in a hugetlbfs.
    pub(super) fn makes_hugepage_files(&self) -> bool {
        self.uses_hugepages() && !self.plan.args.iter().any(|argument| argument == "--in-memory")
    }

    /// Whether EAL is going to make files in its runtime directory that outlive a killed process.
    pub(super) fn makes_runtime_files(&self) -> bool {
        !self.plan.args.iter().any(|argument| argument == "--in-memory" || argument == "--no-shconf")
    }

    /// The workers' lcores; none when raw EAL arguments say them.
    pub(super) fn workers(&self) -> &[Lcore] {
        self.plan.placed.get(1..).unwrap_or_default()
    }

    /// The workers' CPUs, each once, ascending; those that we may not use left out.
    pub(super) fn worker_cpus(&self) -> Vec<u16> {
        let named = self.workers().iter().flat_map(|lcore| lcore.cpus.iter().copied());
        let mut cpus: Vec<u16> = named.filter(|cpu| self.machine.allowed_cpus.contains(cpu)).collect();
        cpus.sort_unstable();
        cpus.dedup();
        cpus
    }

    /// The NUMA nodes, each with its CPUs; none on a machine that does not tell.
    pub(super) fn nodes(&self) -> Vec<(u16, Vec<u16>)> {
        const NODES: &str = "/sys/devices/system/node";
        let number = |name: &String| name.strip_prefix("node")?.parse().ok();
        let nodes = self.host.names(NODES).iter().filter_map(number).collect::<Vec<u16>>();
        let cpus = |node: u16| self.host.text(format!("{NODES}/node{node}/cpulist")).unwrap_or_default();
        nodes.into_iter().map(|node| (node, number_list(&cpus(node)))).collect()
    }
}

/// `a, b and 3 more`.
pub(super) fn examples(all: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = all.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// `0,2,3`.
pub(super) fn join(numbers: &[u16]) -> String {
    numbers.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}
