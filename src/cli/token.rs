//! `stile token`: everybody's API tokens, and ending one.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::operator::{self, Refusal, User};
use super::table::table;
use crate::api_tokens::{ApiToken, ApiTokens, IssueError, Revoked, SomebodysToken, Status, Usage};
use crate::audit::Audit;
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::rate_limit::operator::{Counters, OperatorError};
use crate::rate_limit::store::Reading;
use crate::rate_limit::{CounterKey, Limiter, Subject};
use crate::storage::{self, Database, StorageError};

/// Tokens whose counters are asked for at once.
const BATCH: usize = 256;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Print API tokens, the newest first: whose, how they stand, what they have used.
    #[command(after_long_help = super::reads_everything())]
    List {
        /// Only those of this user: an e-mail address or an id.
        user: Option<String>,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// End an API token, in every process at once where there is a Redis, and within 5 seconds without.
    #[command(after_long_help = super::reads_everything())]
    Revoke {
        /// The token's id; never its secret.
        id: String,
    },
}

pub(super) async fn run(env_file: Option<&Path>, command: &Command) -> ExitCode {
    let config = match operator::configured(env_file) {
        Ok(config) => config,
        Err(code) => return code,
    };
    operator::conclude(match command {
        Command::List { user, json } => list(&config, user.as_deref(), *json).await,
        Command::Revoke { id } => revoke(&config, id).await,
    })
}

/// The use cases beside the running servers.
struct Beside {
    tokens: ApiTokens,
    audit: Audit,
    database: Database,
}

impl Beside {
    async fn connect(config: &Config, database: Database) -> Result<Self, Refusal> {
        let clock = Clock::system();
        let limiter = Limiter::visiting(config.rate_limit.clone(), clock.clone()).await;
        let limiter = limiter.map_err(|error| Refusal::Failure(error.to_string()))?;
        let audit = Audit::start(database.clone(), clock.clone());
        let settings = config.api_tokens.clone();
        let tokens = ApiTokens::new(database.clone(), limiter, audit.clone(), clock, settings);
        Ok(Self {
            tokens,
            audit,
            database,
        })
    }

    /// Writes what is to be remembered.
    async fn close(self) {
        self.audit.shutdown().await;
        self.database.close().await;
    }
}

async fn revoke(config: &Config, text: &str) -> Result<String, Refusal> {
    let id: Uuid = text.parse().map_err(|_| {
        // It may be the secret: that is not repeated.
        Refusal::Argument("that is no API token's id; `stile token list` prints them".to_owned())
    })?;
    let unknown = || Refusal::Failure(format!("there is no API token {id}"));
    let database = operator::database(config).await?.ok_or_else(unknown)?;
    let beside = Beside::connect(config, database).await?;
    let revoked = beside.tokens.revoke_any(id).await;
    beside.close().await;
    match revoked {
        Ok(Revoked::Everywhere) => Ok(format!("{id} is revoked, in every process\n")),
        Ok(Revoked::Shortly) => Ok(format!("{id} is revoked, in every process within 5 seconds\n")),
        Ok(Revoked::Before) => Ok(format!("{id} was revoked before\n")),
        Err(IssueError::Storage(error)) => Err(Refusal::database(&error)),
        Err(_) => Err(unknown()),
    }
}

async fn list(config: &Config, user: Option<&str>, as_json: bool) -> Result<String, Refusal> {
    let user = user.map(User::parse).transpose()?;
    let Some(database) = operator::database(config).await? else {
        return match user {
            Some(user) => Err(user.unknown()),
            None => Ok(printed(Vec::new(), as_json)),
        };
    };
    let user_id = match user {
        Some(user) => Some(find(&user, &database).await?),
        None => None,
    };
    let beside = Beside::connect(config, database).await?;
    let tokens = beside.tokens.all(user_id).await;
    beside.close().await;
    let tokens = tokens.map_err(|error| Refusal::database(&error))?;
    let counted = match counted(config, &tokens).await {
        Ok(readings) => Some(readings),
        Err(error) => {
            super::say_error(&format!("what is used is not known: {error}"));
            None
        }
    };
    let now = Clock::system().now();
    let lines = tokens
        .into_iter()
        .map(|token| Line::of(token, counted.as_ref(), now))
        .collect();
    Ok(printed(lines, as_json))
}

