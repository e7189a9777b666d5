//! Who is limited at the moment, by which rule and for how long, and setting one of them free.

use std::cmp::Reverse;
use std::path::Path;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;

use super::Operator;
use crate::audit::{Event, EventKind, Outcome};
use crate::clock::Timestamp;
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::Fields;
use crate::http::pages::form::Form;
use crate::http::pages::reply::{self, Faults, Frame, span};
use crate::http::pages::routing::Routes;
use crate::rate_limit::operator::{Counters, OperatorError};
use crate::rate_limit::store::Reading;
use crate::rate_limit::{Per, Subject, Window};

/// Counters on the page: the fullest, which are those that are looked for.
const MOST: usize = 100;

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::default()
        .page("/admin/limits", show)
        .form("/admin/limits/clear", clear)
}

/// One counter.
struct Line {
    rule: &'static str,
    subject: String,
    /// What the form sends to name it; `None` for an API token, whose quota its owner has agreed to.
    tag: Option<String>,
    count: u32,
    limit: u32,
    resets_in: String,
}

impl Line {
    fn is_full(&self) -> bool {
        self.count >= self.limit
    }
}

#[derive(Template)]
#[template(path = "limits.html")]
struct LimitsPage<'a> {
    frame: Frame<'a>,
    limited: Vec<Line>,
    counted: Vec<Line>,
    is_off: bool,
    is_lost: bool,
    done: &'static str,
}

/// The counters where they are: in Redis, or else in this process. `None`: Redis does not answer.
async fn readings(http: &Http) -> Option<Vec<Reading>> {
    if http.limiter.settings().redis.is_none() {
        return Some(http.limiter.counters(None).await);
    }
    match redis(http).await {
        Ok(counters) => counters.all().await.ok(),
        Err(_) => None,
    }
}

async fn redis(http: &Http) -> Result<Counters, OperatorError> {
    // With Redis configured nobody listens at a socket, and none is asked for.
    Counters::connect(http.limiter.settings(), Path::new("")).await
}

fn line(http: &Http, reading: &Reading, now: Timestamp) -> Option<Line> {
    let rule = reading.key.rule();
    let subject = reading.key.subject().to_string();
    let tag = match rule.per() {
        Per::Client => Some(format!("ip:{subject}")),
        Per::Account => Some(format!("account:{subject}")),
        Per::Token => None,
    };
    let limit = reading.limit(&http.limiter.settings().rules).map(Window::count)?;
    let left = Timestamp::from_millis(reading.resets_at).since(now);
    Some(Line {
        rule: rule.name(),
        subject,
        tag: tag.filter(|tag| Subject::from_tag(tag).is_some()),
        count: reading.count,
        limit,
        resets_in: span(left.as_secs().max(1)),
    })
}

async fn show(State(http): State<Arc<Http>>, operator: Operator, uri: Uri) -> Result<Response, ApiError> {
    let is_off = !http.limiter.settings().enabled;
    let readings = if is_off {
        Some(Vec::new())
    } else {
        readings(&http).await
    };
    let is_lost = readings.is_none();
    let now = http.clock.now();
    let readings = readings.unwrap_or_default();
    let mut lines: Vec<Line> = readings
        .iter()
        .filter_map(|reading| line(&http, reading, now))
        .collect();
    lines.sort_by_key(|line| Reverse(u64::from(line.count) * 1000 / u64::from(line.limit.max(1))));
    lines.truncate(MOST);
    let (limited, counted) = lines.into_iter().partition(Line::is_full);
    let page = LimitsPage {
        frame: Frame::of(&http, &operator.visitor, "Limits")?,
        limited,
        counted,
        is_off,
        is_lost,
        done: match Fields::of_query(&uri).get("done") {
            "cleared" => "Cleared: all counters of this one begin anew, in every process within two seconds.",
            _ => "",
        },
    };
    reply::answer(&http, &page, &Faults::default())
}

async fn clear(
    State(http): State<Arc<Http>>,
    operator: Operator,
    Form { fields, visitor }: Form,
) -> Result<Response, ApiError> {
    let subject = Subject::from_tag(fields.get("subject")).filter(|subject| subject.as_token().is_none());
    let subject = subject.ok_or_else(ApiError::not_found)?;
    let event = |outcome| {
        let caller = &operator.caller;
        let event = Event::new(EventKind::AdminLimitsCleared, outcome);
        let event = event.in_request(caller.ip, &caller.request_id);
        let id = visitor.identity.as_ref().map(|identity| identity.user.id);
        Event { user_id: id, ..event }
    };
    let subjects = [subject];
    if http.limiter.settings().redis.is_some() {
        let cleared = async { redis(&http).await?.reset(&subjects).await };
        if let Err(error) = cleared.await {
            tracing::warn!(%error, "counters were not cleared");
            http.audit.record(&event(Outcome::Failure).because("redis"));
            return Err(ApiError::unavailable());
        }
    } else {
        http.limiter.reset(&subjects);
    }
    http.audit.record(&event(Outcome::Success));
    Ok(reply::see_other(&http, "/admin/limits?done=cleared"))
}
