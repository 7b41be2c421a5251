//! The second pass of a load: fills the arena with the files that the scan found, by several threads. Where a file lies and what
//! number it gets depends on the scan alone, never on who was faster.
//!
//! Each file has the place in the arena that its size at the scan reserves. Threads take parts of the arena, in order: a batch of
//! small files, or a stretch of a big one. The calling thread is one of them, and the one that tells the progress. A file that has
//! outgrown its room, or whose parts are of different versions, is read once more at the end, into the room between its neighbours.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{iter, panic, thread, vec};

use super::arena::FILE_ALIGN;
use super::catalogue::{CatalogueBuilder, FileId, Placed};
use super::read::{Content, Failure, PIECE, Room, read_part, read_whole};
use super::report::{Phase, Progress, Reason};
use super::reuse::Known;
use super::scan::{Scan, SourceFile};
use super::sums::{SumSlots, SumTable};
use super::version::Version;

/// Files from this size on are read by several threads; so is each stretch of that many bytes.
const STRETCH: u64 = 8 << 20;
/// A batch of small files ends at this many bytes, or this many files.
const BATCH_BYTES: u64 = 1 << 20;
const BATCH_FILES: usize = 64;

const _: () = assert!(STRETCH.is_multiple_of(PIECE as u64));

/// A file where it is to stay.
#[derive(Debug)]
pub(super) struct Filled {
    pub(super) placed: Placed,
    /// Its netascii counts.
    pub(super) counts: Vec<u64>,
    pub(super) version: Version,
    /// The file of the older catalogue that it was copied from.
    pub(super) reused: Option<FileId>,
}

/// A file, or why it is left out.
pub(super) type Outcome = Result<Filled, Reason>;

/// Bytes of arena that the files take; `u64::MAX` when they are more than can be counted.
pub(super) fn reserved_bytes(scan: &Scan) -> u64 {
    scan.files.iter().map(reservation).fold(0, u64::saturating_add)
}

fn reservation(file: &SourceFile) -> u64 {
    file.size.checked_next_multiple_of(FILE_ALIGN as u64).unwrap_or(u64::MAX)
}

/// How far the reading is, as all threads together see it.
#[derive(Debug, Default)]
struct Tally {
    files: AtomicU64,
    bytes: AtomicU64,
}

/// Counts what one thread reads, and tells it where there is somebody to tell.
struct Meter<'t> {
    tally: &'t Tally,
    totals: (u64, u64),
    tell: Option<&'t mut dyn FnMut(&Progress)>,
    /// Of the file or stretch being read: bytes not yet counted. A file that grew or is read again must not count beyond its share.
    share: u64,
}

impl Meter<'_> {
    fn begin(&mut self, share: u64) {
        self.share = share;
    }

    fn piece(&mut self, bytes: usize) {
        self.count((bytes as u64).min(self.share));
        self.tell();
    }

    fn end(&mut self, files: u64) {
        self.count(self.share);
        self.tally.files.fetch_add(files, Ordering::Relaxed);
        self.tell();
    }

    fn count(&mut self, bytes: u64) {
        self.share -= bytes;
        self.tally.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn tell(&mut self) {
        let Some(tell) = &mut self.tell else { return };
        tell(&Progress {
            phase: Phase::Read,
            files_done: self.tally.files.load(Ordering::Relaxed),
            files_total: self.totals.0,
            bytes_done: self.tally.bytes.load(Ordering::Relaxed),
            bytes_total: self.totals.1,
        });
    }
}

/// What one thread does at a time.
#[derive(Debug)]
struct Part<'a> {
    work: Work,
    /// Where its memory begins in the arena.
    start: u64,
    memory: &'a mut [u8],
    slots: SumSlots<'a>,
}

#[derive(Clone, Debug)]
enum Work {
    /// These files, whole.
    Files(Range<usize>),
    /// The bytes of one file from this offset on.
    Stretch { file: usize, offset: u64 },
}

/// What came of a part.
#[derive(Debug)]
enum Done {
    Files(Vec<Result<(Content, Option<FileId>), Failure>>),
    Stretch(Result<(Version, Vec<u64>), Failure>),
}

