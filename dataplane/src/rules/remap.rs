//! Rules that turn the requested name into another one, in their order. A name is rewritten in two fixed buffers; how often rules may
//! send it back to the first one is bounded.

use super::pattern::{Groups, Pattern, PatternError, PatternText};
use super::prefix::Prefix;
use super::replacement::{Replacement, ReplacementError};
use super::spelling::{NameBuffer, Overflow};
use super::{Requester, Step, Watch};
use crate::files::NameOptions;
use thiserror::Error;

/// Most rules.
pub const REMAPS_MAX: usize = 64;

/// How often one name may begin with the first rule again.
pub const AGAIN_MAX: u32 = 8;

/// What comes after a rule that applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// The next rule.
    #[default]
    Next,
    /// No further rule.
    Stop,
    /// The first rule, at most [`AGAIN_MAX`] times; then the request is refused.
    Again,
    /// Nothing: the request is refused.
    Refuse,
}

/// A rule as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemapRule {
    /// Which names it applies to.
    pub pattern: PatternText,
    /// ASCII letters of either case match each other.
    pub ignore_case: bool,
    /// It applies to the names that do not match; such a rule replaces nothing.
    pub unless: bool,
    /// Whom it applies to; empty: everybody.
    pub clients: Vec<Prefix>,
    /// What is put in the match's place; `None`: the name stays.
    pub to: Option<String>,
    /// Every match is replaced, from left to right; else the first one.
    pub every: bool,
    /// What comes next.
    pub then: Then,
}

/// Why a rule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say all")]
pub enum RemapError {
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error(transparent)]
    Replacement(#[from] ReplacementError),
    #[error("a rule for names that do not match has nothing to replace: leave `to` out")]
    ReplacesNoMatch,
    #[error("the rule does nothing: it has neither `to` nor a `then`")]
    DoesNothing,
}

/// Why a name was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// By this rule.
    ByRule(usize),
    /// Rules sent it back again and again.
    GoesRound,
    TooLong,
}

impl From<Overflow> for Refused {
    fn from(_: Overflow) -> Self {
        Self::TooLong
    }
}

/// A compiled rule.
#[derive(Debug)]
pub(super) struct Remap {
    pattern: Pattern,
    unless: bool,
    clients: Box<[Prefix]>,
    to: Option<Replacement>,
    every: bool,
    then: Then,
}

impl Remap {
    #[cold]
    pub(super) fn compile(rule: &RemapRule, names: NameOptions) -> Result<Self, RemapError> {
        let to = rule.to.as_deref().map(Replacement::parse).transpose()?;
        if rule.unless && to.is_some() {
            return Err(RemapError::ReplacesNoMatch);
        }
        if to.is_none() && rule.then == Then::Next {
            return Err(RemapError::DoesNothing);
        }
        let wants_groups = to.as_ref().is_some_and(|to| to.last_group() > 0);
        let pattern = Pattern::compile(&rule.pattern, rule.ignore_case || names.fold_case, wants_groups)?;
        if let Some(to) = &to {
            to.check(pattern.groups())?;
        }
        let clients = rule.clients.clone().into();
        Ok(Self { pattern, unless: rule.unless, clients, to, every: rule.every, then: rule.then })
    }

    fn is_for(&self, client: &Requester) -> bool {
        self.clients.is_empty() || self.clients.iter().any(|prefix| prefix.holds(client.ip))
    }

    /// Whether it applies; what the name becomes is then in `out`, if it changes it.
    fn apply(&self, name: &[u8], client: &Requester, out: &mut NameBuffer) -> Result<bool, Overflow> {
        let first = self.pattern.find(name, 0);
        if first.is_some() == self.unless {
            return Ok(false);
        }
        let Some(to) = &self.to else { return Ok(true) };
        out.clear();
        let mut from = 0;
        let mut next = first;
        while let Some(found) = next {
            out.push(name.get(from..found.start).unwrap_or_default())?;
            let groups = if to.last_group() > 0 { self.pattern.groups_of(name, found) } else { Groups::new() };
            to.write(name, found, &groups, client, out)?;
            from = found.end;
            if !self.every {
                break;
            }
            if found.start == found.end {
                // Behind an empty match the next byte stays, or the search would not come on.
                let Some(byte) = name.get(from) else { break };
                out.push(&[*byte])?;
                from += 1;
            }
            next = self.pattern.find(name, from);
        }
        out.push(name.get(from..).unwrap_or_default())?;
        Ok(true)
    }
}

