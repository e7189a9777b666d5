//! Sweeping what has expired. Nothing relies on it: what is expired is refused whether it was swept or not.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Accounts;
use super::account_limit::CLIENT_KNOWN_FOR;
use crate::storage::{self, StorageError};

/// How often sealed successors are looked for whose grace has ended. They are the only secrets at rest that can
/// be opened, so they do not wait for the others.
const ERASE_EVERY: Duration = Duration::from_secs(5);

/// How many of those rounds come before one in which everything is swept.
const SWEEP_ROUNDS: u32 = 12;

/// How long the row of a session that is over stays, so that a replayed token is still called by its name.
const OVER_FOR: Duration = Duration::from_hours(24);

impl Accounts {
    /// Erases expired tokens, sessions, grace successors, known clients and old audit rows until `shutdown`.
    pub async fn run_housekeeping(&self, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(ERASE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round: u32 = 0;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = shutdown.cancelled() => return,
            }
            let swept = if round.is_multiple_of(SWEEP_ROUNDS) {
                self.sweep().await
            } else {
                self.erase_graces().await
            };
            if let Err(error) = swept {
                tracing::warn!(%error, "expired rows were not swept");
            }
            round = round.wrapping_add(1);
        }
    }

    /// One sweep of everything.
    pub async fn sweep(&self) -> Result<(), StorageError> {
        self.erase_graces().await?;
        let now = self.0.clock.now();
        let mut transaction = self.0.database.begin().await?;
        storage::sweep_tokens(&mut transaction, now).await?;
        storage::sweep_sessions(&mut transaction, now.minus(OVER_FOR)).await?;
        storage::sweep_known_clients(&mut transaction, now.minus(CLIENT_KNOWN_FOR)).await?;
        storage::sweep_audit_rows(&mut transaction, now.minus(self.0.settings.audit_retention)).await?;
        transaction.commit().await
    }

    async fn erase_graces(&self) -> Result<(), StorageError> {
        let mut on = self.0.database.write().await?;
        storage::erase_grace_successors(&mut on, self.0.clock.now())
            .await
            .map(drop)
    }
}
