//! The whole service beside what bounds it, in one run: `cargo bench --bench service`.
//!
//! - a limited `GET /api/v1/health`, limits in memory and through Redis, beside a bare axum "hello";
//! - login beside raw argon2id of the same parameters on all cores;
//! - memory when idle and under 400 logins at once; the time to the first healthy answer.
//!
//! Parts of it: `cargo bench --bench service -- health`, `login`, `memory`.
//!
//! Servers are processes of their own, rounds are interleaved, medians are compared: only ratios mean
//! anything on a machine that does other work.

#[path = "../tests/support/port.rs"]
mod port;
#[path = "../tests/support/redis.rs"]
mod redis;

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
const CONNECTIONS: usize = 64;
const PASSWORD: &str = "correct-horse-battery-9";

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        // The bounds, for `bench/run`.
        ["hello"] => runtime.block_on(hello()),
        ["argon2id", seconds] => {
            println!("{}", raw_argon2(Duration::from_secs(seconds.parse()?))?);
            Ok(())
        }
        _ => runtime.block_on(compare()),
    }
}

/// The bare server that the others are measured against.
async fn hello() -> Outcome<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("address=\"{}\"", listener.local_addr()?);
    let router = axum::Router::new().route("/", axum::routing::get(|| async { "hello" }));
    Ok(axum::serve(listener, router).await?)
}

async fn compare() -> Outcome<()> {
    println!("cores: {}", std::thread::available_parallelism()?);
    let wanted = |part: &str| {
        let parts: Vec<String> = std::env::args()
            .skip(1)
            .filter(|argument| !argument.starts_with("--"))
            .collect();
        parts.is_empty() || parts.iter().any(|wanted| wanted == part)
    };
    if wanted("health") {
        health().await?;
    }
    if wanted("login") {
        login().await?;
    }
    if wanted("gateway") {
        gateway().await?;
    }
    if wanted("memory") {
        start_and_memory().await?;
    }
    Ok(())
}

async fn health() -> Outcome<()> {
    let store = redis::RedisServer::start().await;
    let url = store.url();
    let limits = [("RATE_LIMIT_GLOBAL", "1000000000/minute")];
    let bare = Server::hello()?;
    let memory = Server::stile(&limits)?;
    let through_redis = Server::stile(&[limits[0], ("REDIS_URL", &url)])?;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n");
    let limited = get("/api/v1/health");
    let mut rates = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        rates[0].push(load(bare.address, &get("/"), CONNECTIONS, ROUND).await?);
        rates[1].push(load(memory.address, &limited, CONNECTIONS, ROUND).await?);
        rates[2].push(load(through_redis.address, &limited, CONNECTIONS, ROUND).await?);
    }
    let [bare, memory, through_redis] = rates.map(median);
    println!("bare axum hello:               {bare:>9.0}/s");
    println!(
        "limited health, in memory:     {memory:>9.0}/s  {:>5.1} % of bare (to reach: 60)",
        100.0 * memory / bare
    );
    println!(
        "limited health, through Redis: {through_redis:>9.0}/s  {:>5.1} % of bare (to reach: 35)",
        100.0 * through_redis / bare
    );
    Ok(())
}

async fn login() -> Outcome<()> {
    let server = Server::stile(&[("ENABLE_RATE_LIMITING", "false")])?;
    register(&server).await?;
    let request = post("/api/v1/auth/login", &credentials(PASSWORD));
    // As many at once as the hashing threads keep busy, and no more than the queue takes.
    let at_once = 2 * std::thread::available_parallelism()?.get();
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        rates[0].push(tokio::task::spawn_blocking(|| raw_argon2(ROUND)).await??);
        rates[1].push(load(server.address, &request, at_once, ROUND).await?);
    }
    let [raw, logins] = rates.map(median);
    println!("raw argon2id, all cores:       {raw:>9.1}/s");
    println!(
        "login (SQLite):                {logins:>9.1}/s  {:>5.1} % of raw (to reach: 95)",
        100.0 * logins / raw
    );
    Ok(())
}

