//! What stands in Redis, and what happens when somebody else has touched it.

use std::time::Duration;

use stile::clock::Clock;
use stile::rate_limit::{Charge, Limiter, Rule, StoreState};

use crate::redis_server::RedisServer;
use crate::stand::{admitted, charge, eventually, limiter_on, remaining, settings_at};

async fn millis(redis: &RedisServer, command: &str, key: &str) -> i64 {
    redis.command(&[command, key]).await.parse().unwrap()
}

/// The contract, section 4: `redis-cli GET` and `TTL` tell the truth.
#[tokio::test]
async fn counters_are_plain_integers_with_a_ttl_under_the_keys_of_the_contract() {
    let redis = RedisServer::start().await;
    let limits = [
        (Rule::Login, "5/minute;100/hour"),
        (Rule::Refresh, "5/minute;strategy=exact"),
        (Rule::Global, "60/minute"),
        (Rule::LoginAccount, "50/hour"),
        (Rule::MailAccount, "5/hour"),
    ];
    let limiter = limiter_on(&redis, &limits).await;
    let account = |rule| Charge::account(rule, "ab12".to_owned());
    let charges = [
        charge(Rule::Global, "2001:db8:1:2::1"),
        charge(Rule::Login, "127.0.0.1"),
        charge(Rule::Refresh, "127.0.0.1"),
        account(Rule::LoginAccount),
        account(Rule::MailAccount),
    ];
    assert_eq!(admitted(&limiter, &charges, 3).await, 3);
    for (key, seconds) in [
        ("rate_limit:ip:2001:db8:1:2::/64", 60),
        ("rate_limit:login:ip:127.0.0.1", 60),
        ("rate_limit:login:ip:127.0.0.1:3600", 3600),
        ("rate_limit:login:account:ab12", 3600),
        ("rate_limit:mail:account:ab12", 3600),
    ] {
        assert_eq!(redis.command(&["GET", key]).await, "3", "{key}");
        let ttl = millis(&redis, "TTL", key).await;
        assert!((seconds - 5..=seconds).contains(&ttl), "{key}: {ttl}");
    }
    assert_eq!(
        redis
            .command(&["ZCARD", "rate_limit:refresh:ip:127.0.0.1:exact"])
            .await,
        "3"
    );
    for key in redis.command(&["KEYS", "*"]).await.lines() {
        assert!(millis(&redis, "PTTL", key).await > 0, "{key} has no TTL");
    }
}

#[tokio::test]
async fn the_reset_that_is_told_is_the_one_in_redis() {
    let redis = RedisServer::start().await;
    let limiter = limiter_on(&redis, &[(Rule::Login, "3/minute")]).await;
    let charges = [charge(Rule::Login, "127.0.0.1")];
    let mut resets = Vec::new();
    for _ in 0..50 {
        resets.push(limiter.take(&charges).await.reports[0].resets_at.as_millis());
    }
    resets.dedup();
    assert_eq!(
        resets,
        [millis(&redis, "PEXPIRETIME", "rate_limit:login:ip:127.0.0.1").await]
    );
}

