//! HTTP-05: connections that give their bytes one at a time, or none. Each is closed when its time is over (contract
//! 3.7: headers 15 s, body 30 s, idle 75 s), and nobody else notices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::{client, count, undefended};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Never sends a byte.
    Silent,
    /// One byte of the head at a time.
    Head,
    /// One good request, then the head of the next one byte at a time.
    NextHead,
    /// One byte of a declared body at a time.
    Body,
    /// One byte of a chunked body at a time.
    Chunked,
    /// A body that never begins.
    NoBody,
    /// One good request, then nothing.
    Idle,
}

const KINDS: [Kind; 7] = [
    Kind::Silent,
    Kind::Head,
    Kind::NextHead,
    Kind::Body,
    Kind::Chunked,
    Kind::NoBody,
    Kind::Idle,
];

const POST: &str = "POST /api/v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
const GOOD: &str = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";

impl Kind {
    /// What is sent at once, what is dribbled, and how long the server has patience.
    fn plan(self) -> (String, &'static str, Duration) {
        let (headers, body, idle) = (
            Duration::from_secs(15),
            Duration::from_secs(30),
            Duration::from_secs(75),
        );
        match self {
            Self::Silent => (String::new(), "", headers),
            Self::Head => (
                String::new(),
                "GET /livez HTTP/1.1\r\nx-slow: aaaaaaaaaaaaaaaaaaaaaaaa",
                headers,
            ),
            Self::NextHead => (
                GOOD.into(),
                "GET /livez HTTP/1.1\r\nx-slow: aaaaaaaaaaaaaaaaaaaaaaaa",
                headers,
            ),
            Self::Body => (
                format!("{POST}content-length: 1000\r\n\r\n"),
                "{\"email\": \"aaaaaaaaaaaaaaaaaaaaa",
                body,
            ),
            Self::Chunked => (
                format!("{POST}transfer-encoding: chunked\r\n\r\n3e8\r\n"),
                "{\"email\": \"aaaaaaaaaaaaaaaaaaaaa",
                body,
            ),
            Self::NoBody => (format!("{POST}content-length: 1000\r\n\r\n"), "", body),
            Self::Idle => (GOOD.into(), "", idle),
        }
    }
}

/// How one slow client fared.
struct Fate {
    kind: Kind,
    lived: Duration,
    answer: String,
}

async fn besiege(address: SocketAddr, kind: Kind, pace: Duration) -> Fate {
    let (at_once, dribble, _) = kind.plan();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut begun = Instant::now();
    stream.write_all(at_once.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    if at_once == GOOD {
        while !answer.ends_with(b"}") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
        }
        begun = Instant::now();
    }
    let mut dribble = dribble.bytes().cycle();
    let mut speaking = false;
    loop {
        let mut more = Vec::new();
        tokio::select! {
            read = stream.read_buf(&mut more) => match read {
                Ok(1..) => answer.extend(more),
                // Closed, or reset because of a byte that came too late.
                _ => break,
            },
            () = tokio::time::sleep(pace) => if let Some(byte) = dribble.next() {
                // The time for a head begins with its first byte.
                if kind == Kind::NextHead && !std::mem::replace(&mut speaking, true) {
                    begun = Instant::now();
                }
                let _ = stream.write_all(&[byte]).await;
            },
        }
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    Fate {
        kind,
        lived: begun.elapsed(),
        answer,
    }
}

/// HTTP-05, in the count that fits a change or in full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_closed_in_time_and_nobody_else_notices() {
    let _quiet = crate::QUIET.read().await;
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let directory = tempfile::tempdir().unwrap();
    let stile = undefended(&directory).start();
    let address = stile.address();
    let slow = count(500, 5000);
    let pace = Duration::from_secs(if crate::long() { 10 } else { 2 });

    let over = Arc::new(AtomicBool::new(false));
    let good = tokio::spawn(good_traffic(stile.url(""), Arc::clone(&over)));
    let mut clients = JoinSet::new();
    for number in 0..slow {
        clients.spawn(besiege(address, KINDS[number % KINDS.len()], pace));
    }
    let fates = clients.join_all().await;
    over.store(true, Ordering::Relaxed);
    let (requests, slowest) = good.await.unwrap();
    assert_eq!(fates.len(), slow);
    for fate in &fates {
        let (_, _, patience) = fate.kind.plan();
        // The limit is promised; what is added is for a busy machine.
        let bounds = patience.mul_f32(0.95)..patience + Duration::from_secs(5);
        assert!(
            bounds.contains(&fate.lived),
            "{:?} was closed after {:?}",
            fate.kind,
            fate.lived
        );
        let status = fate.answer.get(9..12).unwrap_or_default();
        let expected = match fate.kind {
            Kind::Silent | Kind::Head => "",
            Kind::NextHead | Kind::Idle => "200",
            Kind::Body | Kind::Chunked | Kind::NoBody => "408",
        };
        assert_eq!(status, expected, "{:?}: {}", fate.kind, fate.answer);
    }
    println!("{slow} slow clients; {requests} good requests beside them, the slowest took {slowest:?}");
    assert!(requests > 1000, "{requests} good requests");
}

