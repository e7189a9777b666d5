//! The signed-in user's API tokens.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Deserializer};
use utoipa::openapi::schema::{AllOf, ObjectBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::routes;
use validator::Validate;

use crate::api_tokens::{ApiToken, Edit, TermsChange};
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::{Answer, Authenticated, Body, From, Id, owner};
use crate::http::openapi::{Refused, Refuses, refused_field};
use crate::http::routes::Routes;
use crate::storage::StorageError;

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    Routes::default()
        .open(routes!(create))
        .open(routes!(list))
        .open(routes!(show))
        .open(routes!(change))
        .open(routes!(revoke))
        .open(routes!(rotate))
}

/// What may be set. Whose token it is, is the session's to say.
#[derive(Deserialize, ToSchema, Validate)]
#[schema(as = ApiTokenTerms)]
struct TermsBody {
    #[serde(default, deserialize_with = "edit")]
    #[schema(value_type = String, min_length = 1, max_length = 100, example = "my script")]
    name: Edit<String>,
    /// Small letters, digits and `_ : . * -`. A trailing `:*` covers all that begins alike. `null`: none.
    #[serde(default, deserialize_with = "edit")]
    #[schema(value_type = Option<Vec<ScopeText>>, max_items = 50, example = json!(["read:things"]))]
    scopes: Edit<Vec<String>>,
    /// `null`: never.
    #[serde(default, deserialize_with = "edit")]
    #[schema(value_type = Option<String>, format = DateTime, example = "2100-01-31T12:00:00Z")]
    expires_at: Edit<String>,
    /// 0 refuses all. At most what `API_TOKEN_RATE_LIMIT` says, which is also the default.
    #[serde(default, deserialize_with = "edit")]
    #[schema(value_type = Option<u64>, example = 60)]
    rate_limit_per_minute: Edit<u64>,
    /// At least the minute's.
    #[serde(default, deserialize_with = "edit")]
    #[schema(value_type = Option<u64>, example = 1000)]
    rate_limit_per_hour: Edit<u64>,
    /// At least the hour's.
    #[serde(default, deserialize_with = "edit")]
    #[schema(value_type = Option<u64>, example = 10_000)]
    rate_limit_per_day: Edit<u64>,
}

/// A scope, for the document.
#[derive(ToSchema)]
#[schema(as = Scope, pattern = "^[a-z][a-z0-9_:.*-]{0,63}$", example = "read:things")]
#[expect(dead_code, reason = "only its schema is used")]
struct ScopeText(String);

/// The same for a new token, which needs a name.
struct NewApiToken;

impl ToSchema for NewApiToken {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((TermsBody::name().into_owned(), TermsBody::schema()));
    }
}

impl PartialSchema for NewApiToken {
    fn schema() -> RefOr<Schema> {
        let named = ObjectBuilder::new().required("name");
        let terms = Ref::from_schema_name(TermsBody::name());
        RefOr::T(Schema::AllOf(AllOf::builder().item(terms).item(named).build()))
    }
}

/// What a new token is refused for.
struct NotMade;

impl Refuses for NotMade {
    fn refusals() -> Vec<ApiError> {
        let refused = refused_field("/scopes/0", "not_allowed", "This scope is for administrators.");
        vec![refused, ApiError::token_limit_reached()]
    }
}

/// What no change is made to.
struct Revoked;

impl Refuses for Revoked {
    fn refusals() -> Vec<ApiError> {
        vec![ApiError::token_revoked()]
    }
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

/// Make an API token.
#[utoipa::path(
    post, path = "/api/v1/api-tokens", operation_id = "create_api_token", tag = "API tokens",
    request_body = NewApiToken,
    security(("access_token" = []), ("access_cookie" = [])),
    responses(
        (status = CREATED, description = "The only answer that holds the secret, in `token`.", body = ApiToken),
        Refused<(NotMade, Authenticated, Body<TermsBody>)>,
    ),
)]
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

/// The API tokens of the signed-in user.
///
/// Revoked ones too, for 30 days.
#[utoipa::path(
    get, path = "/api/v1/api-tokens", operation_id = "list_api_tokens", tag = "API tokens",
    security(("access_token" = []), ("access_cookie" = [])),
    responses(
        (status = OK, description = "The newest first.", body = Vec<ApiToken>),
        Refused<(Authenticated, StorageError)>,
    ),
)]
async fn list(
    State(http): State<Arc<Http>>,
    Authenticated(identity): Authenticated,
    From(caller): From,
) -> Result<Answer<Vec<ApiToken>>, ApiError> {
    let tokens = http.api_tokens.list(&owner(&identity, &caller)).await?;
    Ok(Answer(StatusCode::OK, tokens))
}

/// An API token and what is used of its quotas.
#[utoipa::path(
    get, path = "/api/v1/api-tokens/{id}", operation_id = "get_api_token", tag = "API tokens",
    params(("id" = Uuid, Path, description = "The token.")),
    security(("access_token" = []), ("access_cookie" = [])),
    responses(
        (status = OK, description = "The token with its `usage`.", body = ApiToken),
        Refused<(Authenticated, Id, StorageError)>,
    ),
)]
async fn show(
    State(http): State<Arc<Http>>,
    Authenticated(identity): Authenticated,
    From(caller): From,
    Id(id): Id,
) -> Result<Answer<ApiToken>, ApiError> {
    let token = http.api_tokens.get(&owner(&identity, &caller), id).await?;
    Ok(Answer(StatusCode::OK, token))
}

/// Change what an API token may do.
///
/// What is absent stays as it is, `null` sets the default.
#[utoipa::path(
    patch, path = "/api/v1/api-tokens/{id}", operation_id = "update_api_token", tag = "API tokens",
    request_body = TermsBody,
    params(("id" = Uuid, Path, description = "The token.")),
    security(("access_token" = []), ("access_cookie" = [])),
    responses(
        (status = OK, description = "The token as it is now.", body = ApiToken),
        Refused<(Revoked, Authenticated, Id, Body<TermsBody>)>,
    ),
)]
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

/// Give an API token another secret.
///
/// The old one ends at once; settings and counters stay.
#[utoipa::path(
    post, path = "/api/v1/api-tokens/{id}/rotate", operation_id = "rotate_api_token", tag = "API tokens",
    params(("id" = Uuid, Path, description = "The token.")),
    security(("access_token" = []), ("access_cookie" = [])),
    responses(
        (status = CREATED, description = "The token with its new secret in `token`.", body = ApiToken),
        Refused<(Revoked, Authenticated, Id)>,
    ),
)]
async fn rotate(
    State(http): State<Arc<Http>>,
    Authenticated(identity): Authenticated,
    From(caller): From,
    Id(id): Id,
) -> Result<Answer<ApiToken>, ApiError> {
    let token = http.api_tokens.rotate(&owner(&identity, &caller), id).await?;
    Ok(Answer(StatusCode::CREATED, token))
}

/// Revoke an API token.
#[utoipa::path(
    delete, path = "/api/v1/api-tokens/{id}", operation_id = "revoke_api_token", tag = "API tokens",
    params(("id" = Uuid, Path, description = "The token.")),
    security(("access_token" = []), ("access_cookie" = [])),
    responses(
        (status = NO_CONTENT, description = "It no longer passes, also where it was revoked before."),
        Refused<(Authenticated, Id, StorageError)>,
    ),
)]
async fn revoke(
    State(http): State<Arc<Http>>,
    Authenticated(identity): Authenticated,
    From(caller): From,
    Id(id): Id,
) -> Result<StatusCode, ApiError> {
    http.api_tokens.revoke(&owner(&identity, &caller), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
