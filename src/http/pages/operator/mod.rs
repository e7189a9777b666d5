//! The pages of whoever has the role `admin`: one file a page. Whoever is looked at or changed, that is an event, as in the API.

mod audit_log;
mod limiter;
mod limits;
mod users;

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use uuid::Uuid;

use super::routing::Routes;
use super::visit::Visitor;
use crate::accounts::Administrator;
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::From;

/// The routes of operators.
pub fn routes() -> Routes {
    users::routes()
        .and(limits::routes())
        .and(limiter::routes())
        .and(audit_log::routes())
}

/// A visitor who has the role; anybody else is 403, and that is an event.
struct Operator {
    visitor: Visitor,
    by: Administrator,
}

impl Operator {
    /// Whether the operator is this user.
    fn is(&self, id: Uuid) -> bool {
        let identity = self.visitor.identity.as_ref();
        identity.is_some_and(|identity| identity.user.id == id)
    }
}

impl FromRequestParts<Arc<Http>> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, http: &Arc<Http>) -> Result<Self, ApiError> {
        let visitor = Visitor::from_request_parts(parts, http).await?;
        let From(caller) = From::from_request_parts(parts, http).await?;
        let identity = visitor.identity.as_ref().ok_or_else(ApiError::internal)?;
        let by = http.accounts.administrator(identity, caller)?;
        Ok(Self { visitor, by })
    }
}
