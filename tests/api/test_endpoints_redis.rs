//! The same where limits are counted in Redis: workers apart, and a reset that every process hears of.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::app::{Answer, Engine, TestApp};
use crate::redis_server::RedisServer;

async fn start(redis: &RedisServer) -> TestApp {
    let app = TestApp::on(Engine::Sqlite)
        .limited()
        .set("ENABLE_TEST_ENDPOINTS", "true")
        .set("REDIS_URL", redis.url())
        .set("REDIS_COMMAND_TIMEOUT_MS", "2000")
        .set("REDIS_KEY_PREFIX", "suite")
        .set("RATE_LIMIT_LOGIN", "20/hour")
        .set("RATE_LIMIT_LOGIN_ACCOUNT", "off")
        .start()
        .await;
    wait_for(&app, app.address, "redis").await;
    app
}

pub async fn wait_for(app: &TestApp, address: SocketAddr, state: &str) {
    for _ in 0..400 {
        if app.get("//health").at(address).await.body["rate_limiter"] == state {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the limiter never said {state}");
}

async fn log_in(app: &TestApp, at: SocketAddr, worker: &str) -> Answer {
    app.post(
        "/auth/login",
        json!({"email": "ada@example.com", "password": "wrong"}),
    )
    .header("x-test-client", worker)
    .at(at)
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_at_two_processes_have_exactly_the_limit_each_in_keys_of_their_own() {
    let redis = RedisServer::start().await;
    let app = start(&redis).await;
    let other = app.second_instance().await;
    wait_for(&app, other, "redis").await;
    let at = [app.address, other];
    let tries = (0..80).map(|n| log_in(&app, at[n % 2], ["gw0", "gw1"][n / 40]));
    let answers = join_all(tries).await;
    for (worker, answers) in answers.chunks(40).enumerate() {
        let passed = answers.iter().filter(|answer| answer.status == 401).count();
        assert_eq!(passed, 20, "gw{worker}");
    }
    assert_eq!(redis.command(&["GET", "suite:login:ip:@gw0"]).await, "20");
    assert_eq!(redis.command(&["GET", "suite:login:ip:127.0.0.1"]).await, "(nil)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_drops_the_counters_under_our_prefix_and_no_process_brings_them_back() {
    let redis = RedisServer::start().await;
    let app = start(&redis).await;
    for name in ["other:login:ip:127.0.0.1", "suite", "suited:ip:127.0.0.1"] {
        redis.command(&["SET", name, "5"]).await;
    }
    for _ in 0..20 {
        log_in(&app, app.address, "a").await.expect(401);
    }
    log_in(&app, app.address, "a").await.expect(429);
    app.request(Method::POST, "/test/reset").await.expect(204);
    assert_eq!(redis.command(&["KEYS", "suite:login:*"]).await, "");
    let answer = log_in(&app, app.address, "a").await.expect(401);
    assert_eq!(answer.header("x-ratelimit-remaining"), Some("19"));
    for name in ["other:login:ip:127.0.0.1", "suite", "suited:ip:127.0.0.1"] {
        assert_eq!(redis.command(&["GET", name]).await, "5", "{name}");
    }

    let other = app.second_instance().await;
    wait_for(&app, other, "redis").await;
    // Until each has heard of the other.
    tokio::time::sleep(Duration::from_millis(1300)).await;
    for n in 0..19 {
        log_in(&app, [app.address, other][n % 2], "a").await.expect(401);
    }
    for at in [app.address, other] {
        log_in(&app, at, "a").await.expect(429);
    }
    app.request(Method::POST, "/test/reset").await.expect(204);
    for (at, left) in [(other, "19"), (app.address, "18"), (other, "17")] {
        let answer = log_in(&app, at, "a").await.expect(401);
        assert_eq!(answer.header("x-ratelimit-remaining"), Some(left));
    }
}

/// Of ten requests that were under way and ten that come later, none is counted on both sides of the reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_among_requests_leaves_counters_that_are_exact() {
    let redis = RedisServer::start().await;
    let app = start(&redis).await;
    for round in 0..5 {
        let tries = join_all((0..30).map(|_| log_in(&app, app.address, "a")));
        let reset = async {
            tokio::time::sleep(Duration::from_millis(5 * round)).await;
            app.request(Method::POST, "/test/reset").await.expect(204);
        };
        tokio::join!(tries, reset);
        app.request(Method::POST, "/test/reset").await.expect(204);
        let answers = join_all((0..30).map(|_| log_in(&app, app.address, "a"))).await;
        let passed = answers.iter().filter(|answer| answer.status == 401).count();
        assert_eq!(passed, 20);
    }
}

#[tokio::test]
async fn the_clock_leaves_windows_in_redis_alone() {
    let redis = RedisServer::start().await;
    let app = start(&redis).await;
    for _ in 0..20 {
        log_in(&app, app.address, "a").await.expect(401);
    }
    for _ in 0..2 {
        let moved = app.post("/test/clock", json!({"advance_seconds": 86_400}));
        moved.await.expect(204);
        log_in(&app, app.address, "a")
            .await
            .expect_problem(429, "rate_limited");
        log_in(&app, app.address, "b").await.expect(401);
    }
}

#[tokio::test]
async fn a_reset_that_redis_did_not_hear_of_says_so() {
    let mut redis = RedisServer::start().await;
    let app = start(&redis).await;
    redis.kill();
    wait_for(&app, app.address, "degraded").await;
    let answer = app.request(Method::POST, "/test/reset").await;
    answer.expect_problem(503, "unavailable");
}
