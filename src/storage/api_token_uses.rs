//! What the use of API tokens leaves in `api_tokens`: counts, the last pass, and the day window as last written down.

use std::net::IpAddr;

use uuid::Uuid;

use super::connection::{Connection, Transaction, execute};
use super::error::StorageError;
use crate::clock::Timestamp;

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
