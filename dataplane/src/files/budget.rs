//! The byte budget of the files: what each of them costs, and which are loaded at start, which on demand, which never. Pure arithmetic.
//!
//! A file that is loaded at start (*pinned*) costs its length rounded up to [`FILE_ALIGN`], its entry, the sums of its blocks (about
//! 1.5 % of it) and, where it has lines, 8 bytes per 4 KiB for netascii. A file that is loaded on demand has memory of its own, so its
//! length is rounded up to whole pages, and a page is added for what describes it. Names, index and sessions are not in the budget.
//!
//! A reload needs room beside it: the pinned files of the new catalogue are loaded while the old ones are there, and both stay until the
//! last transfer from the old catalogue ends. Files on demand need none: those of the old catalogue count in the one budget, and go first.

use super::arena::{FILE_ALIGN, HUGE_PAGE, PAGE};
use super::netascii::CHUNK_U64;
use super::pattern::Pattern;
use super::sums::BLOCK_SIZES;

/// What describes one file on demand: its tables, index and mapping.
const VOLUME_OVERHEAD: u64 = PAGE as u64;

/// Entry of a file in a catalogue.
const ENTRY: u64 = 32;

/// How much memory the files may take, and which of them come first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Bytes that all files together may cost.
    pub budget_bytes: u64,
    /// Files to load at start where not all fit, the most important first.
    pub preload: Vec<Pattern>,
}

impl Default for Allowance {
    /// Everything is loaded.
    fn default() -> Self {
        Self { budget_bytes: u64::MAX, preload: Vec::new() }
    }
}

/// Bytes of the budget that a file of `len` bytes costs when it is loaded at start.
#[must_use]
pub fn pinned_bytes(len: u64) -> u64 {
    beside(len)
        .saturating_add(len.checked_next_multiple_of(FILE_ALIGN as u64).unwrap_or(u64::MAX))
        .saturating_add(ENTRY)
}

/// Bytes of the budget that a file of `len` bytes costs when it is loaded on demand. With `hugepages`, files that fill such pages
/// well get them.
#[must_use]
pub fn volume_bytes(len: u64, hugepages: bool) -> u64 {
    let page = if wants_hugepages(len, hugepages) { HUGE_PAGE } else { PAGE };
    let pages = len.checked_next_multiple_of(page as u64).unwrap_or(u64::MAX);
    beside(len).saturating_add(pages).saturating_add(VOLUME_OVERHEAD)
}

/// Whether a file on demand gets hugepages: they would waste no more than a sixteenth of it.
pub(super) fn wants_hugepages(len: u64, hugepages: bool) -> bool {
    let pages = len.checked_next_multiple_of(HUGE_PAGE as u64);
    hugepages && len > 0 && pages.is_some_and(|pages| pages - len <= len / 16)
}

/// Sums and counts of a file.
fn beside(len: u64) -> u64 {
    let sums: u64 = BLOCK_SIZES.iter().map(|&size| 2 * (len.div_ceil(u64::from(size)) + 2)).sum();
    sums + 8 * len.div_ceil(CHUNK_U64)
}

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placing {
    /// Loaded at start, stays.
    Pinned,
    /// Loaded when it is asked for.
    OnDemand,
    /// Larger than the budget.
    TooLarge,
}

/// Whether files of these lengths can all be loaded at start.
pub(super) fn all_fit(lens: &[u64], budget_bytes: u64) -> bool {
    lens.iter().map(|&len| pinned_bytes(len)).fold(0, u64::saturating_add) <= budget_bytes
}

