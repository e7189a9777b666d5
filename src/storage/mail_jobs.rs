//! `mail_jobs`: the mail queue. Holds no live token.
//!
//! A worker takes a job for a time; if it dies, the job is due again when that time is over. `attempts` tells
//! two takings of one job apart. The mails of one recipient leave in the order in which they were queued, so
//! that the newest link is the one that arrives last; a mail that waits for another try holds none up.

use sqlx::FromRow;
use uuid::Uuid;

use super::connection::{Connection, execute, fetch_optional};
use super::error::StorageError;
use crate::clock::Timestamp;

/// What to mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailKind {
    /// The link of a registration; for an address that is verified by then, a notice instead.
    Registration,
    /// The same again, on request.
    Verification,
    /// The link that resets a password, if there is an account.
    PasswordReset,
    /// The link that proves a new address, or a notice if that is taken by then.
    EmailChange,
    /// Notice: the password was changed or reset.
    PasswordChanged,
    /// Notice to the present address: a change was asked for.
    EmailChangeStarted,
    /// Notice to the old address: it has been changed.
    EmailChanged,
}

impl MailKind {
    /// As it stands in the column and in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registration => "registration",
            Self::Verification => "verification",
            Self::PasswordReset => "password_reset",
            Self::EmailChange => "email_change",
            Self::PasswordChanged => "password_changed",
            Self::EmailChangeStarted => "email_change_started",
            Self::EmailChanged => "email_changed",
        }
    }
}

impl TryFrom<String> for MailKind {
    type Error = &'static str;

    fn try_from(kind: String) -> Result<Self, Self::Error> {
        let all = [
            Self::Registration,
            Self::Verification,
            Self::PasswordReset,
            Self::EmailChange,
            Self::PasswordChanged,
            Self::EmailChangeStarted,
            Self::EmailChanged,
        ];
        all.into_iter()
            .find(|known| known.as_str() == kind)
            .ok_or("unknown kind of mail")
    }
}

/// A mail to queue.
pub struct NewMailJob<'a> {
    /// A `UUIDv7`.
    pub id: Uuid,
    /// What.
    pub kind: MailKind,
    /// To whom: canonical address.
    pub recipient: &'a str,
    /// The account that it belongs to, where the request knew it; the job goes when the account goes.
    pub user_id: Option<Uuid>,
    /// The account's password version at the request (email change).
    pub password_version: Option<i64>,
    /// Password of the registration that the link will make real.
    pub password_hash: Option<&'a str>,
    /// Name of that registration.
    pub full_name: Option<&'a str>,
    /// The session that asked (email change).
    pub session_id: Option<Uuid>,
    /// The recipient's mail limit needs not be charged (any more).
    pub is_charged: bool,
    /// Now.
    pub created_at: Timestamp,
}

/// A mail that this worker has taken. No `Debug`: it can hold a password hash.
#[derive(Clone, FromRow)]
pub struct MailJob {
    /// A `UUIDv7`.
    #[sqlx(try_from = "String")]
    pub id: Uuid,
    /// What.
    #[sqlx(try_from = "String")]
    pub kind: MailKind,
    /// To whom.
    pub recipient: String,
    /// The account, where the request knew it.
    pub user_id: Option<String>,
    /// See [`NewMailJob::password_version`].
    pub password_version: Option<i64>,
    /// Password of the registration.
    pub password_hash: Option<String>,
    /// Name of the registration.
    pub full_name: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// How often it was taken, this time included.
    pub attempts: i64,
    /// The recipient's mail limit has been charged.
    pub is_charged: bool,
}

/// Queues a mail.
pub async fn queue_mail(on: &mut Connection, job: &NewMailJob<'_>) -> Result<(), StorageError> {
    queue_mail_if_room(on, job, i64::MAX).await.map(drop)
}

/// Queues a mail unless `most` are waiting; `false` if there is no room.
pub async fn queue_mail_if_room(
    on: &mut Connection,
    job: &NewMailJob<'_>,
    most: i64,
) -> Result<bool, StorageError> {
    let queued = execute!(
        on,
        "INSERT INTO mail_jobs (id, kind, recipient, user_id, password_version, password_hash, full_name, session_id, \
             created_at, due_at, attempts, is_charged) \
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $9, 0, $10 \
         WHERE (SELECT COUNT(*) FROM mail_jobs) < $11",
        job.id.to_string(),
        job.kind.as_str(),
        job.recipient,
        job.user_id.map(|id| id.to_string()),
        job.password_version,
        job.password_hash,
        job.full_name,
        job.session_id.map(|id| id.to_string()),
        job.created_at,
        job.is_charged,
        most,
    )?;
    Ok(queued == 1)
}