/// Reads all files of the scan but those that are `known`, which are copied.
///
/// `builder` has room for their [`reserved_bytes`] and holds no files yet; `outcomes` are in the order of the scan.
pub(super) fn fill(
    root: &OwnedFd,
    scan: &Scan,
    threads: NonZeroUsize,
    known: Option<&Known<'_>>,
    builder: &mut CatalogueBuilder,
    progress: &mut dyn FnMut(&Progress),
) -> Vec<Outcome> {
    let files = &scan.files;
    let starts: Vec<u64> =
        files.iter().scan(0, |next, file| Some(core::mem::replace(next, *next + reservation(file)))).collect();
    let places = place_of(files.len());
    let tally = Tally::default();
    let mut meter = Meter { tally: &tally, totals: (files.len() as u64, scan.bytes), tell: Some(progress), share: 0 };
    meter.tell();

    let (memory, slots) = builder.fill(places);
    let reused: Vec<Option<FileId>> = files.iter().map(|file| known?.find_bytes(&file.version)).collect();
    let in_stretches =
        |number: usize| threads.get() > 1 && reused[number].is_none() && files[number].size >= 2 * STRETCH;
    let parts = cut(files, &starts, &in_stretches, memory, slots);
    let plan: Vec<Work> = parts.iter().map(|part| part.work.clone()).collect();
    let crew =
        Crew { root, files, starts: &starts, known, reused: &reused, queue: Mutex::new(parts.into_iter().enumerate()) };
    let done = crew.run(threads, &mut meter);

    let (memory, mut slots) = builder.fill(places);
    let firsts = gather(plan, done, files, &starts, memory, &mut slots, &mut meter);
    read_again(root, files, firsts, memory, &mut slots, &mut meter)
}

/// The scan holds fewer than 2^24 names.
fn place_of(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Cuts the memory and the tables of sums into parts, front to back.
fn cut<'a>(
    files: &[SourceFile],
    starts: &[u64],
    in_stretches: &dyn Fn(usize) -> bool,
    mut memory: &'a mut [u8],
    mut slots: SumSlots<'a>,
) -> Vec<Part<'a>> {
    let end_of = |number: usize| starts[number] + reservation(&files[number]);
    let mut parts = Vec::new();
    let mut take = |work, start: u64, end: u64, (next_start, next_offset, next_place)| {
        let len = usize::try_from(end - start).unwrap_or(usize::MAX).min(memory.len());
        let (taken, rest) = core::mem::take(&mut memory).split_at_mut(len);
        memory = rest;
        let slots = slots.take_before(next_start, next_offset, place_of(next_place));
        parts.push(Part { work, start, memory: taken, slots });
    };
    let mut first = 0;
    while first < files.len() {
        let start = starts[first];
        if in_stretches(first) {
            let mut offset = 0;
            while offset + STRETCH < files[first].size {
                let work = Work::Stretch { file: first, offset };
                take(work, start + offset, start + offset + STRETCH, (start, offset + STRETCH, first));
                offset += STRETCH;
            }
            let end = end_of(first);
            take(Work::Stretch { file: first, offset }, start + offset, end, (end, 0, first + 1));
            first += 1;
        } else {
            let mut behind = first + 1;
            while behind < files.len()
                && behind - first < BATCH_FILES
                && end_of(behind) - start <= BATCH_BYTES
                && !in_stretches(behind)
            {
                behind += 1;
            }
            let end = end_of(behind - 1);
            take(Work::Files(first..behind), start, end, (end, 0, behind));
            first = behind;
        }
    }
    parts
}

/// The threads, and what they share.
struct Crew<'a> {
    root: &'a OwnedFd,
    files: &'a [SourceFile],
    starts: &'a [u64],
    known: Option<&'a Known<'a>>,
    /// Of each file: what it is copied from.
    reused: &'a [Option<FileId>],
    queue: Mutex<iter::Enumerate<vec::IntoIter<Part<'a>>>>,
}

impl<'a> Crew<'a> {
    /// What came of each part, in their order.
    fn run(&self, threads: NonZeroUsize, meter: &mut Meter<'_>) -> Vec<Done> {
        let parts = self.queue.lock().unwrap_or_else(PoisonError::into_inner).len();
        let helpers = (threads.get() - 1).min(parts.saturating_sub(1));
        let (tally, totals) = (meter.tally, meter.totals);
        let help = || self.work(&mut Meter { tally, totals, tell: None, share: 0 });
        let mut done = thread::scope(|scope| {
            // Where the system has no thread to give, the others do its part.
            let started: Vec<_> =
                iter::repeat_with(|| thread::Builder::new().name("load".into()).spawn_scoped(scope, help))
                    .take(helpers)
                    .map_while(Result::ok)
                    .collect();
            let mut done = self.work(meter);
            for helper in started {
                done.extend(helper.join().unwrap_or_else(|panic| panic::resume_unwind(panic)));
            }
            done
        });
        done.sort_unstable_by_key(|&(number, _)| number);
        done.into_iter().map(|(_, done)| done).collect()
    }

    fn work(&self, meter: &mut Meter<'_>) -> Vec<(usize, Done)> {
        iter::from_fn(|| self.next()).map(|(number, part)| (number, self.read(part, meter))).collect()
    }

    fn next(&self) -> Option<(usize, Part<'a>)> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).next()
    }

