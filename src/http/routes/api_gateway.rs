//! What a reverse proxy asks about a request before it lets it through: nginx `auth_request`, Traefik `ForwardAuth`,
//! Caddy `forward_auth`, Envoy `ext_authz` (docs/GATEWAY.md).
//!
//! Any method is decided alike: some proxies ask with GET, others with the method of the request they hold. So these
//! routes stand beside the CORS stage, which would answer OPTIONS, and beside the global limit and the local stage,
//! which count clients: here many clients come through one proxy, and each token has its own limits.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use url::form_urlencoded;
use utoipa_axum::routes;

use crate::api_tokens::{Presented, Refusal, Visitor};
use crate::audit::{Event, EventKind, Outcome};
use crate::http::Http;
use crate::http::cookies::{self, Cookie};
use crate::http::endpoints::Endpoints;
use crate::http::error::ApiError;
use crate::http::extract::{Authenticated, Fields, bearer};
use crate::http::openapi::{Counted, Operations, Refused, Refuses, and_storage};
use crate::http::routes::Endpoint;
use crate::http::stages::envelope::Context;
use crate::http::stages::limits;
use crate::rate_limit::Rule;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const USER_ID: HeaderName = HeaderName::from_static("x-auth-user-id");
const TOKEN_ID: HeaderName = HeaderName::from_static("x-auth-token-id");
const SCOPES: HeaderName = HeaderName::from_static("x-auth-scopes");
const SESSION_ID: HeaderName = HeaderName::from_static("x-auth-session-id");
const ROLE: HeaderName = HeaderName::from_static("x-auth-role");

/// Names under which other APIs take a credential in the query. It would end up in every log on the way
/// (RFC 9700, section 4.3.2), so it is refused by name, whatever it holds.
const IN_QUERY: [&str; 8] = [
    "access_token",
    "api_key",
    "api-key",
    "apikey",
    "x-api-key",
    "authorization",
    "bearer",
    "token",
];

/// Longest wait for a body that may hold a credential.
const BODY_WAIT: Duration = Duration::from_secs(1);

/// What the OpenAPI document says of them: one method stands for all.
#[must_use]
pub fn operations() -> Operations {
    let verify: Endpoint = routes!(verify);
    let session: Endpoint = routes!(session);
    let mut operations = Operations::default();
    operations.add(verify.1, verify.0, Counted::PerToken);
    operations.add(session.1, session.0, Counted::Not);
    operations
}

/// The routes of this file. They are not behind any limit of the door.
pub fn endpoints() -> Endpoints {
    let mut endpoints = Endpoints::default();
    for (path, handlers) in [
        ("/api/v1/api-gateway/verify", any(verify)),
        // Envoy puts the client's path behind the one that it is told to ask at.
        ("/api/v1/api-gateway/verify/", any(verify)),
        ("/api/v1/api-gateway/verify/{*path}", any(verify)),
        ("/api/v1/api-gateway/session", any(session)),
    ] {
        endpoints.add(path, handlers, Vec::new());
    }
    endpoints
}

/// May the holder of this API token pass?
///
/// Any method is answered alike. One credential, in `Authorization` or in `X-API-Key`; one in the query is refused. The
/// limit headers are those of the token's minute, hour and day.
#[utoipa::path(
    get, path = "/api/v1/api-gateway/verify", operation_id = "gateway_verify", tag = "Gateway",
    params(("scope" = Option<Vec<String>>, Query, description = "Scopes that the token needs, all of them.", style = Form, explode)),
    security(("api_token" = []), ("api_key" = [])),
    responses(
        (status = NO_CONTENT, description = "It may; the headers say who it is.", headers(("X-Auth-User-Id"), ("X-Auth-Token-Id"), ("X-Auth-Scopes"))),
        Refused<NoPass>,
    ),
)]
async fn verify(State(http): State<Arc<Http>>, request: Request) -> Response {
    let limiter = http.limiter.clone();
    let (parts, body) = request.into_parts();
    if parts.headers.contains_key(CONTENT_TYPE) && holds_credential(&parts.headers, body).await {
        return ApiError::invalid_request("A credential does not belong in the body.").into_response();
    }
    limiter.within_request(verified(&http, &parts)).await
}

/// Whether the body is a form with one of our tokens in the field that RFC 6750, section 2.2 names. Few proxies pass the
/// body on, and all else in it is the product's business. Some announce a body and send none: nobody waits for that.
async fn holds_credential(headers: &HeaderMap, body: Body) -> bool {
    let read = tokio::time::timeout(BODY_WAIT, Fields::read(headers, body)).await;
    read.is_ok_and(|form| {
        form.is_ok_and(|form| form.all("access_token").any(|value| value.starts_with("stile_")))
    })
}

/// How the gateway refuses.
struct NoPass;

impl Refuses for NoPass {
    fn refusals() -> Vec<ApiError> {
        and_storage([
            ApiError::invalid_request("The request shows more than one credential."),
            ApiError::no_api_token(),
            ApiError::api_token_invalid(),
            ApiError::api_token_expired(),
            ApiError::insufficient_scope(),
            ApiError::rate_limited(Rule::TOKEN[0].name(), 42),
        ])
    }
}

