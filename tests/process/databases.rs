//! The database is late, lost, frozen, full, shared by two that start at once, or newer than the program.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::postgres::{self, Server};
use crate::process::{PATIENCE, Process, Stile, status_of};
use crate::redis::RedisServer;
use crate::smtp::{Security, SmtpSink};
use crate::traffic::{
    Answer, PASSWORD, Request, Traffic, get, is_long, login, post, random, register, request, unlimited,
    wait_until,
};

/// A session's access token.
async fn signed_in(on: &Process, email: &str) -> String {
    register(on, email).await.expect(201);
    login(on, email, PASSWORD).await.expect(200).text("/access_token")
}

/// What is asked of a database that goes away: a look-up, a hash with a write, a queued mail, a change.
fn mixed(n: usize, token: &str) -> Request {
    let nobody = json!({ "email": format!("nobody{n}@example.org"), "password": PASSWORD });
    match n % 4 {
        0 => get("/api/v1/auth/me").bearer(token),
        1 => post("/api/v1/auth/login", nobody),
        2 => post(
            "/api/v1/auth/password-reset/request",
            json!({ "email": "gap@example.org" }),
        ),
        _ => request("PATCH", "/api/v1/auth/me")
            .bearer(token)
            .body(json!({ "full_name": "Gap" })),
    }
}

