//! Logging in.

use super::{Accounts, Caller, FieldError, SessionTokens};
use crate::rate_limit::Decision;
use crate::storage::StorageError;

/// Why nobody was logged in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// 422: not an address, or longer than any password can be. No hash was computed.
    #[error("a field of the login is invalid")]
    Invalid(Vec<FieldError>),
    /// 429 of LOGIN_ACCOUNT. Its limit shows in no header.
    #[error("the account has too many failed logins")]
    Limited(Decision),
    /// 401: unknown address or wrong password, which are one answer.
    #[error("incorrect email or password")]
    InvalidCredentials,
    /// 403, after the correct password.
    #[error("the account is inactive")]
    AccountInactive,
    /// 403, after the correct password.
    #[error("the address is not verified")]
    EmailNotVerified,
    /// 503: the hash pool is full.
    #[error("overloaded")]
    Overloaded,
    /// 503 or 500.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Accounts {
    /// Logs a person in: a new session.
    pub async fn login(
        &self,
        email: &str,
        password: &str,
        caller: &Caller,
    ) -> Result<SessionTokens, LoginError> {
        todo!()
    }
}
