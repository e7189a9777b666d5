//! What a page's form sent, once it is sure that it was our page.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};

use super::visit::Visitor;
use crate::http::Http;
use crate::http::cookies;
use crate::http::error::ApiError;
use crate::http::extract::Fields;

/// The hidden field with the visitor's proof.
pub const TOKEN_FIELD: &str = "form_token";

/// A form that came from one of our pages, in this browser: by its origin, and by its token. Anything else is 403.
pub struct Form {
    /// Who sent it.
    pub visitor: Visitor,
    /// What was filled in.
    pub fields: Fields,
}

impl FromRequest<Arc<Http>> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, http: &Arc<Http>) -> Result<Self, ApiError> {
        cookies::demand_page_origin(http, request.headers())?;
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, http).await?;
        let fields = Fields::read(&parts.headers, body).await?;
        if visitor.owns_form(fields.get(TOKEN_FIELD), http) {
            Ok(Self { visitor, fields })
        } else {
            Err(ApiError::forbidden(STALE))
        }
    }
}

/// What somebody sees whose browser lost the cookie, or who signed in or out in another tab meanwhile.
const STALE: &str =
    "This form is out of date, or your browser keeps no cookies. Open the page again and retry.";
