//! Whether the database answers, asked at most a few times a second however many probes arrive.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::storage::Database;

/// How long an answer stands before the database is asked again.
const FRESH: Duration = Duration::from_millis(200);

/// The longest that a probe waits for the database; longer counts as not connected.
const PATIENCE: Duration = Duration::from_secs(1);

/// The last answer and when it was had.
pub struct DatabaseHealth {
    database: Database,
    connected: AtomicBool,
    /// Milliseconds of `Clock::elapsed` from which the database may be asked again.
    ask_from: AtomicU64,
}

impl DatabaseHealth {
    /// Nothing is known yet, so the first probe asks.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self {
            database,
            connected: AtomicBool::new(true),
            ask_from: AtomicU64::new(0),
        }
    }

    /// Asks the database if the last answer is old; of several probes at once only one asks, and the
    /// others are told the last answer.
    pub async fn is_connected(&self, clock: &Clock) -> bool {
        let now = millis(clock.elapsed());
        let due = self.ask_from.load(Ordering::Relaxed);
        let next = now + millis(FRESH) + 1;
        let mine = due <= now
            && self
                .ask_from
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if mine {
            // Boxed: the probes that need not ask, which are nearly all, stay small.
            let answer = tokio::time::timeout(PATIENCE, Box::pin(self.database.ping())).await;
            self.connected
                .store(matches!(answer, Ok(Ok(()))), Ordering::Relaxed);
        }
        self.connected.load(Ordering::Relaxed)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
