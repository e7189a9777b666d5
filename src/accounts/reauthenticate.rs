//! Asking a signed-in user for the current password.

use super::login::too_long;
use super::{Accounts, Caller, FieldError, Identity};
use crate::audit::{EventKind, Outcome};
use crate::credentials::{Overloaded, Password, Verdict};
use crate::rate_limit::Decision;
use crate::storage::{Account, StorageError};

/// Why something that needs the current password was not done: `change_password`, `change_email`, and
/// [`super::DeleteAccountError`].
#[derive(Debug, thiserror::Error)]
pub enum ReauthenticateError {
    /// 422; a wrong current password is `wrong_password` at its pointer.
    #[error("a field is invalid")]
    Invalid(Vec<FieldError>),
    /// 429 of `LOGIN_ACCOUNT`. Its limit shows in no header.
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

impl From<Overloaded> for ReauthenticateError {
    fn from(_: Overloaded) -> Self {
        Self::Overloaded
    }
}

/// The current password as a request carries it.
pub(super) struct CurrentPassword<'a> {
    /// What was typed.
    pub text: &'a str,
    /// The field that holds it.
    pub field: &'static str,
    /// What a refusal of a wrong one points at: `/current_password` everywhere but where the account is deleted
    /// (contract, 3.4), also where the field has another name.
    pub wrong_at: &'static str,
}

impl Accounts {
    /// Checks the current password of a signed-in user. A wrong one counts as a failed login of the account, so
    /// that a stolen session is no place to guess (contract, 3.4). What the account was when it was checked.
    pub(super) async fn reauthenticate(
        &self,
        identity: &Identity,
        current: CurrentPassword<'_>,
        caller: &Caller,
    ) -> Result<Account, ReauthenticateError> {
        let invalid = |error| ReauthenticateError::Invalid(vec![error]);
        let password =
            Password::parse(current.text).map_err(|error| invalid(too_long(error, current.field)))?;
        let row = self.find_for_login(&identity.user.email, caller).await?;
        let row = row
            .filter(|row| row.account.id == identity.user.id)
            .ok_or(ReauthenticateError::SessionOver)?;
        let (email, known) = (row.account.email.as_str(), row.client_seen_at.is_some());
        let failure = caller
            .event(EventKind::LoginFailure, Outcome::Failure)
            .of_user(row.account.id);
        let receipt = match self.charge_failed_login(email, known, caller).await {
            Ok(receipt) => receipt,
            Err(decision) => {
                self.0.audit.record(&failure.because("account_limited"));
                return Err(ReauthenticateError::Limited(decision));
            }
        };
        match self
            .0
            .passwords
            .verify(&password, Some(&row.account.password_hash))
            .await
        {
            Ok(Verdict::Right | Verdict::RightButWeak) => {
                self.give_back(receipt).await;
                Ok(row.account)
            }
            Ok(Verdict::Wrong) => {
                self.0.audit.record(&failure.because("wrong_current_password"));
                Err(invalid(FieldError::new(
                    current.wrong_at,
                    "wrong_password",
                    "The password is not right.",
                )))
            }
            Err(overloaded) => {
                self.give_back(receipt).await;
                Err(overloaded.into())
            }
        }
    }
}
