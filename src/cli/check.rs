//! `stile check`: what the configuration comes to, without connecting to anything unless asked.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::connections::{self, Connection};
use super::report::Report;
use crate::config::{Config, ConfigErrors, Level, Source, Verdict};

#[derive(clap::Args, Debug)]
pub(super) struct Options {
    /// Exit 1 when there are warnings.
    #[arg(long)]
    strict: bool,
    /// Also connect to the database, Redis and the mail server.
    #[arg(long)]
    connect: bool,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(env_file: Option<&Path>, options: &Options) -> ExitCode {
    // Looking must not make a signing key.
    let source = Source::from_process(env_file).map(Source::look_only);
    let config = source.and_then(|source| {
        let file = source.file().map(|path| path.display().to_string());
        Config::from_source(&source).map(|config| (config, file))
    });
    let (config, file) = match config {
        Ok(config) => config,
        Err(errors) => return invalid(&errors, options.json),
    };
    let connections = if options.connect {
        connections::try_all(&config).await
    } else {
        Vec::new()
    };
    let of_connections = connections.iter().flat_map(|connection| &connection.verdicts);
    let verdicts: Vec<&Verdict> = config.verdicts.iter().chain(of_connections).collect();
    let report = Report {
        config: &config,
        file: file.as_deref(),
        verdicts: &verdicts,
        connections: &connections,
    };
    let printed = super::print(&if options.json {
        report.json()
    } else {
        report.text()
    });

    let warned = verdicts.iter().any(|verdict| verdict.level == Level::Warning);
    let failed = |connection: &Connection| !connection.ok;
    if connections
        .iter()
        .any(|connection| connection.vital && failed(connection))
    {
        ExitCode::from(2)
    } else if options.strict && (warned || connections.iter().any(failed)) {
        ExitCode::FAILURE
    } else {
        printed
    }
}

fn invalid(errors: &ConfigErrors, as_json: bool) -> ExitCode {
    super::complain(errors);
    if as_json {
        let faults: Vec<_> = errors
            .as_slice()
            .iter()
            .map(|error| json!({ "variable": error.variable, "message": error.message }))
            .collect();
        super::print(&format!("{:#}\n", json!({ "valid": false, "errors": faults })));
    }
    ExitCode::from(2)
}
