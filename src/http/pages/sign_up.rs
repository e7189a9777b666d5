//! Making an account.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;

use super::form::Form;
use super::reply::{self, Faults, Frame};
use super::return_to::ReturnTo;
use super::sign_in::{destination, go_on};
use super::visit::{self, Visitor};
use crate::accounts::{Caller, Registered, Registration};
use crate::http::Http;
use crate::http::cookies;
use crate::http::error::ApiError;
use crate::http::extract::{Fields, From};
use crate::http::pages::routing::Routes;
use crate::rate_limit::Rule;

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::default()
        .page("/sign-up", show)
        .limited(Rule::Registration, "/sign-up", sign_up)
}

#[derive(Template)]
#[template(path = "sign_up.html")]
struct SignUpPage<'a> {
    frame: Frame<'a>,
    faults: &'a Faults,
    email: &'a str,
    full_name: &'a str,
    return_to: &'a str,
}

/// The form, with what was filled in before.
pub fn page(http: &Http, visitor: &Visitor, fields: &Fields, faults: &Faults) -> Result<Response, ApiError> {
    let return_to = destination(http, fields);
    let page = SignUpPage {
        frame: Frame::of(http, visitor, "Create an account")?,
        faults,
        email: fields.get("email"),
        full_name: fields.get("full_name"),
        return_to: return_to.as_ref().map_or("", ReturnTo::as_str),
    };
    reply::answer(http, &page, faults)
}

async fn show(State(http): State<Arc<Http>>, visitor: Visitor, uri: Uri) -> Result<Response, ApiError> {
    let fields = Fields::of_query(&uri);
    if visitor.identity.is_some() {
        return Ok(go_on(&http, &fields));
    }
    page(&http, &visitor, &fields, &Faults::default())
}

async fn sign_up(
    State(http): State<Arc<Http>>,
    From(caller): From,
    Form { visitor, fields }: Form,
) -> Result<Response, ApiError> {
    let registered = async {
        let registration = Registration {
            email: fields.get("email").to_owned(),
            password: fields.text("password")?,
            full_name: fields.filled("full_name").map(str::to_owned),
        };
        let registered = http.accounts.register(registration, &caller).await;
        registered.map_err(ApiError::from)
    };
    match registered.await {
        Ok(Registered::Created(_)) => Ok(first_sign_in(&http, &fields, &caller).await),
        Ok(Registered::Pending) => Ok(reply::see_other(&http, "/check-mail?for=registration")),
        Err(refused) => page(&http, &visitor, &fields, &Faults::of(refused)),
    }
}

/// Who has just chosen a password need not type it again. It is a sign-in like any other, under the same limit;
/// where that refuses, the sign-in page says how to go on.
async fn first_sign_in(http: &Http, fields: &Fields, caller: &Caller) -> Response {
    let login = async {
        visit::charge(http, Rule::Login, caller).await?;
        let login = http
            .accounts
            .login(fields.get("email"), fields.get("password"), caller);
        login.await.map_err(ApiError::from)
    };
    match login.await {
        Ok(tokens) => {
            let mut response = match destination(http, fields) {
                Some(_) => go_on(http, fields),
                None => reply::see_other(http, "/account?done=registered"),
            };
            cookies::set_session(response.headers_mut(), &http.settings, &tokens);
            response
        }
        Err(_) => reply::see_other(http, "/sign-in?done=registered"),
    }
}
