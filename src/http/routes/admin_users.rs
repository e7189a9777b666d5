//! Users, as administrators see and change them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use validator::Validate;

use crate::accounts::{Cursor, Role, User, UserChange};
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::{Admin, Answer, Body, Id, Paging};
use crate::http::routes::{Routes, Verb};

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    Routes::default()
        .open(Verb::Get, "/api/v1/admin/users", list)
        .open(Verb::Get, "/api/v1/admin/users/{id}", show)
        .open(Verb::Patch, "/api/v1/admin/users/{id}", change)
        .open(Verb::Delete, "/api/v1/admin/users/{id}", delete)
        .open(Verb::Post, "/api/v1/admin/users/{id}/reset-link", reset_link)
}

/// A page of users, the newest first.
#[derive(Serialize)]
struct Users {
    users: Vec<User>,
    /// For `?cursor=`; `null` on the last page.
    next_cursor: Option<Cursor>,
}

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

async fn show(State(http): State<Arc<Http>>, Admin(by): Admin, Id(id): Id) -> Result<Answer<User>, ApiError> {
    Ok(Answer(StatusCode::OK, http.accounts.user(&by, id).await?))
}

#[derive(Deserialize, Validate)]
struct ChangeBody {
    #[serde(default, deserialize_with = "given")]
    is_active: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    role: Option<Role>,
}

/// `null` is no value of either field.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

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

async fn delete(State(http): State<Arc<Http>>, Admin(by): Admin, Id(id): Id) -> Result<StatusCode, ApiError> {
    http.accounts.delete_user(&by, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A link with which the user chooses a password, once.
#[derive(Serialize)]
struct ResetLink {
    link: String,
    expires_in_seconds: u64,
}

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
