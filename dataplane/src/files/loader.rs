//! Loads a tree into a catalogue: one pass to scan, one to read. Reads with pread(2) into memory that we own and never maps a source
//! file, so nothing that happens to the tree meanwhile can fault, overflow a reservation or mix two versions of a file unseen.
//!
//! A change is seen by fstat(2) before and after the read: device, inode, size, mtime and ctime must agree. That is as fine as the
//! file system's time stamps: a write of the same length within one tick of an earlier one escapes it. Publish by rename.

use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, io, thread};

use rustix::fs::{Mode, OFlags, open};
use thiserror::Error;

use super::arena::ArenaError;
use super::budget::Allowance;
use super::catalogue::{BuildError, Catalogue, CatalogueBuilder, FileId, GenerationId};
use super::fill::{fill, reserved_bytes};
use super::name::NameOptions;
use super::report::{LoadReport, Phase, Progress};
use super::reuse::{Changes, Fingerprint, Known};
use super::scan::{Found, Scan, scan};
use super::split::Split;
use super::version::Version;
use super::volume::Library;

/// More threads than this only wait for the memory.
const THREADS_MAX: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// How to load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Try explicit 2 MiB hugepages first.
    pub hugepages: bool,
    /// How names are normalised.
    pub names: NameOptions,
    /// The number of the catalogue.
    pub generation: GenerationId,
    /// When the load begins, by the clock of the files' time stamps. Without it nothing is known of how old they are, and a later
    /// [`reload`] reads them all again.
    pub began: Option<SystemTime>,
    /// Threads that read, the calling one included. `None`: as many as this thread may use processors, at most eight.
    pub threads: Option<NonZeroUsize>,
}

impl LoadOptions {
    fn threads(&self) -> NonZeroUsize {
        let all = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN).min(THREADS_MAX);
        self.threads.unwrap_or_else(all)
    }
}

/// Why there is no catalogue.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The root is not there.
    #[error(
        "the root {} does not exist: create it (mkdir -p {}) or name another one with --root", path.display(), path.display()
    )]
    RootMissing {
        /// As it was given.
        path: PathBuf,
    },
    /// The root is a symlink to nothing.
    #[error("the root {} is a symlink to {}, which does not exist: mend it or name another one with --root",
        path.display(), target.display())]
    RootDangling {
        /// As it was given.
        path: PathBuf,
        /// What the symlink says.
        target: PathBuf,
    },
    /// The root is there, but not a directory.
    #[error("the root {} is not a directory: name one with --root", path.display())]
    RootNotDirectory {
        /// As it was given.
        path: PathBuf,
    },
    /// The operating system would not let us open or list the root.
    #[error("cannot read the root {}: {source}", path.display())]
    RootUnreadable {
        /// As it was given, or canonical.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// No memory for the files.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// More than 2^24 names, or 4 GiB of them.
    #[error("the tree has too many names: serve a smaller one, or look for symlinks between directories")]
    TooManyNames,
}

impl From<BuildError> for LoadError {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Arena(error) => Self::Arena(error),
            BuildError::NoRoom { .. } | BuildError::TooManyNames => Self::TooManyNames,
        }
    }
}

/// What a load gave.
#[derive(Debug)]
pub struct Loaded {
    /// The files.
    pub catalogue: Catalogue,
    /// What became of the tree.
    pub report: LoadReport,
    /// The files that are not in the catalogue, to be read when they are asked for.
    pub library: Library,
}

/// Reads the tree below `root` into memory. What may not or cannot be served is left out and reported, never an error.
///
/// `progress` is called on this thread: after each directory, between the passes, and after each piece and file that this thread
/// reads, which is one among `LoadOptions::threads`; with one thread after every piece and file.
///
/// # Errors
/// [`LoadError`], when there is nothing to load from or to load into.
pub fn load(
    root: &Path,
    options: &LoadOptions,
    progress: &mut dyn FnMut(&Progress),
) -> Result<(Catalogue, LoadReport), LoadError> {
    let Loaded { catalogue, report, .. } = load_within(root, options, &Allowance::default(), progress)?;
    Ok((catalogue, report))
}

