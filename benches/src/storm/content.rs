//! What is asked for and what must come: names with their weights, and either the files' bytes or what other clients got. Loaded
//! once; nothing here allocates afterwards.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

use super::options::Asked;

/// RFC 2347: "The maximum size of a request packet is 512 octets".
const REQUEST_MAX: usize = 512;

/// A file of the mix as it is written on the command line or in a list: `NAME` or `NAME:WEIGHT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    name: String,
    weight: u32,
}

/// Why there is no mix of files.
#[derive(Debug, Error)]
pub(crate) enum ContentError {
    /// A name without characters, or with a NUL.
    #[error("`{}` is no file name", .0.escape_default())]
    Name(String),
    /// A weight of 0.
    #[error("`{0}`: a weight is at least 1")]
    Weight(String),
    /// Nothing to ask for.
    #[error("no file to ask for: name one with --file, or several with --files")]
    Nothing,
    /// Name and options together.
    #[error("`{0}`: the request would be longer than 512 bytes")]
    TooLong(String),
    /// A list or a file to compare with.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl FromStr for Wanted {
    type Err = ContentError;

    /// A number behind the last colon is a weight; a name that ends like that is written with `:1` behind it.
    fn from_str(text: &str) -> Result<Self, ContentError> {
        let weighted = text.rsplit_once(':').and_then(|(name, weight)| Some((name, weight.parse::<u32>().ok()?)));
        let (name, weight) = weighted.unwrap_or((text, 1));
        if name.is_empty() || name.contains('\0') {
            return Err(ContentError::Name(text.to_owned()));
        }
        if weight == 0 {
            return Err(ContentError::Weight(text.to_owned()));
        }
        Ok(Self { name: name.to_owned(), weight })
    }
}

/// Reads a list: one file in each line, as [`Wanted`] is written; empty lines and those that begin with `#` are left out.
///
/// # Errors
/// [`ContentError`], by cause.
pub(crate) fn read_list(path: &Path) -> Result<Vec<Wanted>, ContentError> {
    let text = fs::read_to_string(path).map_err(|source| ContentError::Read { path: path.to_owned(), source })?;
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::parse).collect()
}

/// A file by its place in the mix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileId(u32);

/// Size and checksum of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Print {
    bytes: u64,
    crc32: u32,
}

/// A file of the mix.
#[derive(Debug)]
struct File {
    name: String,
    /// The whole packet that asks for it.
    request: Box<[u8]>,
    /// Sum of the weights up to this one, inclusive.
    up_to: u64,
    /// What it must be, byte for byte.
    expected: Option<Box<[u8]>>,
    /// What the first client got.
    print: Option<Print>,
    tally: FileTally,
}

/// How transfers of one file went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileTally {
    /// Completed, right or wrong.
    pub(crate) done: u64,
    /// Completed with other content than they should have.
    pub(crate) mismatches: u64,
}

/// What one client got so far, as far as it must be remembered: 8 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Received {
    crc32: u32,
    /// Some block was wrong.
    wrong: bool,
}

/// The mix of files.
#[derive(Debug)]
pub(crate) struct Content {
    files: Box<[File]>,
    comparing: bool,
}

impl Content {
    /// Prepares the requests, and loads the files below `verify` to compare with.
    ///
    /// # Errors
    /// [`ContentError`], by cause.
    pub(crate) fn new(wanted: &[Wanted], asked: &Asked, verify: Option<&Path>) -> Result<Self, ContentError> {
        let mut up_to = 0;
        let mut files = Vec::with_capacity(wanted.len());
        for Wanted { name, weight } in wanted {
            up_to += u64::from(*weight);
            let mut request = Vec::new();
            asked.write_request(name.as_bytes(), &mut request);
            if request.len() > REQUEST_MAX {
                return Err(ContentError::TooLong(name.clone()));
            }
            let expected = verify.map(|root| load(root, name)).transpose()?;
            let (name, request) = (name.clone(), request.into_boxed_slice());
            files.push(File { name, request, up_to, expected, print: None, tally: FileTally::default() });
        }
        if files.is_empty() {
            return Err(ContentError::Nothing);
        }
        Ok(Self { files: files.into_boxed_slice(), comparing: verify.is_some() })
    }

    /// Draws a file by weight: `draw` says which number below the sum of the weights came.
    #[inline]
    pub(crate) fn pick(&self, draw: impl FnOnce(u64) -> u64) -> FileId {
        let total = self.files.last().map_or(1, |file| file.up_to);
        let drawn = draw(total);
        let at = self.files.partition_point(|file| file.up_to <= drawn).min(self.files.len() - 1);
        FileId(u32::try_from(at).unwrap_or(0))
    }

    /// The packet that asks for a file.
    #[inline]
    pub(crate) fn request(&self, file: FileId) -> &[u8] {
        &self.files[file.0 as usize].request
    }

    /// Its name.
    pub(crate) fn name(&self, file: FileId) -> &str {
        &self.files[file.0 as usize].name
    }

    /// Whether bytes are compared with files, not only clients with each other.
    pub(crate) fn is_comparing(&self) -> bool {
        self.comparing
    }

