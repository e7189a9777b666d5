//! Memory and the script decide alike: the same random takes and refunds on both, at the same moments, and every count,
//! remainder and reset is the same. Windows are a few milliseconds long, so that edges are met all the time (5).
//!
//! Redis cannot be told the time, so it goes first and memory is given the moment at which it answered.

use std::collections::HashMap;

use stile::rate_limit::store::memory::MemoryStore;
use stile::rate_limit::store::redis::RedisStore;
use stile::rate_limit::store::{Ask, Moment, Standing, Taken};
use stile::rate_limit::{Charge, Plan, Rule};

use crate::redis_server::RedisServer;
use crate::stand::{charge, redis_settings, rules};

const CHECKS: usize = 20_000;

/// A small generator of our own, so that a failure can be run again by its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// The windows of a random take, a few milliseconds each.
fn asks(dice: &mut Dice, next_id: &mut u64) -> Vec<Ask> {
    let rules = rules(&[
        (Rule::Login, "5/second"),
        (Rule::Refresh, "3/second;9/minute"),
        (Rule::Global, "12/second"),
        (Rule::ResetVerify, "4/second;strategy=exact"),
        (Rule::VerifyEmail, "2/second;mode=shadow"),
        (Rule::ResetConfirm, "2/second;mode=shadow;strategy=exact"),
    ]);
    let all = [
        Rule::Login,
        Rule::Refresh,
        Rule::Global,
        Rule::ResetVerify,
        Rule::VerifyEmail,
        Rule::ResetConfirm,
    ];
    let address = format!("10.0.0.{}", dice.below(3));
    let mut charges: Vec<Charge> = Vec::new();
    for rule in all {
        for _ in 0..dice.below(4).saturating_sub(1) {
            charges.push(charge(rule, &address));
        }
    }
    let mut asks = Plan::of(&charges, &rules, |n| {
        *next_id += n;
        *next_id - n
    })
    .asks;
    for ask in &mut asks {
        // Of the same length at each take, or the two would rightly differ in what a running window keeps.
        ask.period_ms = if ask.period_ms == 60_000 {
            17
        } else {
            u64::from(ask.limit) + 2
        };
    }
    asks
}

#[tokio::test]
async fn memory_and_the_script_decide_alike() {
    let redis = RedisServer::start().await;
    let link = RedisStore::new(&redis_settings(&redis.url()), "d", 7)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let memory = MemoryStore::new(1_000_000.try_into().unwrap());
    let seed = u64::from(std::process::id());
    let mut dice = Dice(seed);
    let mut next_id = 1;
    let mut base = None;
    let mut receipts: Vec<Taken> = Vec::new();
    let mut met: HashMap<&str, usize> = HashMap::new();
    for check in 0..CHECKS {
        if dice.below(60) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(dice.below(9))).await;
        }
        if dice.below(6) == 0 && !receipts.is_empty() {
            let taken = receipts.swap_remove(usize::try_from(dice.below(receipts.len() as u64)).unwrap());
            refund_on_both(&link, &memory, base.unwrap(), &taken).await;
            continue;
        }
        let asks = asks(&mut dice, &mut next_id);
        if asks.is_empty() {
            continue;
        }
        let reply = link.take(&asks.iter().collect::<Vec<_>>(), &[]).await.unwrap();
        // Whole milliseconds, so that both cut moments into milliseconds at the same places.
        let base = *base.get_or_insert(reply.redis_us / 1000 * 1000);
        let now = Moment {
            elapsed_us: u64::try_from(reply.redis_us - base).unwrap(),
            unix_us: reply.redis_us,
        };
        let answer = memory.take(now, &asks, &|_, limit| limit, Standing::Sole);

        let context = || format!("seed {seed}, check {check}\n{asks:#?}\n{reply:?}\n{answer:?}");
        assert_eq!(reply.admitted, answer.admitted, "{}", context());
        *met.entry(if answer.admitted { "admitted" } else { "refused" })
            .or_default() += 1;
        for ((ask, (count, ends)), memory) in asks.iter().zip(&reply.counts).zip(&answer.counts) {
            assert_eq!(*count, memory.count, "{}", context());
            if *ends == 0 {
                *met.entry("unopened").or_default() += 1;
                continue;
            }
            assert_eq!(*ends, memory.resets_at, "{}", context());
            if *count == ask.cost && answer.admitted {
                *met.entry("opened").or_default() += 1;
            }
            // A refund does not outlive its window; one that ends in the same moment may be cut either way.
            if answer.admitted && !ask.shadow {
                receipts.push(Taken {
                    key: ask.key.clone(),
                    cost: ask.cost,
                    id: ask.id,
                    resets_at: *ends,
                });
            }
        }
        receipts.retain(|taken| taken.key.is_exact() || taken.resets_at > reply.redis_us / 1000);
        receipts.truncate(50);
    }
    for what in ["admitted", "refused", "unopened", "opened"] {
        let times = met.get(what).copied().unwrap_or(0);
        assert!(
            times > CHECKS / 50,
            "the dice have to reach every kind of answer: {met:?}"
        );
    }
}

/// A refund has no moment of its own in its answer, so one that may fall upon an edge is not made.
async fn refund_on_both(
    link: &stile::rate_limit::store::redis::Link,
    memory: &MemoryStore,
    base: i64,
    taken: &Taken,
) {
    let given = link.refund(taken).await.unwrap();
    if given {
        let redis_us = taken.resets_at * 1000 - 1000;
        let now = Moment {
            elapsed_us: u64::try_from(redis_us - base).unwrap_or(0),
            unix_us: redis_us,
        };
        memory.refund(now, taken, false);
    }
}
