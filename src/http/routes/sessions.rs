//! The signed-in user's sessions.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::accounts::{EndSessionError, SessionView};
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::{Answer, Authenticated, From, Id};
use crate::http::openapi::Refused;
use crate::http::routes::{Message, Routes, message};
use crate::storage::StorageError;

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    Routes::default()
        .open(routes!(list))
        .open(routes!(end_others))
        .open(routes!(end_one))
}

/// The sessions that live.
#[utoipa::path(
    get, path = "/api/v1/auth/sessions", operation_id = "list_sessions", tag = "Sessions",
    security(("access_token" = []), ("access_cookie" = [])),
    responses(
        (status = OK, description = "The most recently active first.", body = Vec<SessionView>),
        Refused<(Authenticated, StorageError)>,
    ),
)]
async fn list(
    State(http): State<Arc<Http>>,
    Authenticated(identity): Authenticated,
) -> Result<Answer<Vec<SessionView>>, ApiError> {
    Ok(Answer(StatusCode::OK, http.accounts.sessions(&identity).await?))
}

#[derive(Serialize, ToSchema)]
#[schema(as = EndedSessions)]
struct Ended {
    #[schema(example = "All other sessions have ended.")]
    message: &'static str,
    /// How many there were.
    #[schema(example = 2)]
    revoked_count: u64,
}

/// End all other sessions.
#[utoipa::path(
    delete, path = "/api/v1/auth/sessions", operation_id = "end_other_sessions", tag = "Sessions",
    security(("access_token" = []), ("access_cookie" = [])),
    responses(
        (status = OK, description = "Only the current one is left.", body = Ended),
        Refused<(Authenticated, StorageError)>,
    ),
)]
async fn end_others(
    State(http): State<Arc<Http>>,
    Authenticated(identity): Authenticated,
    From(caller): From,
) -> Result<Answer<Ended>, ApiError> {
    let revoked_count = http.accounts.end_other_sessions(&identity, &caller).await?;
    Ok(Answer(
        StatusCode::OK,
        Ended {
            message: "All other sessions have ended.",
            revoked_count,
        },
    ))
}

/// End a session.
#[utoipa::path(
    delete, path = "/api/v1/auth/sessions/{id}", operation_id = "end_session", tag = "Sessions",
    params(("id" = Uuid, Path, description = "The session.")),
    security(("access_token" = []), ("access_cookie" = [])),
    responses(
        (status = OK, description = "It is over.", body = Message),
        Refused<(EndSessionError, Authenticated, Id)>,
    ),
)]
async fn end_one(
    State(http): State<Arc<Http>>,
    Authenticated(identity): Authenticated,
    From(caller): From,
    Id(id): Id,
) -> Result<Answer<Message>, ApiError> {
    http.accounts.end_session(&identity, id, &caller).await?;
    Ok(message("The session has ended.", "Its tokens no longer work."))
}
