//! What the files of a catalogue were read from, in 16 bytes per file: a keyed hash of each one's version. Recognises a version, cannot
//! tell it back.

use std::hash::{BuildHasher, Hash, RandomState};

use siphasher::sip128::{Hasher128, SipHasher13};

use super::version::Version;

/// Nobody can choose two versions with the same mark, since the key is random and stays in here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mark(u128);

impl Mark {
    /// A file that was not read from anywhere, or whose version proves nothing.
    const NONE: Self = Self(0);
}

/// The marks of a catalogue's files, by their numbers.
#[derive(Debug)]
pub(super) struct Sources {
    key: (u64, u64),
    marks: Vec<Mark>,
}

impl Sources {
    pub(super) fn new() -> Self {
        let random = |number: u64| RandomState::new().hash_one(number);
        Self { key: (random(0), random(1)), marks: Vec::new() }
    }

    /// The mark that a version has in here.
    pub(super) fn mark(&self, version: &Version) -> Mark {
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        version.hash(&mut hasher);
        Mark(hasher.finish128().as_u128())
    }

    /// Notes what the next file was read from; `None` when it cannot be recognised by that.
    pub(super) fn push(&mut self, version: Option<Version>) {
        self.marks.push(version.map_or(Mark::NONE, |version| self.mark(&version)));
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.marks.shrink_to_fit();
    }

    /// The number and mark of each file that can be recognised.
    pub(super) fn marks(&self) -> impl Iterator<Item = (u32, Mark)> {
        (0..).zip(self.marks.iter().copied()).filter(|(_, mark)| *mark != Mark::NONE)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.marks.capacity() * size_of::<Mark>()
    }
}
