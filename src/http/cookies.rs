//! Session cookies and who may send them (contract, section 3.7).
//!
//! Cookies travel with every request a browser makes, so an unsafe request that carries one must
//! come from an origin we know (OWASP Cross-Site Request Forgery Prevention Cheat Sheet).

use axum::http::header::{COOKIE, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum_extra::extract::cookie::{Cookie as Built, CookieJar, SameSite};

use crate::http::error::ApiError;
use crate::http::{Http, Settings};

/// The two cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cookie {
    /// Holds the access token.
    Access,
    /// Holds the refresh token.
    Refresh,
}

impl Cookie {
    /// `__Host-` binds a cookie to this host and to https; over http browsers refuse it.
    fn name(self, settings: &Settings) -> &'static str {
        match (self, settings.is_https()) {
            (Self::Access, true) => "__Host-stile_access",
            (Self::Refresh, true) => "__Host-stile_refresh",
            (Self::Access, false) => "stile_access",
            (Self::Refresh, false) => "stile_refresh",
        }
    }
}

/// The value of a cookie that the request carries; `None` while cookies are off.
#[must_use]
pub fn read(http: &Http, headers: &HeaderMap, cookie: Cookie) -> Option<String> {
    if !http.settings.auth_cookies || !headers.contains_key(COOKIE) {
        return None;
    }
    let jar = CookieJar::from_headers(headers);
    jar.get(cookie.name(&http.settings))
        .map(|cookie| cookie.value().to_owned())
}

/// 403 for an unsafe request that carries one of our cookies from an origin we do not know.
pub fn check_origin(http: &Http, method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
    let carries = |cookie| read(http, headers, cookie).is_some();
    if method.is_safe() || !(carries(Cookie::Access) || carries(Cookie::Refresh)) {
        return Ok(());
    }
    demand_origin(http, headers)
}

/// 403 unless `Origin` is that of `FRONTEND_URL`, `PUBLIC_URL` or one of `CORS_ORIGINS`.
pub fn demand_origin(http: &Http, headers: &HeaderMap) -> Result<(), ApiError> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let known = match (origins.next(), origins.next()) {
        (Some(origin), None) => http
            .settings
            .cookie_origins()
            .any(|known| known.as_bytes() == origin.as_bytes()),
        _ => false,
    };
    if known { Ok(()) } else { Err(unknown_origin()) }
}

/// 403 for cookies from elsewhere.
#[must_use]
pub fn unknown_origin() -> ApiError {
    ApiError::forbidden("This origin may not send cookies.")
}

/// Sets a cookie that lives `seconds`; 0 seconds takes it away, with the same attributes.
pub fn set(headers: &mut HeaderMap, settings: &Settings, cookie: Cookie, value: &str, seconds: u64) {
    let built = Built::build((cookie.name(settings), value))
        .path("/")
        .http_only(true)
        .secure(settings.is_https())
        .same_site(SameSite::Lax)
        .max_age(time::Duration::seconds(
            i64::try_from(seconds).unwrap_or(i64::MAX),
        ))
        .build();
    if let Ok(line) = HeaderValue::try_from(built.to_string()) {
        headers.append(SET_COOKIE, line);
    }
}

/// Takes both cookies away.
pub fn clear(headers: &mut HeaderMap, settings: &Settings) {
    set(headers, settings, Cookie::Access, "", 0);
    set(headers, settings, Cookie::Refresh, "", 0);
}
