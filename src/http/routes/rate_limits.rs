//! The limits in force, for clients that want to know before they run into one.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use crate::http::Http;
use crate::http::extract::Answer;
use crate::http::routes::{Routes, Verb};
use crate::rate_limit::RuleSummary;

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    Routes::default().open(Verb::Get, "/api/v1/rate-limits", list)
}

#[derive(Serialize)]
struct Limits {
    enabled: bool,
    rules: Vec<RuleSummary>,
}

async fn list(State(http): State<Arc<Http>>) -> Answer<Limits> {
    let settings = http.limiter.settings();
    Answer(StatusCode::OK, Limits { enabled: settings.enabled, rules: settings.rules.summaries() })
}
