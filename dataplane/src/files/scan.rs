//! The first pass of a load: walks the tree in byte order, decides by mode bits and symlink targets what may be served, and adds
//! up sizes. Opens no file, so a FIFO cannot hold it up; what it saw is checked again when the files are opened.

use std::collections::HashMap;
use std::collections::hash_map;
use std::fs::{self, DirEntry, FileType, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::catalogue::Denied;
use super::loader::LoadError;
use super::name::{Name, NameError, NameOptions};
use super::report::{LoadReport, Phase, Progress, Reason};
use super::version::Version;

/// The read bit for others, of a file's mode.
pub(super) const READABLE_BY_OTHERS: u32 = 0o004;
/// The search bit for others, of a directory's mode.
const SEARCHABLE_BY_OTHERS: u32 = 0o001;
/// Symlinks to directories that one path may go through. Directories full of links to one another would else multiply without end.
const DIRECTORY_LINKS_MAX: usize = 8;
/// Names of all kinds in one tree.
const NAMES_MAX: usize = 1 << 24;

/// A file to read, once for all its names.
#[derive(Debug)]
pub(super) struct SourceFile {
    /// Relative to the canonical root, free of symlinks.
    pub(super) path: PathBuf,
    /// In bytes, at the scan.
    pub(super) size: u64,
    /// What it was then.
    pub(super) version: Version,
}

/// What a name was found to be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    /// A number in [`Scan::files`].
    Content(usize),
    Denied(Denied),
}

/// What the tree holds.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) files: Vec<SourceFile>,
    pub(super) names: Vec<(Box<[u8]>, Found)>,
    /// Sum of the sizes, in bytes.
    pub(super) bytes: u64,
}

/// Walks the tree below `root`, which is canonical.
pub(super) fn scan(
    root: &Path,
    names: NameOptions,
    report: &mut LoadReport,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Scan, LoadError> {
    let unreadable = |source| LoadError::RootUnreadable { path: root.to_owned(), source };
    let listing = list(root).map_err(unreadable)?;
    let metadata = fs::symlink_metadata(root).map_err(unreadable)?;
    let mut scanner = Scanner {
        root,
        options: names,
        scan: Scan::default(),
        by_inode: HashMap::new(),
        by_folded_name: HashMap::new(),
        above: vec![inode(&metadata)],
        directory_links: 0,
        report,
        progress,
    };
    scanner.walk(root, b"", listing)?;
    Ok(scanner.scan)
}

struct Scanner<'a> {
    root: &'a Path,
    options: NameOptions,
    scan: Scan,
    by_inode: HashMap<(u64, u64), usize>,
    /// Where in `scan.names` a folded name is; empty without case folding.
    by_folded_name: HashMap<Box<[u8]>, usize>,
    /// The directories being walked, root first.
    above: Vec<(u64, u64)>,
    directory_links: usize,
    report: &'a mut LoadReport,
    progress: &'a mut dyn FnMut(&Progress),
}

