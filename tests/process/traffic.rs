//! Requests over raw connections: nothing is retried and nothing hidden, so that every failure is seen.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::process::{PATIENCE, Process, Stile};

/// A password that every policy here accepts.
pub const PASSWORD: &str = "correct-horse-battery-9";

/// No answer within this time is a failure.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Option<Value>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub took: Duration,
}

/// `GET`.
pub fn get(path: &str) -> Request {
    request("GET", path)
}

/// `POST` of JSON.
pub fn post(path: &str, body: Value) -> Request {
    Request {
        body: Some(body),
        ..request("POST", path)
    }
}

/// A request without a body.
pub fn request(method: &'static str, path: &str) -> Request {
    Request {
        method,
        path: path.to_owned(),
        headers: Vec::new(),
        body: None,
    }
}

impl Request {
    /// From this client: a trusted proxy, as loopback is in `test`, says so.
    pub fn from(self, client: &str) -> Self {
        self.header("X-Forwarded-For", client)
    }

    /// With an access token.
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// On a connection of its own.
    pub async fn try_send(&self, to: SocketAddr) -> io::Result<Answer> {
        let began = Instant::now();
        let mut connection = Connection::open(to).await?;
        let closing = self.clone().header("Connection", "close");
        let mut answer = connection.ask(&closing).await?;
        answer.took = began.elapsed();
        Ok(answer)
    }

    /// On a connection of its own, which must not fail.
    pub async fn send(&self, to: SocketAddr) -> Answer {
        let answer = self.try_send(to).await;
        answer.unwrap_or_else(|error| panic!("{} {}: {error}", self.method, self.path))
    }

    pub fn bytes(&self) -> Vec<u8> {
        use std::fmt::Write as _;

        let body = self.body.as_ref().map(Value::to_string).unwrap_or_default();
        let mut text = format!("{} {} HTTP/1.1\r\nHost: localhost\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            write!(text, "{name}: {value}\r\n").unwrap();
        }
        if self.body.is_some() {
            write!(
                text,
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            )
            .unwrap();
        }
        format!("{text}\r\n{body}").into_bytes()
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Whether the connection ends with it.
    pub fn closes(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The text at `pointer` of the body.
    pub fn text(&self, pointer: &str) -> String {
        let json = self.json();
        let text = json.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_else(|| panic!("no {pointer} in {self:?}"))
            .to_owned()
    }

    /// The same answer, if its status is this one.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

/// A connection that may be kept alive.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub async fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = in_time(TcpStream::connect(to)).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Writes bytes and waits for nothing.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    pub async fn ask(&mut self, request: &Request) -> io::Result<Answer> {
        let began = Instant::now();
        self.write(&request.bytes()).await?;
        let mut answer = self.answer().await?;
        answer.took = began.elapsed();
        Ok(answer)
    }

    /// Reads one answer, framed by `Content-Length`.
    pub async fn answer(&mut self) -> io::Result<Answer> {
        in_time(async {
            let status = self.line().await?;
            let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
            let status = status.ok_or_else(|| io::Error::other("no status"))?;
            let mut headers = Vec::new();
            loop {
                let line = self.line().await?;
                let Some((name, value)) = line.split_once(':') else {
                    break;
                };
                headers.push((name.to_owned(), value.trim().to_owned()));
            }
            let mut answer = Answer {
                status,
                headers,
                body: String::new(),
                took: Duration::ZERO,
            };
            let length = answer.header("content-length").and_then(|n| n.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            self.stream.read_exact(&mut body).await?;
            answer.body = String::from_utf8(body).map_err(io::Error::other)?;
            Ok(answer)
        })
        .await
    }

    /// Whether the other end has closed, waiting for it if need be.
    pub async fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        let end = in_time(self.stream.read_to_end(&mut rest)).await;
        end.map_or_else(|error| error.kind() != io::ErrorKind::TimedOut, |read| read == 0)
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let result = tokio::time::timeout(TIMEOUT, work).await;
    result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Several tasks that ask again and again until they are told to stop; each yields what it has seen.
pub struct Traffic<T> {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Vec<T>>>,
}

impl<T: Send + 'static> Traffic<T> {
    /// `tasks` times the loop that `start` makes of its number and the sign to stop.
    pub fn start<F: Future<Output = Vec<T>> + Send + 'static>(
        tasks: usize,
        start: impl Fn(usize, Running) -> F,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = (0..tasks).map(|n| tokio::spawn(start(n, Running(Arc::clone(&stop)))));
        Self {
            tasks: tasks.collect(),
            stop,
        }
    }

    /// Lets them finish what they are at.
    pub async fn stop(self) -> Vec<T> {
        self.stop.store(true, Ordering::Relaxed);
        let mut seen = Vec::new();
        for task in self.tasks {
            seen.extend(task.await.unwrap());
        }
        seen
    }
}

/// Whether to go on.
#[derive(Clone)]
pub struct Running(Arc<AtomicBool>);

impl Running {
    pub fn yes(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

/// One issuer for all instances and restarts, whatever port they get.
const PUBLIC_URL: &str = "http://localhost:8000";

/// A stile in `test`, with limits off.
pub fn unlimited(directory: &std::path::Path) -> Stile {
    Stile::in_directory(directory)
        .set("ENVIRONMENT", "test")
        .set("PUBLIC_URL", PUBLIC_URL)
        .set("ENABLE_RATE_LIMITING", "false")
}

/// A stile in `test` that counts in this Redis, and has no limit but those that are set.
///
/// It waits two seconds for Redis: on a machine that is busy with other tests the default of 50 ms is not always
/// enough for an answer, and a request that was not answered is decided in memory, where the count is not exact.
pub fn limited_by(redis_url: &str, directory: &std::path::Path) -> Stile {
    let stile = Stile::in_directory(directory)
        .set("ENVIRONMENT", "test")
        .set("PUBLIC_URL", PUBLIC_URL)
        .set("RATE_LIMIT_BURST", "1000000")
        .set("REDIS_COMMAND_TIMEOUT_MS", "2000")
        .set("REDIS_URL", redis_url);
    stile::rate_limit::Rule::ALL
        .into_iter()
        .fold(stile, |stile, rule| stile.set(rule.variable(), "off"))
}

/// Registers an account.
pub async fn register(on: &Process, email: &str) -> Answer {
    let account = json!({ "email": email, "password": PASSWORD });
    post("/api/v1/auth/register", account).send(on.address()).await
}

/// Logs in.
pub async fn login(on: &Process, email: &str, password: &str) -> Answer {
    let account = json!({ "email": email, "password": password });
    post("/api/v1/auth/login", account).send(on.address()).await
}

/// Asks until `is_so`, as another process sets the pace.
pub async fn wait_until(what: &str, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "it never came: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}

/// Whether the full counts are wanted (`scripts/test --long`).
pub fn is_long() -> bool {
    std::env::var_os("STILE_TEST_LONG").is_some()
}

/// A number from 0 to `below - 1`, another one in each run.
pub fn random(below: u64) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0_u8) % below
}
