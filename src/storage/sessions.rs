//! `sessions`: who is signed in, and the refresh token that is live in each session.
//!
//! One row is one session through all its refreshes. Every refresh token of it consists of a half that all
//! of them share (`family_hash` finds the row) and a half of its own (`token_hash` is the live one), so any
//! token ever issued is recognised without keeping a row for each. Only hashes are stored.

use std::net::IpAddr;

use sqlx::FromRow;
use uuid::Uuid;

use super::connection::{Connection, execute, fetch_all, fetch_optional};
use super::error::StorageError;
use super::known_clients::ClientNote;
use super::users::Account;
use crate::clock::Timestamp;

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Its user logged out.
    Logout,
    /// An ended refresh token was used again.
    Reuse,
    /// Its user ended it from another session.
    Revoked,
    /// The password was changed in another session.
    PasswordChanged,
    /// The password was reset.
    PasswordReset,
    /// The address was changed from another session.
    EmailChanged,
    /// Another registration of the address was proven.
    Replaced,
    /// An administrator deactivated the account.
    Deactivated,
}

impl EndReason {
    /// As it stands in the column and in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Reuse => "refresh_reuse",
            Self::Revoked => "revoked",
            Self::PasswordChanged => "password_changed",
            Self::PasswordReset => "password_reset",
            Self::EmailChanged => "email_changed",
            Self::Replaced => "registration_replaced",
            Self::Deactivated => "account_deactivated",
        }
    }
}

/// A row of `sessions`. No `Debug`: it holds hashes.
#[derive(Clone, FromRow)]
pub struct Session {
    /// A `UUIDv7`.
    #[sqlx(rename = "session_id", try_from = "String")]
    pub id: Uuid,
    /// Whose.
    #[sqlx(try_from = "String")]
    pub user_id: Uuid,
    /// Hash of the live refresh token's own half.
    pub token_hash: String,
    /// Hash of its immediate predecessor's.
    pub previous_hash: Option<String>,
    /// The live token, sealed under the predecessor, while the grace lasts.
    pub successor_sealed: Option<String>,
    /// End of the grace.
    pub grace_ends_at: Option<Timestamp>,
    /// Where it was last used from.
    pub client_ip: String,
    /// When that client was noted for the user, if it is known.
    pub client_noted_at: Option<Timestamp>,
    /// `User-Agent` of the last login or refresh.
    pub user_agent: Option<String>,
    /// Login.
    #[sqlx(rename = "session_created_at")]
    pub created_at: Timestamp,
    /// Last login or refresh.
    pub last_active_at: Timestamp,
    /// End if it is not refreshed before: the lesser of idle and absolute end.
    pub live_until: Timestamp,
    /// Absolute end.
    pub expires_at: Timestamp,
    /// When it was ended, if it was.
    pub ended_at: Option<Timestamp>,
    /// By what: [`EndReason::as_str`].
    pub end_reason: Option<String>,
}

/// A session and its user.
#[derive(FromRow)]
pub struct SessionOfUser {
    /// The session.
    #[sqlx(flatten)]
    pub session: Session,
    /// Its user.
    #[sqlx(flatten)]
    pub account: Account,
}

/// A session to open.
pub struct NewSession<'a> {
    /// A `UUIDv7`.
    pub id: Uuid,
    /// Whose.
    pub user_id: Uuid,
    /// Hash of the half that all its refresh tokens share.
    pub family_hash: &'a str,
    /// Hash of the first one's own half.
    pub token_hash: &'a str,
    /// Where the login came from.
    pub client_ip: IpAddr,
    /// Its `User-Agent`.
    pub user_agent: Option<&'a str>,
    /// Now.
    pub created_at: Timestamp,
    /// The lesser of idle and absolute end.
    pub live_until: Timestamp,
    /// Absolute end.
    pub expires_at: Timestamp,
}

/// The change of a session's live refresh token.
#[derive(Debug)]
pub struct Rotation {
    /// The session.
    pub session_id: Uuid,
    /// Whose.
    pub user_id: Uuid,
    /// To note where it came from, if that was not noted lately.
    pub client: Option<ClientNote>,
    /// Hash of the token that was presented: rotates only while it is the live one.
    pub presented_hash: String,
    /// Hash of its successor, which was drawn for this rotation: it also tells this one from any other.
    pub successor_hash: String,
    /// The successor sealed under the presented token; `None` without grace.
    pub successor_sealed: Option<String>,
    /// End of the grace.
    pub grace_ends_at: Timestamp,
    /// Where the refresh came from.
    pub client_ip: IpAddr,
    /// Its `User-Agent`.
    pub user_agent: Option<String>,
    /// Now.
    pub now: Timestamp,
    /// The lesser of the new idle and the absolute end.
    pub live_until: Timestamp,
}

