//! The signed-in user's own account.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use validator::Validate;

use crate::accounts::{Activity, Cursor, User};
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::{Answer, Authenticated, Body, From, Paging, text};
use crate::http::routes::{Message, Routes, Verb, message};
use crate::rate_limit::Rule;

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    Routes::default()
        .open(Verb::Get, "/api/v1/auth/me", show)
        .open(Verb::Patch, "/api/v1/auth/me", update)
        .open(Verb::Get, "/api/v1/auth/me/activity", activity)
        .limited(Rule::ChangePassword, Verb::Delete, "/api/v1/auth/me", delete)
        .limited(
            Rule::ChangePassword,
            Verb::Post,
            "/api/v1/auth/change-email",
            change_email,
        )
        .limited(
            Rule::ChangePassword,
            Verb::Post,
            "/api/v1/auth/change-password",
            change_password,
        )
}

async fn show(Authenticated(identity): Authenticated) -> Answer<User> {
    Answer(StatusCode::OK, identity.user)
}

/// A page of what happened to the account, the newest first.
#[derive(Serialize)]
struct Events {
    events: Vec<Activity>,
    /// For `?cursor=`; `null` on the last page.
    next_cursor: Option<Cursor>,
}

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

#[derive(Deserialize, Validate)]
struct UpdateBody {
    #[serde(default)]
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

#[derive(Deserialize, Validate)]
struct DeleteBody {
    #[validate(custom(function = text))]
    password: String,
}

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

#[derive(Deserialize, Validate)]
struct ChangeEmailBody {
    #[validate(custom(function = text))]
    password: String,
    #[validate(length(max = 1024))]
    new_email: String,
}

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

#[derive(Deserialize, Validate)]
struct ChangePasswordBody {
    #[validate(custom(function = text))]
    current_password: String,
    #[validate(custom(function = text))]
    new_password: String,
}

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
