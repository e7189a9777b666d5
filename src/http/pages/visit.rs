//! Who visits a page: the session in the cookies, refreshed when its access token has run out, and what the
//! visitor's forms are bound to.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::reply;
use crate::accounts::{AuthenticateError, Caller, Identity, RefreshError, SessionTokens};
use crate::audit::{Event, EventKind, Outcome};
use crate::credentials::{Purpose, SecretToken};
use crate::http::Http;
use crate::http::cookies::{self, Cookie};
use crate::http::error::ApiError;
use crate::http::extract::From;
use crate::http::stages::{Rest, Stage};
use crate::rate_limit::{Charge, Rule, Subject};

/// Who visits.
#[derive(Clone)]
pub struct Visitor {
    /// Whose live session the cookies are of.
    pub identity: Option<Identity>,
    /// The session that a form is bound to, where it acts in the name of one.
    bound_to: Option<Uuid>,
    form_key: Arc<str>,
    form_key_is_new: bool,
}

impl Visitor {
    /// Anybody: looks at nothing but what forms are bound to.
    #[must_use]
    pub fn anybody(http: &Http, headers: &HeaderMap) -> Self {
        let kept = cookies::read_for_page(&http.settings, headers, Cookie::Form);
        let kept = kept.as_deref().and_then(SecretToken::parse);
        let form_key_is_new = kept.is_none();
        let key = kept.unwrap_or_else(SecretToken::generate);
        Self {
            identity: None,
            bound_to: None,
            form_key: Arc::from(key.expose()),
            form_key_is_new,
        }
    }

    /// The hidden field that proves of a form that it was on our page, in this browser and session (OWASP
    /// Cross-Site Request Forgery Prevention Cheat Sheet: signed double-submit cookie).
    #[must_use]
    pub fn form_token(&self, http: &Http) -> String {
        http.secret_keys.mac(Purpose::PageForm, &self.form_text())
    }

    /// Whether `token` is that of a form of this visitor.
    #[must_use]
    pub fn owns_form(&self, token: &str, http: &Http) -> bool {
        let text = self.form_text();
        let is = |expected: &str| bool::from(expected.as_bytes().ct_eq(token.as_bytes()));
        let keys = &http.secret_keys;
        let previous = keys.previous_mac(Purpose::PageForm, &text);
        !self.form_key_is_new
            && (is(&keys.mac(Purpose::PageForm, &text)) || previous.is_some_and(|mac| is(&mac)))
    }

    fn form_text(&self) -> String {
        let session = self.bound_to.map(|id| id.to_string()).unwrap_or_default();
        format!("{} {session}", self.form_key)
    }

    /// Gives the browser what its forms will be checked against.
    pub fn keep_form_key(&self, http: &Http, headers: &mut HeaderMap) {
        if self.form_key_is_new {
            cookies::set_for_visit(headers, &http.settings, Cookie::Form, &self.form_key);
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let visitor = parts.extensions.get::<Self>().cloned();
        visitor.ok_or_else(ApiError::internal)
    }
}

/// The stage in front of all pages.
#[derive(Clone)]
pub struct Visits {
    http: Arc<Http>,
    signed_in_only: bool,
}

impl Visits {
    /// For pages that need nobody's session.
    #[must_use]
    pub fn of_anybody(http: &Arc<Http>) -> Self {
        Self {
            http: Arc::clone(http),
            signed_in_only: false,
        }
    }