/// The gateway check of a token that is asked about again and again, beside the limited health check of the same server.
async fn gateway() -> Outcome<()> {
    let store = redis::RedisServer::start().await;
    let server = Server::stile(&[
        ("RATE_LIMIT_GLOBAL", "1000000000/minute"),
        (
            "API_TOKEN_RATE_LIMIT",
            "1000000000/minute;1000000000/hour;1000000000/day",
        ),
        ("REDIS_URL", &store.url()),
    ])?;
    register(&server).await?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let api = format!("http://{}/api/v1", server.address);
    let send = async |path: &str, access: &str, body: String| -> Outcome<serde_json::Value> {
        let request = client.post(format!("{api}{path}")).bearer_auth(access);
        let request = request.header("content-type", "application/json").body(body);
        let answer = request.send().await?.error_for_status()?.text().await?;
        Ok(serde_json::from_str(&answer)?)
    };
    let text = |value: &serde_json::Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let session = send("/auth/login", "", credentials(PASSWORD)).await?;
    let access = text(&session, "access_token");
    let made = send("/api-tokens", &access, r#"{"name":"bench"}"#.to_owned()).await?;
    let token = text(&made, "token");
    let health = "GET /api/v1/health HTTP/1.1\r\nhost: bench\r\n\r\n";
    let verify = format!(
        "GET /api/v1/api-gateway/verify HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    let mut rates = [Vec::new(), Vec::new()];
    let mut p99 = Vec::new();
    for _ in 0..ROUNDS {
        rates[0].push(load(server.address, health, CONNECTIONS, ROUND).await?);
        rates[1].push(load(server.address, &verify, CONNECTIONS, ROUND).await?);
        p99.push(slowest_of_a_hundred(server.address, &verify).await?);
    }
    let [health, verify] = rates.map(median);
    println!("limited health, through Redis: {health:>9.0}/s");
    println!(
        "gateway check, three windows:  {verify:>9.0}/s  {:>5.1} % of that (to reach: 40)",
        100.0 * verify / health
    );
    println!(
        "gateway check, {CONNECTIONS} in flight: p99 {:.2} ms (to reach: 2)",
        median(p99)
    );
    Ok(())
}

/// The 99th percentile of the time that one answer takes with [`CONNECTIONS`] in flight, in milliseconds.
async fn slowest_of_a_hundred(address: SocketAddr, request: &str) -> Outcome<f64> {
    let until = Instant::now() + ROUND;
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let request = request.to_owned();
            tokio::spawn(async move {
                let mut connection = BufReader::new(TcpStream::connect(address).await?);
                let (mut spans, mut buffer) = (Vec::new(), Vec::new());
                while Instant::now() < until {
                    let began = Instant::now();
                    connection.write_all(request.as_bytes()).await?;
                    read_answer(&mut connection, &mut buffer).await?;
                    spans.push(began.elapsed().as_secs_f64() * 1000.0);
                }
                Outcome::Ok(spans)
            })
        })
        .collect();
    let mut spans = Vec::new();
    for task in tasks {
        spans.extend(task.await??);
    }
    spans.sort_by(f64::total_cmp);
    Ok(spans.get(spans.len() * 99 / 100).copied().unwrap_or_default())
}

async fn start_and_memory() -> Outcome<()> {
    let mut starts = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let server = Server::stile(&[])?;
        load(
            server.address,
            "GET /health HTTP/1.1\r\nhost: bench\r\n\r\n",
            1,
            Duration::ZERO,
        )
        .await?;
        starts.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    println!(
        "first healthy answer:          {:>9.0} ms (to reach: 100)",
        median(starts)
    );
    let server = Server::stile(&[("ENABLE_RATE_LIMITING", "false")])?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let idle = server.memory("VmRSS")?;
    println!("resident, idle:                {idle:>9.1} MiB (to reach: 20)");
    register(&server).await?;
    let request = post(
        "/api/v1/auth/login",
        &credentials("a wrong password for the storm"),
    );
    let storm = (0..400).map(|_| one_answer(server.address, &request));
    let answers = futures_util::future::join_all(storm).await;
    let shed = answers.iter().filter(|status| matches!(status, Ok(503))).count();
    let permits = std::thread::available_parallelism()?.get();
    let bound = idle + 19.0 * f64::from(u32::try_from(permits)?) + 32.0;
    let peak = server.memory("VmHWM")?;
    println!("resident, 400 logins at once:  {peak:>9.1} MiB (to reach: {bound:.1}); {shed} answered 503");
    Ok(())
}

/// argon2id as stile runs it: one thread a core, each with a buffer that it keeps.
fn raw_argon2(span: Duration) -> Outcome<f64> {
    let threads = std::thread::available_parallelism()?.get();
    let until = Instant::now() + span;
    let workers: Vec<_> = (0..threads)
        .map(|_| std::thread::spawn(move || hash_until(until)))
        .collect();
    let mut hashes = 0.0;
    for worker in workers {
        hashes += worker.join().map_err(|_| "a hashing thread panicked")?;
    }
    Ok(hashes)
}

