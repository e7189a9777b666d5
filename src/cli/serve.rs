//! `stile serve`: the server.

use std::path::Path;
use std::process::ExitCode;

use crate::config::Config;
use crate::telemetry::Traces;
use crate::{app, telemetry};

pub(super) async fn run(env_file: Option<&Path>) -> ExitCode {
    let config = match super::configured(env_file, Config::from_source) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let traces = match config.traces.as_ref().map(Traces::new).transpose() {
        Ok(traces) => traces,
        Err(error) => return super::failure(&error.to_string()),
    };
    if let Err(error) = telemetry::install(&config.telemetry, traces.as_ref()) {
        return super::failure(&error.to_string());
    }
    for warning in config.warnings() {
        tracing::warn!(to_type = warning.fix, "{}", warning.text);
    }
    let ran = app::run(config).await;
    if let Some(traces) = traces {
        traces.finish().await;
    }
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::failure(&error.to_string()),
    }
}
