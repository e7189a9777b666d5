//! `one_time_tokens`: links that were mailed. Only hashes are stored.
//!
//! A token is there before its mail leaves, so that no link is ever dead on arrival; its life is counted
//! anew when the mail has been handed over, and only then do older links of its kind die.

use sqlx::FromRow;
use uuid::Uuid;

use super::connection::{Connection, Transaction, execute, fetch_optional};
use super::error::StorageError;
use super::mail_jobs::MailJob;
use super::pending_users::Registration;
use super::users::Account;
use super::values::new_id;
use crate::clock::Timestamp;

/// What a mailed link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenPurpose {
    /// Set a new password.
    Reset,
    /// Prove the address of an account.
    Verify,
    /// Prove the new address of an account.
    ChangeEmail,
}

impl TokenPurpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Verify => "verify",
            Self::ChangeEmail => "change_email",
        }
    }
}

impl TryFrom<String> for TokenPurpose {
    type Error = &'static str;

    fn try_from(purpose: String) -> Result<Self, Self::Error> {
        match purpose.as_str() {
            "reset" => Ok(Self::Reset),
            "verify" => Ok(Self::Verify),
            "change_email" => Ok(Self::ChangeEmail),
            _ => Err("unknown purpose"),
        }
    }
}

/// A row of `one_time_tokens`. No `Debug`: it holds hashes.
#[derive(Clone, FromRow)]
pub struct OneTimeToken {
    /// Whose account.
    #[sqlx(try_from = "String")]
    pub user_id: Uuid,
    /// What for.
    #[sqlx(try_from = "String")]
    pub purpose: TokenPurpose,
    /// Where it was mailed to.
    #[sqlx(rename = "token_email")]
    pub email: String,
    /// The account's password version when it was asked for.
    #[sqlx(rename = "token_password_version")]
    pub password_version: i64,
    /// Password of the registration that it belongs to.
    #[sqlx(rename = "token_password_hash")]
    pub password_hash: Option<String>,
    /// Name of that registration.
    #[sqlx(rename = "token_full_name")]
    pub full_name: Option<String>,
    /// The session that asked.
    pub session_id: Option<String>,
    /// From when on it is refused.
    pub expires_at: Timestamp,
}

/// A good token and the account it is for.
#[derive(FromRow)]
pub struct TokenOfUser {
    /// The token.
    #[sqlx(flatten)]
    pub token: OneTimeToken,
    /// Its account.
    #[sqlx(flatten)]
    pub account: Account,
}

/// A token to store.
pub struct NewOneTimeToken<'a> {
    /// Hash of the token.
    pub token_hash: &'a str,
    /// Whose account.
    pub user_id: Uuid,
    /// What for.
    pub purpose: TokenPurpose,
    /// Void once the account's is another.
    pub password_version: i64,
    /// What the account becomes when the link is used (verify).
    pub registration: Option<Registration<'a>>,
    /// Now.
    pub created_at: Timestamp,
    /// End of its life if the handing over is never noted.
    pub expires_at: Timestamp,
}

macro_rules! token_columns {
    () => {
        "one_time_tokens.user_id, one_time_tokens.purpose, one_time_tokens.email AS token_email, \
         one_time_tokens.password_version AS token_password_version, \
         one_time_tokens.password_hash AS token_password_hash, one_time_tokens.full_name AS token_full_name, \
         one_time_tokens.session_id, one_time_tokens.expires_at"
    };
}

/// Stores a token for the job that is about to mail it, with the job's recipient and session; `false` if the
/// job is not this worker's any more.
pub async fn add_token_of_job(
    on: &mut Connection,
    token: &NewOneTimeToken<'_>,
    job: &MailJob,
) -> Result<bool, StorageError> {
    let added = execute!(
        on,
        "INSERT INTO one_time_tokens (token_hash, user_id, purpose, email, job_id, password_version, password_hash, \
             full_name, session_id, created_at, expires_at) \
         SELECT $1, $2, $3, recipient, id, $4, $5, $6, session_id, $7, $8 \
         FROM mail_jobs WHERE id = $9 AND attempts = $10",
        token.token_hash,
        token.user_id.to_string(),
        token.purpose.as_str(),
        token.password_version,
        token
            .registration
            .as_ref()
            .map(|registration| registration.password_hash),
        token
            .registration
            .as_ref()
            .and_then(|registration| registration.full_name),
        token.created_at,
        token.expires_at,
        job.id.to_string(),
        job.attempts,
    )?;
    Ok(added == 1)
}

