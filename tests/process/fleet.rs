//! Several processes that count in one Redis.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tempfile::TempDir;

use crate::process::Process;
use crate::redis::RedisServer;
use crate::traffic::{Answer, PASSWORD, Request, get, is_long, limited_by, post, wait_until};

/// Processes that share a Redis, each with a folder of its own.
pub struct Fleet {
    pub processes: Vec<Process>,
    pub directories: Vec<TempDir>,
    limits: Vec<(String, String)>,
    redis_url: String,
}

impl Fleet {
    /// `size` processes with these limits and further variables.
    pub async fn start(size: usize, redis_url: &str, limits: &[(&str, &str)]) -> Self {
        let fleet = Self::starting(size, redis_url, limits);
        fleet.wait_for_redis().await;
        fleet
    }

    /// The same, without waiting for Redis.
    pub fn starting(size: usize, redis_url: &str, limits: &[(&str, &str)]) -> Self {
        let mut fleet = Self {
            processes: Vec::new(),
            directories: (0..size).map(|_| tempfile::tempdir().unwrap()).collect(),
            limits: limits
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            redis_url: redis_url.to_owned(),
        };
        for n in 0..size {
            let process = fleet.launch(n);
            fleet.processes.push(process);
        }
        fleet
    }

    fn launch(&self, n: usize) -> Process {
        let stile = limited_by(&self.redis_url, self.directories[n].path());
        let limits = self.limits.iter();
        limits
            .fold(stile, |stile, (name, value)| stile.set(name, value))
            .start()
    }

    /// Ends a process and starts it again.
    pub async fn restart(&mut self, n: usize) {
        self.processes[n].signal("TERM");
        self.processes[n].wait_for_end(crate::process::PATIENCE);
        self.processes[n] = self.launch(n);
        self.wait_for_redis().await;
    }

    /// All of them count in Redis.
    pub async fn wait_for_redis(&self) {
        self.wait_for("redis").await;
    }

    /// All of them say this of their limiter.
    pub async fn wait_for(&self, state: &str) -> Duration {
        wait_until(state, async || {
            let states = join_all(self.processes.iter().map(limiter_of)).await;
            states.iter().all(|found| found == state)
        })
        .await
    }

    /// Sends the request `count` times at once, in turn to each process.
    pub async fn flood(&self, count: usize, request: &Request) -> Vec<Answer> {
        let processes = self.processes.iter().cycle();
        join_all(
            processes
                .take(count)
                .map(|process| request.send(process.address())),
        )
        .await
    }
}

/// What `/health` says of the limiter.
pub async fn limiter_of(process: &Process) -> String {
    get("/health").send(process.address()).await.text("/rate_limiter")
}

pub fn passed(answers: &[Answer]) -> usize {
    let strange: Vec<_> = answers
        .iter()
        .filter(|answer| !matches!(answer.status, 200 | 429))
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
    answers.iter().filter(|answer| answer.status == 200).count()
}

/// Contract section 4: no key ever stays without a TTL.
pub async fn assert_each_key_ends(redis: &RedisServer) {
    let keys = redis.command(&["KEYS", "*"]).await;
    for key in keys.lines() {
        let ttl: i64 = redis.command(&["PTTL", key]).await.parse().unwrap();
        // -2: it ended meanwhile.
        assert!(ttl != -1, "{key} has no TTL");
    }
}

pub fn health() -> Request {
    get("/api/v1/health")
}

/// RL-07, limits.md 9: of four times as many at once, exactly the limit pass; in Redis stands what was counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_limit_passes_over_all_processes() {
    let redis = RedisServer::start().await;
    let rounds = if is_long() { 50 } else { 6 };
    for size in [2, 3] {
        let fleet = Fleet::start(size, &redis.url(), &[("RATE_LIMIT_GLOBAL", "25/minute")]).await;
        for round in 0..rounds {
            let client = format!("10.{size}.0.{round}");
            let answers = fleet.flood(100, &health().from(&client)).await;
            assert_eq!(passed(&answers), 25, "{size} processes, round {round}");
            let key = format!("rate_limit:ip:{client}");
            assert_eq!(redis.command(&["GET", &key]).await, "25");
            let ttl: u64 = redis.command(&["TTL", &key]).await.parse().unwrap();
            assert!((1..=60).contains(&ttl), "{ttl}");
        }
    }
    assert_each_key_ends(&redis).await;
}

