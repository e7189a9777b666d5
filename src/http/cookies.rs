//! Session cookies and who may send them (contract, section 3.7), and the cookie that the pages' forms are bound to.
//!
//! Cookies travel with every request a browser makes, so an unsafe request that carries one must
//! come from an origin we know (OWASP Cross-Site Request Forgery Prevention Cheat Sheet).

use axum::http::header::{COOKIE, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum_extra::extract::cookie::{Cookie as Built, CookieJar, SameSite};

use crate::accounts::SessionTokens;
use crate::http::error::ApiError;
use crate::http::{Http, Settings};

/// Our cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cookie {
    /// Holds the access token.
    Access,
    /// Holds the refresh token.
    Refresh,
    /// Holds what the forms of the pages are bound to. Opens nothing.
    Form,
}

impl Cookie {
    /// `__Host-` binds a cookie to this host and to https; over http browsers refuse it.
    fn name(self, settings: &Settings) -> &'static str {
        match (self, settings.is_https()) {
            (Self::Access, true) => "__Host-stile_access",
            (Self::Refresh, true) => "__Host-stile_refresh",
            (Self::Form, true) => "__Host-stile_form",
            (Self::Access, false) => "stile_access",
            (Self::Refresh, false) => "stile_refresh",
            (Self::Form, false) => "stile_form",
        }
    }
}

/// The value of a cookie that the request carries, for the API; `None` while cookies are off.
#[must_use]
pub fn read(http: &Http, headers: &HeaderMap, cookie: Cookie) -> Option<String> {
    if http.settings.auth_cookies {
        read_for_page(&http.settings, headers, cookie)
    } else {
        None
    }
}

/// The value of a cookie that the request carries, for a page: people's browsers know no other way to be signed in,
/// whether the API takes cookies or not.
#[must_use]
pub fn read_for_page(settings: &Settings, headers: &HeaderMap, cookie: Cookie) -> Option<String> {
    if !headers.contains_key(COOKIE) {
        return None;
    }
    let jar = CookieJar::from_headers(headers);
    jar.get(cookie.name(settings))
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
    if only_origin(headers).is_some_and(|origin| is_known(&http.settings, origin)) {
        Ok(())
    } else {
        Err(unknown_origin())
    }
}

/// 403 for cookies from elsewhere.
#[must_use]
pub fn unknown_origin() -> ApiError {
    ApiError::forbidden("This origin may not send cookies.")
}

/// 403 unless a page of ours sent the form.
pub fn demand_page_origin(http: &Http, headers: &HeaderMap) -> Result<(), ApiError> {
    if only_origin(headers).is_some_and(|origin| is_of_our_pages(&http.settings, origin)) {
        Ok(())
    } else {
        Err(ApiError::forbidden(
            "This form was not sent from one of our pages.",
        ))
    }
}

/// Whether `origin` is one that we know, or that of our own pages. A machine that calls itself `http://localhost` answers
/// to its other loopback names too: who opens `http://127.0.0.1:8000` sends that as the origin of our own page.
#[must_use]
pub fn is_of_our_pages(settings: &Settings, origin: &str) -> bool {
    let own_port = loopback_port(&settings.public_url);
    is_known(settings, origin) || own_port.is_some_and(|port| loopback_port(origin) == Some(port))
}

fn only_origin(headers: &HeaderMap) -> Option<&str> {
    let mut origins = headers.get_all(ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (Some(origin), None) => origin.to_str().ok(),
        _ => None,
    }
}

fn is_known(settings: &Settings, origin: &str) -> bool {
    settings.cookie_origins().any(|known| known == origin)
}

/// The port behind `http://localhost`, `http://127.0.0.1` or `http://[::1]`.
fn loopback_port(url: &str) -> Option<u16> {
    let url = url::Url::parse(url).ok().filter(|url| url.scheme() == "http")?;
    let is_loopback = match url.host()? {
        url::Host::Domain(name) => name == "localhost",
        url::Host::Ipv4(address) => address.is_loopback(),
        url::Host::Ipv6(address) => address.is_loopback(),
    };
    url.port_or_known_default().filter(|_| is_loopback)
}

/// Sets a cookie that lives `seconds`; 0 seconds takes it away, with the same attributes.
pub fn set(headers: &mut HeaderMap, settings: &Settings, cookie: Cookie, value: &str, seconds: u64) {
    let age = time::Duration::seconds(i64::try_from(seconds).unwrap_or(i64::MAX));
    let mut built = built(settings, cookie, value);
    built.set_max_age(age);
    append(headers, &built);
}

/// Sets a cookie that lives as long as the browser is open.
pub fn set_for_visit(headers: &mut HeaderMap, settings: &Settings, cookie: Cookie, value: &str) {
    append(headers, &built(settings, cookie, value));
}

/// Sets the two cookies of a session.
pub fn set_session(headers: &mut HeaderMap, settings: &Settings, tokens: &SessionTokens) {
    set(
        headers,
        settings,
        Cookie::Access,
        &tokens.access_token,
        tokens.expires_in,
    );
    set(
        headers,
        settings,
        Cookie::Refresh,
        &tokens.refresh_token,
        tokens.refresh_expires_in,
    );
}

fn built<'a>(settings: &Settings, cookie: Cookie, value: &'a str) -> Built<'a> {
    Built::build((cookie.name(settings), value))
        .path("/")
        .http_only(true)
        .secure(settings.is_https())
        .same_site(SameSite::Lax)
        .build()
}

fn append(headers: &mut HeaderMap, cookie: &Built<'_>) {
    if let Ok(line) = HeaderValue::try_from(cookie.to_string()) {
        headers.append(SET_COOKIE, line);
    }
}

/// Takes the cookies of a session away.
pub fn clear(headers: &mut HeaderMap, settings: &Settings) {
    set(headers, settings, Cookie::Access, "", 0);
    set(headers, settings, Cookie::Refresh, "", 0);
}
