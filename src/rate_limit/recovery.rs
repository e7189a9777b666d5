//! Finding Redis: at the start, and again after it was lost. One task for each process.
//!
//! While Redis is lost, a connection is tried every [`PROBE_EVERY`] and has to pass the real script. Then what memory
//! holds is merged, in small batches after a random pause, so that a fleet does not fall upon a server that has just
//! come back. While it answers, this process says every [`BEAT_EVERY`] that it is alive, and learns who else is.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use super::remote::{Phase, Remote};
use super::store::redis::{Failure, Link, Roll, TakeReply};

/// How often a connection is tried while Redis is lost. The contract promises to find it within a second.
const PROBE_EVERY: Duration = Duration::from_millis(300);
/// Attempts under way at once: one that hangs must not hide that Redis is back.
const PROBES_AT_ONCE: usize = 6;
/// How often this process says that it is alive.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// How long another process may take to hear of a reset.
pub(super) const HEARD_WITHIN: Duration = Duration::from_millis(1300);
/// How long a silent process is taken for alive.
const LIFE: Duration = Duration::from_secs(5);
/// Counters told to Redis at once.
const BATCH: usize = 64;
/// Longest pause before the first batch, milliseconds.
const FIRST_PAUSE_MS: u64 = 150;
/// Longest pause between batches, milliseconds.
const PAUSE_MS: u64 = 4;

impl Remote {
    /// Keeps the connection for as long as the process lives.
    pub async fn keep(self: Arc<Self>) {
        loop {
            let (link, reply, roll) = self.find().await;
            let outage = self.connected(link.clone(), &reply, &roll);
            let mut restore = JoinSet::new();
            if outage.is_some() {
                restore.spawn(self.clone().restore(link.clone(), outage));
            } else {
                // The first one. What is known of Redis has just come from it, and to say it again would undo what an
                // operator has set since.
                restore.spawn(self.clone().merge(link.clone()));
            }
            self.beat(link, &mut restore).await;
        }
    }

    /// Connects once, for a process that is none of those which share limits: it is never announced, nothing is told and
    /// nobody looks for Redis again.
    pub async fn visit(&self) {
        match self.store.connect().await {
            Ok(link) => {
                *self.link.write().unwrap_or_else(PoisonError::into_inner) = Some(link);
                self.phase.send_replace(Phase::Connected);
            }
            Err(failure) => self.lose(None, &failure),
        }
    }

