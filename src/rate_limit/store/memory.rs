//! Counters in memory: the whole store where no Redis is configured; the mirror of Redis, and its stand-in, where one is.
//!
//! Bounded: a map in shards, each with its part of the cap. A full shard forgets what has expired, then what is least
//! full; never a counter that is over its limit or holds something that Redis was not told. Where nothing may be
//! forgotten, all newcomers of a rule share one counter: under a flood a stranger is refused early rather than admitted
//! uncounted. One shard is walked at a time, so nobody waits long for a sweep.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::exact::Exact;
use super::fixed::Fixed;
use super::{Answer, Ask, Count, Merge, Merged, Moment, Reply, Standing, Taken};
use crate::rate_limit::key::CounterKey;

/// Counters in a shard, about. A shard is scanned as a whole, in some 10 µs.
const SHARD_KEYS: usize = 896;

/// Counters in memory.
pub struct MemoryStore {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    tickets: AtomicU64,
}

#[derive(Debug)]
struct Shard {
    counters: HashMap<CounterKey, Counter>,
    /// Sum of [`Counter::weight`].
    weight: usize,
    most: usize,
    /// Until then scanning for room is known to be in vain, elapsed milliseconds.
    full_until_ms: u64,
}

#[derive(Debug)]
enum Counter {
    Fixed(Fixed),
    /// Boxed: rare, and it would double the size of all.
    Exact(Box<Exact>),
}

/// Without its counters: there may be many, and they are nobody's business in a log.
impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore")
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}

/// What is known before Redis is asked.
#[derive(Debug)]
pub enum Prepared {
    /// Enough to refuse without asking.
    Refused(Answer),
    /// Redis has to be asked.
    Ask {
        /// For each ask, count and end of the window as Redis last told them, in case it lost them.
        known: Vec<Option<(u32, i64)>>,
        /// Counters of these asks that hold something Redis was not told.
        unmerged: Vec<CounterKey>,
    },
}

/// The most that this process may admit of a counter in one window; the whole limit while Redis counts.
pub type Share<'a> = &'a (dyn Fn(&CounterKey, u32) -> u32 + Sync);

impl Counter {
    fn of(key: &CounterKey) -> Self {
        if key.is_exact() {
            Self::Exact(Box::default())
        } else {
            Self::Fixed(Fixed::default())
        }
    }

    fn is_live(&self, now: Moment) -> bool {
        match self {
            Self::Fixed(counter) => counter.is_live(now),
            Self::Exact(counter) => counter.is_live(now),
        }
    }

    fn may_be_forgotten(&self) -> bool {
        match self {
            Self::Fixed(counter) => !counter.is_over() && !counter.is_unmerged(),
            Self::Exact(counter) => !counter.is_over() && !counter.is_unmerged(),
        }
    }

    fn ends_ms(&self) -> u64 {
        match self {
            Self::Fixed(counter) => counter.ends_ms(),
            Self::Exact(counter) => counter.ends_ms(),
        }
    }

    /// The least full and the soonest over go first.
    fn worth(&self) -> (u64, u64) {
        let (count, limit, ends_ms) = match self {
            Self::Fixed(counter) => (counter.count(), counter.limit(), counter.ends_ms()),
            Self::Exact(counter) => (counter.count(), counter.limit(), counter.ends_ms()),
        };
        (u64::from(count) * 255 / u64::from(limit.max(1)), ends_ms)
    }

    fn weight(&self) -> usize {
        match self {
            Self::Fixed(_) => 1,
            Self::Exact(counter) => 1 + counter.weight(),
        }
    }

    fn is_shared(&self, now: Moment) -> bool {
        match self {
            Self::Fixed(counter) => counter.is_shared(now),
            Self::Exact(counter) => counter.is_shared(now),
        }
    }

    fn is_unmerged(&self) -> bool {
        match self {
            Self::Fixed(counter) => counter.is_unmerged(),
            Self::Exact(counter) => counter.is_unmerged(),
        }
    }

    fn look(&mut self, now: Moment, ask: &Ask, share: u32) -> Count {
        match self {
            Self::Fixed(counter) => counter.look(now, ask, share),
            Self::Exact(counter) => counter.look(now, ask, share),
        }
    }

    fn is_known_over(&mut self, now: Moment, ask: &Ask) -> bool {
        match self {
            Self::Fixed(counter) => counter.is_known_over(now, ask),
            Self::Exact(counter) => counter.is_known_over(now, ask),
        }
    }

    fn charge(&mut self, now: Moment, ask: &Ask, standing: Standing) {
        match self {
            Self::Fixed(counter) => counter.charge(now, ask, standing),
            Self::Exact(counter) => counter.charge(now, ask, standing),
        }
    }

