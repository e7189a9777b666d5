//! `users`: accounts and their password hashes.

use sqlx::FromRow;
use uuid::Uuid;

use super::connection::{Connection, Transaction, execute, fetch_all, fetch_optional};
use super::error::StorageError;
use super::values::RowId;
use crate::clock::Timestamp;

/// `users.role`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserRole {
    /// `user`.
    User,
    /// `admin`.
    Admin,
}

impl UserRole {
    /// As it stands in the column.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }
}

impl TryFrom<String> for UserRole {
    type Error = &'static str;

    fn try_from(role: String) -> Result<Self, Self::Error> {
        match role.as_str() {
            "user" => Ok(Self::User),
            "admin" => Ok(Self::Admin),
            _ => Err("unknown role"),
        }
    }
}

/// A row of `users`. No `Debug`: it holds a password hash.
#[derive(Clone, FromRow)]
pub struct Account {
    /// A `UUIDv7`.
    #[sqlx(try_from = "String")]
    pub id: Uuid,
    /// Canonical address; unique.
    pub email: String,
    /// Name, if given.
    pub full_name: Option<String>,
    /// PHC string.
    pub password_hash: String,
    /// Grows with every password that is set.
    pub password_version: i64,
    /// What the account may do.
    #[sqlx(try_from = "String")]
    pub role: UserRole,
    /// May log in.
    pub is_active: bool,
    /// Has proven the address.
    pub is_verified: bool,
    /// Registered, but neither proven nor used: the next registration replaces name and password.
    pub is_pending: bool,
    /// When the account was made.
    pub created_at: Timestamp,
    /// The last good login.
    pub last_login_at: Option<Timestamp>,
}

/// An account to make.
pub struct NewUser<'a> {
    /// A `UUIDv7`.
    pub id: Uuid,
    /// Canonical address.
    pub email: &'a str,
    /// Name, if given.
    pub full_name: Option<&'a str>,
    /// PHC string.
    pub password_hash: &'a str,
    /// What the account may do.
    pub role: UserRole,
    /// Has proven the address.
    pub is_verified: bool,
    /// See [`Account::is_pending`].
    pub is_pending: bool,
    /// Now.
    pub created_at: Timestamp,
}

/// What a login needs to know, in one query.
#[derive(FromRow)]
pub struct LoginRow {
    /// The account.
    #[sqlx(flatten)]
    pub account: Account,
    /// When this client was last noted for it, if it is among the known ones.
    pub client_seen_at: Option<Timestamp>,
    /// When any client was.
    pub newest_seen_at: Option<Timestamp>,
}

/// A new password for an account whose password is still the one that was checked.
pub struct PasswordChange<'a> {
    /// The account.
    pub user_id: Uuid,
    /// Its version when the password was checked.
    pub seen_version: i64,
    /// PHC string.
    pub password_hash: &'a str,
}

/// Adds a user; `false` if the address is taken.
pub async fn add_user(on: &mut Connection, user: &NewUser<'_>) -> Result<bool, StorageError> {
    let added = execute!(
        on,
        "INSERT INTO users (id, email, full_name, password_hash, password_version, role, is_active, is_verified, \
             is_pending, created_at) \
         VALUES ($1, $2, $3, $4, 1, $5, TRUE, $6, $7, $8) ON CONFLICT DO NOTHING",
        user.id.to_string(),
        user.email,
        user.full_name,
        user.password_hash,
        user.role.as_str(),
        user.is_verified,
        user.is_pending,
        user.created_at,
    )?;
    Ok(added == 1)
}

/// The user with this id.
pub async fn find_user(on: &mut Connection, id: Uuid) -> Result<Option<Account>, StorageError> {
    fetch_optional!(Account, on, "SELECT * FROM users WHERE id = $1", id.to_string())
}

/// The user with this address.
pub async fn find_user_by_email(on: &mut Connection, email: &str) -> Result<Option<Account>, StorageError> {
    fetch_optional!(Account, on, "SELECT * FROM users WHERE email = $1", email)
}

/// The user with this address, and whether `client` is one of his `most` newest that were seen after
/// `seen_after`.
pub async fn find_for_login(
    on: &mut Connection,
    email: &str,
    client: &str,
    seen_after: Timestamp,
    most: i64,
) -> Result<Option<LoginRow>, StorageError> {
    fetch_optional!(
        LoginRow,
        on,
        "SELECT users.*, (SELECT newest.seen_at FROM ( \
             SELECT client, seen_at FROM known_clients \
             WHERE user_id = users.id AND seen_at > $3 ORDER BY seen_at DESC, client LIMIT $4 \
         ) AS newest WHERE newest.client = $2) AS client_seen_at, \
         (SELECT MAX(seen_at) FROM known_clients WHERE user_id = users.id) AS newest_seen_at \
         FROM users WHERE email = $1",
        email,
        client,
        seen_after,
        most,
    )
}