    /// Looks at the next bytes of a transfer. False when they are not what the file has there.
    #[inline]
    pub(crate) fn check(&self, file: FileId, received: &mut Received, offset: u64, payload: &[u8]) -> bool {
        let Some(expected) = &self.files[file.0 as usize].expected else {
            let mut hasher = crc32fast::Hasher::new_with_initial(received.crc32);
            hasher.update(payload);
            received.crc32 = hasher.finalize();
            return true;
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let right = expected.get(start..).and_then(|rest| rest.get(..payload.len())) == Some(payload);
        received.wrong |= !right;
        right
    }

    /// A transfer was completed with that many bytes in all. False when its content is not what it should be.
    pub(crate) fn complete(&mut self, file: FileId, received: Received, bytes: u64) -> bool {
        let file = &mut self.files[file.0 as usize];
        let right = match &file.expected {
            Some(expected) => !received.wrong && bytes == expected.len() as u64,
            None => {
                let print = Print { bytes, crc32: received.crc32 };
                *file.print.get_or_insert(print) == print
            }
        };
        file.tally.done += 1;
        file.tally.mismatches += u64::from(!right);
        right
    }

    /// Name, size in bytes as far as it is known, and tally of each file.
    pub(crate) fn tallies(&self) -> impl Iterator<Item = (&str, Option<u64>, FileTally)> {
        self.files.iter().map(|file| {
            let compared = file.expected.as_ref().map(|expected| expected.len() as u64);
            (file.name.as_str(), compared.or_else(|| file.print.map(|print| print.bytes)), file.tally)
        })
    }
}

/// As a server finds it: a leading slash means the root.
fn load(root: &Path, name: &str) -> Result<Box<[u8]>, ContentError> {
    let path = root.join(name.trim_start_matches('/'));
    fs::read(&path).map(Vec::into_boxed_slice).map_err(|source| ContentError::Read { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(texts: &[&str]) -> Vec<Wanted> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn served(bytes: &[u8]) -> Content {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("f"), bytes).unwrap();
        Content::new(&wanted(&["/f"]), &Asked::default(), Some(root.path())).unwrap()
    }

    /// Whether a transfer of these bytes, 100 at a time, is found right: by its blocks, and in the end.
    fn transfer(content: &mut Content, bytes: &[u8]) -> (bool, bool) {
        let file = content.pick(|_| 0);
        let mut received = Received::default();
        let mut blocks = true;
        for (block, payload) in (0..).zip(bytes.chunks(100)) {
            blocks &= content.check(file, &mut received, block * 100, payload);
        }
        (blocks, content.complete(file, received, bytes.len() as u64))
    }

    #[test]
    fn one_flipped_bit_is_found_wherever_it_is() {
        let bytes: Vec<u8> = (0..1_050_u32).map(|i| (i * 7 % 251) as u8).collect();
        let mut content = served(&bytes);
        assert_eq!(transfer(&mut content, &bytes), (true, true));
        for at in [0, 99, 100, 777, 1_049] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert_eq!(transfer(&mut content, &flipped), (false, false), "{at}");
        }
        assert_eq!(content.tallies().next(), Some(("/f", Some(1_050), FileTally { done: 6, mismatches: 5 })));
    }

    #[test]
    fn a_file_that_is_cut_or_longer_is_found() {
        let bytes = vec![3; 500];
        let mut content = served(&bytes);
        assert_eq!(transfer(&mut content, &bytes[..499]), (true, false));
        assert_eq!(transfer(&mut content, &[3; 501]), (false, false));
        assert_eq!(transfer(&mut content, &bytes), (true, true));
    }

    #[test]
    fn without_files_the_clients_are_compared_with_each_other() {
        let mut content = Content::new(&wanted(&["f"]), &Asked::default(), None).unwrap();
        let bytes = vec![1; 350];
        assert_eq!(transfer(&mut content, &bytes), (true, true), "the first one says what it is");
        assert_eq!(transfer(&mut content, &bytes), (true, true));
        let mut flipped = bytes.clone();
        flipped[349] ^= 1;
        assert_eq!(transfer(&mut content, &flipped), (true, false));
        assert_eq!(transfer(&mut content, &bytes[..349]), (true, false));
    }

    #[test]
    fn files_are_drawn_by_weight() {
        let content = Content::new(&wanted(&["a:3", "b", "c:2", "d:x"]), &Asked::default(), None).unwrap();
        let drawn: Vec<&str> = (0..7)
            .map(|number| {
                content.name(content.pick(|total| {
                    assert_eq!(total, 7);
                    number
                }))
            })
            .collect();
        assert_eq!(drawn, ["a", "a", "a", "b", "c", "c", "d:x"]);
    }

    #[test]
    fn mistakes_have_names() {
        assert!(matches!("".parse::<Wanted>(), Err(ContentError::Name(_))));
        assert!(matches!(":3".parse::<Wanted>(), Err(ContentError::Name(_))));
        assert!(matches!("a:0".parse::<Wanted>(), Err(ContentError::Weight(_))));
        let asked = Asked::default();
        assert!(matches!(Content::new(&[], &asked, None), Err(ContentError::Nothing)));
        let long = wanted(&[&"x".repeat(510)]);
        assert!(matches!(Content::new(&long, &asked, None), Err(ContentError::TooLong(_))));
        let missing = Content::new(&wanted(&["absent"]), &asked, Some(Path::new("/nowhere")));
        assert!(matches!(missing, Err(ContentError::Read { .. })));
    }
}