    fn read(&self, part: Part<'_>, meter: &mut Meter<'_>) -> Done {
        let Part { work, start, memory, mut slots } = part;
        match work {
            Work::Files(range) => {
                let mut memory = memory;
                let mut read_next = |number: usize| {
                    let file = &self.files[number];
                    let len = usize::try_from(reservation(file)).unwrap_or(usize::MAX).min(memory.len());
                    let (mine, rest) = core::mem::take(&mut memory).split_at_mut(len);
                    memory = rest;
                    let start = self.starts[number];
                    let mut room = Room { memory: mine, start, place: place_of(number), slots: &mut slots };
                    meter.begin(file.size);
                    let reused = self.reused[number];
                    let outcome = match (self.known, reused) {
                        (Some(known), Some(id)) => known.copy(id, file.version, &mut room),
                        _ => read_whole(self.root, &file.path, &mut room, &mut |bytes| meter.piece(bytes)),
                    };
                    meter.end(u64::from(!matches!(outcome, Err(Failure::NoRoom))));
                    outcome.map(|content| (content, reused))
                };
                Done::Files(range.map(&mut read_next).collect())
            }
            Work::Stretch { file: number, offset } => {
                let file = &self.files[number];
                let len = usize::try_from(file.size - offset).unwrap_or(usize::MAX).min(memory.len());
                let (memory, padding) = memory.split_at_mut(len);
                padding.fill(0);
                let mut room = Room { memory, start: start - offset, place: place_of(number), slots: &mut slots };
                meter.begin(room.memory.len() as u64);
                let outcome = read_part(self.root, &file.path, offset, &mut room, &mut |bytes| meter.piece(bytes));
                meter.end(0);
                Done::Stretch(outcome)
            }
        }
    }
}

/// Puts the parts together again: for each file what came of it, or [`Failure::NoRoom`] where it must be read again.
fn gather(
    plan: Vec<Work>,
    done: Vec<Done>,
    files: &[SourceFile],
    starts: &[u64],
    memory: &[u8],
    slots: &mut SumSlots<'_>,
    meter: &mut Meter<'_>,
) -> Vec<Result<Filled, Failure>> {
    let mut outcomes = Vec::with_capacity(files.len());
    let mut parts = plan.into_iter().zip(done).peekable();
    while let Some((work, done)) = parts.next() {
        match (work, done) {
            (Work::Files(range), Done::Files(contents)) => {
                outcomes.extend(range.zip(contents).map(|(number, content)| {
                    let (Content { len, counts, version }, reused) = content?;
                    let placed = Placed { start: starts[number], len: len as u64, place: place_of(number) };
                    Ok(Filled { placed, counts, version, reused })
                }));
            }
            (Work::Stretch { file, .. }, Done::Stretch(first)) => {
                let of_same_file = |(work, _): &(Work, Done)| matches!(work, Work::Stretch { offset: 1.., .. });
                let others = iter::from_fn(|| parts.next_if(of_same_file)).map(|(_, done)| done);
                let placed = Placed { start: starts[file], len: files[file].size, place: place_of(file) };
                let outcome = join(first, others.collect(), placed);
                if outcome.is_ok() {
                    mend_sums(placed, memory, slots);
                    meter.begin(0);
                    meter.end(1);
                }
                outcomes.push(outcome);
            }
            // A part does what its plan says.
            (Work::Files(range), Done::Stretch(_)) => outcomes.extend(range.map(|_| Err(Failure::NoRoom))),
            (Work::Stretch { .. }, Done::Files(_)) => outcomes.push(Err(Failure::NoRoom)),
        }
    }
    outcomes
}

/// A file from its stretches, if all are of one version: what is the same before the first and after the last cannot have changed
/// in between.
fn join(first: Result<(Version, Vec<u64>), Failure>, others: Vec<Done>, placed: Placed) -> Result<Filled, Failure> {
    let (version, mut counts) = first.map_err(|_| Failure::NoRoom)?;
    for done in others {
        let Done::Stretch(Ok((other, more))) = done else { return Err(Failure::NoRoom) };
        if other != version {
            return Err(Failure::NoRoom);
        }
        let before = counts.last().copied().unwrap_or(0);
        counts.extend(more.into_iter().map(|count| before + count));
    }
    if version.len() != placed.len {
        return Err(Failure::NoRoom);
    }
    if counts.last() == Some(&0) {
        counts.clear();
    }
    Ok(Filled { placed, counts, version, reused: None })
}

