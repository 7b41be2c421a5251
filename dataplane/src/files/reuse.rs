//! What a reload takes over from the catalogue before it: files whose version has not changed, from memory to memory, with their
//! checksums and counts. Never opens one of them.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::arena::FILE_ALIGN;
use super::catalogue::{Catalogue, FileId};
use super::index::Target;
use super::read::{Content, Failure, Room};
use super::scan::{Found, Scan};
use super::sources::Mark;
use super::version::Version;

/// How two catalogues differ, in names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Served now and not before.
    pub added: u64,
    /// Served before and now, with other bytes.
    pub changed: u64,
    /// Served before and not now.
    pub removed: u64,
    /// Served before and now, with the same bytes.
    pub unchanged: u64,
}

/// The files of an older catalogue that can be recognised.
#[derive(Debug)]
pub(super) struct Known<'c> {
    catalogue: &'c Catalogue,
    by_mark: HashMap<Mark, FileId>,
}

impl<'c> Known<'c> {
    pub(super) fn of(catalogue: &'c Catalogue) -> Self {
        Self { catalogue, by_mark: catalogue.recognisable().collect() }
    }

    /// The same, if its bytes are in the catalogue.
    pub(super) fn find_bytes(&self, version: &Version) -> Option<FileId> {
        self.find(version).filter(|&id| !self.catalogue.is_absent(id))
    }

    /// The file of this version, if it was seen before and nothing can have happened to it since.
    pub(super) fn find(&self, version: &Version) -> Option<FileId> {
        self.by_mark.get(&self.catalogue.mark(version)).copied()
    }

    /// Copies a file into its new room.
    pub(super) fn copy(&self, id: FileId, version: Version, room: &mut Room<'_, '_>) -> Result<Content, Failure> {
        let bytes = self.catalogue.bytes(id, 0..u64::MAX);
        let len = bytes.len();
        room.memory.get_mut(..len).ok_or(Failure::NoRoom)?.copy_from_slice(bytes);
        let padded = len.next_multiple_of(FILE_ALIGN).min(room.memory.len());
        room.memory[len..padded].fill(0);
        self.catalogue.copy_sums(id, room.slots, room.start, room.place);
        Ok(Content { len, counts: self.catalogue.counts(id).to_vec(), version })
    }

    /// Whether a load of what `scan` saw would give this catalogue once more.
    pub(super) fn is_same(&self, scan: &Scan) -> bool {
        let mut before = self.catalogue.targets();
        let same = scan.names.iter().all(|(name, found)| match (before.next(), *found) {
            (Some((old, Target::Denied(was))), Found::Denied(is)) => *old == **name && was == is,
            (Some((old, Target::File(id))), Found::Content(number)) => {
                *old == **name && self.find(&scan.files[number].version) == Some(id)
            }
            _ => false,
        });
        same && before.next().is_none()
    }

    /// How `after` differs; `origins` says for each of its files which one of ours it is.
    pub(super) fn compare(&self, after: &Catalogue, origins: &[Option<FileId>]) -> Changes {
        let mut before: HashMap<&[u8], FileId> = self.catalogue.names().collect();
        let mut changes = Changes::default();
        for (name, id) in after.names() {
            let number = usize::try_from(id.index()).unwrap_or(usize::MAX);
            let origin = origins.get(number).copied().flatten();
            match before.remove(name) {
                None => changes.added += 1,
                Some(old) if origin == Some(old) => changes.unchanged += 1,
                // Nobody has the bytes of these, so nobody knows better.
                Some(old) if after.is_absent(id) || self.catalogue.is_absent(old) => changes.changed += 1,
                Some(old) if after.bytes(id, 0..u64::MAX) == self.catalogue.bytes(old, 0..u64::MAX) => {
                    changes.unchanged += 1;
                }
                Some(_) => changes.changed += 1,
            }
        }
        changes.removed = before.len() as u64;
        changes
    }
}

/// Names and versions of a tree in one number: two looks that give the same one saw the same tree, but for one chance in 2^64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    pub(super) fn of(scan: &Scan) -> Self {
        let mut hasher = DefaultHasher::new();
        for (name, found) in &scan.names {
            name.hash(&mut hasher);
            match *found {
                Found::Denied(denied) => (0_u8, denied).hash(&mut hasher),
                Found::Content(number) => (1_u8, scan.files[number].version).hash(&mut hasher),
            }
        }
        Self(hasher.finish())
    }
}
