//! The account of whoever is signed in.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;

use super::reply::{self, Faults, Frame};
use super::visit::Visitor;
use crate::accounts::User;
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::Fields;
use crate::http::pages::routing::Routes;

/// The routes of the account.
pub fn routes() -> Routes {
    Routes::default().page("/account", show)
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage<'a> {
    frame: Frame<'a>,
    user: &'a User,
    /// What was just done that leads here.
    done: &'static str,
}

async fn show(State(http): State<Arc<Http>>, visitor: Visitor, uri: Uri) -> Result<Response, ApiError> {
    let identity = visitor.identity.as_ref().ok_or_else(ApiError::internal)?;
    let page = AccountPage {
        frame: Frame::of(&http, &visitor, "Your account")?,
        user: &identity.user,
        done: match Fields::of_query(&uri).get("done") {
            "registered" => "Welcome! We have sent you a link to confirm your e-mail address.",
            "verified" => "Your e-mail address is confirmed.",
            _ => "",
        },
    };
    reply::answer(&http, &page, &Faults::default())
}
