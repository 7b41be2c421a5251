//! Values among the words: which kinds there are, and those that were read.

use std::net::IpAddr;

/// What a value has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number within these bounds.
    Number {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// Bytes: a number, with `k`, `M` or `G` for powers of 1024.
    Size,
    /// An IP address.
    Address,
    /// An IP address, most likely that of a client with a transfer.
    Client,
    /// Number of a DPDK port.
    Port,
    /// A file of the machine that bypassctl (or, where said so, bypassd) runs on.
    Path,
    /// Any word.
    Name,
}

/// A value's place in a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// How manuals call it: `FILE`. Values are found again under it.
    pub name: &'static str,
    /// What it has to be.
    pub kind: Kind,
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number(u64),
    Address(IpAddr),
    Text(String),
}

/// The values among words that were understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    values: Vec<(&'static str, Value)>,
    flags: Vec<&'static str>,
}

impl Argument {
    /// A value of any kind.
    #[must_use]
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind }
    }

    /// A whole number from `min` to `max`.
    #[must_use]
    pub const fn number(name: &'static str, min: u64, max: u64) -> Self {
        Self { name, kind: Kind::Number { min, max } }
    }

    pub(super) fn read(&self, word: &str) -> Option<Value> {
        match self.kind {
            Kind::Number { min, max } => {
                // `parse` alone would take `+1`.
                let plain = word.bytes().all(|byte| byte.is_ascii_digit());
                word.parse().ok().filter(|number| plain && (min..=max).contains(number)).map(Value::Number)
            }
            Kind::Port => Self::number(self.name, 0, u16::MAX.into()).read(word),
            Kind::Size => size(word).map(Value::Number),
            Kind::Address | Kind::Client => word.parse().ok().map(Value::Address),
            Kind::Path | Kind::Name => (!word.is_empty()).then(|| Value::Text(word.to_owned())),
        }
    }

    /// What it has to be, for a person who wrote something else.
    pub(super) fn wanted(&self) -> String {
        match self.kind {
            Kind::Number { min, max: u64::MAX } => format!("a number from {min} on"),
            Kind::Number { min, max } => format!("a number from {min} to {max}"),
            Kind::Size => "a size in bytes, such as 500k, 10M or 1G".to_owned(),
            Kind::Port => "the number of a port".to_owned(),
            Kind::Address | Kind::Client => "an IP address, such as 192.0.2.7 or 2001:db8::7".to_owned(),
            Kind::Path => "the name of a file".to_owned(),
            Kind::Name => "a name".to_owned(),
        }
    }
}

fn size(word: &str) -> Option<u64> {
    let (digits, shift) = match word.as_bytes().last()? {
        b'k' | b'K' => (&word[..word.len() - 1], 10),
        b'm' | b'M' => (&word[..word.len() - 1], 20),
        b'g' | b'G' => (&word[..word.len() - 1], 30),
        _ => (word, 0),
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| plain)?;
    number.checked_mul(1 << shift)
}

impl Arguments {
    pub(super) fn add(&mut self, name: &'static str, value: Value) -> bool {
        self.values.push((name, value));
        true
    }

    pub(super) fn add_flag(&mut self, word: &'static str) {
        self.flags.push(word);
    }

    fn find(&self, name: &str) -> Option<&Value> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The number or size of this name, if it was said.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.find(name) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// A number that its form bounds to 16 bits, if it was said.
    #[must_use]
    pub fn short(&self, name: &str) -> Option<u16> {
        self.number(name).and_then(|number| u16::try_from(number).ok())
    }

    /// The address of this name, if it was said.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<IpAddr> {
        match self.find(name) {
            Some(Value::Address(address)) => Some(*address),
            _ => None,
        }
    }

    /// The name or path of this name, if it was said.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.find(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// All names or paths of this name, in their order.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values.iter().filter_map(move |(known, value)| match value {
            Value::Text(text) if *known == name => Some(text.as_str()),
            _ => None,
        })
    }

    /// Whether an option without a value was said.
    #[must_use]
    pub fn has(&self, word: &str) -> bool {
        self.flags.contains(&word)
    }
}
