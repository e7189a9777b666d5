//! `stile serve`: the server.

use std::path::Path;
use std::process::ExitCode;

use crate::config::Config;
use crate::{app, telemetry};

pub(super) async fn run(env_file: Option<&Path>) -> ExitCode {
    let config = match super::configured(env_file, Config::from_source) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if let Err(error) = telemetry::install(&config.telemetry) {
        return super::failure(&error.to_string());
    }
    for warning in config.warnings() {
        tracing::warn!(to_type = warning.fix, "{}", warning.text);
    }
    match app::run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::failure(&error.to_string()),
    }
}
