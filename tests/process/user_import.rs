//! `stile user import`: hashes from elsewhere, beside running servers, killed in the middle and run again.

use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::process::Stile;
use crate::traffic::{PASSWORD, is_long, login, register, wait_until};
use crate::users::{done, done_json, engines, user};

/// Of "pässwörd", by other programs.
const HASHES: [&str; 8] = [
    "$pbkdf2-sha256$i=1000,l=32$AAECAwQFBgcICQoLDA0ODw$L1aYbGjzdoPwxPhGrTdCzJAIXgv98gXX9F7Efjyq3Og",
    "$pbkdf2-sha256$1000$................$i8PHuMflCUu1FoGQMyB1ofXzR3.vbDfy8/gUJmLmwyk",
    "$scrypt$ln=10,r=8,p=2$AAECAwQFBgcICQoLDA0ODw$TkT56NiPmTdUAf+uNExI5vcKrgkon8n1xe63htB5qWo",
    "$2b$05$abcdefghijklmnopqrstuuZVEMa1pjhlynBQ1qXmSvGBJpN9h1w8G",
    "$2y$05$abcdefghijklmnopqrstuuZVEMa1pjhlynBQ1qXmSvGBJpN9h1w8G",
    "pbkdf2_sha256$1000$saltSALT$GvkKjw7ULO0YoTINQVeRCHCvGRxYo1JHN8GEYHBzrhM=",
    "bcrypt_sha256$$2b$05$abcdefghijklmnopqrstuuFqKZfKbV8Bt0NaNqMDqaKN5Biompdw6",
    "pbkdf2:sha256:1000$saltSALT$1af90a8f0ed42ced18a1320d4157910870af191c58a3524737c184607073ae13",
];
/// Of "password", from argon2's reference implementation.
const ARGON2: &str = "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA";

fn file(directory: &Path, name: &str, lines: &[String]) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, lines.join("\n")).unwrap();
    path
}

fn import(stile: &Stile, file: &Path) -> crate::process::Ended {
    user(stile, &["import", file.to_str().unwrap()])
}

fn row(email: &str, hash: &str) -> String {
    json!({"email": email, "password_hash": hash}).to_string()
}

/// LOG-11: the hash is rewritten at the first login.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_log_in_with_the_passwords_they_had_and_are_hashed_anew() {
    let directory = tempfile::tempdir().unwrap();
    let mut lines: Vec<String> = HASHES
        .iter()
        .enumerate()
        .map(|(n, hash)| row(&format!("u{n}@example.com"), hash))
        .collect();
    lines.push(json!({
        "email": " Ada@Example.com ", "password_hash": ARGON2, "full_name": "Ada Lovelace", "is_verified": true,
        "created_at": "2020-02-29T12:00:00+01:00", "is_admin": true, "role": "admin",
    }).to_string());
    let file = file(directory.path(), "users.jsonl", &lines);
    for stile in engines(directory.path()) {
        let server = stile.clone().start();
        let ended = import(&stile, &file);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(
            ended.out,
            "9 imported, 0 skipped because they were there already, 0 refused"
        );
        assert_eq!(ended.err, "", "no bar where nobody looks");
        let ada = done_json(&stile, &["show", "ada@example.com"]);
        let expected = json!({
            "id": ada["id"], "email": "ada@example.com", "full_name": "Ada Lovelace", "role": "user", "is_active": true,
            "is_verified": true, "created_at": "2020-02-29T11:00:00Z", "last_login_at": null,
        });
        assert_eq!(ada, expected);
        for _ in 0..2 {
            for n in 0..HASHES.len() {
                login(&server, &format!("u{n}@example.com"), "pässwörd")
                    .await
                    .expect(200);
                login(&server, &format!("u{n}@example.com"), "passwörd")
                    .await
                    .expect(401);
            }
            login(&server, "ada@example.com", "password").await.expect(200);
        }
        let hashes = stored_hashes(&stile).await;
        assert_eq!(hashes.len(), 9);
        assert!(
            hashes
                .iter()
                .all(|hash| hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$")),
            "{hashes:?}"
        );
        // Again: what is there is left alone.
        let again = import(&stile, &file);
        assert_eq!(
            (again.code, again.out.as_str()),
            (
                Some(0),
                "0 imported, 9 skipped because they were there already, 0 refused"
            )
        );
        login(&server, "u0@example.com", "pässwörd").await.expect(200);
    }
}

