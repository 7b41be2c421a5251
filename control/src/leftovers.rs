//! Runtime directories of EAL that nobody needs any more: our own at the end, those of killed runs at the start. Touches only
//! directories that carry our name and a process number.

use std::fs;
use std::path::{Path, PathBuf};

/// What our file prefixes begin with; the process number follows.
pub const PREFIX: &str = "bypassd-";

/// Removes the directories of our runs in `base` (EAL's `.../dpdk`) whose process is gone, as `is_alive` tells. Returns those that
/// it removed.
pub fn sweep(base: &Path, is_alive: impl Fn(u32) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(base) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|pid| pid.parse().ok());
            pid.is_some_and(|pid| !is_alive(pid))
        })
        .map(|entry| entry.path())
        // What cannot be removed belongs to somebody else.
        .filter(|path| fs::remove_dir_all(path).is_ok())
        .collect()
}

/// Whether a process of that number exists.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_dead_directories_go() {
        let base = tempfile::tempdir().unwrap();
        for name in ["bypassd-1", "bypassd-2", "bypassd-x", "rte", "bypassd-"] {
            fs::create_dir(base.path().join(name)).unwrap();
        }
        fs::write(base.path().join("bypassd-2/dpdk_telemetry.v2"), "").unwrap();
        let removed = sweep(base.path(), |pid| pid == 1);
        assert_eq!(removed, [base.path().join("bypassd-2")]);
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 4);
        assert!(sweep(&base.path().join("absent"), |_| false).is_empty());
    }

    #[test]
    fn a_process_is_alive_as_long_as_it_runs() {
        assert!(is_alive(std::process::id()));
        assert!(!is_alive(u32::MAX));
    }
}
