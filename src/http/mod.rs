//! HTTP: the only room that knows axum.
//!
//! [`front`] shows the routes and every stage on one screen. A new endpoint goes into
//! `routes/<noun>.rs`; what it decides goes into a use case below this room.

mod client_ip;
mod connection;
mod cookies;
mod database_health;
mod endpoints;
mod error;
mod event_loops;
mod extract;
mod front;
pub mod metrics;
mod openapi;
pub mod pages;
mod refusals;
mod routes;
pub mod server;
mod stages;
mod unread;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Method};
use ipnet::IpNet;
use tokio::sync::RwLock;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::accounts::Accounts;
use crate::api_tokens::ApiTokens;
use crate::audit::Audit;
use crate::clock::Clock;
use crate::credentials::{SecretKeys, SharedKey};
use crate::rate_limit::Limiter;
use crate::storage::Database;

use client_ip::Unbelieved;
use database_health::DatabaseHealth;
use front::Row;
use pages::Pages;
use stages::envelope::Envelope;
use stages::limits::Limits;
use stages::origin::Origin;
use stages::suite::{self, Suite};
use stages::{envelope, limits};

pub use connection::Answers;
pub use event_loops::EventLoops;
pub use front::Front;
pub use stages::local::{LocalStage, SWEEP_EVERY};

/// What `config` hands this room.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `PUBLIC_URL`, without a trailing slash: the start of a problem's `type`.
    pub public_url: String,
    /// `FRONTEND_URL`, without a trailing slash: an origin that may send cookies.
    pub frontend_url: String,
    /// `CORS_ORIGINS`: exact origins.
    pub cors_origins: Vec<String>,
    /// `AUTH_COOKIES`.
    pub auth_cookies: bool,
    /// `TRUSTED_PROXIES`: networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// `RATE_LIMIT_BURST`: requests at once per client in the local stage; `None` while limiting is off.
    pub burst: Option<u32>,
    /// `ENABLE_DOCS`: `/docs` and `/openapi.json` are served.
    pub docs: bool,
    /// What the pages look like; `None` without `ENABLE_PAGES`.
    pub pages: Option<crate::brand::Brand>,
    /// Production or not.
    pub life: Life,
}

/// Which life the service leads, as far as its surface shows it.
#[derive(Clone, Debug)]
pub enum Life {
    /// HSTS is sent, health tells no version. Has no place for test endpoints.
    Production,
    /// Development, test, staging; with the test endpoints, if they are on.
    Rehearsal(Option<TestEndpoints>),
}

/// `ENABLE_TEST_ENDPOINTS=true`.
#[derive(Clone, Debug)]
pub struct TestEndpoints {
    /// `TEST_ENDPOINTS_KEY`: opens them to other machines.
    pub key: Option<SharedKey>,
}

impl Life {
    fn is_production(&self) -> bool {
        matches!(self, Self::Production)
    }

    /// The test endpoints, if they are on.
    #[must_use]
    pub fn test_endpoints(&self) -> Option<&TestEndpoints> {
        match self {
            Self::Production => None,
            Self::Rehearsal(endpoints) => endpoints.as_ref(),
        }
    }
}

impl Settings {
    /// Cookies are `Secure` and carry the `__Host-` prefix unless the service is reached by plain http.
    fn is_https(&self) -> bool {
        self.public_url.starts_with("https://")
    }

    /// The origins from which requests with cookies are taken.
    fn cookie_origins(&self) -> impl Iterator<Item = &str> {
        let own = [origin_of(&self.public_url), origin_of(&self.frontend_url)];
        own.into_iter()
            .chain(self.cors_origins.iter().map(String::as_str))
    }
}

/// Scheme, host and port of a URL: `https://app.example.com/x` is of `https://app.example.com`.
fn origin_of(url: &str) -> &str {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let end = url
        .get(after_scheme..)
        .and_then(|rest| rest.find('/'))
        .map_or(url.len(), |at| after_scheme + at);
    url.get(..end).unwrap_or(url)
}

/// What handlers and stages work with.
pub struct Http {
    accounts: Accounts,
    api_tokens: ApiTokens,
    limiter: Limiter,
    audit: Audit,
    clock: Clock,
    secret_keys: SecretKeys,
    pages: Option<Pages>,
    settings: Settings,
    database_health: DatabaseHealth,
    jwks: Bytes,
    cors: CorsLayer,
    drain: Drain,
    unbelieved: Unbelieved,
    requests: Arc<metrics::Requests>,
    /// For a reset: the buckets, and a lock that requests hold while they are answered.
    local_stage: Option<LocalStage>,
    under_way: RwLock<()>,
}

