//! What it costs to find a file by name: random names of catalogues of several sizes.

use std::hint::black_box;
use std::time::Duration;

use dataplane::files::{BuildError, Catalogue, CatalogueBuilder, GenerationId, Lookup, Name, NameOptions};
use serde::Serialize;

use super::cpu_time;
use super::tree::Random;

/// Names asked for per round.
const ASKED: u64 = 200_000;

/// The cost of a look-up in a catalogue of so many files.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct LookupCost {
    files: u64,
    /// From the bytes of a request to the normalised name.
    parse_ns: f64,
    /// From the name to where the file is and how long.
    lookup_ns: f64,
}

impl LookupCost {
    pub(super) const fn files(&self) -> u64 {
        self.files
    }

    pub(super) const fn parse_ns(&self) -> f64 {
        self.parse_ns
    }

    pub(super) const fn lookup_ns(&self) -> f64 {
        self.lookup_ns
    }
}

/// Processor time, in interleaved rounds over catalogues of each of `sizes`; the best round of each counts.
pub(super) fn measure(sizes: [u64; 2], rounds: u32) -> Result<[LookupCost; 2], BuildError> {
    let subjects = [Subject::new(sizes[0])?, Subject::new(sizes[1])?];
    let mut best = [(Duration::MAX, Duration::MAX); 2];
    for _ in 0..rounds.max(1) {
        for (subject, best) in subjects.iter().zip(&mut best) {
            best.0 = best.0.min(subject.parse_all());
            best.1 = best.1.min(subject.look_up_all());
        }
    }
    let per_name = |total: Duration| total.as_secs_f64() * 1e9 / ASKED as f64;
    Ok([0, 1].map(|n| LookupCost {
        files: sizes[n],
        parse_ns: per_name(best[n].0),
        lookup_ns: per_name(best[n].1.saturating_sub(best[n].0)),
    }))
}

/// A catalogue, and names of it in random order, one behind the other, so that reading them costs next to nothing.
struct Subject {
    catalogue: Catalogue,
    asked: Vec<u8>,
    ends: Vec<usize>,
}

impl Subject {
    fn new(files: u64) -> Result<Self, BuildError> {
        let room = usize::try_from(files * 64).unwrap_or(usize::MAX);
        let mut builder = CatalogueBuilder::new(GenerationId(1), NameOptions::default(), room, false)?;
        let name = |number: u64| format!("boot/rack-{:04}/node-{number:07}.cfg", number / 1000);
        for number in 0..files {
            let id = builder.add_file(&number.to_le_bytes())?;
            builder.add_name(name(number).as_bytes(), id)?;
        }
        let catalogue = builder.finish()?;
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        let (mut asked, mut ends) = (Vec::new(), Vec::new());
        for _ in 0..ASKED {
            asked.extend_from_slice(name(random.below(files)).as_bytes());
            ends.push(asked.len());
        }
        Ok(Self { catalogue, asked, ends })
    }

    fn parse_all(&self) -> Duration {
        self.for_each_name(|name| u64::from(name.as_bytes().first().copied().unwrap_or(0)))
    }

    fn look_up_all(&self) -> Duration {
        self.for_each_name(|name| match self.catalogue.lookup(name) {
            Lookup::File(id) => self.catalogue.span(id).0,
            Lookup::Denied(_) | Lookup::NotFound => 0,
        })
    }

    fn for_each_name(&self, act: impl Fn(&Name) -> u64) -> Duration {
        let options = self.catalogue.name_options();
        let started = cpu_time();
        let (mut start, mut sum) = (0, 0_u64);
        for &end in &self.ends {
            if let Ok(name) = Name::parse(&self.asked[start..end], options) {
                sum = sum.wrapping_add(act(black_box(&name)));
            }
            start = end;
        }
        black_box(sum);
        cpu_time().saturating_sub(started)
    }
}
