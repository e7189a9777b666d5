//! One fixed window in memory. Knows no map, no lock and no Redis.
//!
//! The same counter serves as the store itself (no Redis configured), as the mirror of what Redis last said, and as the
//! stand-in while Redis is lost; what is only known here, and not yet in Redis, is kept apart in [`Unmerged`].

use super::{Ask, Count, Merge, Merged, Moment, Reply, Standing, Taken};

/// How long the last word of Redis is enough to refuse without asking again. Short, so that a reset by an operator or
/// another process shows within it.
const WORD_HOLDS_MS: u32 = 1_000;

/// A count that ends with its window.
#[derive(Debug, Default)]
pub struct Fixed {
    /// End of the window in elapsed milliseconds: at this very millisecond it is over.
    ends_ms: u64,
    /// The same end as clients and Redis know it.
    resets_at: i64,
    /// All units in the window as far as known here: the last word of Redis and what is not merged yet.
    count: u32,
    /// Units that this process admitted in the window.
    own: u32,
    limit: u32,
    /// When Redis last spoke of it, elapsed milliseconds modulo 2^32.
    heard_ms: u32,
    /// The ask to which that was the answer, modulo 2^32: answers overtake each other.
    heard_id: u32,
    /// There once the window was touched while Redis was lost; from then on this process keeps to its share.
    unmerged: Option<Box<Unmerged>>,
}

/// Units that Redis does not know of, or may not.
#[derive(Debug, Default)]
struct Unmerged {
    /// Not sent yet. Negative after a refund.
    pending: i64,
    /// Of calls that timed out and may still be counted by Redis.
    doubtful: i64,
    /// Sent under `ticket` and not confirmed. Sent again under the same ticket, Redis counts it once.
    sent: i64,
    ticket: u64,
}

impl Unmerged {
    fn total(&self) -> i64 {
        self.pending + self.doubtful + self.sent
    }
}

impl Fixed {
    pub(super) fn is_live(&self, now: Moment) -> bool {
        self.ends_ms > now.elapsed_ms()
    }

    pub(super) fn is_over(&self) -> bool {
        self.count >= self.limit
    }

