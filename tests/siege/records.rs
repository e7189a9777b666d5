//! LGR-03: each security event is one structured line of the log and one row of `audit_log`, and no user's text can
//! forge or deface a line.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use stile::storage::{AuditRow, Database, DatabaseUrl, Settings, latest_audit_rows};

use crate::client;
use crate::process::{PATIENCE, Process, Stile};
use crate::redis::RedisServer;

const PASSWORD: &str = "correct-horse-battery-9";
const NEW_PASSWORD: &str = "another-pass-phrase-7";

/// Sends, and notes which request is to leave which event.
struct Witness<'a> {
    stile: &'a Process,
    http: reqwest::Client,
    expected: Vec<Expected>,
}

struct Expected {
    request_id: String,
    event: &'static str,
    outcome: &'static str,
    of_user: bool,
}

impl Witness<'_> {
    async fn see(
        &mut self,
        (event, outcome, of_user): (&'static str, &'static str, bool),
        path: &str,
        body: Value,
        bearer: Option<&Value>,
    ) -> Value {
        let method = if path.contains("sessions") {
            reqwest::Method::DELETE
        } else {
            reqwest::Method::POST
        };
        let mut request = self
            .http
            .request(method, self.stile.url(&format!("/api/v1/auth/{path}")))
            .json(&body);
        if let Some(token) = bearer {
            request = request.bearer_auth(token.as_str().unwrap());
        }
        let answer = request.send().await.unwrap();
        let request_id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        self.expected.push(Expected {
            request_id,
            event,
            outcome,
            of_user,
        });
        answer.json().await.unwrap_or_default()
    }
}

/// Waits for the first mail to `to` after the first `skip` ones; the token in it.
async fn mailed_token(outbox: &std::path::Path, subject_has: &str) -> String {
    for _ in 0..400 {
        let entries = std::fs::read_dir(outbox).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.path().extension().is_some_and(|kind| kind == "eml")) {
            let raw = std::fs::read(entry.path()).unwrap();
            let mail = mailparse::parse_mail(&raw).unwrap();
            let text = mail.subparts[0].get_body().unwrap();
            if let Some((before, rest)) = text.split_once("#token=")
                && before.contains(subject_has)
            {
                return rest.split_whitespace().next().unwrap().to_owned();
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no mail with {subject_has}");
}

/// LGR-03.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_is_one_record_with_all_that_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let stile = Stile::in_directory(folder.path())
        .set("ENVIRONMENT", "test")
        .set("REFRESH_REUSE_GRACE_SECONDS", "0")
        .set("RATE_LIMIT_PASSWORD_RESET", "1/hour")
        .start();
    let expected = eventful_life(&stile, &folder.path().join("data/outbox")).await;
    stile.signal("TERM");
    stile.wait_for_end(PATIENCE);
    let log: Vec<Value> = stile
        .out
        .all()
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let rows = audit_rows(folder.path()).await;
    for Expected {
        request_id,
        event,
        outcome,
        of_user,
    } in &expected
    {
        let lines: Vec<&Value> = log
            .iter()
            .filter(|line| line["request_id"] == **request_id && line["event"].is_string())
            .collect();
        assert_eq!(lines.len(), 1, "{event}: {lines:?}");
        let line = lines[0];
        assert_eq!(
            (&line["event"], &line["outcome"]),
            (&json!(event), &json!(outcome)),
            "{line}"
        );
        // Where no user is known, or none may be looked up, the account that was named has a pseudonym.
        assert_eq!(line["user_id"].is_string(), *of_user, "{line}");
        assert!(
            *of_user || line["account"].is_string() || *event == "rate_limited",
            "{line}"
        );
        assert_eq!(line["client_ip"], "127.0.0.1", "{line}");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
        if *outcome == "failure" {
            assert!(line["reason"].is_string(), "{line}");
        }
        let rows: Vec<&AuditRow> = rows
            .iter()
            .filter(|row| row.request_id.as_deref() == Some(request_id.as_str()))
            .collect();
        assert_eq!(rows.len(), 1, "{event}: {rows:?}");
        let row = rows[0];
        assert_eq!((row.event.as_str(), row.outcome.as_str()), (*event, *outcome));
        assert_eq!(row.user_id.as_deref(), line["user_id"].as_str(), "{event}");
        assert_eq!(row.client_ip.as_deref(), Some("127.0.0.1"));
    }
    // And nothing else happened.
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for line in log.iter().filter(|line| line["event"].is_string()) {
        *counts.entry(line["event"].as_str().unwrap()).or_default() += 1;
    }
    assert_eq!(counts.values().sum::<usize>(), expected.len(), "{counts:?}");
}

/// A person's life with the service: each request, and the event that it is to leave.
async fn eventful_life(stile: &Process, outbox: &std::path::Path) -> Vec<Expected> {
    let mut witness = Witness {
        stile,
        http: client(),
        expected: Vec::new(),
    };
    let (good, bad) = ("success", "failure");
    let ada = json!({"email": "ada@example.com", "password": PASSWORD});
    witness
        .see(("register", good, true), "register", ada.clone(), None)
        .await;
    let wrong = json!({"email": "ada@example.com", "password": "wrong"});
    witness
        .see(("login_failure", bad, true), "login", wrong, None)
        .await;
    let unknown = json!({"email": "nobody@example.com", "password": "wrong"});
    witness
        .see(("login_failure", bad, false), "login", unknown, None)
        .await;
    let first = witness
        .see(("login_success", good, true), "login", ada.clone(), None)
        .await;
    let token = json!({"refresh_token": first["refresh_token"]});
    witness
        .see(("token_refresh", good, true), "refresh", token.clone(), None)
        .await;
    witness
        .see(("refresh_reuse", bad, true), "refresh", token, None)
        .await;
    let second = witness
        .see(("login_success", good, true), "login", ada.clone(), None)
        .await;
    let third = witness
        .see(("login_success", good, true), "login", ada, None)
        .await;
    let path = format!("sessions/{}", third["session_id"].as_str().unwrap());
    witness
        .see(
            ("session_revoked", good, true),
            &path,
            json!({}),
            Some(&second["access_token"]),
        )
        .await;
    let change = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD});
    witness
        .see(
            ("password_change", good, true),
            "change-password",
            change,
            Some(&second["access_token"]),
        )
        .await;
    witness
        .see(
            ("logout", good, true),
            "logout",
            json!({}),
            Some(&second["access_token"]),
        )
        .await;
    let address = json!({"email": "ada@example.com"});
    witness
        .see(
            ("password_reset_request", good, false),
            "password-reset/request",
            address.clone(),
            None,
        )
        .await;
    witness
        .see(
            ("rate_limited", bad, false),
            "password-reset/request",
            address,
            None,
        )
        .await;
    let token = mailed_token(outbox, "reset-password").await;
    let confirm = json!({"token": token, "new_password": PASSWORD});
    witness
        .see(
            ("password_reset_success", good, true),
            "password-reset/confirm",
            confirm,
            None,
        )
        .await;
    witness.expected
}

