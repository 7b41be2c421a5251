//! Option negotiation: what was asked, what is granted, how an OACK says so. RFC 2347, 2348, 2349, 7440.

use super::packet::NoRoom;
use bytemuck::{Pod, Zeroable};

/// Block size without the option, RFC 1350 §2.
pub const BLKSIZE_DEFAULT: u16 = 512;
/// Smallest and largest block size, RFC 2348.
pub const BLKSIZE_MIN: u16 = 8;
/// See [`BLKSIZE_MIN`].
pub const BLKSIZE_MAX: u16 = 65_464;

/// The options that this server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OptionKind {
    /// RFC 2348.
    Blksize = 1,
    /// RFC 2349.
    Timeout = 2,
    /// RFC 2349.
    Tsize = 3,
    /// RFC 7440.
    Windowsize = 4,
}

impl OptionKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Blksize, Self::Timeout, Self::Tsize, Self::Windowsize];

    /// The name in an OACK.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blksize => "blksize",
            Self::Timeout => "timeout",
            Self::Tsize => "tsize",
            Self::Windowsize => "windowsize",
        }
    }

    /// RFC 2347: "option names are case insensitive".
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| name.eq_ignore_ascii_case(kind.name().as_bytes()))
    }

    fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|&kind| kind as u16 == code)
    }
}

/// Some of the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionSet(u8);

impl OptionSet {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All that this server knows.
    pub const ALL: Self = Self::NONE
        .with(OptionKind::Blksize)
        .with(OptionKind::Timeout)
        .with(OptionKind::Tsize)
        .with(OptionKind::Windowsize);

    /// These and one more.
    #[must_use]
    pub const fn with(self, kind: OptionKind) -> Self {
        Self(self.0 | 1 << kind as u8)
    }

    /// These but one.
    #[must_use]
    pub const fn without(self, kind: OptionKind) -> Self {
        Self(self.0 & !(1 << kind as u8))
    }

    /// Whether it is one of them.
    #[must_use]
    pub const fn contains(self, kind: OptionKind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }
}

/// Which options an OACK holds, in the order in which they were asked; two bytes, so that a session can afford it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct OptionOrder(u16);

impl OptionOrder {
    const BITS: u32 = 3;
    const MASK: u16 = (1 << Self::BITS) - 1;

    /// The bits above have no meaning.
    #[expect(clippy::cast_possible_truncation, reason = "there are four options")]
    pub(super) const BITS_USED: u32 = Self::BITS * OptionKind::ALL.len() as u32;

    pub(super) const fn to_bits(self) -> u16 {
        self.0
    }

    /// Whatever stands in the bits above those in use.
    pub(super) const fn from_bits(bits: u16) -> Self {
        Self(bits & ((1 << Self::BITS_USED) - 1))
    }

    /// No option at all.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The options, first asked first.
    pub fn iter(self) -> impl Iterator<Item = OptionKind> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let kind = OptionKind::from_code(rest & Self::MASK);
            rest >>= Self::BITS;
            kind
        })
    }

    /// Whether this one is among them.
    #[must_use]
    pub fn contains(self, kind: OptionKind) -> bool {
        self.iter().any(|each| each == kind)
    }

    fn push(&mut self, kind: OptionKind) {
        let used = 16 - self.0.leading_zeros();
        self.0 |= (kind as u16) << used.next_multiple_of(Self::BITS);
    }

    fn without(self, kind: OptionKind) -> Self {
        let mut rest = Self::default();
        self.iter().filter(|&each| each != kind).for_each(|each| rest.push(each));
        rest
    }
}

/// The options of a request that had a usable value, once each: of a repeated one the first counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Bytes, at least [`BLKSIZE_MIN`], not yet clamped to what is possible.
    pub blksize: Option<u32>,
    /// Seconds.
    pub timeout: Option<u8>,
    /// Blocks, at least 1.
    pub windowsize: Option<u16>,
    /// Which of them were asked (and `tsize`), in what order.
    pub order: OptionOrder,
}

impl Asked {
    /// Takes one option of a request; unknown names and unusable values change nothing.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        let Some(kind) = OptionKind::from_name(name) else { return };
        let Some(number) = decimal(value) else { return };
        if self.order.contains(kind) {
            return;
        }
        match kind {
            OptionKind::Blksize if number >= u64::from(BLKSIZE_MIN) => {
                self.blksize = Some(u32::try_from(number).unwrap_or(u32::MAX));
            }
            OptionKind::Timeout if (1..=255).contains(&number) => self.timeout = u8::try_from(number).ok(),
            OptionKind::Windowsize if (1..=65_535).contains(&number) => self.windowsize = u16::try_from(number).ok(),
            OptionKind::Tsize => {}
            _ => return,
        }
        self.order.push(kind);
    }
}

