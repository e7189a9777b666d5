//! Resetting a forgotten password (OWASP Forgot Password Cheat Sheet).

use serde::Serialize;

use super::account_limit::CLIENTS_KNOWN;
use super::email::masked;
use super::email_verification::hash;
use super::password_change::NewPasswordError;
use super::{Accounts, Caller, Email, FieldError, MailRequestError};
use crate::audit::{EventKind, Outcome};
use crate::credentials::Overloaded;
use crate::rate_limit::Quota;
use crate::storage::{
    self, Account, EndReason, MailKind, NewMailJob, PasswordChange, StorageError, TokenOfUser, TokenPurpose,
    TokenVersion,
};

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

impl From<Overloaded> for ConfirmResetError {
    fn from(_: Overloaded) -> Self {
        Self::Overloaded
    }
}

impl Accounts {
    /// Queues a reset mail. One insert for any address: the worker that mails finds out whether it has an
    /// account, so neither answer nor time can show it.
    pub async fn request_password_reset(&self, email: &str, caller: &Caller) -> Result<(), MailRequestError> {
        let email =
            Email::parse(email).map_err(|error| MailRequestError::Invalid(vec![error.at("/email")]))?;
        let mail = NewMailJob {
            is_charged: caller.exempt,
            ..self.mail_to(MailKind::PasswordReset, email.as_str())
        };
        self.request_mail(&mail).await?;
        let event = caller.event(EventKind::PasswordResetRequest, Outcome::Success);
        self.0.audit.record(&event.of_account(&self.pseudonym(&email)));
        Ok(())
    }

    /// What a reset token is good for; `None` for any bad one. Uses nothing up.
    pub async fn preview_password_reset(&self, token: &str) -> Result<Option<ResetPreview>, StorageError> {
        let found = self.find_reset_token(token).await?;
        Ok(found.map(|found| ResetPreview {
            masked_email: masked(&found.account.email),
            expires_in_seconds: found.token.expires_at.since(self.0.clock.now()).as_secs(),
        }))
    }

    /// Sets a new password by a mailed token; all sessions end, a notice is mailed, nobody is logged in.
    pub async fn confirm_password_reset(
        &self,
        token: &str,
        new_password: &str,
        caller: &Caller,
    ) -> Result<(), ConfirmResetError> {
        let failure = caller.event(EventKind::PasswordResetSuccess, Outcome::Failure);
        let Some(found) = self.find_reset_token(token).await? else {
            self.0.audit.record(&failure.because("invalid_token"));
            return Err(ConfirmResetError::InvalidToken);
        };
        let user_id = found.account.id;
        let own_words = [
            Some(found.account.email.as_str()),
            found.account.full_name.as_deref(),
        ];
        let password = match self.admit_new_password(new_password, &own_words).await {
            Ok(password) => password,
            Err(NewPasswordError::Refused(error)) => {
                self.0
                    .audit
                    .record(&failure.because("password_refused").of_user(user_id));
                return Err(ConfirmResetError::Invalid(vec![error]));
            }
            Err(NewPasswordError::Overloaded) => return Err(ConfirmResetError::Overloaded),
        };
        let password_hash = self.0.passwords.hash(&password).await?;
        let Some(ended) = self
            .reset_password(token, &password_hash, &found.account, caller)
            .await?
        else {
            self.0
                .audit
                .record(&failure.because("invalid_token").of_user(user_id));
            return Err(ConfirmResetError::InvalidToken);
        };
        self.void_api_tokens(&ended).await;
        self.0.mail_queued.notify_one();
        let known_clients = self.known_clients(user_id).await.unwrap_or_default();
        self.clear_failed_logins(&found.account.email, &known_clients)
            .await;
        let success = caller.event(EventKind::PasswordResetSuccess, Outcome::Success);
        self.0.audit.record(&success.of_user(user_id));
        Ok(())
    }

    /// The token, if it would be accepted now.
    async fn find_reset_token(&self, token: &str) -> Result<Option<TokenOfUser>, StorageError> {
        let found = self.find_token(token).await?;
        Ok(found.filter(|TokenOfUser { token, account }| {
            token.purpose == TokenPurpose::Reset
                && token.email == account.email
                && token.password_version == account.password_version
                && account.is_active
        }))
    }

    /// Uses the token up and does all that a reset does, or nothing; `None` if another was faster. Answers the API
    /// tokens that ended: who proves an address first may not be who made tokens under it before.
    async fn reset_password(
        &self,
        token: &str,
        password_hash: &str,
        seen: &Account,
        caller: &Caller,
    ) -> Result<Option<Vec<TokenVersion>>, StorageError> {
        let now = self.0.clock.now();
        let mut transaction = self.0.database.begin().await?;
        let redeemed =
            storage::redeem_token(&mut transaction, &hash(token), TokenPurpose::Reset, now).await?;
        let reset = match &redeemed {
            None => None,
            Some(token) => {
                let change = PasswordChange {
                    user_id: token.user_id,
                    seen_version: token.password_version,
                    password_hash,
                };
                storage::reset_password(&mut transaction, &change, &token.email).await?
            }
        };
        let Some(account) = reset else {
            transaction.rollback().await?;
            return Ok(None);
        };
        let ended = if seen.is_verified {
            Vec::new()
        } else {
            storage::revoke_api_tokens_of_user(
                &mut transaction,
                account.id,
                now,
                now.plus(Quota::LONGEST_WINDOW),
            )
            .await?
        };
        storage::end_sessions_of_user(&mut transaction, account.id, EndReason::PasswordReset, now).await?;
        let client = caller.client.to_string();
        storage::remember_client(&mut transaction, account.id, &client, now, CLIENTS_KNOWN).await?;
        let notice = NewMailJob {
            user_id: Some(account.id),
            ..self.mail_to(MailKind::PasswordChanged, &account.email)
        };
        storage::queue_mail(&mut transaction, &notice).await?;
        transaction.commit().await?;
        Ok(Some(ended))
    }
}
