//! Notice of use: collected in memory, written in batches, so that a request costs no write.
//!
//! A batch also carries the day window (a checkpoint): where counters are lost, the next spending goes on from it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::ApiTokens;
use crate::clock::Timestamp;
use crate::rate_limit::Checkpoint;
use crate::storage::{self, ApiTokenUse, StorageError};

/// How often uses are written: what a killed process loses, and how far a checkpoint is behind.
const FLUSH_EVERY: Duration = Duration::from_secs(5);
/// Tokens in one transaction.
const BATCH: usize = 200;
/// Flushes between two sweeps of tokens that were revoked long ago.
const SWEEP_FLUSHES: u32 = 720;
/// Of them, tokens in one statement.
const SWEEP_BATCH: i64 = 500;
/// How long a revoked token stays readable.
const READABLE_FOR: Duration = Duration::from_hours(30 * 24);

/// What tokens used since it was last written down.
#[derive(Default)]
pub(super) struct Uses(Mutex<HashMap<Uuid, ApiTokenUse>>);

impl Uses {
    pub(super) fn add(&self, id: Uuid, at: Timestamp, ip: IpAddr, day: Option<Checkpoint>) {
        self.merge(ApiTokenUse {
            id,
            count: 1,
            last_at: at,
            last_ip: ip,
            day: day.map(|day| (i64::from(day.used), day.ends_at)),
        });
    }

    fn merge(&self, used: ApiTokenUse) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = all.get_mut(&used.id) else {
            all.insert(used.id, used);
            return;
        };
        known.count += used.count;
        if used.last_at >= known.last_at {
            (known.last_at, known.last_ip) = (used.last_at, used.last_ip);
        }
        known.day = match (known.day, used.day) {
            // Answers overtake each other: of one window the most counts, of two the later one.
            (Some(known), Some(day)) => Some(if (day.1, day.0) > (known.1, known.0) {
                day
            } else {
                known
            }),
            (known, day) => known.or(day),
        };
    }

    /// What of `id` is not written down yet.
    pub(super) fn of(&self, id: Uuid) -> Option<ApiTokenUse> {
        let uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        uses.get(&id).copied()
    }

    pub(super) fn take(&self) -> Vec<ApiTokenUse> {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *uses).into_values().collect()
    }
}

impl ApiTokens {
    /// Writes uses down until `shutdown`. Requests in flight go on using tokens then: [`Self::finish_uses`].
    pub async fn run_uses(&self, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(FLUSH_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round: u32 = 0;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = shutdown.cancelled() => return,
            }
            if let Err(error) = self.write_uses().await {
                tracing::warn!(%error, "uses of API tokens were not written; they are kept");
            }
            if round.is_multiple_of(SWEEP_FLUSHES)
                && let Err(error) = self.sweep().await
            {
                tracing::warn!(%error, "revoked API tokens were not swept");
            }
            round = round.wrapping_add(1);
        }
    }

    /// Writes down what is left, once nobody is served any more.
    pub async fn finish_uses(&self, patience: Duration) {
        let written = tokio::time::timeout(patience, self.write_uses()).await;
        if !matches!(written, Ok(Ok(()))) {
            tracing::warn!("the last uses of API tokens were not written");
        }
    }

    /// Writes down what was used since the last time. What cannot be written stays.
    pub async fn write_uses(&self) -> Result<(), StorageError> {
        let uses = self.0.uses.take();
        let mut result = Ok(());
        for batch in uses.chunks(BATCH) {
            if result.is_ok() {
                result = self.write_batch(batch).await;
            }
            if result.is_err() {
                for used in batch {
                    self.0.uses.merge(*used);
                }
            }
        }
        result
    }

    async fn write_batch(&self, batch: &[ApiTokenUse]) -> Result<(), StorageError> {
        let mut transaction = self.0.database.begin().await?;
        storage::record_api_token_uses(&mut transaction, batch).await?;
        transaction.commit().await
    }

    /// Forgets tokens that were revoked long ago, a few at a time: between two batches others have their turn at SQLite's
    /// one writer, and none takes longer than PostgreSQL gives a statement.
    pub async fn sweep(&self) -> Result<(), StorageError> {
        let before = self.0.clock.now().minus(READABLE_FOR);
        loop {
            let mut on = self.0.database.write().await?;
            if storage::sweep_api_tokens(&mut on, before, SWEEP_BATCH).await? < SWEEP_BATCH.unsigned_abs() {
                return Ok(());
            }
        }
    }
}
