//! What an exact count depends on beside the source: compilers, libraries, valgrind, and what valgrind lets of the CPU through.

use serde::{Deserialize, Serialize};
use std::fs;
use std::process::Command;

/// Versions, as the programs tell them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Environment {
    /// The compiler of everything but the shim.
    pub(crate) rustc: String,
    /// The compiler of the shim, with DPDK's inline functions.
    pub(crate) cc: String,
    /// Drivers, rings and pools.
    pub(crate) dpdk: String,
    /// Copies, which depend on the C library's choice.
    pub(crate) glibc: String,
    /// Says to the program which CPU it runs on.
    pub(crate) valgrind: String,
    /// The widest vectors that valgrind can pass on: the C library chooses its copies by them.
    pub(crate) vectors: String,
}

impl Environment {
    /// This machine's; `dpdk` is what the program that was counted said.
    pub(crate) fn here(dpdk: String) -> Self {
        Self {
            rustc: first_line("rustc", &["--version"]),
            cc: first_line("cc", &["--version"]),
            dpdk,
            glibc: first_line("ldd", &["--version"]),
            valgrind: first_line("valgrind", &["--version"]),
            vectors: vectors(),
        }
    }

    /// What differs, one line each.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let pairs = [
            ("rustc", &self.rustc, &other.rustc),
            ("cc", &self.cc, &other.cc),
            ("dpdk", &self.dpdk, &other.dpdk),
            ("glibc", &self.glibc, &other.glibc),
            ("valgrind", &self.valgrind, &other.valgrind),
            ("vectors", &self.vectors, &other.vectors),
        ];
        let differs = pairs.into_iter().filter(|(_, one, another)| one != another);
        differs.map(|(name, one, another)| format!("{name}: `{one}`, here `{another}`")).collect()
    }
}

/// What a program says of itself.
fn first_line(program: &str, args: &[&str]) -> String {
    match Command::new(program).args(args).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or("silent").to_owned(),
        Err(_) => "not here".to_owned(),
    }
}

fn vectors() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = info.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let widest = ["avx2", "avx", "sse4_2"].into_iter().find(|&name| flags.split_whitespace().any(|flag| flag == name));
    format!("{} {}", std::env::consts::ARCH, widest.unwrap_or("none"))
}
