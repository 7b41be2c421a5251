//! Patterns of file names, as an operator writes them: `pxelinux*`, `*.efi`, `boot/**`. Knows no disk and no case but the bytes'.

use core::fmt;
use core::str::FromStr;

use thiserror::Error;

/// Longest pattern, in bytes.
const PATTERN_MAX: usize = 1_024;

/// One pattern. `*` stands for any run of bytes but `/`, `**` for any run at all, `?` for one byte but `/`; everything else for
/// itself. A pattern without `/` is about the last component of a name, wherever the file lies; another one about the whole name,
/// as it is below the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    tokens: Vec<Token>,
    whole: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    One,
    Run,
    AnyRun,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    /// It is empty, or nothing but `/`.
    #[error("an empty pattern matches no file: write \"*\" for every file, or leave it out")]
    Empty,
    /// It is longer than any name.
    #[error("a pattern of more than {PATTERN_MAX} bytes matches no file")]
    TooLong,
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let pattern = text.trim_start_matches("./").trim_start_matches('/').as_bytes();
        if pattern.is_empty() {
            return Err(PatternError::Empty);
        }
        if pattern.len() > PATTERN_MAX {
            return Err(PatternError::TooLong);
        }
        let mut tokens: Vec<Token> = Vec::with_capacity(pattern.len());
        for &byte in pattern {
            let token = match (byte, tokens.last()) {
                (b'*', Some(Token::Run | Token::AnyRun)) => {
                    tokens.pop();
                    Token::AnyRun
                }
                (b'*', _) => Token::Run,
                (b'?', _) => Token::One,
                (byte, _) => Token::Byte(byte),
            };
            tokens.push(token);
        }
        // `/name` is the one in the root, as in .gitignore.
        Ok(Self { text: text.to_owned(), tokens, whole: text.contains('/') })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Pattern {
    /// Whether it is about the file of this name (relative to the root); with `fold_case` ASCII letters match in any case.
    #[must_use]
    pub fn matches(&self, name: &[u8], fold_case: bool) -> bool {
        let last = name.rsplit(|&byte| byte == b'/').next().unwrap_or(name);
        let name = if self.whole { name } else { last };
        // For each number of bytes: whether the tokens so far can stand for just that many. Never more than tokens times bytes of work.
        let mut reached = vec![false; name.len() + 1];
        reached[0] = true;
        for token in &self.tokens {
            match token {
                Token::Run | Token::AnyRun => {
                    for at in 0..name.len() {
                        reached[at + 1] |= reached[at] && (*token == Token::AnyRun || name[at] != b'/');
                    }
                }
                Token::Byte(_) | Token::One => {
                    for at in (0..name.len()).rev() {
                        reached[at + 1] = reached[at] && token.stands_for(name[at], fold_case);
                    }
                    reached[0] = false;
                }
            }
        }
        reached[name.len()]
    }
}

impl Token {
    const fn stands_for(self, byte: u8, fold_case: bool) -> bool {
        match self {
            Self::Byte(own) if fold_case => own.eq_ignore_ascii_case(&byte),
            Self::Byte(own) => own == byte,
            Self::One | Self::Run => byte != b'/',
            Self::AnyRun => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        let pattern: Pattern = pattern.parse().unwrap();
        for name in matching {
            assert!(pattern.matches(name.as_bytes(), false), "{pattern} is not about {name}");
        }
        for name in others {
            assert!(!pattern.matches(name.as_bytes(), false), "{pattern} is about {name}");
        }
    }

    #[test]
    fn without_a_slash_the_last_component_counts() {
        check("pxelinux*", &["pxelinux.0", "bios/pxelinux.cfg", "pxelinux"], &["pxelinux.cfg/default", "xpxelinux.0"]);
        check("*.efi", &[".efi", "a.efi", "EFI/BOOT/bootx64.efi"], &["a.efi.sig", "a.EFI", "a.efi/x"]);
        check("a?c", &["abc", "d/a.c"], &["ac", "abbc"]);
        check("*", &["a", "a/b"], &[]);
        check("[x]", &["[x]"], &["x"]);
    }

    #[test]
    fn with_a_slash_the_whole_name_counts() {
        check("boot/*", &["boot/a", "boot/"], &["boot/a/b", "x/boot/a", "boot"]);
        check("boot/**", &["boot/a", "boot/a/b/c"], &["xboot/a", "boot"]);
        check("/grub.cfg", &["grub.cfg"], &["boot/grub.cfg"]);
        check("**/vm?inuz*", &["a/vmlinuz", "a/b/vmlinuz-6.1"], &["a/vmlinuz/x"]);
        check("a?b/c", &[], &["a/b/c"]);
    }

    #[test]
    fn case_is_folded_where_names_are() {
        let pattern: Pattern = "*.EFI".parse().unwrap();
        assert!(pattern.matches(b"boot/x.efi", true));
        assert!(!pattern.matches(b"boot/x.efi", false));
    }

    #[test]
    fn what_matches_nothing_is_refused() {
        assert_eq!("".parse::<Pattern>(), Err(PatternError::Empty));
        assert_eq!("//".parse::<Pattern>(), Err(PatternError::Empty));
        assert_eq!("a".repeat(2_000).parse::<Pattern>(), Err(PatternError::TooLong));
    }

    #[test]
    fn a_malicious_pattern_takes_no_longer_than_its_length_allows() {
        let pattern: Pattern = "*a".repeat(200).parse().unwrap();
        assert!(!pattern.matches(&[b'a'; 100], false));
        assert!(pattern.matches(&[b'a'; 255], false));
    }
}
