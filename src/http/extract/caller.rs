//! Who sent the request, as the use cases want to know it.

use axum::extract::FromRequestParts;
use axum::http::header::USER_AGENT;
use axum::http::request::Parts;

use crate::accounts::Caller;
use crate::http::error::ApiError;
use crate::http::stages::envelope::Context;

/// The longest `User-Agent` that is kept, in characters.
const MOST_USER_AGENT: usize = 512;

/// The caller behind the request.
pub struct From(pub Caller);

impl<S: Send + Sync> FromRequestParts<S> for From {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let context = parts.extensions.get::<Context>().ok_or_else(ApiError::internal)?;
        let user_agent = parts
            .headers
            .get(USER_AGENT)
            .and_then(|value| value.to_str().ok());
        Ok(Self(Caller {
            client: context.client,
            ip: context.ip,
            user_agent: user_agent.map(|text| text.chars().take(MOST_USER_AGENT).collect()),
            request_id: context.request_id.to_string(),
            exempt: context.exempt,
        }))
    }
}
