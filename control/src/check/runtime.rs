//! Whether the files and sockets of a run can be made: what killed runs left, who else has them, and our right to the folders.

use std::path::{Path, PathBuf};

use super::context::examples;
use super::memory::hugetlbfs_places;
use super::{Check, Context, Family, Verdict, check};
use crate::host::{Access, Holder};
use crate::leftovers;
use crate::socket::{SocketError, group_id, lock_path};

pub(super) const CHECKS: &[Check] = &[
    check("runtime-folder", Family::Runtime, "DPDK's folder", runtime_folder),
    check("file-prefix", Family::Runtime, "file prefix", file_prefix),
    check("stale-runs", Family::Runtime, "folders of killed runs", stale_runs),
    check("stale-hugepages", Family::Runtime, "hugepages of killed runs", stale_hugepages),
    check("control-socket", Family::Runtime, "control socket", control_socket),
    check("control-folder", Family::Runtime, "folder of the socket", control_folder),
    check("control-group", Family::Runtime, "group of the socket", control_group),
];

/// Whether a directory can be filled, or made first. As EAL and the control socket do, only the last `parts` of it are made.
fn can_fill(context: &Context<'_>, folder: &Path, parts: usize) -> Result<(), Advised> {
    let mut ancestors = folder.ancestors().take(parts + 1);
    let Some(there) = ancestors.find(|place| context.host.exists(place)) else {
        return Err(Advised { cause: format!("{} is not there", folder.display()), folder: folder.to_owned() });
    };
    match (context.host.is_directory(there), context.host.allows(there, Access::Populate)) {
        (true, Some(true)) => Ok(()),
        (true, _) => Err(Advised {
            cause: format!("this user may make nothing in {}", there.display()),
            folder: folder.to_owned(),
        }),
        (false, _) => Err(Advised { cause: format!("{} is no directory", there.display()), folder: folder.to_owned() }),
    }
}

/// Why a folder is of no use to us.
struct Advised {
    cause: String,
    folder: PathBuf,
}

impl Advised {
    fn mend(&self, context: &Context<'_>) -> String {
        let folder = self.folder.display();
        let uid = context.identity.uid.unwrap_or(0);
        if uid == 0 { format!("mkdir -p {folder}") } else { format!("mkdir -p {folder} && chown {uid} {folder}") }
    }
}

fn runtime_folder(context: &Context<'_>) -> Vec<Verdict> {
    let base = context.environment.eal_runtime_base();
    let verdict = match can_fill(context, &base, 1) {
        Ok(()) => Verdict::ok(base.display().to_string()),
        // eal_create_runtime_dir: without shared configuration a failure is only logged.
        Err(wrong) if !context.makes_runtime_files() => {
            Verdict::warning(format!("{}: DPDK's telemetry will have no socket", wrong.cause), wrong.mend(context))
                .or("RUNTIME_DIRECTORY or XDG_RUNTIME_DIR name another place")
        }
        Err(wrong) => Verdict::failure(format!("{}, and DPDK keeps its files there", wrong.cause), wrong.mend(context))
            .or("RUNTIME_DIRECTORY or XDG_RUNTIME_DIR name another place"),
    };
    vec![verdict.fact("folder", base.display().to_string())]
}

/// The prefix that EAL is going to use: the last one said counts.
fn prefix<'a>(context: &'a Context<'_>) -> Option<&'a str> {
    let args = &context.plan.args;
    args.iter().enumerate().rev().find_map(|(at, argument)| match argument.strip_prefix("--file-prefix") {
        Some("") => args.get(at + 1).map(String::as_str),
        Some(rest) => rest.strip_prefix('='),
        None => None,
    })
}

fn whose(context: &Context<'_>, holder: Holder) -> (String, String) {
    match holder.pid {
        Some(pid) => {
            let program = context.host.program_of(pid).unwrap_or_else(|| "a process".to_owned());
            (format!("{program} ({pid})"), format!("kill {pid}"))
        }
        None => ("a process of another container".to_owned(), "bypassctl stop".to_owned()),
    }
}

fn file_prefix(context: &Context<'_>) -> Vec<Verdict> {
    let Some(prefix) = prefix(context) else { return vec![Verdict::skipped("raw EAL arguments say it")] };
    let config = context.environment.eal_runtime_base().join(prefix).join("config");
    let verdict = match context.host.lock_holder(&config) {
        Some(holder) if context.makes_runtime_files() => {
            let (who, mend) = whose(context, holder);
            Verdict::failure(format!("{who} runs with the file prefix {prefix}, and two cannot share it"), mend)
                .or("choose another eal.file_prefix, or leave it out")
        }
        Some(_) => Verdict::ok(format!(
            "{prefix}; another process has it too, but nothing is shared (--in-memory, --no-shconf)"
        )),
        None if prefix.starts_with(leftovers::PREFIX) => Verdict::ok("unique to each run"),
        None => Verdict::ok(prefix),
    };
    vec![verdict.fact("prefix", prefix)]
}

