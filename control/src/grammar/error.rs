//! Words that follow no form: what is wrong with the first wrong one, and what could stand there.

use thiserror::Error;

use super::{Argument, Expected};
use crate::mistake::nearest;

/// Words that mean nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WordsError {
    /// A word that is not known at its place.
    #[error("unknown word `{}`{}", .word.escape_default(), after(.before))]
    Unknown {
        /// The word.
        word: String,
        /// Those before it, which are known.
        before: String,
        /// What could stand in its place.
        known: Vec<Expected>,
    },
    /// A value of another kind belongs there.
    #[error("`{}` is not {}{}", .word.escape_default(), .wanted.wanted(), after(.before))]
    WrongValue {
        /// The word.
        word: String,
        /// Those before it, which are known.
        before: String,
        /// What belongs there.
        wanted: Argument,
    },
    /// It ends too early.
    #[error("something is missing{}", after(.before))]
    Unfinished {
        /// What there is; empty for nothing at all.
        before: String,
        /// What could follow.
        known: Vec<Expected>,
    },
    /// It goes on too long.
    #[error("`{}` is too much{}", .word.escape_default(), after(.before))]
    TooMuch {
        /// The first word too many.
        word: String,
        /// The command before it.
        before: String,
    },
}

fn after(before: &str) -> String {
    if before.is_empty() { String::new() } else { format!(" after `{}`", before.escape_default()) }
}

fn list(known: &[Expected]) -> String {
    known.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl WordsError {
    /// The word at `at`, or the end, fits nothing that is `known` there.
    pub(super) fn at(words: &[String], at: usize, known: Vec<Expected>) -> Self {
        let before = words[..at].join(" ");
        let Some(word) = words.get(at).cloned() else { return Self::Unfinished { before, known } };
        match known[..] {
            [] => Self::TooMuch { word, before },
            [Expected::Value(wanted)] => Self::WrongValue { word, before, wanted },
            _ => Self::Unknown { word, before, known },
        }
    }

    /// What could be said instead.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Unknown { word, known, .. } => {
                let literal = |expected: &Expected| match expected {
                    Expected::Word(word) => Some(*word),
                    Expected::Value(_) => None,
                };
                let words: Vec<&'static str> = known.iter().filter_map(literal).collect();
                match nearest(word, &words) {
                    Some(near) => format!("did you mean `{near}`? known here: {}", list(known)),
                    None => format!("known here: {}", list(known)),
                }
            }
            Self::Unfinished { known, .. } => match known[..] {
                [Expected::Value(wanted)] => format!("{} is {}", wanted.name, wanted.wanted()),
                _ => format!("known here: {}", list(known)),
            },
            Self::WrongValue { before, wanted, .. } => {
                format!("say `{} {}`, {} being {}", before.escape_default(), wanted.name, wanted.name, wanted.wanted())
            }
            Self::TooMuch { before, .. } => format!("say only `{}`", before.escape_default()),
        }
    }
}
