//! What a rule puts in a match's place, read once: `\0` is the match, `\1` to `\9` its groups, `\i`, `\x` and `\m` the client's
//! address, the same in hexadecimal, and its MAC address; `\U` and `\L` begin upper and lower case, `\E` ends them. As tftpd-hpa has
//! it, which has no `\m`.

use super::Requester;
use super::pattern::{GROUPS_MAX, Groups, Match};
use super::spelling::{Case, Fact, NameBuffer, Overflow};
use thiserror::Error;

/// Why a replacement cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReplacementError {
    /// A backslash before something else.
    #[error(
        "`\\{}` means nothing: \\0 to \\9, \\i, \\x, \\m, \\U, \\L, \\E and \\\\ do (in TOML, write it between single quotes)",
        .0.escape_default()
    )]
    Escape(char),
    /// A backslash and nothing behind it.
    #[error("ends with a single `\\`")]
    LooseEnd,
    /// The pattern has not so many groups.
    #[error("names group {named}, but the pattern has {groups}")]
    NoSuchGroup {
        /// What the replacement names.
        named: usize,
        /// How many there are.
        groups: usize,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<[u8]>),
    /// 0 is the whole match.
    Group(usize),
    Fact(Fact),
    Case(Case),
}

/// A replacement, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Replacement(Box<[Part]>);

impl Replacement {
    #[cold]
    pub(super) fn parse(text: &str) -> Result<Self, ReplacementError> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            if char != '\\' {
                plain.push(char);
                continue;
            }
            let part = match chars.next().ok_or(ReplacementError::LooseEnd)? {
                '\\' => {
                    plain.push('\\');
                    continue;
                }
                digit @ '0'..='9' => Part::Group(digit as usize - '0' as usize),
                'i' => Part::Fact(Fact::Ip),
                'x' => Part::Fact(Fact::HexIp),
                'm' => Part::Fact(Fact::Mac),
                'U' => Part::Case(Case::Upper),
                'L' => Part::Case(Case::Lower),
                'E' => Part::Case(Case::AsIs),
                other => return Err(ReplacementError::Escape(other)),
            };
            if !plain.is_empty() {
                parts.push(Part::Text(core::mem::take(&mut plain).into_bytes().into()));
            }
            parts.push(part);
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain.into_bytes().into()));
        }
        Ok(Self(parts.into()))
    }

    /// The last group that it names; 0: none but the match itself.
    pub(super) fn last_group(&self) -> usize {
        self.0.iter().map(|part| if let Part::Group(number) = part { *number } else { 0 }).max().unwrap_or(0)
    }

    pub(super) fn check(&self, groups: usize) -> Result<(), ReplacementError> {
        let named = self.last_group();
        if named > groups.min(GROUPS_MAX) { Err(ReplacementError::NoSuchGroup { named, groups }) } else { Ok(()) }
    }

    /// Writes it. What is not known of a client is left out.
    pub(super) fn write(
        &self,
        name: &[u8],
        found: Match,
        groups: &Groups,
        client: &Requester,
        out: &mut NameBuffer,
    ) -> Result<(), Overflow> {
        let mut case = Case::AsIs;
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_in(case, text)?,
                Part::Group(0) => out.push_in(case, found.of(name))?,
                Part::Group(number) => {
                    out.push_in(case, groups.get(number - 1).map_or(&[], |group| group.of(name)))?;
                }
                Part::Fact(fact) => _ = out.push_fact(*fact, client)?,
                Part::Case(next) => case = *next,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let replacement = Replacement::parse(text).unwrap();
        let name = b"xx-Boot/Kernel-yy";
        let groups = Groups::from_iter([Match { start: 3, end: 7 }, Match { start: 8, end: 14 }]);
        let client = Requester { ip: "192.0.2.169".parse().unwrap(), mac: Some([2, 0, 0, 0, 0, 9]) };
        let mut out = NameBuffer::default();
        replacement.write(name, Match { start: 3, end: 14 }, &groups, &client, &mut out).unwrap();
        String::from_utf8(out.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn parts_are_put_in_their_places() {
        assert_eq!(written("plain"), "plain");
        assert_eq!(written(r"\2 of \1, \0"), "Kernel of Boot, Boot/Kernel");
        assert_eq!(written(r"\U\1x\L\2\EyZ\\"), "BOOTXkernelyZ\\");
        assert_eq!(written(r"\i/\x/\m"), "192.0.2.169/C00002A9/02-00-00-00-00-09");
        assert_eq!(written(""), "");
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(Replacement::parse(r"a\"), Err(ReplacementError::LooseEnd));
        assert_eq!(Replacement::parse(r"\d"), Err(ReplacementError::Escape('d')));
        let three = Replacement::parse(r"\3").unwrap();
        assert_eq!(three.check(2), Err(ReplacementError::NoSuchGroup { named: 3, groups: 2 }));
        assert_eq!(three.check(3), Ok(()));
    }

    #[test]
    fn what_does_not_fit_is_no_name() {
        let long = Replacement::parse(&"a".repeat(NameBuffer::CAPACITY + 1)).unwrap();
        let client = Requester { ip: "::1".parse().unwrap(), mac: None };
        let nothing = Match { start: 0, end: 0 };
        assert_eq!(long.write(b"", nothing, &Groups::new(), &client, &mut NameBuffer::default()), Err(Overflow));
    }
}
