//! `stile check`.

use std::fs;

use serde_json::Value;

use crate::process::{Ended, Stile};
use crate::{PRODUCTION, SECRET};

fn check(variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let directory = tempfile::tempdir().unwrap();
    let ended = Stile::in_directory(directory.path())
        .set_all(variables)
        .run(&[&["check"], arguments].concat());
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        0,
        "a check leaves no trace"
    );
    ended
}

#[test]
fn it_tells_each_value_and_where_it_comes_from() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(
        directory.path().join(".env"),
        "RATE_LIMIT_LOGIN=7/minute\nPORT=9000\n",
    )
    .unwrap();
    let ended = Stile::in_directory(directory.path())
        .set("PORT", "9001")
        .run(&["check"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let row = |name: &str| {
        let row = ended
            .out
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name))
            .unwrap();
        row.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(row("PORT"), "PORT 9001 process environment");
    assert_eq!(row("RATE_LIMIT_LOGIN"), "RATE_LIMIT_LOGIN 7/minute .env");
    assert_eq!(row("RATE_LIMIT_REFRESH"), "RATE_LIMIT_REFRESH 10/minute default");
    assert_eq!(
        row("login"),
        "login 7/minute fixed enforce client RATE_LIMIT_LOGIN"
    );
    assert_eq!(
        row("mail_account"),
        "mail_account 5/hour fixed enforce account RATE_LIMIT_MAIL_ACCOUNT"
    );
    assert_eq!(ended.err, "");
}

#[test]
fn it_says_that_limiting_is_off() {
    let ended = check(&[("ENABLE_RATE_LIMITING", "false")], &[]);
    assert_eq!(ended.code, Some(0));
    assert!(
        ended
            .out
            .contains("limiting is off: fine for E2E, not for production"),
        "{}",
        ended.out
    );
}

/// Exit codes of contract section 1.
#[test]
fn warnings_matter_only_to_the_strict() {
    let off: Vec<_> = PRODUCTION
        .iter()
        .copied()
        .chain([("ENABLE_RATE_LIMITING", "false")])
        .collect();
    assert_eq!(check(&off, &[]).code, Some(0));
    assert_eq!(check(&off, &["--strict"]).code, Some(1));
    assert_eq!(
        check(PRODUCTION, &["--strict"]).code,
        Some(0),
        "{:?}",
        check(PRODUCTION, &["--strict"])
    );
    assert_eq!(check(&[("PORT", "x")], &["--strict"]).code, Some(2));
    assert_eq!(check(&[("PORT", "x")], &[]).code, Some(2));
}

#[test]
fn secrets_are_redacted_in_both_forms() {
    for form in [&[][..], &["--json"]] {
        let ended = check(PRODUCTION, form);
        let told = format!("{}{}", ended.out, ended.err);
        assert!(!told.contains("s3cr3t") && !told.contains(SECRET), "{told}");
        assert!(told.contains("postgres://[redacted]@127.0.0.1:1/stile"), "{told}");
    }
}

#[test]
fn it_speaks_json() {
    let ended = check(
        &[("RATE_LIMIT_LOGIN", "7/minute;strategy=exact;mode=shadow")],
        &["--json"],
    );
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(report["valid"], true);
    assert_eq!(report["environment"], "development");
    let variables = report["variables"].as_array().unwrap();
    let port = variables
        .iter()
        .find(|variable| variable["name"] == "PORT")
        .unwrap();
    assert_eq!(
        *port,
        serde_json::json!({ "name": "PORT", "value": "8000", "from": "default" })
    );
    let rules = report["limits"]["rules"].as_array().unwrap();
    let login = rules.iter().find(|rule| rule["name"] == "login").unwrap();
    assert_eq!(
        *login,
        serde_json::json!({
            "name": "login", "variable": "RATE_LIMIT_LOGIN", "limit": "7/minute", "strategy": "exact",
            "mode": "shadow", "per": "client",
        })
    );

    let ended = check(&[("PORT", "x"), ("RATE_LIMIT_LOGN", "1/minute")], &["--json"]);
    assert_eq!(ended.code, Some(2));
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(report["valid"], false);
    assert_eq!(report["errors"][0]["variable"], "PORT");
    assert_eq!(report["errors"][1]["variable"], "RATE_LIMIT_LOGN");
}

/// REL-14: nothing listens at these addresses.
#[test]
fn it_connects_when_asked_and_tells_what_is_not_there() {
    let lost = [
        ("REDIS_URL", "redis://:s3cr3t@127.0.0.1:1"),
        ("SMTP_URL", "smtp://u:s3cr3t@127.0.0.1:1"),
        ("REDIS_CONNECT_TIMEOUT_MS", "200"),
    ];
    let report = |ended: &Ended| serde_json::from_str::<Value>(&ended.out).unwrap()["connections"].clone();

    let ended = check(&lost, &["--connect", "--json"]);
    assert_eq!(ended.code, Some(0), "it would serve: {ended:?}");
    let connections = report(&ended);
    assert_eq!(connections[0]["to"], "database");
    assert_eq!(connections[0]["ok"], true);
    assert_eq!(connections[1]["to"], "redis");
    assert_eq!(connections[1]["ok"], false);
    assert_eq!(connections[2]["to"], "mail");
    assert_eq!(connections[2]["ok"], false);
    assert!(
        !ended.out.contains("s3cr3t") && !ended.err.contains("s3cr3t"),
        "{ended:?}"
    );
    assert_eq!(check(&lost, &["--connect", "--strict"]).code, Some(1));

    let ended = check(
        &[("DATABASE_URL", "postgres://u:s3cr3t@127.0.0.1:1/d")],
        &["--connect", "--json"],
    );
    assert_eq!(ended.code, Some(2), "it would not serve: {ended:?}");
    assert_eq!(report(&ended)[0]["ok"], false);
    assert!(
        !ended.out.contains("s3cr3t") && !ended.err.contains("s3cr3t"),
        "{ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_connects_to_what_is_there() {
    let redis = crate::redis::RedisServer::start().await;
    let mail = crate::smtp::SmtpSink::start(crate::smtp::Security::Plain).await;
    let variables = [
        ("DATABASE_URL", crate::postgres::server().fresh_database()),
        ("REDIS_URL", redis.url()),
        ("SMTP_URL", mail.url()),
    ];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let ended = check(&variables, &["--connect", "--strict"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for line in [
        "fine     database: connected",
        "fine     redis: connected",
        "fine     mail: ready",
    ] {
        assert!(ended.out.lines().any(|out| out == line), "{line}: {}", ended.out);
    }
    assert!(mail.received().is_empty(), "a check sends no mail");
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let status = std::process::Command::new("sh")
        .args([
            "-c",
            "{ \"$0\" check; echo $? >&2; } | true",
            env!("CARGO_BIN_EXE_stile"),
        ])
        .env_clear()
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(status.stderr).unwrap().trim(), "0");
}
