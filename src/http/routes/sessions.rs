//! The signed-in user's sessions.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use crate::accounts::SessionView;
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::{Answer, Authenticated, From, Id};
use crate::http::routes::{Message, Routes, Verb, message};

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    Routes::default()
        .open(Verb::Get, "/api/v1/auth/sessions", list)
        .open(Verb::Delete, "/api/v1/auth/sessions", end_others)
        .open(Verb::Delete, "/api/v1/auth/sessions/{id}", end_one)
}

async fn list(
    State(http): State<Arc<Http>>,
    Authenticated(identity): Authenticated,
) -> Result<Answer<Vec<SessionView>>, ApiError> {
    Ok(Answer(StatusCode::OK, http.accounts.sessions(&identity).await?))
}

#[derive(Serialize)]
struct Ended {
    message: &'static str,
    revoked_count: u64,
}

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

async fn end_one(
    State(http): State<Arc<Http>>,
    Authenticated(identity): Authenticated,
    From(caller): From,
    Id(id): Id,
) -> Result<Answer<Message>, ApiError> {
    http.accounts.end_session(&identity, id, &caller).await?;
    Ok(message("The session has ended.", "Its tokens no longer work."))
}
