//! One exact limit in memory: each unit of the last period by itself. Knows no map, no lock and no Redis.
//!
//! Of units that other processes took only their number is heard; they are noted as taken at the moment of hearing,
//! later than they were, so that a span never holds more than the limit. Own units carry the id under which Redis keeps
//! them, so telling Redis of one twice counts it once.

use std::collections::VecDeque;

use super::{Ask, Count, Merge, Moment, Reply, Standing, Taken, rounded_up_ms};

/// Most units remembered: the largest `exact` limit. A shadow rule counts beyond its own.
const MOST_STAMPS: usize = 10_000;
/// Stamps that take as much memory as one counter.
const STAMPS_PER_WEIGHT: usize = 4;
/// As in `fixed.rs`: how long the last word of Redis is enough to refuse without asking again, in microseconds.
const WORD_HOLDS_US: u64 = 1_000_000;

/// The units of the last period, oldest first.
#[derive(Debug, Default)]
pub struct Exact {
    stamps: VecDeque<Stamp>,
    /// What turns elapsed into Unix microseconds. Fixed while there are stamps, so that resets stand still.
    unix_offset_us: i64,
    limit: u32,
    period_us: u64,
    /// When Redis last spoke of it.
    heard_us: u64,
    heard_id: u64,
    /// Touched while Redis was lost; until it is empty again this process keeps to its share.
    shared: bool,
}

#[derive(Clone, Copy, Debug)]
struct Stamp {
    at_us: u64,
    /// 0 where another process took it.
    id: u64,
    /// Redis has it.
    merged: bool,
}

impl Exact {
    /// Forgets what is older than the period. A unit is free again at the very microsecond at which its period ends.
    fn expire(&mut self, now: Moment, period_us: u64) {
        while self
            .stamps
            .front()
            .is_some_and(|stamp| stamp.at_us.saturating_add(period_us) <= now.elapsed_us)
        {
            self.stamps.pop_front();
        }
        if self.stamps.is_empty() {
            self.shared = false;
        }
    }

    pub(super) fn is_live(&self, now: Moment) -> bool {
        self.stamps
            .back()
            .is_some_and(|last| last.at_us.saturating_add(self.period_us) > now.elapsed_us)
    }

    pub(super) fn is_over(&self) -> bool {
        self.stamps.len() >= self.limit as usize
    }

    pub(super) fn is_unmerged(&self) -> bool {
        self.stamps.iter().any(|stamp| !stamp.merged)
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.stamps.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) fn weight(&self) -> usize {
        self.stamps.capacity() / STAMPS_PER_WEIGHT
    }

    pub(super) fn ends_ms(&self) -> u64 {
        self.stamps
            .back()
            .map_or(0, |last| last.at_us.saturating_add(self.period_us) / 1000)
    }

    pub(super) fn is_shared(&self, now: Moment) -> bool {
        self.is_live(now) && self.shared
    }

    /// What `ask` finds, if this process may admit `share` units in a period.
    pub(super) fn look(&mut self, now: Moment, ask: &Ask, share: u32) -> Count {
        self.expire(now, ask.period_ms * 1000);
        let count = self.count();
        let own = if share < ask.limit { self.own() } else { 0 };
        let remaining = ask.limit.saturating_sub(count).min(share.saturating_sub(own));
        let over = remaining < ask.cost;
        // On a refusal the reset is when enough units are free, else when the next one is.
        let short = if over && !ask.shadow {
            ask.cost - remaining
        } else {
            1
        };
        let (resets_at, reset_after_ms) = self.reset(now, ask, short);
        Count {
            count,
            remaining,
            resets_at,
            reset_after_ms,
            over,
        }
    }

    fn own(&self) -> u32 {
        u32::try_from(self.stamps.iter().filter(|stamp| stamp.id != 0).count()).unwrap_or(u32::MAX)
    }

    /// When `units` more units are free: Unix milliseconds, and milliseconds from now.
    fn reset(&self, now: Moment, ask: &Ask, units: u32) -> (i64, u64) {
        let place = (units as usize).min(self.stamps.len());
        let freed = place.checked_sub(1).and_then(|place| self.stamps.get(place));
        let period_us = ask.period_ms * 1000;
        let Some(stamp) = freed else {
            return (
                rounded_up_ms(now.unix_us.saturating_add_unsigned(period_us)),
                ask.period_ms,
            );
        };
        let free_us = stamp.at_us.saturating_add(period_us);
        let resets_at = rounded_up_ms(self.unix_offset_us.saturating_add_unsigned(free_us));
        (resets_at, free_us.saturating_sub(now.elapsed_us).div_ceil(1000))
    }

    pub(super) fn is_known_over(&mut self, now: Moment, ask: &Ask) -> bool {
        self.expire(now, ask.period_ms * 1000);
        now.elapsed_us.saturating_sub(self.heard_us) < WORD_HOLDS_US
            && self.count().saturating_add(ask.cost) > ask.limit
    }

