//! Ids in paths.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use uuid::Uuid;

use crate::http::error::ApiError;
use crate::http::openapi::Refuses;

/// The one id in the path. What is no id names nothing: 404, like an id that nobody has.
pub struct Id(pub Uuid);

impl Refuses for Id {
    fn refusals() -> Vec<ApiError> {
        vec![ApiError::not_found()]
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::not_found())?;
        let id = params.iter().next().and_then(|(_, value)| value.parse().ok());
        id.map(Self).ok_or_else(ApiError::not_found)
    }
}
