//! What a good login writes: that it happened, from where, and the session that it opens.

use super::connection::{Transaction, fetch_all};
use super::database::Database;
use super::error::StorageError;
use super::known_clients::{ClientNote, remember_client};
use super::sessions::{NewSession, add_session};
use super::users::record_login;

/// A login whose password was right.
pub struct Login<'a> {
    /// The account's version when the password was checked.
    pub seen_version: i64,
    /// To note where it came from, if that was not noted lately.
    pub client: Option<ClientNote>,
    /// The session to open. It begins now.
    pub session: NewSession<'a>,
}

/// Writes all of it, or nothing and `false` if the password was changed, or the account deactivated, since it was read.
pub async fn log_in(database: &Database, login: &Login<'_>) -> Result<bool, StorageError> {
    match &login.client {
        Some(note) => log_in_and_note(database.begin().await?, login, note).await,
        None => log_in_at_once(database, login).await,
    }
}

async fn log_in_and_note(
    mut transaction: Transaction,
    login: &Login<'_>,
    note: &ClientNote,
) -> Result<bool, StorageError> {
    let session = &login.session;
    let (user_id, now) = (session.user_id, session.created_at);
    if !record_login(&mut transaction, user_id, login.seen_version, now).await? {
        transaction.rollback().await?;
        return Ok(false);
    }
    remember_client(&mut transaction, user_id, &note.client, now, note.most).await?;
    add_session(&mut transaction, session).await?;
    transaction.commit().await?;
    Ok(true)
}

/// What both engines write of the session; `$2` is the user.
macro_rules! open_session_for {
    ($users:literal) => {
        concat!(
            "INSERT INTO sessions (id, user_id, family_hash, token_hash, client_ip, user_agent, created_at, \
                 last_active_at, client_noted_at, live_until, sweep_at, expires_at) \
             SELECT $1, id, $3, $4, $5, $6, $7, $7, $7, $8, $8, $9 FROM ",
            $users
        )
    };
}

macro_rules! note_login {
    () => {
        "UPDATE users SET last_login_at = $7, is_pending = FALSE \
         WHERE id = $2 AND password_version = $10 AND is_active RETURNING id"
    };
}

/// Most logins come from a client that was noted lately, and are written at once: a round trip to SQLite's thread or to
/// PostgreSQL costs as much as what is done there. Only the way in which several statements become one is the engine's.
///
/// PostgreSQL may be told twice, if the connection was cut over the first time. The session's id was drawn for this login, so
/// where it is there already it is this session, opened the first time, and stays as it is, even if it was ended since. If the
/// password was changed since, that has ended it, and the answer is that nobody is logged in.
async fn log_in_at_once(database: &Database, login: &Login<'_>) -> Result<bool, StorageError> {
    let mut on = database.write_idempotent().await?;
    let is_sqlite = matches!(database, Database::Sqlite { .. });
    let sql = if is_sqlite {
        concat!(
            "BEGIN IMMEDIATE; ",
            note_login!(),
            "; ",
            open_session_for!("users WHERE id = $2 AND password_version = $10 AND is_active"),
            "; COMMIT"
        )
    } else {
        concat!(
            "WITH noted AS (",
            note_login!(),
            "), opened AS (",
            open_session_for!("noted"),
            " ON CONFLICT (id) DO NOTHING) SELECT id FROM noted"
        )
    };
    let session = &login.session;
    // If one of SQLite's statements fails the connection goes, and the transaction with it.
    on.open = is_sqlite;
    let noted = fetch_all!(
        (String,),
        &mut on,
        sql,
        session.id.to_string(),
        session.user_id.to_string(),
        session.family_hash,
        session.token_hash,
        session.client_ip.to_string(),
        session.user_agent,
        session.created_at,
        session.live_until,
        session.expires_at,
        login.seen_version,
    )?;
    on.open = false;
    Ok(!noted.is_empty())
}
