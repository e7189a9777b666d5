//! Asking a signed-in user for the current password.

use super::{Accounts, Caller, FieldError, Identity};
use crate::rate_limit::Decision;
use crate::storage::StorageError;

/// Why something that needs the current password was not done: `change_password`, `change_email`,
/// `delete_account`.
#[derive(Debug, thiserror::Error)]
pub enum ReauthenticateError {
    /// 422; a wrong current password is `wrong_password` at its pointer.
    #[error("a field is invalid")]
    Invalid(Vec<FieldError>),
    /// 429 of LOGIN_ACCOUNT. Its limit shows in no header.
    #[error("the account has too many failed logins")]
    Limited(Decision),
    /// 401 `token_invalid`: the session ended, or the password changed, meanwhile.
    #[error("the session is over")]
    SessionOver,
    /// 503: the hash pool or the mail queue is full.
    #[error("overloaded")]
    Overloaded,
    /// 503 or 500.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
impl Accounts {
    /// Deletes the account and all that hangs on it.
    pub async fn delete_account(
        &self,
        identity: &Identity,
        password: &str,
        caller: &Caller,
    ) -> Result<(), ReauthenticateError> {
        todo!()
    }
}
