//! Users, as administrators see and change them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use validator::Validate;

use crate::accounts::{Cursor, Role, User, UserChange};
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::{Admin, Answer, Body, Id, Paging};
use crate::http::openapi::{Refused, Refuses};
use crate::http::routes::Routes;

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    Routes::default()
        .open(routes!(list))
        .open(routes!(show))
        .open(routes!(change))
        .open(routes!(delete))
        .open(routes!(reset_link))
}

/// A page of users, the newest first.
#[derive(Serialize, ToSchema)]
struct Users {
    users: Vec<User>,
    /// For `?cursor=`; `null` on the last page.
    #[schema(value_type = Option<String>, example = "MDFhMjAxOTg")]
    next_cursor: Option<Cursor>,
}

/// Find users.
///
/// The newest first, a page at a time.
#[utoipa::path(
    get, path = "/api/v1/admin/users", operation_id = "list_users", tag = "Administration",
    params(
        ("query" = Option<String>, Query, description = "A part of the address or the name."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("limit" = Option<u32>, Query, description = "Users on a page; 50 where it is absent.", minimum = 1, maximum = 100),
    ),
    security(("access_token" = []), ("access_cookie" = [])),
    responses(
        (status = OK, description = "A page.", body = Users),
        Refused<(Admin, Paging)>,
    ),
)]
async fn list(
    State(http): State<Arc<Http>>,
    Admin(by): Admin,
    paging: Paging,
) -> Result<Answer<Users>, ApiError> {
    let page = http
        .accounts
        .users(&by, paging.query.as_deref(), paging.page)
        .await?;
    let users = Users {
        users: page.items,
        next_cursor: page.next,
    };
    Ok(Answer(StatusCode::OK, users))
}

/// A user.
#[utoipa::path(
    get, path = "/api/v1/admin/users/{id}", operation_id = "get_user", tag = "Administration",
    params(("id" = Uuid, Path, description = "The user.")),
    security(("access_token" = []), ("access_cookie" = [])),
    responses(
        (status = OK, description = "The account.", body = User),
        Refused<(Admin, Id)>,
    ),
)]
async fn show(State(http): State<Arc<Http>>, Admin(by): Admin, Id(id): Id) -> Result<Answer<User>, ApiError> {
    Ok(Answer(StatusCode::OK, http.accounts.user(&by, id).await?))
}

#[derive(Deserialize, ToSchema, Validate)]
#[schema(as = UserChange)]
struct ChangeBody {
    /// `false` ends all sessions and API tokens.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    is_active: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Role, required = false)]
    role: Option<Role>,
}

/// `null` is no value of either field.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Activate or deactivate a user, or set the role.
#[utoipa::path(
    patch, path = "/api/v1/admin/users/{id}", operation_id = "update_user", tag = "Administration",
    request_body = ChangeBody,
    params(("id" = Uuid, Path, description = "The user.")),
    security(("access_token" = []), ("access_cookie" = [])),
    responses(
        (status = OK, description = "The account as it is now.", body = User),
        Refused<(Admin, Id, Body<ChangeBody>)>,
    ),
)]
async fn change(
    State(http): State<Arc<Http>>,
    Admin(by): Admin,
    Id(id): Id,
    Body(body): Body<ChangeBody>,
) -> Result<Answer<User>, ApiError> {
    let change = UserChange {
        is_active: body.is_active,
        role: body.role,
    };
    let user = http.accounts.change_user(&by, id, change).await?;
    Ok(Answer(StatusCode::OK, user))
}

/// Delete a user and all that hangs on the account.
#[utoipa::path(
    delete, path = "/api/v1/admin/users/{id}", operation_id = "delete_user", tag = "Administration",
    params(("id" = Uuid, Path, description = "The user.")),
    security(("access_token" = []), ("access_cookie" = [])),
    responses(
        (status = NO_CONTENT, description = "It is gone."),
        Refused<(Admin, Id)>,
    ),
)]
async fn delete(State(http): State<Arc<Http>>, Admin(by): Admin, Id(id): Id) -> Result<StatusCode, ApiError> {
    http.accounts.delete_user(&by, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A link with which the user chooses a password, once.
#[derive(Serialize, ToSchema)]
struct ResetLink {
    #[schema(
        format = "uri",
        example = "https://app.example.com/reset-password#token=q8fJ2xkS0bq3n6mYtqA7Zc1dE9uR4vWk5oLhG_pTiXs"
    )]
    link: String,
    #[schema(example = 900)]
    expires_in_seconds: u64,
}

/// Who has no use for a link.
struct Inactive;

impl Refuses for Inactive {
    fn refusals() -> Vec<ApiError> {
        vec![ApiError::account_inactive()]
    }
}

/// A link with which the user chooses a password, once.
#[utoipa::path(
    post, path = "/api/v1/admin/users/{id}/reset-link", operation_id = "create_reset_link", tag = "Administration",
    params(("id" = Uuid, Path, description = "The user.")),
    security(("access_token" = []), ("access_cookie" = [])),
    responses(
        (status = OK, description = "To hand to the user.", body = ResetLink),
        Refused<(Inactive, Admin, Id)>,
    ),
)]
async fn reset_link(
    State(http): State<Arc<Http>>,
    Admin(by): Admin,
    Id(id): Id,
) -> Result<Answer<ResetLink>, ApiError> {
    let made = http.accounts.password_link(&by, id).await?;
    let link = ResetLink {
        link: made.link,
        expires_in_seconds: made.expires_in.as_secs(),
    };
    Ok(Answer(StatusCode::OK, link))
}
