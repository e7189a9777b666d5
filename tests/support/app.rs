//! A whole stile in this process: real router, real database, real sockets, a clock that the test moves.
//!
//! ```ignore
//! let app = TestApp::on(Engine::Sqlite).set("RATE_LIMIT_LOGIN", "5/minute").start().await;
//! app.post("/auth/register", json!({…})).await.expect_status(201);
//! app.from("203.0.113.9").get("/auth/me")…
//! ```

mod documented;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use stile::app::App;
use stile::clock::{Clock, Timestamp};
use stile::config::{Config, Source};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::postgres;

/// A password that every policy here accepts.
pub const PASSWORD: &str = "correct-horse-battery-9";

/// Whether the full counts of races are run: `scripts/test --long`.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the test's environment, not the program's"
)]
pub fn long() -> bool {
    std::env::var("STILE_TEST_LONG").is_ok()
}

/// The two engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// Runs one test body on both engines, as two tests: `name::sqlite` and `name::postgres`.
#[macro_export]
macro_rules! on_both_engines {
    ($(#[$meta:meta])* async fn $name:ident($engine:ident: Engine) $body:block) => {
        mod $name {
            use super::*;
            async fn body($engine: Engine) $body
            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() { body(Engine::Sqlite).await }
            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() { body(Engine::Postgres).await }
        }
    };
}

/// What a test may choose before the app starts.
pub struct Builder {
    engine: Engine,
    variables: BTreeMap<String, String>,
}

/// A running stile.
pub struct TestApp {
    pub address: SocketAddr,
    pub clock: Clock,
    pub directory: TempDir,
    pub app: Handles,
    variables: BTreeMap<String, String>,
    http: reqwest::Client,
    stop: CancellationToken,
    server: Option<JoinHandle<()>>,
}

/// The inside, for what cannot be seen from outside.
pub struct Handles {
    pub accounts: stile::accounts::Accounts,
    pub api_tokens: stile::api_tokens::ApiTokens,
    pub database: stile::storage::Database,
    pub metrics: Option<SocketAddr>,
}

impl TestApp {
    /// Limits are off, mail goes into a folder, and the clock stands still until it is moved.
    pub fn on(engine: Engine) -> Builder {
        let mut variables = BTreeMap::new();
        variables.insert("ENVIRONMENT".into(), "test".into());
        variables.insert("ENABLE_RATE_LIMITING".into(), "false".into());
        variables.insert("DATABASE_MAX_CONNECTIONS".into(), "5".into());
        Builder { engine, variables }
    }
}

impl Builder {
    /// One more variable.
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// Limits on, each rule `off` but those that [`Builder::set`] names.
    pub fn limited(mut self) -> Self {
        for rule in stile::rate_limit::Rule::ALL {
            self.variables
                .entry(rule.variable().into())
                .or_insert_with(|| "off".into());
        }
        self.set("ENABLE_RATE_LIMITING", "true")
    }

    pub async fn start(mut self) -> TestApp {
        if self.engine == Engine::Postgres {
            let url = postgres::server().fresh_database();
            self.variables.insert("DATABASE_URL".into(), url);
        }
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp::from_millis(1_790_000_000_000));
        let (address, app, stop, server) = launch(&self.variables, &directory, &clock).await;
        TestApp {
            address,
            clock,
            directory,
            app,
            variables: self.variables,
            http: client(),
            stop,
            server: Some(server),
        }
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(60))
        .build()
        .unwrap()
}

