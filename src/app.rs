//! The whole program as a value: built once from [`Config`], served, drained.

mod background;
mod listener;
mod signals;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::background::Background;
use self::listener::{listen, most_connections};
use self::signals::watch_signals;
use crate::accounts::Accounts;
use crate::api_tokens::ApiTokens;
use crate::audit::Audit;
use crate::clock::Clock;
use crate::config::{Config, ShutdownSettings};
use crate::credentials::{AccessTokens, Passwords};
use crate::http::metrics::Requests;
use crate::http::{self, Drain, EventLoops, LocalStage};
use crate::mail::{self, Mailer};
use crate::rate_limit::socket::Socket;
use crate::rate_limit::{self, Limiter};
use crate::storage::{self, ConnectError, Database, MigrateError};
use crate::telemetry::traces;

/// Longest wait for each of the last steps: the uses of API tokens to be written, a scrape and the database's connections to
/// end.
const GOODBYE: Duration = Duration::from_secs(1);

/// Longest wait for the last audit rows: a try at a frozen database and some more of its time.
const LAST_ROWS: Duration = Duration::from_secs(5);

/// The pauses between the tries to reach a database that is not there yet at start.
const CONNECT_PAUSES: [Duration; 4] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// Why the program could not start or went down.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The database cannot be reached or migrated.
    #[error(transparent)]
    Database(#[from] ConnectError),
    /// The database's schema cannot be brought up to date.
    #[error(transparent)]
    Migration(#[from] MigrateError),
    /// The limiter's settings fit nothing (a certificate that is none).
    #[error("the limiter cannot start: {0}")]
    Limiter(#[from] rate_limit::StartError),
    /// The mail settings fit nothing.
    #[error("mail cannot be sent: {0}")]
    Mail(#[from] mail::SettingsError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address} ({variable}): {error}")]
    Listen {
        /// Which address: `HOST and PORT` or `METRICS_ADDR`.
        variable: &'static str,
        /// It.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// Threads or signal handlers are not to be had.
    #[error("the system refused: {0}")]
    System(#[from] io::Error),
}

/// Everything that runs, put together. Tests build one of their own.
pub struct App {
    /// The HTTP surface.
    pub front: http::Front,
    /// The use cases behind it.
    pub accounts: Accounts,
    /// Those of API tokens.
    pub api_tokens: ApiTokens,
    /// The limiter.
    pub limiter: Limiter,
    /// The database.
    pub database: Database,
    metrics: Option<MetricsListener>,
    audit: Audit,
    mailer: Mailer,
    local_stage: Option<LocalStage>,
    drain: Drain,
    event_loops: Arc<EventLoops>,
}

/// Where Prometheus asks, and what answers it.
struct MetricsListener {
    listener: TcpListener,
    router: axum::Router,
}

impl App {
    /// Connects the database, migrates it, and builds every room. Redis and the mail server need not
    /// be there: the limiter counts in memory until Redis is, and mail waits in its queue.
    ///
    /// `METRICS_ADDR` is bound here, so that an address that is not to be had stops the start.
    pub async fn build(config: Config, clock: Clock) -> Result<Self, RunError> {
        let metrics_listener = config.metrics.map(|address| listen("METRICS_ADDR", address));
        let metrics_listener = metrics_listener.transpose()?;
        let database = connect(&config.storage).await?;
        database.migrate().await?;
        let limiter = Limiter::start(config.rate_limit, clock.clone())?;
        let mailer = Mailer::new(config.mail)?;
        let audit = Audit::start(database.clone(), clock.clone());
        let keys = config.credentials;
        let passwords = Passwords::start(keys.password_policy, keys.pool)?;
        let tokens = AccessTokens::new(
            keys.signing_keys,
            keys.issuer,
            keys.audience,
            keys.access_token_lifetime,
        );
        let jwks = tokens.jwks();
        let accounts = Accounts::new(
            database.clone(),
            passwords,
            tokens,
            keys.secret_keys.clone(),
            limiter.clone(),
            audit.clone(),
            clock.clone(),
            config.accounts,
        );
        let api_tokens = ApiTokens::new(
            database.clone(),
            limiter.clone(),
            audit.clone(),
            clock.clone(),
            config.api_tokens,
        );
        let local_stage = config
            .http
            .burst
            .and_then(|burst| LocalStage::new(burst, clock.clone()));
        let drain = Drain::default();
        let requests = Arc::new(Requests::default());
        let metrics = metrics_listener.map(|listener| MetricsListener {
            listener,
            router: http::metrics::router(http::metrics::Sources {
                requests: Arc::clone(&requests),
                accounts: accounts.clone(),
                database: database.clone(),
                limiter: limiter.clone(),
                local_stage: local_stage.clone(),
                clock: clock.clone(),
            }),
        });
        let front = http::front(http::Parts {
            accounts: accounts.clone(),
            api_tokens: api_tokens.clone(),
            limiter: limiter.clone(),
            audit: audit.clone(),
            clock,
            secret_keys: keys.secret_keys,
            database: database.clone(),
            jwks,
            local_stage: local_stage.clone(),
            settings: config.http,
            drain: drain.clone(),
            requests,
        });
        Ok(Self {
            front,
            accounts,
            api_tokens,
            limiter,
            database,
            metrics,
            audit,
            mailer,
            local_stage,
            drain,
            event_loops: Arc::new(EventLoops::start()?),
        })
    }

    /// Where the metrics are served, if anywhere.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref()?.listener.local_addr().ok()
    }

    /// Serves until `shutdown` says stop, then drains: not ready but still accepting for
    /// `delay`, then `grace` for what is in flight (Kubernetes takes a pod out of its service only
    /// after it has been told to end, so closing at once would refuse requests already on their way).
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: CancellationToken,
        delay: Duration,
        grace: Duration,
    ) {
        let background = Background::start(&self);
        // To the last: what a drain looks like is worth a scrape.
        let the_end = CancellationToken::new();
        let event_loops = self.event_loops;
        let metrics = self
            .metrics
            .map(|metrics| metrics.serve(Arc::clone(&event_loops), the_end.clone()));
        let stop = CancellationToken::new();
        let server = tokio::spawn(http::server::serve(
            listener,
            self.front,
            Arc::clone(&event_loops),
            most_connections(),
            stop.clone(),
        ));

        shutdown.cancelled().await;
        self.drain.begin();
        tracing::info!(
            delay_seconds = delay.as_secs(),
            "shutting down: not ready any more"
        );
        tokio::time::sleep(delay).await;
        stop.cancel();
        tokio::join!(finish(server, grace), background.stop());
        self.api_tokens.finish_uses(GOODBYE).await;
        the_end.cancel();
        if let Some(metrics) = metrics {
            let _ = tokio::time::timeout(GOODBYE, metrics).await;
        }
        self.limiter.shutdown().await;
        if tokio::time::timeout(LAST_ROWS, self.audit.shutdown())
            .await
            .is_err()
        {
            tracing::error!("the last audit rows were not written");
        }
        // A frozen server must not keep us; what it has committed it has.
        let _ = tokio::time::timeout(GOODBYE, self.database.close()).await;
        // Connections to the database may have been opened there.
        drop(event_loops);
    }
}

/// The longest that an orderly end takes, from the signal to the end of the process: whoever ends it (systemd, Docker,
/// Kubernetes) has to wait longer.
#[must_use]
pub fn longest_end(shutdown: ShutdownSettings) -> Duration {
    let uses_scrape_and_database = GOODBYE * 3;
    shutdown.delay
        + shutdown.grace.max(Background::PATIENCE)
        + uses_scrape_and_database
        + rate_limit::GOODBYE
        + LAST_ROWS
        + traces::GOODBYE
}

impl MetricsListener {
    /// Scrapers are few. More connections than these wait in the kernel's queue.
    const MOST_CONNECTIONS: usize = 32;

    fn serve(self, event_loops: Arc<EventLoops>, stop: CancellationToken) -> JoinHandle<()> {
        let Self { listener, router } = self;
        tokio::spawn(http::server::serve(
            listener,
            router,
            event_loops,
            Self::MOST_CONNECTIONS,
            stop,
        ))
    }
}

/// `grace` for the connections that are left. What has not ended by then is cut off: a client that never
/// finishes its request is no reason to call the end a failure.
async fn finish(mut server: JoinHandle<()>, grace: Duration) {
    if tokio::time::timeout(grace, &mut server).await.is_err() {
        tracing::warn!("some requests were still in flight after SHUTDOWN_GRACE_SECONDS and were cut off");
        server.abort();
    }
}

/// `stile serve`: builds the program, listens, and runs until SIGTERM, SIGINT or SIGHUP. A second of the first two ends it at once.
pub async fn run(config: Config) -> Result<(), RunError> {
    let shutdown = CancellationToken::new();
    watch_signals(shutdown.clone())?;
    let listener = listen("HOST and PORT", config.listen)?;
    let bound = listener.local_addr()?;
    let config = config.with_bound_port(bound.port());
    let (delay, grace) = (config.shutdown.delay, config.shutdown.grace);
    let socket = operator_socket(&config);
    let app = tokio::select! {
        app = App::build(config, Clock::system()) => app?,
        () = shutdown.cancelled() => return Ok(()),
    };
    if let Some(socket) = socket {
        tokio::spawn(
            shutdown
                .clone()
                .run_until_cancelled_owned(socket.serve(app.limiter.clone())),
        );
    }
    if let Some(metrics) = app.metrics_address() {
        tracing::info!(metrics = %metrics, "metrics are served");
    }
    tracing::info!(address = %bound, "listening");
    app.serve(listener, shutdown, delay, grace).await;
    tracing::info!("stopped");
    Ok(())
}

/// The socket for `stile limits`, where this process alone knows its counters. Going without is no reason not to serve.
fn operator_socket(config: &Config) -> Option<Socket> {
    if !config.rate_limit.enabled || config.rate_limit.redis.is_some() {
        return None;
    }
    let path = config.operator_socket.display();
    match Socket::open(&config.operator_socket) {
        Ok(None) => {
            tracing::warn!(%path, "another process serves this socket: `stile limits` reaches that one's counters, not these");
            None
        }
        Err(error) => {
            tracing::warn!(%path, %error, "no socket: `stile limits` cannot reach the counters of this process");
            None
        }
        Ok(socket) => socket,
    }
}

/// `stile migrate`.
pub async fn migrate(settings: &storage::Settings) -> Result<(), RunError> {
    let database = connect(settings).await?;
    database.migrate().await?;
    database.close().await;
    Ok(())
}

/// In a fresh deployment the database may come up a moment after us.
async fn connect(settings: &storage::Settings) -> Result<Database, ConnectError> {
    for pause in CONNECT_PAUSES {
        match Database::connect(settings).await {
            Err(error @ ConnectError::Unreachable(_)) => {
                tracing::warn!(%error, retry_in_ms = pause.as_millis(), "the database cannot be reached yet");
                tokio::time::sleep(pause).await;
            }
            result => return result,
        }
    }
    Database::connect(settings).await
}
