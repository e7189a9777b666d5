//! `users.is_pending`: accounts that were registered while addresses must be proven, and that nobody has proven or used
//! yet. They hold no address against anybody: the next registration replaces them, whoever proves the address becomes
//! its owner, and what nobody proves is swept.

use uuid::Uuid;

use super::connection::{Connection, Transaction, execute, fetch_all, fetch_optional};
use super::error::StorageError;
use super::users::{Account, NewUser};
use super::values::RowId;
use crate::clock::Timestamp;

/// Name and password of a registration, for the account that it becomes.
pub struct Registration<'a> {
    /// PHC string.
    pub password_hash: &'a str,
    /// Name, if given.
    pub full_name: Option<&'a str>,
}

/// Adds a pending user, or replaces name and password of the pending one with this address. An account that
/// was proven or used stays as it is.
pub async fn register_pending(on: &mut Transaction, user: &NewUser<'_>) -> Result<(), StorageError> {
    execute!(
        on,
        "INSERT INTO users (id, email, full_name, password_hash, password_version, role, is_active, is_verified, \
             is_pending, created_at) \
         VALUES ($1, $2, $3, $4, 1, $5, TRUE, FALSE, TRUE, $6) \
         ON CONFLICT (email) DO UPDATE SET full_name = excluded.full_name, password_hash = excluded.password_hash, \
             password_version = users.password_version + 1 \
         WHERE users.is_pending",
        user.id.to_string(),
        user.email,
        user.full_name,
        user.password_hash,
        user.role.as_str(),
        user.created_at,
    )
    .map(drop)
}

/// Verifies the address `email`. With a registration the account becomes that one, which it can only while
/// it is unverified; what an administrator made of the address before, a registration has no claim to. `None` if the
/// account has another address by now, or is another's.
pub async fn verify_user(
    on: &mut Transaction,
    id: Uuid,
    email: &str,
    registration: Option<&Registration<'_>>,
) -> Result<Option<Account>, StorageError> {
    match registration {
        None => fetch_optional!(
            Account,
            on,
            "UPDATE users SET is_verified = TRUE, is_pending = FALSE WHERE id = $1 AND email = $2 RETURNING *",
            id.to_string(),
            email,
        ),
        Some(registration) => fetch_optional!(
            Account,
            on,
            "UPDATE users SET is_verified = TRUE, is_pending = FALSE, full_name = $4, password_hash = $3, role = 'user', \
                 password_version = password_version + 1 \
             WHERE id = $1 AND email = $2 AND NOT is_verified RETURNING *",
            id.to_string(),
            email,
            registration.password_hash,
            registration.full_name,
        ),
    }
}

/// `$1`: registered before; `$2`: now.
macro_rules! is_stale {
    () => {
        "is_pending AND role = 'user' AND created_at <= $1 \
         AND NOT EXISTS (SELECT 1 FROM one_time_tokens AS link WHERE link.user_id = users.id AND expires_at > $2) \
         AND NOT EXISTS (SELECT 1 FROM mail_jobs WHERE recipient = users.email)"
    };
}

/// Makes way for whoever has proven that `email` is his, or is given it by an administrator: deletes an account there that
/// was never proven or used.
pub async fn delete_pending_user(on: &mut Transaction, email: &str) -> Result<(), StorageError> {
    // In the order of locks that `storage` keeps; the foreign key would take the user first.
    execute!(
        on,
        "DELETE FROM one_time_tokens WHERE user_id = (SELECT id FROM users WHERE email = $1 AND is_pending)",
        email
    )?;
    execute!(on, "DELETE FROM users WHERE email = $1 AND is_pending", email).map(drop)
}

/// Accounts registered before `before` that were never proven nor used, and that no link proves any more: none is good
/// at `now`, none is about to be mailed. `most` of them.
pub async fn stale_pending_users(
    on: &mut Connection,
    before: Timestamp,
    now: Timestamp,
    most: i64,
) -> Result<Vec<Uuid>, StorageError> {
    let stale = fetch_all!(
        RowId,
        on,
        concat!(
            "SELECT id FROM users WHERE ",
            is_stale!(),
            " ORDER BY created_at LIMIT $3"
        ),
        before,
        now,
        most,
    )?;
    Ok(stale.into_iter().map(|user| user.id).collect())
}

/// Deletes such an account; `false` if it is none any more: it was proven, or registered anew.
pub async fn delete_stale_pending_user(
    on: &mut Transaction,
    id: Uuid,
    before: Timestamp,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let id = id.to_string();
    // In the order of locks that `storage` keeps.
    execute!(
        on,
        "DELETE FROM one_time_tokens WHERE user_id = $1 AND expires_at <= $2",
        id.as_str(),
        now
    )?;
    // Whoever registers it anew at this moment waits here, or is waited for and then seen by the next statement.
    execute!(
        on,
        "UPDATE users SET is_pending = is_pending WHERE id = $1 AND is_pending",
        id.as_str()
    )?;
    let deleted = execute!(
        on,
        concat!("DELETE FROM users WHERE id = $3 AND ", is_stale!()),
        before,
        now,
        id.as_str(),
    )?;
    Ok(deleted == 1)
}
