//! LGR-01: passwords, tokens and keys are told to nobody: not to the log at `RUST_LOG=trace`, not to an error's
//! answer, not to a file.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};

use crate::postgres;
use crate::process::{PATIENCE, Process, Stile};
use crate::redis::RedisServer;
use crate::smtp::{Security, SmtpSink};

/// What nobody may see again. Long and odd enough to be found by their look.
const FIRST: &str = "Marker-Zebra-Quartz-first-91";
const SECOND: &str = "Marker-Zebra-Quartz-second-92";
const THIRD: &str = "Marker-Zebra-Quartz-third-93";
const WRONG: &str = "Marker-Zebra-Quartz-wrong-94";
const BROKEN: &str = "Marker-Zebra-Quartz-broken-95";
const DSN: &str = "MarkerDsnZebraQuartz96";
const REDIS: &str = "MarkerRedisZebraQuartz97";
const SMTP: &str = "MarkerSmtpZebraQuartz98";
const JWT: &str = "MarkerJwt-kT8wZ1qPx5vN3cR7yB2mL9sD4fG6hJ0aE-99";
const KEY: &str = "MarkerKey-pW4nX7zQ2vT9kB5mC8rY1dF3gH6jL0sA-90";

/// A visitor who remembers what he was given and what he was told.
struct Visitor<'a> {
    stile: &'a Process,
    http: reqwest::Client,
    secrets: Vec<String>,
    told: String,
}

impl Visitor<'_> {
    async fn send(&mut self, method: Method, path: &str, body: Option<String>, bearer: &str) -> Value {
        let mut request = self
            .http
            .request(method, self.stile.url(path))
            .header("origin", "https://auth.example.org");
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        if !bearer.is_empty() {
            request = request.bearer_auth(bearer);
        }
        let answer = request.send().await.unwrap();
        let failed = !answer.status().is_success();
        let headers = format!("{:?}", answer.headers());
        let text = answer.text().await.unwrap();
        if failed {
            self.told.push_str(&headers);
            self.told.push_str(&text);
        }
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        for name in ["access_token", "refresh_token"] {
            self.secrets.extend(body[name].as_str().map(str::to_owned));
        }
        body
    }

    async fn post(&mut self, path: &str, body: Value) -> Value {
        self.send(
            Method::POST,
            &format!("/api/v1/auth/{path}"),
            Some(body.to_string()),
            "",
        )
        .await
    }
}

/// Every use case, well and badly, each with a secret in it.
async fn journey(visitor: &mut Visitor<'_>, mails: impl AsyncFn(usize) -> Vec<String>) {
    let email = "ada@example.com";
    visitor
        .post(
            "register",
            json!({"email": email, "password": FIRST, "full_name": "Ada"}),
        )
        .await;
    visitor
        .post("register", json!({"email": email, "password": FIRST}))
        .await;
    visitor
        .post("register", json!({"email": "no address", "password": WRONG}))
        .await;
    visitor
        .post("login", json!({"email": email, "password": WRONG}))
        .await;
    visitor
        .post("login", json!({"email": "nobody@example.com", "password": WRONG}))
        .await;
    visitor
        .post("login", json!({"email": {"a": BROKEN}, "password": [BROKEN]}))
        .await;
    visitor
        .post(
            "login",
            json!({"email": BROKEN, "password": format!("{BROKEN}\u{0}")}),
        )
        .await;
    // Where no secret belongs, and yet somebody puts one.
    let login = "/api/v1/auth/login";
    for body in [
        format!("{{\"password\": \"{BROKEN}\""),
        format!("{{\"password\": {BROKEN}}}"),
        BROKEN.repeat(900),
    ] {
        visitor.send(Method::POST, login, Some(body), "").await;
    }
    for path in [
        format!("/api/v1/auth/me?access_token={BROKEN}"),
        format!("/{BROKEN}"),
        format!("/api/v1/{BROKEN}"),
    ] {
        visitor.send(Method::GET, &path, None, BROKEN).await;
    }
    visitor
        .send(
            Method::DELETE,
            &format!("/api/v1/auth/sessions/{BROKEN}"),
            None,
            BROKEN,
        )
        .await;

    sign_in_and_change_everything(visitor, email).await;
    forget_the_password(visitor, email, mails).await;
    leave(visitor, email).await;
}

