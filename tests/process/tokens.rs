//! API tokens over real processes: `stile token`, and a quota that processes share.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fleet::limiter_of;
use crate::postgres;
use crate::process::{Ended, Process, Stile};
use crate::redis::RedisServer;
use crate::traffic::{
    Answer, Connection, PASSWORD, Request, get, is_long, limited_by, login, post, register, request,
    wait_until,
};

/// How long a change can go unnoticed without Redis.
const STALE: Duration = Duration::from_secs(5);

/// Processes on one folder, and so on one SQLite file and one signing key.
struct Side {
    directory: TempDir,
    redis: Option<RedisServer>,
    database: Option<String>,
    processes: Vec<Process>,
}

impl Side {
    async fn start(processes: usize, redis: Option<RedisServer>) -> Self {
        Self::start_on(processes, redis, None).await
    }

    async fn start_on(processes: usize, redis: Option<RedisServer>, database: Option<String>) -> Self {
        let mut side = Self {
            directory: tempfile::tempdir().unwrap(),
            redis,
            database,
            processes: Vec::new(),
        };
        // The first makes the key.
        for _ in 0..processes {
            let process = side.stile().start();
            side.processes.push(process);
        }
        if side.redis.is_some() {
            for process in &side.processes {
                wait_until("redis", async || limiter_of(process).await == "redis").await;
            }
        }
        side
    }

    fn stile(&self) -> Stile {
        let stile = match &self.redis {
            Some(redis) => limited_by(&redis.url(), self.directory.path()),
            None => Stile::in_directory(self.directory.path())
                .set("ENVIRONMENT", "test")
                .set("PUBLIC_URL", "http://localhost:8000"),
        };
        // 60 a minute is the default, and the most that may be asked for.
        let stile = stile.set("API_TOKEN_RATE_LIMIT", "100/minute;1000/hour;10000/day");
        let database = self.database.iter();
        database.fold(stile, |stile, url| stile.set("DATABASE_URL", url.as_str()))
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.stile().run(&[&["token"], arguments].concat())
    }

    fn done(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:?}");
        ended.out
    }

    fn list(&self, arguments: &[&str]) -> Vec<Value> {
        let text = self.done(&[&["list", "--json"], arguments].concat());
        serde_json::from_str(&text).unwrap()
    }

    async fn sign_up(&self, email: &str) -> Session {
        let process = &self.processes[0];
        register(process, email).await.expect(201);
        let session = login(process, email, PASSWORD).await.expect(200);
        Session {
            access: session.text("/access_token"),
            user_id: session.text("/user/id"),
        }
    }

    async fn make(&self, session: &Session, terms: Value) -> Token {
        let made = post("/api/v1/api-tokens", terms).bearer(&session.access);
        let made = made.send(self.processes[0].address()).await.expect(201);
        Token {
            secret: made.text("/token"),
            id: made.text("/id"),
            prefix: made.text("/prefix"),
            verify: get("/api/v1/api-gateway/verify").bearer(&made.text("/token")),
        }
    }

    async fn verify(&self, process: usize, token: &Token) -> Answer {
        token.verify.send(self.processes[process].address()).await
    }
}

struct Session {
    access: String,
    user_id: String,
}

struct Token {
    id: String,
    prefix: String,
    secret: String,
    verify: Request,
}

/// TOK-05: 400 calls at once over two processes; 20 rounds in the long run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_four_hundred_calls_at_once_over_two_processes_exactly_a_hundred_pass() {
    let side = Side::start(2, Some(RedisServer::start().await)).await;
    let ada = side.sign_up("ada@example.com").await;
    for round in 0..if is_long() { 20 } else { 4 } {
        let terms = json!({"name": "x", "rate_limit_per_minute": 100, "rate_limit_per_hour": 1000, "rate_limit_per_day": 1000});
        let token = side.make(&ada, terms).await;
        let answers = join_all((0..400).map(|n| side.verify(n % 2, &token))).await;
        let count = |status| answers.iter().filter(|answer| answer.status == status).count();
        assert_eq!((count(204), count(429)), (100, 300), "round {round}");
        for answer in answers.iter().filter(|answer| answer.status == 429) {
            assert_eq!(answer.text("/limit"), "token_minute");
            assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
            assert!(answer.header("x-auth-user-id").is_none());
        }
        let redis = side.redis.as_ref().unwrap();
        for window in ["minute", "hour", "day"] {
            let key = format!("rate_limit:api_token:{{{}}}:{window}", token.id);
            assert_eq!(
                redis.command(&["GET", &key]).await,
                "100",
                "round {round} {window}"
            );
        }
    }
}

