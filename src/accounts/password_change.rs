//! Changing the password.

use super::reauthenticate::CurrentPassword;
use super::{Accounts, Caller, FieldError, Identity, ReauthenticateError};
use crate::audit::{EventKind, Outcome};
use crate::credentials::{AdmitError, Password};
use crate::storage::{self, EndReason, MailKind, NewMailJob, PasswordChange};

impl Accounts {
    /// Sets a new password; the other sessions end, and a notice is mailed.
    pub async fn change_password(
        &self,
        identity: &Identity,
        current: &str,
        new: &str,
        caller: &Caller,
    ) -> Result<(), ReauthenticateError> {
        let own_words = [
            Some(identity.user.email.as_str()),
            identity.user.full_name.as_deref(),
        ];
        let new = match self.admit_new_password(new, &own_words).await {
            Ok(password) => password,
            Err(NewPasswordError::Refused(error)) => return Err(ReauthenticateError::Invalid(vec![error])),
            Err(NewPasswordError::Overloaded) => return Err(ReauthenticateError::Overloaded),
        };
        let current = CurrentPassword {
            text: current,
            field: "/current_password",
            wrong_at: "/current_password",
        };
        let account = self.reauthenticate(identity, current, caller).await?;
        let hash = self.0.passwords.hash(&new).await?;

        let now = self.0.clock.now();
        let change = PasswordChange {
            user_id: account.id,
            seen_version: account.password_version,
            password_hash: &hash,
        };
        let mut transaction = self.0.database.begin().await?;
        if !storage::change_password(&mut transaction, &change).await? {
            transaction.rollback().await?;
            return Err(ReauthenticateError::SessionOver);
        }
        let (user_id, keep) = (account.id, identity.session_id);
        storage::end_other_sessions(&mut transaction, user_id, keep, EndReason::PasswordChanged, now).await?;
        let notice = NewMailJob {
            user_id: Some(user_id),
            ..self.mail_to(MailKind::PasswordChanged, &account.email)
        };
        storage::queue_mail(&mut transaction, &notice).await?;
        transaction.commit().await?;
        self.0.mail_queued.notify_one();
        self.0.audit.record(
            &caller
                .event(EventKind::PasswordChange, Outcome::Success)
                .of_user(user_id),
        );
        Ok(())
    }

    /// Judges the `new_password` of a request; `own_words` are the user's own, where he has them.
    pub(super) async fn admit_new_password(
        &self,
        raw: &str,
        own_words: &[Option<&str>],
    ) -> Result<Password, NewPasswordError> {
        let own_words: Vec<&str> = own_words.iter().copied().flatten().collect();
        self.0
            .passwords
            .admit(raw, &own_words)
            .await
            .map_err(|error| match error {
                AdmitError::Refused(refusal) => {
                    NewPasswordError::Refused(FieldError::new("/new_password", refusal.code, refusal.message))
                }
                AdmitError::Overloaded(_) => NewPasswordError::Overloaded,
            })
    }
}

/// Why a `new_password` was not admitted.
pub(super) enum NewPasswordError {
    /// It breaks the policy.
    Refused(FieldError),
    /// The hash pool is full.
    Overloaded,
}
