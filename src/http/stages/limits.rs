//! The limits a client meets before anything of the request is read: the global one and the
//! endpoint's, decided together, and the headers that tell of them (contract, section 4).

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};

use super::{Rest, Stage, suite};
use crate::audit::{Event, EventKind, Outcome};
use crate::clock::Timestamp;
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::pages;
use crate::http::stages::envelope::{Context, Whence};
use crate::rate_limit::{Charge, Decision, Rule, RuleReport, Subject};

/// `X-RateLimit-Limit`: the count of the tightest rule.
pub const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
/// `X-RateLimit-Remaining`.
pub const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
/// `X-RateLimit-Reset`: Unix seconds.
pub const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
/// `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10).
pub const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// `RateLimit` (the same draft).
pub const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// As many as an answer has in all, so that its map grows once.
pub const MOST_HEADERS: usize = 16;

/// Everything under `/api/`, known path or not, but the test endpoints for those who may use them; and the pages, which do
/// the same work. An allow-listed client is never limited.
#[must_use]
pub fn covered_by_global(request: &Request) -> bool {
    let context = request.extensions().get::<Context>();
    context.is_some_and(|context| {
        let is_free = context.exempt || context.whence == Whence::Suite && suite::is_endpoint(request.uri());
        !is_free && (context.is_page || request.uri().path().starts_with("/api/"))
    })
}

/// The stage.
pub struct Limits(pub Arc<Http>);

impl Stage for Limits {
    async fn answer(&self, request: &mut Request, rest: impl Rest) -> Response {
        // A request waits for Redis at most one command timeout, over all the calls it makes.
        let answered = pin!(limited(&self.0, request, rest));
        self.0.limiter.within_request(answered).await
    }
}

async fn limited(http: &Arc<Http>, request: &mut Request, rest: impl Rest) -> Response {
    if !http.limiter.settings().enabled || !covered_by_global(request) {
        return rest.answer(request).await;
    }
    let Some(context) = request.extensions().get::<Context>() else {
        return ApiError::internal().into_response();
    };
    let client = context.client;
    let route = context.route.as_ref();
    let endpoint = route.and_then(|route| route.rule(request.method()));
    let charge = |rule| Charge {
        rule,
        subject: Subject::Client(client),
    };
    let decision = match endpoint {
        Some(rule) => http.limiter.take(&[charge(Rule::Global), charge(rule)]).await,
        None => http.limiter.take(&[charge(Rule::Global)]).await,
    };
    let mut response = match decision.refusal() {
        Some(refusal) => refuse(http, request, &decision, refusal.rule).await,
        None => rest.answer(request).await,
    };
    write_headers(response.headers_mut(), &decision);
    response
}

async fn refuse(http: &Arc<Http>, request: &mut Request, decision: &Decision, rule: Rule) -> Response {
    let rule = rule.name();
    let refused = ApiError::rate_limited(rule, decision.retry_after_seconds());
    let Some(context) = request.extensions().get::<Context>() else {
        return refused.into_response();
    };
    let event = Event::new(EventKind::RateLimited, Outcome::Failure).because(rule);
    http.audit
        .record(&event.in_request(context.ip, &context.request_id));
    if context.is_page {
        Box::pin(pages::refused(http, std::mem::take(request), refused)).await
    } else {
        refused.into_response()
    }
}

/// What a decision tells the client.
pub fn write_headers(headers: &mut HeaderMap, decision: &Decision) {
    headers.reserve(MOST_HEADERS.saturating_sub(headers.len()));
    if let Some(report) = decision.refusal().or_else(|| decision.tightest()) {
        headers.insert(LIMIT, number(report.limit));
        headers.insert(REMAINING, number(report.remaining));
        headers.insert(RESET, number(reset_seconds(report)));
    }
    if decision.reports.is_empty() {
        return;
    }
    let quota = |report: &RuleReport| (report.limit, report.window.as_secs());
    let left = |report: &RuleReport| (report.remaining, seconds_left(report));
    let mut text = String::with_capacity(48 * decision.reports.len());
    write_list(&mut text, &decision.reports, ["q", "w"], quota);
    let policy = HeaderValue::from_str(&text);
    text.clear();
    write_list(&mut text, &decision.reports, ["r", "t"], left);
    let state = HeaderValue::from_str(&text);
    if let (Ok(policy), Ok(state)) = (policy, state) {
        headers.insert(POLICY, policy);
        headers.insert(STATE, state);
    }
}

/// A copy of its digits. `HeaderValue::from(u64)` makes a buffer that could be shared, with a count that costs more than
/// they do.
#[must_use]
pub fn number(number: impl itoa::Integer) -> HeaderValue {
    HeaderValue::from_str(itoa::Buffer::new().format(number)).unwrap_or(HeaderValue::from_static("0"))
}

/// A list of items with two parameters each (RFC 9651, section 3.1): `"global";q=100;w=60, "login";q=5;w=60`.
fn write_list(
    list: &mut String,
    reports: &[RuleReport],
    parameters: [&str; 2],
    of: impl Fn(&RuleReport) -> (u64, u64),
) {
    let mut digits = itoa::Buffer::new();
    for (index, report) in reports.iter().enumerate() {
        list.push_str(if index == 0 { "\"" } else { ", \"" });
        list.push_str(&policy_name(reports, index, report));
        list.push('"');
        let (first, second) = of(report);
        for (parameter, number) in parameters.into_iter().zip([first, second]) {
            list.push(';');
            list.push_str(parameter);
            list.push('=');
            list.push_str(digits.format(number));
        }
    }
}

/// A rule's further windows are policies of their own, told apart by their length: `global-3600`.
fn policy_name(reports: &[RuleReport], index: usize, report: &RuleReport) -> Cow<'static, str> {
    let first_of_rule = !reports
        .iter()
        .take(index)
        .any(|earlier| earlier.rule == report.rule);
    if first_of_rule {
        report.rule.name().into()
    } else {
        format!("{}-{}", report.rule.name(), report.window.as_secs()).into()
    }
}

/// Unix seconds, rounded up: a client that comes at that second does not come too early.
fn reset_seconds(report: &RuleReport) -> i64 {
    report.resets_at.as_millis().saturating_add(999).div_euclid(1000)
}

/// Rounded up, for the same reason.
fn seconds_left(report: &RuleReport) -> u64 {
    report
        .reset_after
        .as_millis()
        .div_ceil(1000)
        .try_into()
        .unwrap_or(u64::MAX)
}

/// The local stage's refusal: 429 `burst`, with the same headers as any other.
#[must_use]
pub fn refuse_burst(burst: u32, retry_after: u64, now: Timestamp) -> Response {
    let mut response = ApiError::rate_limited("burst", retry_after).into_response();
    let headers = response.headers_mut();
    headers.insert(LIMIT, number(burst));
    headers.insert(REMAINING, number(0));
    headers.insert(
        RESET,
        number(now.plus(Duration::from_secs(retry_after)).as_seconds()),
    );
    response
}
