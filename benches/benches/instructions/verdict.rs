//! Two records against each other, scenario by scenario. Pure: reads and prints nothing.

use super::record::{Count, Record};
use super::scenarios;

/// By how much a count may grow, in per cent.
pub(crate) const LIMIT_PERCENT: f64 = 1.0;

/// What became of a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Within the limit, up or down.
    Same,
    /// Lower by more than the limit.
    Better,
    /// Higher by more than the limit.
    Worse,
    /// The baseline does not have it.
    New,
    /// Only the baseline has it.
    Gone,
}

impl Change {
    /// For the table.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Same => "",
            Self::Better => "better",
            Self::Worse => "WORSE",
            Self::New => "NEW",
            Self::Gone => "GONE",
        }
    }

    /// Whether the gate stays shut. A scenario that nothing is compared with guards nothing.
    pub(crate) const fn fails(self) -> bool {
        matches!(self, Self::Worse | Self::New | Self::Gone)
    }

    fn of(percent: f64) -> Self {
        if percent > LIMIT_PERCENT {
            Self::Worse
        } else if percent < -LIMIT_PERCENT {
            Self::Better
        } else {
            Self::Same
        }
    }
}

/// One scenario in both records.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// The scenario.
    pub(crate) name: String,
    /// In the baseline.
    pub(crate) before: Option<Count>,
    /// Today.
    pub(crate) now: Option<Count>,
    /// Growth per packet, where both are there.
    pub(crate) percent: Option<f64>,
    /// What that means.
    pub(crate) change: Change,
}

/// Compares, in the order of the scenarios; names that only a record knows come last.
pub(crate) fn compare(baseline: Option<&Record>, now: &Record) -> Vec<Line> {
    let mut names: Vec<&str> = scenarios::ALL.iter().map(|each| each.name).collect();
    for name in baseline.into_iter().chain([now]).flat_map(|record| record.counts.keys()) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let line = |name: &str| {
        let before = baseline.and_then(|record| record.counts.get(name)).copied();
        let now = now.counts.get(name).copied();
        let percent = before.zip(now).map(|(before, now)| (now.per_packet() / before.per_packet() - 1.0) * 100.0);
        let change = match (before, now, percent) {
            (None, None, _) => return None,
            (_, _, Some(percent)) => Change::of(percent),
            (None, Some(_), None) => Change::New,
            (Some(_), _, None) => Change::Gone,
        };
        Some(Line { name: name.to_owned(), before, now, percent, change })
    };
    names.into_iter().filter_map(line).collect()
}
