//! The machine as files: everything that control wants to know of it is read here, below one directory, which is `/` but for tests.
//! Reads, changes nothing; what is not there is an absent value, never an error.

mod identity;

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use identity::{Capability, Identity};

/// A directory that holds `proc`, `sys`, `dev`, `run` and all the rest.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
}

/// A process that holds a lock on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number; `None` when it is of a PID namespace that we do not see into.
    pub pid: Option<u32>,
}

/// What is wanted of a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read a file, list a directory.
    Read,
    /// Read and write a file.
    ReadWrite,
    /// Make and remove entries of a directory.
    Populate,
}

impl Access {
    const fn bits(self) -> u32 {
        match self {
            Self::Read => 0o4,
            Self::ReadWrite => 0o6,
            Self::Populate => 0o3,
        }
    }
}

impl Host {
    /// The machine that we run on.
    #[must_use]
    pub fn this() -> Self {
        Self::below("/")
    }

    /// A machine that is kept below a directory. Symlinks in it that are absolute lead out of it.
    #[must_use]
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where an absolute path of the machine is to be found.
    #[must_use]
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// What a file says, without white space around it.
    #[must_use]
    pub fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        let bytes = fs::read(self.path(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// The number that a file holds.
    #[must_use]
    pub fn number<T: FromStr>(&self, path: impl AsRef<Path>) -> Option<T> {
        self.text(path)?.parse().ok()
    }

    /// The bytes of a file.
    #[must_use]
    pub fn bytes(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        fs::read(self.path(path)).ok()
    }

    /// The names in a directory that are text, in order; none when it cannot be listed.
    #[must_use]
    pub fn names(&self, directory: impl AsRef<Path>) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(directory)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// What is at a path; symlinks are followed.
    ///
    /// # Errors
    /// As stat(2).
    pub fn metadata(&self, path: impl AsRef<Path>) -> io::Result<Metadata> {
        fs::metadata(self.path(path))
    }

    /// Whether something is at a path.
    #[must_use]
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        fs::symlink_metadata(self.path(path)).is_ok()
    }

    /// Whether a directory is at a path.
    #[must_use]
    pub fn is_directory(&self, path: impl AsRef<Path>) -> bool {
        self.metadata(path).is_ok_and(|found| found.is_dir())
    }

    /// Whether a socket is at a path.
    #[must_use]
    pub fn is_socket(&self, path: impl AsRef<Path>) -> bool {
        self.metadata(path).is_ok_and(|found| found.file_type().is_socket())
    }

    /// The last part of what a symlink says: the driver behind `…/0000:03:00.0/driver`.
    #[must_use]
    pub fn link_name(&self, path: impl AsRef<Path>) -> Option<String> {
        let target = fs::read_link(self.path(path)).ok()?;
        target.file_name()?.to_str().map(str::to_owned)
    }

    /// Who we are.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity::of_status(&self.text("/proc/self/status").unwrap_or_default())
    }

    /// Whether the mode of what is at a path allows us that, or our capabilities do. `None`: nothing is there, or we may not look.
    /// Access control lists and read-only mounts are not seen.
    #[must_use]
    pub fn allows(&self, path: impl AsRef<Path>, access: Access) -> Option<bool> {
        let found = self.metadata(path).ok()?;
        Some(self.identity().may(access.bits(), found.mode(), found.uid(), found.gid()))
    }

    /// Whether a process runs.
    #[must_use]
    pub fn is_running(&self, pid: u32) -> bool {
        self.exists(format!("/proc/{pid}"))
    }

    /// The name of a process's program.
    #[must_use]
    pub fn program_of(&self, pid: u32) -> Option<String> {
        self.text(format!("/proc/{pid}/comm"))
    }

    /// Who holds a lock, of whichever kind, on a file (`/proc/locks`).
    #[must_use]
    pub fn lock_holder(&self, path: impl AsRef<Path>) -> Option<Holder> {
        let found = self.metadata(path).ok()?;
        let device = found.dev();
        let wanted = format!("{:02x}:{:02x}:{}", rustix::fs::major(device), rustix::fs::minor(device), found.ino());
        let locks = self.text("/proc/locks")?;
        locks.lines().find_map(|line| {
            // `1: POSIX  ADVISORY  WRITE 1234 fe:00:382079 0 EOF`; `1: -> …` waits for the lock and does not hold it.
            let fields: Vec<&str> = line.split_whitespace().collect();
            match fields[..] {
                [_, kind, _, _, pid, file, ..] if kind != "->" && file == wanted => {
                    Some(Holder { pid: pid.parse().ok().filter(|&pid| pid != 0) })
                }
                _ => None,
            }
        })
    }

