//! Choosing a new password with the link that was mailed (`mailed_link.rs`).
//!
//! The link's token stands behind `#`, where no server sees it. Our script moves it into the form; without script
//! a person copies it from the mail. It travels in the body alone, never in an address (RST-12).

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::form::Form;
use super::reply::{self, Faults, Frame};
use super::visit::Visitor;
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::{Fields, From};
use crate::http::pages::routing::Routes;
use crate::rate_limit::Rule;

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::default().page("/reset-password", show_reset).limited(
        Rule::ResetConfirm,
        "/reset-password",
        reset,
    )
}

#[derive(Template)]
#[template(path = "reset_password.html")]
struct ResetPage<'a> {
    frame: Frame<'a>,
    faults: &'a Faults,
    /// The code from the mail, after it was sent once: a refused password does not use it up, and nobody has to see it again.
    token: &'a str,
}

/// The form that sets the new password.
pub fn reset_page(
    http: &Http,
    visitor: &Visitor,
    fields: &Fields,
    faults: &Faults,
) -> Result<Response, ApiError> {
    let is_spent = faults.code == "invalid_reset_token";
    let page = ResetPage {
        frame: Frame::of(http, visitor, "Choose a new password")?,
        faults,
        token: if is_spent { "" } else { fields.get("token") },
    };
    reply::answer(http, &page, faults)
}

/// Takes nothing from the address: a token that somebody put into a query is not to be used.
async fn show_reset(State(http): State<Arc<Http>>, visitor: Visitor) -> Result<Response, ApiError> {
    reset_page(&http, &visitor, &Fields::default(), &Faults::default())
}

async fn reset(
    State(http): State<Arc<Http>>,
    From(caller): From,
    Form { visitor, fields }: Form,
) -> Result<Response, ApiError> {
    let reset = async {
        let new_password = fields.text("new_password")?;
        let token = fields.get("token").trim();
        let reset = http
            .accounts
            .confirm_password_reset(token, &new_password, &caller);
        reset.await.map_err(ApiError::from)
    };
    match reset.await {
        Ok(()) => Ok(reply::see_other(&http, "/sign-in?done=reset")),
        Err(refused) => reset_page(&http, &visitor, &fields, &Faults::of(refused)),
    }
}
