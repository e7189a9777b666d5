//! `kill -9` at any moment: what was acknowledged is there afterwards, and nothing is there by half.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _};

use crate::postgres;
use crate::process::{PATIENCE, Process, Stile};
use crate::smtp::{Behaviour, Security, SmtpSink};
use crate::traffic::{
    Answer, PASSWORD, Request, Traffic, is_long, post, random, register, unlimited, wait_until,
};

const NEW_PASSWORD: &str = "another-battery-staple-7";

/// What one account knows of itself: what was acknowledged, and where the answer never came.
#[derive(Clone, Debug, Default)]
struct Trace {
    email: String,
    registered: Known,
    /// The newest refresh token that was given out.
    refresh_token: Option<String>,
    reset_requested: bool,
    /// The token with which the new password was set, and whether that was acknowledged.
    reset: Option<(String, Known)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Known {
    /// Acknowledged.
    Done,
    /// Sent, and no answer came.
    #[default]
    InDoubt,
}

/// The folder of mails, each read once.
#[derive(Clone)]
struct Outbox {
    folder: PathBuf,
    /// The newest reset token mailed to an address.
    tokens: Arc<Mutex<HashMap<String, String>>>,
    read: Arc<Mutex<Vec<PathBuf>>>,
}

impl Outbox {
    fn of(directory: &Path) -> Self {
        Self {
            folder: directory.join("data/outbox"),
            tokens: Arc::default(),
            read: Arc::default(),
        }
    }

    fn reset_token(&self, email: &str) -> Option<String> {
        let mut read = self.read.lock().unwrap();
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "eml") || read.contains(&path) {
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let mail = mailparse::parse_mail(&bytes).unwrap();
            let to = mailparse::MailHeaderMap::get_first_value(&mail.headers[..], "To").unwrap();
            let text = mail.subparts[0].get_body().unwrap();
            if let Some((_, token)) = text.split_once("/reset-password#token=") {
                let token: String = token.chars().take_while(|c| !c.is_whitespace()).collect();
                let to = to.trim_matches(['<', '>']).to_owned();
                self.tokens.lock().unwrap().insert(to, token);
            }
            read.push(path);
        }
        self.tokens.lock().unwrap().get(email).cloned()
    }
}

fn login(email: &str, password: &str) -> Request {
    post(
        "/api/v1/auth/login",
        json!({ "email": email, "password": password }),
    )
}

fn refresh(token: &str) -> Request {
    post("/api/v1/auth/refresh", json!({ "refresh_token": token }))
}

fn confirm(token: &str) -> Request {
    let body = json!({ "token": token, "new_password": NEW_PASSWORD });
    post("/api/v1/auth/password-reset/confirm", body)
}

/// The life of one account until the server is gone (`None`) or the account has seen everything.
async fn live(trace: &mut Trace, to: SocketAddr, outbox: &Outbox) -> Option<()> {
    let send = async |request: Request| -> Option<Answer> { request.try_send(to).await.ok() };
    let account = json!({ "email": trace.email, "password": PASSWORD });
    send(post("/api/v1/auth/register", account)).await?.expect(201);
    trace.registered = Known::Done;
    let session = send(login(&trace.email, PASSWORD)).await?.expect(200);
    let mut token = session.text("/refresh_token");
    trace.refresh_token = Some(token.clone());
    for _ in 0..3 {
        token = send(refresh(&token)).await?.expect(200).text("/refresh_token");
        trace.refresh_token = Some(token.clone());
    }
    let request = post(
        "/api/v1/auth/password-reset/request",
        json!({ "email": trace.email }),
    );
    send(request).await?.expect(200);
    trace.reset_requested = true;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Some(mailed) = outbox.reset_token(&trace.email) {
            trace.reset = Some((mailed.clone(), Known::InDoubt));
            send(confirm(&mailed)).await?.expect(200);
            trace.reset = Some((mailed, Known::Done));
            break;
        }
    }
    Some(())
}

/// What must be true of an account after the restart.
async fn check(trace: &Trace, stile: &Process) {
    let send = async |request: Request| request.send(stile.address()).await;
    let with_old = send(login(&trace.email, PASSWORD)).await.status;
    if trace.registered == Known::InDoubt {
        // Wholly there or not at all: a taken address is one that can log in.
        let again = register(stile, &trace.email).await.status;
        assert_eq!(again, if with_old == 200 { 409 } else { 201 }, "{trace:?}");
        return;
    }
    let Some((token, known)) = &trace.reset else {
        assert_eq!(with_old, 200, "{trace:?}");
        if let Some(token) = &trace.refresh_token {
            send(refresh(token)).await.expect(200);
        }
        return;
    };
    let with_new = send(login(&trace.email, NEW_PASSWORD)).await.status;
    let verify = post("/api/v1/auth/password-reset/verify", json!({ "token": token }));
    let token_is_good = send(verify).await.json()["valid"] == true;
    match with_new {
        200 => assert!(
            with_old == 401 && !token_is_good,
            "the new password beside the old: {trace:?}"
        ),
        _ => assert!(
            *known == Known::InDoubt && with_old == 200 && token_is_good,
            "{with_old} {with_new} {token_is_good}: {trace:?}"
        ),
    }
}

