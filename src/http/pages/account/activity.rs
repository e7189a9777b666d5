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
        ("register", true) => "Account not created",
        ("login_success", _) => "Signed in",
        ("login_failure", _) => "Failed to sign in",
        ("token_refresh", false) => "Session renewed",
        ("token_refresh", true) => "Session not renewed",
        ("refresh_reuse", _) => "A session was ended because its token was used twice",
        ("logout", _) => "Signed out",
        ("password_change", false) => "Password changed",
        ("password_change", true) => "Password not changed",
        ("password_reset_request", _) => "Link to set a new password asked for",
        ("password_reset_success", false) => "New password set by a mailed link",
        ("password_reset_success", true) => "New password not set",
        ("email_verification_request", _) => "Link to confirm the e-mail address asked for",
        ("email_verified", false) => "E-mail address confirmed",
        ("email_verified", true) => "E-mail address not confirmed",
        ("email_change_request", false) => "Change of e-mail address asked for",
        ("email_change_request", true) => "Change of e-mail address refused",
        ("email_change", _) => "E-mail address changed",
        ("account_deleted", false) => "Account deleted",
        ("account_deleted", true) => "Account not deleted",
        ("session_revoked", _) => "Session ended",
        ("api_token_created", _) => "API token created",
        ("api_token_changed", _) => "API token changed",
        ("api_token_rotated", _) => "API token given a new secret",
        ("api_token_revoked", _) => "API token revoked",
        ("rate_limited", _) => "Held back by a limit",
        (_, false) if event.by_admin => done_by_an_administrator(&event.event),
        (_, false) => done_as_an_administrator(&event.event),
        (_, true) => "Not done: a step of administration",
    }
}

/// What somebody else did to this account.
fn done_by_an_administrator(event: &str) -> &str {
    match event {
        "admin_user_created" | "admin_user_imported" => "Account created",
        "admin_user_activated" => "Account activated",
        "admin_user_deactivated" => "Account deactivated",
        "admin_role_changed" => "Role changed",
        "admin_reset_link_created" => "Link to set a password made",
        "admin_limits_cleared" => "Limits cleared",
        other => other,
    }
}

/// What the owner of this account did to others.
fn done_as_an_administrator(event: &str) -> &str {
    match event {
        "admin_users_listed" => "Looked through the users",
        "admin_user_viewed" => "Looked at a user",
        "admin_user_created" => "Made an account for somebody",
        "admin_user_imported" => "Imported an account",
        "admin_user_activated" => "Activated a user",
        "admin_user_deactivated" => "Deactivated a user",
        "admin_role_changed" => "Changed the role of a user",
        "admin_user_deleted" => "Deleted a user",
        "admin_reset_link_created" => "Made a link to set somebody's password",
        "admin_audit_read" => "Read the audit log",
        "admin_limits_read" => "Looked at who is limited",
        "admin_limits_cleared" => "Cleared limits",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{EventKind, Outcome};
    use crate::clock::Timestamp;

    /// What no administrator does to an account that is there, or does at all.
    const NEVER_TO_SOMEBODY: &[EventKind] = &[
        EventKind::AdminDenied,
        EventKind::AdminUsersListed,
        EventKind::AdminUserViewed,
        EventKind::AdminUserDeleted,
        EventKind::AdminAuditRead,
        EventKind::AdminLimitsRead,
    ];

    #[test]
    fn every_event_of_a_user_has_words() {
        for kind in EventKind::ALL {
            let of_nobody = [EventKind::RateLimiterDegraded, EventKind::RateLimiterRecovered];
            for (outcome, by_admin) in [
                (Outcome::Success, false),
                (Outcome::Failure, false),
                (Outcome::Success, true),
            ] {
                let is_never = by_admin && NEVER_TO_SOMEBODY.contains(kind)
                    || *kind == EventKind::AdminDenied && outcome == Outcome::Success;
                if is_never || of_nobody.contains(kind) {
                    continue;
                }
                let event = Activity {
                    id: uuid::Uuid::nil(),
                    at: Timestamp::from_millis(0),
                    event: kind.as_str().to_owned(),
                    outcome: outcome.as_str().to_owned(),
                    reason: None,
                    client_ip: None,
                    request_id: None,
                    by_admin,
                };
                assert!(!in_words(&event).contains('_'), "{kind:?} {outcome:?} {by_admin}");
            }
        }
    }
}
