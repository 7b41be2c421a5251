//! Who a process is, out of `/proc/self/status`: user, groups, capabilities, the CPUs that it may use.

use super::number_list;

/// A capability that matters here (linux/capability.h), by its bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Modes of files do not bind.
    DacOverride = 1,
    /// Make network interfaces.
    NetAdmin = 12,
    /// Packet sockets.
    NetRaw = 13,
    /// Lock memory beyond the limit.
    IpcLock = 14,
}

/// Who a process is. What could not be read is nobody, who may nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// User that file modes are checked against; `None`: unknown.
    pub uid: Option<u32>,
    /// Groups, the file-system group first.
    pub groups: Vec<u32>,
    /// Effective capabilities, as bits.
    pub capabilities: u64,
    /// CPUs that it may use, ascending.
    pub cpus: Vec<u16>,
}

impl Identity {
    /// Reads the text of `/proc/PID/status`.
    #[must_use]
    pub fn of_status(text: &str) -> Self {
        let field = |name: &str| {
            text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim())).unwrap_or_default()
        };
        // Real, effective, saved, file system.
        let last = |name: &str| field(name).split_whitespace().nth(3).and_then(|id| id.parse::<u32>().ok());
        let groups = last("Gid").into_iter().chain(field("Groups").split_whitespace().filter_map(|id| id.parse().ok()));
        Self {
            uid: last("Uid"),
            groups: groups.collect(),
            capabilities: u64::from_str_radix(field("CapEff"), 16).unwrap_or(0),
            cpus: number_list(field("Cpus_allowed_list")),
        }
    }

    /// Whether it has a capability.
    #[must_use]
    pub const fn has(&self, capability: Capability) -> bool {
        self.capabilities & (1 << capability as u32) != 0
    }

    /// Whether it may have `bits` (of `rwx`) of a file of this mode and owner (path_resolution(7)).
    #[must_use]
    pub(super) fn may(&self, bits: u32, mode: u32, uid: u32, gid: u32) -> bool {
        let granted = if self.uid == Some(uid) {
            mode >> 6
        } else if self.groups.contains(&gid) {
            mode >> 3
        } else {
            mode
        };
        self.has(Capability::DacOverride) || granted & bits == bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nUid:\t1\t2\t3\t1000\nGid:\t1\t1\t1\t50\nGroups:\t4 27 \nCapEff:\t0000000000003000\n\
                          Cpus_allowed:\tff\nCpus_allowed_list:\t0-1,4\n";

    #[test]
    fn a_status_says_who_we_are() {
        let identity = Identity::of_status(STATUS);
        assert_eq!(
            (identity.uid, &identity.groups[..], &identity.cpus[..]),
            (Some(1000), &[50, 4, 27][..], &[0, 1, 4][..])
        );
        assert!(identity.has(Capability::NetAdmin) && identity.has(Capability::NetRaw));
        assert!(!identity.has(Capability::IpcLock) && !identity.has(Capability::DacOverride));
        assert_eq!(Identity::of_status(""), Identity::default());
    }

    #[test]
    fn owner_group_and_others_each_have_their_own_bits() {
        let identity = Identity::of_status(STATUS);
        assert!(identity.may(0o6, 0o600, 1000, 0));
        assert!(!identity.may(0o4, 0o077, 1000, 50), "an owner is bound by the owner's bits");
        assert!(identity.may(0o3, 0o770, 0, 27) && !identity.may(0o3, 0o707, 0, 27));
        assert!(identity.may(0o4, 0o004, 0, 0) && !identity.may(0o4, 0o770, 0, 0));
        let root = Identity { capabilities: 1 << 1, ..Identity::default() };
        assert!(root.may(0o6, 0, 5, 5));
    }
}
