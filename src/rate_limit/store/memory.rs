//! Counters in memory: the whole store where no Redis is configured; the mirror of Redis, and its stand-in, where one is.
//!
//! Bounded: a map in shards, each with its part of the cap. A full shard forgets what has expired, then what is least
//! full; never a counter that is over its limit or holds something that Redis was not told. Where nothing may be
//! forgotten, all newcomers of a rule share one counter: under a flood a stranger is refused early rather than admitted
//! uncounted. One shard is walked at a time, so nobody waits long for a sweep. What only the mirror of Redis does is in
//! `memory/mirror.rs`.

mod mirror;

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::fixed::Fixed;
use super::shard::{Counter, Shard};
use super::{Answer, Ask, Count, Moment, Reading, Standing, Taken};
use crate::rate_limit::charge::Subject;
use crate::rate_limit::key::{Counted, CounterKey};

pub use mirror::Prepared;

/// Most counters in a shard: what a map of 1024 places holds before it doubles. A shard is scanned as a whole, in some
/// 10 µs.
const SHARD_KEYS: usize = 896;

/// Counters in memory.
pub struct MemoryStore {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    tickets: AtomicU64,
}

/// Without its counters: there may be many, and they are nobody's business in a log.
impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore")
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}

/// The most that this process may admit of a counter in one window; the whole limit while Redis counts.
pub type Share<'a> = &'a (dyn Fn(&CounterKey, u32) -> u32 + Sync);

impl MemoryStore {
    /// An empty store for at most `most_keys` counters.
    #[must_use]
    pub fn new(most_keys: NonZeroUsize) -> Self {
        let shards = most_keys.get().div_ceil(SHARD_KEYS);
        let most = |place: usize| most_keys.get() / shards + usize::from(place < most_keys.get() % shards);
        let hasher = RandomState::new();
        Self {
            shards: (0..shards)
                .map(|place| Mutex::new(Shard::new(most(place), hasher.clone())))
                .collect(),
            hasher,
            // A ticket of 0 is none.
            tickets: AtomicU64::new(1),
        }
    }

    /// Charges all of `asks` or none. `portion` is asked for each counter.
    #[must_use]
    pub fn take(&self, now: Moment, asks: &[Ask], portion: Share<'_>, standing: Standing) -> Answer {
        let mut held = self.lock(asks);
        let mut counts = Vec::with_capacity(asks.len());
        for ask in asks {
            let most = if standing == Standing::Sole {
                ask.limit
            } else {
                portion(&ask.key, ask.limit)
            };
            let Some((shard, subject)) = held.shard(&ask.key) else {
                continue;
            };
            counts.push(shard.with(now, subject, &ask.key, |counter| {
                counter.remember(now, ask);
                counter.look(now, ask, most)
            }));
        }
        let admitted = Answer::admits(asks, &counts);
        if admitted {
            for (ask, count) in asks.iter().zip(&mut counts) {
                let Some((shard, subject)) = held.shard(&ask.key) else {
                    continue;
                };
                shard.with(now, subject, &ask.key, |counter| {
                    counter.charge(now, ask, standing);
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
        let mut held = self.lock(asks);
        let look = |ask: &Ask| {
            let most = portion(&ask.key, ask.limit);
            match held.find(&ask.key) {
                Some(counter) => counter.look(now, ask, most),
                None => Fixed::default().look(now, ask, most),
            }
        };
        let counts: Vec<Count> = asks.iter().map(look).collect();
        Answer {
            admitted: Answer::admits(asks, &counts),
            void: false,
            counts,
        }
    }

    /// Gives one window back what was taken. `tell_redis`: Redis counted it, or will, and has to learn of it later.
    pub fn refund(&self, now: Moment, taken: &Taken, tell_redis: bool) {
        let (mut shard, subject) = self.shard_of(&taken.key);
        let refund = |counter: &mut Counter| match counter {
            Counter::Fixed(counter) => counter.refund(now, taken, tell_redis),
            Counter::Exact(counter) => counter.refund(taken),
        };
        if shard.with_known(subject, &taken.key, refund).is_none() {
            shard.with_overflow(&taken.key, refund);
        }
    }

    /// Empties one counter. Its window ends when it would have ended.
    pub fn clear(&self, key: &CounterKey, tell_redis: bool) {
        let (mut shard, subject) = self.shard_of(key);
        shard.with_known(subject, key, |counter| match counter {
            Counter::Fixed(counter) => counter.clear(tell_redis),
            Counter::Exact(counter) => counter.clear(),
        });
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

    /// Counters held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What `keep` wants of the open windows of one shard.
    #[must_use]
    pub fn read(&self, now: Moment, shard: usize, keep: impl Fn(&CounterKey) -> bool) -> Vec<Reading> {
        let Some(shard) = self.shards.get(shard) else {
            return Vec::new();
        };
        let shard = lock(shard);
        let open = shard
            .iter()
            .filter(|(key, counter)| counter.is_live(now) && keep(key));
        open.map(|(key, counter)| counter.read(now, key)).collect()
    }

    /// The same for the windows of one subject.
    #[must_use]
    pub fn read_subject(&self, now: Moment, subject: &Subject) -> Vec<Reading> {
        let place = self.place(self.hash(&Counted::of(subject)));
        self.read(now, place, |key| key.counts(subject))
    }

    /// Drops every counter, as if nothing had ever been counted.
    pub fn empty(&self) {
        for shard in &self.shards {
            lock(shard).empty();
        }
    }

    /// Once for a decision, where all of it is about one subject; its counters lie together.
    fn hash(&self, subject: &Counted) -> u64 {
        self.hasher.hash_one(subject)
    }

    fn place(&self, subject: u64) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any bits choose as well as others"
        )]
        let bits = subject as usize;
        bits % self.shards.len()
    }

    /// The shard of `key`, and the hash of its subject.
    #[expect(
        clippy::indexing_slicing,
        reason = "place() is below the number of shards, of which there is one at least"
    )]
    fn shard_of(&self, key: &CounterKey) -> (MutexGuard<'_, Shard>, u64) {
        let subject = self.hash(key.counted());
        (lock(&self.shards[self.place(subject)]), subject)
    }

