//! More clients than there is room for: REL-09, REL-10.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::{client, count, memory, undefended};

async fn ask(stream: &mut TcpStream) -> String {
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "closed");
    }
    String::from_utf8(answer).unwrap()
}

/// REL-09: with 256 file descriptors and 1,000 clients nothing breaks, who is inside is served, database and Redis keep
/// their connections, and when the crowd leaves all is well again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_clients_than_file_descriptors_only_wait() {
    let _quiet = crate::QUIET.read().await;
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let directory = tempfile::tempdir().unwrap();
    let redis = crate::redis::RedisServer::start().await;
    let stile = undefended(&directory)
        .set("ENABLE_RATE_LIMITING", "true")
        .set("RATE_LIMIT_GLOBAL", "off")
        .set("REDIS_URL", redis.url())
        .set("REDIS_COMMAND_TIMEOUT_MS", "2000")
        .descriptors(256)
        .start();
    let counted_in = async || {
        let health = client().get(stile.url("/health")).send().await.unwrap();
        health.text().await.unwrap()
    };
    while !counted_in().await.contains(r#""rate_limiter":"redis""#) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut inside = TcpStream::connect(stile.address()).await.unwrap();
    assert!(ask(&mut inside).await.starts_with("HTTP/1.1 200"));
    let mut crowd = JoinSet::new();
    for _ in 0..1000 {
        let address = stile.address();
        crowd.spawn(async move { TcpStream::connect(address).await.unwrap() });
    }
    let crowd = crowd.join_all().await;
    for _ in 0..20 {
        assert!(ask(&mut inside).await.starts_with("HTTP/1.1 200"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!stile.has_ended());
    drop(crowd);
    let register = client()
        .post(stile.url("/api/v1/auth/register"))
        .header("content-type", "application/json")
        .body(r#"{"email":"ada@example.com","password":"correct-horse-battery-9"}"#);
    assert_eq!(register.send().await.unwrap().status(), 201);
    assert_eq!(
        redis
            .command(&["GET", "rate_limit:registration:ip:127.0.0.1"])
            .await,
        "1",
        "it is counted in Redis"
    );
    assert!(counted_in().await.contains(r#""rate_limiter":"redis""#));
    assert_eq!(
        stile.out.count("rate_limiter_degraded"),
        0,
        "Redis was not lost meanwhile"
    );
    assert!(ask(&mut inside).await.starts_with("HTTP/1.1 200"));
}

/// REL-10: a connection that rests costs a few KiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_cost_little_memory() {
    let _quiet = crate::QUIET.read().await;
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let directory = tempfile::tempdir().unwrap();
    let stile = undefended(&directory).start();
    let mut warm = TcpStream::connect(stile.address()).await.unwrap();
    for _ in 0..1000 {
        ask(&mut warm).await;
    }
    let before = memory(&stile, "VmRSS");
    let crowd = count(1000, 10_000);
    let mut idle = Vec::new();
    for _ in 0..crowd {
        let mut stream = TcpStream::connect(stile.address()).await.unwrap();
        ask(&mut stream).await;
        idle.push(stream);
    }
    let grown = memory(&stile, "VmRSS").saturating_sub(before);
    println!(
        "{crowd} idle connections: {grown} KiB, {} bytes each",
        grown * 1024 / crowd as u64
    );
    // 60 MB for 10,000, and what an allocator takes in one piece.
    let bound = 60 * 1024 * crowd as u64 / 10_000 + 4 * 1024;
    assert!(grown <= bound, "{crowd} idle connections took {grown} KiB");
    for stream in idle.iter_mut().step_by(100) {
        ask(stream).await;
    }
}