impl Scanner<'_> {
    /// `directory` is canonical; what it lists is served below `prefix`.
    fn walk(&mut self, directory: &Path, prefix: &[u8], listing: Vec<DirEntry>) -> Result<(), LoadError> {
        for entry in listing {
            let mut name = prefix.to_vec();
            if !name.is_empty() {
                name.push(b'/');
            }
            name.extend_from_slice(entry.file_name().as_bytes());
            if let Err(reason) = self.visit(&directory.join(entry.file_name()), &name, &entry)? {
                self.leave_out(reason, &name);
            }
            if self.scan.names.len() > NAMES_MAX {
                return Err(LoadError::TooManyNames);
            }
        }
        let files_total = self.scan.files.len() as u64;
        (self.progress)(&Progress {
            phase: Phase::Scan,
            files_done: 0,
            files_total,
            bytes_done: 0,
            bytes_total: self.scan.bytes,
        });
        Ok(())
    }

    fn visit(&mut self, path: &Path, name: &[u8], entry: &DirEntry) -> Result<Result<(), Reason>, LoadError> {
        if let Err(reason) = self.check_askable(name) {
            return Ok(Err(reason));
        }
        match entry.metadata() {
            Err(error) => Ok(Err(reason_of(&error))),
            Ok(metadata) if metadata.is_symlink() => self.visit_symlink(path, name),
            Ok(metadata) => self.visit_real(path, name, &metadata),
        }
    }

    /// A symlink serves what it leads to, if that lies below the root and could be reached there by others.
    fn visit_symlink(&mut self, path: &Path, name: &[u8]) -> Result<Result<(), Reason>, LoadError> {
        let target = match fs::canonicalize(path) {
            Ok(target) => target,
            Err(error) => {
                let dangles = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
                return Ok(Err(if dangles { Reason::Dangling } else { reason_of(&error) }));
            }
        };
        if !target.starts_with(self.root) {
            return Ok(Err(Reason::Outside));
        }
        let directories =
            target.ancestors().skip(1).take_while(|&above| above != self.root && above.starts_with(self.root));
        for directory in directories {
            match fs::symlink_metadata(directory) {
                Ok(metadata) if metadata.mode() & SEARCHABLE_BY_OTHERS != 0 => {}
                Ok(_) => return Ok(Err(Reason::NotSearchable)),
                Err(error) => return Ok(Err(reason_of(&error))),
            }
        }
        let metadata = match fs::symlink_metadata(&target) {
            Ok(metadata) => metadata,
            Err(error) => return Ok(Err(reason_of(&error))),
        };
        if metadata.is_dir() && self.directory_links == DIRECTORY_LINKS_MAX {
            return Ok(Err(Reason::Loop));
        }
        self.directory_links += 1;
        let visited = self.visit_real(&target, name, &metadata);
        self.directory_links -= 1;
        visited
    }

    /// `path` is canonical and not a symlink.
    fn visit_real(&mut self, path: &Path, name: &[u8], metadata: &Metadata) -> Result<Result<(), Reason>, LoadError> {
        let file_type: FileType = metadata.file_type();
        if file_type.is_dir() {
            self.visit_directory(path, name, metadata)
        } else if file_type.is_file() {
            Ok(self.visit_file(path, name, metadata))
        } else {
            Ok(Err(Reason::Special))
        }
    }

    fn visit_directory(
        &mut self,
        path: &Path,
        name: &[u8],
        metadata: &Metadata,
    ) -> Result<Result<(), Reason>, LoadError> {
        if metadata.mode() & SEARCHABLE_BY_OTHERS == 0 {
            return Ok(Err(Reason::NotSearchable));
        }
        if self.above.contains(&inode(metadata)) {
            return Ok(Err(Reason::Loop));
        }
        let listing = match list(path) {
            Ok(listing) => listing,
            Err(error) => return Ok(Err(reason_of(&error))),
        };
        self.add(name, Found::Denied(Denied::Directory));
        self.above.push(inode(metadata));
        let walked = self.walk(path, name, listing);
        self.above.pop();
        walked.map(Ok)
    }

    fn visit_file(&mut self, path: &Path, name: &[u8], metadata: &Metadata) -> Result<(), Reason> {
        if metadata.mode() & READABLE_BY_OTHERS == 0 {
            return Err(Reason::NotReadable);
        }
        let relative = path.strip_prefix(self.root).map_err(|_| Reason::Outside)?;
        if self.is_file_but_for_case(name) {
            return Err(Reason::CaseConflict);
        }
        let content = match self.by_inode.entry(inode(metadata)) {
            hash_map::Entry::Occupied(known) => *known.get(),
            hash_map::Entry::Vacant(place) => {
                self.scan.bytes = self.scan.bytes.saturating_add(metadata.len());
                let version = Version::of_metadata(metadata);
                self.scan.files.push(SourceFile { path: relative.to_owned(), size: metadata.len(), version });
                *place.insert(self.scan.files.len() - 1)
            }
        };
        self.add(name, Found::Content(content));
        Ok(())
    }

    /// Whether a request could have this name: normalising must give it back.
    fn check_askable(&self, name: &[u8]) -> Result<(), Reason> {
        match Name::parse(name, self.options) {
            Ok(parsed) if self.options.fold_case && parsed.as_bytes().eq_ignore_ascii_case(name) => Ok(()),
            Ok(parsed) if parsed.as_bytes() == name => Ok(()),
            Err(NameError::TooLong) => Err(Reason::NameTooLong),
            Ok(_) | Err(NameError::Empty | NameError::ForbiddenByte | NameError::Climbs) => Err(Reason::NameForbidden),
        }
    }

    fn is_file_but_for_case(&self, name: &[u8]) -> bool {
        let known = self.by_folded_name.get(name.to_ascii_lowercase().as_slice());
        known.is_some_and(|&number| matches!(self.scan.names[number].1, Found::Content(_)))
    }

    fn leave_out(&mut self, reason: Reason, name: &[u8]) {
        self.report.leave_out(reason, name);
        if let Some(denied) = reason.denied() {
            self.add(name, Found::Denied(denied));
        }
    }

    /// Under case folding the first name in byte order stays, but a file takes the place of what is denied.
    fn add(&mut self, name: &[u8], found: Found) {
        if self.options.fold_case {
            match self.by_folded_name.entry(name.to_ascii_lowercase().into()) {
                hash_map::Entry::Vacant(place) => {
                    place.insert(self.scan.names.len());
                }
                hash_map::Entry::Occupied(known) => {
                    let known = &mut self.scan.names[*known.get()];
                    if matches!((known.1, found), (Found::Denied(_), Found::Content(_))) {
                        *known = (name.into(), found);
                    }
                    return;
                }
            }
        }
        self.scan.names.push((name.into(), found));
    }
}

/// The directory's entries in byte order.
fn list(directory: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_cached_key(DirEntry::file_name);
    Ok(entries)
}

fn inode(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn reason_of(error: &io::Error) -> Reason {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => Reason::Vanished,
        Some(Errno::LOOP) => Reason::Loop,
        _ => Reason::Unreadable,
    }
}