/// Adds up the blocks that nobody saw whole: those that end on the edge of a stretch, or go across it.
fn mend_sums(placed: Placed, memory: &[u8], slots: &mut SumSlots<'_>) {
    let Placed { start, len, place } = placed;
    for edge in (1..).map(|number| number * STRETCH).take_while(|&edge| edge < len) {
        for table in SumTable::all() {
            let size = u64::from(table.blksize());
            let block = table.block_at(edge - 1);
            let (from, to) = (start + block * size, start + ((block + 1) * size).min(len));
            let range = usize::try_from(from).unwrap_or(usize::MAX)..usize::try_from(to).unwrap_or(usize::MAX);
            let slot = slots.slot(table, start, block, place);
            slots.put_sum(table, slot, memory.get(range).unwrap_or_default());
        }
    }
}

/// Reads the files that did not come out of the first round, each into what is free between its neighbours: its own place, what the
/// file before it did not use, and those of files that were left out.
fn read_again(
    root: &OwnedFd,
    files: &[SourceFile],
    firsts: Vec<Result<Filled, Failure>>,
    memory: &mut [u8],
    slots: &mut SumSlots<'_>,
    meter: &mut Meter<'_>,
) -> Vec<Outcome> {
    let mut next_start = memory.len();
    // For each file: where the next one begins that is in its place.
    let mut limits: Vec<usize> = Vec::with_capacity(firsts.len());
    for first in firsts.iter().rev() {
        limits.push(next_start);
        if let Ok(filled) = first {
            next_start = usize::try_from(filled.placed.start).unwrap_or(usize::MAX);
        }
    }
    let mut free_from = 0;
    let mut outcomes = Vec::with_capacity(firsts.len());
    for (number, (first, limit)) in firsts.into_iter().zip(limits.into_iter().rev()).enumerate() {
        let outcome = match first {
            Ok(filled) => Ok(filled),
            Err(Failure::Left(reason)) => Err(reason),
            Err(Failure::NoRoom) => {
                let (start, place) = (free_from as u64, place_of(number));
                let mut room = Room { memory: &mut memory[free_from..limit], start, place, slots: &mut *slots };
                meter.begin(0);
                let read = read_whole(root, &files[number].path, &mut room, &mut |bytes| meter.piece(bytes));
                meter.end(1);
                match read {
                    Ok(Content { len, counts, version }) => {
                        let placed = Placed { start, len: len as u64, place };
                        Ok(Filled { placed, counts, version, reused: None })
                    }
                    Err(Failure::Left(reason)) => Err(reason),
                    Err(Failure::NoRoom) => Err(Reason::Changed),
                }
            }
        };
        if let Ok(Filled { placed, .. }) = &outcome {
            let end = usize::try_from(placed.start + placed.len).unwrap_or(usize::MAX);
            free_from = end.next_multiple_of(FILE_ALIGN).min(memory.len());
        }
        outcomes.push(outcome);
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use rustix::fs::{Mode, OFlags, open};

    use super::super::sums::SumTables;
    use super::*;

    fn put(path: &Path, bytes: &[u8]) {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }

    /// Reads `f` of 200 bytes in two parts, `between` which something may happen.
    fn in_two_parts(content: &[u8; 200], between: impl FnOnce(&Path)) -> Result<Filled, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let root = open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        put(&dir.path().join("f"), content);
        let mut tables = SumTables::default();
        tables.reserve(256, 1);
        let mut slots = tables.slots();
        let mut part = |offset: usize, len: usize| {
            let mut memory = vec![0; len];
            let mut room = Room { memory: &mut memory, start: 0, place: 0, slots: &mut slots };
            read_part(&root, Path::new("f"), offset as u64, &mut room, &mut |_| ())
        };
        let first = part(0, 128);
        between(dir.path());
        let second = part(128, 72);
        join(first, vec![Done::Stretch(second)], Placed { start: 0, len: 200, place: 0 })
    }

    #[test]
    fn parts_of_one_version_are_joined_with_their_lines() {
        assert_eq!(in_two_parts(&[0; 200], |_| ()).unwrap().counts, []);
        let mut lines = [0; 200];
        lines[199] = b'\n';
        assert_eq!(in_two_parts(&lines, |_| ()).unwrap().counts, [0, 1]);
        assert_eq!(in_two_parts(&[b'\r'; 200], |_| ()).unwrap().counts, [128, 200]);
    }

    #[test]
    fn parts_of_different_versions_are_not() {
        let replaced = in_two_parts(&[0; 200], |dir| {
            put(&dir.join("next"), &[1; 200]);
            fs::rename(dir.join("next"), dir.join("f")).unwrap();
        });
        assert_eq!(replaced.unwrap_err(), Failure::NoRoom);
        let grown = in_two_parts(&[0; 200], |dir| put(&dir.join("f"), &[1; 300]));
        assert_eq!(grown.unwrap_err(), Failure::NoRoom);
        let gone = in_two_parts(&[0; 200], |dir| fs::remove_file(dir.join("f")).unwrap());
        assert_eq!(gone.unwrap_err(), Failure::NoRoom);
    }
}
