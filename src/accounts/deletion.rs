//! Deleting one's own account.

use super::reauthenticate::CurrentPassword;
use super::{Accounts, Caller, Identity, OwnerChange, ReauthenticateError};
use crate::audit::{EventKind, Outcome};
use crate::storage::{self, Account, StorageError};

/// Why an account was not deleted by its owner.
#[derive(Debug, thiserror::Error)]
pub enum DeleteAccountError {
    /// 403: nobody would be administrator any more.
    #[error("the last active administrator stays one")]
    LastAdmin,
    /// The password, or the session, did not hold.
    #[error(transparent)]
    Refused(#[from] ReauthenticateError),
}

impl From<StorageError> for DeleteAccountError {
    fn from(error: StorageError) -> Self {
        ReauthenticateError::from(error).into()
    }
}

impl Accounts {
    /// Deletes the account and all that hangs on it. The audit log keeps its events until they are swept.
    pub async fn delete_account(
        &self,
        identity: &Identity,
        password: &str,
        caller: &Caller,
    ) -> Result<(), DeleteAccountError> {
        let current = CurrentPassword {
            text: password,
            field: "/password",
            wrong_at: "/password",
        };
        let account = self.reauthenticate(identity, current, caller).await?;
        let deleted = self.delete_own(&account).await;
        let event = |outcome| {
            caller
                .event(EventKind::AccountDeleted, outcome)
                .of_user(account.id)
        };
        match &deleted {
            Ok(()) => self.0.audit.record(&event(Outcome::Success)),
            Err(DeleteAccountError::LastAdmin) => {
                self.0
                    .audit
                    .record(&event(Outcome::Failure).because("last_admin"));
            }
            Err(DeleteAccountError::Refused(_)) => {}
        }
        deleted
    }

    /// Waits for the changes of administrators, whoever it is: he may have become one since his password was checked.
    async fn delete_own(&self, account: &Account) -> Result<(), DeleteAccountError> {
        let id = account.id;
        let mut transaction = self.0.database.begin().await?;
        storage::guard_administrators(&mut transaction).await?;
        if storage::is_active_admin(&mut transaction, id).await?
            && !storage::has_other_active_admin(&mut transaction, id).await?
        {
            transaction.rollback().await?;
            return Err(DeleteAccountError::LastAdmin);
        }
        let deleted = storage::delete_user(&mut transaction, id, Some(account.password_version)).await?;
        let Some(tokens) = deleted else {
            transaction.rollback().await?;
            return Err(ReauthenticateError::SessionOver.into());
        };
        self.commit_and_end_api_tokens(transaction, OwnerChange::Deleted(tokens))
            .await?;
        Ok(())
    }
}
