//! From charges to windows, and from what a store says of them back to a decision.

use std::time::Duration;

use super::charge::Charge;
use super::decision::{Decision, Outcome, Receipt, RuleReport};
use super::key::CounterKey;
use super::limit::Mode;
use super::rule::{Rule, Rules};
use super::store::{Answer, Ask, Moment, Taken};
use super::tally::{Tally, Verdict};
use crate::clock::Timestamp;

/// The windows of one take.
#[derive(Debug)]
pub struct Plan {
    /// One for each counter; equal charges are one ask of a higher cost.
    pub asks: Vec<Ask>,
    /// Enforced rules that refuse everything.
    denying: Vec<Rule>,
}

impl Plan {
    /// Lays out `charges` under `rules`. `next_ids(n)` names `n` units.
    pub fn of(charges: &[Charge], rules: &Rules, mut next_ids: impl FnMut(u64) -> u64) -> Self {
        let mut plan = Self {
            asks: Vec::with_capacity(charges.len()),
            denying: Vec::new(),
        };
        for charge in charges {
            let limit = rules.get(charge.rule);
            if limit.is_deny() {
                plan.denying.push(charge.rule);
            }
            for (place, window) in limit.windows().iter().enumerate() {
                let key = CounterKey::of(charge, place, *window, limit.strategy());
                if let Some(same) = plan.asks.iter_mut().find(|ask| ask.key == key) {
                    same.cost = same.cost.saturating_add(1);
                    continue;
                }
                plan.asks.push(Ask {
                    key,
                    limit: window.count(),
                    period_ms: u64::from(window.seconds()) * 1000,
                    cost: 1,
                    shadow: limit.mode() == Mode::Shadow,
                    known: None,
                    version: None,
                    id: 0,
                });
            }
        }
        for ask in &mut plan.asks {
            ask.id = next_ids(u64::from(ask.cost));
        }
        plan
    }

    /// The refusal of a rule that refuses everything, which needs no store.
    #[must_use]
    pub fn denied(&self, now: Moment) -> Option<Decision> {
        let denied = |rule: &Rule| {
            let window = Duration::from_secs(u64::from(rule.default_seconds()));
            RuleReport {
                rule: *rule,
                limit: 0,
                remaining: 0,
                window,
                resets_at: Timestamp::from_millis(now.unix_ms()).plus(window),
                reset_after: window,
                refused: true,
            }
        };
        let reports: Vec<RuleReport> = self.denying.iter().map(denied).collect();
        let last = reports.iter().max_by_key(|report| report.resets_at)?.rule;
        Some(Decision {
            outcome: Outcome::Refused { rule: last },
            reports,
        })
    }

    /// What `answer` means for the request. Logs and counts shadow rules that would have refused it.
    pub fn decision(&self, answer: &Answer, tally: &Tally) -> Decision {
        let mut reports = Vec::with_capacity(self.asks.len());
        let mut taken = Vec::new();
        // Shadow rules, and whether one of their windows is full.
        let mut watched: Vec<(Rule, bool)> = Vec::new();
        for (ask, count) in self.asks.iter().zip(&answer.counts) {
            let rule = ask.key.rule();
            if ask.shadow {
                match watched.last_mut() {
                    Some((same, over)) if *same == rule => *over |= count.over,
                    _ => watched.push((rule, count.over)),
                }
                if count.over {
                    tracing::info!(
                        event = "rate_limited",
                        outcome = "shadow",
                        limit = rule.name(),
                        subject = %ask.key.subject(),
                        count = count.count,
                        "a shadow limit would have refused a request"
                    );
                }
            } else {
                reports.push(RuleReport {
                    rule,
                    limit: u64::from(ask.limit),
                    remaining: u64::from(count.remaining),
                    window: Duration::from_millis(ask.period_ms),
                    resets_at: Timestamp::from_millis(count.resets_at),
                    reset_after: Duration::from_millis(count.reset_after_ms),
                    refused: count.over && !answer.admitted,
                });
            }
            if answer.admitted {
                let key = ask.key.clone();
                taken.push(Taken {
                    key,
                    cost: ask.cost,
                    id: ask.id,
                    resets_at: count.resets_at,
                });
            }
        }
        for (rule, over) in watched {
            if over {
                tally.decided(rule, Verdict::Shadowed);
            } else if answer.admitted {
                tally.decided(rule, Verdict::Admitted);
            }
        }
        Decision::of(reports, Receipt(taken))
    }
}