    fn remember(&mut self, now: Moment, ask: &Ask, known: (u32, i64)) {
        if let Self::Fixed(counter) = self {
            counter.remember(now, ask, known);
        }
    }

    fn hear(&mut self, now: Moment, ask: &Ask, reply: Reply) {
        match self {
            Self::Fixed(counter) => counter.hear(now, ask, reply),
            Self::Exact(counter) => counter.hear(now, ask, reply),
        }
    }
}

impl Shard {
    /// The counter of `key`, if there is one or room for one.
    fn counter(&mut self, now: Moment, key: &CounterKey) -> Option<&mut Counter> {
        if !self.counters.contains_key(key) {
            // The counters for those without room are themselves always let in: one for each rule and window.
            if self.weight >= self.most && !key.is_overflow() && !self.make_room(now) {
                return None;
            }
            self.weight += 1;
            return Some(
                self.counters
                    .entry(key.clone())
                    .or_insert_with(|| Counter::of(key)),
            );
        }
        self.counters.get_mut(key)
    }

    /// Runs `change` on the counter of `key`, or on that of all who found no room, and keeps the weights right.
    fn with<R>(
        &mut self,
        now: Moment,
        key: &CounterKey,
        change: impl FnOnce(&mut Counter) -> R,
    ) -> Option<R> {
        if self.counter(now, key).is_some() {
            return self.with_known(key, change);
        }
        let shared = key.overflow();
        self.counter(now, &shared)?;
        self.with_known(&shared, change)
    }

    /// The same for a counter that is there.
    fn with_known<R>(&mut self, key: &CounterKey, change: impl FnOnce(&mut Counter) -> R) -> Option<R> {
        let counter = self.counters.get_mut(key)?;
        let before = counter.weight();
        let result = change(counter);
        self.weight = (self.weight + counter.weight()).saturating_sub(before);
        Some(result)
    }

    /// Drops what has expired; answers whether anything was.
    fn sweep(&mut self, now: Moment) -> bool {
        let before = self.counters.len();
        self.counters.retain(|_, counter| counter.is_live(now));
        if self.counters.len() == before {
            return false;
        }
        self.weight = self.counters.values().map(Counter::weight).sum();
        self.full_until_ms = 0;
        if self.counters.len() * 4 < self.counters.capacity() {
            self.counters.shrink_to_fit();
        }
        true
    }

    /// Makes room for one more at least, if that is allowed. Drops an eighth at once, so that a flood does not scan the
    /// shard for each newcomer.
    fn make_room(&mut self, now: Moment) -> bool {
        if now.elapsed_ms() < self.full_until_ms {
            return false;
        }
        self.sweep(now);
        if self.weight < self.most {
            return true;
        }
        let forgettable = self
            .counters
            .values()
            .filter(|counter| counter.may_be_forgotten());
        let mut worths: Vec<(u64, u64)> = forgettable.map(Counter::worth).collect();
        if worths.is_empty() {
            self.full_until_ms = self.counters.values().map(Counter::ends_ms).min().unwrap_or(0);
            return false;
        }
        let mut left = (worths.len() / 8).max(1);
        let (_, bound, _) = worths.select_nth_unstable(left - 1);
        let bound = *bound;
        self.counters.retain(|_, counter| {
            let goes = left > 0 && counter.may_be_forgotten() && counter.worth() <= bound;
            left -= usize::from(goes);
            !goes
        });
        self.weight = self.counters.values().map(Counter::weight).sum();
        self.weight < self.most
    }
}

impl MemoryStore {
    /// An empty store for at most `most_keys` counters.
    #[must_use]
    pub fn new(most_keys: NonZeroUsize) -> Self {
        let shards = (most_keys.get() / SHARD_KEYS).max(1).next_power_of_two();
        let shard = |place: usize| Shard {
            counters: HashMap::new(),
            weight: 0,
            most: most_keys.get() / shards + usize::from(place < most_keys.get() % shards),
            full_until_ms: 0,
        };
        Self {
            shards: (0..shards).map(|place| Mutex::new(shard(place))).collect(),
            hasher: RandomState::new(),
            // A ticket of 0 is none.
            tickets: AtomicU64::new(1),
        }
    }

