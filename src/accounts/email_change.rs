//! Changing the address. It takes effect in `email_verification`, when the mailed link is used.

use super::{Accounts, Caller, Email, FieldError, Identity, ReauthenticateError};
use crate::audit::{EventKind, Outcome};
use crate::storage::{self, MailKind, NewMailJob};

impl Accounts {
    /// Mails a link to the new address, and a notice to the present one. The same whether the new one is taken
    /// or not: the worker that mails finds out, and the owner of a taken one gets a notice instead.
    pub async fn change_email(
        &self,
        identity: &Identity,
        password: &str,
        new_email: &str,
        caller: &Caller,
    ) -> Result<(), ReauthenticateError> {
        let invalid = |error| ReauthenticateError::Invalid(vec![error]);
        let new_email = Email::parse(new_email).map_err(|error| invalid(error.at("/new_email")))?;
        if new_email.as_str() == identity.user.email {
            let message = "This is the account's e-mail address already.";
            return Err(invalid(FieldError::new("/new_email", "unchanged", message)));
        }
        let account = self
            // The contract (3.4) names this pointer for every endpoint but the one that deletes the account,
            // though the field here is called `password`.
            .reauthenticate(identity, password, "/current_password", caller)
            .await?;
        // The link is void once the password is another: who wins an account back by a reset is safe from a
        // change that the thief has asked for.
        let link = NewMailJob {
            user_id: Some(account.id),
            password_version: Some(account.password_version),
            session_id: Some(identity.session_id),
            is_charged: caller.exempt,
            ..self.mail_to(MailKind::EmailChange, new_email.as_str())
        };
        let notice = NewMailJob {
            user_id: Some(account.id),
            ..self.mail_to(MailKind::EmailChangeStarted, &account.email)
        };
        let mut transaction = self.0.database.begin().await?;
        match self.queue(&mut transaction, &link).await {
            Ok(true) => {}
            Ok(false) => {
                transaction.rollback().await?;
                return Err(ReauthenticateError::Overloaded);
            }
            // The account was deleted since the password was checked.
            Err(error) if error.is_foreign_key_violation() => {
                transaction.rollback().await?;
                return Err(ReauthenticateError::SessionOver);
            }
            Err(error) => return Err(error.into()),
        }
        storage::queue_mail(&mut transaction, &notice).await?;
        transaction.commit().await?;
        self.0.mail_queued.notify_one();
        let event = caller.event(EventKind::EmailChangeRequest, Outcome::Success);
        self.0.audit.record(&event.of_user(account.id));
        Ok(())
    }
}
