//! The limits in force, for clients that want to know before they run into one.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use crate::http::Http;
use crate::http::extract::Answer;
use crate::http::routes::{Routes, Verb};
use crate::rate_limit::{Mode, Rule, Strategy};

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    Routes::default().open(Verb::Get, "/api/v1/rate-limits", list)
}

#[derive(Serialize)]
struct Limits {
    enabled: bool,
    rules: Vec<RuleEntry>,
}

#[derive(Serialize)]
struct RuleEntry {
    name: &'static str,
    limit: String,
    strategy: &'static str,
    mode: &'static str,
    per: &'static str,
}

async fn list(State(http): State<Arc<Http>>) -> Answer<Limits> {
    let settings = http.limiter.settings();
    let entry = |rule: &Rule| {
        let limit = settings.rules.get(*rule);
        RuleEntry {
            name: rule.name(),
            limit: limit.rate(),
            strategy: limit.strategy().name(),
            mode: limit.mode().name(),
            per: rule.per().name(),
        }
    };
    let windows = ["minute", "hour", "day"];
    let token_entry = |((rule, count), window): ((Rule, u32), &str)| RuleEntry {
        name: rule.name(),
        limit: format!("{count}/{window}"),
        strategy: Strategy::Fixed.name(),
        mode: Mode::Enforce.name(),
        per: rule.per().name(),
    };
    let quota = Rule::TOKEN.into_iter().zip(http.api_tokens.default_quota());
    let tokens = quota.zip(windows).map(token_entry);
    let rules = Rule::ALL.iter().map(entry).chain(tokens).collect();
    Answer(
        StatusCode::OK,
        Limits {
            enabled: settings.enabled,
            rules,
        },
    )
}
