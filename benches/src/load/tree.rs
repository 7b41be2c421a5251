//! Trees to load: made of bytes that do not compress, within what the machine can spare, and removed again.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Advice, fadvise, fstat, statvfs};
use tempfile::TempDir;

use super::Failure;

const FILES_PER_DIRECTORY: u64 = 1000;
/// What cat(1) reads at a time.
const CAT_BYTES: usize = 128 << 10;
/// Files begin anywhere in this many bytes of noise.
const NOISE_BYTES: usize = 8 << 20;
/// Bytes that are left to everybody else.
const SPARE_BYTES: u64 = 512 << 20;

/// Makes a tree of `files` files, together about `bytes` long, below `parent`. Lengths are spread evenly between half of the mean and
/// one and a half of it.
pub(super) fn make(parent: &Path, bytes: u64, files: u64, load_copies: u64) -> Result<TempDir, Failure> {
    let disk = statvfs(parent).map_err(|errno| Failure::Tree(errno.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    // Half a block is lost per file, and an inode and a name.
    enough("disk", bytes + files * 4096 + SPARE_BYTES, free)?;
    // The page cache (or the temporary file system) holds the tree, and a load holds it once more.
    enough("memory", bytes * (1 + load_copies) + files * 1024 + SPARE_BYTES, available_memory()?)?;
    let tree = tempfile::Builder::new().prefix("bypassbench-load-").tempdir_in(parent).map_err(Failure::Tree)?;
    eprintln!("{}: {files} files, {bytes} bytes, removed at the end", tree.path().display());
    fill(tree.path(), bytes, files).map_err(Failure::Tree)?;
    Ok(tree)
}

fn enough(what: &'static str, needed: u64, available: u64) -> Result<(), Failure> {
    if needed <= available { Ok(()) } else { Err(Failure::TooSmall { what, needed, available }) }
}

fn available_memory() -> Result<u64, Failure> {
    let meminfo = fs::read_to_string("/proc/meminfo").map_err(Failure::Tree)?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap_or_default();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap_or(0);
    Ok(kib * 1024)
}

fn fill(root: &Path, bytes: u64, files: u64) -> io::Result<()> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut noise = vec![0; NOISE_BYTES];
    noise.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&random.next().to_le_bytes()));
    let mean = bytes / files.max(1);
    for number in 0..files {
        let directory = root.join(format!("rack-{:04}", number / FILES_PER_DIRECTORY));
        if number % FILES_PER_DIRECTORY == 0 {
            fs::DirBuilder::new().mode(0o755).create(&directory)?;
        }
        let path = directory.join(format!("node-{number:07}.img"));
        let mut file = File::options().write(true).create_new(true).mode(0o644).open(path)?;
        let mut left = if files == 1 { bytes } else { mean / 2 + random.below(mean + 1) };
        while left > 0 {
            let from = usize::try_from(random.below(NOISE_BYTES as u64 / 2)).unwrap_or(0);
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(NOISE_BYTES / 2);
            file.write_all(&noise[from..from + len])?;
            left -= len as u64;
        }
    }
    Ok(())
}

/// What `find ROOT -type f | xargs cat > /dev/null` does, in one process; returns files and bytes.
pub(super) fn cat(root: &Path) -> io::Result<(u64, u64)> {
    let mut sink = File::options().write(true).open("/dev/null")?;
    let mut buffer = vec![0; CAT_BYTES];
    let (mut files, mut bytes) = (0, 0);
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let file_type = entry.file_type()?;
            if file_type.is_dir() {
                directories.push(entry.path());
            } else if file_type.is_file() {
                let mut file = File::open(entry.path())?;
                fstat(&file)?;
                fadvise(&file, 0, None, Advice::Sequential)?;
                loop {
                    let n = file.read(&mut buffer)?;
                    if n == 0 {
                        break;
                    }
                    sink.write_all(&buffer[..n])?;
                    bytes += n as u64;
                }
                files += 1;
            }
        }
    }
    Ok((files, bytes))
}

/// Xorshift: the same tree and the same order of names in each run.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Evenly below `limit`, which is small against 2^64.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}
