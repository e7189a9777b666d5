//! Takes rows from the queue and writes them, many in one statement. Knows no event.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::{FLUSH, Inner, QUEUE, REFUSALS};
use crate::storage::{self, AuditRow, Database, StorageError};

/// Rows in one statement: short enough that a login behind it does not notice.
const BATCH: usize = 200;

/// Writes rows until [`Inner::stop`], and then what is left.
pub(super) async fn run(audit: Arc<Inner>, database: Database, mut queue: mpsc::Receiver<AuditRow>) {
    let mut tick = tokio::time::interval(FLUSH);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut waiting: Vec<AuditRow> = Vec::new();
    let mut refusals: Vec<AuditRow> = Vec::new();
    loop {
        let stopping = tokio::select! {
            _ = tick.tick() => false,
            () = audit.stop.cancelled() => true,
        };
        if stopping {
            queue.close();
        }
        // Once a tick, or a flood would be as many rows as the database can write; and not on top of those that could not be
        // written, or they would pile up while the database is away.
        if stopping || refusals.is_empty() {
            refusals.extend(audit.take_refusals());
        }
        // As much as can wait, and no more in a round, however fast rows come.
        for _ in 0..=(QUEUE + 2 * REFUSALS) / BATCH {
            while waiting.len() < BATCH
                && let Some(row) = refusals.pop().or_else(|| queue.try_recv().ok())
            {
                waiting.push(row);
            }
            if waiting.is_empty() {
                break;
            }
            if let Err(error) = write(&database, &waiting).await {
                // They stay, and the bounded queue behind them fills: the next tick tries again. Those that were written after all,
                // and only the answer was lost, are not written twice.
                tracing::error!(%error, rows = waiting.len(), "audit rows were not written");
                break;
            }
            waiting.clear();
        }
        let dropped = audit.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::error!(dropped, "audit rows were dropped: too many at once");
        }
        if stopping {
            return;
        }
    }
}

async fn write(database: &Database, rows: &[AuditRow]) -> Result<(), StorageError> {
    let mut on = database.write_idempotent().await?;
    storage::add_audit_rows(&mut on, rows).await
}