/// All rules of one take are one call; a client who is known to be over costs none.
#[tokio::test]
async fn a_take_is_one_round_trip_and_a_known_refusal_none() {
    let redis = RedisServer::start().await;
    let limiter = limiter_on(
        &redis,
        &[(Rule::Login, "5/minute;7/hour"), (Rule::Global, "60/minute")],
    )
    .await;
    let calls = async || -> u64 {
        let stats = redis.command(&["INFO", "commandstats"]).await;
        let line = stats
            .lines()
            .find(|line| line.starts_with("cmdstat_evalsha:"))
            .unwrap_or("calls=0,");
        line.split("calls=")
            .nth(1)
            .unwrap()
            .split(',')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    // The process says that it is alive once a second by a script, too.
    let before = calls().await;
    let charges = [charge(Rule::Global, "10.0.0.1"), charge(Rule::Login, "10.0.0.1")];
    assert_eq!(admitted(&limiter, &charges, 5).await, 5);
    let after = calls().await;
    assert!((5..=7).contains(&(after - before)), "{}", after - before);
    assert_eq!(admitted(&limiter, &charges, 500).await, 0);
    let refused = calls().await - after;
    assert!(refused <= 3, "{refused} calls for 500 refusals");
}

/// 31.
#[tokio::test]
async fn a_counter_without_a_ttl_is_healed_at_its_next_use() {
    let redis = RedisServer::start().await;
    let limiter = limiter_on(
        &redis,
        &[
            (Rule::Login, "2/second"),
            (Rule::Refresh, "2/second;strategy=exact"),
        ],
    )
    .await;
    for (rule, key) in [
        (Rule::Login, "rate_limit:login:ip:10.0.0.1"),
        (Rule::Refresh, "rate_limit:refresh:ip:10.0.0.1:exact"),
    ] {
        let charges = [charge(rule, "10.0.0.1")];
        assert_eq!(admitted(&limiter, &charges, 1).await, 1);
        redis.command(&["PERSIST", key]).await;
        assert_eq!(redis.command(&["PTTL", key]).await, "-1");
        let _ = limiter.take(&charges).await;
        let ttl = millis(&redis, "PTTL", key).await;
        assert!((1..=1000).contains(&ttl), "{key}: {ttl}");
        eventually(|| async { limiter.take(&charges).await.is_admitted() }).await;
    }
}

/// Takes of one moment go to Redis in one call; each is decided by itself all the same.
#[tokio::test]
async fn takes_of_one_moment_do_not_meddle_with_each_other() {
    let redis = RedisServer::start().await;
    let limits = [
        (Rule::Global, "7/minute"),
        (Rule::Login, "3/minute;strategy=exact"),
    ];
    let limiter = limiter_on(&redis, &limits).await;
    redis.command(&["SET", "rate_limit:ip:10.0.9.0", "rubbish"]).await;
    redis.command(&["RPUSH", "rate_limit:ip:10.0.9.1", "a"]).await;
    redis
        .command(&["RPUSH", "rate_limit:login:ip:10.0.9.2:exact", "a"])
        .await;
    let take = async |turn: u32| {
        let address = format!("10.0.9.{}", turn % 20);
        let charges = [charge(Rule::Global, &address), charge(Rule::Login, &address)];
        // Every third asks for one window alone.
        let charges = &charges[..if turn.is_multiple_of(3) { 1 } else { 2 }];
        (turn % 20, limiter.take(charges).await.is_admitted())
    };
    let decided = futures_util::future::join_all((0..600).map(take)).await;
    for client in 3..20 {
        let passed = decided
            .iter()
            .filter(|(of, admitted)| *of == client && *admitted)
            .count();
        assert_eq!(passed, 7, "10.0.9.{client}");
        let key = format!("rate_limit:ip:10.0.9.{client}");
        assert_eq!(redis.command(&["GET", &key]).await, "7");
        let exact = redis
            .command(&["ZCARD", &format!("rate_limit:login:ip:10.0.9.{client}:exact")])
            .await;
        assert_eq!(exact, "3", "10.0.9.{client}");
    }
    assert_eq!(limiter.state(), StoreState::Redis);
    assert_eq!(redis.command(&["GET", "rate_limit:ip:10.0.9.0"]).await, "rubbish");
    let of_the_broken = decided
        .iter()
        .filter(|(of, admitted)| *of == 0 && *admitted)
        .count();
    assert_eq!(of_the_broken, 7, "counted in memory");
}

/// 32.
#[tokio::test]
async fn a_key_of_another_kind_fails_that_call_alone_and_is_counted_in_memory() {
    let redis = RedisServer::start().await;
    let limiter = limiter_on(
        &redis,
        &[
            (Rule::Login, "3/minute"),
            (Rule::Refresh, "3/minute;strategy=exact"),
        ],
    )
    .await;
    redis
        .command(&["SET", "rate_limit:login:ip:10.0.0.1", "text", "EX", "60"])
        .await;
    redis
        .command(&["RPUSH", "rate_limit:login:ip:10.0.0.2", "a", "b"])
        .await;
    redis
        .command(&["SET", "rate_limit:refresh:ip:10.0.0.1:exact", "1"])
        .await;
    redis
        .command(&["SET", "rate_limit:login:ip:10.0.0.4", "1.5", "EX", "60"])
        .await;
    for charges in [
        [charge(Rule::Login, "10.0.0.1")],
        [charge(Rule::Login, "10.0.0.2")],
        [charge(Rule::Refresh, "10.0.0.1")],
        [charge(Rule::Login, "10.0.0.4")],
    ] {
        assert_eq!(admitted(&limiter, &charges, 10).await, 3, "{charges:?}");
        assert_eq!(
            limiter.state(),
            stile::rate_limit::StoreState::Redis,
            "the server is well"
        );
    }
    assert_eq!(
        redis.command(&["GET", "rate_limit:login:ip:10.0.0.1"]).await,
        "text",
        "nothing is overwritten"
    );
    assert_eq!(
        admitted(&limiter, &[charge(Rule::Login, "10.0.0.3")], 10).await,
        3
    );
}

/// A foreign `DECR` may leave less than nothing.
#[tokio::test]
async fn a_negative_count_is_taken_for_zero() {
    let redis = RedisServer::start().await;
    let limiter = limiter_on(&redis, &[(Rule::Login, "3/minute")]).await;
    redis
        .command(&["SET", "rate_limit:login:ip:10.0.0.1", "-100", "EX", "60"])
        .await;
    assert_eq!(
        admitted(&limiter, &[charge(Rule::Login, "10.0.0.1")], 10).await,
        3
    );
}

/// 10, 11, and "changing a limit keeps the count".
#[tokio::test]
async fn a_restarted_process_goes_on_from_the_count_and_keeps_the_running_window() {
    let redis = RedisServer::start().await;
    let charges = [charge(Rule::Login, "10.0.0.1")];
    let limiter = limiter_on(&redis, &[(Rule::Login, "5/3 seconds")]).await;
    assert_eq!(admitted(&limiter, &charges, 4).await, 4);
    let end = limiter.take(&charges).await.reports[0].resets_at;
    limiter.shutdown().await;
    drop(limiter);

    // The very first request after the start has to see the count.
    let limiter = Limiter::start(
        settings_at(&redis.url(), &[(Rule::Login, "5/hour")]),
        Clock::system(),
    )
    .unwrap();
    let refused = limiter.take(&charges).await;
    assert!(!refused.is_admitted());
    assert_eq!(refused.reports[0].resets_at, end);

    let limiter = Limiter::start(
        settings_at(&redis.url(), &[(Rule::Login, "7/hour")]),
        Clock::system(),
    )
    .unwrap();
    let decision = limiter.take(&charges).await;
    assert_eq!(remaining(&decision), [1]);
    assert_eq!(decision.reports[0].resets_at, end);

    tokio::time::sleep(decision.reports[0].reset_after + Duration::from_millis(5)).await;
    let decision = limiter.take(&charges).await;
    assert_eq!(remaining(&decision), [6]);
    assert!(
        decision.reports[0].reset_after > Duration::from_mins(59),
        "the next window has the new length"
    );
}

/// 9: two processes on one Redis.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_on_one_redis_admit_exactly_the_limit_together() {
    let redis = RedisServer::start().await;
    let limits = [
        (Rule::Login, "100/minute"),
        (Rule::Refresh, "100/minute;strategy=exact"),
    ];
    let limiters = [
        limiter_on(&redis, &limits).await,
        limiter_on(&redis, &limits).await,
    ];
    for rule in [Rule::Login, Rule::Refresh] {
        for round in 0..10 {
            let tasks = (0..8).map(|task| {
                let limiter = limiters[task % 2].clone();
                let charges = [charge(rule, &format!("10.0.0.{round}"))];
                tokio::spawn(async move { admitted(&limiter, &charges, 50).await })
            });
            let admitted: Vec<usize> = futures_util::future::try_join_all(tasks).await.unwrap();
            assert_eq!(admitted.iter().sum::<usize>(), 100, "{rule:?}, round {round}");
        }
    }
}

