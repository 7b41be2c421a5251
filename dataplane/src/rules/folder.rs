//! A folder below the content root in which a client's names are looked for first; it may be named after the client.

use super::Requester;
use super::spelling::{Fact, NameBuffer, Overflow};
use crate::files::{Name, NameError, NameOptions};
use thiserror::Error;

/// Folders of one client rule.
pub const FOLDERS_MAX: usize = 4;

/// Why a folder cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say all")]
pub enum FolderError {
    #[error("no such folder can be: {0}")]
    Name(#[from] NameError),
    #[error("{{{}}} is unknown: {{ip}}, {{ip_hex}} and {{mac}} are known", .0.escape_default())]
    UnknownPlaceholder(String),
    #[error("a `{{` without its `}}`, or the other way round")]
    LooseBrace,
}

/// Each with the byte that stands for it while a folder is read.
const PLACEHOLDERS: [(&str, Fact, u8); 3] = [("ip", Fact::Ip, 1), ("ip_hex", Fact::HexIp, 2), ("mac", Fact::Mac, 3)];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<[u8]>),
    Fact(Fact),
}

/// A folder, or the content root itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder {
    parts: Box<[Part]>,
    fold_case: bool,
}

impl Folder {
    /// Reads `lab/{ip}`; `/` is the content root.
    #[cold]
    pub(super) fn parse(text: &str, names: NameOptions) -> Result<Self, FolderError> {
        if text.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(NameError::ForbiddenByte.into());
        }
        // Placeholders stand in the text as control bytes while it is spelt as names are.
        let mut marked = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (plain, behind) = rest.split_at(at);
            let inner = behind.strip_prefix('{').ok_or(FolderError::LooseBrace)?;
            let (word, behind) = inner.split_once('}').ok_or(FolderError::LooseBrace)?;
            let unknown = || FolderError::UnknownPlaceholder(word.to_owned());
            let (_, _, mark) = PLACEHOLDERS.into_iter().find(|(known, _, _)| *known == word).ok_or_else(unknown)?;
            marked.push_str(plain);
            marked.push(char::from(mark));
            rest = behind;
        }
        marked.push_str(rest);
        let spelt = NameBuffer::of(marked.as_bytes(), names).map_err(|Overflow| NameError::TooLong)?;
        let parts = parts_of(spelt.as_bytes());
        let folder = Self { parts, fold_case: names.fold_case };
        folder.check(names)?;
        Ok(folder)
    }

    /// With the longest values that a client can put in, it must still be a name.
    fn check(&self, names: NameOptions) -> Result<(), FolderError> {
        let client = Requester { ip: core::net::Ipv6Addr::from_bits(u128::MAX).into(), mac: Some([0xff; 6]) };
        let mut sample = NameBuffer::default();
        self.write(&client, &mut sample).map_err(|Overflow| NameError::TooLong)?;
        if !sample.as_bytes().is_empty() {
            let name = Name::parse(sample.as_bytes(), names)?;
            // What would be left out or changed is no name that the catalogue has.
            debug_assert_eq!(name.as_bytes(), sample.as_bytes());
        }
        Ok(())
    }

    /// Writes the folder of a client; false when what it is named after is not known.
    fn write(&self, client: &Requester, out: &mut NameBuffer) -> Result<bool, Overflow> {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push(text)?,
                Part::Fact(fact) => {
                    if !out.push_fact(*fact, client)? {
                        return Ok(false);
                    }
                }
            }
        }
        if self.fold_case {
            out.fold();
        }
        Ok(true)
    }

    /// The full name of `name`, which is normal, in this folder of a client; false when what the folder is named after is not known.
    pub(super) fn full_name(&self, client: &Requester, name: &[u8], out: &mut NameBuffer) -> Result<bool, Overflow> {
        out.clear();
        if !self.write(client, out)? {
            return Ok(false);
        }
        if !out.as_bytes().is_empty() {
            out.push(b"/")?;
        }
        out.push(name)?;
        Ok(true)
    }
}