/// Notes a good login; `false` if the password was changed, or the account deactivated, since it was read.
pub async fn record_login(
    on: &mut Transaction,
    id: Uuid,
    seen_version: i64,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let noted = execute!(
        on,
        "UPDATE users SET last_login_at = $3, is_pending = FALSE \
         WHERE id = $1 AND password_version = $2 AND is_active",
        id.to_string(),
        seen_version,
        now,
    )?;
    Ok(noted == 1)
}

/// Replaces the hash of the same password by a stronger one, unless somebody was faster.
pub async fn rehash_password(
    on: &mut Connection,
    id: Uuid,
    old_hash: &str,
    new_hash: &str,
) -> Result<bool, StorageError> {
    let replaced = execute!(
        on,
        "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2",
        id.to_string(),
        old_hash,
        new_hash,
    )?;
    Ok(replaced == 1)
}

/// Sets or clears the name; `None` if the user is gone.
pub async fn set_full_name(
    on: &mut Connection,
    id: Uuid,
    full_name: Option<&str>,
) -> Result<Option<Account>, StorageError> {
    fetch_optional!(
        Account,
        on,
        "UPDATE users SET full_name = $2 WHERE id = $1 RETURNING *",
        id.to_string(),
        full_name,
    )
}

/// Sets a new password; `false` if it was changed, or the user deactivated or deleted, since it was read.
pub async fn change_password(
    on: &mut Transaction,
    change: &PasswordChange<'_>,
) -> Result<bool, StorageError> {
    let changed = execute!(
        on,
        "UPDATE users SET password_hash = $3, password_version = password_version + 1 \
         WHERE id = $1 AND password_version = $2 AND is_active",
        change.user_id.to_string(),
        change.seen_version,
        change.password_hash,
    )?;
    Ok(changed == 1)
}

/// Sets a new password by a link that was mailed to `email`, which verifies the address. `None` if the
/// account has another address or another password than when the link was made, or is inactive.
pub async fn reset_password(
    on: &mut Transaction,
    change: &PasswordChange<'_>,
    email: &str,
) -> Result<Option<Account>, StorageError> {
    fetch_optional!(
        Account,
        on,
        "UPDATE users SET password_hash = $3, password_version = password_version + 1, is_verified = TRUE, \
             is_pending = FALSE \
         WHERE id = $1 AND password_version = $2 AND email = $4 AND is_active RETURNING *",
        change.user_id.to_string(),
        change.seen_version,
        change.password_hash,
        email,
    )
}

/// Gives the user a new, proven address; `None` if the password was changed, or the user deactivated, since
/// the link was asked for. A taken address is a unique violation.
pub async fn change_email(
    on: &mut Transaction,
    id: Uuid,
    seen_version: i64,
    new_email: &str,
) -> Result<Option<Account>, StorageError> {
    fetch_optional!(
        Account,
        on,
        "UPDATE users SET email = $3, is_verified = TRUE, is_pending = FALSE \
         WHERE id = $1 AND password_version = $2 AND is_active RETURNING *",
        id.to_string(),
        seen_version,
        new_email,
    )
}

/// Deletes the user and all that hangs on him; `None` if he is gone, or his password was changed since `seen_version`
/// was read, where that matters. Mail that waits for his address goes too. Answers the ids of his API tokens, whose proofs are to be voided.
pub async fn delete_user(
    on: &mut Transaction,
    id: Uuid,
    seen_version: Option<i64>,
) -> Result<Option<Vec<Uuid>>, StorageError> {
    // In the order of locks that `storage` keeps; the foreign key would take the user first.
    execute!(
        on,
        "DELETE FROM one_time_tokens WHERE user_id = $1",
        id.to_string()
    )?;
    execute!(
        on,
        "DELETE FROM mail_jobs WHERE recipient = (SELECT email FROM users \
             WHERE id = $1 AND ($2 IS NULL OR password_version = $2))",
        id.to_string(),
        seen_version,
    )?;
    // Only read: to lock the user first and delete him then would be two locks, and a circle with whoever holds
    // what hangs on him. A token that is made in this very moment goes with its user too, but is not among these.
    let tokens = fetch_all!(
        RowId,
        on,
        "SELECT id FROM api_tokens WHERE user_id = $1",
        id.to_string()
    )?;
    let deleted = execute!(
        on,
        "DELETE FROM users WHERE id = $1 AND ($2 IS NULL OR password_version = $2)",
        id.to_string(),
        seen_version,
    )?;
    Ok((deleted == 1).then(|| tokens.into_iter().map(|token| token.id).collect()))
}
