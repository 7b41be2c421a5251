//! What a version of a source file is known by: the numbers of stat(2) that a change to it changes.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;

use super::report::Reason;

/// Coarsest tick of a file system's time stamps (FAT; local Linux ones have milliseconds). A file that changed so shortly before it was
/// looked at may have changed once more within the same tick, unseen.
const TICK: Duration = Duration::from_secs(2);

/// What a change to a file changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Version {
    inode: (u64, u64),
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    pub(super) fn of(stat: &Stat) -> Result<Self, Reason> {
        Ok(Self {
            inode: (stat.st_dev, stat.st_ino),
            len: u64::try_from(stat.st_size).map_err(|_| Reason::Unreadable)?,
            modified: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
            changed: (stat.st_ctime, nanoseconds(stat.st_ctime_nsec)),
        })
    }

    pub(super) fn of_metadata(metadata: &Metadata) -> Self {
        Self {
            inode: (metadata.dev(), metadata.ino()),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// In bytes.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has the bytes of `other`, read at another time. Not by the time of change, which chmod(2) and link(2) set too.
    pub(super) fn has_bytes_of(&self, other: &Self) -> bool {
        (self.inode, self.len, self.modified) == (other.inode, other.len, other.modified)
    }

    /// Whether a change after `began`, when this version had not yet been looked at, must show in the time stamps (in ctime, which
    /// nobody can set): git's rule for files that are "racily clean".
    pub(super) fn is_settled(&self, began: SystemTime) -> bool {
        let Ok(began) = began.duration_since(UNIX_EPOCH) else { return false };
        let (seconds, nanoseconds) = self.changed;
        // Before 1970 is long ago, too.
        let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let changed = seconds + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0));
        changed + TICK < began
    }
}

/// Below 10^9.
fn nanoseconds(raw: u64) -> i64 {
    i64::try_from(raw).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_settled_two_seconds_after_its_change() {
        let version = |seconds| Version { inode: (1, 2), len: 3, modified: (0, 0), changed: (seconds, 500_000_000) };
        let at = |milliseconds| UNIX_EPOCH + Duration::from_millis(milliseconds);
        assert!(version(10).is_settled(at(12_501)));
        assert!(!version(10).is_settled(at(12_500)));
        assert!(!version(20).is_settled(at(12_500)), "changed in what the clock calls the future");
        assert!(version(-5).is_settled(at(3_000)), "before 1970");
        assert!(
            !version(10).is_settled(UNIX_EPOCH - Duration::from_secs(1)),
            "a clock that makes no sense proves nothing"
        );
    }

    #[test]
    fn both_ways_to_stat_agree() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let stat = rustix::fs::fstat(file.as_file()).unwrap();
        assert_eq!(Version::of(&stat), Ok(Version::of_metadata(&file.path().metadata().unwrap())));
    }
}
