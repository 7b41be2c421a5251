//! The files that all servers serve: made in a temporary folder, removed with it.

use super::transfer::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;

/// Small files; clients take them in turn.
const SMALL_FILES: usize = 16;

/// One DATA of fewer than 512 bytes.
const SMALL_BYTES: usize = 400;

/// 129 blocks of 512 bytes, the last one short.
const MEDIUM_BYTES: usize = 64 * 1024 + 100;

/// Larger than any cache in front of the last one, small enough to load at once.
const LARGE_BYTES: usize = 16 << 20;

/// The tree; dropping it removes it.
#[derive(Debug)]
pub(super) struct Content {
    folder: TempDir,
    /// One block each.
    pub(super) small: Vec<File>,
    /// Some hundred blocks.
    pub(super) medium: Vec<File>,
    /// Many thousand blocks.
    pub(super) large: Vec<File>,
}

impl Content {
    /// Writes the tree, readable by everybody: stock servers give up root before they open files.
    pub(super) fn build() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("bypassbench-peers-").tempdir()?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        let file = |name: String, len: usize, seed: u64| -> io::Result<File> {
            let file = File { name, bytes: noise(len, seed) };
            let path = folder.path().join(&file.name);
            std::fs::write(&path, &file.bytes)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))?;
            Ok(file)
        };
        let small =
            (0..SMALL_FILES).map(|n| file(format!("small-{n}"), SMALL_BYTES, n as u64)).collect::<io::Result<_>>()?;
        let medium = vec![file("medium".to_owned(), MEDIUM_BYTES, 100)?];
        let large = vec![file("large".to_owned(), LARGE_BYTES, 101)?];
        Ok(Self { folder, small, medium, large })
    }

    /// The root to serve.
    pub(super) fn root(&self) -> &Path {
        self.folder.path()
    }
}

/// Bytes without a pattern, the same for the same seed (xorshift64*).
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend(state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_what_the_client_expects_and_goes_away() {
        let content = Content::build().unwrap();
        let root = content.root().to_owned();
        for file in content.small.iter().chain(&content.medium).chain(&content.large) {
            assert!(std::fs::read(root.join(&file.name)).unwrap() == file.bytes, "{}", file.name);
            let mode = std::fs::metadata(root.join(&file.name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o644, "{}", file.name);
        }
        assert_ne!(content.small[0].bytes, content.small[1].bytes);
        drop(content);
        assert!(!root.exists());
    }
}
