//! The content root into memory, with progress for people.

use std::time::Instant;

use dataplane::files::{self, GenerationId, LoadError, LoadOptions, Loaded, NameOptions, Phase};

use super::cache;
use crate::eal_args::{EalPlan, Memory};
use crate::notice::say;
use crate::progress::LoadProgress;
use crate::settings::Settings;

/// Loads what `settings` name, as far as it fits, and says on standard error what was loaded and what was left out. Also returns the
/// budget, in bytes.
pub(super) fn load(settings: &Settings, eal: &EalPlan) -> Result<(Loaded, u64), LoadError> {
    let (allowance, line) = cache::allowance(&settings.files, eal);
    say(line);
    let names = NameOptions { backslash: settings.names.backslash, fold_case: settings.names.fold_case };
    let options =
        LoadOptions { hugepages: eal.memory == Memory::Huge, names, generation: GenerationId(1), threads: None };
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
    Ok((loaded, allowance.budget_bytes))
}
