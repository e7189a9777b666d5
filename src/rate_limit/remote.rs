//! Counting in Redis, and going on in memory for the calls that Redis does not answer.
//!
//! What is known of the server, and refunds and clearings. A take through it is `asking.rs`; losing sight of the server
//! and finding it again is `recovery.rs`.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use uuid::Uuid;

use super::breaker::Breaker;
use super::charge::Subject;
use super::fleet::Fleet;
use super::key::CounterKey;
use super::operator;
use super::recovery::HEARD_WITHIN;
use super::store::memory::{MemoryStore, Prepared};
use super::store::redis::{Failure, Link, RedisStore};
use super::store::{Answer, Ask, Moment, Standing, Taken};
use super::tally::Tally;
use super::token::Version;
use super::{RedisSettings, Settings, StartError, patience};
use crate::clock::Clock;

/// Redis as this process sees it, and the memory that stands in for it.
#[derive(Debug)]
pub struct Remote {
    pub(super) store: RedisStore,
    pub(super) memory: Arc<MemoryStore>,
    pub(super) breaker: Breaker,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) link: RwLock<Option<Link>>,
    pub(super) fleet: RwLock<Fleet>,
    pub(super) outage: Mutex<Option<Outage>>,
    /// Something in memory waits to be merged.
    pub(super) unmerged: AtomicBool,
    told_of_value: AtomicBool,
    /// The last reset by an operator that was heard of, Unix microseconds of Redis.
    resets_heard_us: AtomicI64,
    /// What turns elapsed into Unix microseconds of Redis; `i64::MIN` until Redis first spoke.
    offset_us: AtomicI64,
    pub(super) tally: Arc<Tally>,
    pub(super) settings: RedisSettings,
    prefix: String,
    clock: Clock,
}

/// An answer that comes so shortly after a reset may be older than the reset.
const RESET_ANSWERS_LATE_US: u64 = 100_000;

/// Where Redis stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The first connection is being made; requests wait for it, within their timeout.
    Starting,
    /// It answers.
    Connected,
    /// It was given up; nothing touches it on a request.
    Lost,
}

/// Since when Redis is lost.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    pub(super) since: Duration,
}

