//! Verifying an address.

use super::{Accounts, Caller, MailRequestError};
use crate::storage::StorageError;

/// Why an address was not verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyEmailError {
    /// 400 `invalid_verification_token`.
    #[error("the verification token is invalid")]
    InvalidToken,
    /// 503 or 500.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Accounts {
    /// Uses a mailed link: of a registration, or of a changed address.
    pub async fn verify_email(&self, token: &str, caller: &Caller) -> Result<(), VerifyEmailError> {
        todo!()
    }

    /// Mails the link again, if the address is that of an unverified account. The answer never shows it.
    pub async fn resend_verification(&self, email: &str, caller: &Caller) -> Result<(), MailRequestError> {
        todo!()
    }
}
