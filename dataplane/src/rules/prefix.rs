//! Address prefixes, and a sorted table from prefixes to values in which the longest one that holds an address wins. The table never
//! changes once built; a look-up is one binary search and allocates nothing.

use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use core::str::FromStr;
use thiserror::Error;

/// The addresses of one family whose first bits are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// Its first address: no bit is set behind the prefix.
    first: IpAddr,
    len: u8,
}

/// Why a text is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PrefixError {
    /// Neither an address nor an address, `/` and a number.
    #[error("`{}` is no prefix: write 10.1.0.0/16, 2001:db8::/32 or an address", .0.escape_default())]
    NotAPrefix(String),
    /// More bits than the address has.
    #[error("`{text}` has a length beyond {max}")]
    TooLong {
        /// As it was given.
        text: String,
        /// The address's bits.
        max: u8,
    },
    /// The address has bits set behind the prefix: which of both is meant, nobody can say.
    #[error("`{text}` has bits behind its prefix: write {meant} or the address alone")]
    HostBits {
        /// As it was given.
        text: String,
        /// The prefix that it begins with.
        meant: Prefix,
    },
}

impl Prefix {
    /// Whether an address lies in it; one of the other family never does.
    #[must_use]
    pub fn holds(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.first.is_ipv4() && Span::of_ip(self.first, self.len).holds(number(ip))
    }

    /// The numbers of its addresses, and whether they are IPv4 ones.
    pub(super) fn span(&self) -> (Span, bool) {
        (Span::of_ip(self.first, self.len), self.first.is_ipv4())
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let not_one = || PrefixError::NotAPrefix(text.to_owned());
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let ip: IpAddr = address.parse().map_err(|_| not_one())?;
        let max = if ip.is_ipv4() { 32 } else { 128 };
        let len = match len {
            // Not what u8 takes besides: signs.
            Some(len) if len.bytes().all(|byte| byte.is_ascii_digit()) => len.parse().map_err(|_| not_one())?,
            Some(_) => return Err(not_one()),
            None => max,
        };
        if len > max {
            return Err(PrefixError::TooLong { text: text.to_owned(), max });
        }
        let first = Span::of_ip(ip, len).first;
        let first_ip = match ip {
            IpAddr::V4(_) => IpAddr::V4(u32::try_from(first).unwrap_or_default().into()),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(first)),
        };
        let meant = Self { first: first_ip, len };
        if first_ip == ip { Ok(meant) } else { Err(PrefixError::HostBits { text: text.to_owned(), meant }) }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.len)
    }
}

/// The first bits of MAC addresses: a vendor's, or a whole address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MacPrefix {
    first: [u8; 6],
    bytes: u8,
}

/// A text is no beginning of a MAC address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{}` is no MAC address or beginning of one: write 52:54:00 or 52:54:00:12:34:56", .0.escape_default())]
pub struct NotAMacPrefix(String);

impl MacPrefix {
    pub(super) fn span(&self) -> Span {
        Span::of_bits(mac_number(self.first), 48, self.bytes * 8)
    }

    /// The whole address, if it is one.
    #[must_use]
    pub fn address(&self) -> Option<[u8; 6]> {
        (self.bytes == 6).then_some(self.first)
    }
}

impl FromStr for MacPrefix {
    type Err = NotAMacPrefix;

    fn from_str(text: &str) -> Result<Self, NotAMacPrefix> {
        let not_one = || NotAMacPrefix(text.to_owned());
        let mut first = [0; 6];
        let mut bytes = 0;
        for part in text.split([':', '-']) {
            let place = first.get_mut(usize::from(bytes)).ok_or_else(not_one)?;
            if part.len() != 2 || !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(not_one());
            }
            *place = u8::from_str_radix(part, 16).map_err(|_| not_one())?;
            bytes += 1;
        }
        Ok(Self { first, bytes })
    }
}

impl fmt::Display for MacPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, byte) in self.first.iter().take(self.bytes.into()).enumerate() {
            write!(f, "{}{byte:02x}", if number == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

/// An address as a number, of either family.
pub(super) fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// A MAC address as a number.
pub(super) fn mac_number(mac: [u8; 6]) -> u128 {
    mac.into_iter().fold(0, |number, byte| number << 8 | u128::from(byte))
}

/// Numbers that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: u128,
    pub(super) last: u128,
}

impl Span {
    fn of_ip(ip: IpAddr, len: u8) -> Self {
        Self::of_bits(number(ip), if ip.is_ipv4() { 32 } else { 128 }, len)
    }

    /// Of numbers of `width` bits, those that have the first `len` bits of `number`.
    fn of_bits(number: u128, width: u8, len: u8) -> Self {
        let free = u128::MAX.checked_shr(128 - u32::from(width - len)).unwrap_or(0);
        Self { first: number & !free, last: number | free }
    }

