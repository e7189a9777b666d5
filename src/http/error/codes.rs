//! Every error that a client can meet: its code, and what it says to people. A new one is a constructor here; a new code a
//! line in `table.rs` besides.

use std::borrow::Cow;

use axum::http::StatusCode;

use super::{ApiError, Code};
use crate::field::FieldError;

impl ApiError {
    /// 400: the request cannot be understood.
    pub fn invalid_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::INVALID_REQUEST, detail)
    }

    /// 400: a reset token that is unknown, used, replaced or expired.
    #[must_use]
    pub fn invalid_reset_token() -> Self {
        let detail = "This password reset link is invalid or has expired.";
        Self::new(Code::INVALID_RESET_TOKEN, detail)
    }

    /// 400: a verification token that is unknown, used, replaced or expired.
    #[must_use]
    pub fn invalid_verification_token() -> Self {
        let detail = "This verification link is invalid or has expired.";
        Self::new(Code::INVALID_VERIFICATION_TOKEN, detail)
    }

    /// 401: wrong password, or no such account. One answer for both (OWASP Authentication Cheat Sheet).
    #[must_use]
    pub fn invalid_credentials() -> Self {
        Self::new(Code::INVALID_CREDENTIALS, "Incorrect email or password")
    }

    /// 401: nothing in the request says who asks.
    #[must_use]
    pub fn not_authenticated() -> Self {
        let detail = "This request needs an access token.";
        let mut error = Self::new(Code::NOT_AUTHENTICATED, detail);
        error.challenge = Some("Bearer");
        error
    }

    /// 401: a genuine access token whose time is over.
    #[must_use]
    pub fn token_expired() -> Self {
        let mut error = Self::new(Code::TOKEN_EXPIRED, "The access token has expired.");
        error.challenge = Some(r#"Bearer error="invalid_token""#);
        error
    }

    /// 401: a token that is not ours, or whose session is over.
    #[must_use]
    pub fn token_invalid() -> Self {
        let mut error = Self::new(Code::TOKEN_INVALID, "The access token is not valid.");
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
        let mut error = Self::new(Code::INSUFFICIENT_SCOPE, detail);
        error.challenge = Some(r#"Bearer error="insufficient_scope""#);
        error
    }

    /// 409: nothing about a revoked token can be changed.
    #[must_use]
    pub fn token_revoked() -> Self {
        Self::new(Code::TOKEN_REVOKED, "This token has been revoked.")
    }

    /// 409: the user has as many tokens as he may.
    #[must_use]
    pub fn token_limit_reached() -> Self {
        let detail = "You have as many tokens as you may. A revoked one counts until its day is over.";
        Self::new(Code::TOKEN_LIMIT_REACHED, detail)
    }

    /// 401: a refresh token that opens nothing.
    #[must_use]
    pub fn invalid_refresh_token() -> Self {
        let detail = "The refresh token is invalid or has expired.";
        Self::new(Code::INVALID_REFRESH_TOKEN, detail)
    }

    /// 401: an ended refresh token came again; its session is over (RFC 9700, section 4.14.2).
    #[must_use]
    pub fn refresh_token_reused() -> Self {
        let detail = "The refresh token was used before, so its session has been ended.";
        Self::new(Code::REFRESH_TOKEN_REUSED, detail)
    }

    /// 403 after the correct password.
    #[must_use]
    pub fn account_inactive() -> Self {
        Self::new(Code::ACCOUNT_INACTIVE, "This account has been deactivated.")
    }

    /// 403 after the correct password.
    #[must_use]
    pub fn email_not_verified() -> Self {
        let detail = "Please confirm your email address with the link we sent before you log in.";
        Self::new(Code::EMAIL_NOT_VERIFIED, detail)
    }

    /// 403: not for this caller, or from an origin that may not send cookies.
    pub fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::FORBIDDEN, detail)
    }

    /// 404.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(Code::NOT_FOUND, "There is nothing at this address.")
    }

    /// 405. The `Allow` header is added by whoever knows the methods.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let detail = "This address does not answer that method.";
        Self::new(Code::METHOD_NOT_ALLOWED, detail)
    }

    /// 408: the body did not arrive in time.
    #[must_use]
    pub fn request_timeout() -> Self {
        let detail = "The request body did not arrive in time.";
        let mut error = Self::new(Code::INVALID_REQUEST, detail);
        error.status = StatusCode::REQUEST_TIMEOUT;
        error.close = true;
        error
    }

    /// 409. Names no account.
    #[must_use]
    pub fn email_taken() -> Self {
        let detail = "This email address cannot be used for a new account.";
        Self::new(Code::EMAIL_TAKEN, detail)
    }

    /// 413. The rest of the body is not read, so the connection ends.
    #[must_use]
    pub fn payload_too_large() -> Self {
        let detail = "The request body is larger than 16 KiB.";
        let mut error = Self::new(Code::PAYLOAD_TOO_LARGE, detail);
        error.close = true;
        error
    }

    /// 415.
    pub fn unsupported_media_type(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    /// 422: well-formed, but fields break rules.
    #[must_use]
    pub fn validation_failed(errors: Vec<FieldError>) -> Self {
        let detail = "Some fields were refused.";
        let mut error = Self::new(Code::VALIDATION_FAILED, detail);
        error.problem.errors = errors;
        error
    }

    /// 429: `limit` names the refusing rule; `retry_after` is in whole seconds, at least 1.
    pub fn rate_limited(limit: impl Into<Cow<'static, str>>, retry_after: u64) -> Self {
        let retry_after = retry_after.max(1);
        let detail = "Too many requests. Please wait before you try again.";
        let mut error = Self::new(Code::RATE_LIMITED, detail);
        error.problem.limit = Some((limit.into(), retry_after));
        error.retry_after = Some(retry_after);
        error
    }

    /// 500. What happened stands in the log, not here.
    #[must_use]
    pub fn internal() -> Self {
        let detail = "Something went wrong on our side.";
        Self::new(Code::INTERNAL_ERROR, detail)
    }

    /// 503: the hashing queue is full.
    #[must_use]
    pub fn overloaded() -> Self {
        let detail = "The service is busy. Please try again in a moment.";
        let mut error = Self::new(Code::OVERLOADED, detail);
        error.retry_after = Some(1);
        error
    }

    /// 503: the database cannot be reached.
    #[must_use]
    pub fn unavailable() -> Self {
        let detail = "The service is unavailable. Please try again in a moment.";
        let mut error = Self::new(Code::UNAVAILABLE, detail);
        error.retry_after = Some(1);
        error
    }
}
