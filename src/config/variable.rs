//! The one table of every variable: what `check` and `--help` print, what near misses are measured
//! against, and what the tests look for in `.env.example` and README.
//!
//! A new setting is a line here, a line in its section, a line in the env files and one in README.

use crate::rate_limit::Rule;

/// One variable of the environment.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its exact, case-sensitive name.
    pub name: &'static str,
    /// What holds when it is not set, for people.
    pub default: String,
    /// What it decides, in one line.
    pub meaning: String,
    /// Where it belongs.
    pub section: Section,
    /// How much of its value may be printed.
    pub secrecy: Secrecy,
    pub(super) empty: Empty,
}

/// Groups of variables, in the order in which they are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Section {
    /// Environment, listener, shutdown.
    Server,
    /// The database.
    Database,
    /// Redis.
    Redis,
    /// Limits and who is counted.
    Limits,
    /// Keys and tokens.
    Keys,
    /// Passwords, sessions, links.
    Accounts,
    /// API tokens.
    ApiTokens,
    /// Mail.
    Mail,
    /// What browsers and links see.
    Web,
    /// Logs and retention.
    Logs,
    /// What E2E suites use.
    Tests,
}

/// How much of a value may be printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Secrecy {
    /// All of it.
    Open,
    /// A URL that can carry a password: scheme, host and path, never user, password or options.
    Url,
    /// Nothing.
    Secret,
}

/// What `NAME=` with nothing behind it means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Empty {
    /// A mistake: a default that nobody asked for would take its place.
    Refused,
    /// The same as not set; compose files pass optional variables like that.
    Unset,
    /// An empty list.
    List,
}

