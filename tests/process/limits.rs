//! `stile limits`: against a Redis that several processes share, and against one process that counts in memory.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fleet::{Fleet, assert_each_key_ends, health, passed};
use crate::process::{Ended, Process, Stile};
use crate::redis::RedisServer;
use crate::traffic::{PASSWORD, get, limited_by, login, post, register, wait_until};

/// What the command promises.
const REACHES: Duration = Duration::from_secs(2);

fn run(stile: Stile, arguments: &[&str]) -> Ended {
    stile.run(&[&["limits"], arguments].concat())
}

fn done(stile: Stile, arguments: &[&str]) -> String {
    let ended = run(stile, arguments);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.out
}

fn json_lines(stile: Stile, arguments: &[&str]) -> Vec<Value> {
    let text = done(stile, &[arguments, &["--json"]].concat());
    serde_json::from_str(&text).unwrap()
}

/// The resets in the audit log, the newest first.
fn recorded(stile: Stile, more: &[&str]) -> Vec<Value> {
    let event = ["audit", "--event", "admin_limits_cleared", "--json"];
    let ended = stile.run(&[&event, more].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.out).unwrap()
}

/// How many pass of `count` requests to one process.
async fn ask(process: &Process, client: &str, count: usize) -> usize {
    let mut answers = Vec::new();
    for _ in 0..count {
        answers.push(health().from(client).send(process.address()).await);
    }
    passed(&answers)
}

/// limits.md 50: two processes on one Redis; a client by each of its spellings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_frees_a_client_in_every_process_and_nothing_brings_it_back() {
    let mut redis = RedisServer::start().await;
    let fleet = Fleet::start(2, &redis.url(), &[("RATE_LIMIT_GLOBAL", "5/minute")]).await;
    let url = redis.url();
    let stile = || limited_by(&url, fleet.directories[0].path()).set("RATE_LIMIT_GLOBAL", "5/minute");
    for (client, spelling) in [
        ("10.50.0.1", "10.50.0.1"),
        ("2001:db8:1:2::9", "2001:db8:1:2:ffff::1"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("10.50.0.2", "::ffff:10.50.0.2"),
    ] {
        let ask_both = health().from(client);
        assert_eq!(passed(&fleet.flood(20, &ask_both).await), 5, "{client}");
        let shown = json_lines(stile(), &["show", spelling]);
        assert_eq!(
            (shown.len(), &shown[0]["count"], &shown[0]["limit"]),
            (1, &5.into(), &5.into())
        );

        assert_eq!(
            done(stile(), &["reset", spelling]),
            format!("1 counter of {spelling} was emptied")
        );
        tokio::time::sleep(REACHES).await;
        assert_eq!(
            passed(&fleet.flood(20, &ask_both).await),
            5,
            "{client}: a whole budget, once"
        );
        assert_eq!(passed(&fleet.flood(4, &ask_both).await), 0, "{client}");
    }
    let neighbour = "10.50.0.22";
    assert_eq!(ask(&fleet.processes[0], neighbour, 6).await, 5);
    done(stile(), &["reset", "10.50.0.2"]);
    assert_eq!(
        ask(&fleet.processes[0], neighbour, 2).await,
        0,
        "one who was not meant"
    );

    // Neither does losing Redis, nor getting it back empty.
    let lasting = "10.50.0.3";
    assert_eq!(passed(&fleet.flood(20, &health().from(lasting)).await), 5);
    done(stile(), &["reset", lasting]);
    tokio::time::sleep(REACHES).await;
    redis.kill();
    fleet.wait_for("degraded").await;
    // Each has its share of a limit that nothing was taken of.
    assert_eq!(passed(&fleet.flood(40, &health().from(lasting)).await), 5);
    done_without_redis(stile());
    redis.restart().await;
    fleet.wait_for_redis().await;
    wait_until("what was admitted is merged", async || {
        redis.command(&["GET", &format!("rate_limit:ip:{lasting}")]).await == "5"
    })
    .await;
    // Both have touched the window during the outage and keep to their shares; a reset ends that too.
    done(stile(), &["reset", lasting]);
    tokio::time::sleep(REACHES).await;
    assert_eq!(passed(&fleet.flood(20, &health().from(lasting)).await), 5);
    assert_each_key_ends(&redis).await;
}