    /// Locks the shards of all `asks`, lowest first, so that two decisions cannot wait for each other.
    fn lock(&self, asks: &[Ask]) -> Held<'_> {
        let mut subjects = asks.iter().map(|ask| ask.key.counted());
        let Some(first) = subjects.next() else {
            return Held::Several(self, Vec::new());
        };
        if subjects.all(|subject| subject == first) {
            // The usual case: all rules of one client, all windows of one token.
            let subject = self.hash(first);
            if let Some(shard) = self.shards.get(self.place(subject)) {
                return Held::One(subject, lock(shard));
            }
        }
        let hash = |ask: &Ask| self.hash(ask.key.counted());
        let mut places: Vec<usize> = asks.iter().map(|ask| self.place(hash(ask))).collect();
        places.sort_unstable();
        places.dedup();
        let shards = places
            .into_iter()
            .filter_map(|place| Some((place, lock(self.shards.get(place)?))));
        Held::Several(self, shards.collect())
    }
}

/// The shards of one decision.
enum Held<'a> {
    /// That of its one subject, which has this hash.
    One(u64, MutexGuard<'a, Shard>),
    /// Those of its subjects, by their places.
    Several(&'a MemoryStore, Vec<(usize, MutexGuard<'a, Shard>)>),
}

impl Held<'_> {
    /// The shard of `key`, which is one of the asks they were locked for, and the hash of its subject.
    fn shard(&mut self, key: &CounterKey) -> Option<(&mut Shard, u64)> {
        match self {
            Self::One(subject, shard) => Some((shard, *subject)),
            Self::Several(store, shards) => {
                let subject = store.hash(key.counted());
                let place = store.place(subject);
                let (_, shard) = shards.iter_mut().find(|(known, _)| *known == place)?;
                Some((shard, subject))
            }
        }
    }

    fn find(&mut self, key: &CounterKey) -> Option<&mut Counter> {
        let (shard, subject) = self.shard(key)?;
        shard.find(subject, key)
    }
}

/// A panic while counting leaves counts that are at worst off by one; refusing to count would be worse.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