/// Splits at the marks of placeholders.
fn parts_of(marked: &[u8]) -> Box<[Part]> {
    let mut parts = Vec::new();
    let mut plain = Vec::new();
    for &byte in marked {
        match PLACEHOLDERS.into_iter().find(|(_, _, mark)| *mark == byte) {
            Some((_, fact, _)) => {
                if !plain.is_empty() {
                    parts.push(Part::Text(core::mem::take(&mut plain).into()));
                }
                parts.push(Part::Fact(fact));
            }
            None => plain.push(byte),
        }
    }
    if !plain.is_empty() {
        parts.push(Part::Text(plain.into()));
    }
    parts.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: NameOptions = NameOptions { backslash: true, fold_case: false };

    fn full_name(folder: &str, names: NameOptions, name: &str) -> Option<String> {
        let client = Requester { ip: "192.0.2.169".parse().unwrap(), mac: Some([2, 0, 0, 0, 0, 0xab]) };
        let mut out = NameBuffer::default();
        let known = Folder::parse(folder, names).unwrap().full_name(&client, name.as_bytes(), &mut out).unwrap();
        known.then(|| String::from_utf8(out.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn folders_come_before_names() {
        for (folder, full) in [
            ("lab", "lab/x/y"),
            ("/lab//a/./", "lab/a/x/y"),
            (r"lab\a", "lab/a/x/y"),
            ("/", "x/y"),
            (".", "x/y"),
            ("", "x/y"),
            ("by/{ip}", "by/192.0.2.169/x/y"),
            ("{mac}-{ip_hex}/z", "02-00-00-00-00-ab-C00002A9/z/x/y"),
        ] {
            assert_eq!(full_name(folder, PLAIN, "x/y").unwrap(), full);
        }
        let folded = NameOptions { backslash: true, fold_case: true };
        assert_eq!(full_name("Lab/{ip_hex}", folded, "x").unwrap(), "lab/c00002a9/x");
    }

    #[test]
    fn a_folder_named_after_what_is_not_known_is_no_folder() {
        let client = Requester { ip: "192.0.2.169".parse().unwrap(), mac: None };
        let folder = Folder::parse("m/{mac}", PLAIN).unwrap();
        assert_eq!(folder.full_name(&client, b"x", &mut NameBuffer::default()), Ok(false));
    }

    #[test]
    fn what_is_no_folder_is_named() {
        let error = |text: &str| Folder::parse(text, PLAIN).unwrap_err();
        assert_eq!(error("../x"), FolderError::Name(NameError::Climbs));
        assert_eq!(error("a/{ip}/.."), FolderError::Name(NameError::Climbs));
        assert_eq!(error("C:/x"), FolderError::Name(NameError::Climbs));
        assert_eq!(error("a\n"), FolderError::Name(NameError::ForbiddenByte));
        assert_eq!(error("{serial}"), FolderError::UnknownPlaceholder("serial".into()));
        assert_eq!(error("{ip"), FolderError::LooseBrace);
        assert_eq!(error("ip}"), FolderError::LooseBrace);
        assert_eq!(error(&"a".repeat(500)), FolderError::Name(NameError::TooLong));
    }

    proptest! {
        #[test]
        fn a_full_name_is_normal_or_too_long(
            folder in "[a-zA-Z./{}ip]{0,20}",
            name in "[a-z]{1,9}(/[a-z]{1,200}){0,3}",
            bits in any::<u128>(),
            fold_case in any::<bool>(),
        ) {
            let names = NameOptions { backslash: true, fold_case };
            let Ok(folder) = Folder::parse(&folder, names) else { return Ok(()) };
            let client = Requester { ip: core::net::Ipv6Addr::from_bits(bits).into(), mac: Some([7; 6]) };
            let mut out = NameBuffer::default();
            if folder.full_name(&client, name.as_bytes(), &mut out).is_ok() {
                let parsed = Name::parse(out.as_bytes(), names).unwrap();
                prop_assert_eq!(parsed.as_bytes(), out.as_bytes());
            }
        }
    }
}