/// What has just been learnt of Redis at a start is no news for it.
#[tokio::test]
async fn what_an_operator_sets_right_after_a_start_stays() {
    let redis = RedisServer::start().await;
    for address in ["127.0.0.1", "127.0.0.2", "127.0.0.3"] {
        let limiter = limiter_on(&redis, &[(Rule::Login, "5/minute")]).await;
        let charges = [charge(Rule::Login, address)];
        assert_eq!(admitted(&limiter, &charges, 3).await, 3);
        let key = format!("rate_limit:login:ip:{address}");
        redis.command(&["SET", &key, "0", "KEEPTTL"]).await;
        // Longer than the pauses before a process tells Redis anything at its start.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(redis.command(&["GET", &key]).await, "0");
        assert_eq!(admitted(&limiter, &charges, 6).await, 5);
        limiter.shutdown().await;
    }
}

/// A script that Redis has forgotten is sent once in full.
#[tokio::test]
async fn forgotten_scripts_are_sent_again() {
    let redis = RedisServer::start().await;
    let limiter = limiter_on(&redis, &[(Rule::Login, "5/minute")]).await;
    let charges = [charge(Rule::Login, "10.0.0.1")];
    for left in [4, 3, 2] {
        redis.command(&["SCRIPT", "FLUSH"]).await;
        assert_eq!(remaining(&limiter.take(&charges).await), [left]);
    }
    assert_eq!(redis.command(&["GET", "rate_limit:login:ip:10.0.0.1"]).await, "3");
}

