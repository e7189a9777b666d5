//! Proving an address by a mailed link: that of a registration, or the new one of an account.

use super::{Accounts, Caller, Email, MailRequestError};
use crate::audit::{EventKind, Outcome};
use crate::credentials::SecretToken;
use crate::rate_limit::Quota;
use crate::storage::{
    self, EndReason, MailKind, NewMailJob, Registration, StorageError, TokenOfUser, TokenPurpose,
};

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
        let failure = caller
            .event(EventKind::EmailVerified, Outcome::Failure)
            .because("invalid_token");
        let Some(found) = self.find_token(token).await? else {
            self.0.audit.record(&failure);
            return Err(VerifyEmailError::InvalidToken);
        };
        let user_id = found.account.id;
        let (done, kind) = match found.token.purpose {
            TokenPurpose::Reset => (false, EventKind::EmailVerified),
            TokenPurpose::Verify => (
                self.verify_address(token, &found).await?,
                EventKind::EmailVerified,
            ),
            TokenPurpose::ChangeEmail => (self.replace_address(token, &found).await?, EventKind::EmailChange),
        };
        if !done {
            self.0.audit.record(&failure.of_user(user_id));
            return Err(VerifyEmailError::InvalidToken);
        }
        self.0
            .audit
            .record(&caller.event(kind, Outcome::Success).of_user(user_id));
        Ok(())
    }

    /// The token, unused and unexpired, and its account. Uses nothing up.
    pub(super) async fn find_token(&self, token: &str) -> Result<Option<TokenOfUser>, StorageError> {
        let Some(token) = SecretToken::parse(token) else {
            return Ok(None);
        };
        let mut on = self.0.database.read().await?;
        storage::find_token(&mut on, token.hash().as_str(), self.0.clock.now()).await
    }

    /// Verifies the account, which becomes that of the registration whose link it was.
    async fn verify_address(&self, token: &str, found: &TokenOfUser) -> Result<bool, StorageError> {
        let now = self.0.clock.now();
        let registration = found
            .token
            .password_hash
            .as_deref()
            .map(|password_hash| Registration {
                password_hash,
                full_name: found.token.full_name.as_deref(),
            });
        let mut transaction = self.0.database.begin().await?;
        let redeemed =
            storage::redeem_token(&mut transaction, &hash(token), TokenPurpose::Verify, now).await?;
        let verified = match redeemed {
            None => None,
            Some(token) => {
                storage::verify_user(
                    &mut transaction,
                    token.user_id,
                    &token.email,
                    registration.as_ref(),
                )
                .await?
            }
        };
        let Some(account) = verified else {
            transaction.rollback().await?;
            return Ok(false);
        };
        let mut ended = Vec::new();
        if registration.is_some() {
            // Opened with the password of another registration, while none was asked for a proof.
            storage::end_sessions_of_user(&mut transaction, account.id, EndReason::Replaced, now).await?;
            ended = storage::revoke_api_tokens_of_user(
                &mut transaction,
                account.id,
                now,
                now.plus(Quota::LONGEST_WINDOW),
            )
            .await?;
        }
        transaction.commit().await?;
        self.void_api_tokens(&ended).await;
        Ok(true)
    }

    /// Gives the account its new address; all sessions end but the one that asked.
    async fn replace_address(&self, token: &str, found: &TokenOfUser) -> Result<bool, StorageError> {
        let now = self.0.clock.now();
        let old_email = &found.account.email;
        let mut transaction = self.0.database.begin().await?;
        let Some(token) =
            storage::redeem_token(&mut transaction, &hash(token), TokenPurpose::ChangeEmail, now).await?
        else {
            transaction.rollback().await?;
            return Ok(false);
        };
        storage::delete_pending_user(&mut transaction, &token.email).await?;
        let (user_id, version) = (token.user_id, token.password_version);
        match storage::change_email(&mut transaction, user_id, version, &token.email).await {
            Ok(Some(_)) => {}
            Ok(None) => {
                transaction.rollback().await?;
                return Ok(false);
            }
            // Somebody else has the address by now.
            Err(error) if error.is_unique_violation() => {
                transaction.rollback().await?;
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        let keep = token
            .session_id
            .as_deref()
            .and_then(|id| id.parse().ok())
            .unwrap_or_default();
        storage::end_other_sessions(&mut transaction, user_id, keep, EndReason::EmailChanged, now).await?;
        let notice = NewMailJob {
            user_id: Some(user_id),
            ..self.mail_to(MailKind::EmailChanged, old_email)
        };
        storage::queue_mail(&mut transaction, &notice).await?;
        transaction.commit().await?;
        self.0.mail_queued.notify_one();
        Ok(true)
    }

    /// Mails the link again, if the address is that of an unverified account. The answer never shows it: the
    /// worker that mails finds out.
    pub async fn resend_verification(&self, email: &str, caller: &Caller) -> Result<(), MailRequestError> {
        let email =
            Email::parse(email).map_err(|error| MailRequestError::Invalid(vec![error.at("/email")]))?;
        let mail = NewMailJob {
            is_charged: caller.exempt,
            ..self.mail_to(MailKind::Verification, email.as_str())
        };
        self.request_mail(&mail).await?;
        let event = caller.event(EventKind::EmailVerificationRequest, Outcome::Success);
        self.0.audit.record(&event.of_account(&self.pseudonym(&email)));
        Ok(())
    }
}

/// Of a token that was parsed before.
pub(super) fn hash(token: &str) -> String {
    SecretToken::parse(token)
        .map(|token| token.hash().as_str().to_owned())
        .unwrap_or_default()
}