/// REL-02: `goes` takes the server away under load, and `returns` brings it back.
async fn only_503_in_the_gap(what: &str, gap: Duration, goes: impl Fn(&Server), returns: impl Fn(&Server)) {
    let server = Server::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let stile = unlimited(directory.path())
        .set("DATABASE_URL", server.fresh_database())
        .start();
    let token = signed_in(&stile, "gap@example.org").await;
    let to = stile.address();
    let traffic = Traffic::start(12, |n, running| {
        let request = mixed(n, &token);
        async move {
            let mut seen: Vec<(Instant, std::io::Result<Answer>)> = Vec::new();
            while running.yes() {
                let began = Instant::now();
                seen.push((began, request.try_send(to).await));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            seen
        }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    goes(&server);
    tokio::time::sleep(gap).await;
    returns(&server);
    server.wait();
    let well_from = Instant::now() + Duration::from_secs(2);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let seen = traffic.stop().await;
    let total = seen.len();
    let (mut unavailable, mut longest) = (0, Duration::ZERO);
    for (began, answer) in seen {
        let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
        longest = longest.max(answer.took);
        if answer.status == 503 {
            unavailable += 1;
            let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!(wait >= 1, "{what}: {answer:?}");
            assert!(began < well_from, "{what}: it was back: {answer:?}");
        } else {
            assert!(matches!(answer.status, 200 | 401), "{what}: {answer:?}");
        }
    }
    println!("{what}: {unavailable} of {total} were 503, the longest took {longest:?}");
    assert!(unavailable > 0, "{what}: there was no gap");
    // The case's own bound; a thread of a busy machine may be late by as much as is added here.
    assert!(longest < Duration::from_millis(5500), "{what}: {longest:?}");
    assert_eq!(status_of(to, "/readyz"), Some(200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_restart_of_postgresql_is_survived() {
    only_503_in_the_gap(
        "fast",
        Duration::from_secs(3),
        |pg| pg.stop("INT"),
        Server::start_again,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_immediate_restart_of_postgresql_is_survived() {
    only_503_in_the_gap(
        "immediate",
        Duration::from_secs(3),
        |pg| pg.stop("QUIT"),
        Server::start_again,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_postgresql_is_survived() {
    only_503_in_the_gap(
        "killed",
        Duration::from_secs(3),
        |pg| pg.stop("KILL"),
        Server::start_again,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_postgresql_is_survived() {
    only_503_in_the_gap("frozen", Duration::from_secs(7), Server::freeze, Server::thaw).await;
}

/// REL-14: it waits for a database that comes up a moment later, and is not ready meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_comes_up_later_is_waited_for() {
    let server = Server::start(&[]);
    let database = server.fresh_database();
    server.stop("INT");
    let directory = tempfile::tempdir().unwrap();
    let stile = unlimited(directory.path())
        .set("DATABASE_URL", database)
        .set("PORT", "0")
        .spawn();
    let waits = |line: &str| line.contains("cannot be reached yet");
    assert!(stile.out.wait_for(waits, || stile.has_ended()).is_some());
    assert_eq!(stile.out.count("listening"), 0);
    server.start_again();
    let listens = |line: &str| line.contains("listening");
    assert!(
        stile.out.wait_for(listens, || stile.has_ended()).is_some(),
        "{}",
        stile.err.text()
    );
}

/// REL-16: whoever writes waits his turn, and nobody hears of a lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_writers_on_sqlite_never_meet_a_lock() {
    let directory = tempfile::tempdir().unwrap();
    let stile = unlimited(directory.path()).start();
    let to = stile.address();
    for n in 0..8 {
        register(&stile, &format!("writer{n}@example.org"))
            .await
            .expect(201);
    }
    // One after another: 64 hashes at once are what the hashing pool refuses on a busy machine.
    let mut sessions = Vec::new();
    for n in 0..64 {
        let session = login(&stile, &format!("writer{}@example.org", n % 8), PASSWORD).await;
        let session = session.expect(200);
        sessions.push((session.text("/access_token"), session.text("/refresh_token")));
    }
    let traffic = Traffic::start(64, |n, running| {
        let (access, mut refresh) = sessions[n].clone();
        async move {
            let mut seen = Vec::new();
            while running.yes() {
                let name = json!({ "full_name": format!("Writer {n}") });
                seen.push(
                    request("PATCH", "/api/v1/auth/me")
                        .bearer(&access)
                        .body(name)
                        .send(to)
                        .await,
                );
                let refreshed = post("/api/v1/auth/refresh", json!({ "refresh_token": refresh }))
                    .send(to)
                    .await;
                if refreshed.status == 200 {
                    refresh = refreshed.text("/refresh_token");
                }
                seen.push(refreshed);
                let reset = json!({ "email": format!("writer{n}@example.org") });
                seen.push(post("/api/v1/auth/password-reset/request", reset).send(to).await);
            }
            seen
        }
    });
    tokio::time::sleep(Duration::from_secs(if is_long() { 60 } else { 8 })).await;
    let seen = traffic.stop().await;
    let mut took: Vec<Duration> = seen.iter().map(|answer| answer.took).collect();
    took.sort_unstable();
    println!(
        "64 writers: {} writes, half within {:?}, 99 of 100 within {:?}, all within {:?}",
        seen.len(),
        took[took.len() / 2],
        took[took.len() * 99 / 100],
        took[took.len() - 1]
    );
    for answer in &seen {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(stile.out.count("locked"), 0, "{}", stile.out.text());
    assert_eq!(stile.out.count(r#""level":"ERROR""#), 0, "{}", stile.out.text());
}

/// REL-17: of several that start at once on an empty database one migrates and the others wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn instances_that_start_at_once_all_come_up() {
    for round in 0..if is_long() { 20 } else { 3 } {
        let directory = tempfile::tempdir().unwrap();
        let on_sqlite = unlimited(directory.path());
        let on_postgres = on_sqlite
            .clone()
            .set("DATABASE_URL", postgres::server().fresh_database());
        for stile in [on_sqlite, on_postgres] {
            let starting: Vec<Process> = (0..3).map(|_| stile.clone().set("PORT", "0").spawn()).collect();
            for process in &starting {
                let listens = |line: &str| line.contains("listening");
                let came = process.out.wait_for(listens, || process.has_ended());
                assert!(
                    came.is_some(),
                    "round {round}: {} {}",
                    process.out.text(),
                    process.err.text()
                );
            }
        }
    }
}

/// REL-17: a program that is older than the schema says so and leaves it alone.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_program_refuses_a_newer_schema() {
    let directory = tempfile::tempdir().unwrap();
    let database = postgres::server().fresh_database();
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'of a newer version', TRUE, 'x', 1)";
    let on_sqlite = unlimited(directory.path());
    let on_postgres = on_sqlite.clone().set("DATABASE_URL", &database);
    for stile in [&on_sqlite, &on_postgres] {
        assert_eq!(stile.clone().run(&["migrate"]).code, Some(0));
    }
    execute_on_sqlite(&directory.path().join("data/stile.db"), later).await;
    let mut postgres = sqlx::PgConnection::connect(&database).await.unwrap();
    sqlx::raw_sql(later).execute(&mut postgres).await.unwrap();
    for stile in [on_sqlite, on_postgres] {
        for command in ["serve", "migrate"] {
            let ended = stile.clone().set("PORT", "0").run(&[command]);
            assert_eq!(ended.code, Some(1), "{ended:?}");
            assert!(
                ended.err.contains("9999") && ended.err.contains("newer version"),
                "{ended:?}"
            );
            assert_eq!(ended.err.lines().count(), 1, "{ended:?}");
        }
    }
}

async fn execute_on_sqlite(file: &Path, sql: &'static str) {
    let url = format!("sqlite://{}", file.display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// REL-17: killed in the middle of its migration on PostgreSQL, held there by a lock of ours; it runs again.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_was_killed_in_the_middle_runs_again() {
    let directory = tempfile::tempdir().unwrap();
    let database = postgres::server().fresh_database();
    let stile = unlimited(directory.path()).set("DATABASE_URL", &database);
    let mut ours = sqlx::PgConnection::connect(&database).await.unwrap();
    let mut blocking = ours.begin().await.unwrap();
    sqlx::raw_sql("CREATE TABLE audit_log (id TEXT)")
        .execute(&mut *blocking)
        .await
        .unwrap();
    let migrating = stile.clone().set("PORT", "0").spawn();
    let mut watching = sqlx::PgConnection::connect(&database).await.unwrap();
    wait_until("the migration waits for our table", async || {
        let waiting = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'";
        let count: i64 = sqlx::query_scalar(waiting)
            .fetch_one(&mut watching)
            .await
            .unwrap();
        count > 0
    })
    .await;
    migrating.signal("KILL");
    migrating.wait_for_end(PATIENCE);
    blocking.rollback().await.unwrap();
    let again = stile.start();
    register(&again, "again@example.org").await.expect(201);
}

/// REL-17: the same at random moments of the start, on SQLite.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_was_killed_at_any_moment_runs_again() {
    for round in 0..if is_long() { 100 } else { 12 } {
        let directory = tempfile::tempdir().unwrap();
        let stile = unlimited(directory.path()).set("PORT", "0");
        let killed = stile.clone().spawn();
        tokio::time::sleep(Duration::from_millis(random(120))).await;
        killed.signal("KILL");
        killed.wait_for_end(PATIENCE);
        let migrated = stile.run(&["migrate"]);
        assert_eq!(migrated.code, Some(0), "round {round}: {migrated:?}");
    }
}

/// How to get a mount of one's own: by a user namespace, or as root without one.
fn own_mounts() -> Vec<&'static str> {
    let ways = [
        vec!["unshare", "--map-root-user", "--mount"],
        vec!["unshare", "--mount"],
    ];
    let works = |way: &Vec<&str>| {
        let small_disk = "mount -t tmpfs -o size=4m tmpfs /mnt";
        let tried = std::process::Command::new(way[0])
            .args(&way[1..])
            .args(["sh", "-c", small_disk])
            .stderr(std::process::Stdio::null())
            .status();
        tried.expect("apt-get install -y util-linux").success()
    };
    ways.into_iter().find(works).expect(
        "a small disk takes a mount namespace: run the tests as root, or allow user namespaces \
         (sysctl -w kernel.unprivileged_userns_clone=1; in a container: --cap-add SYS_ADMIN)",
    )
}

/// REL-05: the disk under SQLite is full. Reading goes on, writing is 503, and all is well when there is room again.
///
/// The disk is a `tmpfs` in a namespace of the process's own, so that nothing stays mounted.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_writing_alone() {
    const MOUNT: &str = r#"mkdir -p data && mount -t tmpfs -o size=4m tmpfs data && exec "$0" "$@""#;
    let directory = tempfile::tempdir().unwrap();
    let stile = unlimited(directory.path())
        .through(&[own_mounts().as_slice(), &["sh", "-c", MOUNT]].concat())
        .start();
    let token = signed_in(&stile, "full@example.org").await;
    let made = post("/api/v1/api-tokens", json!({ "name": "program" })).bearer(&token);
    let of_program = made.send(stile.address()).await.expect(201).text("/token");
    let inside = format!("/proc/{}/root{}/data", stile.id(), directory.path().display());
    let ballast = Path::new(&inside).join("ballast");
    // `dd` ends when the disk is full. A little is left for the first few.
    let fill = format!(
        "dd if=/dev/zero of={0} bs=4k 2>/dev/null; truncate -s -200K {0}",
        ballast.display()
    );
    assert!(
        std::process::Command::new("sh")
            .args(["-c", &fill])
            .status()
            .unwrap()
            .success()
    );

    let (mut acknowledged, mut refused) = (Vec::new(), 0);
    for n in 0..40 {
        let email = format!("full{n}@example.org");
        let answer = register(&stile, &email).await;
        match answer.status {
            201 => acknowledged.push(email),
            503 => {
                refused += 1;
                assert_eq!(answer.text("/code"), "unavailable");
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
            }
            _ => panic!("{answer:?}"),
        }
        get("/api/v1/auth/me")
            .bearer(&token)
            .send(stile.address())
            .await
            .expect(200);
        get("/api/v1/api-gateway/verify")
            .bearer(&of_program)
            .send(stile.address())
            .await
            .expect(204);
    }
    assert!(refused > 0 && !acknowledged.is_empty(), "{refused} refused");
    assert!(!stile.has_ended());
    std::fs::remove_file(ballast).unwrap();
    register(&stile, "room@example.org").await.expect(201);
    println!("disk full: {} registered, {refused} refused", acknowledged.len());
    for email in acknowledged {
        login(&stile, &email, PASSWORD).await.expect(200);
    }
}

/// REL-05: nor does a log that nobody can write stop anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_fails_no_request() {
    let directory = tempfile::tempdir().unwrap();
    let port = crate::port::free_port();
    let stile = unlimited(directory.path())
        .set("PORT", port.to_string())
        .through(&["sh", "-c", r#"exec "$0" "$@" >/dev/full 2>/dev/full"#])
        .spawn();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    wait_until("ready", async || {
        assert!(!stile.has_ended());
        status_of(address, "/readyz") == Some(200)
    })
    .await;
    let account = json!({ "email": "log@example.org", "password": PASSWORD });
    post("/api/v1/auth/register", account.clone())
        .send(address)
        .await
        .expect(201);
    post("/api/v1/auth/login", account)
        .send(address)
        .await
        .expect(200);
    stile.signal("TERM");
    assert_eq!(stile.wait_for_end(PATIENCE).code(), Some(0));
}

/// REL-14, contract section 1: `check --connect` with each server up and down.
#[tokio::test(flavor = "multi_thread")]
async fn check_tells_which_servers_answer() {
    let directory = tempfile::tempdir().unwrap();
    let (mut redis, mail) = (RedisServer::start().await, SmtpSink::start(Security::Plain).await);
    let server = Server::start(&[]);
    let database = server.fresh_database();
    let stile = Stile::in_directory(directory.path())
        .set("ENVIRONMENT", "test")
        .set("REDIS_CONNECT_TIMEOUT_MS", "300")
        .set("DATABASE_URL", &database)
        .set("REDIS_URL", redis.url())
        .set("SMTP_URL", mail.url());
    let check = |arguments: &[&str]| {
        let ended = stile
            .clone()
            .run(&[&["check", "--connect", "--json"], arguments].concat());
        let report: Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
        let ok = |to: &str| {
            let connections = report["connections"].as_array().unwrap();
            let found = connections.iter().find(|connection| connection["to"] == to);
            found.unwrap_or_else(|| panic!("{to}: {report}"))["ok"] == true
        };
        (ended.code, [ok("database"), ok("redis"), ok("mail")])
    };
    assert_eq!(check(&["--strict"]), (Some(0), [true, true, true]));
    redis.kill();
    assert_eq!(check(&[]), (Some(0), [true, false, true]));
    assert_eq!(check(&["--strict"]), (Some(1), [true, false, true]));
    drop(mail);
    assert_eq!(check(&["--strict"]), (Some(1), [true, false, false]));
    server.stop("INT");
    assert_eq!(check(&[]), (Some(2), [false, false, false]));
    redis.restart().await;
    server.start_again();
    server.wait();
    assert_eq!(check(&[]), (Some(0), [true, true, false]));

    // A Redis that answers and does not count is as good as none.
    redis.command(&["REPLICAOF", "127.0.0.1", "1"]).await;
    assert_eq!(check(&[]).1, [true, false, false]);
    redis.command(&["REPLICAOF", "NO", "ONE"]).await;
    redis.freeze();
    assert_eq!(check(&[]).1, [true, false, false]);
    redis.thaw();
}

/// Nothing of what these tests start outlives them.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_running() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&[]);
    let redis = RedisServer::start().await;
    let stile = crate::traffic::limited_by(&redis.url(), directory.path())
        .set("DATABASE_URL", server.fresh_database())
        .start();
    let mut pids: Vec<String> = server.pids();
    pids.extend([redis.pid(), stile.id()].map(|pid| pid.to_string()));
    let running = |pid: &String| Path::new("/proc").join(pid).exists();
    assert!(pids.iter().all(running), "{pids:?}");
    drop((stile, redis, server));
    join_all(
        pids.iter()
            .map(|pid| wait_until("its end", async || !running(pid))),
    )
    .await;
}
