//! What changes a row of `api_tokens`: its terms, its secret, its end.
//!
//! Every change of what a token may do raises its `version`, in the same statement: whoever holds a proof of an
//! older one asks again.

use sqlx::FromRow;
use uuid::Uuid;

use super::api_tokens::ApiTokenTerms;
use super::connection::{Connection, Transaction, execute, fetch_all, fetch_optional};
use super::error::StorageError;
use crate::clock::Timestamp;

/// A token and its version after a change: what proofs of older versions are void of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct TokenVersion {
    /// The token.
    #[sqlx(try_from = "String")]
    pub id: Uuid,
    /// Its version now.
    pub version: i64,
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
