//! TIDs: which UDP ports a worker answers from, and which group of slots each of them names.

use crate::tftp::REQUEST_PORT;
use core::fmt;
use thiserror::Error;

/// A worker's number, from 0 to one below the number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerIndex(pub u16);

/// One worker among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerShare {
    /// This one.
    pub index: WorkerIndex,
    /// How many there are, at least 1.
    pub workers: u16,
}

/// TIDs begin here: lower ports belong to services.
const FIRST_TID: u16 = 1_024;

/// A worker with fewer TIDs would be easily guessed at.
const TIDS_MIN: u32 = 32;

/// Sessions that one TID may have at a time, told apart by their clients.
const SESSIONS_PER_TID_MAX: u32 = 256;

/// The UDP ports that transfers are served from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyPorts {
    /// A TID of its own for each transfer, RFC 1350 §4, out of these.
    Range {
        /// The first, at least 1024.
        first: u16,
        /// The last.
        last: u16,
    },
    /// The port of requests, for clients behind a NAT or firewall that knows no other: transfers are told apart by their clients
    /// alone.
    Single,
}

impl fmt::Display for ReplyPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range { first, last } => write!(f, "{first}-{last}"),
            Self::Single => write!(f, "the port of requests alone"),
        }
    }
}

impl Default for ReplyPorts {
    fn default() -> Self {
        Self::Range { first: FIRST_TID, last: u16::MAX }
    }
}

/// Why ports do not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReplyPortsError {
    /// The range begins too low.
    #[error("port {0} belongs to services: reply ports begin at {FIRST_TID}")]
    TooLow(u16),
    /// Some worker has too few to be unpredictable.
    #[error(
        "a worker gets {per_worker} of these ports and needs {TIDS_MIN}: with {workers} worker(s) write a range of at least {} ports",
        (TIDS_MIN + 1) * u32::from(workers.next_power_of_two())
    )]
    TooFew {
        /// What each worker gets.
        per_worker: u32,
        /// How many workers there are.
        workers: u16,
    },
    /// They would have to be shared by too many.
    #[error(
        "{sessions} sessions of a worker share its {per_worker} ports, {SESSIONS_PER_TID_MAX} at most each: \
         widen the range or lower limits.max_sessions"
    )]
    TooManySessions {
        /// Sessions of one worker.
        sessions: u32,
        /// What each worker gets.
        per_worker: u32,
    },
}

impl ReplyPorts {
    /// Whether these ports do for so many workers with so many sessions each.
    ///
    /// # Errors
    /// [`ReplyPortsError`].
    pub fn check(self, workers: u16, sessions_per_worker: u32) -> Result<(), ReplyPortsError> {
        let Self::Range { first, .. } = self else { return Ok(()) };
        if first < FIRST_TID {
            return Err(ReplyPortsError::TooLow(first));
        }
        let (_, per_worker) = self.groups(bits_for(workers));
        if per_worker < TIDS_MIN {
            return Err(ReplyPortsError::TooFew { per_worker, workers });
        }
        if sessions_per_worker.div_ceil(per_worker) > SESSIONS_PER_TID_MAX {
            return Err(ReplyPortsError::TooManySessions { sessions: sessions_per_worker, per_worker });
        }
        Ok(())
    }

    /// The first group of ports that is wholly among these, and how many are, where the low `bits` tell a group's ports apart.
    fn groups(self, bits: u32) -> (u16, u32) {
        let Self::Range { first, last } = self else { return (REQUEST_PORT, 1) };
        let first_group = u32::from(first).div_ceil(1 << bits);
        let groups = ((u32::from(last) + 1) >> bits).saturating_sub(first_group);
        (u16::try_from(first_group).unwrap_or(u16::MAX), groups)
    }
}

/// The low bits of a TID that name one of so many workers.
const fn bits_for(workers: u16) -> u32 {
    (workers as u32).next_power_of_two().trailing_zeros()
}

/// The TIDs of one worker: `tid = group << bits | worker`, so that owner and group cost a mask and a shift. A single port is
/// every worker's only group.
#[derive(Clone, Copy, Debug)]
pub struct TidSpace {
    worker: u16,
    bits: u32,
    first_group: u16,
    groups: u32,
    is_single: bool,
}

impl TidSpace {
    /// The space of this worker.
    ///
    /// # Panics
    /// When there are more workers than a port number can tell apart (1,024), or not one port for each: see [`ReplyPorts::check`].
    #[must_use]
    pub fn new(share: WorkerShare, ports: ReplyPorts) -> Self {
        assert!((1..=FIRST_TID).contains(&share.workers) && share.index.0 < share.workers, "1 to 1024 workers");
        let is_single = ports == ReplyPorts::Single;
        let (worker, bits) = if is_single { (0, 0) } else { (share.index.0, bits_for(share.workers)) };
        let (first_group, groups) = ports.groups(bits);
        assert!(groups > 0, "at least one port for each worker");
        Self { worker, bits, first_group, groups, is_single }
    }

    /// Whether all is served from the port of requests.
    #[must_use]
    #[inline]
    pub const fn is_single(&self) -> bool {
        self.is_single
    }

    /// How many TIDs this worker has.
    #[must_use]
    pub const fn groups(&self) -> u32 {
        self.groups
    }