/// TOK-08: an operator's revocation reaches every process with its next check.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_every_token_and_ends_one_in_every_process_at_once() {
    let side = Side::start(2, Some(RedisServer::start().await)).await;
    let (ada, bob) = (
        side.sign_up("ada@example.com").await,
        side.sign_up("bob@example.com").await,
    );
    let ci = side
        .make(
            &ada,
            json!({"name": "ci", "scopes": ["read:*"], "rate_limit_per_minute": 9}),
        )
        .await;
    let other = side.make(&ada, json!({"name": "other"})).await;
    let bobs = side.make(&bob, json!({"name": "bob's"})).await;
    for process in [0, 1, 1] {
        side.verify(process, &ci).await.expect(204);
    }
    side.verify(1, &bobs).await.expect(204);

    let all = side.list(&[]);
    let ids = |lines: &[Value]| -> Vec<String> {
        lines
            .iter()
            .map(|line| line["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(&all), [&*bobs.id, &other.id, &ci.id], "the newest first");
    let line = &all[2];
    assert_eq!(
        line["owner"],
        json!({"id": ada.user_id, "email": "ada@example.com", "is_active": true})
    );
    assert_eq!((&line["name"], &line["status"]), (&json!("ci"), &json!("active")));
    assert_eq!(
        (&line["prefix"], &line["scopes"]),
        (&json!(ci.prefix), &json!(["read:*"]))
    );
    let minute = &line["usage"]["minute"];
    assert_eq!((&minute["limit"], &minute["used"]), (&json!(9), &json!(3)));
    assert!(minute["reset_at"].is_string());
    assert_eq!(line["usage"]["day"]["used"], 3);
    assert_eq!(
        all[1]["usage"]["hour"],
        json!({"limit": 1000, "used": 0, "reset_at": null})
    );
    for spelling in ["Ada@Example.com", &ada.user_id] {
        assert_eq!(ids(&side.list(&[spelling])), [&*other.id, &ci.id]);
    }
    let table = side.done(&["list"]);
    assert!(
        table.starts_with("ID ") && table.contains("bob@example.com"),
        "{table}"
    );
    let row = table.lines().find(|row| row.contains(&ci.id)).unwrap();
    assert!(
        row.contains(" 3/9 ") && row.contains(" 3/1000 ") && row.ends_with("3/10000"),
        "{row}"
    );
    for secret in ["secret", "token\"", "hash"] {
        assert!(!side.done(&["list", "--json"]).contains(secret), "{secret}");
    }

    assert_eq!(
        side.done(&["revoke", &ci.id]),
        format!("{} is revoked, in every process", ci.id)
    );
    for process in [1, 0] {
        side.verify(process, &ci).await.expect(401);
        side.verify(process, &other).await.expect(204);
    }
    assert_eq!(
        side.done(&["revoke", &ci.id.to_uppercase()]),
        format!("{} was revoked before", ci.id)
    );
    let again: Value = serde_json::from_str(&side.done(&["revoke", &ci.id, "--json"])).unwrap();
    assert_eq!(again, json!({"id": ci.id, "revoked": "before"}));
    assert_eq!(side.list(&["ada@example.com"])[1]["status"], "revoked");
    let path = format!("/api/v1/api-tokens/{}", ci.id);
    let shown = get(&path)
        .bearer(&ada.access)
        .send(side.processes[0].address())
        .await;
    assert_eq!(shown.expect(200).text("/status"), "revoked");
    // Its day was open, so it counts against the cap until that ends, as if its owner had revoked it.
    let rows = side
        .rows("SELECT reason FROM audit_log WHERE event = 'api_token_revoked'")
        .await;
    assert_eq!(rows, ["operator"]);
    let owner = side
        .rows("SELECT user_id FROM audit_log WHERE event = 'api_token_revoked'")
        .await;
    assert_eq!(owner, [&*ada.user_id]);
    // Whoever looks is none of the processes that share limits.
    let alive = side
        .redis
        .as_ref()
        .unwrap()
        .command(&["ZCARD", "{rate_limit:fleet}"])
        .await;
    assert!(["0", "2"].contains(&&*alive), "{alive}");
}

impl Side {
    async fn sqlite(&self) -> sqlx::SqliteConnection {
        use sqlx::Connection as _;
        let path = self.directory.path().join("data/stile.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        sqlx::SqliteConnection::connect_with(&options).await.unwrap()
    }

    /// The texts of one column.
    async fn rows(&self, query: &'static str) -> Vec<String> {
        let mut on = self.sqlite().await;
        sqlx::query_scalar(query).fetch_all(&mut on).await.unwrap()
    }
}

/// TOK-08 without Redis, or while it is lost: within 5 s. Usage is what the one process has in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_an_operator_ends_a_token_within_five_seconds() {
    let side = Side::start(1, None).await;
    let ada = side.sign_up("ada@example.com").await;
    let token = side.make(&ada, json!({"name": "ci"})).await;
    for _ in 0..2 {
        side.verify(0, &token).await.expect(204);
    }
    assert_eq!(side.list(&[])[0]["usage"]["minute"]["used"], 2);
    assert_eq!(
        side.done(&["revoke", &token.id]),
        format!("{} is revoked, in every process within 5 seconds", token.id)
    );
    let took = wait_until("refused", async || side.verify(0, &token).await.status == 401).await;
    assert!(took <= STALE + Duration::from_secs(1), "{took:?}");

    let mut redis = RedisServer::start().await;
    redis.kill();
    let mut side = side;
    side.redis = Some(redis);
    let other = side.make(&ada, json!({"name": "x"})).await;
    let revoked = side.run(&["revoke", &other.id]);
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    assert!(revoked.out.contains("within 5 seconds"), "{revoked:?}");
    let listed = side.run(&["list", "--json"]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    assert!(
        listed
            .err
            .starts_with("stile: what is used is not known: Redis does not answer (")
    );
    assert_eq!(listed.err.lines().count(), 1);
    let listed: Vec<Value> = serde_json::from_str(&listed.out).unwrap();
    assert!(listed.len() == 2 && listed[0].get("usage").is_none());
}

/// More than are read at once, on both engines.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybodys_tokens_are_listed_to_the_last_however_many() {
    use sqlx::{Connection as _, Executor as _};
    const THOUSAND_MORE: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
        INSERT INTO api_tokens (id, user_id, name, prefix, secret_hash, scopes, version, created_at, \
            request_count, day_used, day_ends_at) \
        SELECT '01000000-0000-7000-8000-' || CAST(100000000000 + i AS TEXT), user_id, name, prefix, \
            'hash ' || CAST(i AS TEXT), scopes, version, created_at, 0, 0, 0 FROM api_tokens, n";
    for url in [None, Some(postgres::server().fresh_database())] {
        let side = Side::start_on(1, None, url.clone()).await;
        let ada = side.sign_up("ada@example.com").await;
        let newest = side.make(&ada, json!({"name": "ci"})).await;
        match url {
            Some(url) => {
                let mut on = sqlx::PgConnection::connect(&url).await.unwrap();
                on.execute(THOUSAND_MORE).await.unwrap();
            }
            None => {
                side.sqlite().await.execute(THOUSAND_MORE).await.unwrap();
            }
        }
        let listed = side.list(&["ada@example.com"]);
        let ids: Vec<&str> = listed.iter().map(|token| token["id"].as_str().unwrap()).collect();
        assert_eq!((ids.len(), ids[0]), (1001, &*newest.id));
        assert!(ids.is_sorted_by(|newer, older| newer > older));
        assert!(listed.iter().all(|token| token["usage"]["day"]["used"] == 0));
        assert_eq!(side.done(&["list"]).matches("ada@example.com").count(), 1001);
    }
}

#[test]
fn a_bad_argument_is_told_in_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let stile = || Stile::in_directory(directory.path()).set("ENVIRONMENT", "test");
    let secret = "stile_0123456789abcdefghijABCDEFGHIJklmnopqrstuvwx";
    for arguments in [
        ["revoke", "nobody"],
        ["revoke", ""],
        ["revoke", secret],
        ["revoke", "01a20198-d7ff-76d0-ae30"],
        ["list", "nobody"],
        ["list", "a b@example.com"],
        ["list", ""],
    ] {
        // Before the first start there is nothing, and nothing to look into.
        let ended = stile().run(&[&["token"], &arguments[..]].concat());
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.err.starts_with("stile: "), "{ended:?}");
        assert_eq!((ended.out.as_str(), ended.err.lines().count()), ("", 1));
        assert!(!ended.err.contains(secret));
    }
    for arguments in [vec!["revoke"], vec!["drop"], vec!["list", "--yaml"]] {
        let ended = stile().run(&[&["token"], &arguments[..]].concat());
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
    }
    assert_eq!(stile().run(&["token", "list"]).out, "there are no API tokens");
    assert_eq!(stile().run(&["token", "list", "--json"]).out, "[]");
    assert!(!directory.path().join("data").exists(), "looking leaves no trace");

    stile().run(&["migrate"]);
    let id = "01a20198-d7ff-76d0-ae30-1b8ed89ad059";
    for (arguments, said) in [
        (["revoke", id], format!("stile: there is no API token {id}")),
        (["list", id], format!("stile: there is no user {id}")),
        (
            ["list", "ada@example.com"],
            "stile: there is no user ada@example.com".to_owned(),
        ),
    ] {
        let ended = stile().run(&[&["token"], &arguments[..]].concat());
        assert_eq!((ended.code, ended.err), (Some(1), said), "{arguments:?}");
    }
}

