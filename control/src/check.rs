//! What a machine lacks for a run, found out before anything of DPDK is touched: every check says ok, warning or failure, why, and the command that
//! mends it. Reads the machine through [`Host`](crate::host::Host) alone, changes nothing, needs no rights.

pub mod command;
mod configuration;
mod content;
mod context;
mod cpu;
mod devices;
mod drivers;
mod finding;
mod iommu;
mod kernel;
mod kernel_network;
mod links;
mod memory;
mod network;
mod report;
mod runtime;
mod software;

pub use context::{Context, Unsettled, Versions};
pub use finding::{Family, Finding, Status, Verdict};
pub use report::{Report, Summary};

/// When a check is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Whenever somebody asks, and before each run.
    Always,
    /// Only when somebody asks: it takes long, and a run finds out by itself.
    Asked,
}

/// One question about the machine.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Name for programs.
    pub id: &'static str,
    /// What it is about.
    pub family: Family,
    /// Name for people.
    pub title: &'static str,
    /// When it is made.
    pub when: When,
    /// Looks; at least one verdict, and one for each thing that it looks at.
    pub look: fn(&Context<'_>) -> Vec<Verdict>,
}

/// Every check, by family in the order of the report.
pub fn all() -> impl Iterator<Item = &'static Check> {
    let families = [
        configuration::CHECKS,
        software::CHECKS,
        memory::CHECKS,
        iommu::CHECKS,
        devices::CHECKS,
        kernel::CHECKS,
        cpu::CHECKS,
        runtime::CHECKS,
        network::CHECKS,
        content::CHECKS,
    ];
    families.into_iter().flatten()
}

/// Makes the checks; only those that are cheap when it is [`When::Always`].
#[must_use]
pub fn examine(context: &Context<'_>, when: When) -> Report {
    let made = all().filter(|check| when == When::Asked || check.when == When::Always);
    let findings = made.flat_map(|check| (check.look)(context).into_iter().map(|verdict| verdict.of(check)));
    Report { findings: findings.collect() }
}

/// A check that is always made.
const fn check(id: &'static str, family: Family, title: &'static str, look: fn(&Context<'_>) -> Vec<Verdict>) -> Check {
    Check { id, family, title, when: When::Always, look }
}

#[cfg(test)]
mod scene;
#[cfg(test)]
mod tests;