fn done_without_redis(stile: Stile) {
    let ended = run(stile, &["reset", "10.50.0.3"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.err.starts_with("stile: Redis does not answer ("),
        "{ended:?}"
    );
    assert_eq!(ended.err.lines().count(), 1);
}

/// A reset while a process cannot reach Redis: it learns of it before it tells Redis anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_window_that_was_reset_is_not_given_back() {
    let redis = RedisServer::start().await;
    let limits = [
        ("RATE_LIMIT_GLOBAL", "5/minute"),
        ("REDIS_COMMAND_TIMEOUT_MS", "100"),
    ];
    let fleet = Fleet::start(1, &redis.url(), &limits).await;
    let process = &fleet.processes[0];
    let stile = || limited_by(&redis.url(), fleet.directories[0].path());
    assert_eq!(ask(process, "10.51.0.1", 8).await, 5);
    process.signal("STOP");
    redis.empty().await;
    done(stile(), &["reset", "10.51.0.1"]);
    process.signal("CONT");
    tokio::time::sleep(REACHES).await;
    // How long a starved process takes to catch up is not what this is about.
    wait_until("it is free", async || ask(process, "10.51.0.1", 1).await == 1).await;
    assert_eq!(ask(process, "10.51.0.1", 8).await, 4);
    assert_eq!(redis.command(&["GET", "rate_limit:ip:10.51.0.1"]).await, "5");
}

/// An account by its address: failed logins of strangers, and those from a client that it is known from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_found_by_its_address_and_freed_from_wherever_it_is_known() {
    let redis = RedisServer::start().await;
    let limits = [("RATE_LIMIT_LOGIN_ACCOUNT", "3/hour")];
    let fleet = Fleet::start(1, &redis.url(), &limits).await;
    let process = &fleet.processes[0];
    let stile = || limited_by(&redis.url(), fleet.directories[0].path()).set_all(&limits);
    register(process, "ada@example.com").await.expect(201);
    for _ in 0..3 {
        login(process, "ada@example.com", "wrong").await.expect(401);
    }
    login(process, "ada@example.com", "wrong").await.expect(429);
    let shown = json_lines(stile(), &["show", "Ada@Example.com"]);
    assert_eq!(shown[0]["rule"], "login_account");
    assert_eq!((shown.len(), &shown[0]["count"]), (1, &3.into()));
    assert!(
        !redis.command(&["KEYS", "*"]).await.contains("ada"),
        "no address in Redis"
    );

    done(stile(), &["reset", "ada@example.com"]);
    tokio::time::sleep(REACHES).await;
    login(process, "ada@example.com", PASSWORD).await.expect(200);
    // From here on this client is known, and has a count of its own.
    for _ in 0..3 {
        login(process, "ada@example.com", "wrong").await.expect(401);
    }
    login(process, "ada@example.com", "wrong").await.expect(429);
    assert_eq!(
        done(stile(), &["reset", "ada@example.com"]),
        "1 counter of ada@example.com was emptied"
    );
    tokio::time::sleep(REACHES).await;
    login(process, "ada@example.com", "wrong").await.expect(401);
    let nobody = done(stile(), &["reset", "nobody@example.com"]);
    assert_eq!(nobody, "nothing was counted of nobody@example.com");
    let counted: Value =
        serde_json::from_str(&done(stile(), &["reset", "ada@example.com", "--json"])).unwrap();
    assert_eq!(counted, serde_json::json!({"emptied": 1}));
    let rows = recorded(stile(), &["--user", "ada@example.com"]);
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert!(rows.iter().all(|row| row["target_id"].is_string()), "{rows:?}");

    // While the database is away a client is freed all the same, and that it is written nowhere is told.
    let away = stile().set("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/d");
    let ended = run(away, &["reset", "127.0.0.1"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.out.contains("of 127.0.0.1") && ended.err.contains("not in the audit log"),
        "{ended:?}"
    );
}

/// The command may be newer than the servers: it frees, and leaves their schema alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_does_not_migrate_the_database() {
    let redis = RedisServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("old.db"), "").unwrap();
    for url in [
        "sqlite://old.db".to_owned(),
        crate::postgres::server().fresh_database(),
    ] {
        let stile = || limited_by(&redis.url(), directory.path()).set("DATABASE_URL", &url);
        for subject in ["10.50.0.5", "10.50.0.6"] {
            redis
                .command(&["SET", &format!("rate_limit:ip:{subject}"), "3", "EX", "60"])
                .await;
            let ended = run(stile(), &["reset", subject]);
            assert_eq!(ended.code, Some(0), "{ended:?}");
            assert_eq!(ended.out, format!("1 counter of {subject} was emptied"));
            // Said of the second one too: the first has left it so.
            let told = "not in the audit log: the database: the database has not had migration 1";
            assert!(ended.err.contains(told), "{ended:?}");
            assert_eq!(ended.err.lines().count(), 1);
        }
        assert_eq!(stile().run(&["migrate"]).code, Some(0));
        let ended = run(stile(), &["reset", "10.50.0.7"]);
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:?}");
        assert_eq!(recorded(stile(), &[]).len(), 1);
    }
}

