//! Asking for a link by mail, to set a password or to confirm an address. The answer is the same for every address.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;

use super::form::Form;
use super::reply::{self, Faults, Frame};
use super::routing::Routes;
use super::visit::Visitor;
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::{Fields, From};
use crate::rate_limit::Rule;

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::default()
        .page(PASSWORD.path, show_password)
        .limited(Rule::PasswordReset, PASSWORD.path, ask_password)
        .page(VERIFICATION.path, show_verification)
        .limited(Rule::ResendVerification, VERIFICATION.path, ask_verification)
        .page("/check-mail", check_mail)
}

/// What a link is for.
pub struct Purpose {
    /// Address of the page.
    pub path: &'static str,
    title: &'static str,
    text: &'static str,
}

/// A link to set a new password.
pub const PASSWORD: Purpose = Purpose {
    path: "/forgot-password",
    title: "Forgot your password?",
    text: "Tell us the e-mail address of your account. We send you a link to choose a new password.",
};

/// A link to confirm an address.
pub const VERIFICATION: Purpose = Purpose {
    path: "/verify-email/resend",
    title: "Get a new link",
    text: "If your address is still waiting to be confirmed, we send the link again.",
};

#[derive(Template)]
#[template(path = "mailed_link.html")]
struct AskPage<'a> {
    frame: Frame<'a>,
    faults: &'a Faults,
    purpose: &'a Purpose,
    email: &'a str,
}

/// The form, with what was filled in before.
pub fn page(
    http: &Http,
    visitor: &Visitor,
    purpose: &Purpose,
    fields: &Fields,
    faults: &Faults,
) -> Result<Response, ApiError> {
    let page = AskPage {
        frame: Frame::of(http, visitor, purpose.title)?,
        faults,
        purpose,
        email: fields.get("email"),
    };
    reply::answer(http, &page, faults)
}

async fn show_password(
    State(http): State<Arc<Http>>,
    visitor: Visitor,
    uri: Uri,
) -> Result<Response, ApiError> {
    page(
        &http,
        &visitor,
        &PASSWORD,
        &Fields::of_query(&uri),
        &Faults::default(),
    )
}

async fn ask_password(
    State(http): State<Arc<Http>>,
    From(caller): From,
    Form { visitor, fields }: Form,
) -> Result<Response, ApiError> {
    let asked = http.accounts.request_password_reset(fields.get("email"), &caller);
    match asked.await {
        Ok(()) => Ok(reply::see_other(&http, "/check-mail?for=reset")),
        Err(refused) => page(&http, &visitor, &PASSWORD, &fields, &Faults::of(refused.into())),
    }
}

/// Who is signed in need not type the address.
async fn show_verification(State(http): State<Arc<Http>>, visitor: Visitor) -> Result<Response, ApiError> {
    let own = visitor
        .identity
        .as_ref()
        .map(|identity| identity.user.email.as_str());
    let fields = Fields::one("email", own.unwrap_or_default());
    page(&http, &visitor, &VERIFICATION, &fields, &Faults::default())
}

async fn ask_verification(
    State(http): State<Arc<Http>>,
    From(caller): From,
    Form { visitor, fields }: Form,
) -> Result<Response, ApiError> {
    let asked = http.accounts.resend_verification(fields.get("email"), &caller);
    match asked.await {
        Ok(()) => Ok(reply::see_other(&http, "/check-mail?for=verification")),
        Err(refused) => page(
            &http,
            &visitor,
            &VERIFICATION,
            &fields,
            &Faults::of(refused.into()),
        ),
    }
}

#[derive(Template)]
#[template(path = "check_mail.html")]
struct CheckMailPage<'a> {
    frame: Frame<'a>,
    is_reset: bool,
}

/// The same for every address, known or not.
async fn check_mail(State(http): State<Arc<Http>>, visitor: Visitor, uri: Uri) -> Result<Response, ApiError> {
    let page = CheckMailPage {
        frame: Frame::of(&http, &visitor, "Check your mailbox")?,
        is_reset: Fields::of_query(&uri).get("for") == "reset",
    };
    reply::answer(&http, &page, &Faults::default())
}
