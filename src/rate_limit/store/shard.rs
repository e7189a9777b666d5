//! One shard of the memory store: a map of counters that forgets what it may when it is full.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;

use super::exact::Exact;
use super::fixed::Fixed;
use super::{Ask, Count, Moment, Reading, Reply, Standing};
use crate::rate_limit::key::CounterKey;

/// Stands for the hash of all subjects that found no room: their counter lies in each shard.
const OVERFLOW: u64 = 0;

/// Some of the counters.
#[derive(Debug)]
pub struct Shard {
    counters: HashTable<(CounterKey, Counter)>,
    /// The store's: a subject is hashed once for a decision, to find the shard and what it holds.
    hasher: RandomState,
    /// Sum of [`Counter::weight`].
    weight: usize,
    most: usize,
    /// Until then scanning for room is known to be in vain, elapsed milliseconds.
    full_until_ms: u64,
}

/// A counter of either strategy.
#[derive(Debug)]
pub enum Counter {
    /// Windows that open at the first counted request.
    Fixed(Fixed),
    /// Each request by itself. Boxed: rare, and it would double the size of all.
    Exact(Box<Exact>),
}

impl Counter {
    pub(super) fn of(key: &CounterKey) -> Self {
        if key.is_exact() {
            Self::Exact(Box::default())
        } else {
            Self::Fixed(Fixed::default())
        }
    }

    pub(super) fn is_live(&self, now: Moment) -> bool {
        match self {
            Self::Fixed(counter) => counter.is_live(now),
            Self::Exact(counter) => counter.is_live(now),
        }
    }

    pub(super) fn may_be_forgotten(&self) -> bool {
        match self {
            Self::Fixed(counter) => !counter.is_over() && !counter.is_unmerged(),
            Self::Exact(counter) => !counter.is_over() && !counter.is_unmerged(),
        }
    }

    pub(super) fn ends_ms(&self) -> u64 {
        match self {
            Self::Fixed(counter) => counter.ends_ms(),
            Self::Exact(counter) => counter.ends_ms(),
        }
    }

    /// The least full and the soonest over go first.
    pub(super) fn worth(&self) -> (u64, u64) {
        let (count, limit, ends_ms) = match self {
            Self::Fixed(counter) => (counter.count(), counter.limit(), counter.ends_ms()),
            Self::Exact(counter) => (counter.count(), counter.limit(), counter.ends_ms()),
        };
        (u64::from(count) * 255 / u64::from(limit.max(1)), ends_ms)
    }

    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Fixed(_) => 1,
            Self::Exact(counter) => 1 + counter.weight(),
        }
    }

    pub(super) fn is_shared(&self, now: Moment) -> bool {
        match self {
            Self::Fixed(counter) => counter.is_shared(now),
            Self::Exact(counter) => counter.is_shared(now),
        }
    }

    pub(super) fn is_unmerged(&self) -> bool {
        match self {
            Self::Fixed(counter) => counter.is_unmerged(),
            Self::Exact(counter) => counter.is_unmerged(),
        }
    }

    pub(super) fn look(&mut self, now: Moment, ask: &Ask, share: u32) -> Count {
        match self {
            Self::Fixed(counter) => counter.look(now, ask, share),
            Self::Exact(counter) => counter.look(now, ask, share),
        }
    }

    pub(super) fn is_known_over(&mut self, now: Moment, ask: &Ask) -> bool {
        match self {
            Self::Fixed(counter) => counter.is_known_over(now, ask),
            Self::Exact(counter) => counter.is_known_over(now, ask),
        }
    }

    pub(super) fn charge(&mut self, now: Moment, ask: &Ask, standing: Standing) {
        match self {
            Self::Fixed(counter) => counter.charge(now, ask, standing),
            Self::Exact(counter) => counter.charge(now, ask, standing),
        }
    }

    /// Goes on from what was written down elsewhere ([`Ask::known`]), where nothing is known here.
    pub(super) fn remember(&mut self, now: Moment, ask: &Ask) {
        if let (Self::Fixed(counter), Some(known)) = (self, ask.known) {
            counter.remember(now, ask, known);
        }
    }

    pub(super) fn read(&self, now: Moment, key: &CounterKey) -> Reading {
        let (count, resets_at) = match self {
            Self::Fixed(counter) => (counter.count(), counter.resets_at()),
            Self::Exact(counter) => counter.read(now),
        };
        Reading {
            key: key.clone(),
            count,
            resets_at,
        }
    }

    /// Forgets what is older than `asked_at`. Answers whether anything is left.
    fn forget(&mut self, asked_at: Moment) -> bool {
        match self {
            Self::Fixed(counter) => counter.was_heard_since(asked_at),
            Self::Exact(counter) => counter.forget(asked_at),
        }
    }

    pub(super) fn hear(&mut self, now: Moment, ask: &Ask, reply: Reply) {
        match self {
            Self::Fixed(counter) => counter.hear(now, ask, reply),
            Self::Exact(counter) => counter.hear(now, ask, reply),
        }
    }
}

impl Shard {
    /// An empty shard for counters of `most` in weight.
    pub(super) fn new(most: usize, hasher: RandomState) -> Self {
        Self {
            counters: HashTable::new(),
            hasher,
            weight: 0,
            most,
            full_until_ms: 0,
        }
    }

    /// The counter of `key`, whose subject has this hash.
    pub(super) fn find(&mut self, subject: u64, key: &CounterKey) -> Option<&mut Counter> {
        let found = self
            .counters
            .find_mut(key.hash_with(subject), |(known, _)| known == key);
        found.map(|(_, counter)| counter)
    }