async fn launch(
    variables: &BTreeMap<String, String>,
    directory: &TempDir,
    clock: &Clock,
) -> (SocketAddr, Handles, CancellationToken, JoinHandle<()>) {
    let source = Source::new(variables.clone(), directory.path(), None).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = Config::from_source(&source).unwrap_or_else(|errors| panic!("{errors}"));
    let mut config = config.with_bound_port(address.port());
    // Tests run side by side on a busy machine; what is too slow for users is not too slow for them.
    config.credentials.pool.patience = Duration::from_secs(30);
    config.credentials.pool.queue = 4096;
    let app = App::build(config, clock.clone()).await.unwrap();
    let handles = Handles {
        accounts: app.accounts.clone(),
        api_tokens: app.api_tokens.clone(),
        database: app.database.clone(),
        metrics: app.metrics_address(),
    };
    let stop = CancellationToken::new();
    let serving = app.serve(listener, stop.clone(), Duration::ZERO, Duration::from_secs(5));
    let server = tokio::spawn(serving);
    (address, handles, stop, server)
}

impl TestApp {
    /// Stops the app and starts it again on the same database, folder and clock.
    pub async fn restart(&mut self) {
        self.stop().await;
        let (address, app, stop, server) = launch(&self.variables, &self.directory, &self.clock).await;
        (self.address, self.app, self.stop, self.server) = (address, app, stop, Some(server));
    }

