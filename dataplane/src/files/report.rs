//! What a load tells its caller: progress while it runs, a report when it is done. Never reads a clock; seconds are the caller's.

use core::fmt;

use super::arena::PageKind;
use super::catalogue::Denied;
use super::name::escape;
use super::reuse::Fingerprint;

/// How many paths are kept as examples per reason.
pub const EXAMPLES_MAX: usize = 10;

/// What a load is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Walking the tree; the totals are what was found so far.
    Scan,
    /// Reading the files.
    Read,
    /// Building the index and sealing the memory.
    Seal,
}

/// How far a load is. Files are counted once, however many names they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Files read or given up.
    pub files_done: u64,
    /// Files to read.
    pub files_total: u64,
    /// Bytes read (of a file given up: the bytes that were planned for it).
    pub bytes_done: u64,
    /// Bytes to read, by the sizes that the scan saw.
    pub bytes_total: u64,
}

/// Why a path is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A FIFO, socket or device, or a symlink to one.
    Special,
    /// A file without the read bit for others.
    NotReadable,
    /// A directory without the search bit for others, or a symlink to something below one.
    NotSearchable,
    /// A symlink to something that is not below the root.
    Outside,
    /// A symlink to nothing.
    Dangling,
    /// A symlink that leads back to itself or to a directory above it, or through too many directory symlinks.
    Loop,
    /// The name is longer than [`NAME_MAX`](super::NAME_MAX).
    NameTooLong,
    /// No request can have this name: control bytes, 0xff, a backslash where that separates, a drive letter.
    NameForbidden,
    /// Under case folding another file has this name already.
    CaseConflict,
    /// It changed, at each attempt, while it was being read, or outgrew the room planned for it.
    Changed,
    /// It was there at the scan and was gone when it should have been read.
    Vanished,
    /// The operating system would not let us read it.
    Unreadable,
    /// It costs more than the budget of the cache.
    TooLarge,
}

impl Reason {
    /// Every reason, in the order of the report.
    pub const ALL: [Self; 13] = [
        Self::Special,
        Self::NotReadable,
        Self::NotSearchable,
        Self::Outside,
        Self::Dangling,
        Self::Loop,
        Self::NameTooLong,
        Self::NameForbidden,
        Self::CaseConflict,
        Self::Changed,
        Self::Vanished,
        Self::Unreadable,
        Self::TooLarge,
    ];

    /// What a request for such a path is told; `None`: that there is no such file.
    #[must_use]
    pub const fn denied(self) -> Option<Denied> {
        match self {
            Self::Special => Some(Denied::Special),
            Self::NotReadable | Self::NotSearchable => Some(Denied::NotReadable),
            Self::Outside => Some(Denied::Outside),
            Self::Loop => Some(Denied::Loop),
            Self::Changed | Self::Unreadable => Some(Denied::Unavailable),
            Self::TooLarge => Some(Denied::TooLarge),
            Self::Dangling | Self::NameTooLong | Self::NameForbidden | Self::CaseConflict | Self::Vanished => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Special => "not a regular file",
            Self::NotReadable => "not readable by others (chmod o+r)",
            Self::NotSearchable => "in a directory not searchable by others (chmod o+x)",
            Self::Outside => "symlink that leaves the root",
            Self::Dangling => "symlink to nothing",
            Self::Loop => "symlink loop",
            Self::NameTooLong => "name too long",
            Self::NameForbidden => "name that no request can have",
            Self::CaseConflict => "same name as another file but for case",
            Self::Changed => "changed while being read",
            Self::Vanished => "vanished before it was read",
            Self::Unreadable => "could not be read",
            Self::TooLarge => "larger than the cache budget (raise files.budget or --cache-budget)",
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct LeftOut {
    count: u64,
    examples: Vec<String>,
}

/// What became of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadReport {
    files: u64,
    bytes: u64,
    aliases: u64,
    page_kind: PageKind,
    /// Files, and their bytes, that were taken over from an older catalogue.
    reused: (u64, u64),
    fingerprint: Fingerprint,
    left_out: [LeftOut; Reason::ALL.len()],
}

impl LoadReport {
    pub(super) fn new() -> Self {
        Self {
            files: 0,
            bytes: 0,
            aliases: 0,
            page_kind: PageKind::Ordinary,
            reused: (0, 0),
            fingerprint: Fingerprint::default(),
            left_out: core::array::from_fn(|_| LeftOut::default()),
        }
    }

    pub(super) fn leave_out(&mut self, reason: Reason, name: &[u8]) {
        let entry = &mut self.left_out[reason as usize];
        entry.count += 1;
        if entry.examples.len() < EXAMPLES_MAX {
            entry.examples.push(escape(name).to_string());
        }
    }

    pub(super) const fn record(&mut self, files: u64, bytes: u64, aliases: u64, page_kind: PageKind) {
        self.files = files;
        self.bytes = bytes;
        self.aliases = aliases;
        self.page_kind = page_kind;
    }

    pub(super) const fn record_reuse(&mut self, files: u64, bytes: u64) {
        self.reused = (files, bytes);
    }

    pub(super) const fn record_tree(&mut self, fingerprint: Fingerprint) {
        self.fingerprint = fingerprint;
    }

    /// Files among them that were taken over from an older catalogue, not read.
    #[must_use]
    pub const fn reused_files(&self) -> u64 {
        self.reused.0
    }

    /// Bytes of those.
    #[must_use]
    pub const fn reused_bytes(&self) -> u64 {
        self.reused.1
    }

    /// The tree as the load saw it, to be compared with a later [`fingerprint`](super::fingerprint).
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Files served, each counted once.
    #[must_use]
    pub const fn files(&self) -> u64 {
        self.files
    }

    /// Their bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Names beyond the first of each file: hard links and symlinks.
    #[must_use]
    pub const fn aliases(&self) -> u64 {
        self.aliases
    }

    /// What kind of pages the bytes are in.
    #[must_use]
    pub const fn page_kind(&self) -> PageKind {
        self.page_kind
    }

    /// How many paths were left out for this reason. A directory that is not walked counts once.
    #[must_use]
    pub const fn left_out(&self, reason: Reason) -> u64 {
        self.left_out[reason as usize].count
    }

    /// How many paths were left out.
    #[must_use]
    pub fn left_out_total(&self) -> u64 {
        self.left_out.iter().map(|entry| entry.count).sum()
    }

    /// The first [`EXAMPLES_MAX`] paths left out for this reason, relative to the root, escaped for a log.
    #[must_use]
    pub fn examples(&self, reason: Reason) -> &[String] {
        &self.left_out[reason as usize].examples
    }
}

/// Several lines: a summary, then one line per reason that occurred.
impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, bytes, aliases, page_kind, .. } = self;
        write!(f, "{files} files, {bytes} bytes, {aliases} aliases, in {page_kind}")?;
        if self.reused.0 > 0 {
            write!(f, ", {} files of them not read again", self.reused.0)?;
        }
        for reason in Reason::ALL {
            let (count, examples) = (self.left_out(reason), self.examples(reason));
            if count > 0 {
                let more = if count > examples.len() as u64 { ", ..." } else { "" };
                write!(f, "\nleft out: {count} {reason}: {}{more}", examples.join(", "))?;
            }
        }
        Ok(())
    }
}
