//! `stile check --connect` against real servers: what is wrong with them is found, and what is right is not.

use std::time::Duration;

use serde_json::Value;

use crate::process::{Ended, Stile};
use crate::proxy::{Proxy, Weather};
use crate::redis::RedisServer;
use crate::smtp::{At, Behaviour, Security, SmtpSink};
use crate::verdicts::warnings;

/// Installed by scripts/test.
const FAKETIME: &str = "/usr/bin/faketime";

fn check(variables: &[(&str, &str)]) -> Ended {
    check_through(&[], variables)
}

/// By way of `words`.
fn check_through(words: &[&str], variables: &[(&str, &str)]) -> Ended {
    Stile::in_directory(tempfile::tempdir().unwrap().path())
        .set_all(variables)
        .through(words)
        .run(&["check", "--connect", "--strict", "--json"])
}

fn connection(ended: &Ended, to: &str) -> Value {
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    let connections = report["connections"].as_array().unwrap();
    connections
        .iter()
        .find(|connection| connection["to"] == to)
        .unwrap()
        .clone()
}

/// What failed, and what to type.
fn failed(ended: &Ended, to: &str) -> (String, String) {
    let connection = connection(ended, to);
    assert_eq!(connection["ok"], false, "{ended:?}");
    let text = |name: &str| connection[name].as_str().unwrap().to_owned();
    (text("detail"), text("fix"))
}

fn redis_fault(url: &str) -> (String, String) {
    let ended = check(&[("REDIS_URL", url), ("REDIS_CONNECT_TIMEOUT_MS", "5000")]);
    assert_eq!(ended.code, Some(1), "it would serve: {ended:?}");
    failed(&ended, "redis")
}

/// limits.md 41, RL-13: each says what is wrong, and no PING is taken for counting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_cannot_count_is_told_from_one_that_can() {
    let mut redis = RedisServer::start().await;
    let port = redis.port().to_string();
    let url = redis.url();

    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]).await;
    let (detail, fix) = redis_fault(&replica.url());
    assert!(detail.starts_with("READONLY"), "{detail}");
    let expected = format!("redis-cli -h 127.0.0.1 -p {} INFO replication ", replica.port());
    assert!(fix.starts_with(&expected) && fix.contains("master_host"), "{fix}");

    let locked = RedisServer::start_with(&["--requirepass", "right"]).await;
    let (detail, fix) = redis_fault(&locked.url().replace("right", "hunter2"));
    assert!(
        detail.contains("WRONGPASS") && !detail.contains("hunter2"),
        "{detail}"
    );
    assert!(fix.starts_with("REDIS_URL=redis://USER:PASSWORD@"), "{fix}");

    let full = RedisServer::start_with(&["--maxmemory", "1"]).await;
    let (detail, fix) = redis_fault(&full.url());
    assert!(detail.starts_with("OOM"), "{detail}");
    // What is to be typed is typed.
    let words: Vec<&str> = fix.split(' ').skip_while(|word| *word != "CONFIG").collect();
    assert_eq!(full.command(&words).await, "OK");
    assert_eq!(check(&[("REDIS_URL", &full.url())]).code, Some(0));

    redis
        .command(&["ACL", "SETUSER", "weak", "on", ">hunter2", "~*", "+ping"])
        .await;
    let weak = url.replace("redis://", "redis://weak:hunter2@");
    let (detail, fix) = redis_fault(&weak);
    assert!(detail.starts_with("NOPERM"), "{detail}");
    let words = fix.split_once("ACL SETUSER stile ").unwrap().1.replace('\'', "");
    let rules: Vec<&str> = words.split(' ').collect();
    redis
        .command(&[&["ACL", "SETUSER", "stile"], rules.as_slice()].concat())
        .await;
    let typed = url.replace("redis://", "redis://stile:PASSWORD@");
    let ended = check(&[("REDIS_URL", &typed)]);
    assert_eq!((warnings(&ended), ended.code), (Vec::new(), Some(0)), "{ended:?}");

    redis.kill();
    let (detail, fix) = redis_fault(&url);
    assert_eq!(detail, "connection refused; limits would go on in memory");
    assert_eq!(fix, format!("redis-cli -h 127.0.0.1 -p {port} PING"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_evicts_is_warned_of_until_the_command_is_typed() {
    let redis =
        RedisServer::start_with(&["--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru"]).await;
    let url = redis.url();
    let check = || check(&[("REDIS_URL", &url)]);
    let ended = check();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let found = warnings(&ended);
    let [(text, fix)] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert!(text.contains("volatile-lru"), "{text}");
    let typed = fix.split("   (").next().unwrap();
    let words: Vec<&str> = typed.split(' ').skip_while(|word| *word != "CONFIG").collect();
    assert_eq!(redis.command(&words).await, "OK");
    let ended = check();
    assert_eq!((warnings(&ended), ended.code), (Vec::new(), Some(0)), "{ended:?}");
    // Who may not ask is told to look himself, and is not warned.
    redis.command(&["ACL", "SETUSER", "default", "-info"]).await;
    let ended = check();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.out.contains("does not tell its eviction policy"),
        "{}",
        ended.out
    );
}

/// Even the fastest answer comes too late for a request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_too_far_away_is_warned_of() {
    let redis = RedisServer::start().await;
    let road = Proxy::before(redis.port()).await;
    road.set(Weather::Slow(Duration::from_millis(80)));
    let url = road.url();
    let found = warnings(&check(&[("REDIS_URL", &url)]));
    let [(text, fix)] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert!(
        text.starts_with("Redis takes ") && text.contains("wait 50 ms"),
        "{text}"
    );
    let typed = fix.split("   (").next().unwrap();
    let (name, value) = typed.split_once('=').unwrap();
    let ended = check(&[("REDIS_URL", &url), (name, value)]);
    assert_eq!((warnings(&ended), ended.code), (Vec::new(), Some(0)), "{ended:?}");
}

