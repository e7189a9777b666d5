//! Redis is lost, in each of the ways that it can be, and comes back: seen from outside the real binary.

use std::time::Duration;

use serde_json::json;

use crate::fleet::{Fleet, assert_each_key_ends, health, limiter_of, passed};
use crate::process::Process;
use crate::redis::RedisServer;
use crate::traffic::{Answer, PASSWORD, Traffic, is_long, post, wait_until};

const GLOBAL: &str = "RATE_LIMIT_GLOBAL";

fn lost(process: &Process) -> usize {
    process.out.count(r#""event":"rate_limiter_degraded""#)
}

/// It said so this often and no more. Its lines are read by a thread of the test, which may be a moment behind.
async fn assert_lost(process: &Process, times: usize) {
    wait_until("the line of a lost Redis", async || lost(process) >= times).await;
    assert_eq!(lost(process), times, "{}", process.out.text());
}

fn found(process: &Process) -> usize {
    process.out.count(r#""event":"rate_limiter_recovered""#)
}

async fn wait_for_line(process: &Process, event: &str) {
    let line = format!(r#""event":"{event}""#);
    wait_until(event, async || process.out.count(&line) > 0).await;
}

/// Redis comes to hold this count of a client, and keeps it: what is added is added once.
async fn wait_for_count(redis: &RedisServer, client: &str, count: u32) {
    let key = format!("rate_limit:ip:{client}");
    let mut last = String::new();
    let patience = Duration::from_secs(10);
    let came = tokio::time::timeout(patience, async {
        while last != count.to_string() {
            last = redis.command(&["GET", &key]).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(came.await.is_ok(), "{key} is {last}, not {count}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(redis.command(&["GET", &key]).await, count.to_string(), "{key}");
}

/// Uses up `count` units of a client at one process.
async fn use_up(process: &Process, client: &str, count: usize) {
    for _ in 0..count {
        health().from(client).send(process.address()).await.expect(200);
    }
}

/// All processes have heard of each other, so that each knows its share.
async fn wait_until_acquainted(fleet: &Fleet, redis: &RedisServer) {
    let size = fleet.processes.len().to_string();
    wait_until("all have announced themselves", async || {
        let keys = redis.command(&["KEYS", "*"]).await;
        for key in keys.lines() {
            if redis.command(&["TYPE", key]).await == "zset" && redis.command(&["ZCARD", key]).await == size {
                return true;
            }
        }
        false
    })
    .await;
    // Each hears it at its own next beat, which comes every second.
    tokio::time::sleep(Duration::from_millis(2500)).await;
}

/// RL-08, limits.md 36, 44: killed under some 200 requests a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_redis_fails_no_request_and_is_told_of_once() {
    let mut redis = RedisServer::start().await;
    let fleet = Fleet::start(2, &redis.url(), &[(GLOBAL, "1000000/minute")]).await;
    let addresses = [fleet.processes[0].address(), fleet.processes[1].address()];
    let traffic = Traffic::start(20, |n, running| async move {
        let request = health().from(&format!("10.0.1.{n}"));
        let mut seen: Vec<Answer> = Vec::new();
        while running.yes() {
            seen.push(request.send(addresses[n % 2]).await);
            tokio::time::sleep(Duration::from_millis(95)).await;
        }
        seen
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    redis.kill();
    fleet.wait_for("degraded").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    redis.restart().await;
    let back = fleet.wait_for("redis").await;
    for process in &fleet.processes {
        wait_for_line(process, "rate_limiter_recovered").await;
    }
    let seen = traffic.stop().await;
    println!(
        "killed under load: {} requests, found again after {back:?}",
        seen.len()
    );
    assert!(seen.len() > 200, "{} requests are no traffic", seen.len());
    assert_eq!(passed(&seen), seen.len());
    for process in &fleet.processes {
        assert_eq!((lost(process), found(process)), (1, 1), "{}", process.out.text());
        let degraded = |line: &str| line.contains("rate_limiter_degraded") && line.contains("WARN");
        assert!(process.out.all().iter().any(|line| degraded(line)));
        let recovered = |line: &str| line.contains("rate_limiter_recovered") && line.contains("INFO");
        assert!(process.out.all().iter().any(|line| recovered(line)));
    }
    assert_each_key_ends(&redis).await;
}

/// limits.md 37, 40: nobody gets a new limit by it, neither when Redis goes nor when it returns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_had_used_up_his_limit_stays_refused() {
    let mut redis = RedisServer::start().await;
    let fleet = Fleet::start(2, &redis.url(), &[(GLOBAL, "5/minute")]).await;
    wait_until_acquainted(&fleet, &redis).await;
    let spent = health().from("10.0.2.1");
    use_up(&fleet.processes[0], "10.0.2.1", 5).await;
    assert_eq!(passed(&fleet.flood(4, &spent).await), 0, "both have seen it");
    redis.kill();
    fleet.wait_for("degraded").await;
    assert_eq!(passed(&fleet.flood(20, &spent).await), 0, "after the kill");
    redis.restart().await;
    fleet.wait_for_redis().await;
    for process in &fleet.processes {
        wait_for_line(process, "rate_limiter_recovered").await;
    }
    assert_eq!(passed(&fleet.flood(20, &spent).await), 0, "after an empty return");
    wait_for_count(&redis, "10.0.2.1", 5).await;
    assert_each_key_ends(&redis).await;
}

/// limits.md 38: with a timeout of a second a request that waited cannot be mistaken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_redis_makes_three_requests_wait_at_most() {
    let redis = RedisServer::start().await;
    let limits = [
        (GLOBAL, "1000/minute"),
        ("RATE_LIMIT_LOGIN", "1000/minute"),
        ("REDIS_COMMAND_TIMEOUT_MS", "1000"),
    ];
    let fleet = Fleet::start(1, &redis.url(), &limits).await;
    let process = &fleet.processes[0];
    use_up(process, "10.0.3.1", 5).await;
    redis.freeze();
    // A login asks the limiter more than once, and waits once all the same.
    let account = json!({ "email": "nobody@example.org", "password": PASSWORD });
    let login = post("/api/v1/auth/login", account).from("10.0.3.1");
    let first = login.send(process.address()).await.expect(401);
    let mut waited = vec![first.took];
    for _ in 0..20 {
        waited.push(
            health()
                .from("10.0.3.1")
                .send(process.address())
                .await
                .expect(200)
                .took,
        );
    }
    let slow: Vec<_> = waited
        .iter()
        .filter(|took| **took > Duration::from_millis(700))
        .collect();
    println!("frozen: {} of {} waited: {slow:?}", slow.len(), waited.len());
    assert!(slow.len() <= 3, "{waited:?}");
    assert!(
        slow.iter().all(|took| **took < Duration::from_millis(1900)),
        "{waited:?}"
    );
    assert_eq!(limiter_of(process).await, "degraded");
    assert_lost(process, 1).await;
    redis.thaw();
    fleet.wait_for_redis().await;
    wait_for_line(process, "rate_limiter_recovered").await;
    // What was sent before the thaw and what was admitted meanwhile is counted once: 5 + 1 + 20.
    wait_for_count(&redis, "10.0.3.1", 26).await;
    assert_each_key_ends(&redis).await;
}

/// limits.md 39, 40: three processes that know each other admit the limit together, and Redis is told of it once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_share_each_new_window_exactly() {
    let mut redis = RedisServer::start().await;
    let fleet = Fleet::start(3, &redis.url(), &[(GLOBAL, "10/minute")]).await;
    wait_until_acquainted(&fleet, &redis).await;
    redis.kill();
    fleet.wait_for("degraded").await;
    for process in &fleet.processes {
        assert!(process.out.count(r#""fleet":3"#) == 1, "{}", process.out.text());
    }
    let clients: Vec<_> = (0..8).map(|n| format!("10.0.4.{n}")).collect();
    for client in &clients {
        assert_eq!(
            passed(&fleet.flood(45, &health().from(client)).await),
            10,
            "{client}"
        );
    }
    redis.restart().await;
    fleet.wait_for_redis().await;
    for process in &fleet.processes {
        wait_for_line(process, "rate_limiter_recovered").await;
    }
    for client in &clients {
        wait_for_count(&redis, client, 10).await;
        assert_eq!(
            passed(&fleet.flood(9, &health().from(client)).await),
            0,
            "{client}"
        );
    }
    assert_each_key_ends(&redis).await;
}

/// limits.md 40: Redis comes back with what it had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_kept_its_data_is_told_what_was_admitted_meanwhile() {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let fleet = Fleet::start(1, &redis.url(), &[(GLOBAL, "10/minute")]).await;
    use_up(&fleet.processes[0], "10.0.5.1", 3).await;
    redis.kill();
    fleet.wait_for("degraded").await;
    use_up(&fleet.processes[0], "10.0.5.1", 4).await;
    redis.restart().await;
    fleet.wait_for_redis().await;
    wait_for_line(&fleet.processes[0], "rate_limiter_recovered").await;
    wait_for_count(&redis, "10.0.5.1", 7).await;
    assert_eq!(passed(&fleet.flood(10, &health().from("10.0.5.1")).await), 3);
    assert_each_key_ends(&redis).await;
}

/// Contract section 4: an emptied Redis gets its live windows back, whether it was away or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_gets_its_live_windows_back() {
    let mut redis = RedisServer::start().await;
    let fleet = Fleet::start(2, &redis.url(), &[(GLOBAL, "10/minute")]).await;
    let key = "rate_limit:ip:10.0.6.1";
    use_up(&fleet.processes[0], "10.0.6.1", 6).await;
    redis.kill();
    fleet.wait_for("degraded").await;
    redis.restart().await;
    fleet.wait_for_redis().await;
    wait_until("the window is back", async || {
        redis.command(&["GET", key]).await == "6"
    })
    .await;
    let ttl: i64 = redis.command(&["TTL", key]).await.parse().unwrap();
    assert!((1..=60).contains(&ttl), "{ttl}");

    redis.empty().await;
    wait_until("it is back again", async || {
        redis.command(&["GET", key]).await == "6"
    })
    .await;
    assert_eq!(passed(&fleet.flood(20, &health().from("10.0.6.1")).await), 4);
    assert_each_key_ends(&redis).await;
}

/// Another server at the same address has counts of its own: what was admitted meanwhile comes on top, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_at_the_same_address_is_served_too() {
    let mut redis = RedisServer::start().await;
    let fleet = Fleet::start(1, &redis.url(), &[(GLOBAL, "10/minute")]).await;
    use_up(&fleet.processes[0], "10.0.7.1", 2).await;
    redis.kill();
    fleet.wait_for("degraded").await;
    use_up(&fleet.processes[0], "10.0.7.1", 2).await;
    // Between its start and its first probe the other server learns of seven requests counted elsewhere.
    fleet.processes[0].signal("STOP");
    redis.restart().await;
    redis
        .command(&["SET", "rate_limit:ip:10.0.7.1", "7", "EX", "40"])
        .await;
    fleet.processes[0].signal("CONT");
    fleet.wait_for_redis().await;
    wait_for_line(&fleet.processes[0], "rate_limiter_recovered").await;
    wait_for_count(&redis, "10.0.7.1", 9).await;
    assert_eq!(passed(&fleet.flood(10, &health().from("10.0.7.1")).await), 1);
}

/// RL-13, limits.md 41: it answers, but will not count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_refuses_to_write_is_a_lost_one() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::start(1, &redis.url(), &[(GLOBAL, "10/minute")]).await;
    let process = &fleet.processes[0];
    let failures: [(&[&str], &[&str]); 3] = [
        (&["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"]),
        (
            &["CONFIG", "SET", "maxmemory", "1"],
            &["CONFIG", "SET", "maxmemory", "0"],
        ),
        (
            &["ACL", "SETUSER", "default", "-@write"],
            &["ACL", "SETUSER", "default", "+@all"],
        ),
    ];
    for (n, (breaks, heals)) in failures.iter().enumerate() {
        let client = format!("10.0.8.{n}");
        use_up(process, &client, 4).await;
        redis.command(breaks).await;
        let answers = fleet.flood(8, &health().from(&client)).await;
        assert_eq!(passed(&answers), 6, "{breaks:?}");
        wait_until("degraded", async || limiter_of(process).await == "degraded").await;
        assert_lost(process, n + 1).await;
        assert_eq!(
            passed(&fleet.flood(5, &health().from(&client)).await),
            0,
            "{breaks:?}"
        );
        redis.command(heals).await;
        fleet.wait_for_redis().await;
        wait_until("merged", async || found(process) == n + 1).await;
        wait_for_count(&redis, &client, 10).await;
    }
    assert_each_key_ends(&redis).await;
}

/// limits.md 41: a server that still reads its data from the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_loading_is_a_lost_one() {
    let arguments = [
        "--appendonly",
        "yes",
        "--appendfsync",
        "no",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    let mut redis = RedisServer::start_with(&arguments).await;
    let fleet = Fleet::start(1, &redis.url(), &[(GLOBAL, "10/minute")]).await;
    use_up(&fleet.processes[0], "10.0.9.1", 4).await;
    // Some seconds of loading: 30,000 keys at 100 microseconds each.
    let fill = "for n = 1, 30000 do redis.call('SET', 'filler:' .. n, 'x', 'EX', 600) end return 1";
    assert_eq!(redis.command(&["EVAL", fill, "0"]).await, "1");
    redis.command(&["BGREWRITEAOF"]).await;
    wait_until("the keys are on the disk", async || {
        let info = redis.command(&["INFO", "persistence"]).await;
        info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0")
    })
    .await;
    redis.kill();
    fleet.wait_for("degraded").await;
    redis
        .restart_with(&[&arguments[..], &["--key-load-delay", "100"]].concat())
        .await;
    assert!(redis.command(&["GET", "x"]).await.contains("LOADING"));
    use_up(&fleet.processes[0], "10.0.9.1", 2).await;
    assert_eq!(limiter_of(&fleet.processes[0]).await, "degraded");
    assert_lost(&fleet.processes[0], 1).await;
    fleet.wait_for_redis().await;
    wait_for_line(&fleet.processes[0], "rate_limiter_recovered").await;
    wait_for_count(&redis, "10.0.9.1", 6).await;
}

/// limits.md 41, 43: with a wrong password, and without any server, it starts and serves, and finds Redis by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_at_the_start_is_found_right_later() {
    let mut absent = RedisServer::stopped(&[]);
    let locked = RedisServer::start().await;
    locked.command(&["CONFIG", "SET", "requirepass", "another"]).await;
    let urls = [
        absent.url(),
        format!("redis://:s3cr3t@127.0.0.1:{}", locked.port()),
    ];
    let limits = [(GLOBAL, "5/minute"), ("RATE_LIMIT_BURST", "1000")];
    let fleets = urls.map(|url| Fleet::starting(1, &url, &limits));
    for fleet in &fleets {
        assert_eq!(passed(&fleet.flood(9, &health().from("10.0.10.1")).await), 5);
        fleet.wait_for("degraded").await;
        assert_lost(&fleet.processes[0], 1).await;
        assert!(!fleet.processes[0].out.text().contains("s3cr3t"));
    }
    absent.restart().await;
    let mut unlock = crate::redis::Session::open(locked.port()).await;
    unlock.command(&["AUTH", "another"]).await;
    unlock.command(&["CONFIG", "SET", "requirepass", "s3cr3t"]).await;
    for fleet in &fleets {
        fleet.wait_for_redis().await;
        wait_for_line(&fleet.processes[0], "rate_limiter_recovered").await;
        assert_eq!(passed(&fleet.flood(5, &health().from("10.0.10.1")).await), 0);
    }
    assert_eq!(absent.command(&["GET", "rate_limit:ip:10.0.10.1"]).await, "5");
    unlock.command(&["AUTH", "s3cr3t"]).await;
    assert_eq!(unlock.command(&["GET", "rate_limit:ip:10.0.10.1"]).await, "5");
}

/// RL-11: up and down every two seconds, on two processes; a window never admits more than a share each on top, and
/// nobody stays refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flapping_redis_neither_opens_nor_shuts_the_door() {
    let mut redis = RedisServer::start().await;
    let fleet = Fleet::start(2, &redis.url(), &[(GLOBAL, "20/4 seconds")]).await;
    wait_until_acquainted(&fleet, &redis).await;
    let addresses = [fleet.processes[0].address(), fleet.processes[1].address()];
    let traffic = Traffic::start(4, |n, running| async move {
        let request = health().from("10.0.11.1");
        let mut seen = Vec::new();
        while running.yes() {
            seen.push(request.send(addresses[n % 2]).await);
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        seen
    });
    let flaps = if is_long() { 30 } else { 3 };
    for _ in 0..flaps {
        tokio::time::sleep(Duration::from_secs(2)).await;
        redis.kill();
        tokio::time::sleep(Duration::from_secs(2)).await;
        redis.restart().await;
    }
    fleet.wait_for_redis().await;
    let seen = traffic.stop().await;
    let admitted = passed(&seen);
    // A window of four seconds each, begun at the first request after the last has ended.
    let windows = flaps + 1;
    println!(
        "flapping: {admitted} of {} passed in at most {windows} windows of 20",
        seen.len()
    );
    assert!(admitted <= windows * 20 * 3, "{admitted}");
    assert!(admitted >= (windows - 1) * 10, "{admitted}");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(passed(&fleet.flood(80, &health().from("10.0.11.1")).await), 20);
}
