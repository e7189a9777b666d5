//! The public keys that verify access tokens (RFC 7517).

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::http::Http;
use crate::http::routes::Routes;

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    Routes::default().open(routes!(show))
}

/// What `credentials` hands over as JSON, for the document.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct JwkSet {
    /// The present key, and those that `JWT_PREVIOUS_KEY_FILES` names.
    keys: Vec<Jwk>,
}

/// A public key.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Jwk {
    #[schema(example = "OKP")]
    kty: String,
    #[schema(example = "Ed25519")]
    crv: String,
    #[schema(example = "EdDSA")]
    alg: String,
    /// As in the header of the tokens that it verifies.
    #[schema(example = "nC1xC9zKbq0Q")]
    kid: String,
    #[serde(rename = "use")]
    #[schema(example = "sig")]
    used_for: String,
    #[schema(example = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")]
    x: String,
    /// P-256 only.
    #[schema(nullable = false)]
    y: Option<String>,
}

/// The public keys that verify access tokens (RFC 7517).
///
/// May be cached for five minutes.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", operation_id = "get_jwks", tag = "Service",
    responses(
        (status = OK, description = "A JWK Set; empty with `JWT_SECRET`.", body = JwkSet, content_type = "application/jwk-set+json"),
    ),
)]
async fn show(State(http): State<Arc<Http>>) -> Response {
    let headers = [
        (CONTENT_TYPE, "application/jwk-set+json"),
        (CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, http.jwks.clone()).into_response()
}
