//! Name, address, and the end of an account.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;

use super::identity;
use crate::http::Http;
use crate::http::cookies;
use crate::http::error::ApiError;
use crate::http::extract::{Fields, From};
use crate::http::pages::form::Form;
use crate::http::pages::reply::{self, Faults, Frame};
use crate::http::pages::routing::Routes;
use crate::http::pages::visit::Visitor;
use crate::rate_limit::Rule;

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::default()
        .page("/account", show)
        .form("/account/name", rename)
        .limited(Rule::ChangePassword, "/account/email", change_email)
        .page("/account/delete", show_delete)
        .limited(Rule::ChangePassword, "/account/delete", delete)
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage<'a> {
    frame: Frame<'a>,
    faults: &'a Faults,
    full_name: &'a str,
    email: &'a str,
    is_verified: bool,
    new_email: &'a str,
    /// What is wrong is so with the form of the address, not with that of the name.
    is_of_email: bool,
    /// What was just done that leads here.
    done: &'static str,
}

fn page(
    http: &Http,
    visitor: &Visitor,
    fields: &Fields,
    faults: &Faults,
    is_of_email: bool,
) -> Result<Response, ApiError> {
    let user = &identity(visitor)?.user;
    let typed = fields.get("full_name");
    let page = AccountPage {
        frame: Frame::of(http, visitor, "Profile")?,
        faults,
        full_name: if faults.any() && !is_of_email {
            typed
        } else {
            user.full_name.as_deref().unwrap_or_default()
        },
        email: &user.email,
        is_verified: user.is_verified,
        new_email: fields.get("new_email"),
        is_of_email,
        done: match fields.get("done") {
            "registered" => "Welcome! We have sent you a link to confirm your e-mail address.",
            "verified" => "Your e-mail address is confirmed.",
            "name" => "Your name is saved.",
            "email" => "Please open the link that we sent to the new address. Until then the old one stays.",
            _ => "",
        },
    };
    reply::answer(http, &page, faults)
}

async fn show(State(http): State<Arc<Http>>, visitor: Visitor, uri: Uri) -> Result<Response, ApiError> {
    let query = Fields::of_query(&uri);
    let done = query.only("done");
    page(&http, &visitor, &done, &Faults::default(), false)
}

async fn rename(State(http): State<Arc<Http>>, Form { visitor, fields }: Form) -> Result<Response, ApiError> {
    let name = fields.filled("full_name").map(str::to_owned);
    match http.accounts.update_profile(identity(&visitor)?, name).await {
        Ok(_) => Ok(reply::see_other(&http, "/account?done=name")),
        Err(refused) => page(&http, &visitor, &fields, &Faults::of(refused.into()), false),
    }
}

async fn change_email(
    State(http): State<Arc<Http>>,
    From(caller): From,
    Form { visitor, fields }: Form,
) -> Result<Response, ApiError> {
    let change = async {
        let password = fields.text("current_password")?;
        let identity = identity(&visitor)?;
        let accounts = &http.accounts;
        let change = accounts.change_email(identity, &password, fields.get("new_email"), &caller);
        change.await.map_err(ApiError::from)
    };
    match change.await {
        Ok(()) => Ok(reply::see_other(&http, "/account?done=email")),
        Err(refused) => page(&http, &visitor, &fields, &Faults::of(refused), true),
    }
}

#[derive(Template)]
#[template(path = "delete_account.html")]
struct DeletePage<'a> {
    frame: Frame<'a>,
    faults: &'a Faults,
}

fn delete_page(http: &Http, visitor: &Visitor, faults: &Faults) -> Result<Response, ApiError> {
    let frame = Frame::of(http, visitor, "Delete account")?.under("Profile");
    reply::answer(http, &DeletePage { frame, faults }, faults)
}

async fn show_delete(State(http): State<Arc<Http>>, visitor: Visitor) -> Result<Response, ApiError> {
    delete_page(&http, &visitor, &Faults::default())
}

async fn delete(
    State(http): State<Arc<Http>>,
    From(caller): From,
    Form { visitor, fields }: Form,
) -> Result<Response, ApiError> {
    let deleted = async {
        let password = fields.text("password")?;
        let identity = identity(&visitor)?;
        let deleted = http.accounts.delete_account(identity, &password, &caller);
        deleted.await.map_err(ApiError::from)
    };
    match deleted.await {
        Ok(()) => {
            let mut response = reply::see_other(&http, "/sign-in?done=deleted");
            cookies::clear(response.headers_mut(), &http.settings);
            Ok(response)
        }
        Err(refused) => delete_page(&http, &visitor, &Faults::of(refused)),
    }
}