/// Sends a name through the rules.
pub(super) fn run(
    rules: &[Remap],
    name: &mut NameBuffer,
    client: &Requester,
    names: NameOptions,
    watch: &mut impl Watch,
) -> Result<(), Refused> {
    let mut rewritten = NameBuffer::default();
    let mut left = AGAIN_MAX;
    let mut number = 0;
    while let Some(rule) = rules.get(number) {
        if !rule.is_for(client) {
            watch.step(Step::RemapNotForClient { rule: number });
            number += 1;
            continue;
        }
        if !rule.apply(name.as_bytes(), client, &mut rewritten)? {
            watch.step(Step::RemapNoMatch { rule: number });
            number += 1;
            continue;
        }
        if rule.to.is_some() {
            // The next rule sees this name as it would see any other.
            *name = NameBuffer::of(rewritten.as_bytes(), names)?;
        }
        watch.step(Step::Remapped { rule: number, name: name.as_bytes(), then: rule.then });
        match rule.then {
            Then::Next => number += 1,
            Then::Stop => break,
            Then::Again => {
                left = left.checked_sub(1).ok_or(Refused::GoesRound)?;
                number = 0;
            }
            Then::Refuse => return Err(Refused::ByRule(number)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{NAME_MAX, Name};
    use proptest::prelude::*;

    const NAMES: NameOptions = NameOptions { backslash: true, fold_case: false };

    fn glob(text: &str, to: &str) -> RemapRule {
        rule(PatternText::Glob(text.to_owned()), to)
    }

    fn regex(text: &str, to: &str) -> RemapRule {
        rule(PatternText::Regex(text.to_owned()), to)
    }

    fn rule(pattern: PatternText, to: &str) -> RemapRule {
        RemapRule {
            pattern,
            ignore_case: false,
            unless: false,
            clients: Vec::new(),
            to: Some(to.to_owned()),
            every: false,
            then: Then::Next,
        }
    }

    fn client(ip: &str) -> Requester {
        Requester { ip: ip.parse().unwrap(), mac: None }
    }

    fn remap_for(rules: &[RemapRule], name: &str, ip: &str) -> Result<String, Refused> {
        let rules: Vec<_> = rules.iter().map(|rule| Remap::compile(rule, NAMES).unwrap()).collect();
        let mut buffer = NameBuffer::of(name.as_bytes(), NAMES)?;
        run(&rules, &mut buffer, &client(ip), NAMES, &mut ())?;
        Ok(String::from_utf8(buffer.as_bytes().to_vec()).unwrap())
    }

    fn remap(rules: &[RemapRule], name: &str) -> Result<String, Refused> {
        remap_for(rules, name, "10.0.0.1")
    }

    #[test]
    fn rules_apply_in_their_order() {
        let rules = [glob("boot/*", r"efi/\1"), regex(r"\.0$", ".cfg")];
        assert_eq!(remap(&rules, r"\boot\x.0").unwrap(), "efi/x.cfg");
        assert_eq!(remap(&rules, "other").unwrap(), "other");
    }

    #[test]
    fn every_match_or_the_first() {
        let mut each = regex("o", "0");
        assert_eq!(remap(&[each.clone()], "foo/boo").unwrap(), "f0o/boo");
        each.every = true;
        assert_eq!(remap(&[each.clone()], "foo/boo").unwrap(), "f00/b00");
        each.pattern = PatternText::Regex("x*".into());
        assert_eq!(remap(&[each], "ab").unwrap(), "0a0b0", "an empty match comes on");
    }

    #[test]
    fn a_rule_can_end_refuse_or_begin_again() {
        let then = |mut rule: RemapRule, then| {
            rule.then = then;
            rule
        };
        let stop = [then(glob("a", "b"), Then::Stop), glob("b", "c")];
        assert_eq!(remap(&stop, "a").unwrap(), "b");
        assert_eq!(remap(&stop, "b").unwrap(), "c");
        let again = [regex("^z", "done"), then(regex("^(.*)x$", r"\1"), Then::Again)];
        assert_eq!(remap(&again, "zxxx").unwrap(), "done");
        assert_eq!(remap(&[then(regex("$", "x"), Then::Again)], "a"), Err(Refused::GoesRound));
        let refuse = RemapRule { to: None, then: Then::Refuse, ..glob("secret/**", "") };
        assert_eq!(remap(&[refuse.clone()], "//./secret\\x"), Err(Refused::ByRule(0)), "however it is written");
        let only = RemapRule { unless: true, ..refuse };
        assert_eq!(remap(&[only.clone()], "secret/x").unwrap(), "secret/x");
        assert_eq!(remap(&[only], "x"), Err(Refused::ByRule(0)));
    }

    #[test]
    fn a_rule_can_be_for_some_clients() {
        let mut some = glob("x", r"\x/\i");
        some.clients = vec!["10.1.0.0/16".parse().unwrap(), "::/0".parse().unwrap()];
        assert_eq!(remap_for(&[some.clone()], "x", "10.1.2.3").unwrap(), "0A010203/10.1.2.3");
        assert_eq!(remap_for(&[some.clone()], "x", "10.2.2.3").unwrap(), "x");
        assert_eq!(remap_for(&[some], "x", "fd00::1").unwrap(), "FD000000000000000000000000000001/fd00::1");
    }

    #[test]
    fn rubbish_behind_a_name_can_be_cut() {
        let rules = [Remap::compile(&regex(r"\xff+$", ""), NAMES).unwrap()];
        let mut name = NameBuffer::of(b"pxelinux.0\xff", NAMES).unwrap();
        run(&rules, &mut name, &client("10.0.0.1"), NAMES, &mut ()).unwrap();
        assert_eq!(name.as_bytes(), b"pxelinux.0");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let compile = |rule: &RemapRule| Remap::compile(rule, NAMES).unwrap_err();
        assert_eq!(compile(&RemapRule { unless: true, ..glob("a", "b") }), RemapError::ReplacesNoMatch);
        assert_eq!(compile(&RemapRule { to: None, ..glob("a", "") }), RemapError::DoesNothing);
        let missing = ReplacementError::NoSuchGroup { named: 2, groups: 1 };
        assert_eq!(compile(&glob("a*", r"\2")), RemapError::Replacement(missing));
    }

    #[test]
    fn tftpd_hpa_folds_case_with_upper_and_lower() {
        assert_eq!(remap(&[regex("^.*$", r"\L\0")], "Boot/BCD").unwrap(), "boot/bcd");
    }

    proptest! {
        /// Whatever rules and names, the end is a name within its bounds, or a refusal; and a `..` is no way out.
        #[test]
        fn a_name_never_exceeds_its_bounds(
            rules in proptest::collection::vec((
                prop_oneof![Just("a"), Just("^(.*)/(.*)$"), Just("(.)"), Just(""), Just("^"), Just("$"), Just(r"\.")],
                prop_oneof![Just(r"\0\0"), Just(r"\1/../\1"), Just(r"\i/\0"), Just(""), Just(r"\\..\\"), Just("./a/")],
                any::<bool>(),
                0..3_u8,
            ), 0..6),
            name in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'/'), Just(b'.'), any::<u8>()], 0..=NAME_MAX),
        ) {
            let rules: Vec<_> = rules.into_iter().filter_map(|(pattern, to, every, then)| {
                let then = [Then::Next, Then::Stop, Then::Again][usize::from(then)];
                Remap::compile(&RemapRule { every, then, ..regex(pattern, to) }, NAMES).ok()
            }).collect();
            let Ok(mut buffer) = NameBuffer::of(&name, NAMES) else { return Ok(()) };
            if run(&rules, &mut buffer, &client("10.0.0.1"), NAMES, &mut ()).is_ok() {
                prop_assert!(buffer.as_bytes().len() <= NAME_MAX);
                if let Ok(name) = Name::parse(buffer.as_bytes(), NAMES) {
                    prop_assert!(name.as_bytes().split(|&byte| byte == b'/').all(|component| component != b".."));
                }
            }
        }

        #[test]
        fn rules_that_match_nothing_change_nothing(name in proptest::collection::vec(any::<u8>(), 0..80)) {
            let rules = [Remap::compile(&regex(r"\x00\x00never", "x"), NAMES).unwrap()];
            let mut buffer = NameBuffer::of(&name, NAMES).unwrap();
            prop_assert_eq!(run(&rules, &mut buffer, &client("10.0.0.1"), NAMES, &mut ()), Ok(()));
            prop_assert_eq!(Name::parse(buffer.as_bytes(), NAMES), Name::parse(&name, NAMES));
        }
    }
}
