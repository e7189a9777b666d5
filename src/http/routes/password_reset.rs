//! Resetting a forgotten password.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use validator::Validate;

use crate::accounts::{ConfirmResetError, MailRequestError};
use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::{Answer, Body, From, text};
use crate::http::openapi::Refused;
use crate::http::routes::{Message, Routes, message};
use crate::rate_limit::Rule;
use crate::storage::StorageError;

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    Routes::default()
        .limited(Rule::PasswordReset, routes!(request))
        .limited(Rule::ResetVerify, routes!(verify))
        .limited(Rule::ResetConfirm, routes!(confirm))
}

#[derive(Deserialize, ToSchema, Validate)]
#[schema(as = PasswordResetRequest)]
struct RequestBody {
    #[validate(length(max = 1024))]
    #[schema(format = Email, max_length = 254, example = "ada@example.com")]
    email: String,
}

/// Ask for a link that resets the password.
///
/// The link is good once and for `RESET_TOKEN_EXPIRE_MINUTES`; a newer one ends it.
#[utoipa::path(
    post, path = "/api/v1/auth/password-reset/request", operation_id = "request_password_reset", tag = "Passwords",
    request_body = RequestBody,
    responses(
        (status = OK, description = "The same for an address that has an account and for one that has none.", body = Message),
        Refused<(MailRequestError, Body<RequestBody>)>,
    ),
)]
async fn request(
    State(http): State<Arc<Http>>,
    From(caller): From,
    Body(body): Body<RequestBody>,
) -> Result<Answer<Message>, ApiError> {
    http.accounts.request_password_reset(&body.email, &caller).await?;
    Ok(message(
        "Please check your mailbox.",
        "If this address has an account, a link to reset its password is on its way.",
    ))
}

#[derive(Deserialize, ToSchema, Validate)]
#[schema(as = ResetToken)]
struct VerifyBody {
    /// From the mailed link.
    #[schema(example = "q8fJ2xkS0bq3n6mYtqA7Zc1dE9uR4vWk5oLhG_pTiXs")]
    token: String,
}

/// What a token is good for. All bad ones look alike.
#[derive(Serialize, ToSchema)]
#[schema(as = ResetTokenState)]
struct Verified {
    valid: bool,
    /// Whose it is, mostly hidden; `null` of a bad one.
    #[schema(example = "a***@example.com")]
    email: Option<String>,
    #[schema(example = 600)]
    expires_in_seconds: Option<u64>,
}

/// Ask whether a reset token is good, without using it up.
#[utoipa::path(
    post, path = "/api/v1/auth/password-reset/verify", operation_id = "verify_password_reset", tag = "Passwords",
    request_body = VerifyBody,
    responses(
        (status = OK, description = "Bad tokens look alike: unknown, used, replaced or expired.", body = Verified),
        Refused<(Body<VerifyBody>, StorageError)>,
    ),
)]
async fn verify(
    State(http): State<Arc<Http>>,
    Body(body): Body<VerifyBody>,
) -> Result<Answer<Verified>, ApiError> {
    let preview = http.accounts.preview_password_reset(&body.token).await?;
    let verified = match preview {
        Some(preview) => Verified {
            valid: true,
            email: Some(preview.masked_email),
            expires_in_seconds: Some(preview.expires_in_seconds),
        },
        None => Verified {
            valid: false,
            email: None,
            expires_in_seconds: None,
        },
    };
    Ok(Answer(StatusCode::OK, verified))
}

#[derive(Deserialize, ToSchema, Validate)]
#[schema(as = PasswordReset)]
struct ConfirmBody {
    /// From the mailed link.
    #[schema(example = "q8fJ2xkS0bq3n6mYtqA7Zc1dE9uR4vWk5oLhG_pTiXs")]
    token: String,
    #[validate(custom(function = text))]
    /// Not common, not easy to guess; `PASSWORD_MIN_LENGTH` and `PASSWORD_MIN_SCORE` say how much.
    #[schema(format = Password, min_length = 8, max_length = 128, example = "four-calm-otters-drift")]
    new_password: String,
}

/// Set a new password with a reset token.
///
/// All sessions end, and a notice is mailed. A refused password does not use up the token.
#[utoipa::path(
    post, path = "/api/v1/auth/password-reset/confirm", operation_id = "confirm_password_reset", tag = "Passwords",
    request_body = ConfirmBody,
    responses(
        (status = OK, description = "The new password holds.", body = Message),
        Refused<(ConfirmResetError, Body<ConfirmBody>)>,
    ),
)]
async fn confirm(
    State(http): State<Arc<Http>>,
    From(caller): From,
    Body(body): Body<ConfirmBody>,
) -> Result<Answer<Message>, ApiError> {
    http.accounts
        .confirm_password_reset(&body.token, &body.new_password, &caller)
        .await?;
    Ok(message(
        "Your password has been changed.",
        "All sessions of this account have ended. Please log in with the new password.",
    ))
}
