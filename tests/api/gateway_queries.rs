//! How often the gateway check asks the database: counted by the server itself, and by taking the database away.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api_tokens::Owner;
use crate::app::{Engine, TestApp};
use crate::postgres::Server;

const VERIFY: &str = "/api-gateway/verify";
const CALLS: usize = 1000;
/// How often uses are written.
const WRITTEN_EVERY: u64 = 5;

async fn call(app: &TestApp, token: &Value, times: usize) {
    for _ in 0..times {
        app.get(VERIFY).bearer(token).await.expect(204);
    }
}

/// Statements that the server has logged, by what they are to the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Statements {
    /// Of any kind, the background's too.
    all: usize,
    /// The look-up of a secret.
    look_ups: usize,
    /// Notice of use.
    writes: usize,
}

impl Statements {
    fn of(server: &Server) -> Self {
        let log = server.log();
        let count = |what: &str| {
            let statements = log
                .lines()
                .filter(|line| line.contains("LOG:  ") && line.contains(what));
            statements.count()
        };
        Self {
            all: count("statement: ") + count("execute "),
            look_ups: count("WHERE secret_hash = $1"),
            writes: count("UPDATE api_tokens SET request_count"),
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            all: self.all - before.all,
            look_ups: self.look_ups - before.look_ups,
            writes: self.writes - before.writes,
        }
    }
}

/// TOK-12, and the figure of the issue: no query on the path of a token that was seen in the last 5 s, and its use is
/// written in batches. PostgreSQL logs every statement; the app's clock stands still, so the proof does not age.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_seen_in_the_last_five_seconds_costs_no_query() {
    let server = Server::start(&["log_statement=all"]);
    let app = TestApp::on(Engine::Sqlite)
        .limited()
        .set("DATABASE_URL", server.fresh_database())
        .set("API_TOKEN_RATE_LIMIT", "1000000/minute;1000000/hour;1000000/day")
        .start()
        .await;
    let owner = Owner::sign_up(&app, "ada@example.com").await;
    let made = owner.create(json!({"name": "x"})).await.expect(201).body;
    let unseen = Statements::of(&server);
    call(&app, &made["token"], 1).await;
    let before = Statements::of(&server);
    assert_eq!(before.since(unseen).look_ups, 1, "the first costs one");

    let began = Instant::now();
    call(&app, &made["token"], CALLS).await;
    let during = Statements::of(&server).since(before);
    assert_eq!(during.look_ups, 0, "{during:?}");
    let rounds = usize::try_from(began.elapsed().as_secs() / WRITTEN_EVERY).unwrap() + 1;
    assert!(during.writes <= rounds, "{during:?} in {rounds} rounds");
    // What is left is the background's: it looks for mail and sweeps, whether anybody calls or not.
    assert!(during.all < CALLS, "{during:?}");

    app.advance(Duration::from_secs(5));
    let before = Statements::of(&server);
    call(&app, &made["token"], 100).await;
    assert_eq!(
        Statements::of(&server).since(before).look_ups,
        1,
        "then one again"
    );
}

on_both_engines! {
    /// The same where nobody logs statements: with the database gone every query fails, and none is missed.
    async fn a_token_just_proven_passes_without_any_database(engine: Engine) {
        let app = TestApp::on(engine)
            .limited()
            .set("API_TOKEN_RATE_LIMIT", "1000000/minute;1000000/hour;1000000/day")
            .start()
            .await;
        let owner = Owner::sign_up(&app, "ada@example.com").await;
        let made = owner.create(json!({"name": "x"})).await.expect(201).body;
        call(&app, &made["token"], 1).await;
        app.app.database.close().await;
        call(&app, &made["token"], CALLS).await;
        app.advance(Duration::from_secs(5));
        app.get(VERIFY).bearer(&made["token"]).await.expect_problem(503, "unavailable");
    }
}
