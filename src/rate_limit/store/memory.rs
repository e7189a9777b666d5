//! Counters in memory: the whole store where no Redis is configured; the mirror of Redis, and its stand-in, where one is.
//!
//! Bounded: a map in shards, each with its part of the cap. A full shard forgets what has expired, then what is least
//! full; never a counter that is over its limit or holds something that Redis was not told. Where nothing may be
//! forgotten, all newcomers of a rule share one counter: under a flood a stranger is refused early rather than admitted
//! uncounted. One shard is walked at a time, so nobody waits long for a sweep.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::fixed::Fixed;
use super::shard::{Counter, Shard};
use super::{Answer, Ask, Count, Merge, Merged, Moment, Reading, Reply, Standing, Taken};
use crate::rate_limit::key::{Counted, CounterKey, Subject};

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

impl MemoryStore {
    /// An empty store for at most `most_keys` counters.
    #[must_use]
    pub fn new(most_keys: NonZeroUsize) -> Self {
        let shards = most_keys.get().div_ceil(SHARD_KEYS);
        let most = |place: usize| most_keys.get() / shards + usize::from(place < most_keys.get() % shards);
        Self {
            shards: (0..shards)
                .map(|place| Mutex::new(Shard::new(most(place))))
                .collect(),
            hasher: RandomState::new(),
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
            let Some(shard) = held.shard(&ask.key) else {
                continue;
            };
            counts.push(shard.with(now, &ask.key, |counter| {
                counter.remember(now, ask);
                counter.look(now, ask, most)
            }));
        }
        let admitted = Answer::admits(asks, &counts);
        if admitted {
            for (ask, count) in asks.iter().zip(&mut counts) {
                let Some(shard) = held.shard(&ask.key) else {
                    continue;
                };
                shard.with(now, &ask.key, |counter| counter.charge(now, ask, standing));
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
            let shard = held.shard(&ask.key);
            match shard.and_then(|shard| shard.counters.get_mut(&ask.key)) {
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
        let mut held = self.lock(asks);
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
        if shard
            .with_known(&ask.key, |counter| counter.hear(now, ask, reply))
            .is_some()
        {
            return;
        }
        // What finds no room is not mirrored: Redis has it.
        if shard.has_room(now) {
            shard.with_new(&ask.key, |counter| counter.hear(now, ask, reply));
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

    /// What `keep` wants of the open windows of one shard.
    #[must_use]
    pub fn read(&self, now: Moment, shard: usize, keep: impl Fn(&CounterKey) -> bool) -> Vec<Reading> {
        let Some(shard) = self.shards.get(shard) else {
            return Vec::new();
        };
        let shard = lock(shard);
        let open = shard
            .counters
            .iter()
            .filter(|(key, counter)| counter.is_live(now) && keep(key));
        open.map(|(key, counter)| counter.read(now, key)).collect()
    }

    /// The same for the windows of one subject.
    #[must_use]
    pub fn read_subject(&self, now: Moment, subject: &Subject) -> Vec<Reading> {
        self.read(now, self.place_of(&Counted::of(subject)), |key| {
            key.counts(subject)
        })
    }

    /// Forgets the counters of `subject`, as an operator wants it, but for what Redis said at `asked_at` or later: it said
    /// that knowing of the reset.
    pub fn forget(&self, subject: &Subject, asked_at: Moment) {
        let place = self.place_of(&Counted::of(subject));
        if let Some(shard) = self.shards.get(place) {
            lock(shard).forget(|key| key.counts(subject), asked_at);
        }
    }

    /// Drops every counter, as if nothing had ever been counted.
    pub fn empty(&self) {
        for shard in &self.shards {
            lock(shard).empty();
        }
    }

    fn place(&self, key: &CounterKey) -> usize {
        self.place_of(key.counted())
    }

    fn place_of(&self, counted: &Counted) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any bits choose as well as others"
        )]
        let hash = self.hasher.hash_one(counted) as usize;
        hash % self.shards.len()
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "place() is below the number of shards, of which there is one at least"
    )]
    fn shard_of(&self, key: &CounterKey) -> MutexGuard<'_, Shard> {
        lock(&self.shards[self.place(key)])
    }

    /// Locks the shards of all `asks`, lowest first, so that two decisions cannot wait for each other.
    fn lock(&self, asks: &[Ask]) -> Held<'_> {
        let mut places = asks.iter().map(|ask| self.place(&ask.key));
        let first = places.next().unwrap_or(0);
        let mut others: Vec<usize> = places.filter(|place| *place != first).collect();
        if others.is_empty() {
            // The usual case: all rules of one client lie in one shard.
            return Held {
                store: self,
                only: self.shards.get(first).map(lock),
                several: Vec::new(),
            };
        }
        others.push(first);
        others.sort_unstable();
        others.dedup();
        let several = others
            .into_iter()
            .filter_map(|place| Some((place, lock(self.shards.get(place)?))))
            .collect();
        Held {
            store: self,
            only: None,
            several,
        }
    }
}

/// The shards of one decision: one, or several.
struct Held<'a> {
    store: &'a MemoryStore,
    only: Option<MutexGuard<'a, Shard>>,
    several: Vec<(usize, MutexGuard<'a, Shard>)>,
}

impl Held<'_> {
    /// The shard of `key`, which is one of the asks they were locked for.
    fn shard(&mut self, key: &CounterKey) -> Option<&mut Shard> {
        if let Some(only) = &mut self.only {
            return Some(only);
        }
        let place = self.store.place(key);
        self.several
            .iter_mut()
            .find(|(known, _)| *known == place)
            .map(|(_, shard)| &mut **shard)
    }
}

/// A panic while counting leaves counts that are at worst off by one; refusing to count would be worse.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