/// Places the files of these lengths. `preferred`: numbers of files to be pinned if there is room, the most important first; none
/// twice.
///
/// If all fit, all are pinned. Else empty files are, which cost next to nothing, and the preferred ones, as long as together they
/// take no more than half of the budget and leave room for the largest of the others: whatever fits into the budget can be served.
pub(super) fn place(lens: &[u64], preferred: &[usize], budget_bytes: u64, hugepages: bool) -> Vec<Placing> {
    if all_fit(lens, budget_bytes) {
        return vec![Placing::Pinned; lens.len()];
    }
    let demand = |number: usize| volume_bytes(lens[number], hugepages);
    let mut pinned = lens.iter().filter(|&&len| len == 0).map(|&len| pinned_bytes(len)).fold(0, u64::saturating_add);
    let room = budget_bytes.saturating_sub(pinned);
    let mut placings: Vec<Placing> = (0..lens.len())
        .map(|number| match lens[number] {
            0 => Placing::Pinned,
            _ if demand(number) > room => Placing::TooLarge,
            _ => Placing::OnDemand,
        })
        .collect();

    let candidates: Vec<usize> =
        preferred.iter().copied().filter(|&number| placings[number] == Placing::OnDemand).collect();
    let mut is_candidate = vec![false; lens.len()];
    candidates.iter().for_each(|&number| is_candidate[number] = true);
    // The largest of those that stay on demand, whatever becomes of the candidates; it grows with each that is passed over.
    let mut largest = (0..lens.len())
        .filter(|&number| placings[number] == Placing::OnDemand && !is_candidate[number])
        .map(demand)
        .max()
        .unwrap_or(0);
    // For each candidate: the largest of those behind it.
    let mut largest_behind = vec![0; candidates.len()];
    for at in (1..candidates.len()).rev() {
        largest_behind[at - 1] = largest_behind[at].max(demand(candidates[at]));
    }
    for (&number, behind) in candidates.iter().zip(largest_behind) {
        let with = pinned.saturating_add(pinned_bytes(lens[number]));
        if with <= budget_bytes / 2 && with.saturating_add(largest.max(behind)) <= budget_bytes {
            placings[number] = Placing::Pinned;
            pinned = with;
        } else {
            largest = largest.max(demand(number));
        }
    }
    placings
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::sums::{SumTable, SumTables};
    use super::*;

    fn pinned_total(lens: &[u64], placings: &[Placing]) -> u64 {
        let pinned = lens.iter().zip(placings).filter(|(_, placing)| **placing == Placing::Pinned);
        pinned.map(|(&len, _)| pinned_bytes(len)).sum()
    }

    #[test]
    fn the_sums_cost_about_one_and_a_half_percent() {
        let mib = 1 << 20;
        let cost = pinned_bytes(mib);
        assert!(cost > mib + mib / 70 && cost < mib + mib / 55, "{cost}");
        assert_eq!(volume_bytes(mib, true), volume_bytes(mib, false));
        assert!(volume_bytes(2 * mib + 1, true) < 2 * mib + mib / 10, "no hugepages: the second would be empty");
        assert!(volume_bytes(31 * mib + 1, true) > 32 * mib);
        assert!(volume_bytes(31 * mib + 1, false) < 32 * mib);
        assert!(volume_bytes(1, false) < 3 * 4096);
        assert_eq!(volume_bytes(u64::MAX, true), u64::MAX);
    }

    #[test]
    fn what_is_preferred_goes_first_until_its_share_is_used() {
        let lens = [1_000_000, 2_000_000, 3_000_000, 0, 50_000_000, 9_000_000];
        let placings = place(&lens, &[2, 0, 1], 20_000_000, false);
        use Placing::{OnDemand, Pinned, TooLarge};
        assert_eq!(placings, [Pinned, Pinned, Pinned, Pinned, TooLarge, OnDemand]);
        // Half of the budget is 5 MB: the first and the second, but not the third.
        assert_eq!(place(&lens, &[2, 0, 1], 10_000_000, false)[..3], [OnDemand, OnDemand, OnDemand]);
        // The first is more than half, the third would be with the second.
        assert_eq!(place(&lens[..4], &[2, 0, 1], 5_999_999, false)[..3], [Pinned, OnDemand, OnDemand]);
        assert_eq!(place(&lens[..3], &[], 7_000_000, false), [Pinned; 3]);
    }

    proptest! {
        #[test]
        fn whatever_fits_can_be_served_beside_what_is_pinned(
            lens in prop::collection::vec(prop_oneof![Just(0_u64), 0..300_u64, 0..5_000_000_u64], 0..40),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
            budget in prop_oneof![0..20_000_000_u64, Just(u64::MAX)],
            hugepages in any::<bool>(),
        ) {
            let mut preferred: Vec<usize> = Vec::new();
            for number in order.iter().filter(|_| !lens.is_empty()).map(|index| index.index(lens.len())) {
                if !preferred.contains(&number) {
                    preferred.push(number);
                }
            }
            let placings = place(&lens, &preferred, budget, hugepages);
            let all: u64 = lens.iter().map(|&len| pinned_bytes(len)).sum();
            if all <= budget {
                prop_assert!(placings.iter().all(|placing| *placing == Placing::Pinned));
                return Ok(());
            }
            let empty: u64 = lens.iter().filter(|len| **len == 0).map(|&len| pinned_bytes(len)).sum();
            let pinned = pinned_total(&lens, &placings);
            prop_assert!(pinned <= (budget / 2).max(empty));
            for (number, (&len, placing)) in lens.iter().zip(&placings).enumerate() {
                let cost = volume_bytes(len, hugepages);
                match placing {
                    Placing::Pinned => prop_assert!(len == 0 || preferred.contains(&number)),
                    Placing::OnDemand => prop_assert!(pinned + cost <= budget),
                    Placing::TooLarge => prop_assert!(cost > budget.saturating_sub(empty)),
                }
            }
        }

        #[test]
        fn tables_of_sums_take_no_more_than_is_counted(lens in prop::collection::vec(0..100_000_u64, 1..30)) {
            let arena: u64 = lens.iter().map(|len| len.next_multiple_of(64)).sum();
            let places = u32::try_from(lens.len()).unwrap();
            let mut tables = SumTables::default();
            tables.reserve(arena, places);
            let counted: u64 = lens.iter().map(|&len| beside(len) - 8 * len.div_ceil(CHUNK_U64)).sum();
            // The table's own last entry, once per table.
            prop_assert!(tables.memory_bytes() as u64 <= counted + 2 * SumTable::all().len() as u64);
        }
    }
}