/// Stores a link to set a password that nobody mails: an administrator hands it over himself. `false` if there is no
/// such user, or he is inactive. Older links die when [`hand_over_token`] is called for it.
pub async fn add_token_by_hand(
    on: &mut Connection,
    token_hash: &str,
    user_id: Uuid,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<bool, StorageError> {
    let added = execute!(
        on,
        "INSERT INTO one_time_tokens (token_hash, user_id, purpose, email, job_id, password_version, created_at, \
             expires_at) \
         SELECT $1, id, $2, email, $3, password_version, $4, $5 FROM users WHERE id = $6 AND is_active",
        token_hash,
        TokenPurpose::Reset.as_str(),
        // Of no job: the id of none.
        new_id(now).to_string(),
        now,
        expires_at,
        user_id.to_string(),
    )?;
    Ok(added == 1)
}

/// Counts the token's life from now on, since its mail has been handed over. The tokens of failed attempts of
/// the same job die; with `newest_only`, so do all older links of its purpose that were handed over.
pub async fn hand_over_token(
    on: &mut Transaction,
    token_hash: &str,
    now: Timestamp,
    expires_at: Timestamp,
    newest_only: bool,
) -> Result<(), StorageError> {
    // Touches the others too, which locks them: of two hand-overs at once the second waits here, and then sees
    // what the first has left.
    execute!(
        on,
        "UPDATE one_time_tokens SET \
             handed_over_at = CASE WHEN token_hash = $1 THEN $2 ELSE handed_over_at END, \
             expires_at = CASE WHEN token_hash = $1 THEN $3 ELSE expires_at END \
         WHERE (user_id, purpose) = (SELECT user_id, purpose FROM one_time_tokens WHERE token_hash = $1)",
        token_hash,
        now,
        expires_at,
    )?;
    execute!(
        on,
        "DELETE FROM one_time_tokens WHERE token_hash <> $1 AND used_at IS NULL \
             AND (user_id, purpose) = (SELECT user_id, purpose FROM one_time_tokens WHERE token_hash = $1) \
             AND (job_id = (SELECT job_id FROM one_time_tokens WHERE token_hash = $1) \
                 OR ($2 AND handed_over_at IS NOT NULL))",
        token_hash,
        newest_only,
    )
    .map(drop)
}

/// A token that could be redeemed now, and its account. Uses nothing up.
pub async fn find_token(
    on: &mut Connection,
    token_hash: &str,
    now: Timestamp,
) -> Result<Option<TokenOfUser>, StorageError> {
    fetch_optional!(
        TokenOfUser,
        on,
        concat!(
            "SELECT ",
            token_columns!(),
            ", users.* FROM one_time_tokens JOIN users ON users.id = one_time_tokens.user_id \
             WHERE token_hash = $1 AND used_at IS NULL AND expires_at > $2"
        ),
        token_hash,
        now,
    )
}

/// Uses a token up; `None` if it is used, expired, unknown or for something else: of any number at once one
/// wins.
pub async fn redeem_token(
    on: &mut Transaction,
    token_hash: &str,
    purpose: TokenPurpose,
    now: Timestamp,
) -> Result<Option<OneTimeToken>, StorageError> {
    fetch_optional!(
        OneTimeToken,
        on,
        concat!(
            "UPDATE one_time_tokens SET used_at = $3 \
             WHERE token_hash = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3 RETURNING ",
            token_columns!()
        ),
        token_hash,
        purpose.as_str(),
        now,
    )
}

/// Deletes `most` expired tokens, used ones too; how many there were.
pub async fn sweep_tokens(on: &mut Connection, now: Timestamp, most: i64) -> Result<u64, StorageError> {
    execute!(
        on,
        "DELETE FROM one_time_tokens WHERE expires_at <= $1 AND token_hash IN \
             (SELECT token_hash FROM one_time_tokens WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
        now,
        most,
    )
}
