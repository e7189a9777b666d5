//! What stands around all stages: names the request and its client, turns panics and bare errors into
//! problems, writes the headers that every answer carries (contract, sections 3.6 and 3.7).

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL,
    CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ORIGIN, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tower::{Layer, ServiceExt};
use tracing::Instrument as _;
use uuid::{NoContext, Uuid};

use super::{Rest, limits, spans};
use crate::clock::Timestamp;
use crate::http::Http;
use crate::http::client_ip::{self, ClientAddress};
use crate::http::endpoints::Route;
use crate::http::error::{ApiError, Problem, ProblemDocument};
use crate::http::metrics;
use crate::http::pages;
use crate::rate_limit::Client;

/// `X-Request-Id`.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the front knows of a request before it has looked at its headers.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// The route of its path; `None` where nothing is.
    pub route: Option<Arc<Route>>,
}

/// What is known of a request before any of it is acted upon.
#[derive(Clone, Debug)]
pub struct Context {
    /// Who is counted.
    pub client: Client,
    /// The client's address as logs and sessions show it.
    pub ip: IpAddr,
    /// `RATE_LIMIT_ALLOWLIST` holds the address, and the client did not write it himself.
    pub exempt: bool,
    /// For a page of people, so that refusals are pages too.
    pub is_page: bool,
    /// The peer is in `TRUSTED_PROXIES`: what it says of the request's id and trace is believed.
    pub from_proxy: bool,
    /// The value of `X-Request-Id`.
    pub request_id: Arc<str>,
    /// Whether it may ask for more than others.
    pub whence: Whence,
    /// The route of its path; `None` where nothing is.
    pub route: Option<Arc<Route>>,
}

/// Where a request comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whence {
    /// Another machine, or nobody knows.
    Elsewhere,
    /// This machine, all its way.
    Here,
    /// An E2E suite that is let in (`suite.rs`).
    Suite,
}

/// What stands around all stages.
pub struct Envelope {
    http: Arc<Http>,
    cors: bool,
}

impl Envelope {
    /// For what browsers call.
    #[must_use]
    pub fn around(http: &Arc<Http>) -> Self {
        let http = Arc::clone(http);
        Self { http, cors: true }
    }

    /// For what proxies call: OPTIONS is a method like any other there.
    #[must_use]
    pub fn without_cors(http: &Arc<Http>) -> Self {
        let http = Arc::clone(http);
        Self { http, cors: false }
    }
}

impl Envelope {
    /// Answers the request by the rest, and says of the answer what is said of each.
    pub async fn answer(&self, request: &mut Request, arrived: Arrived, rest: impl Rest) -> Response {
        let http = &self.http;
        let began = http.clock.elapsed();
        let context = context_of(http, arrived, request);
        let request_id = Arc::clone(&context.request_id);
        let is_page = context.is_page;
        let route = context.route.clone();
        let method = request.method().clone();
        let has_origin = self.cors && request.headers().contains_key(ORIGIN);
        let span = spans::of_request(request, &context);
        request.extensions_mut().insert(context);

        let answered = pin!(async {
            // Without `Origin` the request is of no other site, and CORS has nothing to say.
            if has_origin {
                Box::pin(answer_with_cors(http, request, rest)).await
            } else {
                rest.answer(request).await
            }
        });
        let response = AssertUnwindSafe(answered.instrument(span.clone()))
            .catch_unwind()
            .await;
        let mut response = response.unwrap_or_else(|_| {
            // The panic hook has logged the place; no more of it may reach the client.
            tracing::error!(%request_id, "a request handler panicked");
            ApiError::internal().into_response()
        });
        if response.status().is_client_error() || response.status().is_server_error() {
            response = match &http.pages {
                Some(pages) if is_page => pages::page_of(response, pages, &request_id),
                _ => write_problem(response, &http.settings.public_url, &request_id),
            };
        }
        if has_origin {
            drop_idle_cors_headers(response.headers_mut());
        }
        write_headers(response.headers_mut(), http, &request_id);
        // The route's pattern and never the URL itself, which may carry what its sender should not have put there.
        let route = route
            .as_ref()
            .map_or(metrics::UNMATCHED, |route| route.template());
        let took = http.clock.elapsed().saturating_sub(began);
        http.requests.answered(&method, route, response.status(), took);
        spans::answered(&span, response.status());
        tracing::debug!(%method, route, status = response.status().as_u16(), %request_id, "answered");
        response
    }
}

async fn answer_with_cors(http: &Http, request: &mut Request, rest: impl Rest) -> Response {
    let mut rest = Some(rest);
    let request = std::mem::take(request);
    let service = tower::service_fn(|mut request| {
        let rest = rest.take();
        async move {
            Ok::<_, Infallible>(match rest {
                Some(rest) => rest.answer(&mut request).await,
                None => ApiError::internal().into_response(),
            })
        }
    });
    let Ok(response) = http.cors.layer(service).oneshot(request).await;
    response
}

