//! Configuration: the environment and at most one env file, parsed once into every room's `Settings`.
//!
//! The only room that reads the environment and knows variables' names (a [`crate::rate_limit::Rule`] names its
//! own). A setting that is wrong stops the program; nothing falls back in silence.
//! A new setting: its line in `variable.rs`, its section here, the env files, README.

mod accounts;
mod api_tokens;
mod dsn;
mod error;
mod key_file;
mod keys;
mod limits;
mod mail;
mod names;
mod pages;
mod reader;
mod server;
mod source;
mod storage;
mod test_endpoints;
mod traces;
mod variable;
mod verdicts;
mod web;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use error::{ConfigError, ConfigErrors};
pub use reader::Effective;
pub use server::ShutdownSettings;
pub use source::{Origin, Source};
pub use variable::{Secrecy, Section, Variable, variables};
pub use verdicts::{Level, Verdict};

use crate::storage::DatabaseUrl;
use crate::telemetry;
use reader::Reader;

/// Which of its four lives the program leads (`ENVIRONMENT`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Environment {
    /// A developer's machine.
    Development,
    /// Automated tests.
    Test,
    /// Like production, with mail into files if wanted.
    Staging,
    /// The real thing.
    Production,
}

impl Environment {
    /// All of them, mildest first.
    pub const ALL: [Self; 4] = [Self::Development, Self::Test, Self::Staging, Self::Production];

    /// As written in `ENVIRONMENT`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Test => "test",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }

    /// Development or test: keys are made, proxies in private networks believed.
    #[must_use]
    pub fn is_lenient(self) -> bool {
        matches!(self, Self::Development | Self::Test)
    }

