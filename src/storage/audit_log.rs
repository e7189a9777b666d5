//! `audit_log`: the record of security events.

use sqlx::FromRow;
use uuid::Uuid;

use super::database::{Connection, Transaction, execute, fetch_all};
use super::error::StorageError;
use crate::clock::Timestamp;

/// A row of `audit_log`.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct AuditRow {
    /// A `UUIDv7`.
    #[sqlx(try_from = "String")]
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// What: `login_failure`.
    pub event: String,
    /// `success`, `failure` or `refused`.
    pub outcome: String,
    /// Why, in one word.
    pub reason: Option<String>,
    /// Whose account, if one is known: who did it.
    pub user_id: Option<String>,
    /// Whom an administrator did it to.
    pub target_id: Option<String>,
    /// The account that was named, known or not: start of an HMAC of its address.
    pub account: Option<String>,
    /// Where from.
    pub client_ip: Option<String>,
    /// In which request.
    pub request_id: Option<String>,
    /// How many such events this row stands for.
    pub occurrences: i64,
}

/// Adds rows.
pub async fn add_audit_rows(on: &mut Transaction, rows: &[AuditRow]) -> Result<(), StorageError> {
    for row in rows {
        execute!(
            on,
            "INSERT INTO audit_log (id, at, event, outcome, reason, user_id, account, client_ip, request_id, occurrences, \
                 target_id) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            row.id.to_string(),
            row.at,
            &row.event,
            &row.outcome,
            row.reason.as_deref(),
            row.user_id.as_deref(),
            row.account.as_deref(),
            row.client_ip.as_deref(),
            row.request_id.as_deref(),
            row.occurrences,
            row.target_id.as_deref(),
        )?;
    }
    Ok(())
}

/// The `most` newest rows, the newest first.
pub async fn latest_audit_rows(on: &mut Connection, most: i64) -> Result<Vec<AuditRow>, StorageError> {
    fetch_all!(
        AuditRow,
        on,
        "SELECT * FROM audit_log ORDER BY at DESC, id DESC LIMIT $1",
        most
    )
}

/// Deletes rows from before `before`; how many.
pub async fn sweep_audit_rows(on: &mut Transaction, before: Timestamp) -> Result<u64, StorageError> {
    execute!(on, "DELETE FROM audit_log WHERE at <= $1", before)
}
