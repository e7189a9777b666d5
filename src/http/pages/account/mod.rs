//! The account of whoever is signed in: one file a page.

mod activity;
mod password;
mod profile;
mod sessions;
mod tokens;

use super::routing::Routes;
use super::visit::Visitor;
use crate::accounts::Identity;
use crate::http::error::ApiError;

/// The routes of the account.
pub fn routes() -> Routes {
    profile::routes()
        .and(password::routes())
        .and(sessions::routes())
        .and(tokens::routes())
        .and(activity::routes())
}

/// Whose account it is. The stage in front lets nobody else in.
fn identity(visitor: &Visitor) -> Result<&Identity, ApiError> {
    visitor.identity.as_ref().ok_or_else(ApiError::internal)
}
