//! How pages answer: as HTML in the common frame, or by leading on to another page.

use std::borrow::Cow;

use askama::Template;
use axum::http::header::{CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use url::form_urlencoded;

use super::Pages;
use super::visit::Visitor;
use crate::accounts::{Role, User};
use crate::brand::Brand;
use crate::clock::Timestamp;
use crate::field::FieldError;
use crate::http::Http;
use crate::http::error::{ApiError, Problem};

/// What every page shows around its own content. The templates' `base.html` knows it as `frame`.
pub struct Frame<'a> {
    /// Of the page, without the product's name.
    pub title: &'a str,
    /// Title of the tab that the page is under: its own, or that of a page above it.
    pub tab: &'a str,
    /// The path that every address of ours begins with.
    pub base: &'a str,
    /// The product.
    pub brand: &'a Brand,
    /// Address of the stylesheet.
    pub style: String,
    /// Address of the script.
    pub script: String,
    /// Address of the chart's script.
    pub chart: String,
    /// Address of the mark.
    pub mark: String,
    /// The proof that goes with each form.
    pub form_token: String,
    /// Who is signed in, on pages that are theirs.
    pub user: Option<&'a User>,
    /// Addresses and titles of the pages beside this one.
    pub tabs: &'static [(&'static str, &'static str)],
}

/// Addresses and titles of the account's pages.
const TABS: &[(&str, &str)] = &[
    ("/account", "Profile"),
    ("/account/password", "Password"),
    ("/account/sessions", "Sessions"),
    ("/account/tokens", "API tokens"),
    ("/account/activity", "Activity"),
];

/// What an operator sees besides.
const OPERATOR_TABS: &[(&str, &str)] = &[
    ("/account", "Profile"),
    ("/account/password", "Password"),
    ("/account/sessions", "Sessions"),
    ("/account/tokens", "API tokens"),
    ("/account/activity", "Activity"),
    ("/admin/users", "Users"),
    ("/admin/limits", "Limits"),
    ("/admin/limiter", "Limiter"),
    ("/admin/audit", "Audit log"),
];

impl<'a> Frame<'a> {
    /// A page of a visitor. 404 while there are no pages, which nobody gets to see.
    pub fn of(http: &'a Http, visitor: &'a Visitor, title: &'a str) -> Result<Self, ApiError> {
        let pages = http.pages.as_ref().ok_or_else(ApiError::not_found)?;
        let user = visitor.identity.as_ref().map(|identity| &identity.user);
        Ok(Self {
            form_token: visitor.form_token(http),
            user,
            tabs: match user.map(|user| user.role) {
                Some(Role::Admin) => OPERATOR_TABS,
                _ => TABS,
            },
            ..Self::bare(pages, title)
        })
    }

    /// Under the tab of another page.
    #[must_use]
    pub fn under(self, tab: &'a str) -> Self {
        Self { tab, ..self }
    }

    /// A page without forms, of nobody.
    #[must_use]
    pub fn bare(pages: &'a Pages, title: &'a str) -> Self {
        let asset = |path: String| format!("{}{path}", pages.base);
        Self {
            title,
            tab: title,
            base: &pages.base,
            brand: &pages.brand,
            style: asset(pages.assets.style.path()),
            script: asset(pages.assets.script.path()),
            chart: asset(pages.assets.chart.path()),
            mark: asset(pages.assets.mark.path()),
            form_token: String::new(),
            user: None,
            tabs: TABS,
        }
    }
}

/// What is wrong with a form that was sent, for its page to show: each fault beside its field, the rest above.
#[derive(Default)]
pub struct Faults {
    fields: Vec<FieldError>,
    /// What is wrong with the whole.
    pub alert: Option<Cow<'static, str>>,
    /// Seconds until it is worth another try.
    pub wait: Option<u64>,
    /// The refusal's code; empty where nothing is wrong.
    pub code: &'static str,
    refusal: Option<ApiError>,
}

impl Faults {
    /// Those of a use case or of a limit.
    #[must_use]
    pub fn of(error: ApiError) -> Self {
        let problem = error.problem();
        let alert = match &problem.limit {
            Some((rule, _)) => Some(Cow::Borrowed(too_often(rule))),
            None if problem.errors.is_empty() => Some(in_words(problem)),
            None => None,
        };
        Self {
            fields: problem.errors.clone(),
            alert,
            wait: problem.limit.as_ref().map(|(_, seconds)| *seconds),
            code: problem.code,
            refusal: Some(error),
        }
    }

    /// What is wrong with the field `name`; empty if nothing is.
    #[must_use]
    pub fn at(&self, name: &str) -> &str {
        // `/scopes/0` is the field `scopes`.
        let own = |fault: &&FieldError| fault.pointer.split('/').nth(1) == Some(name);
        let fault = self.fields.iter().find(own);
        fault.map_or("", |fault| fault.message.as_str())
    }

    /// Whether anything is wrong.
    #[must_use]
    pub fn any(&self) -> bool {
        self.refusal.is_some()
    }