/// What `list` prints of the workers of an E2E suite is understood too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_of_a_suite_is_shown_and_freed_by_his_name() {
    let directory = tempfile::tempdir().unwrap();
    let stile = || in_memory(directory.path()).set("ENABLE_TEST_ENDPOINTS", "true");
    let process = stile().start();
    let worker = get("/api/v1/rate-limits").header("X-Test-Client", "worker-7");
    let ask = async || worker.send(process.address()).await.status;
    for status in [200, 200, 200, 200, 200, 429] {
        assert_eq!(ask().await, status);
    }
    assert!(done(stile(), &["list"]).contains("@worker-7"));
    assert_eq!(json_lines(stile(), &["show", "@worker-7"])[0]["count"], 5);
    assert_eq!(
        done(stile(), &["reset", "@worker-7"]),
        "2 counters of @worker-7 were emptied"
    );
    assert_eq!(ask().await, 200);
}

/// The user of `docs/RATE_LIMITS.md`, made as it stands there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_that_the_page_gives_are_enough_to_count_and_to_reset() {
    let redis = RedisServer::start().await;
    let page = include_str!("../../docs/RATE_LIMITS.md");
    let typed = page.lines().find_map(|line| line.strip_prefix("redis-cli ACL "));
    let words = typed.unwrap().replace('\'', "");
    let words: Vec<&str> = words.split(' ').collect();
    assert_eq!(redis.command(&[&["ACL"], words.as_slice()].concat()).await, "OK");
    assert!(words.contains(&"stile"));
    let url = redis.url().replace("redis://", "redis://stile:PASSWORD@");
    let directory = tempfile::tempdir().unwrap();
    let stile = || limited_by(&url, directory.path()).set("RATE_LIMIT_GLOBAL", "5/minute;strategy=exact");
    let process = stile().start();
    assert_eq!(ask(&process, "10.50.0.4", 6).await, 5);
    assert_eq!(json_lines(stile(), &["list"])[0]["count"], 5);
    done(stile(), &["reset", "10.50.0.4"]);
    tokio::time::sleep(REACHES).await;
    assert_eq!(ask(&process, "10.50.0.4", 6).await, 5);
    let told = health().send(process.address()).await;
    assert_eq!(told.json()["rate_limiter"], "redis");
}

fn in_memory(directory: &Path) -> Stile {
    Stile::in_directory(directory)
        .set("ENVIRONMENT", "test")
        .set("RATE_LIMIT_GLOBAL", "5/minute;100/hour")
        .set("RATE_LIMIT_LOGIN", "3/hour;strategy=exact")
}

/// limits.md 50 in memory, where the socket beside the database leads to the one process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_counts_in_memory_is_reached_through_its_socket() {
    let directory = tempfile::tempdir().unwrap();
    let stile = || in_memory(directory.path());
    let socket = directory.path().join("data/stile.sock");
    let nobody = run(stile(), &["list"]);
    assert_eq!(nobody.code, Some(1));
    assert!(
        nobody
            .err
            .contains("nobody listens at data/stile.sock. Run this in the folder of the server"),
        "{nobody:?}"
    );

    let process = stile().start();
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(done(stile(), &["list"]), "nothing is counted");
    assert_eq!(ask(&process, "10.52.0.1", 7).await, 5);
    for _ in 0..4 {
        login(&process, "ada@example.com", "wrong").await;
    }
    let listed = done(stile(), &["list"]);
    assert!(listed.starts_with("LIMIT "), "{listed}");
    let line = |words: [&str; 4]| {
        let found = listed
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        assert!(
            found.clone().any(|line| line.starts_with(&words)),
            "{words:?} in\n{listed}"
        );
    };
    line(["global", "10.52.0.1", "5/5", "60"]);
    line(["global", "10.52.0.1", "5/100", "3600"]);
    line(["login", "127.0.0.1", "3/3", "3600"]);
    let exact = json_lines(stile(), &["show", "127.0.0.1"]);
    let exact = exact.iter().find(|line| line["rule"] == "login").unwrap();
    assert_eq!(exact["strategy"], "exact");
    assert!(
        (3595..=3600).contains(&exact["resets_in_seconds"].as_u64().unwrap()),
        "{exact}"
    );

    assert_eq!(
        done(stile(), &["reset", "10.52.0.1"]),
        "2 counters of 10.52.0.1 were emptied"
    );
    assert_eq!(ask(&process, "10.52.0.1", 7).await, 5);
    assert_eq!(
        json_lines(stile(), &["show", "ada@example.com"])[0]["rule"],
        "login_account"
    );
    done(stile(), &["reset", "ada@example.com"]);
    assert!(json_lines(stile(), &["show", "ada@example.com"]).is_empty());
    let rows = recorded(stile(), &[]);
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!(rows[1]["reason"], "ip:10.52.0.1");
    assert_eq!(recorded(stile(), &["--user", "ada@example.com"]), rows[..1]);

    // A second one on the same folder takes nothing from the first, and the first one's end takes nothing from a third.
    let second = stile().start();
    assert!(second.out.text().contains("another process serves this socket"));
    assert_eq!(ask(&second, "10.52.0.9", 1).await, 1);
    assert!(
        json_lines(stile(), &["show", "10.52.0.9"]).is_empty(),
        "the first one answers"
    );
    drop(second);
    assert_eq!(json_lines(stile(), &["show", "10.52.0.1"])[0]["count"], 5);
    // Killed, it leaves the socket behind; the next one takes it over, and takes it along.
    drop(process);
    assert!(socket.exists());
    let third = stile().start();
    assert_eq!(done(stile(), &["list"]), "nothing is counted");
    third.signal("TERM");
    assert!(third.wait_for_end(crate::process::PATIENCE).success());
    assert!(!socket.exists());
}