/// 33, 34: where a refund lands in Redis, and where it leaves no trace.
#[tokio::test]
async fn a_refund_makes_no_key_and_goes_to_no_other_window() {
    let redis = RedisServer::start().await;
    let limiter = limiter_on(&redis, &[(Rule::LoginAccount, "5/second")]).await;
    let charges = [Charge::account(Rule::LoginAccount, "ab12".to_owned())];
    let key = "rate_limit:login:account:ab12";
    let take = async || match limiter.take(&charges).await.outcome {
        stile::rate_limit::Outcome::Admitted(receipt) => receipt,
        stile::rate_limit::Outcome::Refused { .. } => panic!("refused"),
    };
    let (first, second, third) = (take().await, take().await, take().await);
    limiter.refund(first).await;
    assert_eq!(redis.command(&["GET", key]).await, "2");
    assert!(millis(&redis, "PTTL", key).await > 0);
    tokio::time::sleep(Duration::from_millis(1010)).await;
    limiter.refund(second).await;
    assert_eq!(redis.command(&["EXISTS", key]).await, "0");
    drop(take().await);
    limiter.refund(third).await;
    assert_eq!(redis.command(&["GET", key]).await, "1");
}

/// An operator who looks at a cleared counter sees 0 and the old end; the other process sees it within the second.
#[tokio::test]
async fn a_cleared_counter_is_free_in_every_process() {
    let redis = RedisServer::start().await;
    let limits = [(Rule::LoginAccount, "2/minute")];
    let (one, other) = (
        limiter_on(&redis, &limits).await,
        limiter_on(&redis, &limits).await,
    );
    let charges = [Charge::account(Rule::LoginAccount, "ab12".to_owned())];
    assert_eq!(
        admitted(&one, &charges, 3).await + admitted(&other, &charges, 3).await,
        2
    );
    one.clear(&charges).await;
    assert_eq!(
        redis.command(&["GET", "rate_limit:login:account:ab12"]).await,
        "0"
    );
    assert!(millis(&redis, "TTL", "rate_limit:login:account:ab12").await > 50);
    assert_eq!(admitted(&one, &charges, 1).await, 1);
    eventually(|| async { other.take(&charges).await.is_admitted() }).await;
    assert_eq!(
        admitted(&one, &charges, 3).await + admitted(&other, &charges, 3).await,
        0
    );
}

/// A shadow rule counts beyond its limit, and its set does not grow for ever.
#[tokio::test]
async fn a_shadow_rule_shows_in_redis_how_far_over_it_is() {
    let redis = RedisServer::start().await;
    let limits = [
        (Rule::Login, "2/minute;mode=shadow"),
        (Rule::Refresh, "2/minute;mode=shadow;strategy=exact"),
    ];
    let limiter = limiter_on(&redis, &limits).await;
    let charges = [charge(Rule::Login, "10.0.0.1"), charge(Rule::Refresh, "10.0.0.1")];
    assert_eq!(admitted(&limiter, &charges, 7).await, 7);
    assert_eq!(redis.command(&["GET", "rate_limit:login:ip:10.0.0.1"]).await, "7");
    assert_eq!(
        redis
            .command(&["ZCARD", "rate_limit:refresh:ip:10.0.0.1:exact"])
            .await,
        "7"
    );
}