    /// Charges all of `asks` or none. `portion` is asked for each counter.
    #[must_use]
    pub fn take(&self, now: Moment, asks: &[Ask], portion: Share<'_>, standing: Standing) -> Answer {
        let mut held = self.lock(asks.iter().map(|ask| &ask.key));
        let mut counts = Vec::with_capacity(asks.len());
        for ask in asks {
            if let (Some(known), Some(shard)) = (ask.known, held.shard(&ask.key)) {
                shard.with(now, &ask.key, |counter| counter.remember(now, ask, known));
            }
            let share = if standing == Standing::Sole {
                ask.limit
            } else {
                portion(&ask.key, ask.limit)
            };
            let look = |counter: &mut Counter| counter.look(now, ask, share);
            counts.push(
                held.shard(&ask.key)
                    .and_then(|shard| shard.with(now, &ask.key, look)),
            );
        }
        let mut counts: Vec<Count> = counts.into_iter().flatten().collect();
        let admitted = asks
            .iter()
            .zip(&counts)
            .all(|(ask, count)| ask.shadow || !count.over);
        if admitted {
            for (ask, count) in asks.iter().zip(&mut counts) {
                let shard = held.shard(&ask.key);
                shard.and_then(|shard| {
                    shard.with(now, &ask.key, |counter| counter.charge(now, ask, standing))
                });
                count.count = count.count.saturating_add(ask.cost);
                count.remaining = count.remaining.saturating_sub(ask.cost);
            }
        }
        Answer {
            admitted,
            void: false,
            counts,
        }
    }

    /// What `asks` would find. Charges nothing and makes no counter.
    #[must_use]
    pub fn peek(&self, now: Moment, asks: &[Ask], portion: Share<'_>) -> Answer {
        let mut held = self.lock(asks.iter().map(|ask| &ask.key));
        let look = |ask: &Ask| {
            let share = portion(&ask.key, ask.limit);
            let shard = held.shard(&ask.key);
            match shard.and_then(|shard| shard.counters.get_mut(&ask.key)) {
                Some(counter) => counter.look(now, ask, share),
                None => Fixed::default().look(now, ask, share),
            }
        };
        let counts: Vec<Count> = asks.iter().map(look).collect();
        Answer {
            admitted: asks
                .iter()
                .zip(&counts)
                .all(|(ask, count)| ask.shadow || !count.over),
            void: false,
            counts,
        }
    }

    /// Whether the last word of Redis is enough to refuse one of `asks`.
    #[must_use]
    pub fn is_known_over(&self, now: Moment, asks: &[Ask]) -> bool {
        asks.iter().filter(|ask| !ask.shadow).any(|ask| {
            let mut shard = self.shard_of(&ask.key);
            let counter = shard.counters.get_mut(&ask.key);
            counter.is_some_and(|counter| counter.is_known_over(now, ask))
        })
    }

    /// Looks whether `asks` can be refused without Redis, and collects what Redis has to be told with them.
    #[must_use]
    pub fn prepare(&self, now: Moment, asks: &[Ask], share: Share<'_>) -> Prepared {
        let mut held = self.lock(asks.iter().map(|ask| &ask.key));
        let mut known = Vec::with_capacity(asks.len());
        let mut unmerged = Vec::new();
        let mut refused = false;
        for ask in asks {
            let counter = held
                .shard(&ask.key)
                .and_then(|shard| shard.counters.get_mut(&ask.key));
            let Some(counter) = counter else {
                known.push(ask.known);
                continue;
            };
            if !ask.shadow {
                // Whether a token is still good only Redis can tell, so it is asked about a full window too.
                refused |= ask.version.is_none() && counter.is_known_over(now, ask)
                    || counter.is_shared(now) && counter.look(now, ask, share(&ask.key, ask.limit)).over;
            }
            known.push(match counter {
                Counter::Fixed(counter) => counter.known(now).or(ask.known),
                Counter::Exact(_) => None,
            });
            if counter.is_unmerged() {
                unmerged.push(ask.key.clone());
            }
        }
        if !refused {
            return Prepared::Ask { known, unmerged };
        }
        let look = |ask: &Ask| match held
            .shard(&ask.key)
            .and_then(|shard| shard.counters.get_mut(&ask.key))
        {
            Some(counter) if counter.is_shared(now) => counter.look(now, ask, share(&ask.key, ask.limit)),
            Some(counter) => counter.look(now, ask, ask.limit),
            None => Fixed::default().look(now, ask, ask.limit),
        };
        Prepared::Refused(Answer {
            admitted: false,
            void: false,
            counts: asks.iter().map(look).collect(),
        })
    }

    /// Takes over what Redis answered to `ask`.
    pub fn hear(&self, now: Moment, ask: &Ask, reply: Reply) {
        if reply.resets_at == 0 {
            return;
        }
        let mut shard = self.shard_of(&ask.key);
        // What finds no room is not mirrored: Redis has it.
        if shard.counter(now, &ask.key).is_some() {
            shard.with_known(&ask.key, |counter| counter.hear(now, ask, reply));
        }
    }

    /// A call that timed out, and was charged here as [`Standing::Doubtful`], turned out to be counted or not.
    pub fn settle(&self, now: Moment, taken: &Taken, by_redis: bool) {
        self.shard_of(&taken.key)
            .with_known(&taken.key, |counter| match counter {
                Counter::Fixed(counter) => counter.settle(now, taken, by_redis),
                Counter::Exact(counter) => counter.settle(taken, by_redis),
            });
    }

