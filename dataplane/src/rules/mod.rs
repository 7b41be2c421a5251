//! Who may have which file under which name: remap rules and client rules, compiled by control and never changed on a worker. A
//! request walks them without allocating, and in bounded time; where there are none, nothing of this is looked at.
//!
//! The order: the client's rule (longest prefix; a MAC address before an IP address) says whether it is served at all; remap rules
//! turn the requested name into another; what comes out is checked as any name is ([`Name::parse`]); the client's folders say
//! where below the content root it is looked for.

mod clients;
mod folder;
mod pattern;
mod prefix;
mod remap;
mod replacement;
mod spelling;

pub use clients::{ClientPolicy, ClientRule, PolicyId, WhoError};
pub use folder::{FOLDERS_MAX, FolderError};
pub use pattern::{GROUPS_MAX, PatternError, PatternText};
pub use prefix::{MacPrefix, NotAMacPrefix, Prefix, PrefixError};
pub use remap::{AGAIN_MAX, REMAPS_MAX, RemapError, RemapRule, Then};
pub use replacement::ReplacementError;

use crate::files::{Denied, FileId, Lookup, Name, NameError, NameOptions};
use crate::tftp::ErrorCode;
use clients::Clients;
use core::net::IpAddr;
use remap::Remap;
use spelling::{NameBuffer, Overflow};
use thiserror::Error;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requester {
    /// The request's source address.
    pub ip: IpAddr,
    /// Its source MAC address: the client's, or its router's. `None` where it is not known, which is never on a worker.
    pub mac: Option<[u8; 6]>,
}

/// What happens to a request that is not allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deny {
    /// No answer.
    #[default]
    Drop,
    /// ERROR 2.
    Error,
}

/// Rules as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSource {
    /// Whether a client that no rule names is denied.
    pub deny_others: bool,
    /// What a denied client hears.
    pub deny: Deny,
    /// Client rules, in any order.
    pub clients: Vec<ClientRule>,
    /// Remap rules, in their order.
    pub remaps: Vec<RemapRule>,
}

/// Why rules cannot be used. The numbers count from 0.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RuleError {
    /// About whom a client rule is for.
    #[error(transparent)]
    Who(#[from] WhoError),
    /// A client rule's folder.
    #[error("{error}")]
    Folder {
        /// Which rule.
        client: usize,
        /// What is wrong.
        error: FolderError,
    },
    /// A client rule has too many folders.
    #[error("more than {FOLDERS_MAX} folders")]
    TooManyFolders {
        /// Which rule.
        client: usize,
    },
    /// A remap rule.
    #[error("{error}")]
    Remap {
        /// Which one.
        remap: usize,
        /// What is wrong.
        error: RemapError,
    },
    /// More than [`REMAPS_MAX`].
    #[error("more than {REMAPS_MAX} remap rules")]
    TooManyRemaps,
}

