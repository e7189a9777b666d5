//! Resetting a forgotten password.

use serde::Serialize;

use super::{Accounts, Caller, FieldError, MailRequestError};
use crate::storage::StorageError;

/// What a good reset token tells (contract: `password-reset/verify`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResetPreview {
    /// `u***@example.com`.
    pub masked_email: String,
    /// Seconds.
    pub expires_in_seconds: u64,
}

/// Why a password was not reset.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmResetError {
    /// 400 `invalid_reset_token`.
    #[error("the reset token is invalid")]
    InvalidToken,
    /// 422: the new password is refused; the token stays good.
    #[error("the new password is refused")]
    Invalid(Vec<FieldError>),
    /// 503: the hash pool is full; the token stays good.
    #[error("overloaded")]
    Overloaded,
    /// 503 or 500; the token stays good.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Accounts {
    /// Queues a reset mail, if the address has an account. The answer never shows it.
    pub async fn request_password_reset(&self, email: &str, caller: &Caller) -> Result<(), MailRequestError> {
        todo!()
    }

    /// What a reset token is good for; `None` for any bad one. Uses nothing up.
    pub async fn preview_password_reset(&self, token: &str) -> Result<Option<ResetPreview>, StorageError> {
        todo!()
    }

    /// Sets a new password by a mailed token; all sessions end.
    pub async fn confirm_password_reset(
        &self,
        token: &str,
        new_password: &str,
        caller: &Caller,
    ) -> Result<(), ConfirmResetError> {
        todo!()
    }
}
