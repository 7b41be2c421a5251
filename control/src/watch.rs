//! When a tree that is watched is to be loaded again: it differs from what was loaded, and two looks in a row have seen the same.
//!
//! The looks are walks over names and time stamps (`dataplane::files::fingerprint`), not events: a walk is what a reload begins with anyway,
//! it needs no watch per directory (inotify has a limit of those, and queues that overflow), and it works on file systems
//! whose changes make no events (NFS, FUSE). A file that is still being written changes from look to look, and so is not loaded half.

use std::time::{Duration, Instant};

use dataplane::files::Fingerprint;

/// What is known of a tree.
#[derive(Clone, Debug)]
pub struct Watch {
    loaded: Fingerprint,
    seen: Fingerprint,
    looked: Instant,
}

impl Watch {
    /// A tree that was just loaded.
    #[must_use]
    pub const fn new(loaded: Fingerprint, now: Instant) -> Self {
        Self { loaded, seen: loaded, looked: now }
    }

    /// How long until the next look; none when it is not watched.
    #[must_use]
    pub fn pause(&self, period_seconds: u32, now: Instant) -> Option<Duration> {
        let period = Duration::from_secs(period_seconds.into());
        (period_seconds > 0).then(|| (self.looked + period).saturating_duration_since(now))
    }

    /// Takes a look's result; whether to load the tree again.
    #[must_use]
    pub fn see(&mut self, fingerprint: Fingerprint, now: Instant) -> bool {
        let quiet = fingerprint == self.seen;
        self.seen = fingerprint;
        self.looked = now;
        let due = quiet && fingerprint != self.loaded;
        if due {
            // Once, whatever comes of it: a tree that cannot be loaded is tried again when it has changed again.
            self.loaded = fingerprint;
        }
        due
    }

    /// A look that saw nothing, such as a root that is not there at the moment.
    pub const fn miss(&mut self, now: Instant) {
        self.looked = now;
    }

    /// The tree was loaded, for whatever reason.
    pub const fn note_loaded(&mut self, loaded: Fingerprint) {
        self.loaded = loaded;
        self.seen = loaded;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use dataplane::files::{NameOptions, fingerprint};

    use super::*;

    fn look(root: &Path) -> Fingerprint {
        fingerprint(root, NameOptions::default()).unwrap()
    }

    #[test]
    fn a_change_is_due_once_it_is_quiet_and_once_only() {
        let root = tempfile::tempdir().unwrap();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watch = Watch::new(look(root.path()), start);
        assert_eq!(watch.pause(0, start), None);
        assert_eq!(watch.pause(5, at(2)), Some(Duration::from_secs(3)));
        assert!(!watch.see(look(root.path()), at(5)));
        for turn in 0..3 {
            fs::write(root.path().join("growing"), vec![0; turn + 1]).unwrap();
            assert!(!watch.see(look(root.path()), at(6)), "still being written");
        }
        assert_eq!(watch.pause(5, at(20)), Some(Duration::ZERO));
        assert!(watch.see(look(root.path()), at(20)));
        assert!(!watch.see(look(root.path()), at(25)), "tried, and nothing has changed since");
        fs::write(root.path().join("other"), b"x").unwrap();
        watch.miss(at(30));
        assert!(!watch.see(look(root.path()), at(35)));
        watch.note_loaded(look(root.path()));
        assert!(!watch.see(look(root.path()), at(40)), "somebody else had it loaded");
    }
}
