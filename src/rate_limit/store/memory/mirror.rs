//! Memory as the mirror of Redis: what it knows before Redis is asked, what it hears from it, and what it has to tell it.

use std::sync::atomic::Ordering;

use super::{MemoryStore, Share, lock};
use crate::rate_limit::charge::Subject;
use crate::rate_limit::key::{Counted, CounterKey};
use crate::rate_limit::store::fixed::Fixed;
use crate::rate_limit::store::shard::Counter;
use crate::rate_limit::store::{Answer, Ask, Merge, Merged, Moment, Reply, Taken};

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

impl MemoryStore {
    /// Whether the last word of Redis is enough to refuse one of `asks`.
    #[must_use]
    pub fn is_known_over(&self, now: Moment, asks: &[Ask]) -> bool {
        asks.iter().filter(|ask| !ask.shadow).any(|ask| {
            let (mut shard, subject) = self.shard_of(&ask.key);
            let counter = shard.find(subject, &ask.key);
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
            let Some(counter) = held.find(&ask.key) else {
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
        let look = |ask: &Ask| match held.find(&ask.key) {
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
        let (mut shard, subject) = self.shard_of(&ask.key);
        if shard
            .with_known(subject, &ask.key, |counter| counter.hear(now, ask, reply))
            .is_some()
        {
            return;
        }
        // What finds no room is not mirrored: Redis has it.
        if shard.has_room(now) {
            shard.with_new(subject, &ask.key, |counter| counter.hear(now, ask, reply));
        }
    }

    /// A call that timed out, and was charged here as [`Doubtful`](crate::rate_limit::store::Standing::Doubtful), turned out
    /// to be counted or not.
    pub fn settle(&self, now: Moment, taken: &Taken, by_redis: bool) {
        let (mut shard, subject) = self.shard_of(&taken.key);
        shard.with_known(subject, &taken.key, |counter| match counter {
            Counter::Fixed(counter) => counter.settle(now, taken, by_redis),
            Counter::Exact(counter) => counter.settle(taken, by_redis),
        });
    }

    /// What Redis has to be told of `key`. Asked again before [`Self::confirm`], it says the same under the same ticket.
    #[must_use]
    pub fn merge(&self, now: Moment, key: &CounterKey) -> Option<Merge> {
        let tickets = || self.tickets.fetch_add(1, Ordering::Relaxed);
        let (mut shard, subject) = self.shard_of(key);
        shard.with_known(subject, key, |counter| match counter {
            Counter::Fixed(counter) => counter.merge(now, tickets),
            Counter::Exact(counter) => counter.merge(now),
        })?
    }

    /// Redis took `merge` in. Answers how many units that Redis did not have were in it.
    pub fn confirm(&self, now: Moment, key: &CounterKey, merge: &Merge, merged: Merged) -> i64 {
        let (mut shard, subject) = self.shard_of(key);
        let units = shard.with_known(subject, key, |counter| match (counter, merge) {
            (Counter::Fixed(counter), Merge::Fixed { ticket, .. }) => counter.confirm(now, *ticket, merged),
            (Counter::Exact(counter), Merge::Exact { stamps, .. }) => counter.confirm(stamps),
            _ => 0,
        });
        units.unwrap_or(0)
    }

    /// The counters of one shard whose window is open; only those that hold something Redis was not told, if asked so.
    #[must_use]
    pub fn live(&self, now: Moment, shard: usize, only_unmerged: bool) -> Vec<CounterKey> {
        let Some(shard) = self.shards.get(shard) else {
            return Vec::new();
        };
        let shard = lock(shard);
        let live = shard.iter().filter(|(key, counter)| {
            counter.is_live(now) && !key.is_overflow() && (counter.is_unmerged() || !only_unmerged)
        });
        live.map(|(key, _)| key.clone()).collect()
    }

    /// Forgets the counters of `subject`, as an operator wants it, but for what Redis said at `asked_at` or later: it said
    /// that knowing of the reset.
    pub fn forget(&self, subject: &Subject, asked_at: Moment) {
        let place = self.place(self.hash(&Counted::of(subject)));
        if let Some(shard) = self.shards.get(place) {
            lock(shard).forget(|key| key.counts(subject), asked_at);
        }
    }
}
