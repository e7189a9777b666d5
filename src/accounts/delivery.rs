//! The mail queue's worker: takes what is queued, has its letter written (`letter.rs`), and hands it over.
//!
//! A process that dies between any two lines loses no mail: what it had taken is due again when its lease ends,
//! and may then be sent twice.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::Accounts;
use super::account_limit::MailLimit;
use super::letter::{Letter, Link};
use crate::credentials::SecretToken;
use crate::mail::{Mailer, Message, SendError};
use crate::storage::{self, MailJob, MailKind, NewOneTimeToken, Registration, StorageError, TokenPurpose};
use crate::telemetry::traces::span;

/// Mails being sent at once: a slow server holds up as many, not all.
const WORKERS: usize = 4;

/// How often a worker looks for mail that another process queued, or whose time has come.
const POLL: Duration = Duration::from_secs(1);

/// How long a worker rests before it takes up what was queued just now. What follows differs for an address with
/// an account, and who sends one request after the other would feel it in the next answer's time.
const SETTLE: Duration = Duration::from_millis(50);

/// How long after an error of the database a worker looks again.
const PAUSE: Duration = Duration::from_secs(3);

/// The longest that one handing over may take.
const SEND_TIMEOUT: Duration = Duration::from_mins(1);

/// How long a worker has a mail to itself without saying that it still has it in hand: so long a mail rests
/// whose process was killed.
const LEASE: Duration = Duration::from_secs(20);

/// How often a worker says so while a slow server takes its time.
const RENEW: Duration = Duration::from_secs(5);

/// The longest that a mail in hand may take at shutdown. Then it goes back to the queue.
const LAST_PATIENCE: Duration = Duration::from_secs(3);

/// The pauses between the tries to send one mail: some five hours in all. Then it is given up.
const PAUSES: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(15),
    Duration::from_mins(30),
    Duration::from_hours(1),
    Duration::from_hours(1),
    Duration::from_hours(2),
];

impl Accounts {
    /// Sends what is queued until `shutdown`, then finishes the mails in hand and returns.
    pub async fn run_delivery(&self, mailer: Mailer, shutdown: CancellationToken) {
        let workers = (0..WORKERS).map(|_| self.deliver(&mailer, &shutdown));
        futures_util::future::join_all(workers).await;
    }

