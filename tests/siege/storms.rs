//! Passwords in masses: LOG-05, LOG-10.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use crate::process::Process;
use crate::{client, long, memory, undefended};

const PASSWORD: &str = "correct-horse-battery-9";

async fn register(stile: &Process) {
    let body = json!({"email": "ada@example.com", "password": PASSWORD});
    let answer = client()
        .post(stile.url("/api/v1/auth/register"))
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
}

/// LOG-10: 400 logins at once. Memory stays bounded, who finds no room is told so and when to come again, and the
/// rest of the service goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_logins_is_borne() {
    let _quiet = crate::QUIET.write().await;
    let directory = tempfile::tempdir().unwrap();
    let stile = undefended(&directory).start();
    let idle = memory(&stile, "VmRSS");
    register(&stile).await;
    let http = client();
    let mut logins = JoinSet::new();
    for number in 0..400 {
        let password = if number % 2 == 0 { PASSWORD } else { "wrong" };
        let email = if number % 3 == 0 {
            "nobody@example.com"
        } else {
            "ada@example.com"
        };
        let body = json!({"email": email, "password": password});
        let request = http.post(stile.url("/api/v1/auth/login")).json(&body).send();
        logins.spawn(async move {
            let begun = Instant::now();
            let answer = request.await.unwrap();
            let wait = answer
                .headers()
                .get("retry-after")
                .map(|wait| wait.to_str().unwrap().to_owned());
            let good = number % 2 == 0 && number % 3 != 0;
            (good, answer.status().as_u16(), wait, begun.elapsed())
        });
    }
    let storm = tokio::spawn(logins.join_all());
    let mut slowest_health = Duration::ZERO;
    while !storm.is_finished() {
        for path in ["/health", "/api/v1/health", "/livez"] {
            let begun = Instant::now();
            assert_eq!(http.get(stile.url(path)).send().await.unwrap().status(), 200);
            slowest_health = slowest_health.max(begun.elapsed());
        }
    }
    let (mut admitted, mut refused, mut slowest_refusal) = (0, 0, Duration::ZERO);
    for (good, status, wait, took) in storm.await.unwrap() {
        match status {
            503 => {
                refused += 1;
                assert!(wait.unwrap().parse::<u32>().unwrap() >= 1);
                slowest_refusal = slowest_refusal.max(took);
            }
            status => {
                admitted += usize::from(status == 200);
                assert_eq!(status, if good { 200 } else { 401 });
            }
        }
    }
    let workers = std::thread::available_parallelism().unwrap().get() as u64;
    let peak = memory(&stile, "VmHWM");
    println!(
        "{admitted} admitted, {refused} refused after {slowest_refusal:?} at most, health within {slowest_health:?}; \
         {idle} KiB idle, {peak} KiB at most, {workers} workers"
    );
    assert!(
        admitted > 0 && refused > 0,
        "{admitted} admitted, {refused} refused"
    );
    let bound = idle + workers * 19 * 1024 + 32 * 1024;
    assert!(peak <= bound, "{peak} KiB at most, {bound} KiB allowed");
    if long() {
        assert!(slowest_refusal <= Duration::from_secs(2), "{slowest_refusal:?}");
        // An unoptimised program shares the cores with hashing that is optimised: `cargo test --release` tells.
        assert!(
            cfg!(debug_assertions) || slowest_health <= Duration::from_millis(200),
            "{slowest_health:?}"
        );
    }
    let again = json!({"email": "ada@example.com", "password": PASSWORD});
    let after = http
        .post(stile.url("/api/v1/auth/login"))
        .json(&again)
        .send()
        .await
        .unwrap();
    assert_eq!(after.status(), 200);
}

/// CPU time that the process has used, in clock ticks (a hundredth of a second).
fn cpu_ticks(stile: &Process) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", stile.id())).unwrap();
    let behind_name = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// LOG-05: what is too long to be a password is refused unhashed. CPU time tells, for it knows nothing of other
/// processes: a hundred hashes take a second and more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_beyond_the_longest_cost_no_hash() {
    let directory = tempfile::tempdir().unwrap();
    let stile = undefended(&directory).start();
    register(&stile).await;
    let http = client();
    let send = async |password: &str, status: u16| {
        for path in ["login", "register"] {
            let body = json!({"email": "bob@example.com", "password": password});
            let answer = http
                .post(stile.url(&format!("/api/v1/auth/{path}")))
                .json(&body)
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), status, "{path} {}", password.len());
        }
    };
    let before = cpu_ticks(&stile);
    for _ in 0..50 {
        send(&"x".repeat(4097), 422).await;
        send(&"é".repeat(129), 422).await;
        send(&"\u{301}".repeat(4000), 422).await;
        send(&"x".repeat(1 << 20), 413).await;
    }
    let unhashed = cpu_ticks(&stile) - before;
    let before = cpu_ticks(&stile);
    for _ in 0..100 {
        let body = json!({"email": "bob@example.com", "password": "x".repeat(128)});
        let answer = http
            .post(stile.url("/api/v1/auth/login"))
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401);
    }
    let hashed = cpu_ticks(&stile) - before;
    println!("400 refusals: {unhashed} ticks; 100 hashes: {hashed} ticks");
    assert!(
        unhashed < hashed,
        "400 refusals took {unhashed} ticks, 100 hashes {hashed}"
    );
}