/// An API token by its id, in memory and in Redis: all of its windows are free again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_token_is_freed_by_its_id() {
    let redis = RedisServer::start().await;
    for url in [None, Some(redis.url())] {
        let directory = tempfile::tempdir().unwrap();
        let stile = || {
            let stile = Stile::in_directory(directory.path()).set("ENVIRONMENT", "test");
            url.iter()
                .fold(stile, |stile, url| stile.set("REDIS_URL", url.as_str()))
        };
        let process = stile().start();
        register(&process, "ada@example.com").await.expect(201);
        let session = login(&process, "ada@example.com", PASSWORD).await.expect(200);
        let terms = json!({ "name": "ci", "rate_limit_per_minute": 2, "rate_limit_per_hour": 2, "rate_limit_per_day": 2 });
        let token = post("/api/v1/api-tokens", terms).bearer(&session.text("/access_token"));
        let token = token.send(process.address()).await.expect(201);
        let verify = get("/api/v1/api-gateway/verify").bearer(&token.text("/token"));
        let id = token.text("/id");
        for _ in 0..2 {
            for status in [204, 204, 429] {
                verify.send(process.address()).await.expect(status);
            }
            let shown = json_lines(stile(), &["show", &id]);
            let used: Vec<_> = shown
                .iter()
                .map(|line| (&line["rule"], &line["count"], &line["window_seconds"]))
                .collect();
            let window = |name: &str, seconds: u64| (name.to_owned(), seconds);
            for (name, seconds) in [
                window("token_minute", 60),
                window("token_hour", 3600),
                window("token_day", 86400),
            ] {
                assert!(
                    used.contains(&(&name.into(), &2.into(), &seconds.into())),
                    "{shown:?}"
                );
            }
            assert!(done(stile(), &["list"]).contains(&id));
            assert_eq!(
                done(stile(), &["reset", &id]),
                format!("3 counters of {id} were emptied")
            );
            tokio::time::sleep(REACHES).await;
        }
        verify.send(process.address()).await.expect(204);
    }
}

#[test]
fn a_bad_subject_is_told_in_a_line() {
    let directory = tempfile::tempdir().unwrap();
    for subject in [
        "nobody",
        "10.0.0.256",
        "a b@example.com",
        "",
        "10.0.0.0/8",
        "2001:db8::/32",
    ] {
        for command in ["show", "reset"] {
            let ended = run(in_memory(directory.path()), &[command, subject]);
            assert_eq!(ended.code, Some(2), "{subject}: {ended:?}");
            assert!(ended.err.starts_with("stile: `"), "{ended:?}");
            assert_eq!((ended.out.as_str(), ended.err.lines().count()), ("", 1));
        }
    }
    let off = run(
        in_memory(directory.path()).set("ENABLE_RATE_LIMITING", "false"),
        &["list"],
    );
    assert_eq!(off.code, Some(1));
    assert!(off.err.contains("limiting is off"), "{off:?}");
    assert!(!directory.path().join("data").exists(), "looking leaves no trace");
}
