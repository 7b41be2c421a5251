//! Loads a tree into a catalogue: one pass to scan, one to read. Reads with pread(2) into memory that we own and never maps a source
//! file, so nothing that happens to the tree meanwhile can fault, overflow a reservation or mix two versions of a file unseen.
//!
//! A change is seen by fstat(2) before and after the read: device, inode, size, mtime and ctime must agree. That is as fine as the
//! file system's time stamps: a write of the same length within one tick of an earlier one escapes it. Publish by rename.

use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::{fs, io, thread};

use rustix::fs::{Mode, OFlags, open};
use thiserror::Error;

use super::arena::ArenaError;
use super::budget::Allowance;
use super::catalogue::{BuildError, Catalogue, CatalogueBuilder, GenerationId};
use super::fill::{fill, reserved_bytes};
use super::name::NameOptions;
use super::report::{LoadReport, Phase, Progress};
use super::scan::{Found, scan};
use super::split::Split;
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
    let canonical = canonical_root(root)?;
    let root_fd = open_root(&canonical)?;
    let mut report = LoadReport::new();
    let scan = scan(&canonical, options.names, &mut report, progress)?;
    let Split { now, now_numbers, later, later_numbers, names, mut homes } = Split::new(scan, options, allowance);

    let capacity = usize::try_from(reserved_bytes(&now)).unwrap_or(usize::MAX);
    let mut builder = CatalogueBuilder::new(options.generation, options.names, capacity, options.hugepages)?;
    let outcomes = fill(&root_fd, &now, options.threads(), &mut builder, progress);
    let files_total = now.files.len() as u64;
    progress(&Progress {
        phase: Phase::Seal,
        files_done: files_total,
        files_total,
        bytes_done: now.bytes,
        bytes_total: now.bytes,
    });

    for (outcome, number) in outcomes.into_iter().zip(now_numbers) {
        homes[number] = match outcome {
            Ok((placed, counts)) => Ok(builder.add_placed(placed, &counts)?),
            Err(reason) => Err(reason),
        };
    }
    for (source, number) in later.iter().zip(later_numbers) {
        homes[number] = Ok(builder.add_absent(source.size)?);
    }
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
    let library = Library::new(root_fd, &catalogue, later, options.hugepages);
    Ok(Loaded { catalogue, report, library })
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