    /// Tries until a connection passes.
    async fn find(self: &Arc<Self>) -> (Link, TakeReply, Roll) {
        let mut attempts = JoinSet::new();
        let mut tick = tokio::time::interval(PROBE_EVERY);
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    if attempts.len() < PROBES_AT_ONCE {
                        attempts.spawn(self.clone().attempt());
                    }
                }
                Some(attempt) = attempts.join_next() => match attempt {
                    Ok(Ok(found)) => return found,
                    Ok(Err(failure)) => {
                        tracing::debug!(reason = %failure, "Redis is not found yet");
                        self.lose(None, &failure);
                    }
                    Err(_) => {}
                }
            }
        }
    }

    async fn attempt(self: Arc<Self>) -> Result<(Link, TakeReply, Roll), Failure> {
        let link = self.store.connect().await?;
        let tried = async {
            let reply = link.probe().await?;
            let roll = link.announce(LIFE, self.resets_heard_us()).await?;
            Ok((link.clone(), reply, roll))
        };
        tokio::time::timeout(self.settings.connect_timeout, tried)
            .await
            .unwrap_or(Err(Failure::Timeout))
    }

    /// Goes over to Redis. Answers how long it was lost.
    fn connected(&self, link: Link, reply: &TakeReply, roll: &Roll) -> Option<Duration> {
        self.learn_time(reply.redis_us);
        self.fleet
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .rejoin(self.elapsed() + LIFE);
        self.learn_fleet(roll);
        self.hear_resets(&roll.resets);
        self.breaker.forget();
        let mut current = self.link.write().unwrap_or_else(PoisonError::into_inner);
        let outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner).take();
        *current = Some(link);
        self.phase.send_replace(Phase::Connected);
        drop(current);
        outage.map(|outage| self.elapsed().saturating_sub(outage.since))
    }

    fn learn_fleet(&self, roll: &Roll) {
        self.fleet
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .learn(roll.alive.iter().copied(), self.elapsed());
    }

    /// Merges what was admitted meanwhile, says so, and gives Redis back whatever windows it lost.
    async fn restore(self: Arc<Self>, link: Link, outage: Option<Duration>) {
        let merged = self.tell(&link, true).await;
        if let Some(outage) = outage {
            self.tally.found(outage);
            let seconds = outage.as_secs_f64();
            tracing::info!(
                event = "rate_limiter_recovered",
                outcome = "success",
                outage_seconds = seconds,
                merged,
                "Redis is back; what was admitted meanwhile is added to its counts"
            );
        }
        self.tell(&link, false).await;
    }

    /// Tells Redis what was admitted in memory while it was there.
    async fn merge(self: Arc<Self>, link: Link) {
        self.tell(&link, true).await;
    }

    /// Tells Redis of all open windows, or of those alone that hold something it was not told. Answers how many units
    /// it did not have were merged.
    async fn tell(&self, link: &Link, only_unmerged: bool) -> i64 {
        if only_unmerged {
            self.unmerged.store(false, Ordering::Relaxed);
        }
        tokio::time::sleep(pause(FIRST_PAUSE_MS)).await;
        let mut merged = 0;
        for shard in 0..self.memory.shard_count() {
            let keys = self.memory.live(self.now(), shard, only_unmerged);
            for batch in keys.chunks(BATCH) {
                if self.phase() != Phase::Connected {
                    self.unmerged.store(true, Ordering::Relaxed);
                    return merged;
                }
                let told = async {
                    // Whom an operator resets at this moment is not brought back.
                    self.hear_resets(&link.resets(self.resets_heard_us()).await?);
                    self.merge_all(link, batch, true).await
                };
                match tokio::time::timeout(self.settings.connect_timeout, told).await {
                    Ok(Ok(units)) => merged += units,
                    Ok(Err(_)) | Err(_) => self.unmerged.store(true, Ordering::Relaxed),
                }
                tokio::time::sleep(pause(PAUSE_MS)).await;
            }
        }
        merged
    }

    /// Beats until Redis is lost.
    async fn beat(self: &Arc<Self>, link: Link, restore: &mut JoinSet<()>) {
        let mut phase = self.phase.subscribe();
        let mut checked = self.elapsed();
        loop {
            tokio::select! {
                _ = phase.wait_for(|phase| *phase == Phase::Lost) => return,
                failure = link.closed() => {
                    self.lose(Some(&link), &failure);
                    return;
                }
                () = tokio::time::sleep(BEAT_EVERY.min(self.settings.health_check)) => {}
            }
            let beat = async {
                if self.elapsed().saturating_sub(checked) >= self.settings.health_check {
                    link.probe().await?;
                    checked = self.elapsed();
                }
                link.announce(LIFE, self.resets_heard_us()).await
            };
            let beat = tokio::time::timeout(self.settings.command_timeout, beat).await;
            match beat.unwrap_or(Err(Failure::Timeout)) {
                Ok(roll) => {
                    self.breaker.succeeded();
                    self.learn_fleet(&roll);
                    self.hear_resets(&roll.resets);
                    while restore.try_join_next().is_some() {}
                    if !restore.is_empty() {
                        continue;
                    }
                    if !roll.was_known {
                        // Emptied while connected.
                        restore.spawn(self.clone().restore(link.clone(), None));
                    } else if self.unmerged.load(Ordering::Relaxed) {
                        restore.spawn(self.clone().merge(link.clone()));
                    }
                }
                Err(failure) => self.note_failure(&link, &failure),
            }
        }
    }
}

/// A random time up to `most_ms`.
fn pause(most_ms: u64) -> Duration {
    Duration::from_millis(RandomState::new().hash_one(most_ms) % (most_ms + 1))
}
