//! The signed-in user's API tokens.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Deserializer};
use validator::Validate;

use crate::accounts::{Caller, Identity, Role};
use crate::api_tokens::{ApiToken, Edit, Owner, TermsChange};
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::{Answer, Authenticated, Body, From, Id};
use crate::http::routes::{Routes, Verb};

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    Routes::default()
        .open(Verb::Post, "/api/v1/api-tokens", create)
        .open(Verb::Get, "/api/v1/api-tokens", list)
        .open(Verb::Get, "/api/v1/api-tokens/{id}", show)
        .open(Verb::Patch, "/api/v1/api-tokens/{id}", change)
        .open(Verb::Delete, "/api/v1/api-tokens/{id}", revoke)
        .open(Verb::Post, "/api/v1/api-tokens/{id}/rotate", rotate)
}

/// What may be set. Whose token it is, is the session's to say.
#[derive(Deserialize, Validate)]
struct TermsBody {
    #[serde(default, deserialize_with = "edit")]
    name: Edit<String>,
    #[serde(default, deserialize_with = "edit")]
    scopes: Edit<Vec<String>>,
    #[serde(default, deserialize_with = "edit")]
    expires_at: Edit<String>,
    #[serde(default, deserialize_with = "edit")]
    rate_limit_per_minute: Edit<u64>,
    #[serde(default, deserialize_with = "edit")]
    rate_limit_per_hour: Edit<u64>,
    #[serde(default, deserialize_with = "edit")]
    rate_limit_per_day: Edit<u64>,
}

/// Tells `null` from absent.
fn edit<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Edit<T>, D::Error> {
    let value = Option::deserialize(deserializer)?;
    Ok(value.map_or(Edit::Default, Edit::Set))
}

impl std::convert::From<TermsBody> for TermsChange {
    fn from(body: TermsBody) -> Self {
        Self {
            name: body.name,
            scopes: body.scopes,
            expires_at: body.expires_at,
            quota: [
                body.rate_limit_per_minute,
                body.rate_limit_per_hour,
                body.rate_limit_per_day,
            ],
        }
    }
}

fn owner<'a>(identity: &Identity, caller: &'a Caller) -> Owner<'a> {
    Owner {
        user_id: identity.user.id,
        is_admin: identity.user.role == Role::Admin,
        ip: caller.ip,
        request_id: &caller.request_id,
    }
}

async fn create(
    State(http): State<Arc<Http>>,
    Authenticated(identity): Authenticated,
    From(caller): From,
    Body(body): Body<TermsBody>,
) -> Result<Answer<ApiToken>, ApiError> {
    let token = http
        .api_tokens
        .create(&owner(&identity, &caller), &body.into())
        .await?;
    Ok(Answer(StatusCode::CREATED, token))
}

async fn list(
    State(http): State<Arc<Http>>,
    Authenticated(identity): Authenticated,
    From(caller): From,
) -> Result<Answer<Vec<ApiToken>>, ApiError> {
    let tokens = http.api_tokens.list(&owner(&identity, &caller)).await?;
    Ok(Answer(StatusCode::OK, tokens))
}

async fn show(
    State(http): State<Arc<Http>>,
    Authenticated(identity): Authenticated,
    From(caller): From,
    Id(id): Id,
) -> Result<Answer<ApiToken>, ApiError> {
    let token = http.api_tokens.get(&owner(&identity, &caller), id).await?;
    Ok(Answer(StatusCode::OK, token))
}

async fn change(
    State(http): State<Arc<Http>>,
    Authenticated(identity): Authenticated,
    From(caller): From,
    Id(id): Id,
    Body(body): Body<TermsBody>,
) -> Result<Answer<ApiToken>, ApiError> {
    let owner = owner(&identity, &caller);
    let token = http.api_tokens.change(&owner, id, &body.into()).await?;
    Ok(Answer(StatusCode::OK, token))
}

async fn rotate(
    State(http): State<Arc<Http>>,
    Authenticated(identity): Authenticated,
    From(caller): From,
    Id(id): Id,
) -> Result<Answer<ApiToken>, ApiError> {
    let token = http.api_tokens.rotate(&owner(&identity, &caller), id).await?;
    Ok(Answer(StatusCode::CREATED, token))
}

async fn revoke(
    State(http): State<Arc<Http>>,
    Authenticated(identity): Authenticated,
    From(caller): From,
    Id(id): Id,
) -> Result<StatusCode, ApiError> {
    http.api_tokens.revoke(&owner(&identity, &caller), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
