//! The database.

use super::{Connection, Fault, Place, Reading, place, within_patience};
use crate::config::{Config, Verdict};
use crate::storage::{ConnectError, Database, DatabaseUrl, StorageError};

pub(super) async fn try_it(config: &Config) -> Connection {
    let attempt = match &config.storage.url {
        DatabaseUrl::Sqlite(path) if !path.exists() => {
            Ok(("the SQLite file is made at the first start", Vec::new()))
        }
        _ => within_patience(Box::pin(connect(config)), || look(config)).await,
    };
    Connection {
        vital: true,
        ..Connection::new("database", attempt)
    }
}

async fn connect(config: &Config) -> Result<(&'static str, Vec<Verdict>), Fault> {
    let database = Database::connect(&config.storage).await.map_err(|error| Fault {
        fix: fix(config, &error),
        detail: error.to_string(),
    })?;
    let broken = |error: StorageError| Fault {
        detail: error.to_string(),
        fix: look(config),
    };
    database.ping().await.map_err(broken)?;
    let mut verdicts = Vec::new();
    // SQLite has this machine's clock.
    if matches!(database, Database::Postgres { .. }) {
        let reading = Reading::take(database.server_time()).await.map_err(broken)?;
        verdicts.extend(reading.judge("PostgreSQL"));
    }
    Ok(("connected", verdicts))
}

fn fix(config: &Config, error: &ConnectError) -> String {
    match error {
        ConnectError::File(_) => "DATABASE_URL=sqlite://PATH   (in a folder that stile may write)".to_owned(),
        ConnectError::Url => "DATABASE_URL=postgres://USER:PASSWORD@HOST:5432/stile".to_owned(),
        ConnectError::Unreachable(_) => look(config),
    }
}

/// A command that tells more.
fn look(config: &Config) -> String {
    match &config.storage.url {
        DatabaseUrl::Sqlite(path) => format!("ls -l {}", path.display()),
        DatabaseUrl::Postgres(_) => {
            let Place { host, port, .. } = place(config, "DATABASE_URL");
            let port = port.unwrap_or(5432);
            format!(
                "pg_isready -h {host} -p {port}   (if it accepts connections, look at user, password and name in DATABASE_URL)"
            )
        }
    }
}
