//! `api_tokens`: secrets of programs, by hash, with what each may do and what it has used.
//!
//! Every change of what a token may do raises its `version`, in the same statement: whoever holds a proof of an
//! older one asks again.

use std::net::IpAddr;

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

/// A token and its version after a change: what proofs of older versions are void of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct TokenVersion {
    /// The token.
    #[sqlx(try_from = "String")]
    pub id: Uuid,
    /// Its version now.
    pub version: i64,
}

/// What a token used since it was last written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiTokenUse {
    /// The token.
    pub id: Uuid,
    /// Passes.
    pub count: i64,
    /// The last one.
    pub last_at: Timestamp,
    /// Where it came from.
    pub last_ip: IpAddr,
    /// Units of the day window, and its end.
    pub day: Option<(i64, Timestamp)>,
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

/// Sets what a token may do, if its version is still `seen`; `None` if it was changed, revoked or deleted since.
pub async fn change_api_token(
    on: &mut Connection,
    id: Uuid,
    seen: i64,
    terms: &ApiTokenTerms<'_>,
) -> Result<Option<TokenVersion>, StorageError> {
    let [per_minute, per_hour, per_day] = terms.quota;
    fetch_optional!(
        TokenVersion,
        on,
        "UPDATE api_tokens SET name = $3, scopes = $4, per_minute = $5, per_hour = $6, per_day = $7, expires_at = $8, \
             version = version + 1 \
         WHERE id = $1 AND version = $2 AND revoked_at IS NULL RETURNING id, version",
        id.to_string(),
        seen,
        terms.name,
        terms.scopes,
        per_minute,
        per_hour,
        per_day,
        terms.expires_at,
    )
}

/// Gives a token another secret; `None` if it is revoked or not the user's.
pub async fn rotate_api_token(
    on: &mut Connection,
    user_id: Uuid,
    id: Uuid,
    prefix: &str,
    secret_hash: &str,
) -> Result<Option<TokenVersion>, StorageError> {
    fetch_optional!(
        TokenVersion,
        on,
        "UPDATE api_tokens SET prefix = $3, secret_hash = $4, version = version + 1 \
         WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL RETURNING id, version",
        id.to_string(),
        user_id.to_string(),
        prefix,
        secret_hash,
    )
}

/// Revokes a token; `None` if it is revoked already or not the user's.
pub async fn revoke_api_token(
    on: &mut Connection,
    user_id: Uuid,
    id: Uuid,
    now: Timestamp,
    counts_until: Timestamp,
) -> Result<Option<TokenVersion>, StorageError> {
    fetch_optional!(
        TokenVersion,
        on,
        "UPDATE api_tokens SET revoked_at = $3, counts_until = $4, version = version + 1 \
         WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL RETURNING id, version",
        id.to_string(),
        user_id.to_string(),
        now,
        counts_until,
    )
}

/// Says until when a revoked token counts against the cap.
pub async fn set_api_token_counts_until(
    on: &mut Connection,
    id: Uuid,
    counts_until: Timestamp,
) -> Result<(), StorageError> {
    execute!(
        on,
        "UPDATE api_tokens SET counts_until = $2 WHERE id = $1 AND revoked_at IS NOT NULL",
        id.to_string(),
        counts_until,
    )
    .map(drop)
}

/// Revokes all tokens of a user.
pub async fn revoke_api_tokens_of_user(
    on: &mut Transaction,
    user_id: Uuid,
    now: Timestamp,
    counts_until: Timestamp,
) -> Result<Vec<TokenVersion>, StorageError> {
    fetch_all!(
        TokenVersion,
        on,
        "UPDATE api_tokens SET revoked_at = $2, counts_until = $3, version = version + 1 \
         WHERE user_id = $1 AND revoked_at IS NULL RETURNING id, version",
        user_id.to_string(),
        now,
        counts_until,
    )
}

/// Voids every proof of a user's tokens, which stay as they are: for whoever deactivates him or takes a role away.
pub async fn void_api_tokens_of_user(
    on: &mut Transaction,
    user_id: Uuid,
) -> Result<Vec<TokenVersion>, StorageError> {
    fetch_all!(
        TokenVersion,
        on,
        "UPDATE api_tokens SET version = version + 1 WHERE user_id = $1 AND revoked_at IS NULL RETURNING id, version",
        user_id.to_string(),
    )
}

/// Adds what tokens used, in the order of their ids, so that two processes that write at once do not wait for each
/// other in a circle. Of a day window that several report the most counts; a later window replaces an earlier one.
pub async fn record_api_token_uses(on: &mut Transaction, uses: &[ApiTokenUse]) -> Result<(), StorageError> {
    let mut uses: Vec<&ApiTokenUse> = uses.iter().collect();
    uses.sort_unstable_by_key(|used| used.id);
    for used in uses {
        let (day_used, day_ends_at) = used.day.unwrap_or((0, Timestamp::from_millis(0)));
        execute!(
            on,
            "UPDATE api_tokens SET request_count = request_count + $2, \
                 last_used_ip = CASE WHEN last_used_at > $3 THEN last_used_ip ELSE $4 END, \
                 last_used_at = CASE WHEN last_used_at > $3 THEN last_used_at ELSE $3 END, \
                 day_used = CASE WHEN $6 > day_ends_at OR ($6 = day_ends_at AND $5 > day_used) THEN $5 ELSE day_used END, \
                 day_ends_at = CASE WHEN $6 > day_ends_at THEN $6 ELSE day_ends_at END \
             WHERE id = $1",
            used.id.to_string(),
            used.count,
            used.last_at,
            used.last_ip.to_string(),
            day_used,
            day_ends_at,
        )?;
    }
    Ok(())
}

/// Forgets the day window as last written down: an operator has reset the token's counters.
pub async fn forget_api_token_day(on: &mut Connection, id: Uuid) -> Result<(), StorageError> {
    execute!(
        on,
        "UPDATE api_tokens SET day_used = 0, day_ends_at = 0 WHERE id = $1",
        id.to_string(),
    )
    .map(drop)
}

/// Forgets tokens that were revoked before `before`; how many.
pub async fn sweep_api_tokens(on: &mut Connection, before: Timestamp) -> Result<u64, StorageError> {
    execute!(
        on,
        "DELETE FROM api_tokens WHERE revoked_at < $1 AND (counts_until IS NULL OR counts_until < $1)",
        before
    )
}