/// What a walk through the rules saw, in its order; for those who explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "rule: counted from 0; name: not escaped")]
pub enum Step<'a> {
    /// The name in the spelling that rules see.
    Spelt { name: &'a [u8] },
    /// A remap rule is for other clients.
    RemapNotForClient { rule: usize },
    /// A remap rule does not apply to the name.
    RemapNoMatch { rule: usize },
    /// A remap rule applied; the name is what it is now.
    Remapped { rule: usize, name: &'a [u8], then: Then },
    /// A folder is named after something that is not known of this client.
    FolderUnknown { folder: usize },
    /// This is what was looked up.
    LookedUp { name: &'a [u8], found: Lookup },
}

/// Sees the steps of a walk.
pub trait Watch {
    /// One step.
    fn step(&mut self, step: Step<'_>);
}

/// Nobody watches.
impl Watch for () {
    #[inline]
    fn step(&mut self, _step: Step<'_>) {}
}

/// Why a request gets no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The remap rule with this number refuses it.
    ByRemap(usize),
    /// The remap rules sent it round more than [`AGAIN_MAX`] times.
    RemapGoesRound,
    /// The name can be no file's.
    Name(NameError),
    /// There is something of that name that is not served.
    Denied(Denied),
    /// There is nothing of that name.
    NotFound,
}

impl Refused {
    /// The ERROR that says so: 2 where something is kept from the client, 1 where there is nothing (rows 8 to 12).
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            // What is left of an empty name is the root, a directory.
            Self::ByRemap(_)
            | Self::RemapGoesRound
            | Self::Denied(_)
            | Self::Name(NameError::Climbs | NameError::Empty) => ErrorCode::AccessViolation,
            Self::Name(NameError::TooLong | NameError::ForbiddenByte) | Self::NotFound => ErrorCode::FileNotFound,
        }
    }
}

/// Compiled rules.
#[derive(Debug)]
pub struct Rules {
    names: NameOptions,
    deny: Deny,
    clients: Clients,
    remaps: Box<[Remap]>,
}

impl Rules {
    /// Compiles rules for a catalogue that reads names with these options.
    ///
    /// # Errors
    /// [`RuleError`], of the first rule that has one.
    #[cold]
    pub fn compile(source: &RuleSource, names: NameOptions) -> Result<Self, RuleError> {
        if source.remaps.len() > REMAPS_MAX {
            return Err(RuleError::TooManyRemaps);
        }
        let remaps = (0..)
            .zip(&source.remaps)
            .map(|(remap, rule)| Remap::compile(rule, names).map_err(|error| RuleError::Remap { remap, error }))
            .collect::<Result<_, _>>()?;
        let clients = Clients::compile(&source.clients, source.deny_others, names)?;
        Ok(Self { names, deny: source.deny, clients, remaps })
    }

    /// How names are read; a catalogue must agree.
    #[must_use]
    pub const fn names(&self) -> NameOptions {
        self.names
    }

    /// What a denied client hears.
    #[must_use]
    pub const fn deny(&self) -> Deny {
        self.deny
    }

    /// The rule of a client.
    #[must_use]
    pub fn policy_of(&self, client: &Requester) -> PolicyId {
        self.clients.find(client)
    }

    /// What a rule says.
    #[must_use]
    pub fn policy(&self, id: PolicyId) -> &ClientPolicy {
        self.clients.policy(id)
    }

    /// From the name of a request to a file. `look_up` is asked with names that [are normal](Name::parse) under
    /// [`names`](Self::names).
    ///
    /// # Errors
    /// [`Refused`].
    pub fn find(
        &self,
        client: &Requester,
        policy: &ClientPolicy,
        raw: &[u8],
        look_up: impl Fn(&[u8]) -> Lookup,
        watch: &mut impl Watch,
    ) -> Result<FileId, Refused> {
        let name = self.rename(client, raw, watch)?;
        let mut full = NameBuffer::default();
        for (number, folder) in (0..).zip(policy.folders()) {
            match folder.full_name(client, name.as_bytes(), &mut full) {
                Ok(true) => {}
                Ok(false) => {
                    watch.step(Step::FolderUnknown { folder: number });
                    continue;
                }
                Err(Overflow) => return Err(Refused::Name(NameError::TooLong)),
            }
            let found = look_up(full.as_bytes());
            watch.step(Step::LookedUp { name: full.as_bytes(), found });
            match found {
                Lookup::File(file) => return Ok(file),
                // What the client's own folder denies, another one must not give under the same name.
                Lookup::Denied(denied) => return Err(Refused::Denied(denied)),
                Lookup::NotFound => {}
            }
        }
        Err(Refused::NotFound)
    }

    /// The normal name that the remap rules make of a requested one.
    fn rename(&self, client: &Requester, raw: &[u8], watch: &mut impl Watch) -> Result<Name, Refused> {
        if self.remaps.is_empty() {
            return Name::parse(raw, self.names).map_err(Refused::Name);
        }
        let mut name = NameBuffer::of(raw, self.names).map_err(|Overflow| Refused::Name(NameError::TooLong))?;
        watch.step(Step::Spelt { name: name.as_bytes() });
        remap::run(&self.remaps, &mut name, client, self.names, watch).map_err(|refused| match refused {
            remap::Refused::ByRule(rule) => Refused::ByRemap(rule),
            remap::Refused::GoesRound => Refused::RemapGoesRound,
            remap::Refused::TooLong => Refused::Name(NameError::TooLong),
        })?;
        Name::parse(name.as_bytes(), self.names).map_err(Refused::Name)
    }
}
