//! How a mistake in a configuration file is shown: file, line, column, key, what is wrong, what is right, and the line itself.

use std::fmt;
use std::path::PathBuf;

/// A place in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub path: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// The whole line.
    pub text: String,
}

impl Place {
    /// The place of a byte of `source`; one past its end is allowed.
    #[must_use]
    pub fn of_byte(path: PathBuf, source: &str, at: usize) -> Self {
        let at = (0..=at.min(source.len())).rev().find(|&at| source.is_char_boundary(at)).unwrap_or(0);
        let before = &source[..at];
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let text = source[start..].lines().next().unwrap_or_default().to_owned();
        Self { path, line: before.matches('\n').count() + 1, column: source[start..at].chars().count() + 1, text }
    }
}

/// A mistake in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it is.
    pub place: Place,
    /// The key with its section, such as `limits.max_sessions`; `None` when the text is no TOML there.
    pub key: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

/// Control bytes of a file must not reach the terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { path, line, column, text } = &self.place;
        write!(f, "{}:{line}:{column}: ", path.display())?;
        if let Some(key) = &self.key {
            write!(f, "{}: ", shown(key))?;
        }
        let margin = line.to_string().len();
        writeln!(f, "{}", self.message)?;
        writeln!(f, " {line} | {}", shown(text))?;
        write!(f, " {:margin$} | {:>column$}", "", "^")?;
        match &self.help {
            Some(help) => write!(f, "\n help: {help}"),
            None => Ok(()),
        }
    }
}

/// The known word nearest to `word`, if any is near enough to have been meant.
#[must_use]
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let reach = (word.chars().count() / 3).max(2);
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= reach && *distance < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_from_one_and_in_characters() {
        let source = "a = 1\nü = é2\n";
        let at = source.find('2').unwrap();
        let place = Place::of_byte(PathBuf::from("x"), source, at);
        assert_eq!((place.line, place.column, place.text.as_str()), (2, 6, "ü = é2"));
        let end = Place::of_byte(PathBuf::from("x"), source, 1000);
        assert_eq!((end.line, end.column, end.text.as_str()), (3, 1, ""));
    }

    #[test]
    fn only_a_near_word_is_proposed() {
        let known = ["max_sessions", "max_unproven", "tries"];
        assert_eq!(nearest("max_session", &known), Some("max_sessions"));
        assert_eq!(nearest("tires", &known), Some("tries"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest("xy", &["ab"]), None);
    }
}