/// Within two seconds is fine. The clock that is moved is stile's own: the difference is the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_differ_are_told_of() {
    let redis = RedisServer::start().await;
    let database = crate::postgres::server().fresh_database();
    let url = redis.url();
    let variables = [("REDIS_URL", url.as_str()), ("DATABASE_URL", &database)];
    let check_at = |offset: &str| {
        assert!(
            std::path::Path::new(FAKETIME).exists(),
            "apt-get install -y faketime"
        );
        check_through(&[FAKETIME, "-f", offset], &variables)
    };
    for (offset, direction) in [("+60s", "behind"), ("-60s", "ahead of")] {
        let ended = check_at(offset);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let found = warnings(&ended);
        let [(of_database, fix), (of_redis, _)] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert!(of_database.starts_with("the clock of PostgreSQL is ") && of_database.contains(direction));
        assert!(of_redis.starts_with("the clock of Redis is ") && of_redis.contains(direction));
        assert!(fix.starts_with("timedatectl set-ntp true"), "{fix}");
    }
    for offset in ["+0s", "+1s", "-1s"] {
        let ended = check_at(offset);
        assert_eq!(
            (warnings(&ended), ended.code),
            (Vec::new(), Some(0)),
            "{offset} {ended:?}"
        );
    }
}

/// Without the database it would not serve, so the configuration is not fine: exit 2.
#[test]
fn a_database_that_is_not_there_says_how_to_look() {
    let ended = check(&[("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/d")]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let (detail, fix) = failed(&ended, "database");
    assert!(detail.ends_with("ConnectionRefused"), "{detail}");
    assert!(fix.starts_with("pg_isready -h 127.0.0.1 -p 1 "), "{fix}");
    assert!(!ended.out.contains("hunter2") && !ended.err.contains("hunter2"));

    // A user that PostgreSQL does not know, and a database that is not there.
    let url = crate::postgres::server().url("nowhere");
    let (detail, fix) = failed(&check(&[("DATABASE_URL", &url)]), "database");
    assert!(
        detail.contains("3D000") && fix.contains("look at user, password and name"),
        "{detail} {fix}"
    );

    let (detail, _) = failed(&check(&[("DATABASE_URL", "sqlite:///etc/passwd")]), "database");
    assert!(detail.contains("no SQLite database"), "{detail}");

    let ended = check(&[("DATABASE_URL", "sqlite:///proc/stile.db")]);
    // Nothing is there yet, and a check makes nothing.
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn a_host_that_nobody_knows_is_called_so() {
    let ended = check(&[
        ("DATABASE_URL", "postgres://u:hunter2@nowhere.invalid/d"),
        ("REDIS_URL", "redis://nowhere.invalid"),
        ("SMTP_URL", "smtp://nowhere.invalid"),
    ]);
    for to in ["database", "redis", "mail"] {
        let (detail, fix) = failed(&ended, to);
        assert!(
            detail.contains("the name of the host is not known"),
            "{to}: {detail}"
        );
        assert!(fix.contains("nowhere.invalid"), "{fix}");
    }
    assert!(!ended.out.contains("hunter2"), "{}", ended.out);
}

/// What is to be typed speaks TLS where the URL does, and names an IPv6 address as programs want it.
#[test]
fn what_to_type_fits_the_url() {
    for (name, url, to, command) in [
        (
            "REDIS_URL",
            "rediss://:x@[::1]:1",
            "redis",
            "redis-cli -h ::1 -p 1 --tls PING",
        ),
        (
            "SMTP_URL",
            "smtps://127.0.0.1:1",
            "mail",
            "openssl s_client -connect 127.0.0.1:1 ",
        ),
        (
            "SMTP_URL",
            "smtp://127.0.0.1:1",
            "mail",
            "openssl s_client -starttls smtp -connect 127.0.0.1:1 ",
        ),
    ] {
        let (_, fix) = failed(&check(&[(name, url)]), to);
        assert!(fix.starts_with(command), "{url}: {fix}");
    }
}

/// Each step towards a mail, by a server that fails at it; nothing is sent in any case.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_that_cannot_be_delivered_is_found_without_sending_one() {
    let mail = SmtpSink::start(Security::StartTls).await;
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("authority.pem");
    std::fs::write(&authority, &mail.authority).unwrap();
    let authority = authority.to_str().unwrap();
    let url = mail.url_with_login("mailer:s3cr3t");
    let good = [("SMTP_URL", url.as_str()), ("TLS_CA_FILE", authority)];
    let fault = |variables: &[(&str, &str)]| {
        let ended = check(variables);
        assert_eq!(ended.code, Some(1), "it would serve: {ended:?}");
        assert!(
            !ended.out.contains("s3cr3t") && !ended.err.contains("s3cr3t"),
            "{ended:?}"
        );
        failed(&ended, "mail")
    };

    let ended = check(&good);
    assert_eq!(
        (connection(&ended, "mail")["ok"].as_bool(), ended.code),
        (Some(true), Some(0)),
        "{ended:?}"
    );

    let (detail, fix) = fault(&good[..1]);
    assert!(
        detail.contains("STARTTLS") && fix.contains("TLS_CA_FILE="),
        "{detail} {fix}"
    );

    mail.behave(Behaviour::Answers(At::Auth, "535 5.7.8 no"));
    let (detail, fix) = fault(&good);
    assert!(
        detail.contains("AUTH") && fix.starts_with("SMTP_URL=smtp://USER:PASSWORD@localhost:"),
        "{detail} {fix}"
    );

    mail.behave(Behaviour::Answers(At::Mail, "553 5.1.8 not from there"));
    let (detail, fix) = fault(&good);
    assert!(
        detail.contains("MAIL FROM") && fix.starts_with("MAIL_FROM="),
        "{detail} {fix}"
    );

    mail.behave(Behaviour::HangsUp);
    let (detail, fix) = fault(&good);
    assert!(
        detail.contains("connecting") && fix.starts_with("openssl s_client "),
        "{detail} {fix}"
    );
    assert!(mail.received().is_empty(), "a check sends no mail");

    // Production demands TLS.
    let plain = SmtpSink::start(Security::Plain).await;
    let production: Vec<_> = crate::PRODUCTION
        .iter()
        .copied()
        .filter(|(name, _)| *name != "DATABASE_URL")
        .chain([
            ("DATABASE_URL", "sqlite://x.db"),
            ("ALLOW_SQLITE", "true"),
            ("REDIS_URL", ""),
        ])
        .collect();
    let plain_url = plain.url();
    let (detail, fix) = fault(&[&production[..], &[("SMTP_URL", &plain_url)]].concat());
    assert!(
        detail.contains("no STARTTLS") && fix.starts_with("SMTP_URL=smtps://"),
        "{detail} {fix}"
    );

    // A server that takes anything tells nothing of what other servers will say to this sender.
    mail.behave(Behaviour::Normal);
    let said = |more: &[(&str, &str)]| {
        let found = warnings(&check(&[&production[..], &good, more].concat()));
        found
            .iter()
            .any(|(text, fix)| text.starts_with("MAIL_FROM is ") && fix.starts_with("MAIL_FROM="))
    };
    assert!(said(&[]));
    assert!(!said(&[("MAIL_FROM", "Example <no-reply@example.org>")]));
}