#[test]
fn a_refused_line_is_told_by_number_and_field_and_the_rest_goes_in() {
    let directory = tempfile::tempdir().unwrap();
    let costly = HASHES[3].replace("$05$", "$15$");
    let long = format!("{}{}", row("long@example.com", HASHES[3]), " ".repeat(70_000));
    let lines = [
        format!("\u{feff}{}", row("first@example.com", HASHES[3])),
        row("not-an-address", HASHES[3]),
        String::new(),
        row("plain@example.com", "hunter2-hunter2"),
        row("costly@example.com", &costly),
        format!("{{\"email\":\"cut@example.com\",\"password_hash\":\"{}", HASHES[3]),
        long,
        row("first@example.com", HASHES[4]),
        json!({"email": "late@example.com", "password_hash": HASHES[3], "created_at": "2999-01-01T00:00:00Z"}).to_string(),
        row("last@example.com", HASHES[3]),
    ];
    let path = file(directory.path(), "users.jsonl", &lines);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend(b"\r\n{\"email\":\"\xff@example.com\"}\r\n");
    std::fs::write(&path, bytes).unwrap();
    for stile in engines(directory.path()) {
        let ended = import(&stile, &path);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(
            ended.out,
            "2 imported, 1 skipped because they were there already, 7 refused"
        );
        let said: Vec<_> = ended.err.lines().collect();
        for (line, (number, what)) in said.iter().zip([
            (2, "email: "),
            (4, "password_hash: not a password hash of a known kind"),
            (5, "password_hash: costs more to verify than "),
            (6, "no JSON, from column "),
            (7, "longer than 64 KiB"),
            (9, "created_at: in the future"),
        ]) {
            let expected = format!("stile: {}:{number}: {what}", path.display());
            assert!(line.starts_with(&expected), "{line}\n{expected}");
        }
        // The seventh is not UTF-8.
        assert_eq!(said.len(), 7, "{said:#?}");
        for secret in ["hunter2", "abcdefghijklmnopqrstuu"] {
            assert!(!format!("{ended:?}").contains(secret));
        }
        let ended = user(&stile, &["import", path.to_str().unwrap(), "--json"]);
        let report: Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!((&report["imported"], &report["skipped"]), (&json!(0), &json!(3)));
        assert_eq!(report["refused"][0]["line"], 2);
        assert_eq!(report["refused"][0]["field"], "email");
    }
}