    /// Whether it holds something that Redis does not.
    pub(super) fn is_unmerged(&self) -> bool {
        self.unmerged
            .as_ref()
            .is_some_and(|unmerged| unmerged.total() != 0)
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn resets_at(&self) -> i64 {
        self.resets_at
    }

    /// Whether it is what Redis said at `moment` or later, and nothing else.
    #[expect(clippy::cast_possible_truncation, reason = "compared modulo 2^32")]
    pub(super) fn was_heard_since(&self, moment: Moment) -> bool {
        self.unmerged.is_none()
            && self
                .heard_ms
                .wrapping_sub(moment.elapsed_ms() as u32)
                .cast_signed()
                >= 0
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) fn ends_ms(&self) -> u64 {
        self.ends_ms
    }

    /// Whether this process keeps to its share of the window (see [`Unmerged`]).
    pub(super) fn is_shared(&self, now: Moment) -> bool {
        self.is_live(now) && self.unmerged.is_some()
    }

    /// What `ask` finds, if this process may admit `share` units in a window.
    pub(super) fn look(&self, now: Moment, ask: &Ask, share: u32) -> Count {
        let (count, own, resets_at, reset_after_ms) = if self.is_live(now) {
            (
                self.count,
                self.own,
                self.resets_at,
                self.ends_ms - now.elapsed_ms(),
            )
        } else {
            (0, 0, now.unix_after(ask.period_ms), ask.period_ms)
        };
        let remaining = ask.limit.saturating_sub(count).min(share.saturating_sub(own));
        Count {
            count,
            remaining,
            resets_at,
            reset_after_ms,
            over: remaining < ask.cost,
        }
    }

    /// Whether what Redis last said is enough to refuse `ask` without asking again.
    pub(super) fn is_known_over(&self, now: Moment, ask: &Ask) -> bool {
        self.is_live(now) && self.is_word_fresh(now) && self.count.saturating_add(ask.cost) > ask.limit
    }

    #[expect(clippy::cast_possible_truncation, reason = "compared modulo 2^32")]
    fn is_word_fresh(&self, now: Moment) -> bool {
        (now.elapsed_ms() as u32).wrapping_sub(self.heard_ms) < WORD_HOLDS_MS
    }

    /// Counts `ask`, and opens the window if none is open.
    pub(super) fn charge(&mut self, now: Moment, ask: &Ask, standing: Standing) {
        if !self.is_live(now) {
            *self = Self {
                ends_ms: now.elapsed_ms().saturating_add(ask.period_ms),
                resets_at: now.unix_after(ask.period_ms),
                heard_ms: self.heard_ms,
                heard_id: self.heard_id,
                ..Self::default()
            };
        }
        self.limit = ask.limit;
        self.count = self.count.saturating_add(ask.cost);
        self.own = self.own.saturating_add(ask.cost);
        match standing {
            Standing::Sole => {}
            Standing::Instead => self.unmerged().pending += i64::from(ask.cost),
            Standing::Doubtful => self.unmerged().doubtful += i64::from(ask.cost),
        }
    }

    fn unmerged(&mut self) -> &mut Unmerged {
        self.unmerged.get_or_insert_default()
    }

    fn unmerged_total(&self) -> i64 {
        self.unmerged.as_ref().map_or(0, |unmerged| unmerged.total())
    }

    /// What Redis last said, without what it was not told.
    fn base(&self) -> i64 {
        (i64::from(self.count) - self.unmerged_total()).max(0)
    }

    fn set_base(&mut self, base: i64) {
        let count = base.saturating_add(self.unmerged_total()).max(0);
        self.count = u32::try_from(count).unwrap_or(u32::MAX);
    }

    /// What to tell Redis of the window, in case it lost it: count and end.
    pub(super) fn known(&self, now: Moment) -> Option<(u32, i64)> {
        let base = u32::try_from(self.base()).unwrap_or(u32::MAX);
        (self.is_live(now) && base > 0).then_some((base, self.resets_at))
    }

    /// Opens the window again that was written down elsewhere, if none is open.
    pub(super) fn remember(&mut self, now: Moment, ask: &Ask, (count, resets_at): (u32, i64)) {
        let left = u64::try_from(resets_at.saturating_sub(now.unix_ms())).unwrap_or(0);
        if !self.is_live(now) && left > 0 {
            *self = Self {
                ends_ms: now.elapsed_ms().saturating_add(left.min(ask.period_ms)),
                resets_at,
                count,
                limit: ask.limit,
                heard_ms: self.heard_ms,
                heard_id: self.heard_id,
                ..Self::default()
            };
        }
    }

    /// Takes over what Redis answered to `ask`.
    #[expect(clippy::cast_possible_truncation, reason = "compared modulo 2^32")]
    pub(super) fn hear(&mut self, now: Moment, ask: &Ask, reply: Reply) {
        self.limit = ask.limit;
        let same_window = self.is_live(now) && (self.resets_at == reply.resets_at || self.is_unmerged());
        if !same_window {
            self.own = 0;
            self.unmerged = None;
        }
        if reply.admitted {
            self.own = self.own.saturating_add(ask.cost);
        }
        let overtaken = same_window && self.heard_id.wrapping_sub(ask.id as u32).cast_signed() > 0;
        if !overtaken {
            self.adopt_end(now, reply.resets_at, reply.redis_ms);
            self.set_base(i64::from(reply.count));
            self.heard_ms = now.elapsed_ms() as u32;
            self.heard_id = ask.id as u32;
        }
    }

    fn adopt_end(&mut self, now: Moment, resets_at: i64, redis_ms: i64) {
        let left = u64::try_from(resets_at.saturating_sub(redis_ms)).unwrap_or(0);
        self.resets_at = resets_at;
        self.ends_ms = now.elapsed_ms().saturating_add(left);
    }

    /// A call that timed out turned out to have been counted by Redis, or not.
    pub(super) fn settle(&mut self, now: Moment, taken: &Taken, counted: bool) {
        if !self.is_live(now) {
            return;
        }
        let cost = i64::from(taken.cost);
        if let Some(unmerged) = self
            .unmerged
            .as_mut()
            .filter(|unmerged| unmerged.doubtful >= cost)
        {
            unmerged.doubtful -= cost;
            if !counted {
                unmerged.pending += cost;
            }
        }
    }

    /// Gives back what `taken` took, if its window is still open. `tell_redis`: Redis has to learn of it later.
    pub(super) fn refund(&mut self, now: Moment, taken: &Taken, tell_redis: bool) {
        if !self.is_live(now) || self.resets_at != taken.resets_at {
            return;
        }
        let back = taken.cost.min(self.count);
        self.count -= back;
        self.own = self.own.saturating_sub(back);
        if tell_redis {
            self.unmerged().pending -= i64::from(back);
        }
    }

    /// Empties the count; the window keeps its end. `tell_redis`: Redis has to learn of it later.
    pub(super) fn clear(&mut self, tell_redis: bool) {
        let base = self.base();
        self.count = 0;
        self.own = 0;
        if tell_redis {
            let unmerged = self.unmerged();
            unmerged.pending = -base - unmerged.doubtful - unmerged.sent;
        } else {
            self.unmerged = None;
        }
    }

    /// What Redis has to be told of the window. The same amount under the same ticket until it is confirmed.
    pub(super) fn merge(&mut self, now: Moment, tickets: impl FnOnce() -> u64) -> Option<Merge> {
        if !self.is_live(now) {
            return None;
        }
        let (known, resets_at) = (self.base(), self.resets_at);
        let (add, ticket) = match &mut self.unmerged {
            Some(unmerged) => {
                if unmerged.sent == 0 && unmerged.pending != 0 {
                    unmerged.ticket = tickets();
                    unmerged.sent = std::mem::take(&mut unmerged.pending);
                }
                (unmerged.sent, unmerged.ticket)
            }
            None => (0, 0),
        };
        Some(Merge::Fixed {
            known,
            resets_at,
            add,
            ticket,
        })
    }

    /// Redis confirmed a merge. Answers how many units were merged by it.
    pub(super) fn confirm(&mut self, now: Moment, ticket: u64, merged: Merged) -> i64 {
        let mut units = 0;
        if let Some(unmerged) = self
            .unmerged
            .as_mut()
            .filter(|unmerged| unmerged.ticket == ticket)
        {
            units = std::mem::take(&mut unmerged.sent);
            unmerged.ticket = 0;
        }
        if self.is_live(now) && merged.resets_at > 0 {
            self.adopt_end(now, merged.resets_at, merged.redis_ms);
            self.set_base(i64::from(merged.count));
        }
        units
    }
}
