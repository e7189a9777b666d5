//! What commands of operators share: a configuration that makes no key, the database if there is one, the use cases
//! beside the running servers, how a user is named, and how each ends.

use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

use uuid::Uuid;

use crate::accounts::{Accounts, AdminError, Administrator, Email};
use crate::api_tokens::ApiTokens;
use crate::audit::Audit;
use crate::clock::Clock;
use crate::config::{Config, Source};
use crate::credentials::{AccessTokens, Passwords, PoolSettings};
use crate::rate_limit::Limiter;
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

/// The use cases, beside the running servers.
pub(super) struct Beside {
    pub(super) accounts: Accounts,
    pub(super) api_tokens: ApiTokens,
    pub(super) by: Administrator,
    audit: Audit,
    database: Database,
}

/// Whether a command has something to tell the other processes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// All that matters is in the database.
    Database,
    /// API tokens are to stop in every process.
    Processes,
}

impl Beside {
    /// Brings the schema up to date, as a server does at its start.
    pub(super) async fn connect(config: Config, database: Database, reach: Reach) -> Result<Self, Refusal> {
        let migrated = database.migrate().await;
        migrated.map_err(|error| Refusal::database(&error))?;
        Self::on(config, database, reach).await
    }

    /// Refused where the schema is not up to date: for a command that can do without the database, and has no business
    /// to change it under older servers.
    pub(super) async fn connect_as_it_is(
        config: Config,
        database: Database,
        reach: Reach,
    ) -> Result<Self, Refusal> {
        let checked = database.check_schema().await;
        checked.map_err(|error| Refusal::database(&error))?;
        Self::on(config, database, reach).await
    }

    async fn on(config: Config, database: Database, reach: Reach) -> Result<Self, Refusal> {
        let failure = |error: &dyn Display| Refusal::Failure(error.to_string());
        let clock = Clock::system();
        let mut limits = config.rate_limit;
        if reach == Reach::Database {
            limits.redis = None;
        }
        let limiter = Limiter::visiting(limits, clock.clone()).await;
        let limiter = limiter.map_err(|error| failure(&error))?;
        let audit = Audit::start(database.clone(), clock.clone());
        let keys = config.credentials;
        // No password is hashed here.
        let pool = PoolSettings {
            workers: 1,
            ..PoolSettings::default()
        };
        let passwords = Passwords::start(keys.password_policy, pool).map_err(|error| failure(&error))?;
        let tokens = AccessTokens::new(
            keys.signing_keys,
            keys.issuer,
            keys.audience,
            keys.access_token_lifetime,
        );
        let accounts = Accounts::new(
            database.clone(),
            passwords,
            tokens,
            keys.secret_keys,
            limiter.clone(),
            audit.clone(),
            clock.clone(),
            config.accounts,
        );
        let api_tokens = ApiTokens::new(database.clone(), limiter, audit.clone(), clock, config.api_tokens);
        Ok(Self {
            accounts,
            api_tokens,
            by: Administrator::operator(),
            audit,
            database,
        })
    }

    /// Writes what is to be remembered.
    pub(super) async fn close(self) {
        self.audit.shutdown().await;
        self.database.close().await;
    }
}

/// A user as he is named on the command line.
pub(super) enum User {
    /// By his id.
    Id(Uuid),
    /// By his address.
    Email(Email),
}

impl User {
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let id = text.parse().map(Self::Id).ok();
        let user = id.or_else(|| Email::parse(text).map(Self::Email).ok());
        user.ok_or_else(|| {
            let text = text.escape_default();
            Refusal::Argument(format!("`{text}` is no e-mail address and no user's id"))
        })
    }

    /// His id. One that is named by it needs not be there.
    pub(super) async fn id(&self, beside: &Beside) -> Result<Uuid, Refusal> {
        match self {
            Self::Id(id) => Ok(*id),
            Self::Email(email) => {
                let found = beside.accounts.user_id_of(&beside.by, email).await;
                found.map_err(|error| self.refusal(&error))
            }
        }
    }

    pub(super) fn unknown(&self) -> Refusal {
        Refusal::Failure(match self {
            Self::Id(id) => format!("there is no user {id}"),
            Self::Email(email) => format!("there is no user {email}"),
        })
    }

    /// Why nothing was done to him.
    pub(super) fn refusal(&self, error: &AdminError) -> Refusal {
        match error {
            AdminError::NotFound => self.unknown(),
            error => error.into(),
        }
    }
}

impl From<&AdminError> for Refusal {
    fn from(error: &AdminError) -> Self {
        match error {
            AdminError::Storage(error) => Self::database(error),
            AdminError::Inactive => {
                Self::Failure("the account is deactivated: `stile user activate` it first".to_owned())
            }
            AdminError::EmailTaken => Self::Failure("there is an account with this address".to_owned()),
            AdminError::Invalid(errors) => Self::Argument(
                errors
                    .iter()
                    .map(|error| format!("{}: {}", error.pointer.trim_start_matches('/'), error.message))
                    .collect::<Vec<_>>()
                    .join(" "),
            ),
            AdminError::NotFound | AdminError::NotAdmin | AdminError::LastAdmin | AdminError::Counters(_) => {
                Self::Failure(error.to_string())
            }
        }
    }
}

/// Ends a command, and tells why it came to nothing.
pub(super) fn conclude(result: Result<ExitCode, Refusal>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(Refusal::Failure(message)) => super::failure(&message),
        Err(Refusal::Argument(message)) => {
            super::say_error(&message);
            ExitCode::from(2)
        }
    }
}