    fn holds(self, number: u128) -> bool {
        (self.first..=self.last).contains(&number)
    }
}

/// From numbers to the value of the shortest span that holds each.
#[derive(Clone, Debug)]
pub(super) struct SpanTable {
    /// Where the value changes, ascending from 0.
    starts: Box<[u128]>,
    values: Box<[u16]>,
}

impl SpanTable {
    /// A table of spans, each of which lies wholly within or without any other, and none of which is there twice. What no span holds
    /// has the value `otherwise`.
    #[cold]
    pub(super) fn new(mut spans: Vec<(Span, u16)>, otherwise: u16) -> Self {
        // Outer ones before those within.
        spans.sort_by_key(|(span, _)| (span.first, core::cmp::Reverse(span.last)));
        let mut changes: Vec<(u128, u16)> = vec![(0, otherwise)];
        let mut around: Vec<(Span, u16)> = Vec::new();
        for (span, value) in spans {
            leave(&mut changes, &mut around, otherwise, |last| last < span.first);
            change(&mut changes, span.first, value);
            around.push((span, value));
        }
        leave(&mut changes, &mut around, otherwise, |_| true);
        let (starts, values): (Vec<_>, Vec<_>) = changes.into_iter().unzip();
        Self { starts: starts.into(), values: values.into() }
    }

    /// The value of the shortest span that holds `number`.
    #[inline]
    pub(super) fn find(&self, number: u128) -> u16 {
        // The first start is 0, so that there is always one.
        let behind = self.starts.partition_point(|&start| start <= number);
        self.values.get(behind.wrapping_sub(1)).copied().unwrap_or_default()
    }
}

/// Ends the innermost spans that are over: behind each the one around it goes on.
fn leave(
    changes: &mut Vec<(u128, u16)>,
    around: &mut Vec<(Span, u16)>,
    otherwise: u16,
    is_over: impl Fn(u128) -> bool,
) {
    while let Some((inner, _)) = around.pop_if(|(span, _)| is_over(span.last)) {
        let value = around.last().map_or(otherwise, |(_, value)| *value);
        if let Some(next) = inner.last.checked_add(1) {
            change(changes, next, value);
        }
    }
}

/// From `at` on the value is another one; the last word about a place counts.
fn change(changes: &mut Vec<(u128, u16)>, at: u128, value: u16) {
    match changes.last_mut() {
        Some(last) if last.0 == at => last.1 = value,
        _ => changes.push((at, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prefixes_are_read_and_shown() {
        for (text, shown) in [
            ("10.1.0.0/16", "10.1.0.0/16"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::/0", "::/0"),
            ("fe80::1", "fe80::1/128"),
        ] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), shown);
        }
        for text in ["", "10.1/16", "10.1.0.0/", "10.1.0.0/+16", "10.1.0.0/33", "x", "::/129", "10.1.0.0/16/8"] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
        let error = "10.1.2.3/16".parse::<Prefix>().unwrap_err();
        assert!(error.to_string().contains("write 10.1.0.0/16"), "{error}");
    }

    #[test]
    fn mac_prefixes_are_read_and_shown() {
        for text in ["52:54:00", "52:54:00:12:34:56", "a0"] {
            assert_eq!(text.parse::<MacPrefix>().unwrap().to_string(), text);
        }
        assert_eq!("52-54-00".parse::<MacPrefix>().unwrap().to_string(), "52:54:00");
        for text in ["", "5", "52:54:0", "52:54:00:12:34:56:78", "52::00", "+1:02", "gg"] {
            assert!(text.parse::<MacPrefix>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_family_holds_only_its_own() {
        let all: Prefix = "0.0.0.0/0".parse().unwrap();
        assert!(all.holds("255.255.255.255".parse().unwrap()));
        assert!(!all.holds("::1".parse().unwrap()));
    }

    fn prefix_of(bits: u128, len: u8) -> Span {
        Span::of_bits(bits, 128, len)
    }

    proptest! {
        /// Few leading bits vary, so that prefixes nest, touch and repeat addresses.
        #[test]
        fn the_longest_prefix_wins_as_in_a_list(
            prefixes in proptest::collection::vec((0_u128..64, 0_u8..=8, any::<bool>()), 0..40),
            probes in proptest::collection::vec((0_u128..64, any::<u128>()), 1..40),
        ) {
            let mut spans: Vec<(Span, u16)> = Vec::new();
            for (value, (bits, len, deep)) in (1..).zip(prefixes) {
                // Also at the far ends: single addresses, and the last of all.
                let span = if deep { prefix_of(bits << 122 | 5, 128 - len) } else { prefix_of(bits << 122, len) };
                if spans.iter().all(|(known, _)| *known != span) {
                    spans.push((span, value));
                }
            }
            let table = SpanTable::new(spans.clone(), 0);
            let naive = |number: u128| {
                let holding = spans.iter().filter(|(span, _)| span.holds(number));
                holding.min_by_key(|(span, _)| span.last - span.first).map_or(0, |(_, value)| *value)
            };
            let edges = spans.iter().flat_map(|(span, _)| {
                [span.first, span.last, span.first.wrapping_sub(1), span.last.wrapping_add(1)]
            });
            for number in probes.into_iter().map(|(high, low)| high << 122 | low >> 6).chain(edges).chain([0, u128::MAX]) {
                prop_assert_eq!(table.find(number), naive(number), "{:x}", number);
            }
        }
    }
}
