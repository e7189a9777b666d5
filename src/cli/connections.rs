//! `stile check --connect`: whether the database, Redis and the mail server are there.

use std::time::Duration;

use serde::Serialize;

use crate::config::Config;
use crate::mail::{Mailer, TransportSettings};
use crate::rate_limit::store::redis::RedisStore;
use crate::storage::{Database, DatabaseUrl};

/// No answer within this time is the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of one connection.
#[derive(Serialize)]
pub(super) struct Connection {
    pub(super) to: &'static str,
    pub(super) ok: bool,
    pub(super) detail: String,
    /// Without it the program does not serve; without the others it serves degraded.
    #[serde(skip)]
    pub(super) vital: bool,
}

/// Tries all side by side.
pub(super) async fn try_all(config: &Config) -> Vec<Connection> {
    // On the heap: what three drivers keep while they connect is too much for one stack frame.
    let (database, redis, mail) = tokio::join!(
        Box::pin(database(config)),
        Box::pin(redis(config)),
        Box::pin(mail(config))
    );
    [Some(database), redis, mail].into_iter().flatten().collect()
}

async fn database(config: &Config) -> Connection {
    let of = |ok, detail: String| Connection {
        to: "database",
        ok,
        detail,
        vital: true,
    };
    if let DatabaseUrl::Sqlite(path) = &config.storage.url
        && !path.exists()
    {
        return of(true, "the SQLite file is made at the first start".to_owned());
    }
    let attempt = async {
        let database = Database::connect(&config.storage)
            .await
            .map_err(|error| error.to_string())?;
        database.ping().await.map_err(|error| error.to_string())
    };
    match within_patience(Box::pin(attempt)).await {
        Ok(()) => of(true, "connected".to_owned()),
        Err(detail) => of(false, detail),
    }
}

/// Runs the limiter's own script: a PING would praise a read-only replica.
async fn redis(config: &Config) -> Option<Connection> {
    let limits = &config.rate_limit;
    let settings = limits.redis.as_ref().filter(|_| limits.enabled)?;
    let attempt = async {
        let store = RedisStore::new(settings, &limits.key_prefix, 0).map_err(|error| error.to_string())?;
        let link = store.connect().await.map_err(|failure| failure.to_string())?;
        link.probe().await.map_err(|failure| failure.to_string())
    };
    let (ok, detail) = match within_patience(Box::pin(attempt)).await {
        Ok(_) => (true, "connected".to_owned()),
        Err(detail) => (false, format!("{detail}; limits would go on in memory")),
    };
    Some(Connection {
        to: "redis",
        ok,
        detail,
        vital: false,
    })
}

/// A folder is not asked: it is made with the first mail.
async fn mail(config: &Config) -> Option<Connection> {
    if let TransportSettings::Folder(_) = config.mail.transport {
        return None;
    }
    let attempt = async {
        let mailer = Mailer::new(config.mail.clone()).map_err(|error| error.to_string())?;
        mailer.ping().await.map_err(|error| error.to_string())
    };
    let (ok, detail) = match within_patience(Box::pin(attempt)).await {
        Ok(()) => (true, "ready".to_owned()),
        Err(detail) => (false, detail),
    };
    Some(Connection {
        to: "mail",
        ok,
        detail,
        vital: false,
    })
}

async fn within_patience<T>(attempt: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(PATIENCE, attempt)
        .await
        .unwrap_or_else(|_| Err("no answer".to_owned()))
}
