//! Putting mail into the queue. Sending it is `delivery`'s.

use super::{Accounts, FieldError};
use crate::storage::{self, MailKind, MailQueue, NewMailJob, StorageError, Transaction};
use crate::telemetry::metrics::Counter;

/// Most mails that wait. Full, requests that would add one are answered 503 alike for every address; notices of
/// a change still go in.
const MOST_QUEUED: i64 = 10_000;

/// What a process's delivery has done with mails since it started.
#[derive(Debug, Default)]
pub struct MailTally {
    /// Handed over to their server, or written as a file.
    pub sent: Counter,
    /// Tries that failed and are repeated later.
    pub failed: Counter,
    /// Given up: refused for good, or failed too often.
    pub given_up: Counter,
    /// Not sent because their recipient had enough (`RATE_LIMIT_MAIL_ACCOUNT`).
    pub held_back: Counter,
}

/// Why a mail was not queued: `request_password_reset`, `resend_verification`.
#[derive(Debug, thiserror::Error)]
pub enum MailRequestError {
    /// 422: not an address.
    #[error("a field is invalid")]
    Invalid(Vec<FieldError>),
    /// 503 `overloaded`: the mail queue is full.
    #[error("the mail queue is full")]
    Overloaded,
    /// 503 or 500.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Accounts {
    /// A mail of some kind to an address, with nothing else known about it.
    pub(super) fn mail_to<'a>(&self, kind: MailKind, recipient: &'a str) -> NewMailJob<'a> {
        let now = self.0.clock.now();
        NewMailJob {
            id: storage::new_id(now),
            kind,
            recipient,
            user_id: None,
            password_version: None,
            password_hash: None,
            full_name: None,
            session_id: None,
            is_charged: false,
            created_at: now,
        }
    }

    /// Queues a mail within a transaction; `false` if the queue is full. Wake delivery after the commit.
    pub(super) async fn queue(
        &self,
        on: &mut Transaction,
        mail: &NewMailJob<'_>,
    ) -> Result<bool, StorageError> {
        let queued = storage::queue_mail_if_room(on, mail, MOST_QUEUED).await?;
        if !queued {
            tracing::error!(most = MOST_QUEUED, "the mail queue is full");
        }
        Ok(queued)
    }

    /// Queues the one mail that a request asks for.
    pub(super) async fn request_mail(&self, mail: &NewMailJob<'_>) -> Result<(), MailRequestError> {
        let mut on = self.0.database.write().await?;
        if !storage::queue_mail_if_room(&mut on, mail, MOST_QUEUED).await? {
            tracing::error!(most = MOST_QUEUED, "the mail queue is full");
            return Err(MailRequestError::Overloaded);
        }
        self.0.mail_queued.notify_one();
        Ok(())
    }

    /// The mails that have not left, over all processes.
    pub async fn mail_queue(&self) -> Result<MailQueue, StorageError> {
        storage::mail_queue(&mut self.0.database.read().await?, self.0.clock.now()).await
    }

    /// What this process's delivery has done with mails so far.
    #[must_use]
    pub fn mail_tally(&self) -> &MailTally {
        &self.0.mail_tally
    }
}
