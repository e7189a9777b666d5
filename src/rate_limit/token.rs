//! What an API token may spend: a minute, an hour and a day, decided together, and the marks that void its proofs.
//!
//! The limits are the token's own, so they come with each call and stand in no [`super::Rules`].

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use uuid::Uuid;

use super::decision::{Decision, Receipt, RuleReport};
use super::key::CounterKey;
use super::rule::Rule;
use super::store::{Answer, Ask, Moment, Reading};
use crate::clock::Timestamp;

/// How long a mark stands. Longer than a proof of what it voids can live (`api_tokens`), with the look-up that began
/// before the change.
pub(super) const MARK_LIFE: Duration = Duration::from_mins(1);

/// Which state of a token a proof speaks of. Grows with every change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version(pub i64);

impl Version {
    /// Of a token that is deleted: voids every proof. The largest whole number that Redis's Lua holds exactly.
    pub const GONE: Self = Self((1 << 53) - 1);
}

/// A token and what it may spend.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// The token.
    pub token: Uuid,
    /// The version it was proven under.
    pub version: Version,
    /// Most in a minute, an hour and a day; 0 refuses all.
    pub most: [u32; 3],
    /// The day window as last written down, for a counter that was lost.
    pub day: Option<Checkpoint>,
}

/// A window, to be written down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Units used.
    pub used: u32,
    /// The window's end.
    pub ends_at: Timestamp,
}

/// What came of spending one unit of a token.
#[derive(Debug)]
pub enum Spending {
    /// The token was revoked or changed since it was proven; nothing was charged.
    Void,
    /// It was decided.
    Decided {
        /// As any other, with a report for each window.
        decision: Decision,
        /// The day window after an admitted one.
        day: Option<Checkpoint>,
    },
}

/// How one window of a token stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowUse {
    /// Most in it.
    pub limit: u32,
    /// Units used.
    pub used: u32,
    /// Its end; `None` where none is open.
    pub resets_at: Option<Timestamp>,
}

impl Quota {
    /// The longest that a window of a token can still be open: its day.
    pub const LONGEST_WINDOW: Duration = Duration::from_hours(24);

    /// One unit of each window.
    pub(super) fn asks(&self, first_id: u64) -> Vec<Ask> {
        let ask = |((rule, most), id): ((Rule, u32), u64)| Ask {
            key: CounterKey::of_token(self.token, rule),
            limit: most,
            period_ms: u64::from(rule.default_seconds()) * 1000,
            cost: 1,
            shadow: false,
            known: self
                .day
                .filter(|_| rule == Rule::TokenDay)
                .map(|day| (day.used, day.ends_at.as_millis())),
            version: Some(self.version.0),
            id,
        };
        Rule::TOKEN
            .into_iter()
            .zip(self.most)
            .zip(first_id..)
            .map(ask)
            .collect()
    }

    /// What a store's answer to [`Self::asks`] means.
    pub(super) fn spending(asks: &[Ask], answer: &Answer, now: Moment) -> Spending {
        if answer.void {
            return Spending::Void;
        }
        let counts = Rule::TOKEN.into_iter().zip(asks).zip(&answer.counts);
        let reports: Vec<RuleReport> = counts
            .map(|((rule, ask), count)| {
                let window = Duration::from_millis(ask.period_ms);
                let report = RuleReport {
                    rule,
                    limit: u64::from(ask.limit),
                    remaining: u64::from(count.remaining),
                    window,
                    resets_at: Timestamp::from_millis(count.resets_at),
                    reset_after: Duration::from_millis(count.reset_after_ms),
                    refused: count.over && !answer.admitted,
                };
                if ask.limit > 0 {
                    return report;
                }
                // Nothing ever becomes free, so the wait that is told is the period.
                RuleReport {
                    resets_at: Timestamp::from_millis(now.unix_ms()).plus(window),
                    reset_after: window,
                    ..report
                }
            })
            .collect();
        let day = answer.counts.last().filter(|_| answer.admitted);
        Spending::Decided {
            // Nobody gives back what a token has spent.
            decision: Decision::of(reports, Receipt::default()),
            day: day.map(|day| Checkpoint {
                used: day.count,
                ends_at: Timestamp::from_millis(day.resets_at),
            }),
        }
    }

    /// What a store's look at [`Self::asks`] means.
    pub(super) fn usage(&self, answer: &Answer, now: Moment) -> [WindowUse; 3] {
        let mut counts = answer.counts.iter();
        self.windows(now.unix_ms(), |_| {
            counts.next().map(|count| (count.count, count.resets_at))
        })
    }

    /// What counters that were read ([`super::operator::Counters`]) mean for this token; others may be among them.
    #[must_use]
    pub fn usage_in(&self, readings: &HashMap<CounterKey, Reading>, now: Timestamp) -> [WindowUse; 3] {
        self.windows(now.as_millis(), |rule| {
            let reading = readings.get(&CounterKey::of_token(self.token, rule))?;
            Some((reading.count, reading.resets_at))
        })
    }

    fn windows(&self, now_ms: i64, mut counted: impl FnMut(Rule) -> Option<(u32, i64)>) -> [WindowUse; 3] {
        let mut rules = Rule::TOKEN.into_iter();
        let mut windows = self.most.map(|limit| {
            let open = rules
                .next()
                .and_then(&mut counted)
                .filter(|(count, _)| *count > 0);
            WindowUse {
                limit,
                used: open.map_or(0, |(count, _)| count),
                resets_at: open.map(|(_, ends)| Timestamp::from_millis(ends)),
            }
        });
        // A day window that was lost goes on from its checkpoint at the next spending.
        if let ([.., day], Some(known)) = (&mut windows, self.day)
            && day.used < known.used
            && day.resets_at.is_none_or(|at| at == known.ends_at)
            && known.ends_at.as_millis() > now_ms
        {
            (day.used, day.resets_at) = (known.used, Some(known.ends_at));
        }
        windows
    }
}

/// Tokens whose older proofs are void. Small: what is older than [`MARK_LIFE`] goes.
#[derive(Debug, Default)]
pub(super) struct Marks(RwLock<HashMap<Uuid, Mark>>);

#[derive(Debug)]
struct Mark {
    version: Version,
    /// [`crate::clock::Clock::elapsed`].
    until: Duration,
}

impl Marks {
    pub(super) fn add(&self, marks: &[(Uuid, Version)], now: Duration) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, mark| mark.until > now);
        for (token, version) in marks {
            let mark = known.entry(*token).or_insert(Mark {
                version: *version,
                until: now,
            });
            mark.version = mark.version.max(*version);
            mark.until = now + MARK_LIFE;
        }
    }

    pub(super) fn is_void(&self, token: Uuid, version: Version, now: Duration) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known
            .get(&token)
            .is_some_and(|mark| mark.until > now && version < mark.version)
    }
}
