//! The OpenAPI 3.1 document, made from the code that answers.
//!
//! Beside each handler stands `#[utoipa::path]`: path, body, success, and by which errors it can fail ([`Refused`]).
//! [`Operations`] collects them where the routes are put together, and adds to each what its place brings with it: what
//! a limit and a cookie can come to, and the headers of every answer.
//! The same document is printed by `stile openapi`, served at `/openapi.json` and kept in `docs/openapi.json`.

mod examples;
mod headers;
mod refuses;
mod shared;

use std::collections::BTreeMap;

use axum::http::Method;
use utoipa::openapi::path::{Operation, PathItem, Paths};
use utoipa::openapi::schema::{Components, Schema};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{Content, Info, LicenseBuilder, OpenApiBuilder, RefOr};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::http::cookies;
use crate::http::error::{ApiError, ProblemDocument};
use crate::rate_limit::Rule;

pub use refuses::{Refused, Refuses, and_storage, refused_field};

/// The groups in which operations are shown.
const TAGS: [(&str, &str); 8] = [
    (
        "Accounts",
        "Registering, proving an address, the signed-in user's own account.",
    ),
    (
        "Sessions",
        "Logging in, refreshing, logging out, and the sessions of the signed-in user.",
    ),
    ("Passwords", "Changing a password, and resetting a forgotten one."),
    ("API tokens", "Tokens that the signed-in user makes for programs."),
    (
        "Gateway",
        "What a reverse proxy asks before it lets a request through.",
    ),
    (
        "Administration",
        "Everybody's accounts, for users with the role `admin`. Each use is audited.",
    ),
    (
        "Service",
        "Health, limits in force, and the keys that verify access tokens.",
    ),
    (
        "Testing",
        "For E2E suites: only with `ENABLE_TEST_ENDPOINTS=true`, never in production. 404 to all but this machine and the \
         holder of `TEST_ENDPOINTS_KEY`.",
    ),
];

const ABOUT: &str = "\
A product's auth API with rate limits built in.

Requests and answers are JSON; times are RFC 3339 in UTC, ids are UUIDs. Unknown fields of a request are ignored.

**Errors** are `application/problem+json` (RFC 9457) with a stable `code`; the address in `type` \
is a page that says what it means. Besides those that each operation lists, any \
address answers 404 `not_found` where nothing is, and 405 `method_not_allowed` with `Allow` to a method that it does not know.

**Limits**: while limiting is on, every answer under `/api/` but the gateway's tells by `X-RateLimit-*`, `RateLimit-Policy` \
and `RateLimit` where its client stands. A refusal is 429 with `Retry-After`, and names the rule in `limit`.";

/// What counts the requests of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counted {
    /// The global limit, where it covers the path.
    PerClient,
    /// A rule of its own besides.
    By(Rule),
    /// The quotas of the API token, where it passes or is over them.
    PerToken,
    /// Nothing.
    Not,
}

/// Documented operations and the schemas they use.
#[derive(Default)]
pub struct Operations {
    paths: Paths,
    schemas: Schemas,
}

/// What utoipa hands over with each operation.
type Schemas = Vec<(String, RefOr<Schema>)>;

impl Operations {
    /// Adds what `routes!` found beside a handler.
    pub fn add(&mut self, mut paths: Paths, schemas: Schemas, counted: Counted) {
        for (path, item) in &mut paths.paths {
            for (method, operation) in operations(item) {
                complete(operation, &method, path, counted);
            }
        }
        self.paths.merge(paths);
        self.schemas.extend(schemas);
    }

    /// Takes over all of `other`.
    pub fn extend(&mut self, other: Self) {
        self.paths.merge(other.paths);
        self.schemas.extend(other.schemas);
    }