fn context_of(http: &Http, arrived: Arrived, request: &Request) -> Context {
    let peer = arrived.peer.ip().to_canonical();
    let trusted = &http.settings.trusted_proxies;
    http.unbelieved.notice(peer, request.headers(), trusted);
    let ClientAddress { ip, proven, is_local } = client_ip::resolve(peer, request.headers(), trusted);
    let limits = http.limiter.settings();
    let from_proxy = client_ip::holds(trusted, peer);
    Context {
        client: Client::of(ip, limits.ipv6_prefix),
        ip,
        is_page: http.pages.is_some() && pages::is_page(request.uri().path()),
        exempt: proven && limits.allowlist.iter().any(|net| net.contains(&ip)),
        from_proxy,
        request_id: request_id(request.headers(), from_proxy, http.clock.now()),
        whence: if is_local { Whence::Here } else { Whence::Elsewhere },
        route: arrived.route,
    }
}

/// A trusted proxy's own id goes on, so that one id runs through all logs; anybody else gets a new one.
fn request_id(headers: &HeaderMap, from_proxy: bool, now: Timestamp) -> Arc<str> {
    let given = headers
        .get(REQUEST_ID)
        .filter(|_| from_proxy)
        .and_then(|value| value.to_str().ok());
    match given {
        Some(id) if is_plain(id) => Arc::from(id),
        _ => {
            let millis = u64::try_from(now.as_millis()).unwrap_or(0);
            // Nothing but chance tells those of a millisecond apart: to keep them in order, all threads would share a lock.
            let nanos = u32::try_from(millis % 1000).unwrap_or(0) * 1_000_000;
            let id = Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, millis / 1000, nanos));
            Arc::from(&*id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
        }
    }
}

fn is_plain(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=64).contains(&id.len()) && id.bytes().all(plain)
}

/// Room for most of them, in bytes.
const USUAL_PROBLEM: usize = 512;

/// Writes the body of an error, also of one that axum or a library made without us.
fn write_problem(response: Response, public_url: &str, request_id: &str) -> Response {
    let (mut parts, body) = response.into_parts();
    let problem = match parts.extensions.remove::<Problem>() {
        Some(problem) => problem,
        // An endpoint's own answer, such as health's 503.
        None if is_json(&parts.headers) => return Response::from_parts(parts, body),
        None => ApiError::for_status(parts.status).problem().clone(),
    };
    let document = ProblemDocument::new(&problem, parts.status, public_url, request_id);
    let mut body = Vec::with_capacity(USUAL_PROBLEM);
    // What it consists of can all be written as JSON, and a Vec takes all of it.
    let _ = serde_json::to_writer(&mut body, &document);
    parts
        .headers
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(body))
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
}

/// The CORS layer writes some of its headers for every origin; without an allowed one they say nothing.
fn drop_idle_cors_headers(headers: &mut HeaderMap) {
    if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        return;
    }
    for name in [
        ACCESS_CONTROL_ALLOW_CREDENTIALS,
        ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_MAX_AGE,
    ] {
        headers.remove(name);
    }
}

fn write_headers(headers: &mut HeaderMap, http: &Http, request_id: &str) {
    const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.reserve(limits::MOST_HEADERS.saturating_sub(headers.len()));
    // Also on answers to requests without `Origin`: a cache must not give them to another site's.
    headers.entry(VARY).or_insert(HeaderValue::from_static("origin"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(POLICY);
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    if http.settings.life.is_production() {
        headers.insert(
            STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=63072000"),
        );
    }
    if http.drain.has_begun() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Where no route answers: 404, but 405 for methods that nothing here ever answers.
pub async fn fallback(method: Method) -> Response {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    if known.contains(&method) {
        return ApiError::not_found().into_response();
    }
    let mut response = ApiError::method_not_allowed().into_response();
    let allow = HeaderValue::from_static("GET, HEAD, POST, PATCH, DELETE, OPTIONS");
    response.headers_mut().insert(axum::http::header::ALLOW, allow);
    debug_assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);

    #[test]
    fn only_a_trusted_proxy_names_the_request_and_only_plainly() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("edge-42"));
        assert_eq!(&*request_id(&headers, true, NOW), "edge-42");
        assert_ne!(&*request_id(&headers, false, NOW), "edge-42");
        headers.insert(REQUEST_ID, HeaderValue::from_static("a b\"c"));
        assert_ne!(&*request_id(&headers, true, NOW), "a b\"c");
    }
}