impl Remote {
    pub fn new(
        redis: &RedisSettings,
        settings: &Settings,
        memory: Arc<MemoryStore>,
        clock: Clock,
        tally: Arc<Tally>,
    ) -> Result<Self, StartError> {
        // Random for each process: the standard library seeds its hasher from the operating system.
        let me = RandomState::new().hash_one(std::process::id());
        Ok(Self {
            store: RedisStore::new(redis, &settings.key_prefix, me)?,
            memory,
            breaker: Breaker::default(),
            phase: watch::Sender::new(Phase::Starting),
            link: RwLock::new(None),
            fleet: RwLock::new(Fleet::alone(me, settings.fleet_size)),
            outage: Mutex::new(None),
            unmerged: AtomicBool::new(false),
            told_of_value: AtomicBool::new(false),
            resets_heard_us: AtomicI64::new(0),
            offset_us: AtomicI64::new(i64::MIN),
            tally,
            settings: redis.clone(),
            prefix: settings.key_prefix.clone(),
            clock,
        })
    }

    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// The present moment; in Redis's time, once that is known.
    pub fn now(&self) -> Moment {
        let elapsed_us = u64::try_from(self.clock.elapsed().as_micros()).unwrap_or(u64::MAX);
        let unix_us = match self.offset_us.load(Ordering::Relaxed) {
            i64::MIN => self.clock.now().as_millis().saturating_mul(1000),
            offset => offset.saturating_add_unsigned(elapsed_us),
        };
        Moment { elapsed_us, unix_us }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    pub(super) fn offset_us(&self) -> i64 {
        let now = self.now();
        now.unix_us.saturating_sub_unsigned(now.elapsed_us)
    }

    pub(super) fn learn_time(&self, redis_us: i64) {
        let elapsed_us = u64::try_from(self.clock.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.offset_us
            .store(redis_us.saturating_sub_unsigned(elapsed_us), Ordering::Relaxed);
    }

    pub(super) fn resets_heard_us(&self) -> i64 {
        self.resets_heard_us.load(Ordering::Relaxed)
    }

    /// Forgets whom operators have reset, so that neither the mirror nor what waits to be merged brings it back.
    pub(super) fn hear_resets(&self, resets: &[(i64, Subject)]) {
        for (moment_us, subject) in resets {
            self.resets_heard_us.fetch_max(*moment_us, Ordering::Relaxed);
            let elapsed_us = moment_us.saturating_sub(self.offset_us());
            // Older than this process: nothing here can be older than that.
            let Ok(elapsed_us) = u64::try_from(elapsed_us) else {
                continue;
            };
            let asked_at = Moment {
                elapsed_us: elapsed_us.saturating_add(RESET_ANSWERS_LATE_US),
                unix_us: *moment_us,
            };
            self.memory.forget(subject, asked_at);
        }
    }

    pub(super) fn share(&self, key: &CounterKey, limit: u32) -> u32 {
        let fleet = self.fleet.read().unwrap_or_else(PoisonError::into_inner);
        if fleet.size() <= 1 {
            limit
        } else {
            fleet.share(&key.name(&self.prefix), limit)
        }
    }

    /// Charges all of `asks` or none.
    pub async fn take(self: &Arc<Self>, asks: &[Ask]) -> Answer {
        let began = self.elapsed();
        self.wait_for_the_first_connection().await;
        let now = self.now();
        let answer = match self.link() {
            None => self.take_in_memory(now, asks, Standing::Instead),
            Some(link) => match self
                .memory
                .prepare(now, asks, &|key, limit| self.share(key, limit))
            {
                Prepared::Refused(answer) => answer,
                Prepared::Ask { known, unmerged } => {
                    return self.ask(&link, asks, &known, &unmerged).await;
                }
            },
        };
        let took = self.elapsed().saturating_sub(began);
        self.tally.checks.in_memory.observe(took);
        answer
    }

    /// Processes last known to share the limits, this one included.
    pub fn fleet_size(&self) -> u32 {
        self.fleet.read().unwrap_or_else(PoisonError::into_inner).size()
    }

    /// Tells Redis, where it answers, that proofs of tokens are void. Who does not hear of it forgets them by himself.
    /// Answers whether Redis took note of all.
    pub async fn void(&self, marks: &[(Uuid, Version)], life: Duration) -> bool {
        let Some(link) = self.link() else { return false };
        let calls = marks
            .iter()
            .map(|(token, version)| link.void(*token, version.0, life));
        self.bounded(&link, futures_util::future::try_join_all(calls))
            .await
            .is_ok()
    }

    /// The connection, unless Redis is given up.
    pub(super) fn link(&self) -> Option<Link> {
        self.link.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A process that has just started would else admit a client whom Redis knows to be over his limit.
    async fn wait_for_the_first_connection(&self) {
        if self.phase() != Phase::Starting {
            return;
        }
        let mut phase = self.phase.subscribe();
        let budget = patience::left(self.settings.command_timeout);
        let began = self.clock.elapsed();
        let connected = tokio::time::timeout(budget, phase.wait_for(|phase| *phase != Phase::Starting)).await;
        patience::spend(self.clock.elapsed().saturating_sub(began));
        if connected.is_err() && self.breaker.failed() {
            self.lose(None, &Failure::Timeout);
        }
    }

    pub(super) fn take_in_memory(&self, now: Moment, asks: &[Ask], standing: Standing) -> Answer {
        let answer = self
            .memory
            .take(now, asks, &|key, limit| self.share(key, limit), standing);
        if answer.admitted {
            self.unmerged.store(true, Ordering::Relaxed);
        }
        answer
    }

    pub(super) fn note_failure(&self, on: &Link, failure: &Failure) {
        self.tally.failed();
        match failure {
            Failure::Value => {
                // Once, not for each request that meets the key.
                if !self.told_of_value.swap(true, Ordering::Relaxed) {
                    tracing::warn!(reason = %failure, "a limit is counted in memory");
                }
            }
            // Nobody else can succeed on this connection, so there is nothing to wait for.
            Failure::Disconnected(_) => self.lose(Some(on), failure),
            Failure::Server(_) | Failure::Timeout => {
                if self.breaker.failed() {
                    self.lose(Some(on), failure);
                }
            }
        }
    }

    /// Gives up Redis. One line, however many calls fail.
    ///
    /// `on` is the connection that failed, none where there is none yet. A call that fails late, on a connection that has
    /// been replaced, says nothing of the new one.
    pub(super) fn lose(&self, on: Option<&Link>, failure: &Failure) {
        let mut link = self.link.write().unwrap_or_else(PoisonError::into_inner);
        let is_current = match (&*link, on) {
            (Some(current), Some(on)) => current.is(on),
            (None, None) => true,
            _ => false,
        };
        if !is_current || self.phase() == Phase::Lost {
            return;
        }
        *link = None;
        *self.outage.lock().unwrap_or_else(PoisonError::into_inner) = Some(Outage {
            since: self.clock.elapsed(),
        });
        self.phase.send_replace(Phase::Lost);
        self.tally.lost();
        drop(link);
        let fleet = self.fleet.read().unwrap_or_else(PoisonError::into_inner).size();
        tracing::warn!(
            event = "rate_limiter_degraded",
            outcome = "failure",
            reason = %failure,
            fleet,
            "Redis is lost; limits go on in memory"
        );
    }

    /// Gives back what was taken, to Redis where it answers.
    pub async fn refund(self: &Arc<Self>, taken: Vec<Taken>) {
        if let Some(link) = self.link() {
            let refunds = taken.into_iter().map(|taken| self.refund_in_redis(&link, taken));
            futures_util::future::join_all(refunds).await;
            return;
        }
        let now = self.now();
        for taken in &taken {
            self.memory.refund(now, taken, true);
        }
        self.unmerged.store(true, Ordering::Relaxed);
    }

    pub(super) async fn refund_in_redis(&self, link: &Link, taken: Taken) {
        let given = self.bounded(link, link.refund(&taken)).await;
        let told = matches!(given, Ok(true));
        self.memory.refund(self.now(), &taken, !told);
        if !told {
            self.unmerged.store(true, Ordering::Relaxed);
        }
    }

    /// Empties counters, in Redis where it answers.
    pub async fn clear(&self, keys: impl Iterator<Item = CounterKey>) {
        let link = self.link();
        let cleared = keys.map(async |key| {
            let told = match &link {
                Some(link) => self.bounded(link, link.clear(&key)).await.is_ok(),
                None => false,
            };
            self.memory.clear(&key, !told);
            if !told {
                self.unmerged.store(true, Ordering::Relaxed);
            }
        });
        futures_util::future::join_all(cleared).await;
    }

    /// Drops every counter, here and in Redis, for which it waits as long as for a connection.
    pub async fn empty(&self) -> Result<(), Failure> {
        self.memory.empty();
        let mut phase = self.phase.subscribe();
        let started = phase.wait_for(|phase| *phase != Phase::Starting);
        let _ = tokio::time::timeout(self.settings.connect_timeout, started).await;
        let Some(link) = self.link() else {
            return Err(Failure::Disconnected("Redis is lost".to_owned()));
        };
        let others = self
            .fleet
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .has_others();
        operator::empty(&link, others.then_some(HEARD_WITHIN)).await?;
        self.memory.empty();
        Ok(())
    }

    /// Waits for one call within what is left to the request, and tells the breaker.
    pub(super) async fn bounded<T>(
        &self,
        link: &Link,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let began = self.clock.elapsed();
        let result = tokio::time::timeout(patience::left(self.settings.command_timeout), call).await;
        patience::spend(self.clock.elapsed().saturating_sub(began));
        let result = result.unwrap_or(Err(Failure::Timeout));
        match &result {
            Ok(_) => self.breaker.succeeded(),
            Err(failure) => self.note_failure(link, failure),
        }
        result
    }

    /// Tells Redis of `keys`. Answers how many units it did not have were merged; fails where any was not confirmed.
    pub(super) async fn merge_all(
        &self,
        link: &Link,
        keys: &[CounterKey],
        raise: bool,
    ) -> Result<i64, Failure> {
        let merges = keys.iter().map(|key| async move {
            let Some(merge) = self.memory.merge(self.now(), key) else {
                return Ok(0);
            };
            let merged = link.merge(key, &merge, self.offset_us(), raise).await?;
            let units = self.memory.confirm(self.now(), key, &merge, merged);
            self.tally.merged(units);
            Ok(units)
        });
        let results = futures_util::future::join_all(merges).await;
        results.into_iter().sum()
    }
}