    /// The wait as people say it, for browsers without script.
    #[must_use]
    pub fn wait_in_words(&self) -> String {
        self.wait.map(span).unwrap_or_default()
    }
}

/// A page, with the status and headers of what is wrong with it; 200 where nothing is.
pub fn answer(http: &Http, page: &impl Template, faults: &Faults) -> Result<Response, ApiError> {
    let pages = http.pages.as_ref().ok_or_else(ApiError::not_found)?;
    Ok(match &faults.refusal {
        None => html(StatusCode::OK, page, pages),
        Some(refusal) => with_page(refusal.clone().into_response(), page, pages),
    })
}

/// Turns a refusal into one that shows `page`: status and headers stay.
pub fn with_page(refusal: Response, page: &impl Template, pages: &Pages) -> Response {
    let (mut parts, _) = refusal.into_parts();
    parts.extensions.remove::<Problem>();
    // That of the body which it has not got.
    parts.headers.remove(CONTENT_LENGTH);
    let (own, body) = html(parts.status, page, pages).into_parts();
    parts.headers.extend(own.headers);
    Response::from_parts(parts, body)
}

/// Whole seconds as people say them: `42 seconds`, `3 minutes`, `2 hours`. Never less than they are.
#[must_use]
pub fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..=90 => (seconds, "second"),
        91..=5_400 => (seconds.div_ceil(60), "minute"),
        _ => (seconds.div_ceil(3_600), "hour"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

/// A moment as everybody can read it; our script shows it in the reader's own time: `2026-11-22 08:12 UTC`.
#[must_use]
#[expect(clippy::trivially_copy_pass_by_ref, reason = "templates hand over references")]
pub fn date(at: &Timestamp) -> String {
    let text = at.to_string();
    match text
        .split_once('T')
        .and_then(|(day, time)| Some((day, time.get(..5)?)))
    {
        Some((day, minute)) => format!("{day} {minute} UTC"),
        None => text,
    }
}

/// What a limit's refusal means to the person who meets it.
fn too_often(rule: &str) -> &'static str {
    match rule {
        "login" => "There were too many attempts to sign in from your network.",
        "login_account" => "There were too many failed attempts to sign in to this account.",
        "registration" => "Several accounts were made from your network just now.",
        "password_reset" => "Several links to reset a password were asked for from your network.",
        "reset_confirm" | "reset_verify" | "verify_email" => "This was tried too often from your network.",
        "resend_verification" => "Several links were asked for from your network just now.",
        "change_password" => "There were too many attempts with a password from your network.",
        _ => "There were too many requests from your network at once.",
    }
}

/// The API's sentences serve here too, but for those that speak of requests and tokens.
pub fn in_words(problem: &Problem) -> Cow<'static, str> {
    match problem.code {
        "invalid_credentials" => {
            "This e-mail address and password do not belong together. Please check both.".into()
        }
        "invalid_reset_token" | "invalid_verification_token" => {
            "This link or code is not good any more. It works once and only for a while, and a newer one replaces it."
                .into()
        }
        "method_not_allowed" => "This address only takes a form; it is no page of its own.".into(),
        "token_invalid" | "token_expired" => "You are signed out. Please sign in again.".into(),
        _ => problem.detail.clone(),
    }
}

/// A page.
fn html(status: StatusCode, page: &impl Template, pages: &Pages) -> Response {
    match page.render() {
        Ok(text) => {
            let kind = HeaderValue::from_static("text/html; charset=utf-8");
            let headers = [
                (CONTENT_TYPE, kind),
                (CONTENT_SECURITY_POLICY, pages.policy.clone()),
            ];
            (status, headers, text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a page could not be written");
            ApiError::internal().into_response()
        }
    }
}

/// 303 to one of our pages: `path` begins with a slash.
pub fn see_other(http: &Http, path: &str) -> Response {
    let base = http.pages.as_ref().map_or("", |pages| pages.base.as_str());
    to(&format!("{base}{path}"))
}

/// 303 to an address as it is.
pub fn to(location: &str) -> Response {
    match HeaderValue::try_from(location) {
        Ok(location) => (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response(),
        Err(_) => ApiError::internal().into_response(),
    }
}

/// 303 to the sign-in, which leads back to `path` of ours.
pub fn to_sign_in(http: &Http, path: Option<&str>) -> Response {
    let Some(path) = path.filter(|path| *path != "/account") else {
        return see_other(http, "/sign-in");
    };
    let base = http.pages.as_ref().map_or("", |pages| pages.base.as_str());
    let back: String = form_urlencoded::byte_serialize(format!("{base}{path}").as_bytes()).collect();
    see_other(http, &format!("/sign-in?return_to={back}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_said_in_its_unit_and_never_too_short() {
        for (seconds, words) in [
            (1, "1 second"),
            (90, "90 seconds"),
            (91, "2 minutes"),
            (3_600, "60 minutes"),
            (5_401, "2 hours"),
        ] {
            assert_eq!(span(seconds), words);
        }
    }
}
