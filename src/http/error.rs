//! Errors as clients see them: one [`ApiError`], one stable code each (contract, section 3.6).
//!
//! A handler returns an [`ApiError`]; it becomes a response whose body is still empty and carries a
//! [`Problem`]. The outermost stage (`stages/envelope.rs`) writes the body, because only there the
//! request id is known and because errors made by axum itself pass there too.

use std::borrow::Cow;

use axum::http::header::{ALLOW, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::field::FieldError;

/// What went wrong, in terms of the contract.
#[derive(Clone, Debug)]
pub struct ApiError {
    problem: Box<Problem>,
    status: StatusCode,
    /// Seconds.
    retry_after: Option<u64>,
    challenge: Option<&'static str>,
    close: bool,
}

/// The body of an error answer but for what only the envelope knows. Travels in the response's extensions.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Stable, for programs.
    pub code: &'static str,
    /// For people; never a secret, never a detail of the inside.
    pub detail: Cow<'static, str>,
    /// One entry for each refused field (422).
    pub errors: Vec<FieldError>,
    /// The rule that refused and the seconds to wait (429).
    pub limit: Option<(Cow<'static, str>, u64)>,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        let problem = Box::new(Problem {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            limit: None,
        });
        Self {
            problem,
            status,
            retry_after: None,
            challenge: None,
            close: false,
        }
    }

    /// 400: the request cannot be understood.
    pub fn invalid_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
    }

    /// 400: a reset token that is unknown, used, replaced or expired.
    #[must_use]
    pub fn invalid_reset_token() -> Self {
        let detail = "This password reset link is invalid or has expired.";
        Self::new(StatusCode::BAD_REQUEST, "invalid_reset_token", detail)
    }

    /// 400: a verification token that is unknown, used, replaced or expired.
    #[must_use]
    pub fn invalid_verification_token() -> Self {
        let detail = "This verification link is invalid or has expired.";
        Self::new(StatusCode::BAD_REQUEST, "invalid_verification_token", detail)
    }

    /// 401: wrong password, or no such account. One answer for both (OWASP Authentication Cheat Sheet).
    #[must_use]
    pub fn invalid_credentials() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "invalid_credentials",
            "Incorrect email or password",
        )
    }

    /// 401: nothing in the request says who asks.
    #[must_use]
    pub fn not_authenticated() -> Self {
        let detail = "This request needs an access token.";
        let mut error = Self::new(StatusCode::UNAUTHORIZED, "not_authenticated", detail);
        error.challenge = Some("Bearer");
        error
    }

    /// 401: a genuine access token whose time is over.
    #[must_use]
    pub fn token_expired() -> Self {
        let mut error = Self::new(
            StatusCode::UNAUTHORIZED,
            "token_expired",
            "The access token has expired.",
        );
        error.challenge = Some(r#"Bearer error="invalid_token""#);
        error
    }

    /// 401: a token that is not ours, or whose session is over.
    #[must_use]
    pub fn token_invalid() -> Self {
        let mut error = Self::new(
            StatusCode::UNAUTHORIZED,
            "token_invalid",
            "The access token is not valid.",
        );
        error.challenge = Some(r#"Bearer error="invalid_token""#);
        error
    }

    /// 401: the gateway was shown nothing (RFC 6750, section 3.1: no error code then).
    #[must_use]
    pub fn no_api_token() -> Self {
        let mut error = Self::not_authenticated();
        error.problem.detail = Cow::Borrowed("This request needs an API token.");
        error
    }

    /// 401: an API token that is unknown, revoked, or of an inactive owner.
    #[must_use]
    pub fn api_token_invalid() -> Self {
        let mut error = Self::token_invalid();
        error.problem.detail = Cow::Borrowed("The API token is not valid.");
        error
    }

    /// 401: an API token whose time is over.
    #[must_use]
    pub fn api_token_expired() -> Self {
        let mut error = Self::token_expired();
        error.problem.detail = Cow::Borrowed("The API token has expired.");
        error
    }

    /// 403: a good API token without a scope that this needs.
    #[must_use]
    pub fn insufficient_scope() -> Self {
        let detail = "The API token lacks a scope that this request needs.";
        let mut error = Self::new(StatusCode::FORBIDDEN, "insufficient_scope", detail);
        error.challenge = Some(r#"Bearer error="insufficient_scope""#);
        error
    }

    /// 409: nothing about a revoked token can be changed.
    #[must_use]
    pub fn token_revoked() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "token_revoked",
            "This token has been revoked.",
        )
    }

    /// 409: the user has as many tokens as he may.
    #[must_use]
    pub fn token_limit_reached() -> Self {
        let detail = "You have as many tokens as you may. A revoked one counts until its day is over.";
        Self::new(StatusCode::CONFLICT, "token_limit_reached", detail)
    }

    /// 401: a refresh token that opens nothing.
    #[must_use]
    pub fn invalid_refresh_token() -> Self {
        let detail = "The refresh token is invalid or has expired.";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_refresh_token", detail)
    }

    /// 401: an ended refresh token came again; its session is over (RFC 9700, section 4.14.2).
    #[must_use]
    pub fn refresh_token_reused() -> Self {
        let detail = "The refresh token was used before, so its session has been ended.";
        Self::new(StatusCode::UNAUTHORIZED, "refresh_token_reused", detail)
    }

    /// 403 after the correct password.
    #[must_use]
    pub fn account_inactive() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "account_inactive",
            "This account has been deactivated.",
        )
    }

    /// 403 after the correct password.
    #[must_use]
    pub fn email_not_verified() -> Self {
        let detail = "Please confirm your email address with the link we sent before you log in.";
        Self::new(StatusCode::FORBIDDEN, "email_not_verified", detail)
    }

    /// 403: not for this caller, or from an origin that may not send cookies.
    pub fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is nothing at this address.",
        )
    }

    /// 405. The `Allow` header is added by whoever knows the methods.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let detail = "This address does not answer that method.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    }

    /// 408: the body did not arrive in time.
    #[must_use]
    pub fn request_timeout() -> Self {
        let detail = "The request body did not arrive in time.";
        let mut error = Self::new(StatusCode::REQUEST_TIMEOUT, "invalid_request", detail);
        error.close = true;
        error
    }

    /// 409. Names no account.
    #[must_use]
    pub fn email_taken() -> Self {
        let detail = "This email address cannot be used for a new account.";
        Self::new(StatusCode::CONFLICT, "email_taken", detail)
    }

    /// 413. The rest of the body is not read, so the connection ends.
    #[must_use]
    pub fn payload_too_large() -> Self {
        let detail = "The request body is larger than 16 KiB.";
        let mut error = Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", detail);
        error.close = true;
        error
    }

    /// 415.
    pub fn unsupported_media_type(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            detail,
        )
    }

    /// 422: well-formed, but fields break rules.
    #[must_use]
    pub fn validation_failed(errors: Vec<FieldError>) -> Self {
        let detail = "Some fields were refused.";
        let mut error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "validation_failed", detail);
        error.problem.errors = errors;
        error
    }

    /// 429: `limit` names the refusing rule; `retry_after` is in whole seconds, at least 1.
    pub fn rate_limited(limit: impl Into<Cow<'static, str>>, retry_after: u64) -> Self {
        let retry_after = retry_after.max(1);
        let detail = "Too many requests. Please wait before you try again.";
        let mut error = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail);
        error.problem.limit = Some((limit.into(), retry_after));
        error.retry_after = Some(retry_after);
        error
    }

    /// 500. What happened stands in the log, not here.
    #[must_use]
    pub fn internal() -> Self {
        let detail = "Something went wrong on our side.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", detail)
    }

    /// 503: the hashing queue is full.
    #[must_use]
    pub fn overloaded() -> Self {
        let detail = "The service is busy. Please try again in a moment.";
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail);
        error.retry_after = Some(1);
        error
    }

    /// 503: the database cannot be reached.
    #[must_use]
    pub fn unavailable() -> Self {
        let detail = "The service is unavailable. Please try again in a moment.";
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
        error.retry_after = Some(1);
        error
    }

    /// For an answer that some library made without us: the error its status stands for.
    #[must_use]
    pub fn for_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::not_found(),
            StatusCode::METHOD_NOT_ALLOWED => Self::method_not_allowed(),
            StatusCode::PAYLOAD_TOO_LARGE => Self::payload_too_large(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                Self::unsupported_media_type("This media type is not understood.")
            }
            StatusCode::SERVICE_UNAVAILABLE => Self::unavailable(),
            status if status.is_client_error() => {
                let mut error = Self::invalid_request("The request cannot be understood.");
                error.status = status;
                error
            }
            _ => Self::internal(),
        }
    }

    /// Its HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers that it adds to an answer, for the OpenAPI document.
    pub fn header_names(&self) -> impl Iterator<Item = &'static str> {
        let challenge = self.challenge.map(|_| "WWW-Authenticate");
        let retry_after = self.retry_after.map(|_| "Retry-After");
        challenge.into_iter().chain(retry_after)
    }

    /// Its body, as the OpenAPI document shows it.
    pub fn example(&self) -> serde_json::Value {
        let document = ProblemDocument::new(
            &self.problem,
            self.status,
            "https://auth.example.com",
            "01a20198-d819-77d0-bbba-1eb672b949e3",
        );
        serde_json::to_value(document).unwrap_or_default()
    }

    /// The body to be.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            // axum overwrites this with the methods of the route; it stands where there is no route.
            headers.insert(ALLOW, HeaderValue::from_static(""));
        }
        response.extensions_mut().insert(*self.problem);
        response
    }
}

/// An error (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemDocument<'a> {
    /// `PUBLIC_URL/problems/CODE`.
    #[serde(rename = "type")]
    #[schema(format = "uri")]
    kind: String,
    /// What its status is called.
    title: &'static str,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// For people.
    detail: &'a str,
    /// Stable, for programs.
    code: &'a str,
    /// The same as `X-Request-Id`.
    request_id: &'a str,
    /// One entry for each refused field (422).
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    #[schema(value_type = Vec<FieldError>, min_items = 1)]
    errors: &'a [FieldError],
    /// The rule that refused (429).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    limit: Option<&'a str>,
    /// The same as `Retry-After` (429).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1)]
    retry_after: Option<u64>,
}

impl<'a> ProblemDocument<'a> {
    pub(super) fn new(
        problem: &'a Problem,
        status: StatusCode,
        public_url: &str,
        request_id: &'a str,
    ) -> Self {
        Self {
            kind: format!("{public_url}/problems/{}", problem.code),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: &problem.detail,
            code: problem.code,
            request_id,
            errors: &problem.errors,
            limit: problem.limit.as_ref().map(|(rule, _)| rule.as_ref()),
            retry_after: problem.limit.as_ref().map(|(_, seconds)| *seconds),
        }
    }
}