/// `$1` is now. A mail is ready when it is due, and no earlier one to its recipient is due or in hand. One that
/// was never tried is due whatever the time: a clock that was set back delays none.
macro_rules! ready {
    () => {
        "FROM mail_jobs AS job WHERE (due_at <= $1 OR attempts = 0) AND NOT EXISTS ( \
             SELECT 1 FROM mail_jobs AS earlier WHERE earlier.recipient = job.recipient AND earlier.id < job.id \
             AND (earlier.due_at <= $1 OR earlier.attempts = 0 OR earlier.leased_until > $1))"
    };
}

/// Takes the mail that has been ready longest, until `leased_until`; of any number of workers one gets it. On
/// PostgreSQL `None` may also mean that another worker was faster.
pub async fn claim_mail(
    on: &mut Connection,
    now: Timestamp,
    leased_until: Timestamp,
) -> Result<Option<MailJob>, StorageError> {
    fetch_optional!(
        MailJob,
        on,
        concat!(
            "UPDATE mail_jobs SET due_at = $2, leased_until = $2, attempts = attempts + 1 \
             WHERE id = (SELECT id ",
            ready!(),
            " ORDER BY due_at, id LIMIT 1) AND (due_at <= $1 OR attempts = 0) RETURNING *"
        ),
        now,
        leased_until,
    )
}

/// Whether any mail is ready to be taken.
pub async fn is_mail_ready(on: &mut Connection, now: Timestamp) -> Result<bool, StorageError> {
    let sql = concat!("SELECT COUNT(*) FROM (SELECT 1 ", ready!(), " LIMIT 1) AS ready");
    let ready = fetch_optional!((i64,), on, sql, now)?;
    Ok(ready.is_some_and(|(count,)| count > 0))
}

/// Whether a mail, to `recipient` if one is given, is due or in hand. One that waits for another try is not.
pub async fn is_mail_on_its_way(
    on: &mut Connection,
    recipient: Option<&str>,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let sql = "SELECT COUNT(*) FROM mail_jobs \
               WHERE ($1 IS NULL OR recipient = $1) AND (due_at <= $2 OR attempts = 0 OR leased_until > $2)";
    let waiting = fetch_optional!((i64,), on, sql, recipient, now)?;
    Ok(waiting.is_some_and(|(count,)| count > 0))
}

/// Notes that the recipient's mail limit has been charged for this job, so that a retry does not again.
pub async fn mark_mail_charged(on: &mut Connection, job: &MailJob) -> Result<(), StorageError> {
    execute!(
        on,
        "UPDATE mail_jobs SET is_charged = TRUE WHERE id = $1",
        job.id.to_string()
    )
    .map(drop)
}

/// Removes a mail that was sent or given up, unless another worker has taken it meanwhile.
pub async fn finish_mail(on: &mut Connection, job: &MailJob) -> Result<(), StorageError> {
    execute!(
        on,
        "DELETE FROM mail_jobs WHERE id = $1 AND attempts = $2",
        job.id.to_string(),
        job.attempts
    )
    .map(drop)
}

/// Makes a mail that was not sent due again at `due_at`, unless another worker has taken it meanwhile.
pub async fn retry_mail(on: &mut Connection, job: &MailJob, due_at: Timestamp) -> Result<(), StorageError> {
    execute!(
        on,
        "UPDATE mail_jobs SET due_at = $3, leased_until = NULL WHERE id = $1 AND attempts = $2",
        job.id.to_string(),
        job.attempts,
        due_at,
    )
    .map(drop)
}

/// Takes the mail for longer, unless another worker has taken it meanwhile.
pub async fn renew_mail(
    on: &mut Connection,
    job: &MailJob,
    leased_until: Timestamp,
) -> Result<(), StorageError> {
    execute!(
        on,
        "UPDATE mail_jobs SET due_at = $3, leased_until = $3 WHERE id = $1 AND attempts = $2",
        job.id.to_string(),
        job.attempts,
        leased_until,
    )
    .map(drop)
}

/// The mails that have not left, over all processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailQueue {
    /// Never tried.
    pub waiting: u64,
    /// Being sent.
    pub in_hand: u64,
    /// Tried in vain, and to be tried again.
    pub retrying: u64,
    /// When the oldest of them was asked for.
    pub oldest: Option<Timestamp>,
}

impl MailQueue {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.waiting + self.in_hand + self.retrying
    }
}

/// How the queue stands at `now`.
pub async fn mail_queue(on: &mut Connection, now: Timestamp) -> Result<MailQueue, StorageError> {
    let sql = "SELECT COUNT(CASE WHEN attempts = 0 THEN 1 END), \
                   COUNT(CASE WHEN attempts > 0 AND leased_until > $1 THEN 1 END), COUNT(*), MIN(created_at) \
               FROM mail_jobs";
    let row = fetch_optional!((i64, i64, i64, Option<Timestamp>), on, sql, now)?;
    let (waiting, in_hand, all, oldest) = row.unwrap_or_default();
    let count = |count: i64| u64::try_from(count).unwrap_or(0);
    Ok(MailQueue {
        waiting: count(waiting),
        in_hand: count(in_hand),
        retrying: count(all - waiting - in_hand),
        oldest,
    })
}