async fn sign_in_and_change_everything(visitor: &mut Visitor<'_>, email: &str) {
    let tokens = visitor
        .post("login", json!({"email": email, "password": FIRST}))
        .await;
    let refreshed = visitor
        .post("refresh", json!({"refresh_token": tokens["refresh_token"]}))
        .await;
    assert!(refreshed["access_token"].is_string(), "{refreshed}");
    let access = refreshed["access_token"].as_str().unwrap().to_owned();
    for (method, path, body) in [
        (Method::GET, "/me", None),
        (Method::PATCH, "/me", Some(json!({"full_name": "Ada L."}))),
        (
            Method::POST,
            "/change-password",
            Some(json!({"current_password": WRONG, "new_password": SECOND})),
        ),
        (
            Method::POST,
            "/change-password",
            Some(json!({"current_password": FIRST, "new_password": SECOND})),
        ),
        (
            Method::POST,
            "/change-email",
            Some(json!({"password": SECOND, "new_email": "other@example.com"})),
        ),
        (Method::GET, "/sessions", None),
    ] {
        let body = body.map(|body| body.to_string());
        visitor
            .send(method, &format!("/api/v1/auth{path}"), body, &access)
            .await;
    }
}

async fn forget_the_password(
    visitor: &mut Visitor<'_>,
    email: &str,
    mails: impl AsyncFn(usize) -> Vec<String>,
) {
    visitor
        .post("password-reset/request", json!({"email": email}))
        .await;
    visitor.post("resend-verification", json!({"email": email})).await;
    // Verification, notice of the change, link and notice of the new address, reset; the rest may still be on its way.
    let sent = mails(5).await;
    let links = sent
        .iter()
        .filter_map(|mail| mail.split_once("#token="))
        .map(|(_, rest)| rest);
    let mailed: Vec<String> = links
        .map(|rest| rest.split_whitespace().next().unwrap().to_owned())
        .collect();
    assert!(mailed.len() >= 3, "{sent:#?}");
    for token in &mailed {
        visitor
            .post("password-reset/verify", json!({"token": token}))
            .await;
        visitor.post("verify-email", json!({"token": token})).await;
        visitor
            .post(
                "password-reset/confirm",
                json!({"token": token, "new_password": THIRD}),
            )
            .await;
    }
    visitor.secrets.extend(mailed);
}

async fn leave(visitor: &mut Visitor<'_>, email: &str) {
    for email in [email, "other@example.com"] {
        let tokens = visitor
            .post("login", json!({"email": email, "password": THIRD}))
            .await;
        visitor
            .post("logout", json!({"refresh_token": tokens["refresh_token"]}))
            .await;
        // Reuse of an ended token.
        visitor
            .post("refresh", json!({"refresh_token": tokens["refresh_token"]}))
            .await;
        if let Some(access) = tokens["access_token"].as_str().map(str::to_owned) {
            let body = json!({"password": WRONG}).to_string();
            visitor
                .send(Method::DELETE, "/api/v1/auth/me", Some(body), &access)
                .await;
        }
    }
}

/// All files below a folder but those that hold a secret by their purpose.
fn files(folder: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        if path.is_dir() {
            if !name.ends_with("outbox") {
                files(&path, into);
            }
        } else if !name.ends_with("signing_key.pem") {
            into.push((name, std::fs::read(&path).unwrap()));
        }
    }
}

fn holds(text: &[u8], secret: &str) -> bool {
    let looks = [
        secret.to_owned(),
        STANDARD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
    ];
    looks
        .iter()
        .any(|look| text.windows(look.len()).any(|window| window == look.as_bytes()))
}

