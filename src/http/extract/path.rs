//! What paths name.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use uuid::Uuid;

use crate::http::error::{ApiError, Code};
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
        named(parts, state, |id| id.parse().ok()).await.map(Self)
    }
}

/// The one code of an error in the path. Another word names nothing.
pub struct Known(pub Code);

impl Refuses for Known {
    fn refusals() -> Vec<ApiError> {
        vec![ApiError::not_found()]
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Known {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let of_name = |name: &str| Code::ALL.iter().find(|code| code.name == name).copied();
        named(parts, state, of_name).await.map(Self)
    }
}

/// What the path's one parameter names.
async fn named<T, S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, ApiError> {
    let params = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| ApiError::not_found())?;
    let (_, text) = params.iter().next().ok_or_else(ApiError::not_found)?;
    read(text).ok_or_else(ApiError::not_found)
}