    /// The real thing.
    #[must_use]
    pub fn is_production(self) -> bool {
        self == Self::Production
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Everything that was configured. Holds secrets: there is no `Debug`.
pub struct Config {
    /// `ENVIRONMENT`.
    pub environment: Environment,
    /// `HOST` and `PORT`; port 0 lets the system pick one.
    pub listen: SocketAddr,
    /// `METRICS_ADDR`: the listener for Prometheus; port 0 lets the system pick one.
    pub metrics: Option<SocketAddr>,
    /// `SHUTDOWN_*`.
    pub shutdown: ShutdownSettings,
    /// The database.
    pub storage: crate::storage::Settings,
    /// Limits and Redis.
    pub rate_limit: crate::rate_limit::Settings,
    /// Keys, access tokens, what a password must meet.
    pub credentials: crate::credentials::Settings,
    /// Mail.
    pub mail: crate::mail::Settings,
    /// Sessions, links, verification, and how long audit rows stay.
    pub accounts: crate::accounts::Settings,
    /// API tokens.
    pub api_tokens: crate::api_tokens::Settings,
    /// What browsers and proxies see.
    pub http: crate::http::Settings,
    /// Logs.
    pub telemetry: telemetry::Settings,
    /// `OTEL_*`: the collector of traces, if one is named.
    pub traces: Option<telemetry::traces::Settings>,
    /// Where `stile limits` reaches a process that counts in memory: a socket beside the database.
    pub operator_socket: PathBuf,
    /// What each variable came to, in the order of the table.
    pub effective: Vec<Effective>,
    /// What an operator should know; warnings are logged at start.
    pub verdicts: Vec<Verdict>,
    defaulted: web::Defaulted,
}

/// What `stile migrate` needs: the database, and how to log.
pub struct MigrationConfig {
    /// The database.
    pub storage: crate::storage::Settings,
    /// Logs.
    pub telemetry: telemetry::Settings,
}

impl Config {
    /// Parses everything.
    ///
    /// In development and test, without a key of its own, it makes one in `data/` (once, also when two processes
    /// start together), unless the source is [`Source::look_only`].
    ///
    /// # Errors
    /// All faults at once, each with its variable, none with a secret.
    pub fn from_source(source: &Source) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(source);
        let known: Vec<&str> = variables().iter().map(|variable| variable.name).collect();
        reader.extend(names::misspelt(source, &known));

        let environment = server::environment(&mut reader);
        let listen = server::listen(&mut reader);
        let metrics = server::metrics(&mut reader, listen);
        let shutdown = server::shutdown(&mut reader, environment);
        let tls_ca_file = server::tls_ca_file(&mut reader);
        let storage = storage::read(&mut reader, environment, tls_ca_file.clone());
        let web = web::read(&mut reader, environment, listen.port());
        let rate_limit = limits::read(&mut reader, environment, tls_ca_file.clone());
        let burst = limits::burst(&mut reader, &rate_limit);
        let credentials = keys::read(&mut reader, environment, &web.public_url);
        let traces = traces::read(&mut reader, tls_ca_file.clone());
        let (brand, has_pages) = pages::read(&mut reader, environment);
        let mail = mail::read(&mut reader, environment, tls_ca_file, brand.clone());
        let life = test_endpoints::read(&mut reader, environment);
        let keeps_mail = life.test_endpoints().is_some();
        let accounts = accounts::read(&mut reader, environment, &web.frontend_url, &mail, keeps_mail);
        let api_tokens = api_tokens::read(&mut reader);
        let telemetry = server::telemetry(&mut reader, environment);

        let effective = reader.finish()?;
        let Some((credentials, jwt_issuer_is_default)) = credentials else {
            return Err(ConfigError::of("JWT_SIGNING_KEY_FILE", "no signing key").into());
        };
        let defaulted = web::Defaulted {
            issuer: jwt_issuer_is_default,
            ..web.defaulted
        };
        let http = crate::http::Settings {
            public_url: web.public_url,
            frontend_url: web.frontend_url,
            cors_origins: web.cors_origins,
            auth_cookies: web.auth_cookies,
            docs: web.docs,
            trusted_proxies: web.trusted_proxies,
            burst: rate_limit.enabled.then_some(burst),
            pages: has_pages.then_some(brand),
            life,
        };
        let operator_socket = match &storage.url {
            DatabaseUrl::Sqlite(path) => path.with_extension("sock"),
            DatabaseUrl::Postgres(_) => source.path("data/stile.sock"),
        };
        let mut config = Self {
            environment,
            listen,
            metrics,
            shutdown,
            storage,
            rate_limit,
            credentials,
            mail,
            accounts,
            api_tokens,
            http,
            telemetry,
            traces,
            operator_socket,
            effective,
            verdicts: Vec::new(),
            defaulted,
        };
        config.verdicts = verdicts::of(&config, source);
        Ok(config)
    }

    /// The same with the port that the listener got: URLs that nobody set speak of it.
    #[must_use]
    pub fn with_bound_port(mut self, port: u16) -> Self {
        self.listen.set_port(port);
        let url = web::default_public_url(port);
        if self.defaulted.public_url {
            self.http.public_url.clone_from(&url);
        }
        if self.defaulted.frontend_url {
            self.http.frontend_url.clone_from(&self.http.public_url);
            self.accounts.frontend_url.clone_from(&self.http.public_url);
        }
        if self.defaulted.issuer {
            self.credentials.issuer.clone_from(&self.http.public_url);
        }
        self
    }

    /// What should be logged as a warning at start.
    pub fn warnings(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts
            .iter()
            .filter(|verdict| verdict.level == Level::Warning)
    }
}

impl MigrationConfig {
    /// Parses what migrating needs, so that a job which only migrates needs no signing key and no mail server.
    ///
    /// # Errors
    /// All faults of these variables, and misspelt names.
    pub fn from_source(source: &Source) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(source);
        let known: Vec<&str> = variables().iter().map(|variable| variable.name).collect();
        reader.extend(names::misspelt(source, &known));
        let config = Self::read(&mut reader);
        reader.finish()?;
        Ok(config)
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        let environment = server::environment(reader);
        let tls_ca_file = server::tls_ca_file(reader);
        Self {
            storage: storage::read(reader, environment, tls_ca_file),
            telemetry: server::telemetry(reader, environment),
        }
    }
}

/// The variables that [`MigrationConfig`] reads.
pub const MIGRATION_VARIABLES: &[&str] = &[
    "ENVIRONMENT",
    "TLS_CA_FILE",
    "DATABASE_URL",
    "DATABASE_MAX_CONNECTIONS",
    "ALLOW_SQLITE",
    "LOG_FORMAT",
    "RUST_LOG",
];

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 24 * 60 * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_of_migrate_names_what_it_reads() {
        let source = Source::new::<String, String>([], "", None).unwrap();
        let mut reader = Reader::new(&source);
        MigrationConfig::read(&mut reader);
        let read = reader.finish().unwrap();
        let read: Vec<_> = read.iter().map(|effective| effective.name).collect();
        assert_eq!(read, MIGRATION_VARIABLES);
    }
}
