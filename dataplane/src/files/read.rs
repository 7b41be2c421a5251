//! Reads one file, or a part of one, into memory that it is given, and sees whether it changed meanwhile. Never maps a source file,
//! never follows a symlink.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::{io, mem};

use rustix::fs::{Advice, FileType, Mode, OFlags, ResolveFlags, fadvise, fstat, openat2};
use rustix::io::Errno;

use super::arena::FILE_ALIGN;
use super::netascii::LineCounter;
use super::report::Reason;
use super::scan::READABLE_BY_OTHERS;
use super::sum_pass::SumPass;
use super::sums::SumSlots;
use super::version::Version;

/// Bytes per pread: small enough that what counts and adds up the bytes finds them in the second-level cache. A multiple of what
/// [`LineCounter`] and [`SumPass`] take at a time.
pub(super) const PIECE: usize = 256 << 10;
/// Further attempts at a file that changed while it was being read.
const RETRIES: u32 = 3;

/// Where a file's bytes go.
#[derive(Debug)]
pub(super) struct Room<'r, 'a> {
    pub(super) memory: &'r mut [u8],
    /// Where the file begins in the arena.
    pub(super) start: u64,
    pub(super) place: u32,
    pub(super) slots: &'r mut SumSlots<'a>,
}

/// A version of a file, read whole.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) len: usize,
    /// What [`LineCounter`] gave.
    pub(super) counts: Vec<u64>,
    pub(super) version: Version,
}

/// Why a file was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It has grown out of its room.
    NoRoom,
    Left(Reason),
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::Left(reason)
    }
}

/// The version of the file that is at this path now, if it may be served.
pub(super) fn look_at(root: &OwnedFd, path: &Path) -> Result<Version, Reason> {
    open_to_serve(root, path).map(|(_, version)| version)
}

/// A version of the file that stayed the same from the first byte to the last.
///
/// `on_piece` is called with the bytes of each piece that was read, those of failed attempts included.
pub(super) fn read_whole(
    root: &OwnedFd,
    path: &Path,
    room: &mut Room<'_, '_>,
    on_piece: &mut dyn FnMut(usize),
) -> Result<Content, Failure> {
    let mut retries = 0;
    loop {
        match attempt(root, path, room, on_piece) {
            Err(Failure::Left(Reason::Changed)) if retries < RETRIES => retries += 1,
            outcome => return outcome,
        }
    }
}

fn attempt(
    root: &OwnedFd,
    path: &Path,
    room: &mut Room<'_, '_>,
    on_piece: &mut dyn FnMut(usize),
) -> Result<Content, Failure> {
    let (file, before) = open_to_serve(root, path)?;
    let len = usize::try_from(before.len()).map_err(|_| Failure::NoRoom)?;
    let memory = room.memory.get_mut(..len).ok_or(Failure::NoRoom)?;
    if len > PIECE {
        // Doubles the read-ahead; only advice, so a refusal is no matter.
        let _ = fadvise(&file, 0, None, Advice::Sequential);
    }
    let mut counts = Vec::new();
    let mut counter = LineCounter::new(&mut counts);
    let mut pass = SumPass::new(room.slots, room.start, room.place, 0);
    read_pieces(&file, 0, memory, &mut counter, &mut pass, on_piece)?;
    counter.finish();
    pass.finish();
    if version(&file)? != before {
        return Err(Reason::Changed.into());
    }
    let padded = len.next_multiple_of(FILE_ALIGN).min(room.memory.len());
    // An attempt at a longer version may have left bytes behind the file's end.
    room.memory[len..padded].fill(0);
    Ok(Content { len, counts, version: before })
}

/// One attempt at the bytes from `offset` on that fill the room; `Ok` has the version that they are of, the counts as if the file
/// began at `offset`, and no sum of a block that the part cuts in two.
pub(super) fn read_part(
    root: &OwnedFd,
    path: &Path,
    offset: u64,
    room: &mut Room<'_, '_>,
    on_piece: &mut dyn FnMut(usize),
) -> Result<(Version, Vec<u64>), Failure> {
    let (file, before) = open_to_serve(root, path)?;
    let mut counts = Vec::new();
    let mut counter = LineCounter::new(&mut counts);
    let mut pass = SumPass::new(room.slots, room.start, room.place, offset);
    read_pieces(&file, offset, room.memory, &mut counter, &mut pass, on_piece)?;
    // Not `finish`: a part without lines needs its counts where another part has some.
    if offset + room.memory.len() as u64 == before.len() {
        pass.finish();
    }
    if version(&file)? == before { Ok((before, mem::take(&mut counts))) } else { Err(Reason::Changed.into()) }
}

fn read_pieces(
    file: &File,
    mut offset: u64,
    memory: &mut [u8],
    counter: &mut LineCounter<'_>,
    pass: &mut SumPass<'_, '_>,
    on_piece: &mut dyn FnMut(usize),
) -> Result<(), Reason> {
    for piece in memory.chunks_mut(PIECE) {
        file.read_exact_at(piece, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Reason::Changed,
            _ => Reason::Unreadable,
        })?;
        counter.push(piece);
        pass.push(piece);
        offset += piece.len() as u64;
        on_piece(piece.len());
    }
    Ok(())
}

/// Checks once more what the scan saw: a regular file, readable by others.
fn open_to_serve(root: &OwnedFd, path: &Path) -> Result<(File, Version), Reason> {
    let file = open_beneath(root, path)?;
    let stat = fstat(&file).map_err(|_| Reason::Unreadable)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Reason::Special);
    }
    if stat.st_mode & READABLE_BY_OTHERS == 0 {
        return Err(Reason::NotReadable);
    }
    Ok((file, Version::of(&stat)?))
}

fn version(file: &File) -> Result<Version, Reason> {
    Version::of(&fstat(file).map_err(|_| Reason::Unreadable)?)
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