async fn audit_rows(folder: &std::path::Path) -> Vec<AuditRow> {
    let settings = Settings {
        url: DatabaseUrl::Sqlite(folder.join("data/stile.db")),
        max_connections: 1,
        tls_ca_file: None,
    };
    let database = Database::connect(&settings).await.unwrap();
    latest_audit_rows(&mut database.read().await.unwrap(), 1000)
        .await
        .unwrap()
}

/// LGR-03: one line when Redis is lost, one when it is back, not one per request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_redis_and_its_return_are_one_record_each() {
    let mut redis = RedisServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let stile = Stile::in_directory(folder.path())
        .set("ENVIRONMENT", "test")
        .set("REDIS_URL", redis.url())
        .start();
    let http = client();
    let ask = async || {
        let answer = http.get(stile.url("/api/v1/health")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    };
    ask().await;
    redis.kill();
    for _ in 0..20 {
        ask().await;
    }
    let said = |event: &str| {
        let ended = || stile.has_ended();
        stile.out.wait_for(|line| line.contains(event), ended).unwrap()
    };
    assert!(said("rate_limiter_degraded").contains("WARN"));
    redis.restart().await;
    assert!(said("rate_limiter_recovered").contains("INFO"));
    for _ in 0..20 {
        ask().await;
    }
    for event in ["rate_limiter_degraded", "rate_limiter_recovered"] {
        assert_eq!(stile.out.count(event), 1, "{}", stile.out.text());
    }
    stile.signal("TERM");
    assert!(stile.wait_for_end(PATIENCE).success());
    let rows = audit_rows(folder.path()).await;
    for (event, outcome) in [
        ("rate_limiter_degraded", "failure"),
        ("rate_limiter_recovered", "success"),
    ] {
        let of_event: Vec<_> = rows.iter().filter(|row| row.event == event).collect();
        assert_eq!(of_event.len(), 1, "{event}");
        assert_eq!(of_event[0].outcome, outcome);
    }
}

/// Contract section 5: a user's text is never unescaped in the log, whichever way it is written.
#[test]
fn no_text_of_a_user_forges_or_defaces_a_line() {
    for format in ["text", "json"] {
        let folder = tempfile::tempdir().unwrap();
        let stile = Stile::in_directory(folder.path())
            .set("ENVIRONMENT", "test")
            .set("LOG_FORMAT", format)
            .set("ENABLE_RATE_LIMITING", "false")
            .set("RUST_LOG", "trace")
            .start();
        let hostile = r"a\r\n2026-01-01T00:00:00Z  INFO event=\u0022login_success\u0022 forged\n\u001b[2J\u001b]0;x\u0007\u202e@example.com";
        let body = format!(r#"{{"email":"{hostile}","password":"{hostile}","full_name":"{hostile}"}}"#);
        for path in ["register", "login", "password-reset/request"] {
            for (header, value) in [
                ("x-a", "b"),
                ("x-request-id", "a b\"c\u{e9} forged=1"),
                ("user-agent", "\u{9b}2J%0d%0aforged\t\"'"),
            ] {
                let request = format!(
                    "POST /api/v1/auth/{path}?forged=%0d%0a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{header}: {value}\r\n\
                     content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let answer = talk(&stile, request.as_bytes());
                assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
            }
        }
        // What is good enough to be stored is not told either.
        let name = r#"{"email":"ada@example.com","password":"correct-horse-battery-9","full_name":"forged=\u0022x\u0022 👩‍👧"}"#;
        let request = format!(
            "POST /api/v1/auth/register HTTP/1.1\r\nhost: x\r\nconnection: close\r\nuser-agent: forged\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{name}",
            name.len()
        );
        assert!(talk(&stile, request.as_bytes()).starts_with("HTTP/1.1 201"));
        stile.signal("TERM");
        stile.wait_for_end(PATIENCE);
        for line in stile.out.all().iter().chain(&stile.err.all()) {
            assert!(
                !line.chars().any(|c| c.is_control() || c == '\u{202e}'),
                "{line:?}"
            );
            assert!(!line.contains("forged"), "{line}");
            if format == "json" {
                serde_json::from_str::<Value>(line).unwrap();
            } else {
                assert!(line.starts_with("20"), "{line}");
            }
        }
    }
}

fn talk(stile: &Process, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(stile.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}