impl Asked {
    /// What would have been understood if the server knew only these options.
    #[must_use]
    pub fn only(mut self, known: OptionSet) -> Self {
        for kind in OptionKind::ALL.into_iter().filter(|&kind| !known.contains(kind)) {
            match kind {
                OptionKind::Blksize => self.blksize = None,
                OptionKind::Timeout => self.timeout = None,
                OptionKind::Windowsize => self.windowsize = None,
                OptionKind::Tsize => {}
            }
            self.order = self.order.without(kind);
        }
        self
    }
}

/// What this server can grant to this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Largest block in bytes: one frame of the port's MTU.
    pub blksize: u16,
    /// Most blocks in a window.
    pub window_blocks: u8,
    /// Most bytes in a window.
    pub window_bytes: u32,
}

/// The terms of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Bytes in a block.
    pub blksize: u16,
    /// Blocks in a window.
    pub window: u8,
    /// Seconds between retransmissions, when the client chose them.
    pub timeout: Option<u8>,
    /// File size in bytes, when the client asked.
    pub tsize: Option<u64>,
    /// What the OACK says; empty: no OACK, DATA 1 at once.
    pub order: OptionOrder,
}

impl Granted {
    /// Decides. `size` is the file's size in bytes, or `None` where it is not the size of the stream (netascii): then
    /// `tsize` is left out.
    #[must_use]
    pub fn decide(asked: &Asked, caps: &Caps, size: Option<u64>) -> Self {
        let blksize = match asked.blksize {
            Some(bytes) => u16::try_from(bytes).unwrap_or(u16::MAX).min(BLKSIZE_MAX).min(caps.blksize),
            None => BLKSIZE_DEFAULT,
        };
        let by_bytes = u8::try_from(caps.window_bytes / u32::from(blksize)).unwrap_or(u8::MAX).max(1);
        let window =
            u8::try_from(asked.windowsize.unwrap_or(1)).unwrap_or(u8::MAX).min(caps.window_blocks).min(by_bytes);
        let tsize = if asked.order.contains(OptionKind::Tsize) { size } else { None };
        let order = if tsize.is_some() { asked.order } else { asked.order.without(OptionKind::Tsize) };
        Self { blksize, window, timeout: asked.timeout, tsize, order }
    }

    /// Writes the body of the OACK: asked options only, once each, in the asked order, decimal without leading zeros, no
    /// padding. Returns its length.
    ///
    /// # Errors
    /// [`NoRoom`] when `buffer` is shorter than that; 80 bytes always suffice.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, NoRoom> {
        let mut used = 0;
        for kind in self.order.iter() {
            let value = match kind {
                OptionKind::Blksize => u64::from(self.blksize),
                OptionKind::Timeout => u64::from(self.timeout.unwrap_or_default()),
                OptionKind::Tsize => self.tsize.unwrap_or_default(),
                OptionKind::Windowsize => u64::from(self.window),
            };
            let mut digits = [0; DIGITS_MAX];
            for part in [kind.name().as_bytes(), &[0], digits_of(value, &mut digits), &[0]] {
                buffer.get_mut(used..used + part.len()).ok_or(NoRoom)?.copy_from_slice(part);
                used += part.len();
            }
        }
        Ok(used)
    }
}

/// Digits only, no sign, at most 64 bits; leading zeros are tolerated on input.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, &byte| {
        let digit = byte.checked_sub(b'0').filter(|&digit| digit < 10)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

const DIGITS_MAX: usize = 20;

