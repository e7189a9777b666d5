//! The numbers that Prometheus reads (contract, section 5).

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::app::{Engine, PASSWORD, TestApp};
use crate::redis_server::RedisServer;

const UUID: &str = "018f5c1e-0000-7000-8000-000000000000";

/// The value of the sample that is written exactly so, without its value.
#[track_caller]
fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find(|line| {
        let behind = line.strip_prefix(sample);
        behind.is_some_and(|behind| behind.starts_with(' '))
    });
    let line = line.unwrap_or_else(|| panic!("no {sample} in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[track_caller]
fn assert_value(text: &str, sample: &str, expected: f64) {
    let found = value(text, sample);
    assert!(
        (found - expected).abs() < 1e-9,
        "{sample} is {found}, not {expected}"
    );
}

fn requests(method: &str, route: &str, status: u16) -> String {
    format!("stile_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}}")
}

fn decisions(rule: &str, result: &str) -> String {
    format!("stile_rate_limit_decisions_total{{rule=\"{rule}\",result=\"{result}\"}}")
}

fn measured() -> crate::app::Builder {
    TestApp::on(Engine::Sqlite).set("METRICS_ADDR", "127.0.0.1:0")
}

/// HTTP-14.
#[tokio::test]
async fn the_metrics_stand_on_a_listener_of_their_own_and_only_there() {
    let app = measured().start().await;
    let address = app.app.metrics.unwrap();
    let get = async |url: String| reqwest::get(url).await.unwrap();

    let answer = get(format!("http://{address}/metrics")).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.headers()["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(
        answer
            .text()
            .await
            .unwrap()
            .contains("stile_build_info{version=\"")
    );
    for path in ["/", "/metrics/x", "/health", "/api/v1/auth/me"] {
        assert_eq!(
            get(format!("http://{address}{path}")).await.status(),
            404,
            "{path}"
        );
    }
    let client = reqwest::Client::new();
    let posted = client
        .post(format!("http://{address}/metrics"))
        .send()
        .await
        .unwrap();
    assert_eq!(posted.status(), 405);

    app.get("//metrics").await.expect_problem(404, "not_found");
    app.get("/metrics").await.expect_problem(404, "not_found");

    let without = TestApp::on(Engine::Sqlite).start().await;
    assert_eq!(without.app.metrics, None);
    let empty = TestApp::on(Engine::Sqlite).set("METRICS_ADDR", "").start().await;
    assert_eq!(empty.app.metrics, None);
}

#[tokio::test]
async fn requests_are_counted_by_template_and_whatever_a_client_invents_is_one_label() {
    let app = measured().start().await;
    app.signed_up("ada@example.com").await;
    app.post(
        "/auth/login",
        json!({"email": "ada@example.com", "password": "wrong-horse"}),
    )
    .await
    .expect(401);
    for n in 0..20 {
        app.get(&format!("/secret-{n}/ada@example.com?token=hunter2"))
            .await
            .expect(404);
        let method = reqwest::Method::from_bytes(format!("BREW{n}").as_bytes()).unwrap();
        app.request(method, "/coffee").await.expect(405);
    }
    app.get("/auth/login").await.expect(405);
    app.delete(&format!("/auth/sessions/{UUID}")).await.expect(401);
    app.request(reqwest::Method::PUT, "/api-gateway/verify/some/client/path")
        .await
        .expect(401);
    app.get("//health").await.expect(200);

    let text = app.metrics().await;
    for (method, route, status, count) in [
        ("POST", "/api/v1/auth/register", 201, 1.0),
        ("POST", "/api/v1/auth/login", 200, 1.0),
        ("POST", "/api/v1/auth/login", 401, 1.0),
        ("GET", "/api/v1/auth/login", 405, 1.0),
        ("DELETE", "/api/v1/auth/sessions/{id}", 401, 1.0),
        ("PUT", "/api/v1/api-gateway/verify/{*path}", 401, 1.0),
        ("GET", "/health", 200, 1.0),
        ("GET", "unmatched", 404, 20.0),
        ("other", "unmatched", 405, 20.0),
    ] {
        assert_value(&text, &requests(method, route, status), count);
        let of = requests(method, route, status).replace("requests_total", "request_duration_seconds_count");
        assert_value(&text, &of, count);
    }
    assert_eq!(text.matches("stile_http_requests_total{").count(), 9, "{text}");
    for never in ["secret", "ada", "hunter2", "BREW", "coffee", UUID, "client/path"] {
        assert!(!text.contains(never), "{never} is in\n{text}");
    }
}

#[tokio::test]
async fn two_programs_in_one_process_count_apart() {
    let (one, other) = (measured().start().await, measured().start().await);
    one.get("//health").await.expect(200);
    assert_value(&one.metrics().await, &requests("GET", "/health", 200), 1.0);
    assert!(!other.metrics().await.contains("route=\"/health\""));
}

/// What a client took and what he was refused add up to what he asked, however many asked at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_decision_of_a_limit_is_counted_once() {
    let app = measured()
        .limited()
        .set("RATE_LIMIT_GLOBAL", "100/minute;1000/hour")
        .set("RATE_LIMIT_LOGIN", "5/minute;50/hour")
        .set("RATE_LIMIT_REFRESH", "2/minute;mode=shadow")
        .set("RATE_LIMIT_REGISTRATION", "deny")
        .start()
        .await;
    let body = json!({"email": "nobody@example.com", "password": PASSWORD});
    let logins = (0..20).map(|_| async { app.post("/auth/login", body.clone()).await.status });
    let statuses = futures_util::future::join_all(logins).await;
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 15);
    for _ in 0..5 {
        app.post("/auth/refresh", json!({"refresh_token": "x"}))
            .await
            .expect(401);
    }
    app.post("/auth/register", body).await.expect(429);

    let text = app.metrics().await;
    for (rule, allowed, refused, shadow) in [
        ("login", 5.0, 15.0, 0.0),
        ("global", 10.0, 0.0, 0.0),
        ("refresh", 2.0, 0.0, 3.0),
        ("registration", 0.0, 1.0, 0.0),
        ("password_reset", 0.0, 0.0, 0.0),
        ("token_minute", 0.0, 0.0, 0.0),
    ] {
        assert_value(&text, &decisions(rule, "allowed"), allowed);
        assert_value(&text, &decisions(rule, "refused"), refused);
        assert_value(&text, &decisions(rule, "shadow"), shadow);
    }
    assert_value(&text, "stile_rate_limit_store_state{state=\"memory\"}", 1.0);
    assert_value(&text, "stile_rate_limit_store_state{state=\"degraded\"}", 0.0);
    assert_value(
        &text,
        "stile_rate_limit_check_duration_seconds_count{store=\"memory\"}",
        25.0,
    );
    assert!(value(&text, "stile_rate_limit_memory_keys") >= 3.0);
    assert_value(&text, "stile_rate_limit_memory_keys_max", 200_000.0);
    assert!(!text.contains("redis_failures"), "there is no Redis");
}