/// On PostgreSQL alike, and with limiting off, where nothing is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_on_postgres_are_listed_and_ended_also_where_nothing_is_counted() {
    let url = postgres::server().fresh_database();
    let side = Side::start_on(1, None, Some(url)).await;
    let ada = side.sign_up("ada@example.com").await;
    let token = side.make(&ada, json!({"name": "ci"})).await;
    assert_eq!(side.list(&["ada@example.com"])[0]["id"], json!(token.id));
    let off = side.stile().set("ENABLE_RATE_LIMITING", "false");
    let listed = off.clone().run(&["token", "list"]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    assert!(listed.out.contains("?"), "{listed:?}");
    assert!(listed.err.contains("limiting is off"), "{listed:?}");
    assert_eq!(off.run(&["token", "revoke", &token.id]).code, Some(0));
    wait_until("refused", async || side.verify(0, &token).await.status == 401).await;
}

/// Point 4 of the issue: processes are killed and Redis loses everything, and the token's day goes on from its checkpoint.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_a_killed_fleet_nor_an_empty_redis_gives_a_token_a_new_day() {
    let mut side = Side::start(2, Some(RedisServer::start().await)).await;
    let ada = side.sign_up("ada@example.com").await;
    let terms =
        json!({"name": "x", "rate_limit_per_minute": 7, "rate_limit_per_hour": 7, "rate_limit_per_day": 7});
    let token = side.make(&ada, terms).await;
    for process in [0, 1, 1, 0, 1] {
        side.verify(process, &token).await.expect(204);
    }
    // At most 60 s behind; it is written every 5.
    let took = wait_until("the checkpoint", async || {
        let days = side.rows("SELECT CAST(day_used AS TEXT) FROM api_tokens").await;
        let uses = side
            .rows("SELECT CAST(request_count AS TEXT) FROM api_tokens")
            .await;
        days == ["5"] && uses == ["5"]
    })
    .await;
    assert!(took < Duration::from_mins(1), "{took:?}");
    let end = side
        .rows("SELECT CAST(day_ends_at AS TEXT) FROM api_tokens")
        .await
        .remove(0);
    for process in side.processes.drain(..) {
        process.signal("KILL");
        process.wait_for_end(crate::process::PATIENCE);
    }
    let redis = side.redis.as_mut().unwrap();
    redis.kill();
    redis.restart().await;
    assert_eq!(redis.command(&["KEYS", "*api_token*"]).await, "");
    let process = side.stile().start();
    wait_until("redis", async || limiter_of(&process).await == "redis").await;
    side.processes.push(process);
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(side.verify(0, &token).await);
    }
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [204, 204, 429, 429]);
    assert_eq!(answers[3].text("/limit"), "token_day");
    let day = format!("rate_limit:api_token:{{{}}}:day", token.id);
    let redis = side.redis.as_ref().unwrap();
    assert_eq!(redis.command(&["GET", &day]).await, "7");
    assert_eq!(
        redis.command(&["PEXPIRETIME", &day]).await,
        end,
        "and the day ends when it would have"
    );
}

/// What passes while the server drains is counted as well: here a request whose form is late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uses_survive_a_normal_stop_to_the_last_one() {
    let mut side = Side::start(1, None).await;
    let ada = side.sign_up("ada@example.com").await;
    let token = side.make(&ada, json!({"name": "busy"})).await;
    side.verify(0, &token).await.expect(204);
    let process = side.processes.remove(0);
    let mut connection = Connection::open(process.address()).await.unwrap();
    let late = request("POST", "/api/v1/api-gateway/verify")
        .bearer(&token.secret)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("content-length", "3");
    connection.write(&late.bytes()).await.unwrap();
    // It is being answered by then, and all that runs beside the server has ended by the second one.
    tokio::time::sleep(Duration::from_millis(500)).await;
    process.signal("TERM");
    tokio::time::sleep(Duration::from_millis(1000)).await;
    connection.write(b"a=b").await.unwrap();
    assert_eq!(connection.answer().await.unwrap().status, 204);
    assert!(process.wait_for_end(Duration::from_secs(20)).success());
    let listed: Value = serde_json::from_str(&side.run(&["list", "--json"]).out).unwrap();
    assert_eq!(listed[0]["request_count"], 2);
}