    /// One more variable from the next restart on.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.insert(name.into(), value.into());
    }

    /// Starts a second instance on the same database, folder and clock; it lives as long as this one.
    pub async fn second_instance(&self) -> SocketAddr {
        let (address, _, stop, _) = launch(&self.variables, &self.directory, &self.clock).await;
        let ours = self.stop.clone();
        tokio::spawn(async move {
            ours.cancelled().await;
            stop.cancel();
        });
        address
    }

    pub async fn stop(&mut self) {
        self.stop.cancel();
        if let Some(server) = self.server.take() {
            server.await.unwrap();
        }
    }

    /// A request to `path` under `/api/v1`, or to `path` itself if it starts with another slash: `//health`.
    pub fn request(&self, method: Method, path: &str) -> Request<'_> {
        let path = path
            .strip_prefix('/')
            .filter(|rest| rest.starts_with('/'))
            .map_or_else(|| format!("/api/v1{path}"), ToOwned::to_owned);
        let url = format!("http://{}{path}", self.address);
        Request {
            app: self,
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
        }
    }

    pub fn get(&self, path: &str) -> Request<'_> {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str, body: Value) -> Request<'_> {
        self.request(Method::POST, path).json(&body)
    }

    pub fn delete(&self, path: &str) -> Request<'_> {
        self.request(Method::DELETE, path)
    }

    /// Registers and logs in; the Session tokens.
    pub async fn signed_up(&self, email: &str) -> Value {
        self.post("/auth/register", json!({"email": email, "password": PASSWORD}))
            .await
            .expect(201);
        self.logged_in(email, PASSWORD).await
    }

    /// Logs in; the Session tokens.
    pub async fn logged_in(&self, email: &str, password: &str) -> Value {
        self.post("/auth/login", json!({"email": email, "password": password}))
            .await
            .expect(200)
            .body
    }

    /// Moves the clock.
    pub fn advance(&self, span: Duration) {
        self.clock.advance(span);
    }

    /// The mails sent to `to` so far, oldest first, as soon as there are at least `count` of them.
    pub async fn mails(&self, to: &str, count: usize) -> Vec<Mail> {
        for _ in 0..200 {
            let mails = self.mails_now(to);
            if mails.len() >= count {
                return mails;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!(
            "{to} got {} mails in 5 s, {count} were expected",
            self.mails_now(to).len()
        );
    }

    /// The mails sent to `to` so far, oldest first.
    pub fn mails_now(&self, to: &str) -> Vec<Mail> {
        let mut files: Vec<PathBuf> = match std::fs::read_dir(self.outbox()) {
            Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
            Err(_) => return Vec::new(),
        };
        files.retain(|file| file.extension().is_some_and(|extension| extension == "eml"));
        files.sort();
        let mails = files
            .iter()
            .map(|file| Mail::parse(&std::fs::read(file).unwrap()));
        mails.filter(|mail| mail.to.contains(to)).collect()
    }

    /// What Prometheus reads, where `METRICS_ADDR` is set.
    pub async fn metrics(&self) -> String {
        let address = self.app.metrics.expect("METRICS_ADDR is set");
        let answer = self
            .http
            .get(format!("http://{address}/metrics"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap()
    }

    /// `DATABASE_URL`, for what no endpoint offers: see `support/sql.rs`.
    pub fn database_url(&self) -> String {
        let file = || {
            format!(
                "sqlite://{}",
                self.directory.path().join("data/stile.db").display()
            )
        };
        self.variables.get("DATABASE_URL").cloned().unwrap_or_else(file)
    }

    pub fn outbox(&self) -> PathBuf {
        self.directory.path().join("data/outbox")
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A mail as its reader sees it.
#[derive(Clone, Debug)]
pub struct Mail {
    pub to: String,
    pub subject: String,
    pub text: String,
    pub html: String,
}

impl Mail {
    pub fn parse(raw: &[u8]) -> Self {
        use mailparse::MailHeaderMap;
        let mail = mailparse::parse_mail(raw).unwrap();
        let part = |kind: &str| mail.subparts.iter().find(|part| part.ctype.mimetype == kind);
        Self {
            to: mail.headers.get_first_value("To").unwrap(),
            subject: mail.headers.get_first_value("Subject").unwrap(),
            text: part("text/plain").unwrap_or(&mail).get_body().unwrap(),
            html: part("text/html")
                .map(|part| part.get_body().unwrap())
                .unwrap_or_default(),
        }
    }

    /// The link that stands alone on a line.
    pub fn link(&self) -> &str {
        let link = self
            .text
            .lines()
            .map(str::trim)
            .find(|line| line.starts_with("http"));
        link.unwrap_or_else(|| panic!("no link in: {}", self.text))
    }

    /// The token in the link's fragment.
    pub fn token(&self) -> String {
        self.link().split_once("#token=").unwrap().1.to_owned()
    }
}

/// A request on its way. Await it to send it.
pub struct Request<'a> {
    app: &'a TestApp,
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
}

impl Request<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        self.headers
            .append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        self
    }

    pub fn bearer(self, token: &Value) -> Self {
        let token = token.as_str().unwrap().to_owned();
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// As if a trusted proxy had forwarded it for `client`.
    pub fn from(self, client: &str) -> Self {
        self.header("x-forwarded-for", client)
    }

    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .raw(body.to_string())
    }

    pub fn raw(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// To another instance.
    pub fn at(mut self, address: SocketAddr) -> Self {
        self.url = self
            .url
            .replace(&self.app.address.to_string(), &address.to_string());
        self
    }

    pub async fn send(self) -> Answer {
        let mut request = self
            .app
            .http
            .request(self.method.clone(), &self.url)
            .headers(self.headers);
        if let Some(body) = self.body {
            request = request.body(body);
        }
        let response = request
            .send()
            .await
            .unwrap_or_else(|error| panic!("{}: {error:?}", self.url));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        let answer = Answer {
            status,
            headers,
            text,
            body,
        };
        documented::check(&self.method, &self.url, &answer);
        answer
    }
}

impl<'a> std::future::IntoFuture for Request<'a> {
    type Output = Answer;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// `Null` if the text is no JSON.
    pub body: Value,
}

impl Answer {
    /// Fails unless the status is `status`.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Fails unless it is a problem with this status and code.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Self {
        assert_eq!(
            (self.status, self.body["code"].as_str()),
            (status, Some(code)),
            "{}",
            self.text
        );
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        self
    }

    /// All that a client can tell answers apart by, but for what differs between any two.
    pub fn fingerprint(&self) -> String {
        let mut headers: Vec<String> = self
            .headers
            .iter()
            .filter(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()))
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        headers.sort();
        let id = self.header("x-request-id").unwrap();
        let text = self.text.replace(id, "ID");
        format!("{}\n{}\n\n{text}", self.status, headers.join("\n"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}
