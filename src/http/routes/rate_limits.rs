//! The limits in force, for clients that want to know before they run into one.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::http::Http;
use crate::http::extract::Answer;
use crate::http::routes::Routes;
use crate::rate_limit::{Mode, Rule, Strategy};

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    Routes::default().open(routes!(list))
}

#[derive(Serialize, ToSchema)]
#[schema(as = RateLimits)]
struct Limits {
    /// `ENABLE_RATE_LIMITING`.
    enabled: bool,
    rules: Vec<RuleEntry>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RateLimitRule)]
struct RuleEntry {
    /// As a 429 names it in `limit`.
    #[schema(example = "login")]
    name: &'static str,
    /// Counts and periods; `off` or `deny`.
    #[schema(example = "5/minute")]
    limit: String,
    /// `fixed` windows, or `exact`: never more in any span.
    #[schema(pattern = "^(fixed|exact)$", example = "fixed")]
    strategy: &'static str,
    /// `shadow` counts and never refuses.
    #[schema(pattern = "^(enforce|shadow)$", example = "enforce")]
    mode: &'static str,
    /// Who is counted.
    #[schema(pattern = "^(client|account|token)$", example = "client")]
    per: &'static str,
}

/// The limits in force.
#[utoipa::path(
    get, path = "/api/v1/rate-limits", operation_id = "list_rate_limits", tag = "Service",
    responses(
        (status = OK, description = "Every rule.", body = Limits),
    ),
)]
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
