//! Users: find one, deactivate or activate, change the role, hand out a link to set a password, clear the limits.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use uuid::Uuid;

use super::Operator;
use crate::accounts::{Accounts, AdminError, Administrator, PasswordLink, Role, User, UserChange};
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::{Fields, Id, Paging};
use crate::http::pages::form::Form;
use crate::http::pages::reply::{self, Faults, Frame};
use crate::http::pages::routing::Routes;

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::default()
        .page("/admin", front)
        .page("/admin/users", list)
        .page("/admin/users/{id}", show)
        .form("/admin/users/{id}/change", change)
}

async fn front(State(http): State<Arc<Http>>, _: Operator) -> Response {
    reply::see_other(&http, "/admin/users")
}

#[derive(Template)]
#[template(path = "users.html")]
struct UsersPage<'a> {
    frame: Frame<'a>,
    query: &'a str,
    users: &'a [User],
    next: Option<String>,
}

async fn list(
    State(http): State<Arc<Http>>,
    operator: Operator,
    paging: Paging,
) -> Result<Response, ApiError> {
    let query = paging.query.as_deref();
    let found = http.accounts.users(&operator.by, query, paging.page).await?;
    let page = UsersPage {
        frame: Frame::of(&http, &operator.visitor, "Users")?,
        query: query.unwrap_or_default(),
        users: &found.items,
        next: found.next.map(|next| next.to_string()),
    };
    reply::answer(&http, &page, &Faults::default())
}

#[derive(Template)]
#[template(path = "user.html")]
struct UserPage<'a> {
    frame: Frame<'a>,
    faults: &'a Faults,
    user: &'a User,
    /// The link that was just made: it is shown this once.
    link: Option<&'a PasswordLink>,
    done: &'static str,
}

/// The page of a user, with what came of the last form.
async fn page(
    http: &Http,
    operator: &Operator,
    id: Uuid,
    link: Option<&PasswordLink>,
    done: &str,
    faults: &Faults,
) -> Result<Response, ApiError> {
    let user = http.accounts.user(&operator.by, id).await?;
    let page = UserPage {
        frame: Frame::of(http, &operator.visitor, "User")?.under("Users"),
        faults,
        user: &user,
        link,
        done: match done {
            "deactivated" => "Deactivated: all sessions and API tokens have ended.",
            "activated" => "Activated: this person can sign in again.",
            "role" => "The role is changed, from the next request on.",
            "cleared" => "Cleared: failed attempts and mails of this account are counted anew.",
            _ => "",
        },
    };
    reply::answer(http, &page, faults)
}

async fn show(
    State(http): State<Arc<Http>>,
    operator: Operator,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, ApiError> {
    let query = Fields::of_query(&uri);
    page(&http, &operator, id, None, query.get("done"), &Faults::default()).await
}

/// What the buttons of the page do.
async fn change(
    State(http): State<Arc<Http>>,
    operator: Operator,
    Id(id): Id,
    Form { fields, .. }: Form,
) -> Result<Response, ApiError> {
    let (accounts, by) = (&http.accounts, &operator.by);
    let active = |is_active| UserChange {
        is_active: Some(is_active),
        role: None,
    };
    let role = |role| UserChange {
        is_active: None,
        role: Some(role),
    };
    let (done, result) = match fields.get("change") {
        "reset-link" => {
            let made = accounts.password_link(by, id).await;
            let (link, faults) = match made {
                Ok(link) => (Some(link), Faults::default()),
                Err(refused) => (None, Faults::of(refused.into())),
            };
            return page(&http, &operator, id, link.as_ref(), "", &faults).await;
        }
        "clear-limits" => ("cleared", accounts.clear_counters_of(by, id).await.map(drop)),
        "deactivate" => ("deactivated", set(accounts, by, id, active(false)).await),
        "activate" => ("activated", set(accounts, by, id, active(true)).await),
        "make-admin" => ("role", set(accounts, by, id, role(Role::Admin)).await),
        "make-user" => ("role", set(accounts, by, id, role(Role::User)).await),
        _ => return Err(ApiError::not_found()),
    };
    match result {
        // Who has just laid down his own role may not see this page any more.
        Ok(()) if done == "role" && operator.is(id) => Ok(reply::see_other(&http, "/account")),
        Ok(()) => Ok(reply::see_other(&http, &format!("/admin/users/{id}?done={done}"))),
        Err(refused) => page(&http, &operator, id, None, "", &Faults::of(refused.into())).await,
    }
}

async fn set(
    accounts: &Accounts,
    by: &Administrator,
    id: Uuid,
    change: UserChange,
) -> Result<(), AdminError> {
    accounts.change_user(by, id, change).await.map(drop)
}
