//! What the limiter did since the process started, in plain counters that only grow. Whoever shows them asks for
//! [`Totals`]; nothing here decides anything.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::decision::{Decision, RuleReport};
use super::rule::Rule;
use crate::telemetry::metrics::{Bounds, Histogram};

/// How a rule decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Verdict {
    /// There was room, and it was charged.
    Admitted,
    /// It is why a request was refused. Other rules of the same request were not charged and are not counted.
    Refused,
    /// It would have been why, but is only watched (`mode=shadow`).
    Shadowed,
}

impl Verdict {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Admitted, Self::Refused, Self::Shadowed];

    /// `allowed`, `refused` or `shadow`, as metrics show it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admitted => "allowed",
            Self::Refused => "refused",
            Self::Shadowed => "shadow",
        }
    }
}

/// Microseconds in memory, about a millisecond through Redis, and no longer than its command timeout while it hangs.
const CHECK_BOUNDS: Bounds = [
    5, 25, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000,
];

/// Everything counted so far. Counters grow while they are read, so two of them can be a moment apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Totals {
    /// Of each rule and verdict, the decisions; one for a rule, however many windows it has.
    pub decisions: Vec<(Rule, Verdict, u64)>,
    /// How often Redis was lost.
    pub outages: u64,
    /// For how long, all outages that have ended taken together.
    pub lost_for: Duration,
    /// Units that were admitted meanwhile and then added to the counts of Redis.
    pub merged: u64,
    /// Calls to Redis that failed or got no answer in time.
    pub failed_calls: u64,
}

/// How long it took to decide over all rules that are known at a point.
#[derive(Debug)]
pub struct Checks {
    /// Where memory decided: alone, or instead of Redis.
    pub in_memory: Histogram,
    /// Where Redis was asked, answered or not.
    pub through_redis: Histogram,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            in_memory: Histogram::new(&CHECK_BOUNDS),
            through_redis: Histogram::new(&CHECK_BOUNDS),
        }
    }
}

/// Where it is counted. Each rule has cache lines of its own, or processors that serve different rules would wait for
/// each other.
#[derive(Debug, Default)]
pub struct Tally {
    rules: [OfRule; RULES],
    outages: AtomicU64,
    lost_ms: AtomicU64,
    merged: AtomicU64,
    failed_calls: AtomicU64,
    pub(super) checks: Checks,
}

const RULES: usize = Rule::ALL.len() + Rule::TOKEN.len();

#[derive(Debug, Default)]
#[repr(align(128))]
struct OfRule([AtomicU64; Verdict::ALL.len()]);

impl Tally {
    pub(super) fn decided(&self, rule: Rule, verdict: Verdict) {
        if let Some(counter) = self.counter(rule, verdict) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts what is enforced; shadow rules are not in a decision.
    pub(super) fn count(&self, decision: &Decision) {
        let admitted = decision.is_admitted();
        let (verdict, deciding): (_, fn(&RuleReport) -> bool) = if admitted {
            (Verdict::Admitted, |_| true)
        } else {
            (Verdict::Refused, |report| report.refused)
        };
        // The windows of a rule stand in a row.
        let mut last = None;
        for report in decision.reports.iter().filter(|report| deciding(report)) {
            if last.replace(report.rule) != Some(report.rule) {
                self.decided(report.rule, verdict);
            }
        }
    }

    pub(super) fn lost(&self) {
        self.outages.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn found(&self, after: Duration) {
        let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.lost_ms.fetch_add(millis, Ordering::Relaxed);
    }

    pub(super) fn merged(&self, units: i64) {
        self.merged
            .fetch_add(u64::try_from(units).unwrap_or(0), Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed_calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let rules = Rule::ALL.into_iter().chain(Rule::TOKEN);
        let decisions = rules.flat_map(|rule| {
            Verdict::ALL.map(|verdict| (rule, verdict, self.counter(rule, verdict).map_or(0, read)))
        });
        Totals {
            decisions: decisions.collect(),
            outages: read(&self.outages),
            lost_for: Duration::from_millis(read(&self.lost_ms)),
            merged: read(&self.merged),
            failed_calls: read(&self.failed_calls),
        }
    }

    fn counter(&self, rule: Rule, verdict: Verdict) -> Option<&AtomicU64> {
        self.rules.get(rule as usize)?.0.get(verdict as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_and_verdict_has_a_counter_of_its_own() {
        let tally = Tally::default();
        let cells: Vec<(Rule, Verdict)> = tally.totals().decisions.iter().map(|d| (d.0, d.1)).collect();
        assert_eq!(cells.len(), RULES * Verdict::ALL.len());
        for (place, (rule, verdict)) in cells.iter().enumerate() {
            for _ in 0..=place {
                tally.decided(*rule, *verdict);
            }
        }
        let counts: Vec<u64> = tally.totals().decisions.iter().map(|d| d.2).collect();
        assert_eq!(counts, (1..=cells.len() as u64).collect::<Vec<_>>());
    }
}
