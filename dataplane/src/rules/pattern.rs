//! Patterns over names, compiled into automata before the first request: a match takes time in proportion to the name's length
//! whatever the pattern, and neither a match nor its groups take memory.
//!
//! Groups are found by splitting: each takes as much as it can so that the rest of the pattern still fits, which is POSIX's
//! "leftmost, longest". That is why a group must stand at the pattern's top level.

use super::spelling::NameBuffer;
use crate::files::NAME_MAX;
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::{Hir, HirKind};
use thiserror::Error;

/// Groups that a replacement can name: `\1` to `\9`.
pub const GROUPS_MAX: usize = 9;

/// Bytes that one automaton of a pattern may take.
const AUTOMATON_MAX: usize = 1 << 20;

/// How a pattern is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternText {
    /// The whole name: `*` is any bytes but `/`, `**` any bytes, `?` any byte but `/`; each of them is a group. Other bytes are
    /// themselves.
    Glob(String),
    /// A regular expression over bytes, which may match any part of the name.
    Regex(String),
}

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    /// It says nothing.
    #[error("the pattern is empty")]
    Empty,
    /// Names have no `/` at their begin.
    #[error("no name begins with `/` when rules see it: leave the first `/` of the pattern out")]
    LeadingSlash,
    /// Not a regular expression.
    #[error("{0}")]
    Syntax(String),
    /// Its automaton is too large.
    #[error("the pattern needs more than {} KiB: write it more simply, above all with smaller repeat counts", AUTOMATON_MAX >> 10)]
    TooLarge,
    /// More groups than a replacement can name.
    #[error("more than {GROUPS_MAX} groups (of a glob: wildcards)")]
    TooManyGroups,
    /// A group within a group, a repeat or an alternative.
    #[error(
        "the replacement names a group, but one of the pattern's stands within another, a repeat or an alternative: \
         write (?:...) there, and (...) at the top level only"
    )]
    DeepGroup,
}

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    /// Whether there is a match, and where the first one ends: one pass in the usual case, which is that there is none.
    any: Dfa,
    /// The first of a match's bytes, from its end.
    begin: Dfa,
    /// The longest match from its first byte.
    longest: Dfa,
    /// One after the other they are the whole pattern; empty when nobody asks for groups.
    pieces: Box<[Piece]>,
}

type Dfa = dense::DFA<Vec<u32>>;

/// A part of a pattern.
#[derive(Debug)]
struct Piece {
    is_group: bool,
    forwards: Dfa,
    /// All that follows this piece, read from its end; nothing follows the last one.
    rest: Option<Dfa>,
}

/// Where a name matches: byte positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Match {
    pub(super) fn of<'n>(&self, name: &'n [u8]) -> &'n [u8] {
        name.get(self.start..self.end).unwrap_or_default()
    }
}

/// What each group matched; the first is `\1`.
pub(super) type Groups = arrayvec::ArrayVec<Match, GROUPS_MAX>;

impl Pattern {
    /// Compiles a pattern; with `wants_groups` so that its groups can be told.
    #[cold]
    pub(super) fn compile(text: &PatternText, ignore_case: bool, wants_groups: bool) -> Result<Self, PatternError> {
        let regex = match text {
            PatternText::Glob(glob) => regex_of_glob(glob)?,
            PatternText::Regex(regex) => regex.clone(),
        };
        if regex.is_empty() {
            return Err(PatternError::Empty);
        }
        if regex.starts_with("^/") {
            return Err(PatternError::LeadingSlash);
        }
        let config = syntax::Config::new().unicode(false).utf8(false).case_insensitive(ignore_case);
        let hir =
            syntax::parse_with(&regex, &config).map_err(|error| PatternError::Syntax(last_line(&error.to_string())))?;
        if hir.properties().explicit_captures_len() > GROUPS_MAX {
            return Err(PatternError::TooManyGroups);
        }
        let pieces = if wants_groups { pieces(&hir)? } else { Box::default() };
        Ok(Self {
            any: forwards(&hir, MatchKind::LeftmostFirst, StartKind::Unanchored)?,
            begin: backwards(&hir)?,
            longest: forwards(&hir, MatchKind::All, StartKind::Anchored)?,
            pieces,
        })
    }

    /// How many groups can be told.
    pub(super) fn groups(&self) -> usize {
        self.pieces.iter().filter(|piece| piece.is_group).count()
    }

    /// The first and then longest match from byte `from` on. What lies before `from` is seen by `^` and `\b` only.
    pub(super) fn find(&self, name: &[u8], from: usize) -> Option<Match> {
        let input = Input::new(name).range(from..);
        // The automata were built without bytes at which they would give up.
        let end = self.any.try_search_fwd(&input).ok()??.offset();
        let input = Input::new(name).range(from..end).anchored(Anchored::Yes);
        let start = self.begin.try_search_rev(&input).ok()??.offset();
        let input = Input::new(name).range(start..).anchored(Anchored::Yes);
        let end = self.longest.try_search_fwd(&input).ok()??.offset();
        Some(Match { start, end })
    }

