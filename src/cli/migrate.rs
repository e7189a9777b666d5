//! `stile migrate`: brings the database's tables up to date.

use std::path::Path;
use std::process::ExitCode;

use crate::config::MigrationConfig;
use crate::storage::Database;
use crate::telemetry;

pub(super) async fn run(env_file: Option<&Path>) -> ExitCode {
    let config = match super::configured(env_file, MigrationConfig::from_source) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if let Err(error) = telemetry::install(&config.telemetry) {
        return super::failure(&error.to_string());
    }
    let database = match Database::connect(&config.storage).await {
        Ok(database) => database,
        Err(error) => return super::failure(&error.to_string()),
    };
    match database.migrate().await {
        Ok(()) => super::print("the database is up to date\n"),
        Err(error) => super::failure(&error.to_string()),
    }
}
