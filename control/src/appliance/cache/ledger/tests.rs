//! The bookkeeping against a naive model, and its rules one by one.

use std::collections::HashMap;

use dataplane::files::{CatalogueBuilder, FileId, GenerationId, NameOptions};
use proptest::prelude::*;

use super::*;

/// Names of files, as a catalogue gives them out.
fn files(count: u32) -> Vec<FileId> {
    let mut builder = CatalogueBuilder::new(GenerationId(1), NameOptions::default(), 0, false).unwrap();
    (0..count).map(|_| builder.add_absent(1).unwrap()).collect()
}

fn title(generation: u32, file: FileId) -> Title {
    Title { generation: GenerationId(generation), file }
}

struct Desk {
    start: Instant,
    ledger: Ledger,
    files: Vec<FileId>,
    usage: HashMap<Shelfmark, Usage>,
}

impl Desk {
    fn new(budget: u64, places: u32) -> Self {
        Self { start: Instant::now(), ledger: Ledger::new(budget, places), files: files(50), usage: HashMap::new() }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn admit(&mut self, ms: u64, file: usize, cost: u64) -> Option<Shelfmark> {
        let (now, title) = (self.at(ms), title(1, self.files[file]));
        let usage = &self.usage;
        self.ledger.admit(title, cost, now, &|mark| usage.get(&mark).copied().unwrap_or_default())
    }

    fn victims(&self, ms: u64, cost: u64) -> Result<Vec<Shelfmark>, NoRoom> {
        let usage = |mark| self.usage.get(&mark).copied().unwrap_or_default();
        self.ledger.victims(cost, GenerationId(1), self.at(ms), &usage)
    }

    fn read(&mut self, mark: Shelfmark, last_ms: u64, readers: u64) {
        let usage = self.usage.entry(mark).or_default();
        *usage = Usage { requests: usage.requests + 1, last_ms, readers };
    }
}

#[test]
fn the_least_recently_used_go_and_no_more_than_needed() {
    let mut desk = Desk::new(100, 8);
    let marks: Vec<_> = (0..4).map(|file| desk.admit(0, file, 25).unwrap()).collect();
    for (mark, last_ms) in marks.iter().zip([40, 10, 30, 20]) {
        desk.read(*mark, last_ms, 0);
    }
    assert_eq!(desk.victims(0, 25), Ok(vec![marks[1]]));
    assert_eq!(desk.victims(0, 26), Ok(vec![marks[1], marks[3]]));
    assert_eq!(desk.victims(0, 100), Ok(vec![marks[1], marks[3], marks[2], marks[0]]));
    assert_eq!(desk.victims(0, 101), Err(NoRoom::Ever));
}

#[test]
fn what_is_read_stays_and_what_was_just_brought_too() {
    let mut desk = Desk::new(100, 8);
    let (one, two) = (desk.admit(0, 0, 50).unwrap(), desk.admit(0, 1, 50).unwrap());
    assert_eq!(desk.victims(999, 10), Err(NoRoom::Now), "nobody has come for them yet");
    assert_eq!(desk.victims(1_000, 10).map(|victims| victims.len()), Ok(1), "nobody has come for them at all");
    desk.read(one, 5, 1);
    desk.read(two, 6, 0);
    assert_eq!(desk.victims(0, 10), Ok(vec![two]));
    desk.read(two, 7, 1);
    assert_eq!(desk.victims(5_000, 10), Err(NoRoom::Now));
}

#[test]
fn a_place_is_needed_too() {
    let mut desk = Desk::new(100, 1);
    let mark = desk.admit(0, 0, 1).unwrap();
    assert_eq!(desk.admit(0, 1, 1), None);
    desk.read(mark, 1, 0);
    assert_eq!(desk.victims(0, 1), Ok(vec![mark]));
    desk.ledger.remove(mark);
    assert_eq!(desk.admit(0, 1, 1), Some(mark), "the place is used again");
    assert_eq!(desk.victims(0, 1), Err(NoRoom::Now), "its use by the file before counts for nothing");
}

#[test]
fn older_catalogues_files_go_first_and_a_smaller_budget_is_kept() {
    let mut desk = Desk::new(100, 8);
    let (now, old) = (desk.at(0), title(0, desk.files[9]));
    let newer = desk.admit(0, 0, 40).unwrap();
    let older = desk.ledger.admit(old, 40, now, &|_| Usage::default()).unwrap();
    desk.read(newer, 1, 0);
    desk.read(older, 99, 0);
    assert_eq!(desk.ledger.outdated(GenerationId(1)), [older]);
    assert_eq!(desk.victims(0, 50), Ok(vec![older]));
    desk.ledger.set_budget(60);
    assert_eq!(desk.victims(0, 20), Ok(vec![older]));
    assert_eq!(desk.victims(0, 21), Ok(vec![older, newer]));
}

#[derive(Clone, Debug)]
enum Op {
    Want(usize, u64),
    Begin(prop::sample::Index),
    End(prop::sample::Index),
    Pass(u64),
    Budget(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..50_usize, 1..60_u64).prop_map(|(file, cost)| Op::Want(file, cost)),
        3 => any::<prop::sample::Index>().prop_map(Op::Begin),
        3 => any::<prop::sample::Index>().prop_map(Op::End),
        2 => (1..1_500_u64).prop_map(Op::Pass),
        1 => (40..120_u64).prop_map(Op::Budget),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_budget_holds_whatever_happens(ops in prop::collection::vec(op(), 1..200)) {
        let mut desk = Desk::new(100, 6);
        let (mut budget, mut ms, mut clock) = (100, 0, 0);
        // Mark, file, cost, readers.
        let mut model: Vec<(Shelfmark, usize, u64, u64)> = Vec::new();
        for op in ops {
            clock += 1;
            match op {
                Op::Want(file, _) if model.iter().any(|held| held.1 == file) => {
                    prop_assert!(desk.ledger.find(title(1, desk.files[file])).is_some());
                }
                Op::Want(file, cost) => match desk.victims(ms, cost) {
                    Err(NoRoom::Ever) => prop_assert!(cost > budget),
                    Err(NoRoom::Now) => {}
                    Ok(victims) => {
                        for victim in victims {
                            let at = model.iter().position(|held| held.0 == victim).unwrap();
                            prop_assert_eq!(model[at].3, 0, "a victim is being read");
                            model.remove(at);
                            desk.ledger.remove(victim);
                        }
                        let mark = desk.admit(ms, file, cost).unwrap();
                        model.push((mark, file, cost, 0));
                        let used: u64 = model.iter().map(|held| held.2).sum();
                        prop_assert!(used <= budget && model.len() <= 6);
                    }
                },
                Op::Begin(index) if !model.is_empty() => {
                    let held = &mut model[index.index(desk.ledger.titles().count())];
                    held.3 += 1;
                    desk.read(held.0, clock, held.3);
                }
                Op::End(index) if !model.is_empty() => {
                    let held = &mut model[index.index(desk.ledger.titles().count())];
                    held.3 = held.3.saturating_sub(1);
                    desk.usage.entry(held.0).or_default().readers = held.3;
                }
                Op::Begin(_) | Op::End(_) => {}
                Op::Pass(by) => ms += by,
                Op::Budget(bytes) => {
                    budget = bytes;
                    desk.ledger.set_budget(bytes);
                }
            }
            prop_assert_eq!(desk.ledger.used(), model.iter().map(|held| held.2).sum::<u64>());
            prop_assert_eq!(desk.ledger.titles().count(), model.len());
        }
    }
}