    /// What the groups of a match that was found are; none when nobody asked for them.
    pub(super) fn groups_of(&self, name: &[u8], found: Match) -> Groups {
        let mut groups = Groups::new();
        let mut at = found.start;
        for piece in &self.pieces {
            let end = match &piece.rest {
                Some(rest) => {
                    let fitting = Positions::of_rest(rest, name, Match { start: at, end: found.end });
                    longest_that_fits(&piece.forwards, name, Match { start: at, end: found.end }, &fitting)
                }
                None => found.end,
            };
            if piece.is_group {
                // There are at most as many as it holds: compile() counted them.
                let _ = groups.try_push(Match { start: at, end });
            }
            at = end;
        }
        groups
    }
}

/// A set of positions in a name, its end included.
struct Positions([u64; NAME_MAX / 64 + 1]);

impl Positions {
    fn insert(&mut self, at: usize) {
        if let Some(word) = self.0.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }

    fn contains(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word & 1 << (at % 64) != 0)
    }

    /// Where in `within` the rest of a pattern can begin so that it ends with it.
    fn of_rest(rest: &Dfa, name: &[u8], within: Match) -> Self {
        let mut positions = Self([0; NAME_MAX / 64 + 1]);
        let input = Input::new(name).range(within.start..within.end).anchored(Anchored::Yes);
        let Ok(mut state) = rest.start_state_reverse(&input) else { return positions };
        for at in (within.start..within.end).rev() {
            state = rest.next_state(state, name[at]);
            // An automaton says of a byte that the match ended before it.
            if rest.is_match_state(state) {
                positions.insert(at + 1);
            }
            if rest.is_dead_state(state) {
                return positions;
            }
        }
        let state = match within.start.checked_sub(1) {
            Some(before) => rest.next_state(state, name[before]),
            None => rest.next_eoi_state(state),
        };
        if rest.is_match_state(state) {
            positions.insert(within.start);
        }
        positions
    }
}

/// Where the longest match from the begin of `within` ends behind which the rest fits.
fn longest_that_fits(dfa: &Dfa, name: &[u8], within: Match, fitting: &Positions) -> usize {
    let mut best = within.start;
    let mut note = |state: StateID, at: usize| {
        if dfa.is_match_state(state) && fitting.contains(at) {
            best = at;
        }
    };
    let input = Input::new(name).range(within.start..within.end).anchored(Anchored::Yes);
    let Ok(mut state) = dfa.start_state_forward(&input) else { return within.start };
    for at in within.start..within.end {
        state = dfa.next_state(state, name[at]);
        note(state, at);
        if dfa.is_dead_state(state) {
            return best;
        }
    }
    let state = match name.get(within.end) {
        Some(&behind) => dfa.next_state(state, behind),
        None => dfa.next_eoi_state(state),
    };
    note(state, within.end);
    best
}

/// Splits a pattern at its groups.
fn pieces(hir: &Hir) -> Result<Box<[Piece]>, PatternError> {
    let parts = match hir.kind() {
        HirKind::Concat(parts) => parts.clone(),
        _ => vec![hir.clone()],
    };
    // What stands between groups is one piece.
    let mut split: Vec<(bool, Hir)> = Vec::new();
    for part in parts {
        match part.kind() {
            HirKind::Capture(group) if group.sub.properties().explicit_captures_len() == 0 => {
                split.push((true, (*group.sub).clone()));
            }
            _ if part.properties().explicit_captures_len() > 0 => return Err(PatternError::DeepGroup),
            _ => match split.last_mut() {
                Some((false, before)) => *before = Hir::concat(vec![before.clone(), part]),
                _ => split.push((false, part)),
            },
        }
    }
    let mut pieces = Vec::new();
    for (number, (is_group, part)) in split.iter().enumerate() {
        let rest = Hir::concat(split[number + 1..].iter().map(|(_, part)| part.clone()).collect());
        let is_last = number + 1 == split.len();
        pieces.push(Piece {
            is_group: *is_group,
            forwards: forwards(part, MatchKind::All, StartKind::Anchored)?,
            rest: if is_last { None } else { Some(backwards(&rest)?) },
        });
    }
    Ok(pieces.into())
}

fn forwards(hir: &Hir, kind: MatchKind, start: StartKind) -> Result<Dfa, PatternError> {
    automaton(hir, false, kind, start)
}