/// REL-01: mixed writes, a kill, a restart, and a look at everything that was acknowledged.
async fn kill_cycles(name: &str, stile: Stile, directory: &Path, cycles: usize, inspect: impl AsyncFn()) {
    let outbox = Outbox::of(directory);
    let mut all: Vec<Trace> = Vec::new();
    let mut slowest_start = Duration::ZERO;
    let mut process = stile.clone().start();
    for cycle in 0..cycles {
        let to = process.address();
        let traffic = Traffic::start(5, |n, running| {
            let outbox = outbox.clone();
            async move {
                let mut traces = Vec::new();
                while running.yes() {
                    let mut trace = Trace {
                        email: format!("c{cycle}w{n}a{}@example.org", traces.len()),
                        ..Trace::default()
                    };
                    let alive = live(&mut trace, to, &outbox).await;
                    traces.push(trace);
                    if alive.is_none() {
                        break;
                    }
                }
                traces
            }
        });
        tokio::time::sleep(Duration::from_millis(50 + random(900))).await;
        process.signal("KILL");
        process.wait_for_end(PATIENCE);
        let traces = traffic.stop().await;
        let began = Instant::now();
        process = stile.clone().start();
        slowest_start = slowest_start.max(began.elapsed());
        for trace in &traces {
            check(trace, &process).await;
        }
        inspect().await;
        all.extend(traces);
    }
    // A mail that was in hand at the kill rests for its lease.
    let asked: Vec<_> = all.iter().filter(|trace| trace.reset_requested).collect();
    for trace in &asked {
        wait_until("the mail", async || outbox.reset_token(&trace.email).is_some()).await;
    }
    let count = |known: &dyn Fn(&Trace) -> bool| all.iter().filter(|trace| known(trace)).count();
    println!(
        "{name}: {cycles} kills, {} accounts ({} in doubt), {} resets asked for, {} done, {} in doubt; \
         slowest restart {slowest_start:?}",
        all.len(),
        count(&|trace| trace.registered == Known::InDoubt),
        asked.len(),
        count(&|trace| matches!(trace.reset, Some((_, Known::Done)))),
        count(&|trace| matches!(trace.reset, Some((_, Known::InDoubt)))),
    );
    assert!(
        count(&|trace| trace.registered == Known::Done) >= cycles,
        "hardly anything happened"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_sqlite_acknowledged_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("data/stile.db");
    let cycles = if is_long() { 200 } else { 12 };
    let inspect = async || {
        let url = format!("sqlite://{}", file.display());
        let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let found = sqlx::query("PRAGMA integrity_check")
            .fetch_one(&mut database)
            .await;
        assert_eq!(found.unwrap().get::<String, _>(0), "ok");
        let orphans = sqlx::query("PRAGMA foreign_key_check")
            .fetch_all(&mut database)
            .await;
        assert!(orphans.unwrap().is_empty());
        database.close().await.unwrap();
    };
    kill_cycles(
        "SQLite",
        unlimited(directory.path()),
        directory.path(),
        cycles,
        inspect,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_postgresql_acknowledged_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let stile = unlimited(directory.path()).set("DATABASE_URL", postgres::server().fresh_database());
    let cycles = if is_long() { 50 } else { 6 };
    kill_cycles("PostgreSQL", stile, directory.path(), cycles, async || {}).await;
}

/// REL-01, contract section 3.4: a reset that was answered is mailed, though the server that queued it was killed
/// with the mail in hand.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_in_hand_is_sent_after_the_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mail = SmtpSink::start(Security::Plain).await;
    let start = || unlimited(directory.path()).set("SMTP_URL", mail.url()).start();
    let stile = start();
    register(&stile, "mail@example.org").await.expect(201);
    wait_until("the first mail", async || mail.received().len() == 1).await;
    mail.behave(Behaviour::Silent);
    let before = mail.connections();
    let body: Value = json!({ "email": "mail@example.org" });
    post("/api/v1/auth/password-reset/request", body)
        .send(stile.address())
        .await
        .expect(200);
    wait_until("the mail in hand", async || mail.connections() > before).await;
    stile.signal("KILL");
    stile.wait_for_end(PATIENCE);
    mail.behave(Behaviour::Normal);
    let stile = start();
    let after = wait_until("the mail", async || mail.received().len() == 2).await;
    println!("a mail in hand at the kill left {after:?} after the restart");
    let received = mail.received();
    let parsed = mailparse::parse_mail(received[1].data.as_bytes()).unwrap();
    let text = parsed.subparts[0].get_body().unwrap();
    let token = text.split_once("/reset-password#token=").unwrap().1;
    let token: String = token.chars().take_while(|c| !c.is_whitespace()).collect();
    confirm(&token).send(stile.address()).await.expect(200);
}