macro_rules! session_columns {
    () => {
        "sessions.id AS session_id, sessions.user_id, sessions.token_hash, sessions.previous_hash, \
         sessions.successor_sealed, sessions.grace_ends_at, sessions.client_ip, sessions.client_noted_at, sessions.user_agent, \
         sessions.created_at AS session_created_at, sessions.last_active_at, sessions.live_until, \
         sessions.expires_at, sessions.ended_at, sessions.end_reason"
    };
}

/// Opens a session. Its client was noted just before.
pub async fn add_session(on: &mut Connection, session: &NewSession<'_>) -> Result<(), StorageError> {
    execute!(
        on,
        "INSERT INTO sessions (id, user_id, family_hash, token_hash, client_ip, user_agent, created_at, \
             last_active_at, client_noted_at, live_until, sweep_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $7, $8, $8, $9)",
        session.id.to_string(),
        session.user_id.to_string(),
        session.family_hash,
        session.token_hash,
        session.client_ip.to_string(),
        session.user_agent,
        session.created_at,
        session.live_until,
        session.expires_at,
    )
    .map(drop)
}

/// The session that a refresh token was issued in, over or not, and its user.
pub async fn find_session_of_family(
    on: &mut Connection,
    family_hash: &str,
) -> Result<Option<SessionOfUser>, StorageError> {
    fetch_optional!(
        SessionOfUser,
        on,
        concat!(
            "SELECT ",
            session_columns!(),
            ", users.* FROM sessions JOIN users ON users.id = sessions.user_id WHERE family_hash = $1"
        ),
        family_hash,
    )
}

/// The active user of a live session: what an access token is checked against.
pub async fn find_live_session(
    on: &mut Connection,
    session_id: Uuid,
    user_id: Uuid,
    now: Timestamp,
) -> Result<Option<Account>, StorageError> {
    fetch_optional!(
        Account,
        on,
        "SELECT users.* FROM sessions JOIN users ON users.id = sessions.user_id \
         WHERE sessions.id = $1 AND users.id = $2 AND ended_at IS NULL AND live_until > $3 AND is_active",
        session_id.to_string(),
        user_id.to_string(),
        now,
    )
}

/// The live sessions of a user, the most recently active first.
pub async fn live_sessions(
    on: &mut Connection,
    user_id: Uuid,
    now: Timestamp,
) -> Result<Vec<Session>, StorageError> {
    fetch_all!(
        Session,
        on,
        concat!(
            "SELECT ",
            session_columns!(),
            " FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND live_until > $2 \
             ORDER BY last_active_at DESC, id DESC"
        ),
        user_id.to_string(),
        now,
    )
}

/// One statement of [`super::rotate_session`]. Twice is once: the successor was drawn for this rotation alone, so whoever finds
/// it live in the presented token's place finds what he did himself the first time. Nobody else can be told that he rotated.
pub(super) async fn rotate(on: &mut Connection, rotation: &Rotation) -> Result<bool, StorageError> {
    let rotated = execute!(
        on,
        "UPDATE sessions SET previous_hash = $2, token_hash = $3, successor_sealed = $4, grace_ends_at = $5, \
             client_ip = $6, user_agent = $7, last_active_at = $8, live_until = $9, \
             client_noted_at = COALESCE($10, client_noted_at) \
         WHERE id = $1 AND (token_hash = $2 OR token_hash = $3 AND previous_hash = $2) AND ended_at IS NULL \
             AND live_until > $8",
        rotation.session_id.to_string(),
        &rotation.presented_hash,
        &rotation.successor_hash,
        &rotation.successor_sealed,
        rotation.grace_ends_at,
        rotation.client_ip.to_string(),
        &rotation.user_agent,
        rotation.now,
        rotation.live_until,
        rotation.client.as_ref().map(|_| rotation.now),
    )?;
    Ok(rotated == 1)
}

