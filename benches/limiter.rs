//! The speed of one decision: in memory, refused from memory, and through a real Redis on the loopback.
//!
//! `cargo bench --bench limiter`. What counts are ratios within one run; the last lines print those beside
//! `redis-benchmark` with the same script on the same server.

#![expect(clippy::cast_precision_loss, reason = "rates are printed to three digits")]

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::process::Command;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use stile::clock::Clock;
use stile::rate_limit::{Charge, Client, Limiter, RedisSettings, Rule, Rules, Settings, StoreState};
use tokio::runtime::Runtime;

#[path = "../tests/support/redis.rs"]
mod redis_server;

use redis_server::RedisServer;

const IN_FLIGHT: usize = 256;

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

fn in_memory(criterion: &mut Criterion, runtime: &Runtime) {
    let mut group = criterion.benchmark_group("memory");
    group.throughput(Throughput::Elements(1));
    for live in [1_000_u32, 1_000_000] {
        let limits = [(Rule::Login, "1000000000/day")];
        let limiter = runtime.block_on(async { Limiter::start(settings(&limits), Clock::system()).unwrap() });
        runtime.block_on(async {
            for client in 0..live {
                let _ = limiter.take(&[charge(Rule::Login, client)]).await;
            }
        });
        let mut client = 0;
        group.bench_function(BenchmarkId::new("one rule, live keys", live), |bencher| {
            bencher.to_async(runtime).iter_batched(
                || {
                    client = (client + 7919) % live;
                    [charge(Rule::Login, client)]
                },
                |charges| {
                    let limiter = limiter.clone();
                    async move { limiter.take(&charges).await.is_admitted() }
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
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
            bencher.iter(|| {
                // Ready at once, so that the runtime is not what is measured.
                let decision = futures_util::FutureExt::now_or_never(limiter.take(&charges));
                decision.is_none_or(|decision| decision.is_admitted())
            });
        });
    }
    group.finish();
}

fn start(runtime: &Runtime, url: Option<&str>, limits: &[(Rule, &str)]) -> Limiter {
    let mut settings = settings(limits);
    settings.redis = url.map(|url| RedisSettings {
        nodes: vec![url.to_owned().into()],
        connect_timeout: Duration::from_secs(2),
        command_timeout: Duration::from_secs(2),
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
            "1000000000",
            "86400000",
            "1",
            "0",
            "0",
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

fn ratios(runtime: &Runtime, redis: &RedisServer) {
    let reference = redis_benchmark(runtime, redis);
    println!("redis-benchmark, EVALSHA of the same script, -P 16: {reference:.0}/s");
    let one = start(runtime, Some(&redis.url()), &[(Rule::Login, "1000000000/day")]);
    let (rate, _) = load(runtime, &one, IN_FLIGHT, 300_000);
    println!(
        "one rule, {IN_FLIGHT} in flight: {rate:.0}/s, {:.0} % of it",
        rate / reference * 100.0
    );
    let (_, p99) = load(runtime, &one, 64, 100_000);
    println!("one rule, 64 in flight: p99 {p99:?}");
    let windows = "1000000/minute;10000000/hour;1000000000/day";
    let three = start(runtime, Some(&redis.url()), &[(Rule::Login, windows)]);
    let (rate, _) = load(runtime, &three, IN_FLIGHT, 150_000);
    println!("three windows, {IN_FLIGHT} in flight: {rate:.0}/s");
}

fn main() {
    let runtime = Runtime::new().unwrap();
    let redis = runtime.block_on(RedisServer::start());
    let mut criterion = Criterion::default().configure_from_args();
    in_memory(&mut criterion, &runtime);
    known_refusal(&mut criterion, &runtime, &redis.url());
    criterion.final_summary();
    ratios(&runtime, &redis);
}
