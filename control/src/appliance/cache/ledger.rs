//! Which files on demand are in memory, what they cost, and which go when another needs the room: least recently used first, never one
//! that is being read. Pure bookkeeping: loads nothing, asks nobody.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dataplane::engine::{Shelfmark, Title};
use dataplane::files::GenerationId;

/// A file that was just brought for somebody is not taken away before he has come for it, but for no longer than this.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// How all workers together use a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Transfers that began there, ever.
    pub(super) requests: u64,
    /// When the last one did, by the workers' clock.
    pub(super) last_ms: u64,
    /// Transfers that run.
    pub(super) readers: u64,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// Too much is being read or was just brought: try again.
    Now,
    /// It costs more than the whole budget.
    Ever,
}

/// A file in memory.
#[derive(Clone, Debug)]
struct Entry {
    title: Title,
    cost: u64,
    /// The workers that have it, by their numbers.
    holders: u64,
    brought: Instant,
    /// What the place's count of requests was then.
    requests_then: u64,
}

/// The files, their places and their costs.
#[derive(Debug)]
pub(super) struct Ledger {
    budget: u64,
    used: u64,
    places: Vec<Option<Entry>>,
    vacant: Vec<u32>,
    marks: HashMap<Title, Shelfmark>,
}

impl Ledger {
    /// A ledger of `places` places.
    pub(super) fn new(budget: u64, places: u32) -> Self {
        Self {
            budget,
            used: 0,
            places: (0..places).map(|_| None).collect(),
            vacant: (0..places).rev().collect(),
            marks: HashMap::new(),
        }
    }

    /// From now on. What is there stays, even if it is more.
    pub(super) const fn set_budget(&mut self, budget: u64) {
        self.budget = budget;
    }

    /// Cost of all that is there.
    pub(super) const fn used(&self) -> u64 {
        self.used
    }

    /// Files that are there.
    pub(super) fn titles(&self) -> impl Iterator<Item = Title> {
        self.marks.keys().copied()
    }

    /// Where a file is.
    pub(super) fn find(&self, title: Title) -> Option<Shelfmark> {
        self.marks.get(&title).copied()
    }

    /// What is in a place.
    pub(super) fn title(&self, mark: Shelfmark) -> Option<Title> {
        self.entry(mark).map(|entry| entry.title)
    }

    /// The workers that have what is in a place.
    pub(super) fn holders(&self, mark: Shelfmark) -> u64 {
        self.entry(mark).map_or(0, |entry| entry.holders)
    }

    /// Notes who has it.
    pub(super) fn set_holders(&mut self, mark: Shelfmark, holders: u64) {
        if let Some(entry) = self.places.get_mut(mark.0 as usize).and_then(Option::as_mut) {
            entry.holders = holders;
        }
    }

    /// What belongs to other catalogues than the current one.
    pub(super) fn outdated(&self, current: GenerationId) -> Vec<Shelfmark> {
        let outdated = self.marks.iter().filter(|(title, _)| title.generation != current);
        outdated.map(|(_, &mark)| mark).collect()
    }

    /// What must go, so that a file of this cost and a place for it fit; the least recently used first. Files of other catalogues
    /// than the current one go before all others: nobody can ask for them any more.
    pub(super) fn victims(
        &self,
        cost: u64,
        current: GenerationId,
        now: Instant,
        usage: &dyn Fn(Shelfmark) -> Usage,
    ) -> Result<Vec<Shelfmark>, NoRoom> {
        if cost > self.budget {
            return Err(NoRoom::Ever);
        }
        let mut free = self.budget.saturating_sub(self.used);
        let mut over = self.used.saturating_sub(self.budget);
        let mut needs_place = self.vacant.is_empty();
        if free >= cost && over == 0 && !needs_place {
            return Ok(Vec::new());
        }
        let mut idle: Vec<(bool, u64, Shelfmark, u64)> = Vec::new();
        for &mark in self.marks.values() {
            let Some(entry) = self.entry(mark) else { continue };
            let usage = usage(mark);
            let used_since = usage.requests > entry.requests_then;
            if usage.readers > 0 || !used_since && now.saturating_duration_since(entry.brought) < GRACE {
                continue;
            }
            let is_current = entry.title.generation == current;
            idle.push((is_current, if used_since { usage.last_ms } else { 0 }, mark, entry.cost));
        }
        idle.sort_unstable_by_key(|&(is_current, last_ms, mark, _)| (is_current, last_ms, mark));
        let mut victims = Vec::new();
        for (_, _, mark, freed) in idle {
            if free >= cost && over == 0 && !needs_place {
                break;
            }
            let pays = freed.min(over);
            over -= pays;
            free += freed - pays;
            needs_place = false;
            victims.push(mark);
        }
        if free >= cost && over == 0 && !needs_place { Ok(victims) } else { Err(NoRoom::Now) }
    }

    /// Takes a place for a file; its cost counts from now on. `None` when there is no room.
    pub(super) fn admit(
        &mut self,
        title: Title,
        cost: u64,
        now: Instant,
        usage: &dyn Fn(Shelfmark) -> Usage,
    ) -> Option<Shelfmark> {
        if self.marks.contains_key(&title) || self.used.saturating_add(cost) > self.budget {
            return None;
        }
        let mark = Shelfmark(self.vacant.pop()?);
        let requests_then = usage(mark).requests;
        *self.places.get_mut(mark.0 as usize)? = Some(Entry { title, cost, holders: 0, brought: now, requests_then });
        self.marks.insert(title, mark);
        self.used += cost;
        Some(mark)
    }

    /// Gives a place back that no worker has any more.
    pub(super) fn remove(&mut self, mark: Shelfmark) {
        if let Some(entry) = self.places.get_mut(mark.0 as usize).and_then(Option::take) {
            self.used -= entry.cost;
            self.marks.remove(&entry.title);
            self.vacant.push(mark.0);
        }
    }

    fn entry(&self, mark: Shelfmark) -> Option<&Entry> {
        self.places.get(mark.0 as usize)?.as_ref()
    }
}

#[cfg(test)]
mod tests;
