//! What the limiter answers: admitted or refused, with a report on each window that was asked.

use std::time::Duration;

use super::rule::Rule;
use super::store::Taken;
use crate::clock::Timestamp;

/// The answer to one take.
#[derive(Debug)]
pub struct Decision {
    /// Whether the request may go on.
    pub outcome: Outcome,
    /// One report for each enforced rule and window that was asked, in the order of the charges. Shadow rules and
    /// rules that are off are not among them.
    pub reports: Vec<RuleReport>,
}

/// Whether a request may go on.
#[derive(Debug)]
pub enum Outcome {
    /// It may, and everything asked was charged. The receipt gives it back ([`super::Limiter::refund`]).
    Admitted(Receipt),
    /// It may not, and nothing was charged.
    Refused {
        /// The refusing rule that resets last.
        rule: Rule,
    },
}

/// What one rule and window say after a take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RuleReport {
    /// The rule.
    pub rule: Rule,
    /// Requests in a window; 0 under `deny`.
    pub limit: u64,
    /// Requests left in this one.
    pub remaining: u64,
    /// Length of a window.
    pub window: Duration,
    /// When the window ends: the same through a window. Under `strategy=exact`, when the next request is freed.
    pub resets_at: Timestamp,
    /// Time left until then.
    pub reset_after: Duration,
    /// Whether this window is why the request was refused.
    pub refused: bool,
}

/// Proof of one admitted take, to give it back once. It cannot be copied.
#[derive(Debug, Default)]
#[must_use = "a charge that is to stay is kept by dropping the receipt on purpose"]
pub struct Receipt(pub(super) Vec<Taken>);

impl RuleReport {
    /// Whole seconds until the reset, rounded up, at least 1: a client that waits as long finds a fresh window.
    #[must_use]
    pub fn reset_after_seconds(&self) -> u64 {
        let millis = u64::try_from(self.reset_after.as_millis()).unwrap_or(u64::MAX);
        millis.div_ceil(1000).max(1)
    }
}

impl Decision {
    /// Refused where any of the reports is a refusal, else admitted, with what was charged.
    pub(super) fn of(reports: Vec<RuleReport>, receipt: Receipt) -> Self {
        let outcome = match refusing(&reports) {
            Some(report) => Outcome::Refused { rule: report.rule },
            None => Outcome::Admitted(receipt),
        };
        Self { outcome, reports }
    }

    /// Nothing was asked, so nothing speaks against it.
    #[must_use]
    pub(super) fn free() -> Self {
        Self {
            outcome: Outcome::Admitted(Receipt::default()),
            reports: Vec::new(),
        }
    }

    /// Whether the request may go on.
    #[must_use]
    pub fn is_admitted(&self) -> bool {
        matches!(self.outcome, Outcome::Admitted(_))
    }

    /// The window with the least left; of several, the one that resets last.
    #[must_use]
    pub fn tightest(&self) -> Option<&RuleReport> {
        self.reports
            .iter()
            .min_by_key(|report| (report.remaining, std::cmp::Reverse(report.resets_at)))
    }

    /// On a refusal, the refusing window that resets last.
    #[must_use]
    pub fn refusal(&self) -> Option<&RuleReport> {
        refusing(&self.reports)
    }

    /// `Retry-After`: whole seconds until the refusing window that resets last does so, rounded up; at least 1.
    #[must_use]
    pub fn retry_after_seconds(&self) -> u64 {
        self.refusal().map_or(1, RuleReport::reset_after_seconds)
    }
}

fn refusing(reports: &[RuleReport]) -> Option<&RuleReport> {
    reports
        .iter()
        .filter(|report| report.refused)
        .max_by_key(|report| report.resets_at)
}
