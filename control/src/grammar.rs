//! Forms of what can be said, and what follows from them alone: reading words, explaining wrong ones, completing unfinished ones,
//! help. Knows no word itself, and never does what it has read.

mod arguments;
mod error;

use std::fmt;

pub use arguments::{Argument, Arguments, Kind};
pub use error::WordsError;

/// A place of a form that has to be filled.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// This word.
    Word(&'static str),
    /// A value.
    Value(Argument),
    /// A value, or the word `all`, which leaves it out.
    AllOr(Argument),
}

/// What may come behind the parts.
#[derive(Clone, Copy, Debug)]
pub enum Tail {
    /// Nothing.
    Nothing,
    /// One value, or none; then options.
    Maybe(Argument, &'static [Choice]),
    /// Any number of values.
    Any(Argument),
    /// Some of these, each at most once, in any order.
    Options(&'static [Choice]),
}

/// One of [`Tail::Options`]: a word, mostly with a value behind it.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// The word.
    pub word: &'static str,
    /// Its value.
    pub value: Option<Argument>,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Some(value) => write!(f, " [{} {}]", self.word, value.name),
            None => write!(f, " [{}]", self.word),
        }
    }
}

/// One thing that can be said.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// In this order.
    pub parts: &'static [Part],
    /// Behind them.
    pub tail: Tail,
    /// What it does, in one line.
    pub help: &'static str,
}

/// What may stand at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This word.
    Word(&'static str),
    /// A value.
    Value(Argument),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Value(value) => f.write_str(value.name),
        }
    }
}

/// How far words follow a form.
#[derive(Debug, Default)]
struct Walk {
    /// Words that fit.
    fitting: usize,
    /// What may come next.
    expected: Vec<Expected>,
    /// Whether it may end here.
    whole: bool,
    arguments: Arguments,
}

impl Form {
    /// Parts only.
    #[must_use]
    pub const fn new(parts: &'static [Part], help: &'static str) -> Self {
        Self { parts, tail: Tail::Nothing, help }
    }

    /// With something behind the parts.
    #[must_use]
    pub const fn with(self, tail: Tail) -> Self {
        Self { tail, ..self }
    }

    /// Goes along the words as far as they fit: reading, explaining and completing all rest on this.
    fn walk(&self, words: &[String]) -> Walk {
        let mut walk = Walk::default();
        for part in self.parts {
            let expected = match part {
                Part::Word(word) => vec![Expected::Word(word)],
                Part::Value(value) => vec![Expected::Value(*value)],
                Part::AllOr(value) => vec![Expected::Word("all"), Expected::Value(*value)],
            };
            if !walk.take(words, &expected) {
                walk.expected = expected;
                return walk;
            }
        }
        walk.whole = true;
        match self.tail {
            Tail::Nothing => {}
            Tail::Maybe(value, choices) => {
                let expected = Expected::Value(value);
                let given = walk.take(words, &[expected]);
                let before = walk.fitting;
                walk.take_options(words, choices);
                if !given && walk.fitting == before {
                    walk.expected.insert(0, expected);
                }
            }
            Tail::Any(value) => {
                let expected = [Expected::Value(value)];
                while walk.take(words, &expected) {}
                walk.expected = expected.to_vec();
            }
            Tail::Options(choices) => walk.take_options(words, choices),
        }
        walk
    }

    /// Whether the form begins with these words.
    #[must_use]
    pub fn begins_with(&self, words: &[String]) -> bool {
        self.parts.len() >= words.len()
            && self.parts.iter().zip(words).all(|(part, word)| matches!(part, Part::Word(known) if known == word))
    }
}

impl Walk {
    /// Takes the next word if it is one of these.
    fn take(&mut self, words: &[String], expected: &[Expected]) -> bool {
        let Some(word) = words.get(self.fitting) else { return false };
        let fits = expected.iter().any(|expected| match expected {
            Expected::Word(known) => known == word,
            Expected::Value(value) => value.read(word).is_some_and(|read| self.arguments.add(value.name, read)),
        });
        self.fitting += usize::from(fits);
        fits
    }

    fn take_options(&mut self, words: &[String], choices: &[Choice]) {
        let mut left = choices.to_vec();
        loop {
            let next = words.get(self.fitting);
            let Some(at) = left.iter().position(|choice| next.is_some_and(|word| choice.word == word)) else {
                self.expected = left.iter().map(|choice| Expected::Word(choice.word)).collect();
                return;
            };
            let choice = left.remove(at);
            self.fitting += 1;
            match choice.value {
                None => {
                    self.arguments.add_flag(choice.word);
                }
                Some(value) => {
                    let expected = [Expected::Value(value)];
                    if !self.take(words, &expected) {
                        self.whole = false;
                        self.expected = expected.to_vec();
                        return;
                    }
                }
            }
        }
    }
}

impl fmt::Display for Form {
    /// As manuals write it: `show sessions [client ADDRESS]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.parts.iter().enumerate() {
            let blank = if at == 0 { "" } else { " " };
            match part {
                Part::Word(word) => write!(f, "{blank}{word}")?,
                Part::Value(value) => write!(f, "{blank}{}", value.name)?,
                Part::AllOr(value) => write!(f, "{blank}all|{}", value.name)?,
            }
        }
        match self.tail {
            Tail::Nothing => Ok(()),
            Tail::Maybe(value, choices) => {
                write!(f, " [{}]", value.name)?;
                choices.iter().try_for_each(|choice| choice.fmt(f))
            }
            Tail::Any(value) => write!(f, " [{} ...]", value.name),
            Tail::Options(choices) => choices.iter().try_for_each(|choice| choice.fmt(f)),
        }
    }
}

/// Understands words: which of the forms they follow, by its place, and their values.
///
/// # Errors
/// They follow none; the error says what is known at the first wrong place.
pub fn read<'a>(forms: impl Iterator<Item = &'a Form>, words: &[String]) -> Result<(usize, Arguments), WordsError> {
    let mut furthest = 0;
    let mut known: Vec<Expected> = Vec::new();
    for (at, form) in forms.enumerate() {
        let walk = form.walk(words);
        if walk.whole && walk.fitting == words.len() {
            return Ok((at, walk.arguments));
        }
        if walk.fitting > furthest {
            furthest = walk.fitting;
            known.clear();
        }
        if walk.fitting == furthest {
            add_new(&mut known, walk.expected);
        }
    }
    Err(WordsError::at(words, furthest, known))
}

/// What may follow these words; nothing when they are wrong already.
pub fn expected<'a>(forms: impl Iterator<Item = &'a Form>, words: &[String]) -> Vec<Expected> {
    let mut known = Vec::new();
    for form in forms {
        let walk = form.walk(words);
        if walk.fitting == words.len() {
            add_new(&mut known, walk.expected);
        }
    }
    known
}

fn add_new(known: &mut Vec<Expected>, more: Vec<Expected>) {
    for expected in more {
        if !known.contains(&expected) {
            known.push(expected);
        }
    }
}

#[cfg(test)]
mod tests;
