//! Signing in and out.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};

use super::form::Form;
use super::reply::{self, Faults, Frame};
use super::return_to::ReturnTo;
use super::visit::Visitor;
use crate::accounts::{Logout, LogoutError};
use crate::http::Http;
use crate::http::cookies::{self, Cookie};
use crate::http::error::ApiError;
use crate::http::extract::{Fields, From};
use crate::http::pages::routing::Routes;
use crate::rate_limit::Rule;

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::default()
        .page("/sign-in", show)
        .limited(Rule::Login, "/sign-in", sign_in)
}

/// Signing out is for whoever is signed in.
pub fn signed_in_routes() -> Routes {
    Routes::default().form("/sign-out", sign_out)
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    frame: Frame<'a>,
    faults: &'a Faults,
    email: &'a str,
    return_to: &'a str,
    /// What was just done that leads here.
    done: &'static str,
}

/// The form, with what was filled in before.
pub fn page(http: &Http, visitor: &Visitor, fields: &Fields, faults: &Faults) -> Result<Response, ApiError> {
    let return_to = destination(http, fields);
    let page = SignInPage {
        frame: Frame::of(http, visitor, "Sign in")?,
        faults,
        email: fields.get("email"),
        return_to: return_to.as_ref().map_or("", ReturnTo::as_str),
        done: match fields.get("done") {
            "reset" => "Your password has been changed. Please sign in with the new one.",
            "registered" => "Your account is ready. Please sign in.",
            "verified" => "Your e-mail address is confirmed. You can sign in now.",
            "signed-out" => "You are signed out.",
            "deleted" => "Your account and all that belonged to it are gone.",
            _ => "",
        },
    };
    reply::answer(http, &page, faults)
}

/// Where a link or form wants to go on to, if it may.
pub fn destination(http: &Http, fields: &Fields) -> Option<ReturnTo> {
    let settings = &http.settings;
    ReturnTo::parse(
        fields.get("return_to"),
        &settings.public_url,
        settings.cookie_origins(),
    )
}

/// On to where a link or form wants to go, or to the account.
pub fn go_on(http: &Http, fields: &Fields) -> Response {
    match destination(http, fields) {
        Some(place) => reply::to(place.as_str()),
        None => reply::see_other(http, "/account"),
    }
}

async fn show(State(http): State<Arc<Http>>, visitor: Visitor, uri: Uri) -> Result<Response, ApiError> {
    let fields = Fields::of_query(&uri);
    if visitor.identity.is_some() {
        return Ok(go_on(&http, &fields));
    }
    page(&http, &visitor, &fields, &Faults::default())
}

async fn sign_in(
    State(http): State<Arc<Http>>,
    From(caller): From,
    Form { visitor, fields }: Form,
) -> Result<Response, ApiError> {
    let login = async {
        let password = fields.text("password")?;
        let tokens = http.accounts.login(fields.get("email"), &password, &caller).await;
        tokens.map_err(ApiError::from)
    };
    match login.await {
        Ok(tokens) => {
            let mut response = go_on(&http, &fields);
            cookies::set_session(response.headers_mut(), &http.settings, &tokens);
            Ok(response)
        }
        Err(refused) => page(&http, &visitor, &fields, &Faults::of(refused)),
    }
}

/// Ends what the cookies show, dead or alive, and takes them away.
async fn sign_out(
    State(http): State<Arc<Http>>,
    From(caller): From,
    headers: HeaderMap,
    _form: Form,
) -> Result<Response, ApiError> {
    let shown = [
        (Cookie::Refresh, Logout::RefreshToken as fn(String) -> Logout),
        (Cookie::Access, Logout::AccessToken),
    ];
    for (cookie, which) in shown {
        let Some(token) = cookies::read_for_page(&http.settings, &headers, cookie) else {
            continue;
        };
        // A cookie that opens nothing is dead already.
        if let Err(LogoutError::Storage(error)) = http.accounts.logout(which(token), &caller).await {
            return Ok(ApiError::from(error).into_response());
        }
    }
    let mut response = reply::see_other(&http, "/sign-in?done=signed-out");
    cookies::clear(response.headers_mut(), &http.settings);
    Ok(response)
}
