//! Memory is bounded, and a flood costs nobody his refusal.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;

use stile::clock::{Clock, Timestamp};
use stile::rate_limit::store::memory::MemoryStore;
use stile::rate_limit::store::{Moment, Standing};
use stile::rate_limit::{Charge, Client, Limiter, Plan, Rule, Settings};

use crate::stand::{admitted, charge, rules, settings};

fn small(memory_keys: usize, limits: &[(Rule, &str)]) -> (Limiter, Clock) {
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
    let settings = Settings {
        memory_keys: NonZeroUsize::new(memory_keys).unwrap(),
        ..settings(limits)
    };
    (Limiter::start(settings, clock.clone()).unwrap(), clock)
}

fn stranger(number: u128, rule: Rule) -> [Charge; 1] {
    let address = IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | number << 64));
    [Charge::client(rule, Client::of(address, 64))]
}

/// 45, with fewer clients; the ten million are below.
#[tokio::test]
async fn a_flood_of_strangers_stays_under_the_cap_and_evicts_nobody_who_is_over_his_limit() {
    let (limiter, _clock) = small(10_000, &[(Rule::Login, "3/minute")]);
    for last in 0..200 {
        let charges = [charge(Rule::Login, &format!("10.0.0.{last}"))];
        assert_eq!(admitted(&limiter, &charges, 4).await, 3);
    }
    for number in 0..200_000 {
        assert!(limiter.take(&stranger(number, Rule::Login)).await.is_admitted());
        if number % 10_000 == 0 {
            assert!(limiter.counters_in_memory() <= 10_000);
        }
    }
    for last in 0..200 {
        let charges = [charge(Rule::Login, &format!("10.0.0.{last}"))];
        assert_eq!(admitted(&limiter, &charges, 4).await, 0, "10.0.0.{last}");
    }
}

/// A client who has used most of his limit is worth more than one who has just come.
#[tokio::test]
async fn the_least_used_are_forgotten_first() {
    let (limiter, _clock) = small(100, &[(Rule::Login, "5/minute")]);
    let half_used = [charge(Rule::Login, "10.0.0.1")];
    assert_eq!(admitted(&limiter, &half_used, 4).await, 4);
    for number in 0..1_000 {
        assert!(limiter.take(&stranger(number, Rule::Login)).await.is_admitted());
    }
    assert_eq!(admitted(&limiter, &half_used, 4).await, 1);
}

/// Where all are over their limit nothing may be forgotten: newcomers then count together, rather than not at all.
#[tokio::test]
async fn where_nothing_may_be_forgotten_newcomers_share_one_count() {
    let (limiter, clock) = small(100, &[(Rule::Login, "3/minute"), (Rule::Refresh, "2/minute")]);
    for number in 0..100 {
        assert_eq!(admitted(&limiter, &stranger(number, Rule::Login), 4).await, 3);
    }
    let mut newcomers = 0;
    for number in 100..1_000 {
        newcomers += admitted(&limiter, &stranger(number, Rule::Login), 1).await;
    }
    assert_eq!(newcomers, 3);
    assert_eq!(admitted(&limiter, &stranger(7, Rule::Login), 1).await, 0);
    assert!(limiter.counters_in_memory() <= 102);
    clock.advance(std::time::Duration::from_mins(1));
    assert_eq!(
        admitted(&limiter, &stranger(2_000, Rule::Login), 4).await,
        3,
        "a minute later there is room"
    );
}

/// `exact` remembers single requests, so such a counter counts for more than one.
#[tokio::test]
async fn exact_counters_are_bounded_by_what_they_hold() {
    let (limiter, _clock) = small(1_000, &[(Rule::Login, "1000/minute;strategy=exact")]);
    for number in 0..50 {
        admitted(&limiter, &stranger(number, Rule::Login), 900).await;
    }
    assert!(
        limiter.counters_in_memory() < 20,
        "{}",
        limiter.counters_in_memory()
    );
}

/// 46, without a clock: however many clients there are, one step of the sweep holds the lock of one shard, and a shard
/// is never more than what is looked through in some ten microseconds (`cargo bench --bench limiter` prints it).
#[test]
fn a_sweep_holds_a_request_for_one_small_shard_at_most() {
    const MOST_IN_A_SHARD: usize = 900;
    let keys = 200_000;
    let store = MemoryStore::new(NonZeroUsize::new(keys).unwrap());
    let rules = rules(&[(Rule::Login, "3/minute")]);
    let at = |millis: u64| Moment {
        elapsed_us: millis * 1000,
        unix_us: 0,
    };
    for number in 0..300_000 {
        let plan = Plan::of(&stranger(number, Rule::Login), &rules, |_| 1);
        let _ = store.take(at(0), &plan.asks, &|_, limit| limit, Standing::Sole);
    }
    let shards = store.shard_count();
    let held = |shard| store.read(at(0), shard, |_| true).len();
    let mut left: usize = (0..shards).map(held).sum();
    assert!(left > keys / 2 && left <= keys, "{left}");
    for shard in 0..shards {
        let step = held(shard);
        assert!(step <= MOST_IN_A_SHARD, "{step} counters under one lock");
        store.sweep(at(60_000), shard);
        left -= step;
        assert_eq!(
            store.len(),
            left,
            "one step sweeps one shard, all of it, and no other"
        );
    }
    assert!(store.is_empty());
}

/// 45 and the bytes of issue 3. Long: `cargo test --release --test limits -- --ignored`.
#[tokio::test]
#[ignore = "ten million clients; run with --release"]
async fn ten_million_clients_stay_under_the_cap_and_two_hundred_bytes_each() {
    let resident = || -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    let before = resident();
    let (limiter, _clock) = small(200_000, &[(Rule::Login, "3/hour")]);
    for last in 0..200 {
        let charges = [charge(Rule::Login, &format!("10.0.0.{last}"))];
        assert_eq!(admitted(&limiter, &charges, 4).await, 3);
    }
    let mut most = 0;
    for number in 0..10_000_000 {
        let _ = limiter.take(&stranger(number, Rule::Login)).await;
        if number % 100_000 == 0 {
            most = most.max(resident() - before);
        }
    }
    assert!(limiter.counters_in_memory() <= 200_000);
    assert!(
        most / 200_000 <= 200,
        "{} bytes for each of 200,000 clients",
        most / 200_000
    );
    for last in 0..200 {
        let charges = [charge(Rule::Login, &format!("10.0.0.{last}"))];
        assert_eq!(admitted(&limiter, &charges, 1).await, 0);
    }
}
