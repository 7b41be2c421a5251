//! The options of a request and what an OACK makes of them (RFC 2347, 2348, 2349, 7440). A client that checks: what was not
//! asked, or exceeds what was asked, is refused.

use dataplane::tftp::options::{BLKSIZE_DEFAULT, OptionKind};
use thiserror::Error;

/// What every request of a run asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Bytes in a block, 8..=65464.
    pub(crate) blksize: Option<u16>,
    /// Blocks in a window, at least 1.
    pub(crate) windowsize: Option<u16>,
    /// Seconds between the server's resends, at least 1.
    pub(crate) timeout: Option<u8>,
    /// Whether to ask for the file's size.
    pub(crate) tsize: bool,
}

/// The terms of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Bytes in a block.
    pub(crate) blksize: u16,
    /// Blocks in a window.
    pub(crate) window: u16,
    /// File size in bytes, where the server told it.
    pub(crate) size: Option<u64>,
}

impl Terms {
    /// Without any option (RFC 1350 §2).
    pub(crate) const PLAIN: Self = Self { blksize: BLKSIZE_DEFAULT, window: 1, size: None };
}

/// Why an OACK is refused with ERROR 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refused {
    /// A name or a value without its NUL, or a value that is no number.
    #[error("the OACK is malformed")]
    Malformed,
    /// RFC 2347: a server acknowledges only what was asked.
    #[error("the OACK has an option that was not asked for")]
    NotAsked,
    /// Larger than asked (RFC 2348, RFC 7440), not what was asked (RFC 2349), or out of its range.
    #[error("the OACK has a value that was not asked for")]
    Value,
}

impl Asked {
    /// Writes a read request (opcode, name, mode `octet`, options) behind what is in `out`.
    pub(crate) fn write_request(&self, name: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&[0, 1]);
        out.extend_from_slice(name);
        out.extend_from_slice(b"\0octet\0");
        let mut add = |kind: OptionKind, value: Option<u64>| {
            if let Some(value) = value {
                out.extend_from_slice(format!("{}\0{value}\0", kind.name()).as_bytes());
            }
        };
        // The order in which boot ROMs ask.
        add(OptionKind::Tsize, self.tsize.then_some(0));
        add(OptionKind::Blksize, self.blksize.map(u64::from));
        add(OptionKind::Windowsize, self.windowsize.map(u64::from));
        add(OptionKind::Timeout, self.timeout.map(u64::from));
    }

    /// Reads the body of an OACK (behind its opcode). What it leaves out is as without options.
    ///
    /// # Errors
    /// [`Refused`], by cause.
    pub(crate) fn accept(&self, body: &[u8]) -> Result<Terms, Refused> {
        let mut terms = Terms::PLAIN;
        let mut rest = body;
        // Cisco's and others' padding behind the options reads as empty names.
        while let [first, ..] = rest
            && *first != 0
        {
            let name = terminated(&mut rest)?;
            let value = decimal(terminated(&mut rest)?).ok_or(Refused::Malformed)?;
            let is = |kind: OptionKind| name.eq_ignore_ascii_case(kind.name().as_bytes());
            if is(OptionKind::Blksize) {
                terms.blksize = at_most(value, self.blksize, 8)?;
            } else if is(OptionKind::Windowsize) {
                terms.window = at_most(value, self.windowsize, 1)?;
            } else if is(OptionKind::Timeout) {
                // RFC 2349: the acknowledged value must match.
                let asked = self.timeout.ok_or(Refused::NotAsked)?;
                if value != u64::from(asked) {
                    return Err(Refused::Value);
                }
            } else if is(OptionKind::Tsize) && self.tsize {
                terms.size = Some(value);
            } else {
                return Err(Refused::NotAsked);
            }
        }
        Ok(terms)
    }
}

/// RFC 2348 and RFC 7440: the server's value is at most the client's.
fn at_most(value: u64, asked: Option<u16>, least: u16) -> Result<u16, Refused> {
    let asked = asked.ok_or(Refused::NotAsked)?;
    u16::try_from(value).ok().filter(|value| (least..=asked).contains(value)).ok_or(Refused::Value)
}

fn terminated<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Refused> {
    let end = rest.iter().position(|&byte| byte == 0).ok_or(Refused::Malformed)?;
    let (text, behind) = rest.split_at(end);
    *rest = &behind[1..];
    Ok(text)
}

fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    core::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Asked = Asked { blksize: Some(1428), windowsize: Some(16), timeout: Some(3), tsize: true };

    #[test]
    fn a_request_reads_as_the_server_reads_it() {
        let mut packet = Vec::new();
        ALL.write_request(b"boot/x", &mut packet);
        assert_eq!(packet, b"\0\x01boot/x\0octet\0tsize\x000\0blksize\x001428\0windowsize\x0016\0timeout\x003\0");
        packet.clear();
        Asked::default().write_request(b"x", &mut packet);
        assert_eq!(packet, b"\0\x01x\0octet\0");
    }

    #[test]
    fn what_was_asked_is_taken_and_what_is_left_out_is_the_default() {
        let terms = ALL.accept(b"BLKSIZE\x001024\0windowsize\x004\0timeout\x003\0tsize\x0099999999999\0").unwrap();
        assert_eq!(terms, Terms { blksize: 1024, window: 4, size: Some(99_999_999_999) });
        assert_eq!(ALL.accept(b"tsize\x007\0").unwrap(), Terms { size: Some(7), ..Terms::PLAIN });
        assert_eq!(ALL.accept(b"").unwrap(), Terms::PLAIN);
        assert_eq!(ALL.accept(b"blksize\x00512\0\0\0\0").unwrap(), Terms::PLAIN, "padding");
    }

    #[test]
    fn what_was_not_asked_is_refused() {
        for (body, why) in [
            (&b"blksize\x001429\0"[..], Refused::Value),
            (b"blksize\x007\0", Refused::Value),
            (b"windowsize\x0017\0", Refused::Value),
            (b"windowsize\x000\0", Refused::Value),
            (b"timeout\x004\0", Refused::Value),
            (b"multicast\x001\0", Refused::NotAsked),
            (b"blksize\x00-1\0", Refused::Malformed),
            (b"blksize\x00\0", Refused::Malformed),
            (b"blksize\x00512", Refused::Malformed),
            (b"blksize", Refused::Malformed),
        ] {
            assert_eq!(ALL.accept(body), Err(why), "{body:?}");
        }
        for body in [&b"tsize\x001\0"[..], b"blksize\x00512\0", b"windowsize\x001\0", b"timeout\x001\0"] {
            assert_eq!(Asked::default().accept(body), Err(Refused::NotAsked), "{body:?}");
        }
    }
}
