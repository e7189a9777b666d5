//! How the limiter stands, and what it decides while one looks.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::Operator;
use crate::clock::Timestamp;
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::Answer;
use crate::http::pages::reply::{self, Faults, Frame};
use crate::http::pages::routing::Routes;
use crate::rate_limit::{Rule, StoreState, Verdict};

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::default()
        .page("/admin/limiter", show)
        .page("/admin/limiter/state", state)
}

/// What the script of the page asks for again and again: counters of this process since it started.
#[derive(Serialize)]
struct Standing {
    /// Tells the processes apart that answer in turn behind one address.
    process: String,
    since: Timestamp,
    store: &'static str,
    counters_in_memory: usize,
    outages: u64,
    failed_calls: u64,
    rules: Vec<Decided>,
}

/// One rule.
#[derive(Serialize)]
struct Decided {
    name: &'static str,
    limit: String,
    allowed: u64,
    refused: u64,
}

fn now(http: &Http) -> Standing {
    let totals = http.limiter.totals();
    let count = |rule: Rule, verdict: Verdict| {
        let mut own = totals.decisions.iter();
        own.find(|(other, of, _)| (*other, *of) == (rule, verdict))
            .map_or(0, |(_, _, count)| *count)
    };
    let settings = http.limiter.settings();
    let limits = Rule::ALL
        .iter()
        .map(|rule| (*rule, settings.rules.get(*rule).to_string()));
    let tokens = Rule::TOKEN.into_iter().map(|rule| (rule, "its quota".to_owned()));
    let pages = http.pages.as_ref();
    Standing {
        process: pages.map(|pages| pages.process.clone()).unwrap_or_default(),
        since: pages.map_or(http.clock.now(), |pages| pages.since),
        store: http.limiter.state().name(),
        counters_in_memory: http.limiter.counters_in_memory(),
        outages: totals.outages,
        failed_calls: totals.failed_calls,
        rules: limits
            .chain(tokens)
            .map(|(rule, limit)| Decided {
                name: rule.name(),
                limit,
                allowed: count(rule, Verdict::Admitted),
                refused: count(rule, Verdict::Refused),
            })
            .collect(),
    }
}

#[derive(Template)]
#[template(path = "limiter.html")]
struct LimiterPage<'a> {
    frame: Frame<'a>,
    state: Standing,
    store: &'static str,
}

async fn show(State(http): State<Arc<Http>>, operator: Operator) -> Result<Response, ApiError> {
    let page = LimiterPage {
        frame: Frame::of(&http, &operator.visitor, "Limiter")?,
        state: now(&http),
        store: match http.limiter.state() {
            StoreState::Redis => "Redis counts, for all processes together.",
            StoreState::Memory => "This process counts in memory, by itself.",
            StoreState::Degraded => {
                "Redis is lost. The limits go on in memory, and its share of each is this process's."
            }
            StoreState::Off => "Limiting is switched off.",
        },
    };
    reply::answer(&http, &page, &Faults::default())
}

async fn state(State(http): State<Arc<Http>>, _: Operator) -> Answer<Standing> {
    Answer(StatusCode::OK, now(&http))
}