/// Visits a server, ends it, and looks everywhere.
async fn nothing_is_told(
    stile: Stile,
    folder: &Path,
    mails: impl AsyncFn(usize) -> Vec<String>,
    links_are_logged: bool,
) {
    let stile = tokio::task::spawn_blocking(|| stile.set("RUST_LOG", "trace").start())
        .await
        .unwrap();
    let http = crate::client();
    let mut visitor = Visitor {
        stile: &stile,
        http,
        secrets: Vec::new(),
        told: String::new(),
    };
    journey(&mut visitor, mails).await;
    let Visitor { secrets, told, .. } = visitor;
    stile.signal("TERM");
    stile.wait_for_end(PATIENCE);
    let mut places = vec![
        ("standard error".to_owned(), stile.err.text().into_bytes()),
        ("answers".to_owned(), told.into_bytes()),
    ];
    files(folder, &mut places);
    let log = stile.out.all();
    assert!(log.len() > 20, "{log:#?}");
    let is_link = |line: &str| links_are_logged && line.contains("#token=");
    assert_eq!(
        log.iter().any(|line| line.contains("#token=")),
        links_are_logged,
        "{log:#?}"
    );
    let plain: Vec<&str> = log
        .iter()
        .map(String::as_str)
        .filter(|line| !is_link(line))
        .collect();
    places.push(("the log".to_owned(), plain.join("\n").into_bytes()));
    let fixed = [
        FIRST,
        SECOND,
        THIRD,
        WRONG,
        BROKEN,
        DSN,
        REDIS,
        SMTP,
        JWT,
        KEY,
        "MarkerUser",
    ];
    for (place, text) in &places {
        assert!(
            place.contains("stile.db") || !holds(text, "$argon2"),
            "a hash in {place}"
        );
        for secret in fixed.iter().copied().chain(secrets.iter().map(String::as_str)) {
            assert!(
                !holds(text, secret),
                "{secret} in {place}:\n{}",
                around(text, secret)
            );
        }
    }
    // The line with a link holds nothing else.
    for line in log.iter().filter(|line| is_link(line)) {
        assert!(!fixed.iter().any(|secret| line.contains(secret)), "{line}");
    }
}

/// The line that holds it, for the one who has to find out.
fn around(text: &[u8], secret: &str) -> String {
    let text = String::from_utf8_lossy(text);
    text.lines()
        .find(|line| line.contains(secret))
        .unwrap_or_default()
        .chars()
        .take(400)
        .collect()
}

