//! Changing the password.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;

use super::identity;
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::{Fields, From};
use crate::http::pages::form::Form;
use crate::http::pages::reply::{self, Faults, Frame};
use crate::http::pages::routing::Routes;
use crate::http::pages::visit::Visitor;
use crate::rate_limit::Rule;

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::default().page("/account/password", show).limited(
        Rule::ChangePassword,
        "/account/password",
        change,
    )
}

#[derive(Template)]
#[template(path = "password.html")]
struct PasswordPage<'a> {
    frame: Frame<'a>,
    faults: &'a Faults,
    done: &'static str,
}

fn page(http: &Http, visitor: &Visitor, done: &'static str, faults: &Faults) -> Result<Response, ApiError> {
    let frame = Frame::of(http, visitor, "Password")?;
    reply::answer(http, &PasswordPage { frame, faults, done }, faults)
}

async fn show(State(http): State<Arc<Http>>, visitor: Visitor, uri: Uri) -> Result<Response, ApiError> {
    let done = match Fields::of_query(&uri).get("done") {
        "changed" => "Your password has been changed. All other sessions have ended.",
        _ => "",
    };
    page(&http, &visitor, done, &Faults::default())
}

async fn change(
    State(http): State<Arc<Http>>,
    From(caller): From,
    Form { visitor, fields }: Form,
) -> Result<Response, ApiError> {
    let change = async {
        let (current, new) = (fields.text("current_password")?, fields.text("new_password")?);
        let identity = identity(&visitor)?;
        let change = http.accounts.change_password(identity, &current, &new, &caller);
        change.await.map_err(ApiError::from)
    };
    match change.await {
        Ok(()) => Ok(reply::see_other(&http, "/account/password?done=changed")),
        Err(refused) => page(&http, &visitor, "", &Faults::of(refused)),
    }
}