/// 50 requests a second until `over`, each of which must be answered well; their number and the longest one.
async fn good_traffic(url: String, over: Arc<AtomicBool>) -> (usize, Duration) {
    let http = client();
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let mut requests = JoinSet::new();
    let (mut count, mut slowest) = (0, Duration::ZERO);
    while !over.load(Ordering::Relaxed) {
        tick.tick().await;
        let path = ["/livez", "/api/v1/health", "/readyz", "/.well-known/jwks.json"][count % 4];
        let request = http.get(format!("{url}{path}")).send();
        requests.spawn(async move {
            let begun = Instant::now();
            assert_eq!(request.await.unwrap().status(), 200, "{path}");
            begun.elapsed()
        });
        count += 1;
        while let Some(done) = requests.try_join_next() {
            slowest = slowest.max(done.unwrap());
        }
    }
    (
        count,
        requests.join_all().await.into_iter().fold(slowest, Duration::max),
    )
}

/// HTTP-02: bodies without an end are cut off, and none of them is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_bodies_take_no_memory() {
    let _quiet = crate::QUIET.read().await;
    let directory = tempfile::tempdir().unwrap();
    let stile = undefended(&directory).start();
    client().get(stile.url("/health")).send().await.unwrap();
    let before = memory_after_warm_up(&stile).await;
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x1_0000));
    let mut senders = JoinSet::new();
    for number in 0..count(200, 2000) {
        let (address, chunk) = (stile.address(), chunk.clone());
        senders.spawn(async move {
            let head = if number % 2 == 0 {
                format!("{POST}transfer-encoding: chunked\r\n\r\n")
            } else {
                format!("{POST}content-length: 9000000000\r\n\r\n")
            };
            let mut stream = TcpStream::connect(address).await.unwrap();
            let _ = stream.write_all(head.as_bytes()).await;
            let mut sent = 0;
            while sent < (64 << 20) && stream.write_all(chunk.as_bytes()).await.is_ok() {
                sent += chunk.len();
            }
            sent
        });
    }
    // The kernel's buffers take some before the connection is closed.
    let most = senders.join_all().await.into_iter().max().unwrap();
    assert!(most < 32 << 20, "{most} bytes were taken from one sender");
    let peak = crate::memory(&stile, "VmHWM");
    println!("memory: {before} KiB before, {peak} KiB at most");
    assert!(
        peak < before + 24 * 1024,
        "{before} KiB before, {peak} KiB at most"
    );
}

async fn memory_after_warm_up(stile: &crate::process::Process) -> u64 {
    let http = client();
    for _ in 0..50 {
        http.post(stile.url("/api/v1/auth/login"))
            .body("{}")
            .send()
            .await
            .unwrap();
    }
    crate::memory(stile, "VmRSS")
}

/// REL-08: a stop waits for clients that never finish no longer than it was told, and is a clean one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_sent_requests_do_not_spoil_a_shutdown() {
    let _quiet = crate::QUIET.read().await;
    let directory = tempfile::tempdir().unwrap();
    let stile = undefended(&directory).set("SHUTDOWN_GRACE_SECONDS", "3").start();
    let mut held = Vec::new();
    for number in 0..100 {
        let mut stream = TcpStream::connect(stile.address()).await.unwrap();
        let part = [
            POST.to_owned(),
            format!("{POST}content-length: 1000\r\n\r\n{{"),
            String::new(),
        ];
        stream.write_all(part[number % 3].as_bytes()).await.unwrap();
        held.push(stream);
    }
    stile.signal("TERM");
    let ended = tokio::task::spawn_blocking(move || stile.wait_for_end(crate::process::PATIENCE));
    assert_eq!(ended.await.unwrap().code(), Some(0));
    drop(held);
}