async fn verified(http: &Http, parts: &Parts) -> Response {
    let Some(context) = parts.extensions.get::<Context>() else {
        return ApiError::internal().into_response();
    };
    let (presented, required) = match read(&parts.headers, &parts.uri) {
        Ok(read) => read,
        Err(error) => return error.into_response(),
    };
    let visitor = Visitor {
        client: context.client,
        ip: context.ip,
        exempt: context.exempt,
    };
    match http.api_tokens.verify(presented, &required, &visitor).await {
        Ok(pass) => {
            let mut response = StatusCode::NO_CONTENT.into_response();
            let headers = response.headers_mut();
            // Ids and scopes are plain ASCII by their types; an identity that could not be written would not pass.
            for (name, value) in [
                (USER_ID, pass.user_id.to_string()),
                (TOKEN_ID, pass.token_id.to_string()),
                (SCOPES, pass.scopes),
            ] {
                let Ok(value) = HeaderValue::try_from(value) else {
                    return ApiError::internal().into_response();
                };
                headers.insert(name, value);
            }
            limits::write_headers(headers, &pass.decision);
            response
        }
        Err(Refusal::Limited(decision)) => {
            let rule = decision
                .refusal()
                .map_or("gateway_failures", |refusal| refusal.rule.name());
            let event = Event::new(EventKind::RateLimited, Outcome::Failure).because(rule);
            http.audit
                .record(&event.in_request(context.ip, &context.request_id));
            let mut response = ApiError::rate_limited(rule, decision.retry_after_seconds()).into_response();
            limits::write_headers(response.headers_mut(), &decision);
            response
        }
        Err(Refusal::NotAuthenticated) => ApiError::no_api_token().into_response(),
        Err(Refusal::Invalid) => ApiError::api_token_invalid().into_response(),
        Err(Refusal::Expired) => ApiError::api_token_expired().into_response(),
        Err(Refusal::InsufficientScope) => ApiError::insufficient_scope().into_response(),
        Err(Refusal::Storage(error)) => ApiError::from(error).into_response(),
    }
}

/// The one credential of a request, and the scopes that it needs.
fn read<'a>(headers: &'a HeaderMap, uri: &Uri) -> Result<(Presented<'a>, Vec<String>), ApiError> {
    let mut required = Vec::new();
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        let is_credential = IN_QUERY.iter().any(|known| name.eq_ignore_ascii_case(known));
        if is_credential || value.contains("stile_") || name.contains("stile_") {
            return Err(ApiError::invalid_request(
                "A credential does not belong in the query.",
            ));
        }
        if name == "scope" {
            required.push(value.into_owned());
        }
    }
    let shown = headers.get_all(AUTHORIZATION).iter().count() + headers.get_all(API_KEY).iter().count();
    if shown > 1 {
        return Err(ApiError::invalid_request(
            "The request shows more than one credential.",
        ));
    }
    let presented = if headers.contains_key(AUTHORIZATION) {
        bearer(headers).map_or(Presented::Malformed, Presented::Secret)
    } else {
        match headers.get(API_KEY).map(HeaderValue::to_str) {
            None => Presented::Nothing,
            Some(Err(_)) => Presented::Malformed,
            Some(Ok(text)) => Presented::Secret(text),
        }
    };
    Ok((presented, required))
}

/// May the holder of this session pass?
///
/// Any method is answered alike.
#[utoipa::path(
    get, path = "/api/v1/api-gateway/session", operation_id = "gateway_session", tag = "Gateway",
    security(("access_token" = []), ("access_cookie" = [])),
    responses(
        (status = NO_CONTENT, description = "He may; the headers say who he is.", headers(("X-Auth-User-Id"), ("X-Auth-Session-Id"), ("X-Auth-Role"))),
        Refused<Authenticated>,
    ),
)]
// No `Origin` is asked for, since the method here is the proxy's and not the browser's; cookies are `SameSite=Lax`.
async fn session(State(http): State<Arc<Http>>, headers: HeaderMap) -> Result<Response, ApiError> {
    let headers = &headers;
    let token = if headers.contains_key(AUTHORIZATION) {
        bearer(headers)?.to_owned()
    } else {
        cookies::read(&http, headers, Cookie::Access).ok_or_else(ApiError::not_authenticated)?
    };
    let identity = http.accounts.authenticate(&token).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    for (name, value) in [
        (USER_ID, identity.user.id.to_string()),
        (SESSION_ID, identity.session_id.to_string()),
        (ROLE, identity.user.role.as_str().to_owned()),
    ] {
        let value = HeaderValue::try_from(value).map_err(|_| ApiError::internal())?;
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(query: &str) -> Uri {
        format!("/api/v1/api-gateway/verify?{query}").parse().unwrap()
    }

    /// GW-05.
    #[test]
    fn a_credential_in_the_query_is_seen_under_any_name() {
        let none = HeaderMap::new();
        for query in [
            "access_token=x",
            "Access_Token=x",
            "api_key=",
            "token=x",
            "x=stile_abc",
            "x=%73tile_abc",
            "stile_abc",
            "scope=a&access%5Ftoken=x",
        ] {
            assert!(read(&none, &uri(query)).is_err(), "{query}");
        }
        let (_, required) = read(&none, &uri("scope=read:things&scope=b&x=y")).unwrap_or_else(|_| panic!());
        assert_eq!(required, ["read:things", "b"]);
    }

    #[test]
    fn two_credentials_are_one_too_many() {
        let mut headers = HeaderMap::new();
        headers.append(API_KEY, HeaderValue::from_static("a"));
        assert!(matches!(
            read(&headers, &uri("")),
            Ok((Presented::Secret("a"), _))
        ));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        assert!(read(&headers, &uri("")).is_err());
        headers.remove(API_KEY);
        assert!(matches!(
            read(&headers, &uri("")),
            Ok((Presented::Secret("a"), _))
        ));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        assert!(read(&headers, &uri("")).is_err());
    }
}
