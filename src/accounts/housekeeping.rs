//! Sweeping what has expired. Nothing relies on it: what is expired is refused whether it was swept or not.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Accounts;
use super::account_limit::CLIENT_KNOWN_FOR;
use crate::audit::{Event, EventKind, Outcome};
use crate::clock::Timestamp;
use crate::storage::{self, Connection, StorageError};

/// How often sealed successors are looked for whose grace has ended. They are the only secrets at rest that can
/// be opened, so they do not wait for the others.
const ERASE_EVERY: Duration = Duration::from_secs(5);

/// How many of those rounds come before one in which everything is swept.
const SWEEP_ROUNDS: u32 = 12;

/// How long the row of a session that is over stays, so that a replayed token is still called by its name.
const OVER_FOR: Duration = Duration::from_hours(24);

/// How long an account that was only registered stays beside the life of its link: whoever finds the mail late, and has
/// it sent again, still has his registration.
const PENDING_FOR: Duration = Duration::from_hours(7 * 24);

/// Rows in one statement: short enough that a login behind it does not notice.
const BATCH: i64 = 500;
/// Batches of one table in one round.
const MOST_BATCHES: u32 = 100;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(10);

/// What is deleted once it is old enough.
#[derive(Clone, Copy)]
enum Expired {
    Links,
    Sessions,
    KnownClients,
    AuditRows,
}

impl Expired {
    const ALL: [Self; 4] = [Self::Links, Self::Sessions, Self::KnownClients, Self::AuditRows];
}

impl Accounts {
    /// Erases expired tokens, sessions, grace successors, known clients, old audit rows and registrations that came to
    /// nothing until `shutdown`. Mails give themselves up (`delivery.rs`), and API tokens are `api_tokens`'.
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
        for what in Expired::ALL {
            self.sweep_all(what, now).await?;
        }
        self.sweep_pending_accounts(now).await
    }

    /// Deletes until nothing is left, or as much as one round may: the rest is the next round's. Between two batches
    /// others have their turn at SQLite's one writer.
    async fn sweep_all(&self, what: Expired, now: Timestamp) -> Result<(), StorageError> {
        for _ in 0..MOST_BATCHES {
            let mut on = self.0.database.write().await?;
            if self.sweep_batch(what, &mut on, now).await? < BATCH.unsigned_abs() {
                break;
            }
            drop(on);
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn sweep_batch(
        &self,
        what: Expired,
        on: &mut Connection,
        now: Timestamp,
    ) -> Result<u64, StorageError> {
        match what {
            Expired::Links => storage::sweep_tokens(on, now, BATCH).await,
            Expired::Sessions => storage::sweep_sessions(on, now.minus(OVER_FOR), BATCH).await,
            Expired::KnownClients => {
                storage::sweep_known_clients(on, now.minus(CLIENT_KNOWN_FOR), BATCH).await
            }
            Expired::AuditRows => {
                storage::sweep_audit_rows(on, now.minus(self.0.settings.audit_retention), BATCH).await
            }
        }
    }

    /// Deletes accounts that were registered and can be proven by no link any more, so that nobody keeps an address by
    /// registering it. Where no proof is asked for, an owner may still log in: there none is deleted.
    async fn sweep_pending_accounts(&self, now: Timestamp) -> Result<(), StorageError> {
        if !self.0.settings.require_email_verification {
            return Ok(());
        }
        let before = now.minus(PENDING_FOR + self.0.settings.verify_token_lifetime);
        let mut on = self.0.database.read().await?;
        let stale = storage::stale_pending_users(&mut on, before, now, BATCH).await?;
        drop(on);
        for id in stale {
            let mut transaction = self.0.database.begin().await?;
            let deleted = storage::delete_stale_pending_user(&mut transaction, id, before, now).await?;
            transaction.commit().await?;
            if deleted {
                let event = Event::new(EventKind::AccountDeleted, Outcome::Success).because("never_verified");
                self.0.audit.record(&event.of_user(id));
            }
        }
        Ok(())
    }

    /// All of them, however many refreshes there were: each is a secret. In batches, between which others have their turn.
    async fn erase_graces(&self) -> Result<(), StorageError> {
        let now = self.0.clock.now();
        loop {
            let mut on = self.0.database.write().await?;
            if storage::erase_grace_successors(&mut on, now, BATCH).await? < BATCH.unsigned_abs() {
                return Ok(());
            }
        }
    }
}