    /// For pages of whoever is signed in; anybody else is sent to the sign-in, and back from there.
    #[must_use]
    pub fn of_signed_in(http: &Arc<Http>) -> Self {
        Self {
            http: Arc::clone(http),
            signed_in_only: true,
        }
    }
}

/// What the session cookies turned out to be.
enum Session {
    None,
    Live(Identity),
    /// Its access token had run out.
    Refreshed(Box<SessionTokens>),
    /// The cookies open nothing any more.
    Over,
}

impl Stage for Visits {
    async fn answer(&self, request: &mut Request, rest: impl Rest) -> Response {
        match self.visit(request, rest).await {
            Ok(response) => response,
            Err(error) => error.into_response(),
        }
    }
}

impl Visits {
    async fn visit(&self, request: &mut Request, rest: impl Rest) -> Result<Response, ApiError> {
        let http = &self.http;
        let (mut parts, body) = std::mem::take(request).into_parts();
        let is_safe = parts.method.is_safe();
        let session = self.session(&mut parts).await?;
        let mut visitor = Visitor::anybody(http, &parts.headers);
        visitor.identity = match &session {
            Session::Live(identity) => Some(identity.clone()),
            Session::Refreshed(tokens) => Some(Identity {
                user: tokens.user.clone(),
                session_id: tokens.session_id,
            }),
            Session::None | Session::Over => None,
        };
        let session_id = visitor.identity.as_ref().map(|identity| identity.session_id);
        visitor.bound_to = session_id.filter(|_| self.signed_in_only);
        let mut response = if self.signed_in_only && session_id.is_none() {
            let asked_for = (parts.method == Method::GET).then(|| parts.uri.path_and_query());
            reply::to_sign_in(http, asked_for.flatten().map(PathAndQuery::as_str))
        } else {
            parts.extensions.insert(visitor.clone());
            rest.answer(&mut Request::from_parts(parts, body)).await
        };
        let is_redirect = response.status().is_redirection();
        let headers = response.headers_mut();
        // A page that signs in or out has the last word.
        if !headers.contains_key(SET_COOKIE) {
            match session {
                Session::Refreshed(tokens) => cookies::set_session(headers, &http.settings, &tokens),
                Session::Over => cookies::clear(headers, &http.settings),
                Session::None | Session::Live(_) => {}
            }
        }
        // A form that comes without it is refused; another site that sends one has no say in what the next are bound to.
        if is_safe && !is_redirect {
            visitor.keep_form_key(http, headers);
        }
        Ok(response)
    }

    async fn session(&self, parts: &mut Parts) -> Result<Session, ApiError> {
        let (http, headers) = (&self.http, &parts.headers);
        let access = cookies::read_for_page(&http.settings, headers, Cookie::Access);
        let refresh = cookies::read_for_page(&http.settings, headers, Cookie::Refresh);
        let had_access = access.is_some();
        if let Some(token) = access {
            match http.accounts.authenticate(&token).await {
                Ok(identity) => return Ok(Session::Live(identity)),
                Err(AuthenticateError::Expired | AuthenticateError::Invalid) => {}
                Err(AuthenticateError::Storage(error)) => return Err(error.into()),
            }
        }
        let Some(token) = refresh else {
            return Ok(if had_access { Session::Over } else { Session::None });
        };
        let From(caller) = From::from_request_parts(parts, http).await?;
        match self.refresh(&token, &caller).await {
            Err(_) if !self.signed_in_only => Ok(Session::None),
            session => session,
        }
    }

    /// What `POST /auth/refresh` does, under the same limit.
    async fn refresh(&self, token: &str, caller: &Caller) -> Result<Session, ApiError> {
        charge(&self.http, Rule::Refresh, caller).await?;
        match self.http.accounts.refresh(token, caller).await {
            Ok(tokens) => Ok(Session::Refreshed(Box::new(tokens))),
            Err(RefreshError::Invalid | RefreshError::Reused) => Ok(Session::Over),
            Err(RefreshError::Storage(error)) => Err(error.into()),
        }
    }
}

/// Charges the client for what a page does besides the work that its own route is limited for.
pub async fn charge(http: &Http, rule: Rule, caller: &Caller) -> Result<(), ApiError> {
    if caller.exempt || !http.limiter.settings().enabled {
        return Ok(());
    }
    let subject = Subject::Client(caller.client);
    let decision = http.limiter.take(&[Charge { rule, subject }]).await;
    let Some(refusal) = decision.refusal() else {
        return Ok(());
    };
    let rule = refusal.rule.name();
    let event = Event::new(EventKind::RateLimited, Outcome::Failure).because(rule);
    http.audit
        .record(&event.in_request(caller.ip, &caller.request_id));
    Err(ApiError::rate_limited(rule, decision.retry_after_seconds()))
}
