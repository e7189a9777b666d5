//! Confirming an address with the mailed link, by a click: what fetches links to look at them must confirm nothing.

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
    Routes::default()
        .page("/verify-email", show)
        .limited(Rule::VerifyEmail, "/verify-email", verify)
}

#[derive(Template)]
#[template(path = "verify_email.html")]
struct VerifyPage<'a> {
    frame: Frame<'a>,
    faults: &'a Faults,
    token: &'a str,
}

/// The form with the code.
pub fn page(http: &Http, visitor: &Visitor, fields: &Fields, faults: &Faults) -> Result<Response, ApiError> {
    let is_spent = faults.code == "invalid_verification_token";
    let page = VerifyPage {
        frame: Frame::of(http, visitor, "Confirm your address")?,
        faults,
        token: if is_spent { "" } else { fields.get("token") },
    };
    reply::answer(http, &page, faults)
}

async fn show(State(http): State<Arc<Http>>, visitor: Visitor) -> Result<Response, ApiError> {
    page(&http, &visitor, &Fields::default(), &Faults::default())
}

async fn verify(
    State(http): State<Arc<Http>>,
    From(caller): From,
    Form { visitor, fields }: Form,
) -> Result<Response, ApiError> {
    match http
        .accounts
        .verify_email(fields.get("token").trim(), &caller)
        .await
    {
        Ok(()) if visitor.identity.is_some() => Ok(reply::see_other(&http, "/account?done=verified")),
        Ok(()) => Ok(reply::see_other(&http, "/sign-in?done=verified")),
        Err(refused) => page(&http, &visitor, &fields, &Faults::of(refused.into())),
    }
}