    /// The mounts: each with its place, its type and its options.
    #[must_use]
    pub fn mounts(&self) -> Vec<Mount> {
        let text = self.text("/proc/self/mounts").or_else(|| self.text("/proc/mounts")).unwrap_or_default();
        text.lines().filter_map(Mount::of_line).collect()
    }
}

/// A line of `/proc/mounts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub place: PathBuf,
    /// Type of the file system.
    pub kind: String,
    /// Its options, by commas.
    pub options: String,
}

impl Mount {
    fn of_line(line: &str) -> Option<Self> {
        let mut fields = line.split(' ').skip(1);
        let (place, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        // proc(5): blanks in a path are written as octal numbers.
        let place = PathBuf::from(place.replace("\\040", " "));
        Some(Self { place, kind: kind.to_owned(), options: options.to_owned() })
    }

    /// The value of `NAME=VALUE` among the options.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.split(',').find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }
}

/// The numbers of a list such as `0-3,8`, as the kernel writes sets of CPUs and nodes. Wrong parts are left out.
#[must_use]
pub fn number_list(text: &str) -> Vec<u16> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
            numbers.extend(first..=last);
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let directory = tempfile::tempdir().unwrap();
        let host = Host::below(directory.path());
        for (path, text) in files {
            let path = host.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        (directory, host)
    }

    #[test]
    fn everything_is_read_below_the_root() {
        let (directory, host) = host(&[("/sys/a/number", " 42\n"), ("/sys/a/word", "x\n")]);
        assert_eq!(host.path("/sys/a"), directory.path().join("sys/a"));
        assert_eq!(host.number::<u32>("/sys/a/number"), Some(42));
        assert_eq!(host.number::<u32>("/sys/a/word"), None);
        assert_eq!(host.text("/sys/absent"), None);
        assert_eq!(host.names("/sys/a"), ["number", "word"]);
        assert!(host.names("/sys/absent").is_empty());
    }

    #[test]
    fn a_lock_is_found_by_device_and_inode() {
        let (_directory, host) = host(&[("/run/a", ""), ("/run/b", "")]);
        let found = host.metadata("/run/a").unwrap();
        let file =
            format!("{:02x}:{:02x}:{}", rustix::fs::major(found.dev()), rustix::fs::minor(found.dev()), found.ino());
        let holder = |text: &str| {
            fs::create_dir_all(host.path("/proc")).unwrap();
            fs::write(host.path("/proc/locks"), text).unwrap();
            host.lock_holder("/run/a")
        };
        let held = format!("1: FLOCK  ADVISORY  WRITE 77 00:01:2 0 EOF\n2: POSIX  ADVISORY  WRITE 78 {file} 0 EOF\n");
        assert_eq!(holder(&held), Some(Holder { pid: Some(78) }));
        assert_eq!(host.lock_holder("/run/b"), None);
        assert_eq!(holder(&format!("2: FLOCK  ADVISORY  WRITE 0 {file} 0 EOF\n")), Some(Holder { pid: None }));
        assert_eq!(holder(&format!("1: -> POSIX  ADVISORY  WRITE 79 {file} 0 EOF\n")), None);
    }

    #[test]
    fn the_lock_of_a_real_file_is_seen() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let host = Host::this();
        assert_eq!(host.lock_holder(file.path()), None);
        file.as_file().lock().unwrap();
        assert_eq!(host.lock_holder(file.path()), Some(Holder { pid: Some(std::process::id()) }));
    }

    #[test]
    fn mounts_have_options() {
        let text = "none /a\\040b hugetlbfs rw,pagesize=2M 0 0\nnone /proc proc rw 0 0\n";
        let (_directory, host) = host(&[("/proc/self/mounts", text)]);
        let mounts = host.mounts();
        assert_eq!((mounts[0].place.as_path(), mounts[0].kind.as_str()), (Path::new("/a b"), "hugetlbfs"));
        assert_eq!((mounts[0].option("pagesize"), mounts[1].option("pagesize")), (Some("2M"), None));
    }

    #[test]
    fn lists_of_numbers_are_read_as_the_kernel_writes_them() {
        assert_eq!(number_list("0-2,8\n"), [0, 1, 2, 8]);
        assert_eq!(number_list("5"), [5]);
        assert!(number_list("").is_empty() && number_list("(null)").is_empty());
    }
}
