//! Starting to serve: with nothing configured, by file, and with servers that are not there.

use std::fs;
use std::time::Duration;

use crate::process::{PATIENCE, Stile, status_of};

#[test]
fn it_serves_with_nothing_configured_and_ends_on_a_signal() {
    let directory = tempfile::tempdir().unwrap();
    let stile = Stile::in_directory(directory.path()).start();
    assert!(stile.address().ip().is_loopback());
    assert_eq!(status_of(stile.address(), "/health"), Some(200));
    assert!(directory.path().join("data/stile.db").exists());
    assert!(directory.path().join("data/signing_key.pem").exists());
    stile.signal("TERM");
    assert_eq!(stile.wait_for_end(PATIENCE).code(), Some(0));
    assert_eq!(stile.err.text(), "");
}

#[test]
fn the_file_of_its_environment_is_the_one_it_serves_by() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(".env"), "PORT=rubbish\n").unwrap();
    fs::write(
        directory.path().join(".env.test"),
        "DATABASE_URL=sqlite://of-test.db\nLOG_FORMAT=text\n",
    )
    .unwrap();
    let stile = Stile::in_directory(directory.path())
        .set("ENVIRONMENT", "test")
        .start();
    assert!(directory.path().join("of-test.db").exists());
    assert!(!stile.out.all()[0].starts_with('{'), "the file's LOG_FORMAT");
}

/// Contract section 5.
#[test]
fn each_line_of_a_json_log_is_an_object_with_utc_time() {
    let directory = tempfile::tempdir().unwrap();
    let stile = Stile::in_directory(directory.path())
        .set("ENVIRONMENT", "test")
        .start();
    stile.signal("TERM");
    stile.wait_for_end(PATIENCE);
    for line in stile.out.all() {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
        assert!(line["level"].is_string() && line["message"].is_string());
    }
}

/// REL-14.
#[test]
fn redis_and_the_mail_server_may_be_absent_at_start() {
    let directory = tempfile::tempdir().unwrap();
    let stile = Stile::in_directory(directory.path())
        .set("ENVIRONMENT", "test")
        .set("REDIS_URL", "redis://:s3cr3t@127.0.0.1:1")
        .set("SMTP_URL", "smtp://u:s3cr3t@127.0.0.1:1")
        .start();
    assert_eq!(status_of(stile.address(), "/api/v1/health"), Some(200));
    assert_eq!(status_of(stile.address(), "/readyz"), Some(200));
    assert!(!stile.out.text().contains("s3cr3t"), "{}", stile.out.text());
}

/// REL-14: it waits a little for a database that comes up beside it, then says so and ends.
#[test]
fn without_its_database_it_ends_with_a_clear_line() {
    let directory = tempfile::tempdir().unwrap();
    let ended = Stile::in_directory(directory.path())
        .set("ENVIRONMENT", "test")
        .set("PORT", "0")
        .set("DATABASE_URL", "postgres://u:s3cr3t@127.0.0.1:1/d")
        .run(&["serve"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.err.lines().count(), 1, "{ended:?}");
    assert!(ended.err.contains("database"), "{ended:?}");
    assert!(
        !ended.err.contains("s3cr3t") && !ended.out.contains("s3cr3t"),
        "{ended:?}"
    );
}

/// CFG-02: it starts, and says loudly what is wrong with it.
#[test]
fn production_without_limits_starts_with_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let stile = Stile::in_directory(directory.path())
        .set_all(crate::PRODUCTION)
        .set("DATABASE_URL", "sqlite://stile.db")
        .set("ALLOW_SQLITE", "true")
        .set("ENABLE_RATE_LIMITING", "false")
        .set("SHUTDOWN_DELAY_SECONDS", "0")
        .start();
    let warned = |what: &str| {
        stile
            .out
            .wait_for(|line| line.contains("WARN") && line.contains(what), || true)
            .is_some()
    };
    assert!(warned("limiting is off"), "{}", stile.out.text());
    assert!(warned("SQLite"), "{}", stile.out.text());
}

#[test]
fn a_taken_port_ends_with_a_clear_line() {
    let directory = tempfile::tempdir().unwrap();
    let first = Stile::in_directory(directory.path()).start();
    let port = first.address().port().to_string();
    let other = tempfile::tempdir().unwrap();
    let second = Stile::in_directory(other.path()).set("PORT", &port).spawn();
    assert_eq!(second.wait_for_end(Duration::from_secs(30)).code(), Some(1));
    assert!(second.err.text().contains(&port), "{}", second.err.text());
}

/// Contract section 2: `METRICS_ADDR` is a listener of its own, also on a port that the system picks.
#[test]
fn metrics_have_a_listener_of_their_own_to_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let stile = Stile::in_directory(directory.path())
        .set("ENVIRONMENT", "test")
        .set("METRICS_ADDR", "127.0.0.1:0")
        .set("SHUTDOWN_DELAY_SECONDS", "2")
        .start();
    let line = stile
        .out
        .wait_for(|line| line.contains("metrics are served"), || false);
    let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
    let metrics = line["metrics"].as_str().unwrap().parse().unwrap();
    assert_eq!(status_of(metrics, "/metrics"), Some(200));
    assert_eq!(status_of(stile.address(), "/metrics"), Some(404));
    stile.signal("TERM");
    stile
        .out
        .wait_for(|line| line.contains("shutting down"), || false);
    assert_eq!(status_of(metrics, "/metrics"), Some(200), "while it drains");
    assert_eq!(stile.wait_for_end(PATIENCE).code(), Some(0));
}

#[test]
fn an_address_for_metrics_that_is_not_to_be_had_stops_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let ended = Stile::in_directory(directory.path())
        .set("PORT", "0")
        .set("METRICS_ADDR", &address)
        .run(&["serve"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let line = format!("stile: cannot listen on {address} (METRICS_ADDR): ");
    assert!(ended.err.starts_with(&line), "{}", ended.err);
    assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
}
