//! Lists of lcores as DPDK users write them: `0-1`, `0,2-3`, and EAL's longer form `10@0,11@1` or `(0-3)@(4,5)`.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;

/// Debian's DPDK is built for lcore ids below this (`RTE_MAX_LCORE`).
pub const MAX_LCORES: u16 = 128;

/// The kernel's `CPU_SETSIZE`, which EAL uses for its masks.
const MAX_CPUS: u16 = 1024;

/// One lcore and the CPUs that it may run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lcore {
    /// EAL's number for it.
    pub id: u16,
    /// CPU numbers, in ascending order, at least one.
    pub cpus: Vec<u16>,
}

/// A checked list with at least one lcore, in the order in which they were written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LcoreList {
    text: String,
    lcores: Vec<Lcore>,
}

/// Why a text is no [`LcoreList`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LcoreListError {
    /// Nothing at all, or nothing between two commas.
    #[error("`{0}` is no list of lcores: write it as 0-1, 0,2-3 or 10@0,11@1")]
    Shape(String),
    /// Not a number where one belongs.
    #[error("`{0}` is no lcore or CPU number")]
    NotANumber(String),
    /// `3-1`.
    #[error("the range `{0}` runs backwards")]
    Backwards(String),
    /// The same lcore id more than once.
    #[error("lcore {0} is named twice")]
    Twice(u16),
    /// Beyond what DPDK was built for.
    #[error("lcore {0} is too large: ids end at {last}; a CPU with a larger number is given as 0@{0}", last = MAX_LCORES - 1)]
    TooLarge(u16),
}

impl LcoreList {
    /// The list as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The lcores, in the order in which they were written; the first is control's.
    #[must_use]
    pub fn lcores(&self) -> &[Lcore] {
        &self.lcores
    }

    /// Whether the text uses `@` or parentheses, which only EAL's `--lcores` takes.
    #[must_use]
    pub fn needs_lcores_option(&self) -> bool {
        self.text.contains(['@', '(', ')'])
    }
}

/// `5` or `2-4`, as its numbers.
fn range(item: &str) -> Result<Vec<u16>, LcoreListError> {
    let number = |text: &str| {
        // Digits only: `+1` parses as a number elsewhere, but not in EAL.
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|n| digits && *n < MAX_CPUS).ok_or_else(|| LcoreListError::NotANumber(text.to_owned()))
    };
    match item.split_once('-') {
        None => Ok(vec![number(item)?]),
        Some((first, last)) => {
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(LcoreListError::Backwards(item.to_owned()));
            }
            Ok((first..=last).collect())
        }
    }
}

/// `5`, `2-4` or `(0,2-4)`, as its numbers, and whether it was a group.
fn set(item: &str) -> Result<(Vec<u16>, bool), LcoreListError> {
    match item.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        None => Ok((range(item)?, false)),
        Some(inner) => {
            let mut numbers = Vec::new();
            for part in inner.split(',') {
                numbers.extend(range(part)?);
            }
            Ok((numbers, true))
        }
    }
}

/// Cuts at the commas that are outside of parentheses.
fn items(text: &str) -> Result<Vec<&str>, LcoreListError> {
    let shape = || LcoreListError::Shape(text.to_owned());
    let mut found = Vec::new();
    let (mut start, mut open) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' if open => return Err(shape()),
            b'(' => open = true,
            b')' if !open => return Err(shape()),
            b')' => open = false,
            b',' if !open => {
                found.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&text[start..]);
    if open || found.iter().any(|item| item.is_empty()) { Err(shape()) } else { Ok(found) }
}

impl FromStr for LcoreList {
    type Err = LcoreListError;

    fn from_str(text: &str) -> Result<Self, LcoreListError> {
        let mut lcores: Vec<Lcore> = Vec::new();
        for item in items(text)? {
            let (ids, cpus) = match item.split_once('@') {
                Some((ids, cpus)) => (set(ids)?.0, Some(set(cpus)?.0)),
                // `(0,6)` alone: both lcores on both CPUs; `0-6` alone: each on its own (EAL guide, --lcores).
                None => match set(item)? {
                    (ids, true) => (ids.clone(), Some(ids)),
                    (ids, false) => (ids, None),
                },
            };
            for id in ids {
                if id >= MAX_LCORES {
                    return Err(LcoreListError::TooLarge(id));
                }
                if lcores.iter().any(|known| known.id == id) {
                    return Err(LcoreListError::Twice(id));
                }
                let mut cpus = cpus.clone().unwrap_or_else(|| vec![id]);
                cpus.sort_unstable();
                cpus.dedup();
                lcores.push(Lcore { id, cpus });
            }
        }
        Ok(Self { text: text.to_owned(), lcores })
    }
}

impl TryFrom<String> for LcoreList {
    type Error = LcoreListError;

    fn try_from(text: String) -> Result<Self, LcoreListError> {
        text.parse()
    }
}

impl fmt::Display for LcoreList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Vec<(u16, Vec<u16>)> {
        let list: LcoreList = text.parse().unwrap();
        list.lcores().iter().map(|lcore| (lcore.id, lcore.cpus.clone())).collect()
    }

    #[test]
    fn plain_lists_put_each_lcore_on_its_own_cpu() {
        assert_eq!(shape("0-1"), [(0, vec![0]), (1, vec![1])]);
        assert_eq!(shape("3,0,5-6"), [(3, vec![3]), (0, vec![0]), (5, vec![5]), (6, vec![6])]);
        assert!(!"0,2-3".parse::<LcoreList>().unwrap().needs_lcores_option());
    }

    #[test]
    fn the_longer_form_is_understood() {
        assert_eq!(shape("10@0,11@1"), [(10, vec![0]), (11, vec![1])]);
        assert_eq!(shape("1,2@(5-7)"), [(1, vec![1]), (2, vec![5, 6, 7])]);
        assert_eq!(shape("(3-4)@(2,0)"), [(3, vec![0, 2]), (4, vec![0, 2])]);
        assert_eq!(shape("(0,6),7"), [(0, vec![0, 6]), (6, vec![0, 6]), (7, vec![7])]);
        assert!("10@0,11@1".parse::<LcoreList>().unwrap().needs_lcores_option());
    }

    #[test]
    fn mistakes_are_named() {
        for text in ["", ",", "0,", "0,,1", "(0,1", "0)", "((0))", "0@(1"] {
            assert!(matches!(text.parse::<LcoreList>(), Err(LcoreListError::Shape(_))), "{text}");
        }
        for text in ["a", "0-", "-1", "0@", "@0", "+1", "1024", "0x1", "0@1@2", "(0)(1)", "()"] {
            assert!(matches!(text.parse::<LcoreList>(), Err(LcoreListError::NotANumber(_))), "{text}");
        }
        assert_eq!("3-1".parse::<LcoreList>(), Err(LcoreListError::Backwards("3-1".to_owned())));
        assert_eq!("0-2,1".parse::<LcoreList>(), Err(LcoreListError::Twice(1)));
        assert_eq!("128".parse::<LcoreList>(), Err(LcoreListError::TooLarge(128)));
        assert_eq!(shape("0@200"), [(0, vec![200])]);
    }
}
