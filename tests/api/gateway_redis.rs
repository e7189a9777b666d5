//! The gateway check in several processes that share a Redis, and across losing it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use stile::accounts::OwnerChange;

use crate::api_tokens::{Owner, id};
use crate::app::{Answer, Builder, Engine, TestApp};
use crate::redis_server::RedisServer;

const VERIFY: &str = "/api-gateway/verify";

fn on(redis: &RedisServer) -> Builder {
    let builder = TestApp::on(Engine::Sqlite)
        .limited()
        .set("REDIS_URL", redis.url());
    builder
        .set("JWT_ISSUER", "stile")
        .set("REDIS_COMMAND_TIMEOUT_MS", "2000")
}

async fn verify_at(app: &TestApp, address: SocketAddr, token: &Value) -> Answer {
    app.get(VERIFY).bearer(token).at(address).await
}

async fn wait_for(app: &TestApp, address: SocketAddr, state: &str) {
    for _ in 0..400 {
        if app.get("//health").at(address).await.body["rate_limiter"] == state {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the limiter never said {state}");
}

/// Two instances on one Redis, a signed-in user, and a token.
macro_rules! two_instances {
    ($redis:ident, $app:ident, $other:ident, $owner:ident) => {
        let $redis = RedisServer::start().await;
        let $app = on(&$redis).start().await;
        let $other = $app.second_instance().await;
        wait_for(&$app, $app.address, "redis").await;
        wait_for(&$app, $other, "redis").await;
        let $owner = Owner::sign_up(&$app, "ada@example.com").await;
    };
}

/// TOK-05: the whole count is 20 rounds (`scripts/test --long`).
#[tokio::test(flavor = "multi_thread")]
async fn of_many_calls_at_once_over_two_processes_exactly_the_quota_passes() {
    two_instances!(redis, app, other, owner);
    let rounds = if std::env::var_os("STILE_TEST_LONG").is_some() {
        20
    } else {
        3
    };
    for round in 0..rounds {
        let quota = json!({"name": "x", "rate_limit_per_minute": 50, "rate_limit_per_hour": 100, "rate_limit_per_day": 100});
        let made = owner.create(quota).await.expect(201).body;
        let call = |n: usize| {
            let address = if n.is_multiple_of(2) { app.address } else { other };
            app.get(VERIFY).bearer(&made["token"]).at(address).send()
        };
        let answers = futures_util::future::join_all((0..200).map(call)).await;
        let passed = answers.iter().filter(|answer| answer.status == 204).count();
        let refused = answers.iter().filter(|answer| answer.status == 429).count();
        assert_eq!((passed, refused), (50, 150), "round {round}");
        let key = |window| format!("rate_limit:api_token:{{{}}}:{window}", id(&made));
        for (window, seconds) in [("minute", 60), ("hour", 3_600), ("day", 86_400)] {
            assert_eq!(redis.command(&["GET", &key(window)]).await, "50");
            let ttl: i64 = redis.command(&["TTL", &key(window)]).await.parse().unwrap();
            assert!((seconds - 50..=seconds).contains(&ttl), "{window}: {ttl}");
        }
    }
}

/// TOK-08: at the next check in every process, whatever else would have been answered.
#[tokio::test]
async fn what_ends_a_token_ends_it_at_once_in_every_process() {
    two_instances!(redis, app, other, owner);
    let made = owner
        .create(json!({"name": "x", "rate_limit_per_minute": 4}))
        .await
        .expect(201)
        .body;
    for address in [app.address, other, other] {
        verify_at(&app, address, &made["token"]).await.expect(204);
    }
    let path = format!("/api-tokens/{}/rotate", id(&made));
    let rotated = owner.ask(reqwest::Method::POST, &path).await.expect(201).body;
    verify_at(&app, other, &made["token"])
        .await
        .expect_problem(401, "token_invalid");
    verify_at(&app, other, &rotated["token"]).await.expect(204);
    verify_at(&app, app.address, &rotated["token"]).await.expect(429);
    verify_at(&app, other, &rotated["token"]).await.expect(429);
    owner
        .patch(id(&made), json!({"rate_limit_per_minute": 5}))
        .await
        .expect(200);
    verify_at(&app, other, &rotated["token"]).await.expect(204);
    verify_at(&app, other, &rotated["token"]).await.expect(429);
    owner.revoke(id(&made)).await.expect(204);
    verify_at(&app, other, &rotated["token"])
        .await
        .expect_problem(401, "token_invalid");
    verify_at(&app, app.address, &rotated["token"]).await.expect(401);

    let second = owner.create(json!({"name": "y"})).await.expect(201).body;
    verify_at(&app, other, &second["token"]).await.expect(204);
    let delete = app.delete("/auth/me").bearer(&owner.access);
    delete
        .json(&json!({"password": crate::app::PASSWORD}))
        .await
        .expect(204);
    verify_at(&app, other, &second["token"]).await.expect(401);
    // No key stays for ever.
    for key in redis.command(&["KEYS", "*"]).await.lines() {
        assert_ne!(redis.command(&["TTL", key]).await, "-1", "{key}");
    }
}

/// TOK-08, GW-06: who may not log in has no programs that may; with him his tokens come back, the same as before.
#[tokio::test]
async fn a_deactivated_owners_tokens_stop_at_once_in_every_process() {
    two_instances!(redis, app, other, owner);
    let made = owner.create(json!({"name": "x"})).await.expect(201).body;
    for address in [app.address, other] {
        verify_at(&app, address, &made["token"]).await.expect(204);
    }
    let ada = app
        .sql_texts("SELECT id FROM users")
        .await
        .remove(0)
        .parse()
        .unwrap();
    let inside = &app.app;
    let change = async |is_active| {
        app.sql(&format!("UPDATE users SET is_active = {is_active}"))
            .await;
        let transaction = inside.database.begin().await.unwrap();
        let restricted = OwnerChange::Restricted(ada);
        let ended = inside.accounts.commit_and_end_api_tokens(transaction, restricted);
        ended.await.unwrap();
    };
    change(false).await;
    for address in [other, app.address] {
        verify_at(&app, address, &made["token"])
            .await
            .expect_problem(401, "token_invalid");
    }
    change(true).await;
    for address in [other, app.address] {
        verify_at(&app, address, &made["token"]).await.expect(204);
    }
    let day = format!("rate_limit:api_token:{{{}}}:day", id(&made));
    assert_eq!(redis.command(&["GET", &day]).await, "4");
}

/// Without a look-up: nothing of the database is needed for a token of the last 5 s.
#[tokio::test]
async fn a_refusal_of_guesses_holds_over_processes() {
    let redis = RedisServer::start().await;
    let app = on(&redis)
        .set("RATE_LIMIT_GATEWAY_FAILURES", "4/minute")
        .start()
        .await;
    let other = app.second_instance().await;
    wait_for(&app, app.address, "redis").await;
    wait_for(&app, other, "redis").await;
    let guess = json!("stile_x");
    for address in [app.address, other, app.address, other] {
        verify_at(&app, address, &guess).await.expect(401);
    }
    for address in [app.address, other, other, app.address] {
        let refused = verify_at(&app, address, &guess).await.expect(429);
        assert_eq!(refused.body["limit"], "gateway_failures");
    }
    assert_eq!(
        redis
            .command(&["GET", "rate_limit:gateway_failures:ip:127.0.0.1"])
            .await,
        "4"
    );
}

/// GW-06: the quota goes on in memory, and what is revoked here stays revoked.
#[tokio::test]
async fn losing_redis_gives_no_token_a_new_quota() {
    two_instances!(redis, app, other, owner);
    let mut redis = redis;
    let quota = json!({"name": "x", "rate_limit_per_minute": 4});
    let made = owner.create(quota.clone()).await.expect(201).body;
    let second = owner.create(quota).await.expect(201).body;
    for address in [app.address, other, other] {
        verify_at(&app, address, &made["token"]).await.expect(204);
    }
    verify_at(&app, other, &second["token"]).await.expect(204);
    redis.kill();
    let mut passed = 0;
    for _ in 0..6 {
        for address in [app.address, other] {
            let answer = verify_at(&app, address, &made["token"]).await;
            assert!([204, 429].contains(&answer.status), "{}", answer.text);
            passed += usize::from(answer.status == 204);
        }
    }
    // One was left, and the first instance had heard of one use alone: at most its share comes on top.
    assert!(passed <= 3, "{passed}");
    owner.revoke(id(&second)).await.expect(204);
    verify_at(&app, app.address, &second["token"]).await.expect(401);
    app.advance(Duration::from_secs(5));
    verify_at(&app, other, &second["token"]).await.expect(401);
}

/// GW-06: without the database and without Redis. What was just proven goes on, by its quota in memory; nothing else passes.
#[tokio::test]
async fn without_database_and_redis_only_what_was_just_proven_passes_and_by_its_quota() {
    let mut redis = RedisServer::start().await;
    let app = on(&redis).start().await;
    wait_for(&app, app.address, "redis").await;
    let owner = Owner::sign_up(&app, "ada@example.com").await;
    let quota = json!({"name": "x", "rate_limit_per_minute": 3});
    let known = owner.create(quota).await.expect(201).body;
    let unknown = owner.create(json!({"name": "y"})).await.expect(201).body;
    let revoked = owner.create(json!({"name": "z"})).await.expect(201).body;
    for token in [&known, &revoked] {
        verify_at(&app, app.address, &token["token"]).await.expect(204);
    }
    owner.revoke(id(&revoked)).await.expect(204);
    redis.kill();
    app.app.database.close().await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(verify_at(&app, app.address, &known["token"]).await.status);
    }
    assert_eq!(statuses, [204, 204, 429, 429, 429]);
    for token in [&unknown["token"], &revoked["token"]] {
        let refused = verify_at(&app, app.address, token)
            .await
            .expect_problem(503, "unavailable");
        assert_eq!(refused.header("x-auth-user-id"), None);
    }
    verify_at(&app, app.address, &json!("stile_x")).await.expect(401);
    app.advance(Duration::from_secs(60));
    verify_at(&app, app.address, &known["token"])
        .await
        .expect_problem(503, "unavailable");
}

/// Point 4 of the issue: a Redis that loses everything, and processes that start anew, do not give a token a new day.
#[tokio::test]
async fn a_redis_that_lost_everything_gives_no_new_day() {
    let redis = RedisServer::start().await;
    let mut app = on(&redis).start().await;
    wait_for(&app, app.address, "redis").await;
    let owner = Owner::sign_up(&app, "ada@example.com").await;
    let quota =
        json!({"name": "x", "rate_limit_per_minute": 5, "rate_limit_per_hour": 5, "rate_limit_per_day": 5});
    let made = owner.create(quota).await.expect(201).body;
    for _ in 0..4 {
        verify_at(&app, app.address, &made["token"]).await.expect(204);
    }
    app.restart().await;
    redis.empty().await;
    wait_for(&app, app.address, "redis").await;
    verify_at(&app, app.address, &made["token"]).await.expect(204);
    let refused = verify_at(&app, app.address, &made["token"]).await.expect(429);
    assert_eq!(refused.body["limit"], "token_day");
}