/// What [`front`] is built from.
pub struct Parts {
    /// The use cases.
    pub accounts: Accounts,
    /// Those of API tokens.
    pub api_tokens: ApiTokens,
    /// For the limits a client meets at the door.
    pub limiter: Limiter,
    /// For refusals at the door.
    pub audit: Audit,
    /// The present moment.
    pub clock: Clock,
    /// For the forms of the pages.
    pub secret_keys: SecretKeys,
    /// For health and readiness alone.
    pub database: Database,
    /// The JWK Set, as sent.
    pub jwks: serde_json::Value,
    /// The buckets of the local stage; `None` while limiting is off.
    pub local_stage: Option<LocalStage>,
    /// This room's settings.
    pub settings: Settings,
    /// Tells when a shutdown begins.
    pub drain: Drain,
    /// Counts what is answered.
    pub requests: Arc<metrics::Requests>,
}

/// The whole HTTP surface. The first stage meets a request first.
#[must_use]
pub fn front(parts: Parts) -> Front {
    let test_endpoints = parts.settings.life.test_endpoints().cloned();
    let cookies_are_on = parts.settings.auth_cookies;
    let docs = parts.settings.docs;
    let brand = parts.settings.pages.as_ref();
    let pages = brand.map(|brand| Pages::new(brand, &parts.settings, parts.clock.now()));
    let cors = cors(&parts.settings);
    let http = Arc::new(Http {
        accounts: parts.accounts,
        api_tokens: parts.api_tokens,
        limiter: parts.limiter,
        audit: parts.audit,
        clock: parts.clock,
        secret_keys: parts.secret_keys,
        pages,
        settings: parts.settings,
        database_health: DatabaseHealth::new(parts.database),
        jwks: Bytes::from(parts.jwks.to_string()),
        cors,
        drain: parts.drain,
        unbelieved: Unbelieved::default(),
        requests: parts.requests,
        local_stage: parts.local_stage.clone(),
        under_way: RwLock::new(()),
    });
    let local_stage = parts.local_stage;
    let limits = || Limits(Arc::clone(&http));
    let suite = || {
        let http = Arc::clone(&http);
        test_endpoints
            .clone()
            .map(|TestEndpoints { key }| Suite { http, key })
    };

    let mut endpoints = routes::all().endpoints;
    if docs {
        endpoints.extend(routes::docs::routes().endpoints);
    }
    if test_endpoints.is_some() {
        endpoints.extend(routes::test::endpoints(&http));
    }
    let api = Row {
        envelope: Envelope::around(&http), // ids, problems, headers of every answer; CORS
        stages: (
            suite(), // who tests
            (
                local_stage.clone(), // floods
                (
                    limits(),                                          // the client's limits
                    cookies_are_on.then(|| Origin(Arc::clone(&http))), // who may send cookies
                ),
            ),
        ),
        is_whole: true, // what was begun is ended
    };
    // Decided alike for any method and client: no CORS, no flood of one proxy, no limit of the door.
    let gateway = Row {
        envelope: Envelope::without_cors(&http),
        stages: suite(),
        is_whole: false,
    };
    // Other sites' scripts have no business with pages: no CORS. Who may post to them is said by each form.
    let pages = http.pages.as_ref().map(|_| Row {
        envelope: Envelope::without_cors(&http),
        stages: (suite(), (local_stage, limits())),
        is_whole: true,
    });
    let gateway = gateway.before(routes::api_gateway::endpoints(), &http);
    let pages = pages.map(|row| row.before(pages::endpoints(&http), &http));
    Front::new(api.before(endpoints, &http), [gateway].into_iter().chain(pages))
}

/// The OpenAPI 3.1 document of everything that [`front`] answers. It depends on no configuration.
#[must_use]
pub fn openapi() -> serde_json::Value {
    let mut operations = routes::all().operations;
    operations.extend(routes::api_gateway::operations());
    operations.extend(routes::test::operations());
    operations.document()
}

/// Whether a shutdown has begun: then the service is not ready, and every answer ends its connection.
#[derive(Clone, Debug, Default)]
pub struct Drain(Arc<AtomicBool>);

impl Drain {
    /// Says that it has. There is no way back.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Exact origins, with credentials; everybody else gets no CORS header at all.
fn cors(settings: &Settings) -> CorsLayer {
    let origins = settings
        .cors_origins
        .iter()
        .filter_map(|origin| HeaderValue::from_str(origin).ok());
    let mut headers = vec![AUTHORIZATION, CONTENT_TYPE, envelope::REQUEST_ID];
    if settings.life.test_endpoints().is_some() {
        headers.extend([suite::WORKER, suite::KEY]);
    }
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers(headers)
        .expose_headers([
            limits::LIMIT,
            limits::REMAINING,
            limits::RESET,
            limits::POLICY,
            limits::STATE,
            RETRY_AFTER,
            envelope::REQUEST_ID,
        ])
        .max_age(Duration::from_mins(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert_eq!(
            origin_of("https://app.example.com/x/y"),
            "https://app.example.com"
        );
        assert_eq!(origin_of("http://localhost:8000"), "http://localhost:8000");
    }
}
