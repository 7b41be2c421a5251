//! What stands in a request: name, mode, options. Bounded work whatever the sender writes.

use super::options::Asked;
use thiserror::Error;

/// A request is at most this long (RFC 2347: "The maximum size of a request packet is 512 octets"). What lies beyond is not read.
pub const REQUEST_MAX: usize = 512;

/// Bytes in which the opcode stands before the body.
const OPCODE_LEN: usize = 2;

/// How file bytes become stream bytes, RFC 1350 §1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Bytes as they are.
    Octet,
    /// LF becomes CR LF, CR becomes CR NUL (RFC 764).
    Netascii,
}

/// A checked read request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Name as sent, not empty.
    pub name: &'a [u8],
    /// Transfer mode.
    pub mode: Mode,
    /// The options that were understood.
    pub asked: Asked,
}

/// Why a request cannot be understood; each is answered with ERROR 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// No NUL behind the name, or nothing behind it.
    #[error("name or mode is not terminated")]
    Unterminated,
    /// The name has no bytes.
    #[error("empty file name")]
    EmptyName,
    /// Neither `octet` nor `netascii`.
    #[error("unknown transfer mode")]
    UnknownMode,
    /// The last option value has no NUL.
    #[error("option value is not terminated")]
    UnterminatedOption,
}

impl<'a> Request<'a> {
    /// Reads the part of a request behind its opcode.
    ///
    /// # Errors
    /// [`RequestError`] for what RFC 1350 §5 does not allow. Bad *options* are no error: they are left out of
    /// [`asked`](Self::asked), since boot ROMs do not survive an ERROR 8 (RFC 2347 allows the omission).
    pub fn parse(body: &'a [u8]) -> Result<Self, RequestError> {
        let longest = REQUEST_MAX - OPCODE_LEN;
        let cut = body.len() > longest;
        let mut strings = Strings { rest: &body[..body.len().min(longest)] };
        let name = strings.next_terminated().ok_or(RequestError::Unterminated)?;
        let mode = strings.next_terminated().ok_or(RequestError::Unterminated)?;
        if name.is_empty() {
            return Err(RequestError::EmptyName);
        }
        // RFC 1350 §5: the mode may be "in any combination of upper and lower case".
        let mode = if mode.eq_ignore_ascii_case(b"octet") {
            Mode::Octet
        } else if mode.eq_ignore_ascii_case(b"netascii") {
            Mode::Netascii
        } else {
            return Err(RequestError::UnknownMode);
        };
        let mut asked = Asked::default();
        while let Some(option) = strings.next_terminated() {
            match strings.next_terminated() {
                Some(value) => asked.add(option, value),
                // A name without any byte behind it is only an option without value: ignored.
                None if strings.rest.is_empty() => break,
                None if cut => break,
                None => return Err(RequestError::UnterminatedOption),
            }
        }
        if !strings.rest.is_empty() && !cut {
            return Err(RequestError::UnterminatedOption);
        }
        Ok(Self { name, mode, asked })
    }
}

/// NUL-terminated strings, one after the other.
struct Strings<'a> {
    rest: &'a [u8],
}

impl<'a> Strings<'a> {
    /// The next string without its NUL; `None` when none is left or the rest has no NUL.
    fn next_terminated(&mut self) -> Option<&'a [u8]> {
        let end = self.rest.iter().position(|&byte| byte == 0)?;
        let (string, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        Some(string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tftp::options::OptionKind;
    use proptest::prelude::*;

    #[test]
    fn rfc1350_5_plain_request() {
        let request = Request::parse(b"boot/kernel\0OcTeT\0").unwrap();
        assert_eq!(request.name, b"boot/kernel");
        assert_eq!(request.mode, Mode::Octet);
        assert_eq!(request.asked, Asked::default());
        assert_eq!(Request::parse(b"x\0NETASCII\0").unwrap().mode, Mode::Netascii);
    }

    #[test]
    fn row5_unterminated_requests() {
        for body in [&b""[..], b"name", b"name\0", b"name\0octet", b"\0"] {
            assert_eq!(Request::parse(body), Err(RequestError::Unterminated), "{body:?}");
        }
    }

    #[test]
    fn row6_empty_name_and_bad_modes() {
        assert_eq!(Request::parse(b"\0octet\0"), Err(RequestError::EmptyName));
        for body in [&b"x\0\0"[..], b"x\0mail\0", b"x\0octets\0", b"x\0oct\0"] {
            assert_eq!(Request::parse(body), Err(RequestError::UnknownMode), "{body:?}");
        }
    }

    #[test]
    fn row15_option_without_value_is_ignored() {
        let request = Request::parse(b"x\0octet\0tsize\x000\0blksize\0").unwrap();
        assert!(request.asked.order.iter().eq([OptionKind::Tsize]));
    }

    #[test]
    fn row16_last_value_without_nul() {
        assert_eq!(Request::parse(b"x\0octet\0blksize\x001024"), Err(RequestError::UnterminatedOption));
        assert_eq!(Request::parse(b"x\0octet\0blksize"), Err(RequestError::UnterminatedOption));
    }

    #[test]
    fn row24_long_requests_are_cut_not_refused() {
        let mut body = b"x\0octet\0blksize\x001024\0".to_vec();
        while body.len() < 2_000 {
            body.extend_from_slice(b"padding\0value\0");
        }
        assert_eq!(Request::parse(&body).unwrap().asked.blksize, Some(1024));
        let endless = vec![b'a'; 9_000];
        assert_eq!(Request::parse(&endless), Err(RequestError::Unterminated));
    }

    #[test]
    fn zero_padding_behind_a_request_is_harmless() {
        for padding in 0..6 {
            let mut body = b"x\0octet\0blksize\x001024\0".to_vec();
            body.resize(body.len() + padding, 0);
            assert_eq!(Request::parse(&body).unwrap().asked.blksize, Some(1024), "{padding}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bodies_never_panic(body in proptest::collection::vec(any::<u8>(), 0..1_500)) {
            let _ = Request::parse(&body);
        }
    }
}
