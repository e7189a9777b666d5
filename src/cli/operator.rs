//! What commands of operators share: a configuration that makes no key, the database if there is one, and how each ends.

use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

use crate::config::{Config, Source};
use crate::storage::{Database, DatabaseUrl};

/// Why a command came to nothing.
pub(super) enum Refusal {
    /// The arguments are wrong: exit code 2.
    Argument(String),
    /// The world is not as it should be: exit code 1.
    Failure(String),
}

impl Refusal {
    /// The database failed.
    pub(super) fn database(error: &dyn Display) -> Self {
        Self::Failure(format!("the database: {error}"))
    }
}

/// The configuration that a server here would have. Looking makes no signing key.
pub(super) fn configured(env_file: Option<&Path>) -> Result<Config, ExitCode> {
    let source = Source::from_process(env_file).map(Source::look_only);
    source
        .and_then(|source| Config::from_source(&source))
        .map_err(|errors| {
            super::complain(&errors);
            ExitCode::from(2)
        })
}

/// The database; none before the first start on SQLite.
pub(super) async fn database(config: &Config) -> Result<Option<Database>, Refusal> {
    if matches!(&config.storage.url, DatabaseUrl::Sqlite(path) if !path.exists()) {
        return Ok(None);
    }
    let database = Database::connect(&config.storage).await;
    database.map(Some).map_err(|error| Refusal::database(&error))
}

/// Prints what came of a command, and ends it.
pub(super) fn conclude(result: Result<String, Refusal>) -> ExitCode {
    match result {
        Ok(text) => super::print(&text),
        Err(Refusal::Failure(message)) => super::failure(&message),
        Err(Refusal::Argument(message)) => {
            super::say_error(&message);
            ExitCode::from(2)
        }
    }
}
