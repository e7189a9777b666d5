//! The headers of answers, described once and referred to.

use std::collections::BTreeMap;

use serde_json::json;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::Header;
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{HeaderBuilder, Ref, RefOr};

/// The headers that tell where a client or a token stands.
const LIMITS: [&str; 5] = [
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "RateLimit-Policy",
    "RateLimit",
];

/// `components/headers`.
pub fn all() -> BTreeMap<String, RefOr<Header>> {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let id = || text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)));
    let count = || ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
    let headers = [
        (
            "X-Request-Id",
            text().max_length(Some(64)),
            "Names the request in every log line about it. A trusted proxy's own id goes on.",
            json!("01a20198-d819-77d0-bbba-1eb672b949e3"),
        ),
        (
            "X-RateLimit-Limit",
            count(),
            "Requests in a window of the rule with the least remaining; on a refusal, of the rule that refused.",
            json!(5),
        ),
        (
            "X-RateLimit-Remaining",
            count(),
            "What is left of them.",
            json!(4),
        ),
        (
            "X-RateLimit-Reset",
            count(),
            "When that window ends, in Unix seconds.",
            json!(1_795_323_184),
        ),
        (
            "RateLimit-Policy",
            text(),
            "Every rule that was asked (draft-ietf-httpapi-ratelimit-headers-10).",
            json!(r#""global";q=300;w=60, "login";q=5;w=60"#),
        ),
        (
            "RateLimit",
            text(),
            "How each of them stands.",
            json!(r#""global";r=298;t=60, "login";r=4;t=60"#),
        ),
        (
            "Retry-After",
            count().minimum(Some(1)),
            "Whole seconds to wait before the next try.",
            json!(42),
        ),
        (
            "WWW-Authenticate",
            text(),
            "How to authenticate (RFC 6750).",
            json!(r#"Bearer error="invalid_token""#),
        ),
        (
            "X-Auth-User-Id",
            id(),
            "Whose request it is.",
            json!("01a20198-d7ff-76d0-ae30-1b8ed89ad059"),
        ),
        (
            "X-Auth-Token-Id",
            id(),
            "The API token.",
            json!("01a20198-e0aa-7d40-8f64-0b8a5b1f3c11"),
        ),
        (
            "X-Auth-Scopes",
            text(),
            "The token's scopes, with spaces between.",
            json!("read:things write:things"),
        ),
        (
            "X-Auth-Session-Id",
            id(),
            "The session.",
            json!("01a20198-d99c-7a02-a8a5-54b1b1f0d9aa"),
        ),
        (
            "X-Auth-Role",
            text().enum_values(Some(["user", "admin"])),
            "The user's role.",
            json!("user"),
        ),
    ];
    let made = headers.map(|(name, schema, text, example)| {
        let header = HeaderBuilder::new()
            .schema(Some(schema.build()))
            .description(Some(text))
            .example(Some(example))
            .extensions(Some(required(name)))
            .build();
        (name.to_owned(), RefOr::T(header))
    });
    BTreeMap::from(made)
}

/// OpenAPI's `required`, for which the builder has no method. Limits can be off, and not each 401 has a challenge.
fn required(name: &str) -> Extensions {
    let always = !LIMITS.contains(&name) && name != "WWW-Authenticate";
    [("required", always)].into_iter().collect()
}

/// Adds to an answer what every one carries, and where limits are counted, how they stand. A handler's own headers,
/// which `#[utoipa::path(… headers(("X-Auth-Role")))]` only names, get their descriptions.
pub fn complete(response: &mut Response, limited: bool) {
    let own: Vec<String> = response.headers.keys().cloned().collect();
    add(response, own.iter().map(String::as_str));
    add(response, ["X-Request-Id"]);
    if limited {
        add(response, LIMITS);
    }
}

/// Adds headers of [`all`] to an answer.
pub fn add<'a>(response: &mut Response, names: impl IntoIterator<Item = &'a str>) {
    for name in names {
        let described = Ref::new(format!("#/components/headers/{name}"));
        response.headers.insert(name.to_owned(), RefOr::Ref(described));
    }
}