    /// Remembers the units of `ask`.
    pub(super) fn charge(&mut self, now: Moment, ask: &Ask, standing: Standing) {
        self.add_own(now, ask, standing == Standing::Sole);
        self.shared |= standing != Standing::Sole;
    }

    fn add_own(&mut self, now: Moment, ask: &Ask, merged: bool) {
        self.limit = ask.limit;
        self.period_us = ask.period_ms * 1000;
        self.expire(now, self.period_us);
        if self.stamps.is_empty() {
            self.unix_offset_us = now.unix_us.saturating_sub_unsigned(now.elapsed_us);
        }
        for id in ask.id..ask.id.saturating_add(u64::from(ask.cost)) {
            self.push(Stamp {
                at_us: now.elapsed_us,
                id,
                merged,
            });
        }
    }

    /// Moments can arrive slightly out of order from several threads; the list stays sorted.
    fn push(&mut self, stamp: Stamp) {
        let place = self
            .stamps
            .iter()
            .rposition(|known| known.at_us <= stamp.at_us)
            .map_or(0, |place| place + 1);
        self.stamps.insert(place, stamp);
        if self.stamps.len() > MOST_STAMPS {
            self.stamps.pop_front();
        }
    }

    /// Takes over what Redis answered to `ask`.
    pub(super) fn hear(&mut self, now: Moment, ask: &Ask, reply: Reply) {
        self.limit = ask.limit;
        self.period_us = ask.period_ms * 1000;
        self.expire(now, self.period_us);
        if reply.admitted {
            self.add_own(now, ask, true);
        }
        if self.heard_id > ask.id {
            return;
        }
        self.heard_id = ask.id;
        self.heard_us = now.elapsed_us;
        let unmerged = self.stamps.iter().filter(|stamp| !stamp.merged).count();
        let target = (reply.count as usize + unmerged).min(MOST_STAMPS);
        while self.stamps.len() < target {
            self.push(Stamp {
                at_us: now.elapsed_us,
                id: 0,
                merged: true,
            });
        }
        while self.stamps.len() > target {
            let Some(place) = self.stamps.iter().position(|stamp| stamp.merged) else {
                break;
            };
            self.stamps.remove(place);
        }
    }

    /// A call that timed out turned out to have been counted by Redis, or not.
    pub(super) fn settle(&mut self, taken: &Taken, counted: bool) {
        if counted {
            self.mark_merged(taken.id, taken.cost);
        }
    }

    fn mark_merged(&mut self, id: u64, cost: u32) {
        let ids = id..id.saturating_add(u64::from(cost));
        self.stamps
            .iter_mut()
            .filter(|stamp| ids.contains(&stamp.id))
            .for_each(|stamp| stamp.merged = true);
    }

    /// Gives back the units of `taken` that are still remembered.
    pub(super) fn refund(&mut self, taken: &Taken) {
        let ids = taken.id..taken.id.saturating_add(u64::from(taken.cost));
        self.stamps.retain(|stamp| !ids.contains(&stamp.id));
    }

    /// Forgets the units taken, or first heard of, before `asked_at`. Answers whether any is left.
    pub(super) fn forget(&mut self, asked_at: Moment) -> bool {
        self.stamps.retain(|stamp| stamp.at_us >= asked_at.elapsed_us);
        !self.stamps.is_empty()
    }

    /// Units that are not free yet, and when the last of them is, Unix milliseconds.
    pub(super) fn read(&self, now: Moment) -> (u32, i64) {
        let taken = |stamp: &&Stamp| stamp.at_us.saturating_add(self.period_us) > now.elapsed_us;
        let count = self.stamps.iter().filter(taken).count();
        let last = self.stamps.back().map_or(0, |stamp| stamp.at_us);
        let free_us = last.saturating_add(self.period_us);
        let resets_at = rounded_up_ms(self.unix_offset_us.saturating_add_unsigned(free_us));
        (u32::try_from(count).unwrap_or(u32::MAX), resets_at)
    }

    pub(super) fn clear(&mut self) {
        self.stamps.clear();
    }

    /// What Redis has to be told: every own unit that is still remembered.
    pub(super) fn merge(&mut self, now: Moment) -> Option<Merge> {
        self.expire(now, self.period_us);
        let stamps: Vec<(u64, u64)> = self
            .stamps
            .iter()
            .filter(|stamp| stamp.id != 0)
            .map(|stamp| (stamp.at_us, stamp.id))
            .collect();
        (!stamps.is_empty()).then_some(Merge::Exact {
            stamps,
            period_ms: self.period_us / 1000,
        })
    }

    /// Redis has all of `stamps`. Answers how many units were merged by it.
    pub(super) fn confirm(&mut self, stamps: &[(u64, u64)]) -> i64 {
        let mut units = 0;
        for stamp in self.stamps.iter_mut().filter(|stamp| !stamp.merged) {
            if stamps.iter().any(|(_, id)| *id == stamp.id) {
                stamp.merged = true;
                units += 1;
            }
        }
        units
    }
}