/// Reads from the end; finds every place where the match may begin, the first one last.
fn backwards(hir: &Hir) -> Result<Dfa, PatternError> {
    automaton(hir, true, MatchKind::All, StartKind::Anchored)
}

fn automaton(hir: &Hir, reverse: bool, kind: MatchKind, start: StartKind) -> Result<Dfa, PatternError> {
    let nfa: NFA = thompson::Compiler::new()
        .configure(
            thompson::Config::new()
                .utf8(false)
                .reverse(reverse)
                .which_captures(WhichCaptures::None)
                .nfa_size_limit(Some(AUTOMATON_MAX)),
        )
        .build_from_hir(hir)
        .map_err(|_| PatternError::TooLarge)?;
    let config = dense::Config::new()
        .match_kind(kind)
        .start_kind(start)
        .dfa_size_limit(Some(AUTOMATON_MAX))
        .determinize_size_limit(Some(AUTOMATON_MAX));
    dense::Builder::new().configure(config).build_from_nfa(&nfa).map_err(|_| PatternError::TooLarge)
}

fn regex_of_glob(glob: &str) -> Result<String, PatternError> {
    let glob = glob.trim_start_matches('/');
    if glob.is_empty() {
        return Err(PatternError::Empty);
    }
    let mut regex = String::from("^");
    let mut rest = glob.as_bytes();
    while let [byte, behind @ ..] = rest {
        rest = behind;
        match byte {
            b'*' if behind.starts_with(b"*") => {
                rest = &behind[1..];
                regex.push_str("((?s:.)*)");
            }
            b'*' => regex.push_str("([^/]*)"),
            b'?' => regex.push_str("([^/])"),
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => regex.push(char::from(*byte)),
            other => regex.push_str(&format!("\\x{other:02x}")),
        }
    }
    regex.push('$');
    Ok(regex)
}