/// Hashes per second.
fn hash_until(until: Instant) -> f64 {
    let params = argon2::Params::new(19 * 1024, 2, 1, None).expect("constant parameters");
    let mut blocks = vec![argon2::Block::default(); params.block_count()];
    let hasher = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let (mut output, mut count, began) = ([0; 32], 0.0, Instant::now());
    while Instant::now() < until {
        hasher
            .hash_password_into_with_memory(
                PASSWORD.as_bytes(),
                b"sixteen-byte-slt",
                &mut output,
                &mut blocks,
            )
            .expect("constant input");
        count += 1.0;
    }
    count / began.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn credentials(password: &str) -> String {
    format!(r#"{{"email":"bench@example.com","password":"{password}"}}"#)
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

async fn register(server: &Server) -> Outcome<()> {
    let request = post("/api/v1/auth/register", &credentials(PASSWORD));
    match one_answer(server.address, &request).await? {
        201 => Ok(()),
        status => Err(format!("registering answered {status}").into()),
    }
}

async fn one_answer(address: SocketAddr, request: &str) -> Outcome<u16> {
    let mut connection = BufReader::new(TcpStream::connect(address).await?);
    connection.write_all(request.as_bytes()).await?;
    read_answer(&mut connection, &mut Vec::new()).await
}

/// Answers per second over `connections`, each asking again as soon as it is answered, for `span` (but at
/// least one answer each). Anything but 200 and 204 is an error: a refusal would be measured as speed.
async fn load(address: SocketAddr, request: &str, connections: usize, span: Duration) -> Outcome<f64> {
    let began = Instant::now();
    let tasks: Vec<_> = (0..connections)
        .map(|_| tokio::spawn(ask_for(address, request.to_owned(), began + span)))
        .collect();
    let mut answers = 0.0;
    for task in tasks {
        answers += task.await??;
    }
    Ok(answers / began.elapsed().as_secs_f64())
}

async fn ask_for(address: SocketAddr, request: String, until: Instant) -> Outcome<f64> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut connection = BufReader::new(stream);
    let (mut answers, mut buffer) = (0.0, Vec::new());
    loop {
        connection.write_all(request.as_bytes()).await?;
        match read_answer(&mut connection, &mut buffer).await? {
            200 | 204 => answers += 1.0,
            status => return Err(format!("answered {status}").into()),
        }
        if Instant::now() >= until {
            return Ok(answers);
        }
    }
}

/// Reads one answer with a Content-Length; its status.
async fn read_answer(connection: &mut BufReader<TcpStream>, buffer: &mut Vec<u8>) -> Outcome<u16> {
    buffer.clear();
    let head_end = loop {
        if connection.read_buf(buffer).await? == 0 {
            return Err("the connection was closed".into());
        }
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = std::str::from_utf8(&buffer[..head_end])?;
    let status = head.get(9..12).ok_or("no status")?.parse()?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.unwrap_or("0").trim().parse()?;
    while buffer.len() < head_end + length {
        connection.read_buf(buffer).await?;
    }
    Ok(status)
}

/// A server process; ended when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Server {
    fn hello() -> Outcome<Self> {
        Self::start(&std::env::current_exe()?, &["hello"], &[])
    }

    fn stile(variables: &[(&str, &str)]) -> Outcome<Self> {
        let defaults = [
            ("ENVIRONMENT", "test"),
            ("PORT", "0"),
            ("LOG_FORMAT", "text"),
            ("NO_COLOR", "1"),
        ];
        let variables = [&defaults, variables].concat();
        Self::start(Path::new(env!("CARGO_BIN_EXE_stile")), &[], &variables)
    }

    /// Waits for the line that tells the address.
    fn start(program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Outcome<Self> {
        use std::io::{BufRead, BufReader};
        let directory = tempfile::tempdir()?;
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(variables.iter().copied())
            .current_dir(directory.path())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let address = loop {
            let line = lines.next().ok_or("the server ended before it listened")??;
            if let Some((_, rest)) = line.split_once("address=") {
                break rest.trim_matches('"').parse()?;
            }
        };
        // Later lines are read and thrown away, so that the server never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self {
            child,
            address,
            _directory: directory,
        })
    }

    /// A line of /proc/PID/status, in MiB.
    fn memory(&self, name: &str) -> Outcome<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .ok_or("no such line")?;
        let kib: f64 = line.split_whitespace().nth(1).ok_or("no value")?.parse()?;
        Ok(kib / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
