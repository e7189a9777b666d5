//! Users: find one, deactivate or activate, hand out a link to set a password.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;

use super::Operator;
use crate::accounts::{PasswordLink, User, UserChange};
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::{Fields, Id, Paging};
use crate::http::pages::form::Form;
use crate::http::pages::reply::{self, Faults, Frame};
use crate::http::pages::routing::Routes;
use crate::http::pages::visit::Visitor;

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::default()
        .page("/admin", front)
        .page("/admin/users", list)
        .page("/admin/users/{id}", show)
        .form("/admin/users/{id}/deactivate", deactivate)
        .form("/admin/users/{id}/activate", activate)
        .form("/admin/users/{id}/reset-link", reset_link)
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

struct Shown<'a> {
    user: &'a User,
    link: Option<&'a PasswordLink>,
    done: &'static str,
}

fn page(http: &Http, visitor: &Visitor, shown: &Shown<'_>, faults: &Faults) -> Result<Response, ApiError> {
    let page = UserPage {
        frame: Frame::of(http, visitor, "User")?,
        faults,
        user: shown.user,
        link: shown.link,
        done: shown.done,
    };
    reply::answer(http, &page, faults)
}

async fn show(
    State(http): State<Arc<Http>>,
    operator: Operator,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, ApiError> {
    let user = http.accounts.user(&operator.by, id).await?;
    let shown = Shown {
        user: &user,
        link: None,
        done: match Fields::of_query(&uri).get("done") {
            "deactivated" => "Deactivated: all sessions and API tokens have ended.",
            "activated" => "Activated: this person can sign in again.",
            _ => "",
        },
    };
    page(&http, &operator.visitor, &shown, &Faults::default())
}

async fn deactivate(
    State(http): State<Arc<Http>>,
    operator: Operator,
    Id(id): Id,
    _form: Form,
) -> Result<Response, ApiError> {
    set_active(&http, &operator, id, false).await
}

async fn activate(
    State(http): State<Arc<Http>>,
    operator: Operator,
    Id(id): Id,
    _form: Form,
) -> Result<Response, ApiError> {
    set_active(&http, &operator, id, true).await
}

async fn set_active(
    http: &Http,
    operator: &Operator,
    id: uuid::Uuid,
    is_active: bool,
) -> Result<Response, ApiError> {
    let change = UserChange {
        is_active: Some(is_active),
        role: None,
    };
    match http.accounts.change_user(&operator.by, id, change).await {
        Ok(_) if is_active => Ok(reply::see_other(
            http,
            &format!("/admin/users/{id}?done=activated"),
        )),
        Ok(_) => Ok(reply::see_other(
            http,
            &format!("/admin/users/{id}?done=deactivated"),
        )),
        Err(refused) => {
            let user = http.accounts.user(&operator.by, id).await?;
            let shown = Shown {
                user: &user,
                link: None,
                done: "",
            };
            page(http, &operator.visitor, &shown, &Faults::of(refused.into()))
        }
    }
}

async fn reset_link(
    State(http): State<Arc<Http>>,
    operator: Operator,
    Id(id): Id,
    _form: Form,
) -> Result<Response, ApiError> {
    let made = http.accounts.password_link(&operator.by, id).await;
    let user = http.accounts.user(&operator.by, id).await?;
    let (link, faults) = match made {
        Ok(link) => (Some(link), Faults::default()),
        Err(refused) => (None, Faults::of(refused.into())),
    };
    let shown = Shown {
        user: &user,
        link: link.as_ref(),
        done: "",
    };
    page(&http, &operator.visitor, &shown, &faults)
}
