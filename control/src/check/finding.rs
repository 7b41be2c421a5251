//! What a check says: all is well or not, why, and the command that mends it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::advice::Advice;

/// How grave it is. The order is that of graveness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing to do.
    Ok,
    /// A run begins, but worse than it could, or not as was perhaps meant.
    Warning,
    /// A run would not begin, or harm the machine.
    Failure,
}

impl Status {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

/// What a check is about. The order is that of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// File and flags.
    Configuration,
    /// Kernel and DPDK.
    Software,
    /// Hugepages, mounts, limits.
    Memory,
    /// DMA and who confines it.
    Iommu,
    /// NICs and virtual devices.
    Devices,
    /// What the kernel has to let us do.
    Kernel,
    /// CPUs.
    Cpu,
    /// Files and sockets of runs.
    Runtime,
    /// Addresses and ports.
    Network,
    /// What is served.
    Content,
}

impl Family {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Software => "software",
            Self::Memory => "memory",
            Self::Iommu => "iommu",
            Self::Devices => "devices",
            Self::Kernel => "kernel",
            Self::Cpu => "cpu",
            Self::Runtime => "runtime",
            Self::Network => "network",
            Self::Content => "content",
        }
    }
}

/// What a check found of one thing, without the check's own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    subject: Option<String>,
    status: Status,
    skipped: bool,
    cause: String,
    mend: Option<String>,
    otherwise: Option<String>,
    facts: BTreeMap<&'static str, Value>,
}

impl Verdict {
    fn new(status: Status, cause: impl Into<String>, mend: Option<String>) -> Self {
        let cause = cause.into();
        Self { subject: None, status, skipped: false, cause, mend, otherwise: None, facts: BTreeMap::new() }
    }

    /// All is well; `cause` says what was found.
    pub fn ok(cause: impl Into<String>) -> Self {
        Self::new(Status::Ok, cause, None)
    }

    /// The question does not arise, or the machine does not tell; `reason` says which.
    pub fn skipped(reason: impl Into<String>) -> Self {
        Self { skipped: true, ..Self::ok(reason) }
    }

    /// It goes on, but not well.
    pub fn warning(cause: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(Status::Warning, cause, Some(mend.into()))
    }

    /// A run would not begin, or do harm.
    pub fn failure(cause: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(Status::Failure, cause, Some(mend.into()))
    }

    /// What a run would end with, in its own words.
    pub fn refused(advice: Advice) -> Self {
        Self { otherwise: advice.otherwise, ..Self::failure(advice.cause, advice.mend) }
    }

    /// The device, file or address that it is about, where a check looks at several.
    #[must_use]
    pub fn about(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }

    /// What would do as well, in words.
    #[must_use]
    pub fn or(self, otherwise: impl Into<String>) -> Self {
        Self { otherwise: Some(otherwise.into()), ..self }
    }

    /// A number or text for programs.
    #[must_use]
    pub fn fact(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.facts.insert(name, value.into());
        self
    }

    pub(super) fn of(self, check: &super::Check) -> Finding {
        let Self { subject, status, skipped, cause, mend, otherwise, facts } = self;
        let super::Check { id, family, title, .. } = *check;
        Finding { id, family, title, subject, status, skipped, cause, mend, otherwise, facts }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Name for programs, such as `hugepages`; of a check that looks at several things, there are several.
    pub id: &'static str,
    /// What it is about.
    pub family: Family,
    /// Name for people.
    pub title: &'static str,
    /// The one thing among several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How grave it is.
    pub status: Status,
    /// Whether the question did not arise, or the machine does not tell; the status is then [`Status::Ok`].
    pub skipped: bool,
    /// What was found, in one line.
    pub cause: String,
    /// The command that mends it; `None` only when it is ok.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
    /// What would do as well, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<String>,
    /// Numbers and texts behind the cause.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<&'static str, Value>,
}