/// The mails in a folder, as text, as soon as there are `count`.
async fn mails_in(folder: &Path, count: usize) -> Vec<String> {
    for _ in 0..400 {
        let entries = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        let files: Vec<_> = entries
            .filter(|file| file.extension().is_some_and(|kind| kind == "eml"))
            .collect();
        if files.len() >= count {
            return files
                .iter()
                .map(|file| text_of(&std::fs::read(file).unwrap()))
                .collect();
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("fewer than {count} mails in 20 s");
}

fn text_of(mail: &[u8]) -> String {
    let mail = mailparse::parse_mail(mail).unwrap();
    let part = mail
        .subparts
        .iter()
        .find(|part| part.ctype.mimetype == "text/plain")
        .unwrap_or(&mail);
    part.get_body().unwrap()
}

fn generous(folder: &Path) -> Stile {
    // Limits are on, so that Redis is spoken to, and no secret is spared by a refusal.
    [
        "REGISTRATION",
        "LOGIN",
        "REFRESH",
        "PASSWORD_RESET",
        "RESET_VERIFY",
        "RESET_CONFIRM",
        "VERIFY_EMAIL",
        "RESEND_VERIFICATION",
        "CHANGE_PASSWORD",
        "GLOBAL",
        "LOGIN_ACCOUNT",
        "MAIL_ACCOUNT",
    ]
    .iter()
    .fold(Stile::in_directory(folder), |stile, name| {
        stile.set(&format!("RATE_LIMIT_{name}"), "1000/hour")
    })
    .set("REFRESH_REUSE_GRACE_SECONDS", "0")
    .set("SHUTDOWN_DELAY_SECONDS", "0")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_development_only_the_mailed_link_is_logged() {
    let _quiet = crate::QUIET.read().await;
    let folder = tempfile::tempdir().unwrap();
    let outbox = folder.path().join("data/outbox");
    let stile = generous(folder.path())
        .set("AUTH_COOKIES", "true")
        .set("JWT_SECRET", JWT)
        .set("SECRET_KEY", KEY);
    nothing_is_told(
        stile,
        folder.path(),
        async |count| mails_in(&outbox, count).await,
        true,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn elsewhere_no_link_is_logged() {
    let _quiet = crate::QUIET.read().await;
    let folder = tempfile::tempdir().unwrap();
    let outbox = folder.path().join("data/outbox");
    let stile = generous(folder.path()).set("ENVIRONMENT", "test");
    nothing_is_told(
        stile,
        folder.path(),
        async |count| mails_in(&outbox, count).await,
        false,
    )
    .await;
}

/// With PostgreSQL, Redis and SMTP, each with a password of its own.
async fn among_servers(environment: &str) {
    let folder = tempfile::tempdir().unwrap();
    let sink = SmtpSink::start(Security::StartTls).await;
    let redis = RedisServer::start_with(&["--requirepass", REDIS]).await;
    let authority = folder.path().join("authority.pem");
    std::fs::write(&authority, &sink.authority).unwrap();
    let database = tokio::task::spawn_blocking(|| postgres::server().fresh_database())
        .await
        .unwrap();
    let stile = generous(folder.path())
        .set("ENVIRONMENT", environment)
        .set(
            "DATABASE_URL",
            database.replace("postgres@", &format!("postgres:{DSN}@")),
        )
        .set("REDIS_URL", redis.url())
        .set("SMTP_URL", sink.url_with_login(&format!("MarkerUser:{SMTP}")))
        .set("TLS_CA_FILE", authority.display().to_string())
        .set("PUBLIC_URL", "https://auth.example.org")
        .set("JWT_SECRET", JWT)
        .set("SECRET_KEY", KEY);
    let mails = async |count: usize| {
        for _ in 0..400 {
            let received = sink.received();
            if received.len() >= count {
                return received
                    .iter()
                    .map(|mail| text_of(mail.data.as_bytes()))
                    .collect();
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("{} mails in 20 s", sink.received().len());
    };
    nothing_is_told(stile, folder.path(), mails, false).await;
    assert_eq!(
        sink.received()[0].login,
        Some(("MarkerUser".into(), SMTP.into())),
        "it was used"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_staging_nothing_is_told() {
    let _quiet = crate::QUIET.read().await;
    among_servers("staging").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_production_nothing_is_told() {
    let _quiet = crate::QUIET.read().await;
    among_servers("production").await;
}

/// LGR-01: what cannot be read is refused by name, and never repeated.
#[test]
fn addresses_of_servers_that_cannot_be_read_are_not_repeated() {
    let broken = |name: &'static str, values: &[&str]| {
        values
            .iter()
            .map(|value| (name, value.replace("@@", DSN)))
            .collect::<Vec<_>>()
    };
    let cases = [
        broken(
            "DATABASE_URL",
            &[
                "postgres://u:@@@h:port/d",
                "postgres://u:@@@:5432:1/d",
                "postgres//u:@@@h/d",
                "mysql://u:@@@h/d",
                "postgres://u:@@@[::1/d",
                "postgres://u:@@@h/d?sslmode=@@",
                "postgres://u:@@@127.0.0.1:1/d",
                "@@",
                "sqlite://u:@@@/nowhere/\u{7f}/x",
            ],
        ),
        broken(
            "REDIS_URL",
            &[
                "redis://:@@@h:port",
                "redis//:@@@h",
                "http://:@@@h",
                "redis://:@@@[::1",
                "redis://:@@@h/notanumber",
                "@@",
                "redis://:@@@h:1,redis//:@@@h",
            ],
        ),
        broken(
            "SMTP_URL",
            &[
                "smtp://u:@@@h:port",
                "smtp//u:@@@h",
                "http://u:@@@h",
                "smtp://u:@@@",
                "smtp://u:@@@h/x?@@",
                "@@",
            ],
        ),
        broken("JWT_SECRET", &["@@"]),
        broken("SECRET_KEY", &["@@"]),
        broken(
            "JWT_SIGNING_KEY",
            &[
                "-----BEGIN PRIVATE KEY-----\n@@\n-----END PRIVATE KEY-----\n",
                "@@",
            ],
        ),
        broken("TEST_ENDPOINTS_KEY", &["@@"]),
    ];
    for (name, value) in cases.into_iter().flatten() {
        for arguments in [&["serve"][..], &["check"], &["check", "--json"]] {
            let folder = tempfile::tempdir().unwrap();
            let stile = Stile::in_directory(folder.path())
                .set("ENVIRONMENT", "test")
                .set("PORT", "0")
                .set("RUST_LOG", "trace");
            let process = stile.set(name, &value).arguments(arguments).spawn();
            // Some of these can be read after all, and then it serves.
            if arguments == ["serve"] {
                let _ = process
                    .out
                    .wait_for(|line| line.contains("listening"), || process.has_ended());
                if !process.has_ended() {
                    process.signal("TERM");
                }
            }
            process.wait_for_end(PATIENCE);
            let said = format!("{}\n{}", process.out.text(), process.err.text());
            assert!(!said.contains(DSN), "{name}={value} {arguments:?}:\n{said}");
        }
    }
}