    /// Gives one window back what was taken. `tell_redis`: Redis counted it, or will, and has to learn of it later.
    pub fn refund(&self, now: Moment, taken: &Taken, tell_redis: bool) {
        let mut shard = self.shard_of(&taken.key);
        let refund = |counter: &mut Counter| match counter {
            Counter::Fixed(counter) => counter.refund(now, taken, tell_redis),
            Counter::Exact(counter) => counter.refund(taken),
        };
        if shard.counters.contains_key(&taken.key) {
            shard.with_known(&taken.key, refund);
        } else {
            shard.with_known(&taken.key.overflow(), refund);
        }
    }

    /// Empties one counter. Its window ends when it would have ended.
    pub fn clear(&self, key: &CounterKey, tell_redis: bool) {
        self.shard_of(key).with_known(key, |counter| match counter {
            Counter::Fixed(counter) => counter.clear(tell_redis),
            Counter::Exact(counter) => counter.clear(),
        });
    }

    /// What Redis has to be told of `key`. Asked again before [`Self::confirm`], it says the same under the same ticket.
    #[must_use]
    pub fn merge(&self, now: Moment, key: &CounterKey) -> Option<Merge> {
        let tickets = || self.tickets.fetch_add(1, Ordering::Relaxed);
        let mut shard = self.shard_of(key);
        shard.with_known(key, |counter| match counter {
            Counter::Fixed(counter) => counter.merge(now, tickets),
            Counter::Exact(counter) => counter.merge(now),
        })?
    }

    /// Redis took `merge` in. Answers how many units that Redis did not have were in it.
    pub fn confirm(&self, now: Moment, key: &CounterKey, merge: &Merge, merged: Merged) -> i64 {
        let mut shard = self.shard_of(key);
        let units = shard.with_known(key, |counter| match (counter, merge) {
            (Counter::Fixed(counter), Merge::Fixed { ticket, .. }) => counter.confirm(now, *ticket, merged),
            (Counter::Exact(counter), Merge::Exact { stamps, .. }) => counter.confirm(stamps),
            _ => 0,
        });
        units.unwrap_or(0)
    }

    /// Number of shards, for [`Self::sweep`] and [`Self::live`].
    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Drops what has expired in one shard.
    pub fn sweep(&self, now: Moment, shard: usize) {
        if let Some(shard) = self.shards.get(shard) {
            lock(shard).sweep(now);
        }
    }

    /// The counters of one shard whose window is open; only those that hold something Redis was not told, if asked so.
    #[must_use]
    pub fn live(&self, now: Moment, shard: usize, only_unmerged: bool) -> Vec<CounterKey> {
        let Some(shard) = self.shards.get(shard) else {
            return Vec::new();
        };
        let shard = lock(shard);
        let live = shard.counters.iter().filter(|(key, counter)| {
            counter.is_live(now) && !key.is_overflow() && (counter.is_unmerged() || !only_unmerged)
        });
        live.map(|(key, _)| key.clone()).collect()
    }

    /// Counters held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).counters.len()).sum()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn place(&self, key: &CounterKey) -> usize {
        let mut state = self.hasher.build_hasher();
        key.hash_subject(&mut state);
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits choose")]
        let hash = state.finish() as usize;
        hash & (self.shards.len() - 1)
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "place() is below the number of shards, a power of two"
    )]
    fn shard_of(&self, key: &CounterKey) -> MutexGuard<'_, Shard> {
        lock(&self.shards[self.place(key)])
    }

    /// Locks the shards of all `keys`, lowest first, so that two decisions cannot wait for each other.
    fn lock<'k>(&self, keys: impl Iterator<Item = &'k CounterKey>) -> Locked<'_> {
        let mut places: Vec<usize> = keys.map(|key| self.place(key)).collect();
        places.sort_unstable();
        places.dedup();
        let guards = places
            .into_iter()
            .filter_map(|place| Some((place, lock(self.shards.get(place)?))))
            .collect();
        Locked { store: self, guards }
    }
}

/// The shards of one decision.
struct Locked<'a> {
    store: &'a MemoryStore,
    guards: Vec<(usize, MutexGuard<'a, Shard>)>,
}

impl Locked<'_> {
    fn shard(&mut self, key: &CounterKey) -> Option<&mut Shard> {
        let place = if self.guards.len() == 1 {
            None
        } else {
            Some(self.store.place(key))
        };
        let guard = self
            .guards
            .iter_mut()
            .find(|(known, _)| place.is_none_or(|place| place == *known));
        guard.map(|(_, shard)| &mut **shard)
    }
}

/// A panic while counting leaves counts that are at worst off by one; refusing to count would be worse.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
