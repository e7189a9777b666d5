//! What an operator should know about a configuration that may stand: said by `stile check`, warnings also at start.

use super::{Config, Environment};
use crate::api_tokens::AllowedScopes;
use crate::mail::TransportSettings;
use crate::rate_limit::{Mode, Rule};
use crate::storage::DatabaseUrl;

/// One remark.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// How much it matters.
    pub level: Level,
    /// The remark, one sentence.
    pub text: String,
}

/// How much a [`Verdict`] matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// As it should be, or worth knowing.
    Fine,
    /// Probably not what was meant; `stile check --strict` exits 1.
    Warning,
}

struct Verdicts(Vec<Verdict>);

impl Verdicts {
    fn fine(&mut self, text: impl Into<String>) {
        self.0.push(Verdict {
            level: Level::Fine,
            text: text.into(),
        });
    }

    fn warn(&mut self, text: impl Into<String>) {
        self.0.push(Verdict {
            level: Level::Warning,
            text: text.into(),
        });
    }
}

/// All remarks on `config`; `later` are set variables that this version does not read yet.
pub(super) fn of(config: &Config, later: Vec<&str>) -> Vec<Verdict> {
    let mut verdicts = Verdicts(Vec::new());
    limits(&mut verdicts, config);
    if config.environment.is_production() {
        production(&mut verdicts, config);
    }
    if config
        .http
        .trusted_proxies
        .iter()
        .any(|network| network.prefix_len() == 0)
    {
        verdicts.warn(
            "TRUSTED_PROXIES believes everybody: any client can choose the address he is counted under",
        );
    }
    if config.accounts.session_idle_lifetime > config.accounts.session_max_lifetime {
        verdicts
            .warn("REFRESH_TOKEN_EXPIRE_DAYS is longer than SESSION_MAX_DAYS, which ends the session first");
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
    for name in later {
        verdicts.warn(format!("{name} has no effect yet: a later version reads it"));
    }
    verdicts.0
}

fn limits(verdicts: &mut Verdicts, config: &Config) {
    let settings = &config.rate_limit;
    let lenient = config.environment.is_lenient();
    if !settings.enabled {
        let text = "limiting is off: fine for E2E, not for production";
        if lenient {
            verdicts.fine(text);
        } else {
            verdicts.warn(text);
        }
        return;
    }
    match (&settings.redis, settings.fleet_size) {
        (Some(_), _) => verdicts.fine("limiting is on, counted in Redis"),
        (None, Some(size)) if size.get() > 1 => verdicts.warn(
            "several processes share limits (RATE_LIMIT_FLEET_SIZE) without Redis: each admits only its share",
        ),
        (None, _) if !lenient && matches!(config.storage.url, DatabaseUrl::Postgres(_)) => verdicts.warn(
            "limiting is on, counted in memory: exact for one process only; several need REDIS_URL",
        ),
        (None, _) => verdicts.fine("limiting is on, counted in memory: exact for one process"),
    }
    if lenient {
        return;
    }
    for rule in Rule::ALL {
        let limit = settings.rules.get(rule);
        if limit.is_off() {
            verdicts.warn(format!("{} is off: nothing holds this back", rule.variable()));
        } else if limit.mode() == Mode::Shadow {
            verdicts.warn(format!(
                "{} is in shadow mode: it counts and logs, and refuses nobody",
                rule.variable()
            ));
        }
    }
    if settings.allowlist.iter().any(|network| network.prefix_len() == 0) {
        verdicts.warn("RATE_LIMIT_ALLOWLIST holds everybody: nobody is limited");
    }
}

fn production(verdicts: &mut Verdicts, config: &Config) {
    debug_assert_eq!(config.environment, Environment::Production);
    if matches!(config.storage.url, DatabaseUrl::Sqlite(_)) {
        verdicts
            .warn("production runs on SQLite (ALLOW_SQLITE): one process, one machine, backups are yours");
    }
    if config.api_tokens.scopes == AllowedScopes::Any {
        verdicts.warn("API_TOKEN_SCOPES is not set: a user may put any scope but admin on a token");
    }
    if config.telemetry.filter.is_verbose() {
        verdicts.warn("RUST_LOG is more than info: debugging output in production");
    }
    if config
        .http
        .cors_origins
        .iter()
        .any(|origin| origin.starts_with("http://"))
    {
        verdicts
            .warn("CORS_ORIGINS holds an http:// origin: whoever sits on its network can act as its users");
    }
}