/// Ends one live session of a user; `false` if there is none with this id.
pub async fn end_session(
    on: &mut Connection,
    user_id: Uuid,
    session_id: Uuid,
    reason: EndReason,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let ended = execute!(
        on,
        "UPDATE sessions SET ended_at = $3, end_reason = $4, successor_sealed = NULL \
         WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND live_until > $3",
        session_id.to_string(),
        user_id.to_string(),
        now,
        reason.as_str(),
    )?;
    Ok(ended == 1)
}

#[derive(FromRow)]
struct Ended {
    #[sqlx(try_from = "String")]
    id: Uuid,
    #[sqlx(try_from = "String")]
    user_id: Uuid,
}

/// Ends the session that a refresh token was issued in; session and user if it was live.
pub async fn end_session_of_family(
    on: &mut Connection,
    family_hash: &str,
    reason: EndReason,
    now: Timestamp,
) -> Result<Option<(Uuid, Uuid)>, StorageError> {
    let ended = fetch_optional!(
        Ended,
        on,
        "UPDATE sessions SET ended_at = $2, end_reason = $3, successor_sealed = NULL \
         WHERE family_hash = $1 AND ended_at IS NULL AND live_until > $2 RETURNING id, user_id",
        family_hash,
        now,
        reason.as_str(),
    )?;
    Ok(ended.map(|ended| (ended.id, ended.user_id)))
}

/// Ends a session by its id alone; its user if it was live.
pub async fn end_session_by_id(
    on: &mut Connection,
    session_id: Uuid,
    reason: EndReason,
    now: Timestamp,
) -> Result<Option<Uuid>, StorageError> {
    let ended = fetch_optional!(
        Ended,
        on,
        "UPDATE sessions SET ended_at = $2, end_reason = $3, successor_sealed = NULL \
         WHERE id = $1 AND ended_at IS NULL AND live_until > $2 RETURNING id, user_id",
        session_id.to_string(),
        now,
        reason.as_str(),
    )?;
    Ok(ended.map(|ended| ended.user_id))
}

/// Ends all live sessions of a user but `keep`; how many they were.
pub async fn end_other_sessions(
    on: &mut Connection,
    user_id: Uuid,
    keep: Uuid,
    reason: EndReason,
    now: Timestamp,
) -> Result<u64, StorageError> {
    execute!(
        on,
        "UPDATE sessions SET ended_at = $3, end_reason = $4, successor_sealed = NULL \
         WHERE user_id = $1 AND id <> $2 AND ended_at IS NULL AND live_until > $3",
        user_id.to_string(),
        keep.to_string(),
        now,
        reason.as_str(),
    )
}

/// Ends all live sessions of a user; how many they were.
pub async fn end_sessions_of_user(
    on: &mut Connection,
    user_id: Uuid,
    reason: EndReason,
    now: Timestamp,
) -> Result<u64, StorageError> {
    // The nil id is no session's.
    end_other_sessions(on, user_id, Uuid::nil(), reason, now).await
}

/// Erases `most` sealed successors whose grace has ended; how many there were.
pub async fn erase_grace_successors(
    on: &mut Connection,
    now: Timestamp,
    most: i64,
) -> Result<u64, StorageError> {
    execute!(
        on,
        "UPDATE sessions SET successor_sealed = NULL WHERE successor_sealed IS NOT NULL AND grace_ends_at <= $1 AND id IN \
             (SELECT id FROM sessions WHERE successor_sealed IS NOT NULL AND grace_ends_at <= $1 LIMIT $2)",
        now,
        most,
    )
}

/// Looks at `most` sessions that are due (`sweep_at`) by `before`, and deletes those that expired, or were ended, before then;
/// how many it changed.
///
/// A session that was refreshed is due again when it would end now: once in its idle life a session is looked at in vain,
/// instead of being moved in an index at each refresh.
pub async fn sweep_sessions(on: &mut Connection, before: Timestamp, most: i64) -> Result<u64, StorageError> {
    let moved = execute!(
        on,
        "UPDATE sessions SET sweep_at = live_until WHERE live_until > $1 AND id IN \
             (SELECT id FROM sessions WHERE sweep_at <= $1 AND live_until > $1 LIMIT $2)",
        before,
        most,
    )?;
    if moved >= most.unsigned_abs() {
        // There may be more, which the statement below would read and leave.
        return Ok(moved);
    }
    let deleted = execute!(
        on,
        "DELETE FROM sessions WHERE id IN \
             (SELECT id FROM sessions WHERE sweep_at <= $1 AND live_until <= $1 OR ended_at <= $1 LIMIT $2)",
        before,
        most,
    )?;
    Ok(moved.max(deleted))
}