/// RL-07 to the letter: limit 10, 200 at once, two processes; and on an endpoint's own rule.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_of_two_hundred_pass() {
    let redis = RedisServer::start().await;
    let limits = [
        ("RATE_LIMIT_GLOBAL", "10/minute"),
        ("RATE_LIMIT_RESET_VERIFY", "7/minute"),
    ];
    let fleet = Fleet::start(2, &redis.url(), &limits).await;
    let answers = fleet.flood(200, &health().from("10.9.0.1")).await;
    assert_eq!(passed(&answers), 10);

    let verify = post("/api/v1/auth/password-reset/verify", json!({ "token": "x" })).from("10.9.0.2");
    let answers = fleet.flood(40, &verify).await;
    assert_eq!(passed(&answers), 7);
    let own = "rate_limit:reset_verify:ip:10.9.0.2";
    assert_eq!(redis.command(&["GET", own]).await, "7");
    // All or nothing: what the endpoint's rule refused was not charged to the global one.
    assert_eq!(redis.command(&["GET", "rate_limit:ip:10.9.0.2"]).await, "7");
}

/// Issue 2, first manual procedure: 60 of 140, and the rest are refused until the window is over. The whole minute
/// passes with `--long`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_let_60_of_140_through_until_the_window_is_over() {
    let redis = RedisServer::start().await;
    let (limit, seconds) = if is_long() {
        ("60/minute", 60)
    } else {
        ("60/10 seconds", 10)
    };
    let fleet = Fleet::start(2, &redis.url(), &[("RATE_LIMIT_GLOBAL", limit)]).await;
    let answers = fleet.flood(140, &health()).await;
    assert_eq!(passed(&answers), 60);
    let mut wait = 0;
    for refused in answers.iter().filter(|answer| answer.status == 429) {
        assert_eq!(refused.text("/limit"), "global");
        wait = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=seconds).contains(&wait), "{refused:?}");
    }
    let again = health().send(fleet.processes[0].address()).await;
    assert_eq!(again.expect(429).header("x-ratelimit-remaining"), Some("0"));
    tokio::time::sleep(Duration::from_secs(wait)).await;
    let answers = fleet.flood(140, &health()).await;
    assert_eq!(passed(&answers), 60, "the whole budget is back");
}

/// Issue 2, second manual procedure, over two processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fourth_quick_login_is_refused() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::start(2, &redis.url(), &[("RATE_LIMIT_LOGIN", "3/minute")]).await;
    let account = json!({ "email": "nobody@example.org", "password": PASSWORD });
    let login = post("/api/v1/auth/login", account);
    for n in 0..3 {
        login.send(fleet.processes[n % 2].address()).await.expect(401);
    }
    for process in &fleet.processes {
        let refused = login.send(process.address()).await.expect(429);
        assert_eq!(refused.text("/limit"), "login");
    }
    assert_eq!(
        redis.command(&["GET", "rate_limit:login:ip:127.0.0.1"]).await,
        "3"
    );
}

/// limits.md 11, 31, 32.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_go_on_after_a_restart_and_a_broken_key_heals() {
    let redis = RedisServer::start().await;
    let mut fleet = Fleet::start(1, &redis.url(), &[("RATE_LIMIT_GLOBAL", "5/minute")]).await;
    let ask = health().from("10.9.1.1");
    let mut reset = None;
    for _ in 0..3 {
        let answer = ask.send(fleet.processes[0].address()).await.expect(200);
        reset = answer.header("x-ratelimit-reset").map(str::to_owned);
    }
    fleet.restart(0).await;
    let fourth = ask.send(fleet.processes[0].address()).await.expect(200);
    assert_eq!(fourth.header("x-ratelimit-remaining"), Some("1"));
    assert_eq!(fourth.header("x-ratelimit-reset").map(str::to_owned), reset);
    ask.send(fleet.processes[0].address()).await.expect(200);
    ask.send(fleet.processes[0].address()).await.expect(429);

    let healed = health().from("10.9.1.2");
    healed.send(fleet.processes[0].address()).await.expect(200);
    let key = "rate_limit:ip:10.9.1.2";
    assert_eq!(redis.command(&["PERSIST", key]).await, "1");
    healed.send(fleet.processes[0].address()).await.expect(200);
    let ttl: i64 = redis.command(&["TTL", key]).await.parse().unwrap();
    assert!((1..=60).contains(&ttl), "{ttl}");

    redis.command(&["SET", "rate_limit:ip:10.9.1.3", "rubbish"]).await;
    redis.command(&["RPUSH", "rate_limit:ip:10.9.1.4", "a"]).await;
    for client in ["10.9.1.3", "10.9.1.4"] {
        let answers = fleet.flood(8, &health().from(client)).await;
        assert!(passed(&answers) <= 5, "{client}: {answers:?}");
    }
    assert_eq!(
        limiter_of(&fleet.processes[0]).await,
        "redis",
        "one broken key is no lost Redis"
    );
}