    /// All counters.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&CounterKey, &Counter)> {
        self.counters.iter().map(|(key, counter)| (key, counter))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.counters.len()
    }

    /// Runs `change` on the counter of `key`, which is made where there is room, or else on that of all who found none.
    pub(super) fn with<R>(
        &mut self,
        now: Moment,
        subject: u64,
        key: &CounterKey,
        change: impl Fn(&mut Counter) -> R,
    ) -> R {
        if let Some(result) = self.with_known(subject, key, &change) {
            return result;
        }
        if self.has_room(now) {
            return self.with_new(subject, key, change);
        }
        // Always let in: there is one for each rule and window.
        let shared = key.overflow();
        self.with_known(OVERFLOW, &shared, &change)
            .unwrap_or_else(|| self.with_new(OVERFLOW, &shared, change))
    }

    /// The same for a counter that is there.
    pub(super) fn with_known<R>(
        &mut self,
        subject: u64,
        key: &CounterKey,
        change: impl FnOnce(&mut Counter) -> R,
    ) -> Option<R> {
        let counter = self.find(subject, key)?;
        let before = counter.weight();
        let result = change(counter);
        let after = counter.weight();
        self.weight = (self.weight + after).saturating_sub(before);
        Some(result)
    }

    /// The same for the counter of all who found no room, for the rule and window of `key`.
    pub(super) fn with_overflow<R>(
        &mut self,
        key: &CounterKey,
        change: impl FnOnce(&mut Counter) -> R,
    ) -> Option<R> {
        self.with_known(OVERFLOW, &key.overflow(), change)
    }

    /// The same for one that is not.
    pub(super) fn with_new<R>(
        &mut self,
        subject: u64,
        key: &CounterKey,
        change: impl FnOnce(&mut Counter) -> R,
    ) -> R {
        let mut counter = Counter::of(key);
        let result = change(&mut counter);
        self.weight += counter.weight();
        let hasher = &self.hasher;
        self.counters
            .insert_unique(key.hash_with(subject), (key.clone(), counter), |(key, _)| {
                stored_hash(hasher, key)
            });
        result
    }

    /// Whether there is room for one more, if need be after forgetting some.
    pub(super) fn has_room(&mut self, now: Moment) -> bool {
        self.weight < self.most || self.make_room(now)
    }

    /// Drops what has expired.
    pub(super) fn sweep(&mut self, now: Moment) {
        if self.iter().any(|(_, counter)| !counter.is_live(now)) {
            self.keep(|counter| counter.is_live(now));
        }
    }

    /// Drops all counters.
    pub(super) fn empty(&mut self) {
        *self = Self::new(self.most, self.hasher.clone());
    }

    /// Forgets what is older than `asked_at` of the counters that `goes` names.
    pub(super) fn forget(&mut self, goes: impl Fn(&CounterKey) -> bool, asked_at: Moment) {
        self.counters
            .retain(|(key, counter)| !goes(key) || counter.forget(asked_at));
        self.weight = self.iter().map(|(_, counter)| counter.weight()).sum();
        self.full_until_ms = 0;
    }

    /// Drops all but the counters that `stay`. Into a new map: a map that many have come to and gone from keeps their
    /// places as graves, and doubles in size to be rid of them.
    fn keep(&mut self, mut stay: impl FnMut(&Counter) -> bool) {
        let all = std::mem::take(&mut self.counters);
        let staying: Vec<_> = all.into_iter().filter(|(_, counter)| stay(counter)).collect();
        let hasher = &self.hasher;
        self.counters
            .reserve(staying.len(), |(key, _)| stored_hash(hasher, key));
        for entry in staying {
            let hash = stored_hash(hasher, &entry.0);
            self.counters
                .insert_unique(hash, entry, |(key, _)| stored_hash(hasher, key));
        }
        self.weight = self.iter().map(|(_, counter)| counter.weight()).sum();
        self.full_until_ms = 0;
    }

    /// Makes room for one more at least, if that is allowed. Drops an eighth at once, so that a flood does not scan the
    /// shard for each newcomer.
    pub(super) fn make_room(&mut self, now: Moment) -> bool {
        if now.elapsed_ms() < self.full_until_ms {
            return false;
        }
        self.sweep(now);
        if self.weight < self.most {
            return true;
        }
        let forgettable = self
            .iter()
            .map(|(_, counter)| counter)
            .filter(|counter| counter.may_be_forgotten());
        let mut worths: Vec<(u64, u64)> = forgettable.map(Counter::worth).collect();
        if worths.is_empty() {
            self.full_until_ms = self
                .iter()
                .map(|(_, counter)| counter.ends_ms())
                .min()
                .unwrap_or(0);
            return false;
        }
        let mut left = (worths.len() / 8).max(1);
        let (_, bound, _) = worths.select_nth_unstable(left - 1);
        let bound = *bound;
        self.keep(|counter| {
            let goes = left > 0 && counter.may_be_forgotten() && counter.worth() <= bound;
            left -= usize::from(goes);
            !goes
        });
        self.weight < self.most
    }
}

/// The hash of a counter that is moved to another place of its shard.
fn stored_hash(hasher: &RandomState, key: &CounterKey) -> u64 {
    key.hash_with(if key.is_overflow() {
        OVERFLOW
    } else {
        hasher.hash_one(key.counted())
    })
}
