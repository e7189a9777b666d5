//! Resetting a forgotten password.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use validator::Validate;

use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::{Answer, Body, From, text};
use crate::http::routes::{Message, Routes, Verb, message};
use crate::rate_limit::Rule;

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    Routes::default()
        .limited(
            Rule::PasswordReset,
            Verb::Post,
            "/api/v1/auth/password-reset/request",
            request,
        )
        .limited(
            Rule::ResetVerify,
            Verb::Post,
            "/api/v1/auth/password-reset/verify",
            verify,
        )
        .limited(
            Rule::ResetConfirm,
            Verb::Post,
            "/api/v1/auth/password-reset/confirm",
            confirm,
        )
}

#[derive(Deserialize, Validate)]
struct RequestBody {
    #[validate(length(max = 1024))]
    email: String,
}

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

#[derive(Deserialize, Validate)]
struct VerifyBody {
    #[validate(length(max = 1024))]
    token: String,
}

/// What a token is good for. All bad ones look alike.
#[derive(Serialize)]
struct Verified {
    valid: bool,
    email: Option<String>,
    expires_in_seconds: Option<u64>,
}

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

#[derive(Deserialize, Validate)]
struct ConfirmBody {
    #[validate(length(max = 1024))]
    token: String,
    #[validate(custom(function = text))]
    new_password: String,
}

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