fn digits_of(mut value: u64, buffer: &mut [u8; DIGITS_MAX]) -> &[u8] {
    let mut start = DIGITS_MAX;
    loop {
        start -= 1;
        buffer[start] = b'0' + u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
        if value == 0 {
            return &buffer[start..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAPS: Caps = Caps { blksize: 1468, window_blocks: 64, window_bytes: 1 << 20 };

    fn ask(options: &[(&str, &str)]) -> Asked {
        let mut asked = Asked::default();
        for (name, value) in options {
            asked.add(name.as_bytes(), value.as_bytes());
        }
        asked
    }

    fn oack(options: &[(&str, &str)], size: Option<u64>) -> String {
        let mut buffer = [0; 80];
        let granted = Granted::decide(&ask(options), &CAPS, size);
        let len = granted.emit(&mut buffer).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap().replace('\0', " ")
    }

    #[test]
    fn rfc2347_only_asked_options_in_the_asked_order() {
        assert_eq!(oack(&[("tsize", "0"), ("BLKSIZE", "1024")], Some(77)), "tsize 77 blksize 1024 ");
        assert_eq!(
            oack(&[("windowsize", "4"), ("timeout", "5"), ("blksize", "8"), ("tsize", "9")], Some(0)),
            "windowsize 4 timeout 5 blksize 8 tsize 0 "
        );
        assert_eq!(oack(&[], Some(77)), "");
    }

    #[test]
    fn a_repeated_option_counts_once() {
        assert_eq!(
            oack(&[("blksize", "600"), ("blksize", "700"), ("tsize", "0"), ("tsize", "0")], Some(1)),
            "blksize 600 tsize 1 "
        );
    }

    #[test]
    fn row17_bad_blksize_is_ignored() {
        for value in ["0", "7", "-1", "0x200", "junk", "", "999999999999999999999999999999", "+512", "51 2"] {
            assert_eq!(oack(&[("blksize", value)], None), "", "{value}");
        }
        assert_eq!(oack(&[("blksize", "0512")], None), "blksize 512 ");
    }

    #[test]
    fn row18_large_blksize_is_clamped() {
        for value in ["1469", "65464", "65465", "4294967296", "99999999999"] {
            assert_eq!(oack(&[("blksize", value)], None), "blksize 1468 ", "{value}");
        }
    }

    #[test]
    fn row19_bad_timeout_is_ignored() {
        for value in ["0", "256", "junk", ""] {
            assert_eq!(oack(&[("timeout", value)], None), "", "{value}");
        }
        assert_eq!(oack(&[("timeout", "255")], None), "timeout 255 ");
    }

    #[test]
    fn row20_windowsize() {
        assert_eq!(oack(&[("windowsize", "0")], None), "");
        assert_eq!(oack(&[("windowsize", "65536")], None), "");
        assert_eq!(oack(&[("windowsize", "65535")], None), "windowsize 64 ");
        let jumbo = Caps { blksize: 65_464, ..CAPS };
        let granted = Granted::decide(&ask(&[("blksize", "65464"), ("windowsize", "64")]), &jumbo, None);
        assert_eq!(granted.window, 16, "capped by bytes in flight");
    }

    #[test]
    fn row21_tsize() {
        assert_eq!(oack(&[("tsize", "12345")], Some(7)), "tsize 7 ");
        assert_eq!(oack(&[("tsize", "junk")], Some(7)), "");
    }

    #[test]
    fn row22_tsize_is_left_out_of_netascii() {
        assert_eq!(oack(&[("tsize", "0"), ("blksize", "600")], None), "blksize 600 ");
    }

    #[test]
    fn row23_foreign_options_are_ignored() {
        assert_eq!(oack(&[("multicast", ""), ("msftwindow", "31416"), ("utimeout", "1000")], Some(1)), "");
    }

    #[test]
    fn rfc2347_an_option_that_is_not_known_is_ignored() {
        let options = [("windowsize", "4"), ("timeout", "5"), ("blksize", "8"), ("tsize", "9")];
        let known = OptionSet::NONE.with(OptionKind::Blksize).with(OptionKind::Tsize);
        let asked = ask(&options).only(known);
        assert_eq!(asked, ask(&options[2..]));
        assert_eq!(ask(&options).only(OptionSet::ALL), ask(&options));
        assert_eq!(ask(&options).only(OptionSet::NONE), Asked::default());
    }

    proptest! {
        #[test]
        fn digits_are_what_the_standard_library_prints(value in any::<u64>()) {
            let mut buffer = [0; DIGITS_MAX];
            let printed = value.to_string();
            prop_assert_eq!(digits_of(value, &mut buffer), printed.as_bytes());
            prop_assert_eq!(decimal(printed.as_bytes()), Some(value));
        }

        #[test]
        fn an_oack_never_exceeds_what_was_asked(blksize in 8_u64..200_000, window in 1_u32..70_000) {
            let (blksize_text, window_text) = (blksize.to_string(), window.to_string());
            let granted = Granted::decide(&ask(&[("blksize", &blksize_text), ("windowsize", &window_text)]), &CAPS, None);
            prop_assert!(u64::from(granted.blksize) <= blksize);
            prop_assert!(granted.window >= 1 && u32::from(granted.window) <= window);
            prop_assert!(granted.emit(&mut [0; 80]).is_ok());
        }
    }
}
