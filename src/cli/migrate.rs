//! `stile migrate`: brings the database's tables up to date.

use std::path::Path;
use std::process::ExitCode;

use crate::config::MigrationConfig;
use crate::{app, telemetry};

pub(super) async fn run(env_file: Option<&Path>) -> ExitCode {
    let config = match super::configured(env_file, MigrationConfig::from_source) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if let Err(error) = telemetry::install(&config.telemetry, None) {
        return super::failure(&error.to_string());
    }
    match app::migrate(&config.storage).await {
        Ok(()) => super::print("the database is up to date\n"),
        Err(error) => super::failure(&error.to_string()),
    }
}
