//! The public keys that verify access tokens (RFC 7517).

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use crate::http::Http;
use crate::http::routes::{Routes, Verb};

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    Routes::default().open(Verb::Get, "/.well-known/jwks.json", show)
}

async fn show(State(http): State<Arc<Http>>) -> Response {
    let headers = [
        (CONTENT_TYPE, "application/jwk-set+json"),
        (CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, http.jwks.clone()).into_response()
}