/// Nothing half-written: each account has its row of the audit log, and a second run brings the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_is_killed_is_run_again_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let count = if is_long() { 50_000 } else { 5_000 };
    let lines: Vec<String> = (0..count)
        .map(|n| row(&format!("u{n}@example.com"), HASHES[3]))
        .collect();
    let path = file(directory.path(), "users.jsonl", &lines);
    for stile in engines(directory.path()) {
        let server = stile.clone().start();
        let mut there = 0;
        for kill in 1..=3 {
            let running = stile
                .clone()
                .arguments(&["user", "import", path.to_str().unwrap()])
                .spawn();
            wait_until("some are in", async || {
                running.has_ended() || number_of_users(&stile).await > there + 200 * kill
            })
            .await;
            running.signal("KILL");
            let _ = running.wait_for_end(crate::process::PATIENCE);
            there = number_of_users(&stile).await;
            assert_eq!(
                there,
                number_of_imports(&stile).await,
                "each with its row of the audit log"
            );
            assert_eq!(there % 200, 0, "whole batches");
        }
        assert!(there < count, "killed in the middle: {there}");
        let ended = import(&stile, &path);
        let expected = format!(
            "{} imported, {there} skipped because they were there already, 0 refused",
            count - there
        );
        assert_eq!((ended.code, ended.out), (Some(0), expected));
        assert_eq!(
            (number_of_users(&stile).await, number_of_imports(&stile).await),
            (count, count)
        );
        login(&server, "u4999@example.com", "pässwörd").await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_imported_and_registered_at_once_is_one_account() {
    let directory = tempfile::tempdir().unwrap();
    let lines: Vec<String> = (0..60)
        .map(|n| row(&format!("u{n}@example.com"), HASHES[3]))
        .collect();
    let path = file(directory.path(), "users.jsonl", &lines);
    for stile in engines(directory.path()) {
        let server = stile.clone().start();
        let imports: Vec<_> = (0..2)
            .map(|_| {
                stile
                    .clone()
                    .arguments(&["user", "import", path.to_str().unwrap()])
                    .spawn()
            })
            .collect();
        let emails: Vec<String> = (0..60).map(|n| format!("u{n}@example.com")).collect();
        let answers = join_all(emails.iter().take(30).map(|email| register(&server, email))).await;
        for running in imports {
            let status = running.wait_for_end(crate::process::PATIENCE);
            assert!(status.success(), "{}", running.err.text());
        }
        assert_eq!(number_of_users(&stile).await, 60);
        for (n, answer) in answers.iter().enumerate().step_by(6) {
            let registered = answer.status == 201;
            assert!(registered || [409, 503].contains(&answer.status), "{answer:?}");
            let password = if registered { PASSWORD } else { "pässwörd" };
            login(&server, &emails[n], password).await.expect(200);
        }
    }
}

/// With REQUIRE_EMAIL_VERIFICATION: whoever registered an address without proving it does not keep its owner out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_takes_the_place_of_one_that_was_only_registered() {
    let directory = tempfile::tempdir().unwrap();
    let line =
        json!({"email": "ada@example.com", "password_hash": HASHES[3], "is_verified": true}).to_string();
    let path = file(directory.path(), "users.jsonl", &[line]);
    for stile in engines(directory.path()) {
        let stile = stile.set("REQUIRE_EMAIL_VERIFICATION", "true");
        let server = stile.clone().start();
        register(&server, "ada@example.com").await.expect(202);
        assert!(done(&stile, &["import", path.to_str().unwrap()]).starts_with("1 imported"));
        login(&server, "ada@example.com", PASSWORD).await.expect(401);
        login(&server, "ada@example.com", "pässwörd").await.expect(200);
    }
}

async fn stored_hashes(stile: &Stile) -> Vec<String> {
    texts(stile, "SELECT password_hash FROM users").await
}

async fn number_of_users(stile: &Stile) -> usize {
    texts(stile, "SELECT id FROM users").await.len()
}

async fn number_of_imports(stile: &Stile) -> usize {
    texts(
        stile,
        "SELECT id FROM audit_log WHERE event = 'admin_user_imported' AND target_id IS NOT NULL",
    )
    .await
    .len()
}

/// The one column, of text, that a query gives.
async fn texts(stile: &Stile, query: &'static str) -> Vec<String> {
    use sqlx::Connection as _;
    match stile.variable("DATABASE_URL") {
        Some(url) => {
            let mut on = sqlx::PgConnection::connect(url).await.unwrap();
            sqlx::query_scalar(query).fetch_all(&mut on).await.unwrap()
        }
        None => {
            let url = format!("sqlite://{}", stile.directory().join("data/stile.db").display());
            let mut on = sqlx::SqliteConnection::connect(&url).await.unwrap();
            sqlx::query_scalar(query).fetch_all(&mut on).await.unwrap()
        }
    }
}
