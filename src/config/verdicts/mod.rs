//! What an operator should know about a configuration that may stand: said by `stile check`, warnings also at start.
//!
//! A warning is a mistake that people make, and says what to type against it. What can only be seen by connecting
//! (`--connect`) is found in `cli/connections/`.

mod files;
mod limits;
mod web;

use super::reader::Effective;
use super::{Config, Environment, Origin, Source};
use crate::api_tokens::AllowedScopes;
use crate::mail::TransportSettings;
use crate::storage::DatabaseUrl;

/// One remark.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// How much it matters.
    pub level: Level,
    /// The remark, one sentence.
    pub text: String,
    /// What to type: a line of the env file, or a command. Every warning has one.
    pub fix: Option<String>,
}

/// How much a [`Verdict`] matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// As it should be, or worth knowing.
    Fine,
    /// Probably not what was meant; `stile check --strict` exits 1.
    Warning,
}

impl Verdict {
    /// As it should be, or worth knowing.
    pub fn fine(text: impl Into<String>) -> Self {
        Self {
            level: Level::Fine,
            text: text.into(),
            fix: None,
        }
    }

    /// Probably not what was meant; `fix` is what to type.
    pub fn warning(text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            text: text.into(),
            fix: Some(fix.into()),
        }
    }
}

/// The remarks on one configuration, as they are found.
struct Verdicts<'a> {
    config: &'a Config,
    found: Vec<Verdict>,
}

impl Verdicts<'_> {
    fn fine(&mut self, text: impl Into<String>) {
        self.found.push(Verdict::fine(text));
    }

    fn warn(&mut self, text: impl Into<String>, fix: impl Into<String>) {
        self.found.push(Verdict::warning(text, fix));
    }

    /// What `name` came to.
    fn effective(&self, name: &str) -> Option<&Effective> {
        let mut all = self.config.effective.iter();
        all.find(|effective| effective.name == name)
    }

    /// Whether nobody has set `name`.
    fn is_default(&self, name: &str) -> bool {
        self.effective(name)
            .is_some_and(|effective| matches!(effective.origin, Origin::Default | Origin::Derived))
    }
}

/// All remarks on `config`, which `source` came to.
pub(super) fn of(config: &Config, source: &Source) -> Vec<Verdict> {
    let mut verdicts = Verdicts {
        config,
        found: Vec::new(),
    };
    limits::judge(&mut verdicts);
    if config.environment.is_production() {
        production(&mut verdicts);
    }
    web::judge(&mut verdicts);
    if !config.environment.is_lenient() {
        files::judge(&mut verdicts, source);
    }
    if config.accounts.session_idle_lifetime > config.accounts.session_max_lifetime {
        verdicts.warn(
            "REFRESH_TOKEN_EXPIRE_DAYS is longer than SESSION_MAX_DAYS, which ends the session first",
            format!(
                "REFRESH_TOKEN_EXPIRE_DAYS={}",
                config.accounts.session_max_lifetime.as_secs() / 86_400
            ),
        );
    }
    if let TransportSettings::Folder(folder) = &config.mail.transport {
        verdicts.fine(format!(
            "mail is written to files in {}, none is sent",
            folder.display()
        ));
    }
    verdicts.fine(format!(
        "links in mail start with {}",
        config.accounts.frontend_url
    ));
    if config.http.life.test_endpoints().is_some() {
        verdicts.fine(
            "test endpoints are on: who is on this machine, or shows the key, reads all mail and may delete all accounts",
        );
    }
    verdicts.found
}

fn production(verdicts: &mut Verdicts<'_>) {
    let config = verdicts.config;
    debug_assert_eq!(config.environment, Environment::Production);
    if matches!(config.storage.url, DatabaseUrl::Sqlite(_)) {
        verdicts.warn(
            "production runs on SQLite (ALLOW_SQLITE): one process, one machine, backups are yours",
            "DATABASE_URL=postgres://USER:PASSWORD@HOST/stile",
        );
    }
    if config.api_tokens.scopes == AllowedScopes::Any {
        verdicts.warn(
            "API_TOKEN_SCOPES is not set: a user may put any scope but admin on a token",
            "API_TOKEN_SCOPES=read:*,write:*",
        );
    }
    if config.telemetry.filter.is_verbose() {
        verdicts.warn(
            "RUST_LOG is more than info: debugging output in production",
            "RUST_LOG=info",
        );
    }
}