    async fn deliver(&self, mailer: &Mailer, shutdown: &CancellationToken) {
        while !shutdown.is_cancelled() {
            let pause = {
                let _in_hand = self.0.mail_in_hand.read().await;
                match self.take_mail().await {
                    Ok(Some(job)) => {
                        let span = span!(
                            "mail.send",
                            otel.kind = "consumer",
                            stile.mail.kind = job.kind.as_str(),
                            stile.mail.attempts = job.attempts,
                        );
                        match self.send(&job, mailer, shutdown).instrument(span).await {
                            Ok(()) => continue,
                            Err(error) => tracing::warn!(%error, mail = %job.id, "a mail stays queued"),
                        }
                        PAUSE
                    }
                    Ok(None) => POLL,
                    Err(error) => {
                        tracing::warn!(%error, "the mail queue cannot be read");
                        PAUSE
                    }
                }
            };
            tokio::select! {
                () = self.0.mail_queued.notified() => tokio::time::sleep(SETTLE).await,
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    async fn take_mail(&self) -> Result<Option<MailJob>, StorageError> {
        let now = self.0.clock.now();
        // Looking costs SQLite no turn at its one writer.
        while storage::is_mail_ready(&mut self.0.database.read().await?, now).await? {
            let mut on = self.0.database.write().await?;
            if let Some(job) = storage::claim_mail(&mut on, now, now.plus(LEASE)).await? {
                return Ok(Some(job));
            }
        }
        Ok(None)
    }

    /// Sends one mail and takes it off the queue, or puts it back for later.
    async fn send(
        &self,
        job: &MailJob,
        mailer: &Mailer,
        shutdown: &CancellationToken,
    ) -> Result<(), StorageError> {
        let letter = self.letter(job).await?;
        if let Letter::None(reason) = letter {
            tracing::debug!(mail = %job.id, kind = job.kind.as_str(), reason, "a queued mail has no recipient");
            return self.finish(job).await;
        }
        if !self.may_mail(job).await? {
            tracing::info!(mail = %job.id, kind = job.kind.as_str(), "a mail is held back: its recipient had enough");
            self.0.mail_tally.held_back.increment();
            return self.finish(job).await;
        }
        let (message, token) = match letter {
            Letter::None(_) => return Ok(()),
            Letter::Notice(message) => (message, None),
            Letter::Link(link) => {
                let token = SecretToken::generate();
                if !self.store_token(&token, &link, job).await? {
                    return Ok(());
                }
                (
                    self.message(&token, link.purpose, &job.recipient),
                    Some((token, link.purpose)),
                )
            }
        };
        match self.hand_over(job, mailer, &message, shutdown).await {
            Ok(()) => {
                self.0.mail_tally.sent.increment();
                if self.0.settings.log_links
                    && let Some(link) = &message.link
                {
                    tracing::info!(link, "mailed");
                }
                // Before the job ends: whoever waits for that finds the mail (`rehearsal.rs`).
                if let Some(outbox) = &self.0.settings.outbox {
                    outbox.keep(&message, self.0.clock.now());
                }
                self.handed_over(job, token.as_ref()).await
            }
            Err(error) => self.failed(job, &error).await,
        }
    }

    /// Gives the mail to its server, and keeps the lease for as long as that takes.
    async fn hand_over(
        &self,
        job: &MailJob,
        mailer: &Mailer,
        message: &Message,
        shutdown: &CancellationToken,
    ) -> Result<(), SendError> {
        let sending = tokio::time::timeout(SEND_TIMEOUT, mailer.send(message));
        let renewing = async {
            loop {
                tokio::time::sleep(RENEW).await;
                // If it fails the next may succeed; at worst another worker sends the mail too.
                if let Ok(mut on) = self.0.database.write().await {
                    let _ = storage::renew_mail(&mut on, job, self.0.clock.now().plus(LEASE)).await;
                }
            }
        };
        let ending = async {
            shutdown.cancelled().await;
            tokio::time::sleep(LAST_PATIENCE).await;
        };
        let given_up = |why: &str| Err(SendError::Temporary(why.to_owned()));
        tokio::select! {
            sent = sending => sent.unwrap_or_else(|_| given_up("no answer in time")),
            () = ending => given_up("shutting down"),
            () = renewing => given_up("the lease ended"),
        }
    }

    /// Whether the recipient's limit lets the mail out; charged once a mail, however often it is tried.
    async fn may_mail(&self, job: &MailJob) -> Result<bool, StorageError> {
        let limit = match job.kind {
            MailKind::PasswordReset => MailLimit::Reset,
            MailKind::Registration | MailKind::Verification | MailKind::EmailChange => {
                MailLimit::Verification
            }
            MailKind::PasswordChanged | MailKind::EmailChangeStarted | MailKind::EmailChanged => {
                return Ok(true);
            }
        };
        if job.is_charged {
            return Ok(true);
        }
        if !self.charge_mail(&job.recipient, limit).await {
            return Ok(false);
        }
        storage::mark_mail_charged(&mut self.0.database.write().await?, job).await?;
        Ok(true)
    }

    /// Stores the token before its mail leaves, so that no link is dead on arrival; `false` if the mail is
    /// another worker's by now.
    async fn store_token(
        &self,
        token: &SecretToken,
        link: &Link,
        job: &MailJob,
    ) -> Result<bool, StorageError> {
        let now = self.0.clock.now();
        let registration = link
            .registration
            .as_ref()
            .map(|(password_hash, full_name)| Registration {
                password_hash,
                full_name: full_name.as_deref(),
            });
        let hash = token.hash();
        let token = NewOneTimeToken {
            token_hash: hash.as_str(),
            user_id: link.account.id,
            purpose: link.purpose,
            password_version: link.password_version,
            registration,
            created_at: now,
            expires_at: self.end_of_life(link.purpose, now),
        };
        storage::add_token_of_job(&mut self.0.database.write().await?, &token, job).await
    }

    /// The server has the mail: the token's life counts from now, older links die, the queue forgets it.
    async fn handed_over(
        &self,
        job: &MailJob,
        token: Option<&(SecretToken, TokenPurpose)>,
    ) -> Result<(), StorageError> {
        let mut transaction = self.0.database.begin().await?;
        if let Some((token, purpose)) = token {
            let now = self.0.clock.now();
            let (hash, end) = (token.hash(), self.end_of_life(*purpose, now));
            // Each registration keeps its own link.
            let newest_only = *purpose != TokenPurpose::Verify;
            storage::hand_over_token(&mut transaction, hash.as_str(), now, end, newest_only).await?;
        }
        storage::finish_mail(&mut transaction, job).await?;
        transaction.commit().await
    }

    /// Another try later, unless it would end the same or there were enough.
    async fn failed(&self, job: &MailJob, error: &SendError) -> Result<(), StorageError> {
        let attempts = usize::try_from(job.attempts).unwrap_or(usize::MAX);
        let pause = PAUSES
            .get(attempts.saturating_sub(1))
            .filter(|_| matches!(error, SendError::Temporary(_)));
        let (kind, mail) = (job.kind.as_str(), job.id);
        let Some(pause) = pause else {
            tracing::error!(%mail, kind, attempts, %error, "a mail is given up");
            self.0.mail_tally.given_up.increment();
            return self.finish(job).await;
        };
        tracing::warn!(%mail, kind, attempts, %error, "a mail was not sent and is tried again");
        self.0.mail_tally.failed.increment();
        let due_at = self.0.clock.now().plus(*pause);
        storage::retry_mail(&mut self.0.database.write().await?, job, due_at).await
    }

    async fn finish(&self, job: &MailJob) -> Result<(), StorageError> {
        storage::finish_mail(&mut self.0.database.write().await?, job).await
    }
}
