//! What a queued mail says, decided at the last moment: to whom it still applies, and which link it carries.

use std::time::Duration;

use super::Accounts;
use crate::clock::Timestamp;
use crate::credentials::SecretToken;
use crate::mail::{Message, templates};
use crate::storage::{self, Account, MailJob, MailKind, StorageError, TokenPurpose};

/// What a queued mail has become by the time it is sent.
pub(super) enum Letter {
    /// Nobody to write to: no such account, or not any more.
    None(&'static str),
    /// Carries no link.
    Notice(Message),
    /// Carries a link.
    Link(Link),
}

pub(super) struct Link {
    pub(super) account: Account,
    pub(super) purpose: TokenPurpose,
    pub(super) password_version: i64,
    /// Password and name that the account gets with it.
    pub(super) registration: Option<(String, Option<String>)>,
}

impl Accounts {
    /// What the job says now.
    pub(super) async fn letter(&self, job: &MailJob) -> Result<Letter, StorageError> {
        let (to, at) = (job.recipient.as_str(), job.created_at);
        let notice = match job.kind {
            MailKind::PasswordChanged => templates::password_changed(to, at),
            MailKind::EmailChangeStarted => templates::email_change_started(to, at),
            MailKind::EmailChanged => templates::email_changed(to, at),
            MailKind::EmailChange => return self.email_change_letter(job).await,
            MailKind::Registration | MailKind::Verification | MailKind::PasswordReset => {
                let mut on = self.0.database.read().await?;
                let account = storage::find_user_by_email(&mut on, to).await?;
                return Ok(account.map_or(Letter::None("no account"), |account| self.letter_to(account, job)));
            }
        };
        Ok(Letter::Notice(notice))
    }

    /// A letter to the account that the recipient has.
    fn letter_to(&self, account: Account, job: &MailJob) -> Letter {
        let already_registered = || {
            Letter::Notice(templates::already_registered(
                &job.recipient,
                &self.0.settings.frontend_url,
            ))
        };
        let password_version = account.password_version;
        match job.kind {
            MailKind::PasswordReset if !account.is_active => Letter::None("inactive"),
            MailKind::PasswordReset => Letter::Link(Link {
                account,
                purpose: TokenPurpose::Reset,
                password_version,
                registration: None,
            }),
            // Registered again under REQUIRE_EMAIL_VERIFICATION.
            MailKind::Registration if account.is_verified && job.password_hash.is_some() => {
                already_registered()
            }
            _ if account.is_verified => Letter::None("verified"),
            _ => {
                let of_job = job
                    .password_hash
                    .clone()
                    .map(|hash| (hash, job.full_name.clone()));
                // Sent again, a pending registration's link is good for what was registered last, now: not for
                // what a stranger may register between this mail and its use.
                let of_account = account
                    .is_pending
                    .then(|| (account.password_hash.clone(), account.full_name.clone()));
                let registration = of_job.or(of_account);
                Letter::Link(Link {
                    account,
                    purpose: TokenPurpose::Verify,
                    password_version,
                    registration,
                })
            }
        }
    }

    /// The link that proves a new address, or a notice to who has it already.
    async fn email_change_letter(&self, job: &MailJob) -> Result<Letter, StorageError> {
        let mut on = self.0.database.read().await?;
        let Some(user_id) = job.user_id.as_deref().and_then(|id| id.parse().ok()) else {
            return Ok(Letter::None("no account"));
        };
        let Some(account) = storage::find_user(&mut on, user_id).await? else {
            return Ok(Letter::None("no account"));
        };
        if job.password_version != Some(account.password_version) {
            return Ok(Letter::None("password changed"));
        }
        let holder = storage::find_user_by_email(&mut on, &job.recipient).await?;
        if holder.is_some_and(|holder| !holder.is_pending) {
            let notice = templates::already_registered(&job.recipient, &self.0.settings.frontend_url);
            return Ok(Letter::Notice(notice));
        }
        let password_version = account.password_version;
        let purpose = TokenPurpose::ChangeEmail;
        Ok(Letter::Link(Link {
            account,
            purpose,
            password_version,
            registration: None,
        }))
    }

    fn lifetime(&self, purpose: TokenPurpose) -> Duration {
        match purpose {
            TokenPurpose::Reset => self.0.settings.reset_token_lifetime,
            TokenPurpose::Verify | TokenPurpose::ChangeEmail => self.0.settings.verify_token_lifetime,
        }
    }

    pub(super) fn end_of_life(&self, purpose: TokenPurpose, now: Timestamp) -> Timestamp {
        now.plus(self.lifetime(purpose))
    }

    /// A page of the product, with the token in the fragment, which no browser sends to any server.
    pub(super) fn link(&self, page: &str, token: &SecretToken) -> String {
        format!("{}/{page}#token={}", self.0.settings.frontend_url, token.expose())
    }

    pub(super) fn message(&self, token: &SecretToken, purpose: TokenPurpose, to: &str) -> Message {
        let link = |page: &str| self.link(page, token);
        let expires_in = self.lifetime(purpose);
        match purpose {
            TokenPurpose::Reset => templates::reset_password(to, &link("reset-password"), expires_in),
            TokenPurpose::Verify => templates::verify_email(to, &link("verify-email"), expires_in),
            TokenPurpose::ChangeEmail => {
                templates::email_change_requested(to, &link("verify-email"), expires_in)
            }
        }
    }
}
