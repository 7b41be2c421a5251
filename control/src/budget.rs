//! How much memory the files may take: `4GiB`, a number of bytes, or a part of what is free. Reads text and does arithmetic; looks
//! at nothing.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use thiserror::Error;

use crate::defaults;
use crate::eal_args::{EalPlan, Memory};

/// Units, the largest first.
const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// A budget as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// So many bytes.
    Bytes(u64),
    /// So many percent of the free memory, 1 to 100.
    Percent(u8),
}

impl Default for Budget {
    fn default() -> Self {
        Self::Percent(defaults::CACHE_BUDGET_PERCENT)
    }
}

/// A text that is no budget.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{}` is no cache budget: write \"4GiB\" (KiB, MiB, GiB, TiB), a number of bytes above 0, or \"50%\" of the free memory", .0.escape_default())]
pub struct NoBudget(String);

impl FromStr for Budget {
    type Err = NoBudget;

    fn from_str(text: &str) -> Result<Self, NoBudget> {
        let wrong = || NoBudget(text.to_owned());
        let number =
            |digits: &str| digits.trim_end().parse::<u64>().ok().filter(|&number| number > 0).ok_or_else(wrong);
        if let Some(digits) = text.strip_suffix('%') {
            let percent = u8::try_from(number(digits)?).map_err(|_| wrong())?;
            return if percent <= 100 { Ok(Self::Percent(percent)) } else { Err(wrong()) };
        }
        let unit = UNITS.iter().find_map(|(name, bytes)| Some((text.strip_suffix(name)?, *bytes)));
        let (digits, bytes) = unit.unwrap_or((text, 1));
        number(digits)?.checked_mul(bytes).map(Self::Bytes).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for Budget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Budget;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a cache budget such as \"4GiB\", 4294967296 or \"50%\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Budget, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Budget, E> {
                bytes.to_string().parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Text)
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Bytes(bytes) => Size(bytes).fmt(f),
            Self::Percent(percent) => write!(f, "{percent} %"),
        }
    }
}

impl Budget {
    /// In bytes, where so many are free.
    #[must_use]
    pub fn bytes(self, free_bytes: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => {
                u64::try_from(u128::from(free_bytes) * u128::from(percent) / 100).unwrap_or(u64::MAX)
            }
        }
    }
}

/// The memory that files may be in: hugepages if they are used and more, for the files are one mapping, else ordinary memory. Where
/// EAL has its part in it, that is left out. `huge` and `ordinary` are what is free, in bytes.
#[must_use]
pub fn free_memory(eal: &EalPlan, huge: u64, ordinary: u64) -> (u64, &'static str) {
    let needed = eal.needed_mib << 20;
    match eal.memory {
        Memory::Huge if huge.saturating_sub(needed) > ordinary => (huge.saturating_sub(needed), "free hugepages"),
        Memory::Huge => (ordinary, "available memory"),
        Memory::Ordinary | Memory::Given => (ordinary.saturating_sub(needed), "available memory"),
    }
}

/// A number of bytes for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, bytes)| self.0 >= *bytes) {
            Some((name, bytes)) => write!(f, "{:.2} {name}", self.0 as f64 / *bytes as f64),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_units_and_percent_are_understood() {
        for (text, budget) in [
            ("4GiB", Budget::Bytes(4 << 30)),
            ("512 MiB", Budget::Bytes(512 << 20)),
            ("1TiB", Budget::Bytes(1 << 40)),
            ("16KiB", Budget::Bytes(16 << 10)),
            ("4096", Budget::Bytes(4096)),
            ("50%", Budget::Percent(50)),
            ("100 %", Budget::Percent(100)),
        ] {
            assert_eq!(text.parse(), Ok(budget), "{text}");
        }
        for text in ["", "0", "0GiB", "4GB", "4g", "-1", "101%", "0%", "1.5GiB", "99999999TiB", "GiB", "%"] {
            assert!(text.parse::<Budget>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_part_of_what_is_free_is_rounded_down() {
        assert_eq!(Budget::Percent(50).bytes(1_001), 500);
        assert_eq!(Budget::Percent(100).bytes(u64::MAX), u64::MAX);
        assert_eq!(Budget::Bytes(7).bytes(1), 7);
    }

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(Size(1023).to_string(), "1023 bytes");
        assert_eq!(Size(3 << 29).to_string(), "1.50 GiB");
        assert_eq!(Budget::Percent(80).to_string(), "80 %");
    }
}
