//! The signed-in user's own account.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use validator::Validate;

use crate::accounts::{Activity, Cursor, DeleteAccountError, ReauthenticateError, UpdateProfileError, User};
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::{Answer, Authenticated, Body, From, Paging, text};
use crate::http::openapi::Refused;
use crate::http::routes::{Message, Routes, message};
use crate::rate_limit::Rule;

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    Routes::default()
        .open(routes!(show))
        .open(routes!(update))
        .open(routes!(activity))
        .limited(Rule::ChangePassword, routes!(delete))
        .limited(Rule::ChangePassword, routes!(change_email))
        .limited(Rule::ChangePassword, routes!(change_password))
}

/// The signed-in user.
#[utoipa::path(
    get, path = "/api/v1/auth/me", operation_id = "get_me", tag = "Accounts",
    security(("access_token" = []), ("access_cookie" = [])),
    responses(
        (status = OK, description = "The account.", body = User),
        Refused<Authenticated>,
    ),
)]
async fn show(Authenticated(identity): Authenticated) -> Answer<User> {
    Answer(StatusCode::OK, identity.user)
}

/// A page of what happened to the account, the newest first.
#[derive(Serialize, ToSchema)]
struct Events {
    events: Vec<Activity>,
    /// For `?cursor=`; `null` on the last page.
    #[schema(value_type = Option<String>, example = "MDFhMjAxOTg")]
    next_cursor: Option<Cursor>,
}

/// What happened to the account.
///
/// The newest first, a page at a time.
#[utoipa::path(
    get, path = "/api/v1/auth/me/activity", operation_id = "list_activity", tag = "Accounts",
    params(
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("limit" = Option<u32>, Query, description = "Events on a page; 50 where it is absent.", minimum = 1, maximum = 100),
    ),
    security(("access_token" = []), ("access_cookie" = [])),
    responses(
        (status = OK, description = "A page.", body = Events),
        Refused<(Authenticated, Paging)>,
    ),
)]
async fn activity(
    State(http): State<Arc<Http>>,
    Authenticated(identity): Authenticated,
    paging: Paging,
) -> Result<Answer<Events>, ApiError> {
    let page = http.accounts.activity(&identity, paging.page).await?;
    let events = Events {
        events: page.items,
        next_cursor: page.next,
    };
    Ok(Answer(StatusCode::OK, events))
}

#[derive(Deserialize, ToSchema, Validate)]
#[schema(as = ProfileChange)]
struct UpdateBody {
    /// Absent: stays as it is. `null`: is taken away.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 200, example = "Ada Lovelace")]
    full_name: NewName,
}

/// Tells `null` from absent.
#[derive(Default)]
enum NewName {
    /// Absent: the name stays.
    #[default]
    Unchanged,
    /// A name, or `null`, which takes it away.
    Set(Option<String>),
}

impl<'de> Deserialize<'de> for NewName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::Set)
    }
}

/// Change the profile.
#[utoipa::path(
    patch, path = "/api/v1/auth/me", operation_id = "update_me", tag = "Accounts",
    request_body = UpdateBody,
    security(("access_token" = []), ("access_cookie" = [])),
    responses(
        (status = OK, description = "The account as it is now.", body = User),
        Refused<(UpdateProfileError, Authenticated, Body<UpdateBody>)>,
    ),
)]
async fn update(
    State(http): State<Arc<Http>>,
    Authenticated(identity): Authenticated,
    Body(body): Body<UpdateBody>,
) -> Result<Answer<User>, ApiError> {
    let user = match body.full_name {
        NewName::Set(full_name) => http.accounts.update_profile(&identity, full_name).await?,
        NewName::Unchanged => identity.user,
    };
    Ok(Answer(StatusCode::OK, user))
}

#[derive(Deserialize, ToSchema, Validate)]
#[schema(as = AccountDeletion)]
struct DeleteBody {
    #[validate(custom(function = text))]
    #[schema(format = Password, max_length = 128, example = "correct-horse-battery-9")]
    password: String,
}

/// Delete the account and all that hangs on it.
///
/// The last active administrator stays: make another one first.
#[utoipa::path(
    delete, path = "/api/v1/auth/me", operation_id = "delete_me", tag = "Accounts",
    request_body = DeleteBody,
    security(("access_token" = []), ("access_cookie" = [])),
    responses(
        (status = NO_CONTENT, description = "It is gone."),
        Refused<(DeleteAccountError, Authenticated, Body<DeleteBody>)>,
    ),
)]
async fn delete(
    State(http): State<Arc<Http>>,
    Authenticated(identity): Authenticated,
    From(caller): From,
    Body(body): Body<DeleteBody>,
) -> Result<StatusCode, ApiError> {
    http.accounts
        .delete_account(&identity, &body.password, &caller)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema, Validate)]
#[schema(as = EmailChange)]
struct ChangeEmailBody {
    #[validate(custom(function = text))]
    #[schema(format = Password, max_length = 128, example = "correct-horse-battery-9")]
    password: String,
    #[validate(length(max = 1024))]
    #[schema(format = Email, max_length = 254, example = "ada.lovelace@example.com")]
    new_email: String,
}

/// Change the address.
///
/// Takes effect when the link mailed to the new address is used. The old address gets a notice, and other sessions end.
#[utoipa::path(
    post, path = "/api/v1/auth/change-email", operation_id = "change_email", tag = "Accounts",
    request_body = ChangeEmailBody,
    security(("access_token" = []), ("access_cookie" = [])),
    responses(
        (status = OK, description = "The same whether the new address is free or taken.", body = Message),
        Refused<(ReauthenticateError, Authenticated, Body<ChangeEmailBody>)>,
    ),
)]
async fn change_email(
    State(http): State<Arc<Http>>,
    Authenticated(identity): Authenticated,
    From(caller): From,
    Body(body): Body<ChangeEmailBody>,
) -> Result<Answer<Message>, ApiError> {
    http.accounts
        .change_email(&identity, &body.password, &body.new_email, &caller)
        .await?;
    Ok(message(
        "Please check the mailbox of the new address.",
        "The change takes effect when the link that we sent there is used.",
    ))
}

#[derive(Deserialize, ToSchema, Validate)]
#[schema(as = PasswordChange)]
struct ChangePasswordBody {
    #[validate(custom(function = text))]
    #[schema(format = Password, max_length = 128, example = "correct-horse-battery-9")]
    current_password: String,
    #[validate(custom(function = text))]
    /// Not common, not easy to guess; `PASSWORD_MIN_LENGTH` and `PASSWORD_MIN_SCORE` say how much.
    #[schema(format = Password, min_length = 8, max_length = 128, example = "four-calm-otters-drift")]
    new_password: String,
}

/// Change the password.
///
/// Other sessions end, and a notice is mailed.
#[utoipa::path(
    post, path = "/api/v1/auth/change-password", operation_id = "change_password", tag = "Passwords",
    request_body = ChangePasswordBody,
    security(("access_token" = []), ("access_cookie" = [])),
    responses(
        (status = OK, description = "The new password holds.", body = Message),
        Refused<(ReauthenticateError, Authenticated, Body<ChangePasswordBody>)>,
    ),
)]
async fn change_password(
    State(http): State<Arc<Http>>,
    Authenticated(identity): Authenticated,
    From(caller): From,
    Body(body): Body<ChangePasswordBody>,
) -> Result<Answer<Message>, ApiError> {
    let accounts = &http.accounts;
    accounts
        .change_password(&identity, &body.current_password, &body.new_password, &caller)
        .await?;
    Ok(message(
        "Your password has been changed.",
        "All other sessions of this account have ended.",
    ))
}