/// The parser shows the pattern over several lines; its last one says what is wrong.
fn last_line(message: &str) -> String {
    message.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// The longest name still fits a set of positions.
const _: () = assert!(NameBuffer::CAPACITY == NAME_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn regex(text: &str) -> Pattern {
        Pattern::compile(&PatternText::Regex(text.to_owned()), false, true).unwrap()
    }

    fn glob(text: &str) -> Pattern {
        Pattern::compile(&PatternText::Glob(text.to_owned()), false, true).unwrap()
    }

    fn error(text: PatternText) -> PatternError {
        Pattern::compile(&text, false, true).unwrap_err()
    }

    /// The match, then its groups.
    fn found(pattern: &Pattern, name: &str) -> Option<Vec<String>> {
        let found = pattern.find(name.as_bytes(), 0)?;
        let groups = pattern.groups_of(name.as_bytes(), found);
        let text = |part: &Match| String::from_utf8(part.of(name.as_bytes()).to_vec()).unwrap();
        Some(core::iter::once(text(&found)).chain(groups.iter().map(text)).collect())
    }

    #[test]
    fn globs_match_whole_names() {
        let pattern = glob("/boot/*.efi");
        assert_eq!(found(&pattern, "boot/x64.efi").unwrap(), ["boot/x64.efi", "x64"]);
        assert_eq!(found(&pattern, "boot/a.efi.efi").unwrap()[1], "a.efi");
        for name in ["boot/x/y.efi", "boot/x64.efi2", "xboot/x64.efi", "boot/x64xefi"] {
            assert_eq!(found(&pattern, name), None, "{name}");
        }
        assert_eq!(found(&glob("a/**/?.c"), "a/b/c/d.c").unwrap()[1..], ["b/c", "d"]);
        assert_eq!(found(&glob("plain"), "plain").unwrap(), ["plain"]);
        assert_eq!(found(&glob("100%(n)"), "100%(n)").unwrap(), ["100%(n)"]);
        assert_eq!(error(PatternText::Glob("/".into())), PatternError::Empty);
        assert_eq!(error(PatternText::Glob("*?*?*?*?*?".into())), PatternError::TooManyGroups);
    }

    #[test]
    fn groups_take_as_much_as_they_can() {
        assert_eq!(found(&regex("(.*)/(.*)"), "a/b/c").unwrap(), ["a/b/c", "a/b", "c"]);
        assert_eq!(found(&regex("^(x*)(x*)y"), "xxy").unwrap(), ["xxy", "xx", ""]);
        assert_eq!(found(&regex("b(c|cd)(d*)"), "abcdd").unwrap(), ["bcdd", "cd", "d"]);
        assert_eq!(found(&regex("b+"), "abbbab").unwrap(), ["bbb"], "the first and then the longest");
        assert_eq!(found(&regex("a|ab"), "xab").unwrap(), ["ab"], "as POSIX has it");
        assert_eq!(found(&regex("(a)$"), "aba").unwrap(), ["a", "a"]);
        assert_eq!(found(&regex(r"\b(b+)\b"), "abb bb").unwrap(), ["bb", "bb"]);
        assert_eq!(found(&regex(r"(.+)\xff"), "x"), None);
        assert_eq!(found(&regex("x*"), "abc").unwrap(), [""]);
    }

    #[test]
    fn matches_go_on_behind_a_position() {
        let pattern = regex("^?b");
        assert_eq!(pattern.find(b"abab", 2), Some(Match { start: 3, end: 4 }));
        assert_eq!(regex("^b").find(b"abb", 1), None, "only the name's own begin is one");
    }

    #[test]
    fn bytes_need_not_be_text() {
        assert_eq!(regex(r"\xff+$").find(b"file\xff\xff", 0), Some(Match { start: 4, end: 6 }));
        assert_eq!(regex("é").find("xé".as_bytes(), 0), Some(Match { start: 1, end: 3 }));
    }

    #[test]
    fn letter_case_can_be_ignored() {
        let pattern = Pattern::compile(&PatternText::Glob("Boot/*".into()), true, true).unwrap();
        assert!(pattern.find(b"bOOT/x", 0).is_some());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        assert_eq!(error(PatternText::Regex(String::new())), PatternError::Empty);
        assert_eq!(error(PatternText::Regex("^/x".into())), PatternError::LeadingSlash);
        for deep in ["((a)b)", "(a)*", "(?:(a)|b)", "x(?:y(z))?"] {
            assert_eq!(error(PatternText::Regex(deep.into())), PatternError::DeepGroup, "{deep}");
            assert!(Pattern::compile(&PatternText::Regex(deep.into()), false, false).is_ok(), "{deep}");
        }
        assert_eq!(error(PatternText::Regex("(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)".into())), PatternError::TooManyGroups);
        assert_eq!(error(PatternText::Regex("(?:a{900}){900}".into())), PatternError::TooLarge);
        let PatternError::Syntax(text) = error(PatternText::Regex("a(b".into())) else { panic!() };
        assert_eq!(text, "unclosed group");
    }

    proptest! {
        /// Over two letters everything can be tried: the first begin, then the longest end, then each group at its longest.
        #[test]
        fn a_match_is_what_trying_everything_finds(
            parts in proptest::collection::vec((prop_oneof!["a", "b", "a*", "b+", "a|ab", "[ab]?", "b|"], any::<bool>()), 1..5),
            name in "[ab]{0,9}",
        ) {
            let text: String =
                parts.iter().map(|(part, group)| if *group { format!("({part})") } else { format!("(?:{part})") }).collect();
            let alone: Vec<_> = parts.iter().map(|(part, _)| regex(&format!("^(?:{part})$"))).collect();
            // All ways to split name[at..end] among the parts from `number` on, the greediest first.
            fn split(alone: &[Pattern], name: &[u8], at: usize, end: usize) -> Option<Vec<Match>> {
                let Some((first, others)) = alone.split_first() else { return (at == end).then(Vec::new) };
                (at..=end).rev().find_map(|middle| {
                    first.find(&name[at..middle], 0)?;
                    let mut rest = split(others, name, middle, end)?;
                    rest.insert(0, Match { start: at, end: middle });
                    Some(rest)
                })
            }
            let bytes = name.as_bytes();
            let tried = (0..=bytes.len())
                .find_map(|start| (start..=bytes.len()).rev().find_map(|end| split(&alone, bytes, start, end)));
            let pattern = regex(&text);
            let is = pattern.find(bytes, 0);
            prop_assert_eq!(is.is_some(), tried.is_some(), "{} in {}", text, name);
            if let (Some(is), Some(tried)) = (is, tried) {
                prop_assert_eq!(is.start, tried[0].start);
                prop_assert_eq!(Some(is.end), tried.last().map(|last| last.end));
                let groups: Vec<_> =
                    tried.into_iter().zip(&parts).filter(|(_, (_, group))| *group).map(|(found, _)| found).collect();
                prop_assert_eq!(pattern.groups_of(bytes, is).to_vec(), groups, "{} in {}", text, name);
            }
        }

        #[test]
        fn any_bytes_do_no_harm(name in proptest::collection::vec(any::<u8>(), 0..=NAME_MAX)) {
            for pattern in [regex(r"^(.*)/([^/]+)\.(.*)$"), glob("**/*?"), regex(r"(\W)(\w*)\b")] {
                if let Some(found) = pattern.find(&name, 0) {
                    let groups = pattern.groups_of(&name, found);
                    prop_assert_eq!(groups.len(), pattern.groups());
                    prop_assert!(groups.iter().all(|group| found.start <= group.start && group.end <= found.end));
                }
            }
        }
    }
}
