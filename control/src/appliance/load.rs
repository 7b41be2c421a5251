//! The content root into memory, with progress for people.

use std::time::{Instant, SystemTime};

use dataplane::files::{
    self, Allowance, Catalogue, GenerationId, LoadError, LoadOptions, Loaded, NameOptions, Phase, Reload,
};

use super::cache;
use crate::eal_args::{EalPlan, Memory};
use crate::notice::say;
use crate::progress::LoadProgress;
use crate::settings::Settings;

/// Loads what `settings` name, as far as it fits, and says on standard error what was loaded and what was left out. Also returns how
/// much that is.
pub(super) fn load(settings: &Settings, eal: &EalPlan) -> Result<(Loaded, Allowance), LoadError> {
    let (allowance, line) = cache::allowance(&settings.files, eal);
    say(line);
    let options = options(settings, eal.memory, 1);
    let started = Instant::now();
    let mut shown: Option<LoadProgress> = None;
    let loaded = files::load_within(&settings.root, &options, &allowance, &mut |progress| {
        if progress.phase == Phase::Read {
            shown
                .get_or_insert_with(|| LoadProgress::start(progress.files_total, progress.bytes_total))
                .update(progress.files_done, progress.bytes_done);
        }
    });
    if let Some(progress) = shown {
        progress.finish();
    }
    let loaded = loaded?;
    let Loaded { catalogue, report, library } = &loaded;
    say(format_args!("{}: {report} ({:.2} s)", settings.root.display(), started.elapsed().as_secs_f64()));
    cache::describe(&settings.files, catalogue, report, library.pinned_cost()).iter().for_each(say);
    Ok((loaded, allowance))
}

/// Loads beside `previous` what has changed since; says nothing and shows no progress.
pub(super) fn reload(
    settings: &Settings,
    memory: Memory,
    allowance: &Allowance,
    generation: u32,
    previous: &Catalogue,
) -> Result<Reload, LoadError> {
    files::reload(&settings.root, &options(settings, memory, generation), allowance, previous, &mut |_| ())
}

/// How names are read.
pub(super) const fn names(settings: &Settings) -> NameOptions {
    NameOptions { backslash: settings.names.backslash, fold_case: settings.names.fold_case }
}

fn options(settings: &Settings, memory: Memory, generation: u32) -> LoadOptions {
    LoadOptions {
        hugepages: memory == Memory::Huge,
        names: names(settings),
        generation: GenerationId(generation),
        began: Some(SystemTime::now()),
        threads: None,
    }
}
