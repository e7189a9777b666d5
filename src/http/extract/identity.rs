//! The signed-in user behind a request.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use crate::accounts::{Administrator, AuthenticateError, Caller, Identity, NotAdmin, Role};
use crate::api_tokens::Owner;
use crate::http::Http;
use crate::http::cookies::{self, Cookie};
use crate::http::error::ApiError;
use crate::http::extract::From;
use crate::http::openapi::Refuses;

/// A request whose access token is genuine and whose session lives; anything else is 401.
pub struct Authenticated(pub Identity);

impl Refuses for Authenticated {
    fn refusals() -> Vec<ApiError> {
        let mut all = vec![ApiError::not_authenticated()];
        all.extend(AuthenticateError::refusals());
        all
    }
}

impl FromRequestParts<Arc<Http>> for Authenticated {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, http: &Arc<Http>) -> Result<Self, ApiError> {
        let Credential(token) = Credential::from_request_parts(parts, http).await?;
        let token = token.ok_or_else(ApiError::not_authenticated)?;
        Ok(Self(http.accounts.authenticate(&token).await?))
    }
}

/// A request of an administrator; 401 without a session, 403 without the role.
pub struct Admin(pub Administrator);

impl Refuses for Admin {
    fn refusals() -> Vec<ApiError> {
        let mut all = Authenticated::refusals();
        all.push(NotAdmin.into());
        all
    }
}

impl FromRequestParts<Arc<Http>> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, http: &Arc<Http>) -> Result<Self, ApiError> {
        let Authenticated(identity) = Authenticated::from_request_parts(parts, http).await?;
        let From(caller) = From::from_request_parts(parts, http).await?;
        Ok(Self(http.accounts.administrator(&identity, caller)?))
    }
}

/// The access token that the request shows, not yet looked at: the `Authorization` header, or else
/// the cookie where cookies are on. `None` if it shows none.
pub struct Credential(pub Option<String>);

impl Refuses for Credential {
    fn refusals() -> Vec<ApiError> {
        vec![ApiError::not_authenticated(), ApiError::token_invalid()]
    }
}

impl FromRequestParts<Arc<Http>> for Credential {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, http: &Arc<Http>) -> Result<Self, ApiError> {
        if parts.headers.contains_key(AUTHORIZATION) {
            return bearer(&parts.headers).map(|token| Self(Some(token.to_owned())));
        }
        Ok(Self(cookies::read(http, &parts.headers, Cookie::Access)))
    }
}

/// The signed-in user, as the use cases of his API tokens want to know him.
#[must_use]
pub fn owner<'a>(identity: &Identity, caller: &'a Caller) -> Owner<'a> {
    Owner {
        user_id: identity.user.id,
        is_admin: identity.user.role == Role::Admin,
        ip: caller.ip,
        request_id: &caller.request_id,
    }
}

/// RFC 6750, section 2.1: one header, the scheme in any case, one token.
pub fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(ApiError::token_invalid());
    };
    let text = value.to_str().map_err(|_| ApiError::token_invalid())?;
    let Some((scheme, token)) = text.split_once(' ') else {
        return Err(ApiError::not_authenticated());
    };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(ApiError::not_authenticated());
    }
    let token = token.trim_start_matches(' ');
    if token.is_empty() || token.contains([' ', ',']) {
        return Err(ApiError::token_invalid());
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, StatusCode};

    use super::*;

    fn read(lines: &[&str]) -> Result<String, StatusCode> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        bearer(&headers)
            .map(str::to_owned)
            .map_err(|error| error.status())
    }

    #[test]
    fn one_header_one_scheme_one_token() {
        assert_eq!(read(&["Bearer abc"]), Ok("abc".into()));
        assert_eq!(read(&["bearer abc"]), Ok("abc".into()));
        let malformed: [&[&str]; 7] = [
            &["Bearer"],
            &["Bearer "],
            &["Bearer a b"],
            &["Bearer a,b"],
            &["Basic dXNlcg=="],
            &["Bearer \u{e9}"],
            &["Bearer a", "Bearer b"],
        ];
        for lines in malformed {
            assert_eq!(read(lines), Err(StatusCode::UNAUTHORIZED), "{lines:?}");
        }
    }
}
