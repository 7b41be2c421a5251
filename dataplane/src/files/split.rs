//! Divides what a scan found by the budget: what is read now, what is read when it is asked for, what is not served. Reads nothing.

use super::budget::{Allowance, Placing, all_fit, place};
use super::catalogue::FileId;
use super::loader::LoadOptions;
use super::report::Reason;
use super::scan::{Found, Scan, SourceFile};

/// A scan, divided.
pub(super) struct Split {
    /// What is read now: a scan without names.
    pub(super) now: Scan,
    /// The number in the whole scan of each of its files.
    pub(super) now_numbers: Vec<usize>,
    /// What is read when it is asked for.
    pub(super) later: Vec<SourceFile>,
    /// The number in the whole scan of each of these.
    pub(super) later_numbers: Vec<usize>,
    /// All names.
    pub(super) names: Vec<(Box<[u8]>, Found)>,
    /// For each file of the whole scan what it became in the catalogue; until it is there, why it is not served.
    pub(super) homes: Vec<Result<FileId, Reason>>,
}

impl Split {
    pub(super) fn new(scan: Scan, options: &LoadOptions, allowance: &Allowance) -> Self {
        let Scan { files, names, .. } = scan;
        let lens: Vec<u64> = files.iter().map(|file| file.size).collect();
        let preferred = if all_fit(&lens, allowance.budget_bytes) {
            Vec::new()
        } else {
            preferred(&names, files.len(), options, allowance)
        };
        let placings = place(&lens, &preferred, allowance.budget_bytes, options.hugepages);
        let mut split = Self {
            now: Scan::default(),
            now_numbers: Vec::new(),
            later: Vec::new(),
            later_numbers: Vec::new(),
            names,
            homes: vec![Err(Reason::TooLarge); files.len()],
        };
        for ((number, file), placing) in files.into_iter().enumerate().zip(placings) {
            match placing {
                Placing::Pinned => {
                    split.now.bytes = split.now.bytes.saturating_add(file.size);
                    split.now.files.push(file);
                    split.now_numbers.push(number);
                }
                Placing::OnDemand => {
                    split.later.push(file);
                    split.later_numbers.push(number);
                }
                Placing::TooLarge => {}
            }
        }
        split
    }
}

/// The files that the patterns are about: by the patterns' order, then by that of the names.
fn preferred(names: &[(Box<[u8]>, Found)], files: usize, options: &LoadOptions, allowance: &Allowance) -> Vec<usize> {
    let mut chosen = vec![false; files];
    let mut preferred = Vec::new();
    for pattern in &allowance.preload {
        for (name, found) in names {
            if let Found::Content(number) = *found
                && !chosen[number]
                && pattern.matches(name, options.names.fold_case)
            {
                chosen[number] = true;
                preferred.push(number);
            }
        }
    }
    preferred
}
