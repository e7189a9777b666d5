//! Errors as clients see them: one [`ApiError`], one stable code each (contract, section 3.6; the codes in
//! `error/table.rs`, the errors in `error/codes.rs`).
//!
//! A handler returns an [`ApiError`]; it becomes a response whose body is still empty and carries a
//! [`Problem`]. The outermost stage (`stages/envelope.rs`) writes the body, because only there the
//! request id is known and because errors made by axum itself pass there too.

mod codes;
mod table;

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{ALLOW, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::field::FieldError;
use crate::http::stages::limits::{self, MOST_HEADERS};

pub use table::Code;

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
    fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let problem = Box::new(Problem {
            code: code.name,
            detail: detail.into(),
            errors: Vec::new(),
            limit: None,
        });
        Self {
            problem,
            status: code.status,
            retry_after: None,
            challenge: None,
            close: false,
        }
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
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        // All that stages will add has room at once.
        headers.reserve(MOST_HEADERS);
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, limits::number(seconds));
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
            // What `format!` does, without its machinery: each refusal has one.
            kind: [public_url, "/problems/", problem.code].concat(),
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
