//! `audit_log`: the record of security events.

use serde_json::{Value, json};
use sqlx::FromRow;
use uuid::Uuid;

use super::connection::{Connection, Link, execute, fetch_all};
use super::error::StorageError;
use super::user_admin::{FROM_THE_START, PageEnd};
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
    /// `success` or `failure`.
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

/// What both engines write of a list of rows. Each is a list itself, in the order of the columns.
macro_rules! add_rows_of {
    ($list:literal) => {
        concat!(
            "INSERT INTO audit_log (id, at, event, outcome, reason, user_id, target_id, account, client_ip, request_id, \
                 occurrences) \
             SELECT value->>0, CAST(value->>1 AS BIGINT), value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, \
                 value->>8, value->>9, CAST(value->>10 AS BIGINT) FROM ",
            $list,
            " WHERE TRUE ON CONFLICT (id) DO NOTHING"
        )
    };
}

/// Adds rows, all or none, but for those that are there already: said twice it is said once. However many they are, it is one
/// statement with one value, so that it is prepared once.
pub async fn add_audit_rows(on: &mut Connection, rows: &[AuditRow]) -> Result<(), StorageError> {
    let sql = match on.link {
        Link::Sqlite(_) => add_rows_of!("json_each($1)"),
        Link::Postgres(_) => add_rows_of!("jsonb_array_elements($1::jsonb)"),
    };
    let in_order = |row: &AuditRow| {
        json!([
            row.id,
            row.at.as_millis(),
            row.event,
            row.outcome,
            row.reason,
            row.user_id,
            row.target_id,
            row.account,
            row.client_ip,
            row.request_id,
            row.occurrences,
        ])
    };
    let list: Value = rows.iter().map(in_order).collect();
    execute!(on, sql, list.to_string()).map(drop)
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

/// Which rows are looked for.
#[derive(Clone, Copy)]
pub struct AuditFilter<'a> {
    /// From this moment on.
    pub since: Timestamp,
    /// Up to this one.
    pub until: Timestamp,
    /// Of this event.
    pub event: Option<&'a str>,
    /// Done by or to this user, or to an account that was named like this.
    pub whose: Option<AuditSubject<'a>>,
}

/// Whose rows are looked for.
#[derive(Clone, Copy)]
pub struct AuditSubject<'a> {
    /// His id, where there is (or was) such an account.
    pub user_id: Option<Uuid>,
    /// What his address is called in the log, where it is known. Whoever did, or was done, anything under that name is he,
    /// also when the account is gone.
    pub account: Option<&'a str>,
    /// What it was called before a rotation of the secret key.
    pub former_account: Option<&'a str>,
}

/// The `most` newest rows behind `after` that `filter` lets through.
pub async fn search_audit_rows(
    on: &mut Connection,
    filter: &AuditFilter<'_>,
    after: Option<PageEnd>,
    most: i64,
) -> Result<Vec<AuditRow>, StorageError> {
    let (at, id) = after.unwrap_or(FROM_THE_START);
    fetch_all!(
        AuditRow,
        on,
        "SELECT * FROM audit_log \
         WHERE at >= $1 AND at <= $2 AND ($3 IS NULL OR event = $3) \
             AND ($4 OR user_id = $5 OR target_id = $5 OR account IN ($6, $7) \
                 OR user_id IN (SELECT user_id FROM audit_log WHERE account IN ($6, $7)) \
                 OR target_id IN (SELECT user_id FROM audit_log WHERE account IN ($6, $7))) \
             AND (at, id) < ($8, $9) \
         ORDER BY at DESC, id DESC LIMIT $10",
        filter.since,
        filter.until,
        filter.event,
        filter.whose.is_none(),
        filter
            .whose
            .and_then(|whose| whose.user_id)
            .map(|id| id.to_string()),
        filter.whose.and_then(|whose| whose.account),
        filter.whose.and_then(|whose| whose.former_account),
        at,
        id.to_string(),
        most,
    )
}

/// The `most` newest rows behind `after` of what a user did, and of what administrators did to him, but for `hidden`.
pub async fn audit_rows_of_user(
    on: &mut Connection,
    user_id: Uuid,
    hidden: &str,
    after: Option<PageEnd>,
    most: i64,
) -> Result<Vec<AuditRow>, StorageError> {
    let (at, id) = after.unwrap_or(FROM_THE_START);
    // Each half by its own index.
    fetch_all!(
        AuditRow,
        on,
        "SELECT * FROM ( \
             SELECT * FROM (SELECT * FROM audit_log WHERE user_id = $1 AND (at, id) < ($3, $4) \
                 ORDER BY at DESC, id DESC LIMIT $5) AS done_by \
             UNION ALL \
             SELECT * FROM (SELECT * FROM audit_log WHERE target_id = $1 AND (at, id) < ($3, $4) \
                     AND outcome = 'success' AND event <> $2 AND user_id IS DISTINCT FROM $1 \
                 ORDER BY at DESC, id DESC LIMIT $5) AS done_to \
         ) AS both_halves ORDER BY at DESC, id DESC LIMIT $5",
        user_id.to_string(),
        hidden,
        at,
        id.to_string(),
        most,
    )
}

/// Deletes `most` rows from before `before`; how many there were.
pub async fn sweep_audit_rows(
    on: &mut Connection,
    before: Timestamp,
    most: i64,
) -> Result<u64, StorageError> {
    execute!(
        on,
        "DELETE FROM audit_log WHERE id IN (SELECT id FROM audit_log WHERE at <= $1 ORDER BY at LIMIT $2)",
        before,
        most,
    )
}
