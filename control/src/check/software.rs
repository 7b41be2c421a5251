//! Whether kernel and DPDK are those that we need.

use super::{Check, Context, Family, Verdict, check};

pub(super) const CHECKS: &[Check] = &[
    check("kernel-version", Family::Software, "kernel", kernel_version),
    check("dpdk-version", Family::Software, "DPDK", dpdk_version),
];

/// openat2(2), with which the files are opened; DPDK 22.11 itself asks for 4.14.
const OLDEST_KERNEL: (u32, u32) = (5, 6);

fn kernel_version(context: &Context<'_>) -> Vec<Verdict> {
    let Some(release) = context.host.text("/proc/sys/kernel/osrelease") else {
        return vec![Verdict::skipped("/proc/sys/kernel/osrelease is not there")];
    };
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().ok());
    let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next()) else {
        return vec![Verdict::skipped(format!("`{release}` is no version that is understood here"))];
    };
    let (oldest_major, oldest_minor) = OLDEST_KERNEL;
    let verdict = if (major, minor) < OLDEST_KERNEL {
        Verdict::failure(
            format!(
                "kernel {release} is older than {oldest_major}.{oldest_minor}, whose openat2(2) every file is opened with"
            ),
            "apt install --install-recommends linux-image-amd64 && reboot",
        )
    } else {
        Verdict::ok(format!("{release}, at least {oldest_major}.{oldest_minor}"))
    };
    vec![verdict.fact("release", release)]
}

/// The first two numbers are the release, whose ABI stays; the third is a repair of it.
fn dpdk_version(context: &Context<'_>) -> Vec<Verdict> {
    let super::Versions { built, running } = &context.versions;
    let release = |version: &str| version.split('.').take(2).map(str::to_owned).collect::<Vec<_>>();
    let verdict = if release(built) == release(running) {
        Verdict::ok(if built == running {
            format!("{running}, built against it")
        } else {
            format!("{running}, built against {built}")
        })
    } else {
        Verdict::warning(
            format!(
                "DPDK {running} is loaded, but bypassd was built against {built}: what the two call alike may differ"
            ),
            "cargo build --release",
        )
        .or(format!("install the libraries of DPDK {built}"))
    };
    vec![verdict.fact("built", built.as_str()).fact("running", running.as_str())]
}
