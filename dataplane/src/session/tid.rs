//! TIDs: which UDP ports a worker answers from, and which group of slots each of them names.

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

/// The TIDs of one worker: `tid = group << bits | worker`, so that owner and group cost a mask and a shift.
#[derive(Clone, Copy, Debug)]
pub struct TidSpace {
    worker: u16,
    bits: u32,
    first_group: u16,
    groups: u32,
}

impl TidSpace {
    /// The space of this worker.
    ///
    /// # Panics
    /// When there are more workers than a port number can tell apart (1,024).
    #[must_use]
    pub fn new(share: WorkerShare) -> Self {
        assert!((1..=FIRST_TID).contains(&share.workers) && share.index.0 < share.workers, "1 to 1024 workers");
        let bits = u32::from(share.workers).next_power_of_two().trailing_zeros();
        let first_group = FIRST_TID >> bits;
        let groups = (u32::from(u16::MAX) + 1 - u32::from(FIRST_TID)) >> bits;
        Self { worker: share.index.0, bits, first_group, groups }
    }

    /// How many TIDs this worker has.
    #[must_use]
    pub const fn groups(&self) -> u32 {
        self.groups
    }

    /// The worker that owns `tid`; `None` for a port that is nobody's TID. The number may exceed the last worker's when the
    /// number of workers is no power of two.
    #[must_use]
    #[inline]
    pub const fn owner(&self, tid: u16) -> Option<WorkerIndex> {
        if tid < FIRST_TID { None } else { Some(WorkerIndex(tid & self.mask())) }
    }

    /// The slot group of one of this worker's own TIDs; `None` for all other ports.
    #[must_use]
    #[inline]
    pub const fn group(&self, tid: u16) -> Option<u32> {
        if tid < FIRST_TID || tid & self.mask() != self.worker {
            return None;
        }
        Some((tid >> self.bits).wrapping_sub(self.first_group) as u32)
    }

    /// The TID of a slot group.
    #[must_use]
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "groups() bounds it to the port range")]
    pub const fn tid(&self, group: u32) -> u16 {
        ((group as u16 + self.first_group) << self.bits) | self.worker
    }

    const fn mask(&self) -> u16 {
        (1 << self.bits) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tid_has_one_owner_and_one_group() {
        for workers in [1, 2, 3, 4, 5, 8, 13, 64] {
            let spaces: Vec<_> =
                (0..workers).map(|index| TidSpace::new(WorkerShare { index: WorkerIndex(index), workers })).collect();
            for space in &spaces {
                for group in [0, 1, space.groups() / 2, space.groups() - 1] {
                    let tid = space.tid(group);
                    assert!(tid >= FIRST_TID);
                    assert_eq!(space.group(tid), Some(group), "{workers} workers, TID {tid}");
                    assert_eq!(space.owner(tid), Some(WorkerIndex(space.worker)));
                    for other in &spaces {
                        assert_eq!(other.group(tid).is_some(), other.worker == space.worker);
                    }
                }
            }
            assert_eq!(spaces[0].owner(69), None);
            assert_eq!(spaces[0].group(1_023), None);
        }
    }
}
