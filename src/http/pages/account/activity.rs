//! What happened to the account.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::identity;
use crate::accounts::Activity;
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::Paging;
use crate::http::pages::reply::{self, Faults, Frame};
use crate::http::pages::routing::Routes;
use crate::http::pages::visit::Visitor;

/// The routes of this file.
pub fn routes() -> Routes {
    Routes::default().page("/account/activity", show)
}

#[derive(Template)]
#[template(path = "activity.html")]
struct ActivityPage<'a> {
    frame: Frame<'a>,
    events: &'a [Activity],
    next: Option<String>,
}

async fn show(State(http): State<Arc<Http>>, visitor: Visitor, paging: Paging) -> Result<Response, ApiError> {
    let events = http.accounts.activity(identity(&visitor)?, paging.page).await?;
    let page = ActivityPage {
        frame: Frame::of(&http, &visitor, "Activity")?,
        events: &events.items,
        next: events.next.map(|next| next.to_string()),
    };
    reply::answer(&http, &page, &Faults::default())
}

/// What happened, in a person's words.
fn in_words(event: &Activity) -> &str {
    let failed = event.outcome != "success";
    match (event.event.as_str(), failed) {
        ("register", false) => "Account created",
        ("login_success", _) => "Signed in",
        ("login_failure", _) => "Failed to sign in",
        ("token_refresh", false) => "Session renewed",
        ("refresh_reuse", _) => "A session was ended because its token was used twice",
        ("logout", _) => "Signed out",
        ("password_change", false) => "Password changed",
        ("password_change", true) => "Password not changed",
        ("password_reset_request", _) => "Link to set a new password asked for",
        ("password_reset_success", false) => "New password set by a mailed link",
        ("password_reset_success", true) => "New password not set",
        ("email_verified", false) => "E-mail address confirmed",
        ("email_verified", true) => "E-mail address not confirmed",
        ("email_change_request", false) => "Change of e-mail address asked for",
        ("email_change_request", true) => "Change of e-mail address refused",
        ("email_change", _) => "E-mail address changed",
        ("session_revoked", _) => "Session ended",
        ("api_token_created", _) => "API token created",
        ("api_token_changed", _) => "API token changed",
        ("api_token_rotated", _) => "API token given a new secret",
        ("api_token_revoked", _) => "API token revoked",
        ("admin_user_activated", _) => "Account activated",
        ("admin_user_deactivated", _) => "Account deactivated",
        ("admin_role_changed", _) => "Role changed",
        ("admin_reset_link_created", _) => "Link to set a password made",
        (other, _) => other,
    }
}
