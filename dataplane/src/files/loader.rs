//! Loads a tree into a catalogue: one pass to scan, one to read. Reads with pread(2) into memory that we own and never maps a source
//! file, so nothing that happens to the tree meanwhile can fault, overflow a reservation or mix two versions of a file unseen.
//!
//! A change is seen by fstat(2) before and after the read: device, inode, size, mtime and ctime must agree. That is as fine as the
//! file system's time stamps: a write of the same length within one tick of an earlier one escapes it. Publish by rename.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, Mode, OFlags, ResolveFlags, fadvise, open, openat2};
use rustix::io::Errno;
use thiserror::Error;

use super::arena::{ArenaError, FILE_ALIGN};
use super::catalogue::{BuildError, Catalogue, CatalogueBuilder, GenerationId};
use super::name::NameOptions;
use super::netascii::LineCounter;
use super::report::{LoadReport, Phase, Progress, Reason};
use super::scan::{Content, Found, READABLE_BY_OTHERS, Scan, scan};

/// Bytes per pread: small enough that the CR and LF count finds them in the second-level cache.
const PIECE: usize = 256 << 10;
/// Further attempts at a file that changed while it was being read.
const RETRIES: u32 = 3;

/// How to load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Try explicit 2 MiB hugepages first.
    pub hugepages: bool,
    /// How names are normalised.
    pub names: NameOptions,
    /// The number of the catalogue.
    pub generation: GenerationId,
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

/// Reads the tree below `root` into memory. What may not or cannot be served is left out and reported, never an error.
///
/// `progress` is called after each directory, between the passes, and after each piece of a file, on this thread.
///
/// # Errors
/// [`LoadError`], when there is nothing to load from or to load into.
pub fn load(
    root: &Path,
    options: &LoadOptions,
    progress: &mut dyn FnMut(&Progress),
) -> Result<(Catalogue, LoadReport), LoadError> {
    let canonical = canonical_root(root)?;
    let root_fd = open_root(&canonical)?;
    let mut report = LoadReport::new();
    let scan = scan(&canonical, options.names, &mut report, progress)?;

    let needed_bytes = scan.contents.iter().map(reservation).fold(0, u64::saturating_add);
    let capacity = usize::try_from(needed_bytes).unwrap_or(usize::MAX);
    let mut builder = CatalogueBuilder::new(options.generation, options.names, capacity, options.hugepages)?;
    let mut state = Progress {
        phase: Phase::Read,
        files_done: 0,
        files_total: scan.contents.len() as u64,
        bytes_done: 0,
        bytes_total: scan.bytes,
    };
    progress(&state);

    let outcomes = read_all(&root_fd, &scan, needed_bytes, &mut builder, &mut state, progress)?;
    state.phase = Phase::Seal;
    progress(&state);

    let mut served_names = 0;
    for (name, found) in &scan.names {
        match *found {
            Found::Denied(denied) => builder.deny(name, denied)?,
            Found::Content(number) => match outcomes[number] {
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
    Ok((catalogue, report))
}

fn canonical_root(root: &Path) -> Result<PathBuf, LoadError> {
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

/// Bytes of arena that a file takes.
fn reservation(content: &Content) -> u64 {
    content.size.checked_next_multiple_of(FILE_ALIGN as u64).unwrap_or(u64::MAX)
}

type Outcome = Result<super::FileId, Reason>;

/// Files lie in the arena one behind the other, so the room that one did not use is there for a later one that has grown; but
/// never the room of those still to come.
fn read_all(
    root: &OwnedFd,
    scan: &Scan,
    reserved_bytes: u64,
    builder: &mut CatalogueBuilder,
    state: &mut Progress,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Vec<Outcome>, LoadError> {
    let mut reserved_behind = reserved_bytes;
    let mut outcomes = Vec::with_capacity(scan.contents.len());
    for content in &scan.contents {
        reserved_behind -= reservation(content);
        let keep = usize::try_from(reserved_behind).unwrap_or(usize::MAX);
        let bytes_before = state.bytes_done;
        let mut on_piece = |bytes: usize| {
            // A file that grew or was read again must not push the count past its share.
            state.bytes_done = (state.bytes_done + bytes as u64).min(bytes_before + content.size);
            progress(state);
        };
        let outcome = match read_with_retries(root, content, keep, builder, &mut on_piece) {
            Ok((len, counts_start)) => Ok(builder.commit_file(len, counts_start)?),
            Err(reason) => Err(reason),
        };
        outcomes.push(outcome);
        state.files_done += 1;
        state.bytes_done = bytes_before + content.size;
        progress(state);
    }
    Ok(outcomes)
}

fn read_with_retries(
    root: &OwnedFd,
    content: &Content,
    keep: usize,
    builder: &mut CatalogueBuilder,
    on_piece: &mut dyn FnMut(usize),
) -> Result<(usize, Option<usize>), Reason> {
    let mut retries = 0;
    loop {
        let (vacant, mut counter) = builder.next_file();
        let room = vacant.len().saturating_sub(keep);
        match read_file(root, &content.path, &mut vacant[..room], &mut counter, on_piece) {
            Ok(len) => return Ok((len, counter.finish())),
            Err(reason) => {
                counter.abandon();
                if reason != Reason::Changed || retries == RETRIES {
                    return Err(reason);
                }
                retries += 1;
            }
        }
    }
}

/// One attempt: the length of a version of the file that stayed the same from the first byte to the last.
fn read_file(
    root: &OwnedFd,
    path: &Path,
    room: &mut [u8],
    counter: &mut LineCounter<'_>,
    on_piece: &mut dyn FnMut(usize),
) -> Result<usize, Reason> {
    let file = open_beneath(root, path)?;
    let before = file.metadata().map_err(|_| Reason::Unreadable)?;
    if !before.is_file() {
        return Err(Reason::Special);
    }
    if before.mode() & READABLE_BY_OTHERS == 0 {
        return Err(Reason::NotReadable);
    }
    let len = usize::try_from(before.len()).map_err(|_| Reason::Changed)?;
    let room = room.get_mut(..len).ok_or(Reason::Changed)?;
    if len > PIECE {
        // Doubles the read-ahead; only advice, so a refusal is no matter.
        let _ = fadvise(&file, 0, None, Advice::Sequential);
    }
    let mut offset = 0;
    for piece in room.chunks_mut(PIECE) {
        file.read_exact_at(piece, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Reason::Changed,
            _ => Reason::Unreadable,
        })?;
        counter.push(piece);
        offset += piece.len() as u64;
        on_piece(piece.len());
    }
    let after = file.metadata().map_err(|_| Reason::Unreadable)?;
    if version(&before) == version(&after) { Ok(len) } else { Err(Reason::Changed) }
}

/// The scan saw a regular file at this path without symlinks; if one has got in since, the kernel refuses. `NONBLOCK`: should it
/// have become a FIFO, open(2) returns, and fstat(2) will tell.
fn open_beneath(root: &OwnedFd, path: &Path) -> Result<File, Reason> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(fd) => Ok(fd.into()),
        Err(Errno::NOENT | Errno::NOTDIR) => Err(Reason::Vanished),
        // A symlink in the way, a directory moved about, or a rename that raced with us.
        Err(Errno::LOOP | Errno::XDEV | Errno::AGAIN) => Err(Reason::Changed),
        Err(Errno::NXIO) => Err(Reason::Special),
        Err(_) => Err(Reason::Unreadable),
    }
}

fn version(metadata: &Metadata) -> impl PartialEq + use<> {
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    let changed = (metadata.ctime(), metadata.ctime_nsec());
    (metadata.dev(), metadata.ino(), metadata.len(), modified, changed)
}
