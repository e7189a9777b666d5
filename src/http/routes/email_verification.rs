//! Proving an e-mail address.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use validator::Validate;

use crate::http::Http;
use crate::http::error::ApiError;
use crate::http::extract::{Answer, Body, From};
use crate::http::routes::{Message, Routes, Verb, message};
use crate::rate_limit::Rule;

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    Routes::default()
        .limited(Rule::VerifyEmail, Verb::Post, "/api/v1/auth/verify-email", verify)
        .limited(
            Rule::ResendVerification,
            Verb::Post,
            "/api/v1/auth/resend-verification",
            resend,
        )
}

#[derive(Deserialize, Validate)]
struct VerifyBody {
    #[validate(length(max = 1024))]
    token: String,
}

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

#[derive(Deserialize, Validate)]
struct ResendBody {
    #[validate(length(max = 1024))]
    email: String,
}

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
