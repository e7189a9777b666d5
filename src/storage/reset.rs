//! Emptying the database for an E2E suite.

use super::connection::{Transaction, execute};
use super::error::StorageError;

/// Deletes every account with all that hangs on it, and every queued mail. The audit log stays: it is no part of what a
/// suite starts from.
pub async fn delete_everybody(on: &mut Transaction) -> Result<(), StorageError> {
    // In the order in which rows are locked everywhere: mailed tokens, users, then what hangs on them.
    execute!(on, "DELETE FROM one_time_tokens")?;
    execute!(on, "DELETE FROM users")?;
    execute!(on, "DELETE FROM mail_jobs").map(drop)
}