/// The process number in the name of a run of ours, if the process is gone.
fn dead(context: &Context<'_>, name: &str) -> Option<u32> {
    let pid = name.strip_prefix(leftovers::PREFIX)?.parse().ok()?;
    (!context.host.is_running(pid)).then_some(pid)
}

fn stale_runs(context: &Context<'_>) -> Vec<Verdict> {
    let base = context.environment.eal_runtime_base();
    let is_stale = |name: &String| {
        // Of another PID namespace, its number says nothing, but its lock does.
        dead(context, name).is_some() && context.host.lock_holder(base.join(name).join("config")).is_none()
    };
    let stale: Vec<String> = context.host.names(&base).into_iter().filter(is_stale).collect();
    let verdict = if stale.is_empty() {
        Verdict::ok(format!("none in {}", base.display()))
    } else {
        let folders: Vec<String> = stale.iter().map(|name| base.join(name).display().to_string()).collect();
        Verdict::warning(
            format!("{} are left of runs that were killed", examples(&folders)),
            format!("rm -r {}", folders.join(" ")),
        )
        .or("the next bypassd run removes them")
    };
    vec![verdict.fact("folders", stale)]
}

/// EAL names a page's file PREFIXmap_NUMBER, and keeps it locked.
fn stale_hugepages(context: &Context<'_>) -> Vec<Verdict> {
    let places = hugetlbfs_places(context);
    if places.is_empty() {
        return vec![Verdict::skipped("no hugetlbfs is mounted")];
    }
    let own = context.settings.eal.file_prefix.as_deref();
    let mut prefixes: Vec<String> = Vec::new();
    let mut files = 0_usize;
    for place in &places {
        for name in context.host.names(place) {
            let Some((prefix, number)) = name.split_once("map_") else { continue };
            let is_ours = dead(context, prefix).is_some() || own == Some(prefix);
            let is_page = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            if is_ours && is_page && context.host.lock_holder(place.join(&name)).is_none() {
                files += 1;
                let pattern = place.join(format!("{prefix}map_*")).display().to_string();
                if !prefixes.contains(&pattern) {
                    prefixes.push(pattern);
                }
            }
        }
    }
    let verdict = if files == 0 {
        Verdict::ok("none")
    } else {
        Verdict::warning(
            format!("{files} files of killed runs keep hugepages: {}", examples(&prefixes)),
            format!("rm {}", prefixes.join(" ")),
        )
    };
    vec![verdict.fact("files", files)]
}

/// In the words with which the run itself would end.
fn refused(error: &SocketError) -> Verdict {
    error.advice().map_or_else(|| Verdict::skipped(error.to_string()), Verdict::refused)
}

fn control_socket(context: &Context<'_>) -> Vec<Verdict> {
    let path = &context.settings.control.socket;
    let verdict = if let Some(holder) = context.host.lock_holder(lock_path(path)) {
        refused(&SocketError::InUse { path: path.clone() }).fact("pid", holder.pid)
    } else if !context.host.exists(path) {
        Verdict::ok(path.display().to_string())
    } else if context.host.is_socket(path) {
        Verdict::ok(format!("{} is left of a run that was killed; the next one replaces it", path.display()))
    } else {
        refused(&SocketError::NotASocket { path: path.clone() })
    };
    vec![verdict.fact("path", path.display().to_string())]
}

fn control_folder(context: &Context<'_>) -> Vec<Verdict> {
    let path = &context.settings.control.socket;
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return vec![Verdict::skipped("the socket goes into the working directory")];
    };
    let verdict = match can_fill(context, folder, 1) {
        Ok(()) => Verdict::ok(folder.display().to_string()),
        Err(wrong) => {
            Verdict::failure(format!("{}, and the control socket goes there", wrong.cause), wrong.mend(context))
                .or("choose another path with --control")
        }
    };
    vec![verdict]
}

fn control_group(context: &Context<'_>) -> Vec<Verdict> {
    let Some(group) = context.settings.control.group.as_deref() else {
        return vec![Verdict::skipped("control.group is not set")];
    };
    let verdict = match group_id(group, &context.host.path("/etc/group")) {
        Ok(_) => Verdict::ok(group),
        Err(SocketError::System { .. }) => Verdict::skipped("/etc/group cannot be read"),
        Err(error) => refused(&error),
    };
    vec![verdict]
}