#[tokio::test]
async fn a_flood_that_the_local_stage_holds_back_is_counted() {
    let app = measured()
        .limited()
        .set("RATE_LIMIT_GLOBAL", "1000/minute")
        .set("RATE_LIMIT_BURST", "10")
        .start()
        .await;
    let mut refused = 0.0;
    for _ in 0..40 {
        let answer = app.get("/rate-limits").await;
        if answer.status == 429 {
            assert_eq!(answer.body["limit"], "burst");
            refused += 1.0;
        }
    }
    let text = app.metrics().await;
    assert!(refused > 0.0);
    assert_value(&text, &decisions("burst", "refused"), refused);
    assert_value(&text, &decisions("global", "allowed"), 40.0 - refused);
    assert_value(&text, &requests("GET", "/api/v1/rate-limits", 429), refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_quotas_of_api_tokens_are_counted_each() {
    let app = measured().limited().start().await;
    let ada = app.signed_up("ada@example.com").await;
    let made = app
        .post(
            "/api-tokens",
            json!({"name": "script", "rate_limit_per_minute": 3}),
        )
        .bearer(&ada["access_token"])
        .await
        .expect(201)
        .body;
    for _ in 0..5 {
        app.get("/api-gateway/verify").bearer(&made["token"]).await;
    }
    let text = app.metrics().await;
    assert_value(&text, &decisions("token_minute", "allowed"), 3.0);
    assert_value(&text, &decisions("token_minute", "refused"), 2.0);
    assert_value(&text, &decisions("token_day", "allowed"), 3.0);
    assert_value(&text, &decisions("token_day", "refused"), 0.0);
}

on_both_engines! {
    async fn the_rooms_below_tell_how_busy_they_are(engine: Engine) {
        let app = TestApp::on(engine).set("METRICS_ADDR", "127.0.0.1:0").start().await;
        app.signed_up("ada@example.com").await;
        app.mails("ada@example.com", 1).await;
        let text = app.metrics().await;
        assert!(value(&text, "stile_hash_pool_workers") >= 1.0);
        assert_value(&text, "stile_hash_pool_busy", 0.0);
        assert_value(&text, "stile_hash_pool_waiting", 0.0);
        assert!(value(&text, "stile_hash_pool_waiting_max") > 0.0);
        assert_value(&text, "stile_hash_pool_refused_total", 0.0);
        assert_value(&text, "stile_database_connections_max", 5.0);
        assert!(value(&text, "stile_database_connections{state=\"idle\"}") >= 1.0);
        assert!(value(&text, "stile_database_connections{state=\"in_use\"}") <= 5.0);
        assert_value(&text, "stile_database_up", 1.0);
        assert_value(&text, "stile_rate_limit_store_state{state=\"off\"}", 1.0);
        assert_value(&text, "stile_mails_total{result=\"sent\"}", 1.0);
        // The file is there a moment before the job is gone.
        while value(&app.metrics().await, "stile_mail_queue_mails{state=\"sending\"}") > 0.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_value(&app.metrics().await, "stile_mail_queue_oldest_age_seconds", 0.0);
    }
}

#[tokio::test]
async fn mail_that_cannot_be_sent_shows_in_the_queue_with_its_age() {
    let app = measured()
        // Nobody listens on the port of the unassigned.
        .set("SMTP_URL", "smtp://127.0.0.1:1")
        .start()
        .await;
    app.post(
        "/auth/register",
        json!({"email": "ada@example.com", "password": PASSWORD}),
    )
    .await
    .expect(201);
    let failed = "stile_mail_queue_mails{state=\"failed\"}";
    while value(&app.metrics().await, failed) < 1.0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    app.advance(Duration::from_secs(2));
    let text = app.metrics().await;
    assert_value(&text, "stile_mail_queue_oldest_age_seconds", 2.0);
    assert_value(&text, "stile_mails_total{result=\"failed\"}", 1.0);
    assert_value(&text, "stile_mails_total{result=\"sent\"}", 0.0);
}

/// `docs/METRICS.md` lists what is served, no more and no less.
#[tokio::test]
async fn the_documentation_lists_every_metric_and_no_other() {
    let redis = RedisServer::start().await;
    let app = measured().limited().set("REDIS_URL", redis.url()).start().await;
    app.get("/health").await.expect(200);
    let text = app.metrics().await;
    let served: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let document = include_str!("../../docs/METRICS.md");
    let table = document.split("<!-- metrics -->").nth(1).unwrap();
    let table = table.split("<!-- /metrics -->").next().unwrap();
    let first_cells = table.lines().filter_map(|line| line.split('|').nth(1));
    let listed: BTreeSet<&str> = first_cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert_eq!(served, listed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_redis_and_finding_it_again_shows() {
    let mut redis = RedisServer::start().await;
    let app = measured()
        .limited()
        .set("RATE_LIMIT_GLOBAL", "1000/minute")
        .set("REDIS_URL", redis.url())
        // A busy machine must not look like an outage.
        .set("REDIS_COMMAND_TIMEOUT_MS", "2000")
        .start()
        .await;
    let state = async |state: &str| {
        let sample = format!("stile_rate_limit_store_state{{state=\"{state}\"}}");
        for _ in 0..400 {
            app.get("/rate-limits").await.expect(200);
            let text = app.metrics().await;
            if value(&text, &sample) > 0.0 {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never was {state}");
    };
    let text = state("redis").await;
    assert_value(&text, "stile_rate_limit_redis_outages_total", 0.0);
    assert_value(&text, "stile_rate_limit_fleet_processes", 1.0);
    assert!(
        value(
            &text,
            "stile_rate_limit_check_duration_seconds_count{store=\"redis\"}"
        ) > 0.0
    );
    redis.kill();
    let text = state("degraded").await;
    assert_value(&text, "stile_rate_limit_redis_outages_total", 1.0);
    redis.restart().await;
    assert_value(&state("redis").await, "stile_rate_limit_redis_outages_total", 1.0);
}
