//! `api_tokens`: secrets of programs, by hash, with what each may do and what it has used: the row, adding, finding and
//! forgetting it. What changes it stands in `api_token_changes.rs`, what its use writes in `api_token_uses.rs`.

use sqlx::FromRow;
use uuid::Uuid;

use super::connection::{Connection, Transaction, execute, fetch_all, fetch_optional};
use super::error::StorageError;
use super::users::UserRole;
use crate::clock::Timestamp;

/// A row of `api_tokens`. No `Debug`: it holds a hash.
#[derive(Clone, FromRow)]
pub struct ApiTokenRow {
    /// A `UUIDv7`.
    #[sqlx(rename = "token_id", try_from = "String")]
    pub id: Uuid,
    /// Whose.
    #[sqlx(try_from = "String")]
    pub user_id: Uuid,
    /// What its owner calls it.
    pub name: String,
    /// First characters of the secret.
    pub prefix: String,
    /// Hex SHA-256 of the secret.
    pub secret_hash: String,
    /// With spaces between them.
    pub scopes: String,
    /// Requests in a minute; `None` is the default.
    pub per_minute: Option<i64>,
    /// Requests in an hour; `None` is the default.
    pub per_hour: Option<i64>,
    /// Requests in a day; `None` is the default.
    pub per_day: Option<i64>,
    /// Grows with every change of what the token may do.
    pub version: i64,
    /// When it was made.
    #[sqlx(rename = "token_created_at")]
    pub created_at: Timestamp,
    /// When it stops by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// The last pass at the gateway.
    pub last_used_at: Option<Timestamp>,
    /// Where that came from.
    pub last_used_ip: Option<String>,
    /// Passes at the gateway.
    pub request_count: i64,
    /// Units of the day window at the last checkpoint.
    pub day_used: i64,
    /// The end of that window; 0 where there was none.
    pub day_ends_at: Timestamp,
}

/// A token and what its owner is: what a proof needs, in one query.
#[derive(FromRow)]
pub struct TokenAndOwner {
    /// The token.
    #[sqlx(flatten)]
    pub token: ApiTokenRow,
    /// Its owner may log in.
    pub is_active: bool,
    /// What its owner may do.
    #[sqlx(try_from = "String")]
    pub role: UserRole,
}

/// A token and whose it is, as an operator sees it.
#[derive(FromRow)]
pub struct OwnedToken {
    /// The token.
    #[sqlx(flatten)]
    pub token: ApiTokenRow,
    /// Its owner's address.
    pub email: String,
    /// Its owner may log in.
    pub is_active: bool,
}

/// A token to make.
pub struct NewApiToken<'a> {
    /// A `UUIDv7`.
    pub id: Uuid,
    /// Whose.
    pub user_id: Uuid,
    /// First characters of the secret.
    pub prefix: &'a str,
    /// Hex SHA-256 of the secret.
    pub secret_hash: &'a str,
    /// What it may do.
    pub terms: ApiTokenTerms<'a>,
    /// Now.
    pub created_at: Timestamp,
}

/// What the owner of a token sets.
#[derive(Clone, Copy)]
pub struct ApiTokenTerms<'a> {
    /// What its owner calls it.
    pub name: &'a str,
    /// With spaces between them.
    pub scopes: &'a str,
    /// Requests in a minute, an hour, a day; `None` is the default.
    pub quota: [Option<i64>; 3],
    /// When it stops by itself.
    pub expires_at: Option<Timestamp>,
}

/// What came of making a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiTokenAdded {
    /// It is there.
    Added,
    /// The owner has as many as he may.
    AtCap,
    /// The owner is gone or inactive.
    NoOwner,
}

macro_rules! token_columns {
    () => {
        "api_tokens.id AS token_id, user_id, name, prefix, secret_hash, scopes, per_minute, per_hour, per_day, version, \
         api_tokens.created_at AS token_created_at, expires_at, revoked_at, last_used_at, last_used_ip, request_count, \
         day_used, day_ends_at"
    };
}