    /// The whole document.
    #[must_use]
    pub fn document(self) -> serde_json::Value {
        let mut components = Components::default();
        components.schemas.extend(self.schemas);
        let mut problem = Vec::new();
        ProblemDocument::schemas(&mut problem);
        components.schemas.extend(problem);
        let problem = (ProblemDocument::name().into_owned(), ProblemDocument::schema());
        components.schemas.extend([problem]);
        components.headers = headers::all();
        components.security_schemes = security_schemes();
        let license = LicenseBuilder::new().name("MIT").identifier(Some("MIT")).build();
        let info = Info::builder()
            .title("stile")
            .version(env!("CARGO_PKG_VERSION"))
            .description(Some(ABOUT))
            .license(Some(license));
        let tag = |(name, text)| TagBuilder::new().name(name).description(Some(text)).build();
        let document = OpenApiBuilder::new()
            .info(info)
            .paths(self.paths)
            .components(Some(components))
            .tags(Some(TAGS.map(tag)))
            .build();
        // Of maps with text for keys and values of serde alone: nothing in it can fail.
        let mut document = serde_json::to_value(document).unwrap_or_default();
        examples::fill(&mut document);
        shared::share(&mut document);
        document
    }
}

/// The operations of a path with their methods.
pub fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| operation.as_mut().map(|operation| (method, operation)))
}

/// Adds what the operation's place brings with it.
fn complete(operation: &mut Operation, method: &Method, path: &str, counted: Counted) {
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        body.content.values_mut().for_each(refuse_null);
    }
    let responses = &mut operation.responses.responses;
    let rule = match counted {
        Counted::By(rule) => Some(rule),
        Counted::PerClient if path.starts_with("/api/") => Some(Rule::Global),
        _ => None,
    };
    if let Some(rule) = rule {
        refuses::document(responses, &[ApiError::rate_limited(rule.name(), 42)]);
        if !method.is_safe() {
            refuses::document(responses, &[cookies::unknown_origin()]);
        }
    }
    refuses::document(responses, &[ApiError::internal()]);
    for (status, response) in responses {
        let quotas = counted == Counted::PerToken && matches!(status.as_str(), "204" | "429");
        if let RefOr::T(response) = response {
            headers::complete(response, rule.is_some() || quotas);
        }
    }
}

/// `request_body = Option<…>` is a body that may be left out; utoipa means one that may also be `null`.
fn refuse_null(content: &mut RefOr<Content>) {
    if let RefOr::T(content) = content
        && let Some(RefOr::T(Schema::OneOf(choices))) = &mut content.schema
        && let Some(at) = choices
            .items
            .iter()
            .position(|choice| matches!(choice, RefOr::Ref(_)))
    {
        content.schema = Some(choices.items.swap_remove(at));
    }
}

fn security_schemes() -> BTreeMap<String, RefOr<SecurityScheme>> {
    let bearer = |format: &str, text: &str| {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        SecurityScheme::Http(scheme.bearer_format(format).description(Some(text)).build())
    };
    let cookie = |name: &str, what: &str| {
        let text = format!(
            "{what}, where `AUTH_COOKIES=true`. The name has no `__Host-` while `PUBLIC_URL` is http. A request that \
             changes something must come with the `Origin` of `FRONTEND_URL`, `PUBLIC_URL` or one of `CORS_ORIGINS`."
        );
        SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(name, &*text)))
    };
    let key = ApiKeyValue::with_description("X-API-Key", "The same API token in a header of its own.");
    let suite = ApiKeyValue::with_description("X-Test-Key", "`TEST_ENDPOINTS_KEY`, from another machine.");
    let schemes = [
        ("access_token", bearer("JWT", "The access token of a session.")),
        (
            "access_cookie",
            cookie("__Host-stile_access", "The access token as a cookie"),
        ),
        (
            "refresh_cookie",
            cookie("__Host-stile_refresh", "The refresh token as a cookie"),
        ),
        ("api_token", bearer("stile_…", "An API token.")),
        ("api_key", SecurityScheme::ApiKey(ApiKey::Header(key))),
        ("test_key", SecurityScheme::ApiKey(ApiKey::Header(suite))),
    ];
    let named = schemes.map(|(name, scheme)| (name.to_owned(), RefOr::T(scheme)));
    BTreeMap::from(named)
}