async fn find(user: &User, database: &Database) -> Result<Uuid, Refusal> {
    let failed = |error: StorageError| Refusal::database(&error);
    let mut on = database.read().await.map_err(failed)?;
    let found = match user {
        User::Id(id) => storage::find_user(&mut on, *id).await,
        User::Email(email) => storage::find_user_by_email(&mut on, email.as_str()).await,
    };
    Ok(found.map_err(failed)?.ok_or_else(|| user.unknown())?.id)
}

/// What is counted of `tokens`, wherever it is.
async fn counted(
    config: &Config,
    tokens: &[SomebodysToken],
) -> Result<HashMap<CounterKey, Reading>, OperatorError> {
    if tokens.is_empty() {
        return Ok(HashMap::new());
    }
    let counters = Counters::connect(&config.rate_limit, &config.operator_socket).await?;
    let subjects: Vec<Subject> = tokens
        .iter()
        .map(|token| Subject::Token(token.token.id))
        .collect();
    let mut readings = HashMap::new();
    for batch in subjects.chunks(BATCH) {
        let found = counters.of(batch).await?;
        readings.extend(found.into_iter().map(|reading| (reading.key.clone(), reading)));
    }
    Ok(readings)
}

/// One token.
#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    token: ApiToken,
    owner: Owner,
}

#[derive(Serialize)]
struct Owner {
    id: Uuid,
    email: String,
    is_active: bool,
}

impl Line {
    fn of(somebodys: SomebodysToken, counted: Option<&HashMap<CounterKey, Reading>>, now: Timestamp) -> Self {
        let usage = counted.map(|counted| {
            let [minute, hour, day] = somebodys.quota.usage_in(counted, now);
            Usage {
                minute: minute.into(),
                hour: hour.into(),
                day: day.into(),
            }
        });
        Self {
            token: ApiToken {
                usage,
                ..somebodys.token
            },
            owner: Owner {
                id: somebodys.user_id,
                email: somebodys.email,
                is_active: somebodys.owner_is_active,
            },
        }
    }

    fn cells(self) -> [String; 10] {
        let token = self.token;
        let used = |window: fn(&Usage) -> (u32, u32)| match &token.usage {
            Some(usage) => {
                let (used, limit) = window(usage);
                format!("{used}/{limit}")
            }
            None => "?".to_owned(),
        };
        let status = match (token.status, self.owner.is_active) {
            (Status::Active, true) => "active",
            (Status::Active, false) => "owner inactive",
            (Status::Revoked, _) => "revoked",
            (Status::Expired, _) => "expired",
        };
        [
            token.id.to_string(),
            self.owner.email,
            token.name.clone(),
            token.prefix.clone(),
            status.to_owned(),
            token
                .last_used_at
                .map_or_else(|| "never".to_owned(), |at| at.to_string()),
            token.request_count.to_string(),
            used(|usage| (usage.minute.used, usage.minute.limit)),
            used(|usage| (usage.hour.used, usage.hour.limit)),
            used(|usage| (usage.day.used, usage.day.limit)),
        ]
    }
}

fn printed(lines: Vec<Line>, as_json: bool) -> String {
    if as_json {
        return format!("{:#}\n", json!(lines));
    }
    if lines.is_empty() {
        return "there are no API tokens\n".to_owned();
    }
    let rows: Vec<[String; 10]> = lines.into_iter().map(Line::cells).collect();
    table(
        [
            "ID",
            "OWNER",
            "NAME",
            "PREFIX",
            "STATUS",
            "LAST USED",
            "REQUESTS",
            "MINUTE",
            "HOUR",
            "DAY",
        ],
        &rows,
    )
}
