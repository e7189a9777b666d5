//! Memory and the script decide alike: the same random takes and refunds on both, at the same moments, and every count,
//! remainder and reset is the same. Windows are a few milliseconds long, so that edges are met all the time (5).
//!
//! Redis cannot be told the time, so it goes first and memory is given the moment at which it answered.

use std::collections::HashMap;

use stile::rate_limit::store::memory::MemoryStore;
use stile::rate_limit::store::redis::RedisStore;
use stile::rate_limit::store::{Ask, Moment, Standing, Taken};
use stile::rate_limit::{Charge, CounterKey, Plan, Rule};
use uuid::Uuid;

use crate::redis_server::RedisServer;
use crate::stand::{charge, redis_settings, rules};

const CHECKS: usize = 20_000;
/// Under which tokens are proven.
const VERSION: i64 = 7;

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

/// One unit of an API token: three windows under one version, the day with what may have been written down of it.
fn token_asks(dice: &mut Dice, next_id: &mut u64, redis_ms: i64) -> Vec<Ask> {
    let token = Uuid::from_u128(u128::from(dice.below(3)) + 1);
    let checkpoint = (dice.below(3) == 0).then(|| {
        let used = u32::try_from(dice.below(8)).unwrap() + 1;
        (used, redis_ms.saturating_add_unsigned(dice.below(22)))
    });
    let windows = [("minute", 4, 6), ("hour", 6, 11), ("day", 9, 23)];
    let ask = |(window, limit, period_ms): (&str, u32, u64)| {
        *next_id += 1;
        let name = format!("d:api_token:{{{token}}}:{window}");
        Ask {
            key: CounterKey::from_name("d", &name).unwrap(),
            limit,
            period_ms,
            cost: 1,
            shadow: false,
            known: checkpoint.filter(|_| window == "day"),
            version: Some(VERSION),
            id: *next_id - 1,
        }
    };
    windows.map(ask).into()
}

/// limits.md 5, with API tokens among the takes.
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
    let mut redis_ms = 0;
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
        let of_token = dice.below(3) == 0;
        let asks = if of_token {
            token_asks(&mut dice, &mut next_id, redis_ms)
        } else {
            asks(&mut dice, &mut next_id)
        };
        let Some(first) = asks.first() else { continue };
        // Now and then a token is revoked, and the next time it is asked under its new version.
        let marked = of_token && dice.below(20) == 0;
        if marked {
            let token = first.key.subject().to_string().parse().unwrap();
            let life = std::time::Duration::from_millis(1);
            link.void(token, VERSION + 1, life).await.unwrap();
        }
        let known: Vec<_> = asks.iter().map(|ask| ask.known).collect();
        let reply = link.take(&asks.iter().collect::<Vec<_>>(), &known).await.unwrap();
        redis_ms = reply.redis_us / 1000;
        if reply.void {
            // Memory knows no marks; whoever asks it has looked. Nothing was charged, as the next takes show.
            assert!(of_token && !reply.admitted);
            *met.entry("void").or_default() += 1;
            continue;
        }
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
        if of_token {
            let kind = if answer.admitted {
                "token admitted"
            } else {
                "token refused"
            };
            *met.entry(kind).or_default() += 1;
        }
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
            // Nobody gives back what a token has spent.
            if answer.admitted && !ask.shadow && !of_token {
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
    assert!(met.contains_key("void"), "{met:?}");
    for what in [
        "admitted",
        "refused",
        "unopened",
        "opened",
        "token admitted",
        "token refused",
    ] {
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
