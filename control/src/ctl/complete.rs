//! What Tab offers at the prompt: words of the grammar, and what the daemon or the file system knows where a value belongs.

use super::batch::split;
use crate::grammar::{Expected, Kind};
use crate::words;

/// What the daemon knows. Asked only when a value of that kind is being typed; an empty list when it does not answer.
pub trait Sources {
    /// Numbers of its ports.
    fn ports(&self) -> Vec<String>;
    /// Addresses of clients with a transfer.
    fn clients(&self) -> Vec<String>;
}

/// Offers for an unfinished line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offers {
    /// Where the unfinished word begins, in bytes.
    pub start: usize,
    /// What it may become, without repeats.
    pub words: Vec<String>,
    /// Whether the name of a file belongs there.
    pub path: bool,
}

/// What the last word of `line`, which ends at the cursor, may become.
#[must_use]
pub fn offers(line: &str, sources: &dyn Sources) -> Offers {
    let start =
        line.rfind(char::is_whitespace).map_or(0, |at| at + line[at..].chars().next().map_or(1, char::len_utf8));
    let (before, unfinished) = line.split_at(start);
    let mut found = Offers { start, words: Vec::new(), path: false };
    // Within a quotation nothing is offered but files, which the shell's rules would have quoted.
    let Some(mut before) = split(before) else { return found };
    let about_words = before.first().is_some_and(|word| word == "help");
    if about_words {
        before.remove(0);
    }
    for expected in words::expected(&before) {
        let words = match expected {
            Expected::Word(word) => vec![word.to_owned()],
            Expected::Value(_) if about_words => Vec::new(),
            Expected::Value(value) => match value.kind {
                Kind::Port => sources.ports(),
                Kind::Client => sources.clients(),
                Kind::Path => {
                    found.path = true;
                    Vec::new()
                }
                Kind::Number { .. } | Kind::Size | Kind::Address | Kind::Name => Vec::new(),
            },
        };
        found.words.extend(words.into_iter().filter(|word| word.starts_with(unfinished)));
    }
    let mut seen = std::collections::BTreeSet::new();
    found.words.retain(|word| seen.insert(word.clone()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known;

    impl Sources for Known {
        fn ports(&self) -> Vec<String> {
            vec!["0".to_owned(), "1".to_owned()]
        }

        fn clients(&self) -> Vec<String> {
            ["192.0.2.7", "192.0.2.7", "2001:db8::7"].map(str::to_owned).to_vec()
        }
    }

    fn offered(line: &str) -> (usize, Vec<String>) {
        let offers = offers(line, &Known);
        (offers.start, offers.words)
    }

    #[test]
    fn words_of_the_grammar_are_offered() {
        assert_eq!(offered("sh"), (0, vec!["show".to_owned()]));
        assert_eq!(offered("show wor"), (5, vec!["workers".to_owned()]));
        assert_eq!(offered("shwo wor").1, Vec::<String>::new());
        assert_eq!(offered("help show dr").1, ["drops"]);
        assert!(offered("").1.contains(&"drain".to_owned()));
    }

    #[test]
    fn the_daemon_knows_ports_and_clients() {
        assert_eq!(offered("show port stats ").1, ["all", "0", "1"]);
        assert_eq!(offered("show sessions client 192").1, ["192.0.2.7"], "once");
        assert_eq!(offered("show sessions client 2").1, ["2001:db8::7"]);
    }

    #[test]
    fn files_are_asked_for_where_they_belong() {
        assert!(offers("load x", &Known).path);
        assert!(!offers("show ", &Known).path);
        assert_eq!(offers("show\u{a0}wor", &Known).start, 6, "a blank of two bytes");
    }
}
