//! `stile check`: what the configuration comes to, without connecting to anything unless asked.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::table::table;
use crate::clock::Clock;
use crate::config::{Config, ConfigErrors, Effective, Level, Source, Verdict};
use crate::mail::{Mailer, TransportSettings};
use crate::rate_limit::{Limiter, Per, Rule, StoreState};
use crate::storage::{Database, DatabaseUrl};

/// No answer within this time is the answer.
const PATIENCE: Duration = Duration::from_secs(10);

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

/// One line of the table of limits.
#[derive(Serialize)]
struct LimitLine {
    name: &'static str,
    variable: &'static str,
    limit: String,
    strategy: &'static str,
    mode: &'static str,
    per: &'static str,
}

/// What came of one connection.
#[derive(Serialize)]
struct Connection {
    to: &'static str,
    ok: bool,
    detail: String,
    /// Without it the program does not serve; without the others it serves degraded.
    #[serde(skip)]
    vital: bool,
}

pub(super) async fn run(env_file: Option<&Path>, options: &Options) -> ExitCode {
    let source = Source::from_process(env_file).map(Source::look_only);
    let config = source.and_then(|source| {
        let file = source.file().map(|path| path.display().to_string());
        Config::from_source(&source).map(|config| (config, file))
    });
    let (config, file) = match config {
        Ok(config) => config,
        Err(errors) => return invalid(&errors, options.json),
    };
    let limits = limit_lines(&config);
    let connections = if options.connect {
        connect(&config).await
    } else {
        Vec::new()
    };

    let report = if options.json {
        as_json(&config, file, &limits, &connections)
    } else {
        as_text(&config, file, &limits, &connections)
    };
    let printed = super::print(&report);
    let warned = config.warnings().next().is_some() || connections.iter().any(|connection| !connection.ok);
    if connections
        .iter()
        .any(|connection| connection.vital && !connection.ok)
    {
        ExitCode::from(2)
    } else if options.strict && warned {
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

fn limit_lines(config: &Config) -> Vec<LimitLine> {
    let line = |rule: Rule| {
        let limit = config.rate_limit.rules.get(rule);
        LimitLine {
            name: rule.name(),
            variable: rule.variable(),
            limit: limit.rate(),
            strategy: limit.strategy().name(),
            mode: limit.mode().name(),
            per: match rule.per() {
                Per::Client => "client",
                Per::Account => "account",
            },
        }
    };
    Rule::ALL.into_iter().map(line).collect()
}

fn level(verdict: &Verdict) -> &'static str {
    match verdict.level {
        Level::Fine => "fine",
        Level::Warning => "warning",
    }
}

fn as_json(
    config: &Config,
    file: Option<String>,
    limits: &[LimitLine],
    connections: &[Connection],
) -> String {
    let variable = |Effective { name, value, origin }: &Effective| json!({ "name": name, "value": value, "from": origin.to_string() });
    let verdict = |verdict: &Verdict| json!({ "level": level(verdict), "text": verdict.text });
    let report = json!({
        "valid": true,
        "environment": config.environment.name(),
        "env_file": file,
        "variables": config.effective.iter().map(variable).collect::<Vec<_>>(),
        "limits": { "enabled": config.rate_limit.enabled, "rules": limits },
        "verdicts": config.verdicts.iter().map(verdict).collect::<Vec<_>>(),
        "connections": connections,
    });
    format!("{report:#}\n")
}

fn as_text(
    config: &Config,
    file: Option<String>,
    limits: &[LimitLine],
    connections: &[Connection],
) -> String {
    let variables: Vec<_> = config
        .effective
        .iter()
        .map(|effective| {
            [
                effective.name.to_owned(),
                effective.value.clone(),
                effective.origin.to_string(),
            ]
        })
        .collect();
    let limits: Vec<_> = limits
        .iter()
        .map(|line| {
            [
                line.name,
                &line.limit,
                line.strategy,
                line.mode,
                line.per,
                line.variable,
            ]
            .map(str::to_owned)
        })
        .collect();
    let mut verdicts: Vec<_> = config
        .verdicts
        .iter()
        .map(|verdict| [level(verdict).to_owned(), verdict.text.clone()])
        .collect();
    for Connection { to, ok, detail, .. } in connections {
        verdicts.push([
            if *ok { "fine" } else { "failed" }.to_owned(),
            format!("{to}: {detail}"),
        ]);
    }
    let file = file.unwrap_or_else(|| "no env file".to_owned());
    let enabled = if config.rate_limit.enabled {
        ""
    } else {
        " (limiting is off: none is checked)"
    };
    [
        format!("Environment {}, {file}\n\n", config.environment),
        table(["VARIABLE", "VALUE", "FROM"], &variables),
        format!("\nLimits{enabled}\n"),
        table(["NAME", "LIMIT", "STRATEGY", "MODE", "PER", "VARIABLE"], &limits),
        "\nVerdicts\n".to_owned(),
        verdicts
            .iter()
            .map(|[level, text]| format!("{level:8} {text}\n"))
            .collect(),
    ]
    .concat()
}

async fn connect(config: &Config) -> Vec<Connection> {
    let (database, redis, mail) = tokio::join!(database(config), redis(config), mail(config));
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
    match within_patience(attempt).await {
        Ok(()) => of(true, "connected".to_owned()),
        Err(detail) => of(false, detail),
    }
}

async fn redis(config: &Config) -> Option<Connection> {
    if !config.rate_limit.enabled {
        return None;
    }
    let patience = config.rate_limit.redis.as_ref()?.connect_timeout + Duration::from_secs(1);
    let of = |ok, detail: String| {
        Some(Connection {
            to: "redis",
            ok,
            detail,
            vital: false,
        })
    };
    let limiter = match Limiter::start(config.rate_limit.clone(), Clock::system()) {
        Ok(limiter) => limiter,
        Err(error) => return of(false, error.to_string()),
    };
    let found = tokio::time::timeout(patience, async {
        while limiter.state() != StoreState::Redis {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    limiter.shutdown().await;
    match found {
        Ok(()) => of(true, "connected".to_owned()),
        Err(_) => of(false, "not reached; limits would go on in memory".to_owned()),
    }
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
    let (ok, detail) = match within_patience(attempt).await {
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

async fn within_patience(attempt: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    tokio::time::timeout(PATIENCE, attempt)
        .await
        .unwrap_or_else(|_| Err("no answer".to_owned()))
}
