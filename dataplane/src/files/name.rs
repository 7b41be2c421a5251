//! Requested names, normalised into a fixed buffer. Never allocates, never truncates, never resolves a `..`.

use core::fmt;

use thiserror::Error;

/// The longest normalised name, in bytes; a longer one is an error, never cut.
pub const NAME_MAX: usize = 448;

/// How names are normalised. A catalogue and the requests for its files must agree: ask [`Catalogue::name_options`].
///
/// [`Catalogue::name_options`]: super::Catalogue::name_options
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameOptions {
    /// `\` separates components as `/` does (Windows boot managers ask for `\boot\bcd`). On by default.
    pub backslash: bool,
    /// ASCII letters of either case are the same. Off by default.
    pub fold_case: bool,
}

impl Default for NameOptions {
    fn default() -> Self {
        Self { backslash: true, fold_case: false }
    }
}

/// Why a requested name cannot be the name of any file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing is left: the name was empty, or separators and `.` only.
    #[error("the name is empty")]
    Empty,
    /// More than [`NAME_MAX`] bytes when normalised.
    #[error("the name is longer than {NAME_MAX} bytes")]
    TooLong,
    /// A control byte (0x00..=0x1f, 0x7f) or 0xff.
    #[error("the name holds a control byte or 0xff")]
    ForbiddenByte,
    /// A component is `..`, or the first one is a drive letter such as `C:`.
    #[error("the name climbs out of the root")]
    Climbs,
}

/// A normalised name: one to [`NAME_MAX`] bytes, components separated by one `/`, none of them empty, `.` or `..`.
///
/// `%` is a byte like any other: names are looked up exactly, so `%n` is found only where a file is called that.
#[derive(Clone)]
pub struct Name {
    bytes: [u8; NAME_MAX],
    len: u16,
}

impl Name {
    /// Normalises the name of a request: `\` separates (if the options say so), repeated and outer separators and `.` components
    /// are dropped, letters are folded to lower case (if the options say so).
    ///
    /// # Errors
    /// [`NameError`], of the first component that has one.
    pub fn parse(raw: &[u8], options: NameOptions) -> Result<Self, NameError> {
        let mut bytes = [0; NAME_MAX];
        let mut len: u16 = 0;
        for component in raw.split(|&byte| byte == b'/' || (options.backslash && byte == b'\\')) {
            if component.is_empty() || component == b"." {
                continue;
            }
            if component == b".." || (len == 0 && is_drive(component)) {
                return Err(NameError::Climbs);
            }
            if component.iter().any(|&byte| byte.is_ascii_control() || byte == 0xff) {
                return Err(NameError::ForbiddenByte);
            }
            let start = if len == 0 { 0 } else { usize::from(len) + 1 };
            let end = start + component.len();
            let place = bytes.get_mut(start..end).ok_or(NameError::TooLong)?;
            place.copy_from_slice(component);
            if options.fold_case {
                place.make_ascii_lowercase();
            }
            if start > 0 {
                bytes[start - 1] = b'/';
            }
            len = u16::try_from(end).map_err(|_| NameError::TooLong)?;
        }
        if len == 0 { Err(NameError::Empty) } else { Ok(Self { bytes, len }) }
    }

    /// Whether [`parse`](Self::parse) would change nothing, told by one pass without a copy. False also for some names that it
    /// leaves alone: those with a component that begins with a dot, or with a colon.
    #[must_use]
    pub fn is_normal(raw: &[u8], options: NameOptions) -> bool {
        let mut at_component = true;
        for &byte in raw {
            let changes = match byte {
                b'/' | b'.' => at_component,
                b'\\' => options.backslash,
                b'A'..=b'Z' => options.fold_case,
                b':' | 0x7f | 0xff => true,
                _ => byte < b' ',
            };
            if changes {
                return false;
            }
            at_component = byte == b'/';
        }
        // Ends within a component, and has one.
        !at_component && raw.len() <= NAME_MAX
    }

    /// The normalised bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

fn is_drive(component: &[u8]) -> bool {
    matches!(component, [letter, b':'] if letter.is_ascii_alphabetic())
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({})", escape(self.as_bytes()))
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Name {}

/// Bytes from the network or the disk, for a log line: printable ASCII is kept, the rest is written as `\xNN`.
pub fn escape(bytes: &[u8]) -> impl fmt::Display + '_ {
    Escaped(bytes)
}

struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0 {
            match byte {
                b' '..=b'~' => fmt::Write::write_char(f, char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}
