//! The content root into memory, with progress for people.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use dataplane::files::{self, Catalogue, GenerationId, LoadError, LoadOptions, LoadReport, NameOptions, Phase, Reload};

use crate::eal_args::Memory;
use crate::notice::say;
use crate::progress::LoadProgress;
use crate::settings::Settings;

/// Loads what `settings` name and says on standard error what was loaded and what was left out.
pub(super) fn load(settings: &Settings, memory: Memory) -> Result<(Arc<Catalogue>, LoadReport), LoadError> {
    let options = options(settings, memory, 1);
    let started = Instant::now();
    let mut shown: Option<LoadProgress> = None;
    let loaded = files::load(&settings.root, &options, &mut |progress| {
        if progress.phase == Phase::Read {
            shown
                .get_or_insert_with(|| LoadProgress::start(progress.files_total, progress.bytes_total))
                .update(progress.files_done, progress.bytes_done);
        }
    });
    if let Some(progress) = shown {
        progress.finish();
    }
    let (catalogue, report) = loaded?;
    say(format_args!("{}: {report} ({:.2} s)", settings.root.display(), started.elapsed().as_secs_f64()));
    Ok((Arc::new(catalogue), report))
}

/// Loads beside `previous` what has changed since; says nothing and shows no progress.
pub(super) fn reload(
    settings: &Settings,
    memory: Memory,
    generation: u32,
    previous: &Catalogue,
) -> Result<Reload, LoadError> {
    files::reload(&settings.root, &options(settings, memory, generation), previous, &mut |_| ())
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
