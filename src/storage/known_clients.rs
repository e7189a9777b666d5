//! `known_clients`: from where an account was used well, so that strangers cannot lock its owner out.

use sqlx::FromRow;
use uuid::Uuid;

use super::connection::{Connection, execute, fetch_all, fetch_optional};
use super::error::StorageError;
use crate::clock::Timestamp;

#[derive(FromRow)]
struct Known {
    client: String,
}

/// A client to be noted for an account together with what it did.
#[derive(Clone, Debug)]
pub struct ClientNote {
    /// The client as limits count it.
    pub client: String,
    /// All but so many of the account's newest are forgotten.
    pub most: i64,
}

/// Notes that the account was used from `client`, and forgets all but the `most` newest.
pub async fn remember_client(
    on: &mut Connection,
    user_id: Uuid,
    client: &str,
    now: Timestamp,
    most: i64,
) -> Result<(), StorageError> {
    // Whether the new row is counted is the engine's affair: behind fewer than `most`, with it or without, none is to forget.
    let counted = fetch_optional!(
        (i64,),
        on,
        "INSERT INTO known_clients (user_id, client, seen_at) VALUES ($1, $2, $3) \
         ON CONFLICT (user_id, client) DO UPDATE SET seen_at = excluded.seen_at \
         RETURNING (SELECT COUNT(*) FROM known_clients AS others WHERE others.user_id = $1)",
        user_id.to_string(),
        client,
        now,
    )?;
    if counted.is_some_and(|(count,)| count < most) {
        return Ok(());
    }
    execute!(
        on,
        "DELETE FROM known_clients WHERE user_id = $1 AND client NOT IN \
             (SELECT client FROM known_clients WHERE user_id = $1 ORDER BY seen_at DESC, client LIMIT $2)",
        user_id.to_string(),
        most,
    )
    .map(drop)
}

/// The clients noted for an account, the newest first.
pub async fn known_clients(on: &mut Connection, user_id: Uuid) -> Result<Vec<String>, StorageError> {
    let known = fetch_all!(
        Known,
        on,
        "SELECT client FROM known_clients WHERE user_id = $1 ORDER BY seen_at DESC, client",
        user_id.to_string(),
    )?;
    Ok(known.into_iter().map(|known| known.client).collect())
}

/// Forgets `most` clients not seen since `before`; how many there were.
pub async fn sweep_known_clients(
    on: &mut Connection,
    before: Timestamp,
    most: i64,
) -> Result<u64, StorageError> {
    execute!(
        on,
        "DELETE FROM known_clients WHERE seen_at <= $1 AND (user_id, client) IN \
             (SELECT user_id, client FROM known_clients WHERE seen_at <= $1 ORDER BY seen_at LIMIT $2)",
        before,
        most,
    )
}
