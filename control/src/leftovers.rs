//! Runtime directories of EAL that nobody needs any more: our own at the end, those of killed runs at the start. Touches only
//! directories that carry our name and a process number.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
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
        // A process of another PID namespace has a number that means nothing here, but its telemetry socket has an owner.
        .filter(|path| !is_answered(path))
        // What cannot be removed belongs to somebody else.
        .filter(|path| fs::remove_dir_all(path).is_ok())
        .collect()
}

/// Removes the directory of this very run, whose EAL is down: nobody else has its process number while we live.
pub fn remove_own(base: &Path) {
    // With a file prefix of the user's there is none.
    drop(fs::remove_dir_all(base.join(format!("{PREFIX}{}", std::process::id()))));
}

/// Whether somebody owns a socket in this directory. A connection to EAL's, of another type than ours, is refused by kind; to one
/// without an owner, by nobody being there.
fn is_answered(directory: &Path) -> bool {
    let Ok(entries) = fs::read_dir(directory) else { return false };
    entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket())).any(|entry| {
        !matches!(UnixStream::connect(entry.path()), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
    })
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
    fn a_directory_with_an_owned_socket_stays() {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("bypassd-7");
        fs::create_dir(&directory).unwrap();
        let owned =
            rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::SEQPACKET, None).unwrap();
        let address = rustix::net::SocketAddrUnix::new(directory.join("dpdk_telemetry.v2")).unwrap();
        rustix::net::bind(&owned, &address).unwrap();
        rustix::net::listen(&owned, 1).unwrap();
        assert!(sweep(base.path(), |_| false).is_empty());
        drop(owned);
        assert_eq!(sweep(base.path(), |_| false), [directory]);
    }

    #[test]
    fn a_process_is_alive_as_long_as_it_runs() {
        assert!(is_alive(std::process::id()));
        assert!(!is_alive(u32::MAX));
    }
}
