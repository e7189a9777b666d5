//! `stile token`: everybody's API tokens, and ending one.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::operator::{self, Beside, Reach, Refusal, User};
use super::table::{List, table};
use crate::api_tokens::{ApiToken, IssueError, Revoked, SomebodysToken, Status, Usage};
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::rate_limit::operator::{Counters, OperatorError};
use crate::rate_limit::store::Reading;
use crate::rate_limit::{CounterKey, Subject};

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
        /// Print JSON: the id, and where it is revoked: `everywhere`, `shortly` (within 5 seconds), or `before`.
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(env_file: Option<&Path>, command: &Command) -> ExitCode {
    let config = match operator::configured(env_file) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let done = match command {
        Command::List { user, json } => list(config, user.as_deref(), *json).await,
        Command::Revoke { id, json } => revoke(config, id, *json).await,
    };
    operator::conclude(done)
}

async fn revoke(config: Config, text: &str, as_json: bool) -> Result<ExitCode, Refusal> {
    let id: Uuid = text.parse().map_err(|_| {
        // It may be the secret: that is not repeated.
        Refusal::Argument("that is no API token's id; `stile token list` prints them".to_owned())
    })?;
    let unknown = || Refusal::Failure(format!("there is no API token {id}"));
    let database = operator::database(&config).await?.ok_or_else(unknown)?;
    let beside = Beside::connect(config, database, Reach::Processes).await?;
    let revoked = beside.api_tokens.revoke_any(id).await;
    beside.close().await;
    let revoked = revoked.map_err(|error| match error {
        IssueError::Storage(error) => Refusal::database(&error),
        _ => unknown(),
    })?;
    let (name, told) = match revoked {
        Revoked::Everywhere => ("everywhere", "is revoked, in every process"),
        Revoked::Shortly => ("shortly", "is revoked, in every process within 5 seconds"),
        Revoked::Before => ("before", "was revoked before"),
    };
    Ok(super::print(&if as_json {
        format!("{:#}\n", json!({ "id": id, "revoked": name }))
    } else {
        format!("{id} {told}\n")
    }))
}

async fn list(config: Config, user: Option<&str>, as_json: bool) -> Result<ExitCode, Refusal> {
    let user = user.map(User::parse).transpose()?;
    let mut list = List::new(as_json, "there are no API tokens");
    let Some(database) = operator::database(&config).await? else {
        return match user {
            Some(user) => Err(user.unknown()),
            None => Ok(super::print(&list.part::<Line>(&[], true, rows))),
        };
    };
    let (limits, socket) = (config.rate_limit.clone(), config.operator_socket.clone());
    let beside = Beside::connect(config, database, Reach::Database).await?;
    let connect = async || Counters::connect(&limits, &socket).await;
    let printed = print_all(&beside, connect, user.as_ref(), &mut list).await;
    beside.close().await;
    printed
}

async fn print_all(
    beside: &Beside,
    connect: impl AsyncFnOnce() -> Result<Counters, OperatorError>,
    user: Option<&User>,
    list: &mut List,
) -> Result<ExitCode, Refusal> {
    let owner = match user {
        Some(user) => Some(existing(user, beside).await?),
        None => None,
    };
    let page_before = async |before| {
        let page = beside.api_tokens.page(owner, before).await;
        page.map_err(|error| Refusal::database(&error))
    };
    let mut page = page_before(None).await?;
    // Where there is no token nobody is asked.
    let mut counters = if page.is_empty() {
        None
    } else {
        known(connect().await)
    };
    loop {
        let oldest = page.last().map(|token| token.token.id);
        let readings = match &counters {
            Some(counters) => known(counted(counters, &page).await),
            None => None,
        };
        if readings.is_none() {
            counters = None;
        }
        let now = Clock::system().now();
        let lines = page
            .into_iter()
            .map(|token| Line::of(token, readings.as_ref(), now));
        let text = list.part(&lines.collect::<Vec<_>>(), oldest.is_none(), rows);
        if let ControlFlow::Break(code) = super::print_part(&text) {
            return Ok(code);
        }
        if oldest.is_none() {
            return Ok(ExitCode::SUCCESS);
        }
        page = page_before(oldest).await?;
    }
}

/// What is counted, unless that is not to be had: the tokens are shown without.
fn known<T>(counted: Result<T, OperatorError>) -> Option<T> {
    let told = |error: &OperatorError| super::say_error(&format!("what is used is not known: {error}"));
    counted.inspect_err(told).ok()
}

async fn existing(user: &User, beside: &Beside) -> Result<Uuid, Refusal> {
    let id = user.id(beside).await?;
    let found = beside.accounts.user(&beside.by, id).await;
    found.map(|_| id).map_err(|error| user.refusal(&error))
}

/// What is counted of `tokens`, wherever it is.
async fn counted(
    counters: &Counters,
    tokens: &[SomebodysToken],
) -> Result<HashMap<CounterKey, Reading>, OperatorError> {
    let mut readings = HashMap::new();
    for batch in tokens.chunks(BATCH) {
        let subjects = batch.iter().map(|token| Subject::Token(token.token.id));
        let found = counters.of(&subjects.collect::<Vec<_>>()).await?;
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

    fn cells(&self) -> [String; 10] {
        let token = &self.token;
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
            self.owner.email.clone(),
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

fn rows(lines: &[Line]) -> String {
    let rows: Vec<[String; 10]> = lines.iter().map(Line::cells).collect();
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
