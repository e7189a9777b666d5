//! The span of a request, in the words of OpenTelemetry's conventions
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>).
//!
//! What a client writes into a path or a query can be a secret that he should not have put there, so `url.path` is the
//! template of the route that matched, and absent where none did; there is no query.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use tracing::Span;
use tracing::field::Empty;

use crate::http::metrics;
use crate::http::stages::envelope::Context;
use crate::telemetry::traces::{Began, span};

/// Nothing at all where no collector is named.
pub fn of_request(request: &Request, context: &Context) -> Span {
    let span = span!(
        "request",
        otel.name = Empty,
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = Empty,
        http.route = Empty,
        url.path = Empty,
        url.scheme = "http",
        client.address = Empty,
        http.response.status_code = Empty,
        error.r#type = Empty,
        stile.request_id = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    if let Some(began) = trace_of(request.headers()).filter(|_| context.from_proxy) {
        began.goes_on_in(&span);
    }
    let method = match metrics::method(request.method()) {
        "other" => "_OTHER",
        known => known,
    };
    span.record("http.request.method", method);
    if let Some(route) = context.route.as_ref().map(|route| route.template()) {
        span.record("otel.name", format!("{method} {route}"));
        span.record("http.route", route);
        span.record("url.path", route);
    } else {
        span.record("otel.name", method);
    }
    span.record("client.address", tracing::field::display(context.ip));
    span.record("stile.request_id", &*context.request_id);
    span
}

/// How it ended.
pub fn answered(span: &Span, status: StatusCode) {
    if span.is_disabled() {
        return;
    }
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", status.as_str());
    }
}

fn trace_of(headers: &HeaderMap) -> Option<Began<'_>> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    Some(Began {
        traceparent: text("traceparent")?,
        tracestate: text("tracestate"),
    })
}
