//! Every query that `ops/` ships finds something in what a real server showed a real Prometheus.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::process::{PATIENCE, Process, Stile};
use crate::prometheus::{Prometheus, promtool};
use crate::redis::RedisServer;

fn ops(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ops").join(path)
}

fn dashboard() -> Value {
    serde_json::from_str(&std::fs::read_to_string(ops("grafana/stile.json")).unwrap()).unwrap()
}

fn metrics_of(stile: &Process) -> SocketAddr {
    let line = stile
        .out
        .wait_for(|line| line.contains("metrics are served"), || stile.has_ended());
    let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
    line["metrics"].as_str().unwrap().parse().unwrap()
}

/// A server with limits in Redis, and traffic of every kind that a query asks for: good and wrong logins, refusals, an
/// unknown path, and a database that does not let anybody write for a while.
async fn a_server_that_has_seen_something(folder: &Path, redis: &RedisServer) -> Process {
    let stile = Stile::in_directory(folder)
        .set("ENVIRONMENT", "test")
        .set("REDIS_URL", redis.url())
        .set("METRICS_ADDR", "127.0.0.1:0")
        .set("RATE_LIMIT_LOGIN", "3/minute")
        .start();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = async |path: &str, body: Value| {
        let request = client.post(stile.url(&format!("/api/v1{path}"))).json(&body);
        request.send().await.unwrap().status().as_u16()
    };
    let good = json!({"email": "ada@example.com", "password": "correct-horse-battery-9"});
    let wrong = json!({"email": "ada@example.com", "password": "wrong-horse-battery-9"});
    assert_eq!(post("/auth/register", good.clone()).await, 201);
    assert_eq!(post("/auth/login", good).await, 200);
    for status in [401, 401, 429, 429] {
        assert_eq!(post("/auth/login", wrong.clone()).await, status);
    }
    assert_eq!(post("/nothing/here", wrong).await, 404);

    let url = format!("sqlite://{}", folder.join("data/stile.db").display());
    let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut database)
        .await
        .unwrap();
    let bob = json!({"email": "bob@example.com", "password": "correct-horse-battery-9"});
    assert_eq!(post("/auth/register", bob).await, 503);
    stile
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_query_of_the_dashboard_and_of_the_alerts_finds_what_it_asks_for() {
    let (folder, redis) = (tempfile::tempdir().unwrap(), RedisServer::start().await);
    let stile = a_server_that_has_seen_something(folder.path(), &redis).await;
    let prometheus = Prometheus::start(metrics_of(&stile), &ops("prometheus/alerts.yml")).await;
    let until = Instant::now() + PATIENCE;
    let found = async |query: &str| loop {
        let found = prometheus.query(query).await;
        if !found.is_empty() {
            return found;
        }
        assert!(Instant::now() < until, "{query} finds nothing");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };

    let mut panels = 0;
    for panel in dashboard()["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            let query = query.replace("$__rate_interval", "1m").replace("$instance", ".+");
            assert!(!query.contains('$'), "{query}");
            let series = found(&query).await;
            // A legend of a label that is not there would be empty.
            for label in target["legendFormat"].as_str().unwrap().split("{{").skip(1) {
                let label = label.split("}}").next().unwrap();
                assert!(
                    series.iter().all(|one| one["metric"][label].is_string()),
                    "{label} in {query}"
                );
            }
            panels += 1;
        }
    }
    assert!(panels > 25, "the panels were found");

    // An alert finds nothing while all is well, so what it looks at is asked for instead.
    let rules = prometheus.rules().await;
    assert_eq!(rules.len(), 13);
    for rule in &rules {
        let query = rule["query"].as_str().unwrap();
        let selectors = selectors(query);
        assert!(!selectors.is_empty(), "{query}");
        for selector in selectors {
            found(selector).await;
        }
    }
    while prometheus.rules().await.iter().any(|rule| rule["health"] != "ok") {
        assert!(Instant::now() < until, "{:?}", prometheus.rules().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        prometheus
            .query("scrape_samples_scraped{job=\"stile\"} > 0")
            .await
            .len(),
        1
    );
}

/// The vector selectors of an expression: `name` or `name{…}`.
fn selectors(expression: &str) -> Vec<&str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = expression
        .match_indices("stile_")
        .chain(expression.match_indices("up{"));
    starts
        .filter(|(at, _)| !expression[..*at].ends_with(is_of_name))
        .map(|(at, _)| {
            let rest = &expression[at..];
            let name = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
            match rest[name..].strip_prefix('{') {
                Some(labels) => &rest[..name + labels.find('}').unwrap() + 2],
                None => &rest[..name],
            }
        })
        .collect()
}

#[test]
fn selectors_are_found_with_their_labels() {
    assert_eq!(
        selectors("sum(rate(stile_a_total{b=~\"c|d\", e=\"f\"}[5m])) / stile_g > 0 or up{job=\"x\"} == 0"),
        ["stile_a_total{b=~\"c|d\", e=\"f\"}", "stile_g", "up{job=\"x\"}"]
    );
}

/// Each alert is silent while all is well and speaks when it is not: `ops/prometheus/alerts.test.yml`.
#[test]
fn the_alerts_fire_when_they_should_and_only_then() {
    let folder = ops("prometheus");
    promtool(&["check", "rules", "alerts.yml"], &folder, None);
    promtool(&["check", "config", "prometheus.yml"], &folder, None);
    promtool(&["test", "rules", "alerts.test.yml"], &folder, None);
}

/// Prometheus's own judgement of names, units and help texts.
#[tokio::test]
async fn the_metrics_are_named_as_prometheus_would_have_them() {
    let (folder, redis) = (tempfile::tempdir().unwrap(), RedisServer::start().await);
    let stile = a_server_that_has_seen_something(folder.path(), &redis).await;
    let text = reqwest::get(format!("http://{}/metrics", metrics_of(&stile)))
        .await
        .unwrap();
    promtool(
        &["check", "metrics"],
        folder.path(),
        Some(&text.text().await.unwrap()),
    );
}

/// `docs/METRICS.md` says of each alert what to do, and of no other.
#[test]
fn the_documentation_knows_every_alert() {
    let rules = std::fs::read_to_string(ops("prometheus/alerts.yml")).unwrap();
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let document = include_str!("../../docs/METRICS.md");
    let table = document.split("<!-- alerts -->").nth(1).unwrap();
    let table = table.split("<!-- /alerts -->").next().unwrap();
    let listed: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    assert_eq!(listed, alerts);
}