/// Adds a token, unless its owner has `most` that count. The owner's row is locked first, so of several made at once
/// each sees those before it.
pub async fn add_api_token(
    on: &mut Transaction,
    token: &NewApiToken<'_>,
    most: i64,
) -> Result<ApiTokenAdded, StorageError> {
    let user_id = token.user_id.to_string();
    let locked = execute!(
        on,
        "UPDATE users SET is_active = is_active WHERE id = $1 AND is_active",
        user_id.as_str()
    )?;
    if locked == 0 {
        return Ok(ApiTokenAdded::NoOwner);
    }
    let terms = &token.terms;
    let [per_minute, per_hour, per_day] = terms.quota;
    let added = execute!(
        on,
        "INSERT INTO api_tokens (id, user_id, name, prefix, secret_hash, scopes, per_minute, per_hour, per_day, version, \
             created_at, expires_at, request_count, day_used, day_ends_at) \
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, 1, $10, $11, 0, 0, 0 \
         WHERE (SELECT COUNT(*) FROM api_tokens \
                WHERE user_id = $2 AND (revoked_at IS NULL OR counts_until > $10)) < $12",
        token.id.to_string(),
        user_id.as_str(),
        terms.name,
        token.prefix,
        token.secret_hash,
        terms.scopes,
        per_minute,
        per_hour,
        per_day,
        token.created_at,
        terms.expires_at,
        most,
    )?;
    Ok(if added == 1 {
        ApiTokenAdded::Added
    } else {
        ApiTokenAdded::AtCap
    })
}

/// All tokens of a user, the newest first; revoked ones too, until they are swept.
pub async fn api_tokens_of_user(
    on: &mut Connection,
    user_id: Uuid,
) -> Result<Vec<ApiTokenRow>, StorageError> {
    fetch_all!(
        ApiTokenRow,
        on,
        concat!(
            "SELECT ",
            token_columns!(),
            " FROM api_tokens WHERE user_id = $1 ORDER BY id DESC"
        ),
        user_id.to_string(),
    )
}

/// At most `most` tokens of everybody, or of `user_id`, the newest first: those made before the token `before`.
pub async fn owned_tokens_before(
    on: &mut Connection,
    before: Uuid,
    user_id: Option<Uuid>,
    most: i64,
) -> Result<Vec<OwnedToken>, StorageError> {
    fetch_all!(
        OwnedToken,
        on,
        concat!(
            "SELECT ",
            token_columns!(),
            ", email, is_active FROM api_tokens JOIN users ON users.id = user_id \
             WHERE api_tokens.id < $1 AND ($2 = '' OR user_id = $2) ORDER BY api_tokens.id DESC LIMIT $3"
        ),
        before.to_string(),
        user_id.map_or_else(String::new, |id| id.to_string()),
        most,
    )
}

/// One token, whosever it is.
pub async fn find_owned_token(on: &mut Connection, id: Uuid) -> Result<Option<OwnedToken>, StorageError> {
    fetch_optional!(
        OwnedToken,
        on,
        concat!(
            "SELECT ",
            token_columns!(),
            ", email, is_active FROM api_tokens JOIN users ON users.id = user_id WHERE api_tokens.id = $1"
        ),
        id.to_string(),
    )
}

/// One token of a user.
pub async fn find_api_token(
    on: &mut Connection,
    user_id: Uuid,
    id: Uuid,
) -> Result<Option<ApiTokenRow>, StorageError> {
    fetch_optional!(
        ApiTokenRow,
        on,
        concat!(
            "SELECT ",
            token_columns!(),
            " FROM api_tokens WHERE id = $1 AND user_id = $2"
        ),
        id.to_string(),
        user_id.to_string(),
    )
}

/// The token with this secret, revoked or not, and its owner.
pub async fn find_api_token_by_secret(
    on: &mut Connection,
    secret_hash: &str,
) -> Result<Option<TokenAndOwner>, StorageError> {
    fetch_optional!(
        TokenAndOwner,
        on,
        concat!(
            "SELECT ",
            token_columns!(),
            ", is_active, role FROM api_tokens JOIN users ON users.id = user_id WHERE secret_hash = $1"
        ),
        secret_hash,
    )
}

/// Forgets `most` tokens that were revoked before `before`; how many there were.
pub async fn sweep_api_tokens(
    on: &mut Connection,
    before: Timestamp,
    most: i64,
) -> Result<u64, StorageError> {
    execute!(
        on,
        "DELETE FROM api_tokens WHERE id IN (SELECT id FROM api_tokens \
             WHERE revoked_at < $1 AND (counts_until IS NULL OR counts_until < $1) LIMIT $2)",
        before,
        most,
    )
}
