//! For E2E suites: read the mails, start from nothing, move the clock (contract, section 6). These routes exist only with
//! `ENABLE_TEST_ENDPOINTS`; who is let in is `stages/suite.rs`.
//!
//! Reset and clock act on the whole server: between runs only.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::routing::{MethodRouter, any_service, get, post};
use serde::Deserialize;
use tower::Layer as _;
use url::form_urlencoded;
use utoipa::ToSchema;
use utoipa_axum::routes;
use validator::Validate;

use crate::accounts::Email;
use crate::field::FieldError;
use crate::http::Http;
use crate::http::endpoints::Endpoints;
use crate::http::error::ApiError;
use crate::http::extract::{Answer, Body};
use crate::http::openapi::{Counted, Operations, Refused, Refuses, refused_field};
use crate::http::routes::Endpoint;
use crate::http::stages::Around;
use crate::http::stages::suite::Door;
use crate::mail::SentMail;
use crate::storage::StorageError;

/// The longest that a reset waits for the requests that are under way.
const QUIET_PATIENCE: Duration = Duration::from_secs(5);

/// The farthest that the clock goes, in seconds since the start: a hundred years.
const FARTHEST: u64 = 100 * 366 * 24 * 60 * 60;

/// The routes of this file.
pub fn endpoints(http: &Arc<Http>) -> Endpoints {
    // The door stands around all methods: axum's own answer to a wrong one would tell that there is something.
    let guarded = |route: MethodRouter<Arc<Http>>| {
        any_service(Around::new(Door).layer(route.with_state(Arc::clone(http))))
    };
    let mut endpoints = Endpoints::default();
    for (path, handlers) in [
        ("/api/v1/test/outbox", get(outbox)),
        ("/api/v1/test/reset", post(reset)),
        ("/api/v1/test/clock", post(clock)),
    ] {
        endpoints.add(path, guarded(handlers), Vec::new());
    }
    endpoints
}

/// What the OpenAPI document says of them.
#[must_use]
pub fn operations() -> Operations {
    let endpoints: [Endpoint; 3] = [routes!(outbox), routes!(reset), routes!(clock)];
    let mut operations = Operations::default();
    for (schemas, paths, _) in endpoints {
        // To others than a suite they are as anything else that is not there: counted.
        operations.add(paths, schemas, Counted::PerClient);
    }
    operations
}

impl Refuses for Door {
    fn refusals() -> Vec<ApiError> {
        vec![ApiError::not_found()]
    }
}

/// What is no address.
struct NoAddress;

impl Refuses for NoAddress {
    fn refusals() -> Vec<ApiError> {
        vec![refused_field(
            "/to",
            "invalid_email",
            "This is not a valid e-mail address.",
        )]
    }
}

/// Requests that do not end.
struct Unquiet;

impl Refuses for Unquiet {
    fn refusals() -> Vec<ApiError> {
        vec![ApiError::overloaded()]
    }
}

/// The mails to an address.
///
/// The newest first. Waits for mail on its way.
#[utoipa::path(
    get, path = "/api/v1/test/outbox", operation_id = "test_outbox", tag = "Testing",
    params(("to" = String, Query, description = "The address.", example = "ada@example.com")),
    security((), ("test_key" = [])),
    responses(
        (status = OK, description = "Everything sent there since the last reset.", body = Vec<SentMail>),
        Refused<(Door, NoAddress, StorageError)>,
    ),
)]
async fn outbox(State(http): State<Arc<Http>>, uri: Uri) -> Result<Answer<Vec<SentMail>>, ApiError> {
    let refused = |error: FieldError| ApiError::validation_failed(vec![error]);
    // A plus is a plus: addresses have no spaces, and `?to=ada+1@example.com` is easily written.
    let query = uri.query().unwrap_or_default().replace('+', "%2B");
    let to = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "to");
    let (_, to) = to.ok_or_else(|| refused(FieldError::new("/to", "required", "This field is required.")))?;
    let to = Email::parse(&to).map_err(|error| refused(error.at("/to")))?;
    let mails = http.accounts.mails_to(&to).await?;
    Ok(Answer(StatusCode::OK, mails))
}

/// Empty accounts, mails and counters.
///
/// Of the whole server: between runs only.
#[utoipa::path(
    post, path = "/api/v1/test/reset", operation_id = "test_reset", tag = "Testing",
    security((), ("test_key" = [])),
    responses(
        (status = NO_CONTENT, description = "Nobody has an account."),
        Refused<(Door, Unquiet, StorageError)>,
    ),
)]
async fn reset(State(http): State<Arc<Http>>) -> Result<StatusCode, ApiError> {
    // A task of its own: a client that goes away leaves nothing half done.
    tokio::spawn(async move { reset_all(&http).await })
        .await
        .map_err(|_| ApiError::internal())?
}

async fn reset_all(http: &Http) -> Result<StatusCode, ApiError> {
    let Ok(_quiet) = tokio::time::timeout(QUIET_PATIENCE, http.under_way.write()).await else {
        tracing::warn!("not reset: requests were still under way after 5 seconds");
        return Err(ApiError::overloaded());
    };
    http.accounts.delete_everybody().await?;
    http.api_tokens.forget_everything();
    if let Some(stage) = &http.local_stage {
        stage.refill();
    }
    http.limiter.empty().await.map_err(|error| {
        tracing::warn!(%error, "accounts and mails are reset, the counters in Redis are not");
        ApiError::unavailable()
    })?;
    tracing::warn!("a test suite has emptied accounts, mails and counters");
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema, Validate)]
#[schema(as = ClockAdvance)]
struct ClockBody {
    /// At most a hundred years in all.
    #[schema(minimum = 0, example = 901)]
    advance_seconds: i64,
}

/// Move the clock forward.
///
/// That of the whole server: between runs only. Windows in Redis keep the time of Redis.
#[utoipa::path(
    post, path = "/api/v1/test/clock", operation_id = "test_clock", tag = "Testing",
    request_body = ClockBody,
    security((), ("test_key" = [])),
    responses(
        (status = NO_CONTENT, description = "It is later now."),
        Refused<(Door, Body<ClockBody>, StorageError)>,
    ),
)]
async fn clock(State(http): State<Arc<Http>>, Body(body): Body<ClockBody>) -> Result<StatusCode, ApiError> {
    let gone = http.clock.advanced().as_secs();
    let seconds = u64::try_from(body.advance_seconds).ok();
    let Some(seconds) = seconds.filter(|seconds| *seconds <= FARTHEST.saturating_sub(gone)) else {
        let message = "The clock moves forward by whole seconds, and at most a hundred years in all.";
        let refused = FieldError::new("/advance_seconds", "out_of_range", message);
        return Err(ApiError::validation_failed(vec![refused]));
    };
    http.accounts.pass_time(Duration::from_secs(seconds)).await?;
    if let Some(stage) = &http.local_stage {
        stage.refill();
    }
    http.api_tokens.sweep().await?;
    tracing::warn!(seconds, "a test suite has moved the clock");
    Ok(StatusCode::NO_CONTENT)
}
