//! The speed of one decision: in memory, refused from memory, and through a real Redis on the loopback.
//!
//! `cargo bench --bench limiter`. What counts are ratios within one run; the last lines print those beside
//! `redis-benchmark` with the same script on the same server.

#![expect(clippy::cast_precision_loss, reason = "rates are printed to three digits")]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::process::Command;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use stile::clock::Clock;
use stile::rate_limit::store::memory::MemoryStore;
use stile::rate_limit::store::{Moment, Standing};
use stile::rate_limit::{
    Charge, Client, CounterKey, Limiter, Plan, RedisSettings, Rule, Rules, Settings, StoreState,
};
use tokio::runtime::Runtime;

#[path = "../tests/support/port.rs"]
mod port;
#[path = "../tests/support/redis.rs"]
mod redis_server;

use redis_server::RedisServer;

/// As the program has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const IN_FLIGHT: usize = 256;
const ROUNDS: usize = 5;

fn settings(limits: &[(Rule, &str)]) -> Settings {
    let mut rules = Rules::defaults(false);
    for (rule, limit) in limits {
        rules.set(*rule, limit.parse().unwrap());
    }
    Settings {
        enabled: true,
        rules,
        redis: None,
        key_prefix: "rate_limit".to_owned(),
        fleet_size: None,
        memory_keys: NonZeroUsize::new(2_000_000).unwrap(),
        ipv6_prefix: 64,
        allowlist: Vec::new(),
    }
}

fn charge(rule: Rule, client: u32) -> Charge {
    Charge::client(
        rule,
        Client::of(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | client)), 64),
    )
}

/// A check in memory with few counters and with many, beside a bare map of as many entries of the same size: what that
/// costs more with a million is the processor's caches, and the rest is ours.
fn in_memory(runtime: &Runtime) {
    const CHECKS: u32 = 500_000;
    let rules = settings(&[(Rule::Login, "1000000000/day")]).rules;
    let key = |client| {
        Plan::of(&[charge(Rule::Login, client)], &rules, |_| 0)
            .asks
            .remove(0)
            .key
    };
    for live in [1_000_u32, 1_000_000] {
        let limits = [(Rule::Login, "1000000000/day")];
        let limiter = runtime.block_on(async { Limiter::start(settings(&limits), Clock::system()).unwrap() });
        let mut map: HashMap<CounterKey, [u64; 6]> = HashMap::new();
        runtime.block_on(async {
            for client in 0..live {
                let _ = limiter.take(&[charge(Rule::Login, client)]).await;
                map.insert(key(client), [0; 6]);
            }
        });
        let clients = || (0..CHECKS).map(|turn| turn.wrapping_mul(7919) % live);
        let keys: Vec<CounterKey> = clients().map(key).collect();
        let [mut ours, mut bare] = [(); 2].map(|()| Vec::new());
        let nanos = |began: Instant| began.elapsed().as_secs_f64() * 1e9 / f64::from(CHECKS);
        for _ in 0..2 * ROUNDS {
            ours.push(runtime.block_on(async {
                let began = Instant::now();
                for client in clients() {
                    assert!(limiter.take(&[charge(Rule::Login, client)]).await.is_admitted());
                }
                nanos(began)
            }));
            let began = Instant::now();
            for key in &keys {
                map.get_mut(key).unwrap()[0] += 1;
            }
            bare.push(nanos(began));
        }
        let [ours, bare] = [ours, bare].map(median);
        println!(
            "a check in memory, {live} live keys: {ours:.0} ns; a bare HashMap of such entries {bare:.0} ns; ours on top of it {:.0} ns",
            ours - bare
        );
    }
}

fn known_refusal(criterion: &mut Criterion, runtime: &Runtime, url: &str) {
    let mut group = criterion.benchmark_group("refusal");
    group.throughput(Throughput::Elements(1));
    for (name, redis) in [("memory", None), ("mirror of Redis", Some(url))] {
        let limiter = start(runtime, redis, &[(Rule::Login, "1/day")]);
        let charges = [charge(Rule::Login, 1)];
        runtime.block_on(async {
            let _ = limiter.take(&charges).await;
            assert!(!limiter.take(&charges).await.is_admitted());
        });
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                // One thread, and no task for each call. Once a second the mirror asks Redis all the same.
                runtime.block_on(async {
                    let began = Instant::now();
                    for _ in 0..times {
                        assert!(!limiter.take(&charges).await.is_admitted());
                    }
                    began.elapsed()
                })
            });
        });
    }
    group.finish();
}

fn start(runtime: &Runtime, url: Option<&str>, limits: &[(Rule, &str)]) -> Limiter {
    start_with(runtime, url, limits, Duration::from_secs(2))
}

