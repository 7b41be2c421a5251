//! Whether what is to be served can be: the root, its files, their bytes against memory, and who may change or not read them. Walks the tree,
//! so a run leaves it to the load.

use std::path::Path;

use dataplane::files::budget::volume_bytes;
use dataplane::files::{LoadError, NameOptions, Reason, Survey, survey};

use super::context::examples;
use super::memory::meminfo_kib;
use super::{Check, Context, Family, Verdict, When};
use crate::budget::{Size, free_memory};

pub(super) const CHECKS: &[Check] = &[
    asked("content-root", "root", root),
    asked("content-size", "size", size),
    asked("content-unreadable", "unreadable files", unreadable),
    asked("content-writable", "files that others write", writable),
    asked("content-links", "symlinks", links),
    asked("content-names", "names", names),
];

const fn asked(id: &'static str, title: &'static str, look: fn(&Context<'_>) -> Vec<Verdict>) -> Check {
    Check { id, family: Family::Content, title, when: When::Asked, look }
}

const NO_ROOT: &str = "there is no root to look into";

/// Walks the tree, once for all checks.
fn surveyed<'a>(context: &'a Context<'_>) -> &'a Result<Survey, LoadError> {
    context.survey.get_or_init(|| {
        let names =
            NameOptions { backslash: context.settings.names.backslash, fold_case: context.settings.names.fold_case };
        survey(&context.host.path(&context.settings.root), names)
    })
}

fn with_survey(context: &Context<'_>, verdict: impl FnOnce(&Survey) -> Verdict) -> Vec<Verdict> {
    match surveyed(context) {
        Ok(survey) => vec![verdict(survey)],
        Err(_) => vec![Verdict::skipped(NO_ROOT)],
    }
}

/// Shell words are quoted only where they must be.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '+' | ':' | ',' | '@');
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn root(context: &Context<'_>) -> Vec<Verdict> {
    let path = &context.settings.root;
    let shown = quoted(path);
    let verdict = match surveyed(context) {
        Ok(survey) if survey.files == 0 => Verdict::warning(
            format!("nothing in {} can be served", path.display()),
            format!("cp -r --no-preserve=mode FILES {shown}/"),
        )
        .or("name another root with --root"),
        Ok(_) => Verdict::ok(path.display().to_string()),
        Err(error) => {
            let mend = match error {
                LoadError::RootMissing { .. } => format!("mkdir -p {shown}"),
                LoadError::RootDangling { target, .. } => {
                    format!("mkdir -p {}", quoted(&path.parent().unwrap_or(path).join(target)))
                }
                LoadError::RootNotDirectory { .. } => format!("bypassd run --root {} ...", crate::defaults::ROOT),
                LoadError::RootUnreadable { .. } => format!("chmod o+rx {shown}"),
                LoadError::Arena(_) | LoadError::TooManyNames => format!("find -L {shown} -type f | wc -l"),
            };
            let text = context.unprefixed(&error.to_string());
            match (text.rsplit_once(": "), error) {
                (_, LoadError::RootUnreadable { .. }) | (None, _) => Verdict::failure(text, mend),
                (Some((cause, _)), _) => Verdict::failure(cause, mend),
            }
            .or("name another root with --root")
        }
    };
    vec![verdict.fact("root", path.display().to_string())]
}

fn size(context: &Context<'_>) -> Vec<Verdict> {
    with_survey(context, |survey| {
        let needed = survey.memory_bytes;
        let plan = &context.plan;
        let ordinary = meminfo_kib(context, "MemAvailable:").map(|kib| kib.saturating_mul(1024));
        let counted = format!("{} files, {} MiB in memory", survey.files, needed.div_ceil(1 << 20));
        let Some(ordinary) = ordinary else {
            return Verdict::skipped(format!("{counted}; /proc/meminfo does not say what is available"));
        };
        let (available, kind) = free_memory(plan, context.machine.hugepage_mib() << 20, ordinary);
        let budget = context.settings.files.budget.bytes(available);
        let of_budget = format!("the cache budget of {} ({} of {kind})", Size(budget), Size(available));
        let verdict = if volume_bytes(survey.largest_bytes, false) > budget && survey.cost_bytes > budget {
            Verdict::warning(
                format!(
                    "{counted}, the largest of {}, which {of_budget} does not hold: it is refused",
                    Size(survey.largest_bytes)
                ),
                format!("du -ah {} | sort -h | tail", quoted(&context.settings.root)),
            )
            .or("raise files.budget, serve less, or give the machine more memory")
        } else if survey.cost_bytes > budget {
            Verdict::ok(format!(
                "{counted}; {of_budget} holds a part at a time, the rest is loaded when it is asked for"
            ))
        } else {
            Verdict::ok(format!("{counted}, within {of_budget}"))
        };
        let verdict = verdict.fact("available_bytes", available).fact("budget_bytes", budget);
        verdict.fact("files", survey.files).fact("bytes", survey.bytes).fact("memory_bytes", needed)
    })
}

/// A few of the paths that are left out for these reasons, and how many there are.
fn left_out(survey: &Survey, reasons: &[Reason]) -> (u64, String) {
    let count = reasons.iter().map(|&reason| survey.report.left_out(reason)).sum();
    let paths: Vec<String> =
        reasons.iter().flat_map(|&reason| survey.report.examples(reason).iter().cloned()).collect();
    (count, examples(&paths))
}

fn unreadable(context: &Context<'_>) -> Vec<Verdict> {
    with_survey(context, |survey| {
        let (count, shown) = left_out(survey, &[Reason::NotReadable, Reason::NotSearchable, Reason::Unreadable]);
        let root = quoted(&context.settings.root);
        let verdict = if count == 0 {
            Verdict::ok("none")
        } else {
            Verdict::warning(
                format!("{count} are not served, because others may not read them: {shown}"),
                format!("chmod -R o+rX {root}"),
            )
            .or("leave it so, if that is meant")
        };
        verdict.fact("paths", count)
    })
}

fn writable(context: &Context<'_>) -> Vec<Verdict> {
    with_survey(context, |survey| {
        let verdict = if survey.writable.is_empty() {
            Verdict::ok("none")
        } else {
            let (count, shown) = (survey.writable.len(), examples(&survey.writable));
            Verdict::warning(
                format!("anybody on this machine may change {count} of what machines boot from: {shown}"),
                format!("chmod -R o-w {}", quoted(&context.settings.root)),
            )
        };
        verdict.fact("paths", survey.writable.len())
    })
}

fn links(context: &Context<'_>) -> Vec<Verdict> {
    with_survey(context, |survey| {
        let (count, shown) = left_out(survey, &[Reason::Outside, Reason::Dangling, Reason::Loop]);
        let verdict = if count == 0 {
            Verdict::ok("all lead to something below the root")
        } else {
            Verdict::warning(
                format!("{count} lead nowhere, in circles or out of the root, and are not served: {shown}"),
                format!("find {} -type l -exec ls -l {{}} +", quoted(&context.settings.root)),
            )
            .or("copy what they lead to below the root")
        };
        verdict.fact("paths", count)
    })
}

fn names(context: &Context<'_>) -> Vec<Verdict> {
    with_survey(context, |survey| {
        let reasons = [Reason::NameTooLong, Reason::NameForbidden, Reason::CaseConflict, Reason::Special];
        let (count, shown) = left_out(survey, &reasons);
        let first = survey.report.examples(Reason::CaseConflict).first();
        let verdict = if count == 0 {
            Verdict::ok("all can be asked for")
        } else {
            let what = if first.is_some() { "differ from others by letter case alone, or " } else { "" };
            Verdict::warning(
                format!(
                    "{count} {what}have names that no request can have, or are no files, and are not served: {shown}"
                ),
                format!("ls -lbR {}", quoted(&context.settings.root)),
            )
            .or("rename or remove them")
        };
        verdict.fact("paths", count)
    })
}