    /// The worker that owns `tid`; `None` for a port that is nobody's TID, and for a single port, which does not tell. The number
    /// may exceed the last worker's when the number of workers is no power of two.
    #[must_use]
    #[inline]
    pub const fn owner(&self, tid: u16) -> Option<WorkerIndex> {
        if self.is_single || self.number_of_group(tid) >= self.groups {
            None
        } else {
            Some(WorkerIndex(tid & self.mask()))
        }
    }

    /// The slot group of one of this worker's own TIDs; `None` for all other ports.
    #[must_use]
    #[inline]
    pub const fn group(&self, tid: u16) -> Option<u32> {
        let group = self.number_of_group(tid);
        if group >= self.groups || tid & self.mask() != self.worker {
            return None;
        }
        Some(group)
    }

    /// The TID of a slot group.
    #[must_use]
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "groups() bounds it to the port range")]
    pub const fn tid(&self, group: u32) -> u16 {
        ((group as u16 + self.first_group) << self.bits) | self.worker
    }

    /// That of a port below the first group is beyond all groups.
    #[inline]
    const fn number_of_group(&self, tid: u16) -> u32 {
        (tid >> self.bits).wrapping_sub(self.first_group) as u32
    }

    const fn mask(&self) -> u16 {
        (1 << self.bits) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGES: [ReplyPorts; 4] = [
        ReplyPorts::Range { first: 1_024, last: 65_535 },
        ReplyPorts::Range { first: 49_152, last: 65_535 },
        ReplyPorts::Range { first: 20_001, last: 24_001 },
        ReplyPorts::Range { first: 64_000, last: 65_534 },
    ];

    fn spaces(workers: u16, ports: ReplyPorts) -> Vec<TidSpace> {
        (0..workers).map(|index| TidSpace::new(WorkerShare { index: WorkerIndex(index), workers }, ports)).collect()
    }

    #[test]
    fn every_tid_has_one_owner_and_one_group() {
        for (workers, ports) in [1, 2, 3, 4, 5, 8, 13, 64].into_iter().flat_map(|n| RANGES.map(|ports| (n, ports))) {
            let spaces = spaces(workers, ports);
            let ReplyPorts::Range { first, last } = ports else { unreachable!() };
            for space in &spaces {
                for group in [0, 1, space.groups() / 2, space.groups() - 1] {
                    let tid = space.tid(group);
                    assert!((first..=last).contains(&tid), "{workers} workers, TID {tid}");
                    assert_eq!(space.group(tid), Some(group), "{workers} workers, TID {tid}");
                    assert_eq!(space.owner(tid), Some(WorkerIndex(space.worker)));
                    for other in &spaces {
                        assert_eq!(other.group(tid).is_some(), other.worker == space.worker);
                    }
                }
            }
            for port in [0, 69, 1_023, first - 1].into_iter().chain(last.checked_add(1)) {
                assert_eq!(spaces[0].owner(port), None, "{workers} workers, port {port}");
                assert_eq!(spaces[0].group(port), None, "{workers} workers, port {port}");
            }
        }
    }

    #[test]
    fn a_range_is_used_but_for_what_its_edges_cut_off() {
        for (workers, ports) in [1, 2, 3, 8].into_iter().flat_map(|n| RANGES.map(|ports| (n, ports))) {
            let ReplyPorts::Range { first, last } = ports else { unreachable!() };
            let together = TidSpace::new(WorkerShare { index: WorkerIndex(0), workers }, ports).groups();
            let width = u32::from(workers.next_power_of_two());
            assert!(together * width + 2 * (width - 1) > u32::from(last - first), "{workers} workers, {ports:?}");
        }
    }

    #[test]
    fn a_single_port_is_everybodys_only_group() {
        for space in spaces(3, ReplyPorts::Single) {
            assert!(space.is_single());
            assert_eq!((space.groups(), space.tid(0), space.group(69)), (1, 69, Some(0)));
            assert_eq!(
                (space.owner(69), space.owner(5_000), space.group(68), space.group(70)),
                (None, None, None, None)
            );
        }
    }

    #[test]
    fn ports_that_do_not_do_are_named() {
        let range = |first, last| ReplyPorts::Range { first, last };
        assert_eq!(ReplyPorts::default().check(64, 16_384), Ok(()));
        assert_eq!(ReplyPorts::Single.check(64, 1 << 20), Ok(()));
        assert_eq!(range(69, 5_000).check(1, 10), Err(ReplyPortsError::TooLow(69)));
        assert_eq!(range(5_000, 5_031).check(1, 10), Ok(()));
        assert_eq!(range(5_000, 5_030).check(1, 10), Err(ReplyPortsError::TooFew { per_worker: 31, workers: 1 }));
        assert_eq!(range(9_000, 5_000).check(1, 10), Err(ReplyPortsError::TooFew { per_worker: 0, workers: 1 }));
        let error = range(5_000, 5_063).check(3, 10).unwrap_err();
        assert!(error.to_string().contains("at least 132 ports"), "{error}");
        assert_eq!(range(5_001, 5_132).check(3, 10), Ok(()), "wherever it begins");
        let sessions = 32 * SESSIONS_PER_TID_MAX;
        assert_eq!(range(5_000, 5_031).check(1, sessions), Ok(()));
        let error = range(5_000, 5_031).check(1, sessions + 1).unwrap_err();
        assert_eq!(error, ReplyPortsError::TooManySessions { sessions: sessions + 1, per_worker: 32 });
    }
}