struct Line(Section, &'static str, &'static str, &'static str, Secrecy, Empty);

const fn line(section: Section, name: &'static str, default: &'static str, meaning: &'static str) -> Line {
    Line(section, name, default, meaning, Secrecy::Open, Empty::Refused)
}

impl Line {
    const fn secret(self) -> Self {
        Self(self.0, self.1, self.2, self.3, Secrecy::Secret, self.5)
    }

    const fn url(self) -> Self {
        Self(self.0, self.1, self.2, self.3, Secrecy::Url, self.5)
    }

    const fn may_be_empty(self) -> Self {
        Self(self.0, self.1, self.2, self.3, self.4, Empty::Unset)
    }

    const fn list(self) -> Self {
        Self(self.0, self.1, self.2, self.3, self.4, Empty::List)
    }

    fn variable(&self) -> Variable {
        Variable {
            name: self.1,
            default: self.2.to_owned(),
            meaning: self.3.to_owned(),
            section: self.0,
            secrecy: self.4,
            empty: self.5,
        }
    }
}

use Section::{Accounts, ApiTokens, Database, Keys, Limits, Logs, Mail, Redis, Server, Tests, Web};

/// Everything but the rules' own variables, which [`Rule`] names.
#[rustfmt::skip] // a table: one variable, one line
const LINES: &[Line] = &[
    line(Server, "ENVIRONMENT", "development", "development, test, staging or production"),
    line(Server, "HOST", "127.0.0.1", "address to listen on; beyond loopback only with ENVIRONMENT set"),
    line(Server, "PORT", "8000", "port to listen on; 0 picks a free one and logs it"),
    line(Server, "SHUTDOWN_DELAY_SECONDS", "3 in staging and production, else 0", "after SIGTERM: not ready, still accepting"),
    line(Server, "SHUTDOWN_GRACE_SECONDS", "25", "then: the time for requests in flight"),
    line(Server, "TLS_CA_FILE", "unset", "PEM certificates trusted besides the built-in roots, for SMTP, Redis, PostgreSQL and the collector").may_be_empty(),
    line(Database, "DATABASE_URL", "sqlite://data/stile.db", "sqlite://PATH or postgres://…").url(),
    line(Database, "DATABASE_MAX_CONNECTIONS", "10", "pool size"),
    line(Database, "ALLOW_SQLITE", "false", "lets production run on SQLite"),
    line(Redis, "REDIS_URL", "unset", "redis:// or rediss://, several with commas are a Redis Cluster; unset: limits in memory").url().may_be_empty(),
    line(Redis, "REDIS_KEY_PREFIX", "rate_limit", "first part of every key"),
    line(Redis, "REDIS_CONNECT_TIMEOUT_MS", "2000", "longest wait for a connection"),
    line(Redis, "REDIS_COMMAND_TIMEOUT_MS", "50", "a request never waits longer for Redis"),
    line(Redis, "REDIS_HEALTH_CHECK_SECONDS", "30", "idle health check"),
    line(Limits, "ENABLE_RATE_LIMITING", "true", "false: no limit is checked, no limit header is sent"),
    line(Limits, "RATE_LIMIT_FLEET_SIZE", "learned from Redis, else 1", "processes that share a limit while Redis is lost"),
    line(Limits, "RATE_LIMIT_BURST", "the greater of 100 and twice the largest per-client count", "local stage: requests at once per client, refilled at half of it per second"),
    line(Limits, "RATE_LIMIT_MEMORY_KEYS", "200000", "most counters held in memory"),
    line(Limits, "RATE_LIMIT_IPV6_PREFIX", "64", "IPv6 clients are counted per network of this length, 32 to 128"),
    line(Limits, "RATE_LIMIT_ALLOWLIST", "empty", "CIDRs that are never limited").list(),
    line(Limits, "TRUSTED_PROXIES", "loopback and private ranges in development and test, else loopback", "CIDRs whose X-Forwarded-For is believed; empty: nobody").list(),
    line(Keys, "JWT_SIGNING_KEY_FILE", "a key made in data/ in development and test", "PEM file, Ed25519 or P-256"),
    line(Keys, "JWT_SIGNING_KEY", "unset", "the PEM itself; \\n stands for a line's end").secret(),
    line(Keys, "JWT_SECRET", "unset", "HS256 secret of 32 bytes or more, instead of a PEM").secret(),
    line(Keys, "JWT_PREVIOUS_KEY_FILES", "empty", "PEM files still accepted and published while keys rotate").list(),
    line(Keys, "SECRET_KEY", "HKDF-SHA256 of the signing key", "32 bytes or more: account keys in counters, sealing").secret(),
    line(Keys, "SECRET_KEY_PREVIOUS", "unset", "the SECRET_KEY before the present one").secret().may_be_empty(),
    line(Keys, "JWT_ISSUER", "PUBLIC_URL", "claim iss"),
    line(Keys, "JWT_AUDIENCE", "stile", "claim aud"),
    line(Keys, "ACCESS_TOKEN_EXPIRE_MINUTES", "15", "1 to 60"),
    line(Accounts, "REFRESH_TOKEN_EXPIRE_DAYS", "30", "a session unused for so long is over"),
    line(Accounts, "SESSION_MAX_DAYS", "90", "a session is over after so long in any case"),
    line(Accounts, "REFRESH_REUSE_GRACE_SECONDS", "10", "a repeated refresh gets the same answer for so long; 0 = strict"),
    line(Accounts, "PASSWORD_MIN_LENGTH", "8", "code points, 8 to 64"),
    line(Accounts, "PASSWORD_MIN_SCORE", "3", "least zxcvbn score, 0 to 4"),
    line(Accounts, "REQUIRE_EMAIL_VERIFICATION", "false", "true: registering never tells whether an address is taken"),
    line(Accounts, "RESET_TOKEN_EXPIRE_MINUTES", "15", "1 to 1440, from the moment the mail is handed over"),
    line(Accounts, "VERIFY_TOKEN_EXPIRE_HOURS", "24", "1 to 168, from the moment the mail is handed over"),
    line(ApiTokens, "API_TOKEN_RATE_LIMIT", "60/minute;1000/hour;10000/day", "quota of a new API token, and the most that a user may ask for"),
    line(ApiTokens, "API_TOKENS_PER_USER", "50", "most API tokens of one user; a revoked one counts until its day is over"),
    line(ApiTokens, "API_TOKEN_SCOPES", "any", "scopes that a user may put on a token, with commas; read:* allows all that it covers"),
    line(Mail, "SMTP_URL", "unset", "smtps:// (TLS) or smtp:// (STARTTLS, demanded in production); unset: .eml files").url().may_be_empty(),
    line(Mail, "MAIL_FROM", "stile <no-reply@localhost>", "sender of every mail"),
    line(Mail, "MAIL_OUTBOX_DIR", "data/outbox", "folder of the .eml files while SMTP_URL is unset"),
    line(Web, "PUBLIC_URL", "http://localhost:PORT", "where clients reach this service; https:// in production"),
    line(Web, "FRONTEND_URL", "PUBLIC_URL", "links in mail start with it; https:// in production"),
    line(Web, "CORS_ORIGINS", "http://localhost:3000 in development, else empty", "exact origins, never *").list(),
    line(Web, "AUTH_COOKIES", "false", "clients may ask for their tokens as cookies"),
    line(Web, "ENABLE_DOCS", "true, except in production", "/docs and /openapi.json"),
    line(Web, "ENABLE_PAGES", "true", "sign-in, account and operator pages; false: the API alone"),
    line(Web, "BRAND_NAME", "stile", "name of the product on pages and in mails"),
    line(Web, "BRAND_LOGO_URL", "unset", "picture in the place of the name, loaded by browsers").may_be_empty(),
    line(Web, "BRAND_COLOR", "#2f6150", "colour of buttons and links, as #rrggbb; made readable in light and dark"),
    line(Logs, "LOG_FORMAT", "text in development, else json", "text or json"),
    line(Logs, "RUST_LOG", "info", "what is logged; other libraries never below info").may_be_empty(),
    line(Logs, "AUDIT_RETENTION_DAYS", "90", "older audit rows are swept"),
    line(Logs, "METRICS_ADDR", "unset", "address and port where Prometheus reads /metrics; unset: nowhere").may_be_empty(),
    line(Logs, "OTEL_EXPORTER_OTLP_ENDPOINT", "unset", "OpenTelemetry collector that takes OTLP by HTTP, such as http://localhost:4318; unset: no traces").url().may_be_empty(),
    line(Logs, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT/v1/traces", "the whole URL for traces, taken as it is").url().may_be_empty(),
    line(Logs, "OTEL_EXPORTER_OTLP_HEADERS", "unset", "key=value with commas, sent with each batch").secret().may_be_empty(),
    line(Logs, "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS", "the same for traces alone, instead").secret().may_be_empty(),
    line(Logs, "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "any other is refused where traces would leave").may_be_empty(),
    line(Logs, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf", "the same for traces alone, where others speak another").may_be_empty(),
    line(Logs, "OTEL_EXPORTER_OTLP_COMPRESSION", "none", "any other is refused where traces would leave").may_be_empty(),
    line(Logs, "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none", "the same for traces alone, where others compress").may_be_empty(),
    line(Logs, "OTEL_EXPORTER_OTLP_TIMEOUT", "10000", "milliseconds that a batch may take").may_be_empty(),
    line(Logs, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT", "the same for traces alone, instead").may_be_empty(),
    line(Logs, "OTEL_EXPORTER_OTLP_CERTIFICATE", "TLS_CA_FILE", "PEM certificates trusted for the collector besides the built-in roots").may_be_empty(),
    line(Logs, "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE", "the same for traces alone, instead").may_be_empty(),
    line(Logs, "OTEL_TRACES_EXPORTER", "otlp", "none: no traces, whatever endpoint is named").may_be_empty(),
    line(Logs, "OTEL_SDK_DISABLED", "false", "true: the same").may_be_empty(),
    line(Logs, "OTEL_SERVICE_NAME", "stile", "service.name of every span").may_be_empty(),
    line(Logs, "OTEL_RESOURCE_ATTRIBUTES", "unset", "key=value with commas, for every span").may_be_empty(),
    line(Logs, "OTEL_TRACES_SAMPLER", "parentbased_always_on", "which requests are traced: always_on, always_off, traceidratio, each also parentbased_…").may_be_empty(),
    line(Logs, "OTEL_TRACES_SAMPLER_ARG", "1", "the share of traceidratio, 0 to 1").may_be_empty(),
    line(Tests, "ENABLE_TEST_ENDPOINTS", "false", "endpoints for E2E suites, to clients on this machine; refused in production"),
    line(Tests, "TEST_ENDPOINTS_KEY", "unset", "16 bytes or more, opens them to others who show it; staging needs it").secret().may_be_empty(),
];

/// Every variable that this program knows, in the order of the sections.
#[must_use]
pub fn variables() -> Vec<Variable> {
    let mut all = Vec::with_capacity(LINES.len() + Rule::ALL.len());
    for line in LINES {
        all.push(line.variable());
        if line.1 == "ENABLE_RATE_LIMITING" {
            all.extend(Rule::ALL.iter().map(|rule| of_rule(*rule)));
        }
    }
    all
}

/// The variable of one rule, from what the rule says of itself.
fn of_rule(rule: Rule) -> Variable {
    let lenient = rule.default_limit(true).to_string();
    let strict = rule.default_limit(false).to_string();
    let default = if lenient == strict {
        strict
    } else {
        format!("{lenient} in development and test, else {strict}")
    };
    let meaning = format!("limit per {}", rule.per().name());
    Variable {
        name: rule.variable(),
        default,
        meaning,
        section: Section::Limits,
        secrecy: Secrecy::Open,
        empty: Empty::Refused,
    }
}
