//! One spelling for every name before rules look at it, so that no rule is passed by writing a name another way. Refuses nothing but
//! length: what is wrong with a name may be what a rule is there to mend.

use super::Requester;
use crate::files::{NAME_MAX, NameOptions};
use arrayvec::ArrayVec;
use core::fmt::{self, Write};
use core::net::IpAddr;

/// The name grew beyond [`NAME_MAX`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overflow;

/// A name in the making; never longer than [`NAME_MAX`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NameBuffer(ArrayVec<u8, NAME_MAX>);

impl NameBuffer {
    pub(super) const CAPACITY: usize = NAME_MAX;

    /// A requested name as rules see it: `/` separates (and `\` if the options say so), repeated and outer separators and `.`
    /// components are gone, letters are folded (if the options say so). All else is as it came: `..`, drive letters, control bytes.
    pub(super) fn of(raw: &[u8], options: NameOptions) -> Result<Self, Overflow> {
        let mut name = Self::default();
        for component in raw.split(|&byte| byte == b'/' || (options.backslash && byte == b'\\')) {
            if component.is_empty() || component == b"." {
                continue;
            }
            if !name.0.is_empty() {
                name.push(b"/")?;
            }
            name.push(component)?;
        }
        if options.fold_case {
            name.fold();
        }
        Ok(name)
    }

    pub(super) fn fold(&mut self) {
        self.0.make_ascii_lowercase();
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        self.0.try_extend_from_slice(bytes).map_err(|_| Overflow)
    }

    /// The same in upper or lower case.
    pub(super) fn push_in(&mut self, case: Case, bytes: &[u8]) -> Result<(), Overflow> {
        let start = self.0.len();
        self.push(bytes)?;
        match case {
            Case::AsIs => {}
            Case::Upper => self.0[start..].make_ascii_uppercase(),
            Case::Lower => self.0[start..].make_ascii_lowercase(),
        }
        Ok(())
    }

    /// Something about the client; false when it is not known.
    pub(super) fn push_fact(&mut self, fact: Fact, client: &Requester) -> Result<bool, Overflow> {
        let written = match (fact, client.ip, client.mac) {
            (Fact::Ip, ip, _) => write!(self, "{ip}"),
            (Fact::HexIp, IpAddr::V4(ip), _) => write!(self, "{:08X}", ip.to_bits()),
            (Fact::HexIp, IpAddr::V6(ip), _) => write!(self, "{:032X}", ip.to_bits()),
            (Fact::Mac, _, Some([a, b, c, d, e, f])) => {
                write!(self, "{a:02x}-{b:02x}-{c:02x}-{d:02x}-{e:02x}-{f:02x}")
            }
            (Fact::Mac, _, None) => return Ok(false),
        };
        written.map(|()| true).map_err(|_| Overflow)
    }
}

impl Write for NameBuffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// Letter case of what is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Case {
    #[default]
    AsIs,
    Upper,
    Lower,
}

/// What a name can say about its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// 192.0.2.169, 2001:db8::1.
    Ip,
    /// C00002A9, 20010DB8000000000000000000000001: as PXELINUX names its configurations.
    HexIp,
    /// 52-54-00-12-34-56: as dnsmasq names a machine's folder.
    Mac,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Name;
    use proptest::prelude::*;

    const PLAIN: NameOptions = NameOptions { backslash: true, fold_case: false };

    #[test]
    fn a_name_has_one_spelling() {
        for raw in [&b"boot/bcd"[..], b"\\boot\\bcd", b"//boot/./bcd/", b"./boot//bcd"] {
            assert_eq!(NameBuffer::of(raw, PLAIN).unwrap().as_bytes(), b"boot/bcd");
        }
        assert_eq!(NameBuffer::of(b"C:\\..\\x\xff", PLAIN).unwrap().as_bytes(), b"C:/../x\xff");
        assert_eq!(NameBuffer::of(b"/", PLAIN).unwrap().as_bytes(), b"");
        let folded = NameOptions { backslash: false, fold_case: true };
        assert_eq!(NameBuffer::of(b"A\\B", folded).unwrap().as_bytes(), b"a\\b");
        assert_eq!(NameBuffer::of(&[b'a'; NAME_MAX + 1], PLAIN), Err(Overflow));
    }

    #[test]
    fn facts_are_spelt_as_other_tools_spell_them() {
        let spell = |ip: &str, mac, fact| {
            let mut name = NameBuffer::default();
            let known = name.push_fact(fact, &Requester { ip: ip.parse().unwrap(), mac }).unwrap();
            known.then(|| String::from_utf8(name.as_bytes().to_vec()).unwrap())
        };
        assert_eq!(spell("192.0.2.169", None, Fact::Ip).unwrap(), "192.0.2.169");
        assert_eq!(spell("192.0.2.169", None, Fact::HexIp).unwrap(), "C00002A9");
        assert_eq!(spell("2001:db8::1", None, Fact::HexIp).unwrap(), "20010DB8000000000000000000000001");
        assert_eq!(spell("::1", Some([1, 2, 3, 0xa, 0xb, 0xc]), Fact::Mac).unwrap(), "01-02-03-0a-0b-0c");
        assert_eq!(spell("::1", None, Fact::Mac), None);
    }

    proptest! {
        /// The spelling that rules see means the same file.
        #[test]
        fn spelling_changes_no_meaning(
            raw in proptest::collection::vec(prop_oneof![Just(b'/'), Just(b'\\'), Just(b'.'), Just(b'A'), any::<u8>()], 0..40),
            backslash in any::<bool>(),
            fold_case in any::<bool>(),
        ) {
            let options = NameOptions { backslash, fold_case };
            let spelt = NameBuffer::of(&raw, options).unwrap();
            prop_assert_eq!(Name::parse(spelt.as_bytes(), options), Name::parse(&raw, options));
            prop_assert_eq!(NameBuffer::of(spelt.as_bytes(), options).unwrap(), spelt);
        }
    }
}
