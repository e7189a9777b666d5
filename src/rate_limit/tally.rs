//! What the limiter did since the process started, in plain counters that only grow. Whoever shows them asks for
//! [`Totals`]; nothing here decides anything.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::decision::{Decision, RuleReport};
use super::rule::Rule;

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

    /// `admitted`, `refused` or `shadowed`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Refused => "refused",
            Self::Shadowed => "shadowed",
        }
    }
}

/// Bounds of the waits for Redis that are told apart. The last is the longest command timeout that makes sense; what
/// took longer still is counted in the sum and the count alone.
pub const WAIT_BOUNDS: [Duration; 12] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_secs(1),
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
    /// How long checks waited for Redis.
    pub waits: Waits,
}

/// A histogram of waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waits {
    /// How many took at most so long, the next shorter ones included: one for each of [`WAIT_BOUNDS`].
    pub within: [u64; WAIT_BOUNDS.len()],
    /// How many there were.
    pub count: u64,
    /// How long all took together.
    pub sum: Duration,
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
    waits: [AtomicU64; WAIT_BOUNDS.len() + 1],
    waited_us: AtomicU64,
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

    pub(super) fn waited(&self, span: Duration) {
        let place = WAIT_BOUNDS.partition_point(|bound| *bound < span);
        if let Some(counter) = self.waits.get(place) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.waited_us.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let rules = Rule::ALL.into_iter().chain(Rule::TOKEN);
        let decisions = rules.flat_map(|rule| {
            Verdict::ALL.map(|verdict| (rule, verdict, self.counter(rule, verdict).map_or(0, read)))
        });
        let mut count = 0;
        let waits = self.waits.each_ref().map(|counter| {
            count += read(counter);
            count
        });
        let mut within = [0; WAIT_BOUNDS.len()];
        for (to, from) in within.iter_mut().zip(waits) {
            *to = from;
        }
        Totals {
            decisions: decisions.collect(),
            outages: read(&self.outages),
            lost_for: Duration::from_millis(read(&self.lost_ms)),
            merged: read(&self.merged),
            failed_calls: read(&self.failed_calls),
            waits: Waits {
                within,
                count,
                sum: Duration::from_micros(read(&self.waited_us)),
            },
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

    #[test]
    fn a_wait_is_counted_in_every_bound_that_it_is_within() {
        let tally = Tally::default();
        for micros in [100, 101, 2_000_000] {
            tally.waited(Duration::from_micros(micros));
        }
        let waits = tally.totals().waits;
        assert_eq!(waits.within[..3], [1, 2, 2]);
        assert_eq!(waits.within.last(), Some(&2));
        assert_eq!((waits.count, waits.sum.as_micros()), (3, 2_000_201));
    }
}