fn start_with(
    runtime: &Runtime,
    url: Option<&str>,
    limits: &[(Rule, &str)],
    command_timeout: Duration,
) -> Limiter {
    let mut settings = settings(limits);
    settings.redis = url.map(|url| RedisSettings {
        nodes: vec![url.to_owned().into()],
        connect_timeout: Duration::from_secs(2),
        command_timeout,
        health_check: Duration::from_secs(30),
        tls_ca_file: None,
    });
    runtime.block_on(async {
        let limiter = Limiter::start(settings, Clock::system()).unwrap();
        let _ = limiter.take(&[charge(Rule::ResetVerify, 0)]).await;
        assert_ne!(limiter.state(), StoreState::Degraded);
        limiter
    })
}

/// Checks per second with `in_flight` at once, and the 99th percentile of one.
fn load(runtime: &Runtime, limiter: &Limiter, in_flight: usize, total: usize) -> (f64, Duration) {
    runtime.block_on(async {
        let began = Instant::now();
        let tasks = (0..in_flight).map(|task| {
            let limiter = limiter.clone();
            tokio::spawn(async move {
                let mut spans = Vec::with_capacity(total / in_flight);
                for turn in 0..total / in_flight {
                    let client = u32::try_from((task * 7919 + turn) % 10_000).unwrap();
                    let asked = Instant::now();
                    assert!(limiter.take(&[charge(Rule::Login, client)]).await.is_admitted());
                    spans.push(asked.elapsed());
                }
                spans
            })
        });
        let spans: Vec<Vec<Duration>> = futures_util::future::try_join_all(tasks).await.unwrap();
        let rate = total as f64 / began.elapsed().as_secs_f64();
        let mut spans = spans.concat();
        spans.sort_unstable();
        (rate, spans[spans.len() * 99 / 100])
    })
}

/// What `redis-benchmark` reaches with the same script at a pipeline of 16.
fn redis_benchmark(runtime: &Runtime, redis: &RedisServer) -> f64 {
    let text = include_str!("../src/rate_limit/store/take.lua");
    let sha = runtime.block_on(redis.command(&["SCRIPT", "LOAD", text]));
    let output = Command::new("redis-benchmark")
        .args([
            "-p",
            &redis.port().to_string(),
            "-n",
            "300000",
            "-P",
            "16",
            "-r",
            "10000",
            "--csv",
        ])
        .args([
            "EVALSHA",
            &sha,
            "1",
            "rate_limit:login:ip:__rand_int__",
            "0",
            "1",
            "1000000000",
            "86400000",
            "1",
            "",
        ])
        .output()
        .unwrap_or_else(|error| {
            panic!("cannot run redis-benchmark ({error}): apt-get install -y redis-tools")
        });
    let text = String::from_utf8(output.stdout).unwrap();
    let row = text.lines().last().unwrap();
    row.split("\",\"")
        .nth(1)
        .and_then(|rate| rate.parse().ok())
        .unwrap_or_else(|| panic!("{text}"))
}

