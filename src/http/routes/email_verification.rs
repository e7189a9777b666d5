//! Proving an e-mail address.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;
use validator::Validate;

use crate::accounts::{MailRequestError, VerifyEmailError};
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::{Answer, Body, From};
use crate::http::openapi::Refused;
use crate::http::routes::{Message, Routes, message};
use crate::rate_limit::Rule;

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    Routes::default()
        .limited(Rule::VerifyEmail, routes!(verify))
        .limited(Rule::ResendVerification, routes!(resend))
}

#[derive(Deserialize, ToSchema, Validate)]
#[schema(as = VerificationToken)]
struct VerifyBody {
    /// From the mailed link.
    #[schema(example = "q8fJ2xkS0bq3n6mYtqA7Zc1dE9uR4vWk5oLhG_pTiXs")]
    token: String,
}

/// Prove an address with the mailed token.
///
/// Also makes a change of address take effect.
#[utoipa::path(
    post, path = "/api/v1/auth/verify-email", operation_id = "verify_email", tag = "Accounts",
    request_body = VerifyBody,
    responses(
        (status = OK, description = "The address is proven.", body = Message),
        Refused<(VerifyEmailError, Body<VerifyBody>)>,
    ),
)]
async fn verify(
    State(http): State<Arc<Http>>,
    From(caller): From,
    Body(body): Body<VerifyBody>,
) -> Result<Answer<Message>, ApiError> {
    http.accounts.verify_email(&body.token, &caller).await?;
    Ok(message(
        "Your email address is confirmed.",
        "You can log in with this address.",
    ))
}

#[derive(Deserialize, ToSchema, Validate)]
#[schema(as = VerificationRequest)]
struct ResendBody {
    #[validate(length(max = 1024))]
    #[schema(format = Email, max_length = 254, example = "ada@example.com")]
    email: String,
}

/// Ask for the verification mail again.
#[utoipa::path(
    post, path = "/api/v1/auth/resend-verification", operation_id = "resend_verification", tag = "Accounts",
    request_body = ResendBody,
    responses(
        (status = OK, description = "The same whether the address waits to be proven or not.", body = Message),
        Refused<(MailRequestError, Body<ResendBody>)>,
    ),
)]
async fn resend(
    State(http): State<Arc<Http>>,
    From(caller): From,
    Body(body): Body<ResendBody>,
) -> Result<Answer<Message>, ApiError> {
    http.accounts.resend_verification(&body.email, &caller).await?;
    Ok(message(
        "Please check your mailbox.",
        "If this address is waiting to be confirmed, a new link is on its way.",
    ))
}
