//! What an administrator does to `users`: look for them page by page, and change what they may do.

use uuid::Uuid;

use super::connection::{Connection, Transaction, execute, fetch_all, fetch_optional};
use super::error::StorageError;
use super::users::{Account, UserRole};
use crate::clock::Timestamp;

/// Where a page of rows that are sorted by time ends: the next begins behind it.
pub type PageEnd = (Timestamp, Uuid);

/// Behind which the first page begins: later than anything.
pub(super) const FROM_THE_START: PageEnd = (Timestamp::from_millis(i64::MAX), Uuid::max());

/// The `most` newest users behind `after`, with `text` somewhere in address or name. Letters of ASCII are found in
/// either case, others as they are written (SQLite folds no more; PostgreSQL may).
pub async fn search_users(
    on: &mut Connection,
    text: Option<&str>,
    after: Option<PageEnd>,
    most: i64,
) -> Result<Vec<Account>, StorageError> {
    let (at, id) = after.unwrap_or(FROM_THE_START);
    fetch_all!(
        Account,
        on,
        "SELECT * FROM users \
         WHERE ($1 IS NULL OR LOWER(email) LIKE LOWER($1) ESCAPE '!' OR LOWER(full_name) LIKE LOWER($1) ESCAPE '!') \
             AND (created_at, id) < ($2, $3) \
         ORDER BY created_at DESC, id DESC LIMIT $4",
        text.map(containing),
        at,
        id.to_string(),
        most,
    )
}

/// A `LIKE` pattern (escaped by `!`) for texts that hold this one.
fn containing(text: &str) -> String {
    let mut pattern = String::from("%");
    for character in text.chars() {
        if matches!(character, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

/// Has changes of roles and of who is active wait for each other, so that each sees what the one before has left. To
/// be called first in its transaction.
pub async fn guard_administrators(on: &mut Transaction) -> Result<(), StorageError> {
    execute!(on, "UPDATE guards SET name = name WHERE name = 'administrators'").map(drop)
}

/// Whether this user is an active administrator. Who was only registered is none: whoever proves the address becomes a user.
pub async fn is_active_admin(on: &mut Connection, id: Uuid) -> Result<bool, StorageError> {
    let sql = "SELECT COUNT(*) FROM users WHERE id = $1 AND role = 'admin' AND is_active AND NOT is_pending";
    let found = fetch_optional!((i64,), on, sql, id.to_string())?;
    Ok(found.is_some_and(|(count,)| count > 0))
}

/// Whether anybody but this user is one.
pub async fn has_other_active_admin(on: &mut Connection, id: Uuid) -> Result<bool, StorageError> {
    let sql = "SELECT COUNT(*) FROM users WHERE id <> $1 AND role = 'admin' AND is_active AND NOT is_pending";
    let found = fetch_optional!((i64,), on, sql, id.to_string())?;
    Ok(found.is_some_and(|(count,)| count > 0))
}

/// Sets whether a user may log in, and what he may do; `None` leaves either as it is. `None` if he is gone.
pub async fn set_standing(
    on: &mut Transaction,
    id: Uuid,
    is_active: Option<bool>,
    role: Option<UserRole>,
) -> Result<Option<Account>, StorageError> {
    fetch_optional!(
        Account,
        on,
        "UPDATE users SET is_active = COALESCE($2, is_active), role = COALESCE($3, role) WHERE id = $1 RETURNING *",
        id.to_string(),
        is_active,
        role.map(UserRole::as_str),
    )
}

/// An account from elsewhere. No `Debug`: it holds a password hash.
#[derive(Clone)]
pub struct ImportedUser {
    /// A `UUIDv7`.
    pub id: Uuid,
    /// Canonical address.
    pub email: String,
    /// Name, if given.
    pub full_name: Option<String>,
    /// As [`crate::credentials`] would store it.
    pub password_hash: String,
    /// Has proven the address.
    pub is_verified: bool,
    /// When the account was made, there.
    pub created_at: Timestamp,
}

/// Adds an account, or puts it in the place of one that somebody has only registered, without ever proving or using it:
/// else whoever knows who is to come could keep him out. Its id; `None` if the address has an account already.
pub async fn import_user(on: &mut Transaction, user: &ImportedUser) -> Result<Option<Uuid>, StorageError> {
    let added = fetch_optional!(
        (String,),
        on,
        "INSERT INTO users (id, email, full_name, password_hash, password_version, role, is_active, is_verified, \
             is_pending, created_at) \
         VALUES ($1, $2, $3, $4, 1, 'user', TRUE, $5, FALSE, $6) \
         ON CONFLICT (email) DO UPDATE SET full_name = excluded.full_name, password_hash = excluded.password_hash, \
             password_version = users.password_version + 1, is_verified = excluded.is_verified, is_pending = FALSE, \
             created_at = excluded.created_at \
         WHERE users.is_pending RETURNING id",
        user.id.to_string(),
        &user.email,
        user.full_name.as_deref(),
        &user.password_hash,
        user.is_verified,
        user.created_at,
    )?;
    Ok(added.and_then(|(id,)| id.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_like_would_read_as_a_pattern_is_escaped() {
        assert_eq!(containing("50%_a!b\\"), "%50!%!_a!!b\\%");
    }
}