/// The same with a limit: of a tree that does not fit into it, the preferred files are read now, the others stay in the
/// [`Library`], and what is larger than all of it is left out.
///
/// # Errors
/// [`LoadError`], when there is nothing to load from or to load into.
pub fn load_within(
    root: &Path,
    options: &LoadOptions,
    allowance: &Allowance,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Loaded, LoadError> {
    let (root, scan, report) = look(root, options.names, progress)?;
    Ok(build(root, scan, report, (options, allowance), None, progress)?.0)
}

/// What a reload found.
#[derive(Debug)]
pub enum Reload {
    /// The tree is the one that `previous` was made from; the report is as a load would have given it.
    Same(Box<LoadReport>),
    /// Something is new.
    New(Box<Loaded>, Changes),
}

/// The same as [`load_within`] beside a catalogue that was loaded before: files of the same device, inode, size, mtime and ctime are
/// copied from its memory instead of being read, unless they had changed so shortly before they were read that the time stamps prove
/// nothing.
///
/// # Errors
/// [`LoadError`]; `previous` is as it was.
pub fn reload(
    root: &Path,
    options: &LoadOptions,
    allowance: &Allowance,
    previous: &Catalogue,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Reload, LoadError> {
    let (root, scan, mut report) = look(root, options.names, progress)?;
    let known = Known::of(previous);
    if previous.name_options() == options.names && known.is_same(&scan) {
        let (files, bytes) = (previous.file_count() as u64, previous.total_bytes());
        report.record(files, bytes, previous.names().count() as u64 - files, previous.page_kind());
        report.record_reuse(files - previous.absent_count() as u64, previous.pinned_bytes());
        return Ok(Reload::Same(Box::new(report)));
    }
    let (loaded, origins) = build(root, scan, report, (options, allowance), Some(&known), progress)?;
    let changes = known.compare(&loaded.catalogue, &origins);
    Ok(Reload::New(Box::new(loaded), changes))
}

/// Looks at the tree without reading a file: what a load would see.
///
/// # Errors
/// [`LoadError`], when there is nothing to load from.
pub fn fingerprint(root: &Path, names: NameOptions) -> Result<Fingerprint, LoadError> {
    let (_, _, report) = look(root, names, &mut |_| ())?;
    Ok(report.fingerprint())
}

/// The first pass.
fn look(
    root: &Path,
    names: NameOptions,
    progress: &mut dyn FnMut(&Progress),
) -> Result<(OwnedFd, Scan, LoadReport), LoadError> {
    let canonical = canonical_root(root)?;
    let root_fd = open_root(&canonical)?;
    let mut report = LoadReport::new();
    let scan = scan(&canonical, names, &mut report, progress)?;
    report.record_tree(Fingerprint::of(&scan));
    Ok((root_fd, scan, report))
}

/// The second pass, and what is made of it; of each file also which known one it is.
fn build(
    root: OwnedFd,
    scan: Scan,
    mut report: LoadReport,
    (options, allowance): (&LoadOptions, &Allowance),
    known: Option<&Known<'_>>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<(Loaded, Vec<Option<FileId>>), LoadError> {
    let Split { now, now_numbers, later, later_numbers, names, mut homes } = Split::new(scan, options, allowance);

    let capacity = usize::try_from(reserved_bytes(&now)).unwrap_or(usize::MAX);
    let mut builder = CatalogueBuilder::new(options.generation, options.names, capacity, options.hugepages)?;
    let outcomes = fill(&root, &now, options.threads(), known, &mut builder, progress);
    let files_total = now.files.len() as u64;
    progress(&Progress {
        phase: Phase::Seal,
        files_done: files_total,
        files_total,
        bytes_done: now.bytes,
        bytes_total: now.bytes,
    });

    let recognised = |version: Version| options.began.filter(|&began| version.is_settled(began)).map(|_| version);
    let mut origins = Vec::with_capacity(homes.len());
    let (mut reused_files, mut reused_bytes) = (0, 0);
    for (outcome, number) in outcomes.into_iter().zip(now_numbers) {
        homes[number] = match outcome {
            Ok(file) => {
                origins.push(file.reused);
                reused_files += u64::from(file.reused.is_some());
                reused_bytes += file.reused.map_or(0, |_| file.placed.len);
                Ok(builder.add_placed(file.placed, &file.counts, recognised(file.version))?)
            }
            Err(reason) => Err(reason),
        };
    }
    for (source, number) in later.iter().zip(later_numbers) {
        origins.push(known.and_then(|known| known.find(&source.version)));
        homes[number] = Ok(builder.add_absent_of(source.size, recognised(source.version))?);
    }
    report.record_reuse(reused_files, reused_bytes);
    let mut served_names = 0;
    for (name, found) in &names {
        match *found {
            Found::Denied(denied) => builder.deny(name, denied)?,
            Found::Content(number) => match homes[number] {
                Ok(id) => {
                    builder.add_name(name, id)?;
                    served_names += 1;
                }
                Err(reason) => {
                    report.leave_out(reason, name);
                    if let Some(denied) = reason.denied() {
                        builder.deny(name, denied)?;
                    }
                }
            },
        }
    }
    let catalogue = builder.finish()?;
    let files = catalogue.file_count() as u64;
    report.record(files, catalogue.total_bytes(), served_names - files, catalogue.page_kind());
    let library = Library::new(root, &catalogue, later, options.hugepages);
    Ok((Loaded { catalogue, report, library }, origins))
}

pub(super) fn canonical_root(root: &Path) -> Result<PathBuf, LoadError> {
    let path = || root.to_owned();
    let canonical = fs::canonicalize(root).map_err(|source| match (source.kind(), fs::read_link(root)) {
        (io::ErrorKind::NotFound, Ok(target)) => LoadError::RootDangling { path: path(), target },
        (io::ErrorKind::NotFound, Err(_)) => LoadError::RootMissing { path: path() },
        (io::ErrorKind::NotADirectory, _) => LoadError::RootNotDirectory { path: path() },
        _ => LoadError::RootUnreadable { path: path(), source },
    })?;
    if canonical.is_dir() { Ok(canonical) } else { Err(LoadError::RootNotDirectory { path: path() }) }
}

fn open_root(canonical: &Path) -> Result<OwnedFd, LoadError> {
    open(canonical, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| LoadError::RootUnreadable { path: canonical.to_owned(), source: errno.into() })
}
