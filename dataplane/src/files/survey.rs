//! What a load would find, without reading a file: the same walk and the same decisions, and what others could change under it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::budget::pinned_bytes;
use super::fill::reserved_bytes;
use super::loader::{LoadError, canonical_root};
use super::name::{NameOptions, escape};
use super::report::LoadReport;
use super::scan::scan;

/// The write bit for others, of a mode.
const WRITABLE_BY_OTHERS: u32 = 0o002;
/// Others may add entries to such a directory, but only change their own.
const STICKY: u32 = 0o1000;

/// What is below a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Files that would be served, each counted once.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of memory that they would take.
    pub memory_bytes: u64,
    /// Bytes of the cache budget that they would cost, all loaded at start.
    pub cost_bytes: u64,
    /// Length of the largest of them.
    pub largest_bytes: u64,
    /// What would be left out, and why; its numbers of files and bytes are zero.
    pub report: LoadReport,
    /// Files that anybody may write, and directories in which anybody may replace files: relative to the root, escaped for a log.
    pub writable: Vec<String>,
}

/// Walks the tree below `root` as [`load`](super::load) does.
///
/// # Errors
/// As of the walk of [`load`](super::load).
pub fn survey(root: &Path, names: NameOptions) -> Result<Survey, LoadError> {
    let canonical = canonical_root(root)?;
    let mut report = LoadReport::new();
    let scan = scan(&canonical, names, &mut report, &mut |_| {})?;
    let mut directories: BTreeSet<PathBuf> = BTreeSet::new();
    let mut writable = Vec::new();
    for file in &scan.files {
        directories.extend(file.path.ancestors().skip(1).map(Path::to_owned));
        if mode(&canonical.join(&file.path)) & WRITABLE_BY_OTHERS != 0 {
            writable.push(shown(&file.path));
        }
    }
    for directory in directories {
        let mode = mode(&canonical.join(&directory));
        if mode & WRITABLE_BY_OTHERS != 0 && mode & STICKY == 0 {
            writable.push(format!("{}/", shown(&directory)));
        }
    }
    let (files, bytes, memory_bytes) = (scan.files.len() as u64, scan.bytes, reserved_bytes(&scan));
    let cost_bytes = scan.files.iter().map(|file| pinned_bytes(file.size)).fold(0, u64::saturating_add);
    let largest_bytes = scan.files.iter().map(|file| file.size).max().unwrap_or(0);
    Ok(Survey { files, bytes, memory_bytes, cost_bytes, largest_bytes, report, writable })
}

/// None of a file that is gone by now.
fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).map_or(0, |metadata| metadata.mode())
}

fn shown(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let bytes = path.as_os_str().as_bytes();
    if bytes.is_empty() { ".".to_owned() } else { escape(bytes).to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::files::{LoadOptions, Reason, load};

    #[test]
    fn a_survey_agrees_with_a_load_and_reads_nothing() {
        let root = tempfile::tempdir().unwrap();
        let set = |name: &str, mode: u32| {
            fs::set_permissions(root.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        for directory in ["a", "open", "sticky"] {
            fs::create_dir(root.path().join(directory)).unwrap();
        }
        for (name, mode) in [("a/x", 0o644), ("a/secret", 0o640), ("open/y", 0o646), ("sticky/z", 0o644)] {
            fs::write(root.path().join(name), vec![7; 5000]).unwrap();
            set(name, mode);
        }
        for (directory, mode) in [("open", 0o777), ("sticky", 0o1777), ("a", 0o755), ("", 0o755)] {
            set(directory, mode);
        }
        let found = survey(root.path(), NameOptions::default()).unwrap();
        assert_eq!((found.files, found.bytes), (3, 15_000));
        assert!(found.memory_bytes >= found.bytes);
        assert_eq!(found.writable, ["open/y", "open/"]);
        assert_eq!(found.report.left_out(Reason::NotReadable), 1);
        let (catalogue, report) = load(root.path(), &LoadOptions::default(), &mut |_| {}).unwrap();
        assert_eq!((catalogue.file_count() as u64, report.bytes()), (found.files, found.bytes));
        assert_eq!(report.examples(Reason::NotReadable), found.report.examples(Reason::NotReadable));
        assert!(survey(&root.path().join("absent"), NameOptions::default()).is_err());
    }
}