/// Each figure is the median of rounds that take turns, so that what else the machine does falls on all of them.
fn ratios(runtime: &Runtime, redis: &RedisServer) {
    let one = start(runtime, Some(&redis.url()), &[(Rule::Login, "1000000000/day")]);
    let windows = "1000000/minute;10000000/hour;1000000000/day";
    let three = start(runtime, Some(&redis.url()), &[(Rule::Login, windows)]);
    let npm = Npm::install();
    let [mut reference, mut ours, mut ours_of_three, mut theirs, mut p99] = [(); 5].map(|()| Vec::new());
    for _ in 0..ROUNDS {
        reference.push(redis_benchmark(runtime, redis));
        ours.push(load(runtime, &one, IN_FLIGHT, 300_000).0);
        theirs.extend(npm.as_ref().map(|npm| npm.rate(redis.port())));
        ours_of_three.push(load(runtime, &three, IN_FLIGHT, 100_000).0);
        p99.push(load(runtime, &one, 64, 100_000).1.as_secs_f64() * 1e6);
    }
    let [reference, ours, three, p99] = [reference, ours, ours_of_three, p99].map(median);
    println!("redis-benchmark, EVALSHA of the same script, -P 16: {reference:.0}/s");
    let share = ours / reference * 100.0;
    println!(
        "one rule, {IN_FLIGHT} in flight: {ours:.0}/s (to reach: 100000), {share:.0} % of it (to reach: 50)"
    );
    println!("three windows, {IN_FLIGHT} in flight: {three:.0}/s (to reach: 40000)");
    println!("one rule, 64 in flight: p99 {p99:.0} µs (to reach: 1000)");
    if npm.is_some() {
        let theirs = median(theirs);
        println!(
            "npm's rate-limit-redis over ioredis, {IN_FLIGHT} in flight: {theirs:.0}/s; ours is {:.2} times that (to reach: 1.3)",
            ours / theirs
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The rate with few keys in Redis and with many.
fn live_keys(runtime: &Runtime) {
    let redis = runtime.block_on(RedisServer::start());
    let one = start(runtime, Some(&redis.url()), &[(Rule::Login, "1000000000/day")]);
    let mut rates = [(); 2].map(|()| Vec::new());
    for (rates, keys) in rates.iter_mut().zip([1_000_u32, 1_000_000]) {
        let fill = format!(
            "for i = 1, {keys} do redis.call('SET', 'rate_limit:login:ip:100.' .. i, 1, 'EX', 86400) end"
        );
        runtime.block_on(redis.command(&["EVAL", &fill, "0"]));
        for _ in 0..ROUNDS {
            rates.push(load(runtime, &one, IN_FLIGHT, 100_000).0);
        }
    }
    let [few, many] = rates.map(median);
    println!(
        "one rule in a Redis of 11,000 keys {few:.0}/s, of 1,011,000 {many:.0}/s: {:.0} %",
        many / few * 100.0
    );
}

/// What requests feel when Redis stops to answer: 64 that ask again and again.
fn frozen(runtime: &Runtime) {
    let redis = runtime.block_on(RedisServer::start());
    let timeout = Duration::from_millis(50);
    let limiter = start_with(
        runtime,
        Some(&redis.url()),
        &[(Rule::Login, "1000000000/day")],
        timeout,
    );
    redis.freeze();
    // One after the other, as the promise is told: three wait, and then none.
    let spans: Vec<Duration> = runtime.block_on(async {
        let mut spans = Vec::new();
        for client in 0..10_000 {
            let asked = Instant::now();
            let _ = limiter.take(&[charge(Rule::Login, client)]).await;
            spans.push(asked.elapsed());
        }
        spans
    });
    let waited: Vec<&Duration> = spans.iter().filter(|span| **span > timeout / 2).collect();
    let mut rest: Vec<f64> = spans
        .iter()
        .filter(|span| **span <= timeout / 2)
        .map(Duration::as_secs_f64)
        .collect();
    rest.sort_by(f64::total_cmp);
    println!(
        "Redis frozen, timeout {timeout:?}: {} of {} waited {waited:?} (to reach: 3); p99.9 of the others {:.0} µs",
        waited.len(),
        spans.len(),
        rest[rest.len() * 999 / 1000] * 1e6
    );
    redis.thaw();
}

/// Bytes for each client in memory, and how long the sweep holds a lock (limits.md 46: under a millisecond).
fn size() {
    const KEYS: usize = 200_000;
    let resident = || -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    let before = resident();
    let store = MemoryStore::new(NonZeroUsize::new(KEYS).unwrap());
    let rules = settings(&[(Rule::Login, "3/minute")]).rules;
    let at = |millis: u64| Moment {
        elapsed_us: millis * 1000,
        unix_us: 0,
    };
    // Full: so it is promised, and a map that has just doubled is half empty.
    for client in 0..u32::try_from(2 * KEYS).unwrap() {
        let plan = Plan::of(&[charge(Rule::Login, client)], &rules, |_| 1);
        let _ = store.take(at(0), &plan.asks, &|_, limit| limit, Standing::Sole);
    }
    let bytes = (resident() - before) / store.len();
    println!(
        "memory: {bytes} bytes for each of {} clients (to reach: 200)",
        store.len()
    );
    for (what, moment) in [("nothing has ended", 1), ("all has ended", 60_000)] {
        let mut longest = Duration::ZERO;
        for shard in 0..store.shard_count() {
            let began = Instant::now();
            store.sweep(at(moment), shard);
            longest = longest.max(began.elapsed());
        }
        println!("longest lock held by the sweep, {what}: {longest:?} (to reach: 1 ms)");
    }
}

/// npm's rate-limit-redis in a temporary folder, where node and the registry are to be had.
struct Npm(tempfile::TempDir);

impl Npm {
    fn install() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let install = Command::new("npm")
            .args([
                "install",
                "--silent",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
            ])
            .args(["express-rate-limit@8", "rate-limit-redis@4", "ioredis@5"])
            .current_dir(folder.path())
            .status();
        if !install.is_ok_and(|status| status.success()) {
            println!("npm's rate-limit-redis is not compared: npm install did not work");
            return None;
        }
        std::fs::write(
            folder.path().join("bench.mjs"),
            include_str!("rate_limit_redis.mjs"),
        )
        .unwrap();
        Some(Self(folder))
    }

    fn rate(&self, port: u16) -> f64 {
        let output = Command::new("node")
            .args(["bench.mjs", &port.to_string(), &IN_FLIGHT.to_string(), "200000"])
            .current_dir(self.0.path())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let rate = text.trim().parse();
        rate.unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
    }
}

fn main() {
    let runtime = Runtime::new().unwrap();
    // First, before there is freed memory to be used again.
    size();
    in_memory(&runtime);
    let redis = runtime.block_on(RedisServer::start());
    let mut criterion = Criterion::default().configure_from_args();
    known_refusal(&mut criterion, &runtime, &redis.url());
    criterion.final_summary();
    ratios(&runtime, &redis);
    live_keys(&runtime);
    frozen(&runtime);
}
