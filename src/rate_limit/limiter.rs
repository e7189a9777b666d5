//! The limiter: the one door to this room. Who counts is decided once, at the start: nobody, memory, or Redis.
//! How it stands, and how it is emptied, is in `limiter/view.rs`.

mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use tracing::field::Empty;
use uuid::Uuid;

use super::Settings;
use super::charge::Charge;
use super::decision::{Decision, Receipt};
use super::patience;
use super::plan::Plan;
use super::remote::Remote;
use super::rule::Rule;
use super::store::memory::MemoryStore;
use super::store::{Answer, Ask, Moment, Standing};
use super::tally::Tally;
use super::token::{MARK_LIFE, Marks, Quota, Spending, Version, WindowUse};
use crate::clock::Clock;
use crate::telemetry::traces::span;

pub use view::{EmptyError, StoreState};

/// How often expired counters are dropped from memory.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for Redis at the end of the process.
pub const GOODBYE: Duration = Duration::from_millis(500);
/// Shards swept at a stretch before other tasks get their turn.
const SWEEP_STRETCH: usize = 8;

/// Decides whether a request may go on. Cheap to clone; clones share their counts.
#[derive(Clone, Debug)]
pub struct Limiter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    clock: Clock,
    memory: Arc<MemoryStore>,
    /// Where Redis is configured.
    remote: Option<Arc<Remote>>,
    ids: AtomicU64,
    /// Tokens whose older proofs are void, in this process.
    marks: Marks,
    tally: Arc<Tally>,
    stop: CancellationToken,
}

/// Why the limiter could not start. Never a lost Redis.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `REDIS_URL` does not parse. The text repeats nothing of it.
    #[error("REDIS_URL is no Redis address: {0}")]
    RedisUrl(&'static str),
    /// `TLS_CA_FILE` cannot be read.
    #[error("TLS_CA_FILE cannot be read: {0}")]
    TlsCaFile(String),
}

impl Limiter {
    /// Starts the limiter and its background tasks on the current tokio runtime. Never waits for Redis.
    pub fn start(settings: Settings, clock: Clock) -> Result<Self, StartError> {
        let memory = Arc::new(MemoryStore::new(settings.memory_keys));
        let tally = Arc::new(Tally::default());
        let stop = CancellationToken::new();
        let mut remote = None;
        if settings.enabled {
            tokio::spawn(
                stop.clone()
                    .run_until_cancelled_owned(sweep(memory.clone(), clock.clone())),
            );
            if let Some(redis) = &settings.redis {
                let found = Arc::new(Remote::new(
                    redis,
                    &settings,
                    memory.clone(),
                    clock.clone(),
                    tally.clone(),
                )?);
                tokio::spawn(stop.clone().run_until_cancelled_owned(found.clone().keep()));
                remote = Some(found);
            }
        }
        Ok(Self::of(settings, clock, memory, remote, tally, stop))
    }

    /// A limiter for a command that runs beside the servers: it reaches Redis, or goes without at once, but is none of
    /// the processes that share limits, and runs no task.
    pub async fn visiting(settings: Settings, clock: Clock) -> Result<Self, StartError> {
        let memory = Arc::new(MemoryStore::new(settings.memory_keys));
        let tally = Arc::new(Tally::default());
        let mut remote = None;
        if let Some(redis) = settings.redis.as_ref().filter(|_| settings.enabled) {
            let found = Remote::new(redis, &settings, memory.clone(), clock.clone(), tally.clone())?;
            found.visit().await;
            remote = Some(Arc::new(found));
        }
        Ok(Self::of(
            settings,
            clock,
            memory,
            remote,
            tally,
            CancellationToken::new(),
        ))
    }

    fn of(
        settings: Settings,
        clock: Clock,
        memory: Arc<MemoryStore>,
        remote: Option<Arc<Remote>>,
        tally: Arc<Tally>,
        stop: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            settings,
            clock,
            memory,
            remote,
            ids: AtomicU64::new(1),
            marks: Marks::default(),
            tally,
            stop,
        }))
    }

    /// Runs one request so that all its waits for Redis together take at most one command timeout. Without it each
    /// [`Self::take`], [`Self::refund`] and [`Self::clear`] may wait that long.
    pub async fn within_request<F: Future>(&self, request: F) -> F::Output {
        match &self.0.settings.redis {
            Some(redis) => patience::within(redis.command_timeout, request).await,
            None => request.await,
        }
    }

    /// Charges all of `charges` or none of them: one decision, one round trip. Never fails.
    pub async fn take(&self, charges: &[Charge]) -> Decision {
        let inner = &*self.0;
        if !inner.settings.enabled {
            return Decision::free();
        }
        let plan = Plan::of(charges, &inner.settings.rules, |n| {
            inner.ids.fetch_add(n, Ordering::Relaxed)
        });
        let now = inner.now();
        if let Some(denied) = plan.denied(now) {
            inner.tally.count(&denied);
            return denied;
        }
        if plan.asks.is_empty() {
            return Decision::free();
        }
        let answer = inner.charge(now, &plan.asks).await;
        let decision = plan.decision(&answer, &inner.tally);
        inner.tally.count(&decision);
        decision
    }

    /// The refusal of `charge`, if it would be refused now. Charges nothing, and asks Redis only where this process knows
    /// of a full window and has not heard of it for a while.
    pub async fn refusal_of(&self, charge: &Charge) -> Option<Decision> {
        let inner = &*self.0;
        if !inner.settings.enabled {
            return None;
        }
        let plan = Plan::of(std::slice::from_ref(charge), &inner.settings.rules, |_| 0);
        let now = inner.now();
        if let Some(denied) = plan.denied(now) {
            inner.tally.count(&denied);
            return Some(denied);
        }
        let answer = inner.peek(now, &plan.asks, false).await;
        if answer.admitted {
            return None;
        }
        let decision = plan.decision(&answer, &inner.tally);
        inner.tally.count(&decision);
        Some(decision)
    }

    /// Takes one from all windows of an API token, or from none: one decision, one round trip. Never fails.
    pub async fn spend(&self, quota: &Quota) -> Spending {
        let inner = &*self.0;
        if inner
            .marks
            .is_void(quota.token, quota.version, inner.clock.elapsed())
        {
            return Spending::Void;
        }
        if !inner.settings.enabled {
            return Spending::Decided {
                decision: Decision::free(),
                day: None,
            };
        }
        let first = inner.ids.fetch_add(Rule::TOKEN.len() as u64, Ordering::Relaxed);
        let asks = quota.asks(first);
        let now = inner.now();
        let answer = inner.charge(now, &asks).await;
        let spending = Quota::spending(&asks, &answer, now);
        if let Spending::Decided { decision, .. } = &spending {
            inner.tally.count(decision);
        }
        spending
    }

    /// What an API token has used of its windows, the shortest first. Charges nothing.
    pub async fn token_usage(&self, quota: &Quota) -> [WindowUse; 3] {
        let asks = quota.asks(0);
        let now = self.0.now();
        quota.usage(&self.0.peek(now, &asks, true).await, now)
    }

    /// Voids the proofs of tokens that are older than these versions: here at once, and through Redis, where it
    /// answers, in every process. Without it a proof ends by itself a few seconds later (`api_tokens/proofs.rs`).
    /// Answers whether other processes know by now.
    pub async fn void_tokens(&self, marks: Vec<(Uuid, Version)>) -> bool {
        if marks.is_empty() {
            return true;
        }
        self.0.marks.add(&marks, self.0.clock.elapsed());
        match &self.0.remote {
            Some(remote) => remote.void(&marks, MARK_LIFE).await,
            None => false,
        }
    }

    /// Gives one take back, to the windows it was taken in; where a window has ended nothing happens.
    pub async fn refund(&self, receipt: Receipt) {
        if let Some(remote) = &self.0.remote {
            return remote.refund(receipt.0).await;
        }
        let now = self.0.now();
        for taken in &receipt.0 {
            self.0.memory.refund(now, taken, false);
        }
    }

    /// Empties the counters that `charges_like` would charge. Their windows end when they would have ended.
    pub async fn clear(&self, charges_like: &[Charge]) {
        let keys = Plan::of(charges_like, &self.0.settings.rules, |_| 0)
            .asks
            .into_iter()
            .map(|ask| ask.key);
        match &self.0.remote {
            Some(remote) => remote.clear(keys).await,
            None => keys.for_each(|key| self.0.memory.clear(&key, false)),
        }
    }

    /// Ends the background tasks and takes this process off the list of living ones.
    pub async fn shutdown(&self) {
        self.0.stop.cancel();
        if let Some(link) = self.0.remote.as_ref().and_then(|remote| remote.link()) {
            // Who does not manage to say goodbye is forgotten by the others a few seconds later.
            let _ = tokio::time::timeout(GOODBYE, link.leave()).await;
        }
    }
}

impl Inner {
    /// Charges all of `asks` or none.
    async fn charge(&self, now: Moment, asks: &[Ask]) -> Answer {
        let span = span!("rate_limit.check", stile.rate_limit.admitted = Empty);
        let answer = match &self.remote {
            Some(remote) => Box::pin(remote.take(asks)).instrument(span.clone()).await,
            None => self.charge_memory(now, asks),
        };
        span.record("stile.rate_limit.admitted", answer.admitted);
        answer
    }

    fn charge_memory(&self, now: Moment, asks: &[Ask]) -> Answer {
        let answer = self.memory.take(now, asks, &|_, limit| limit, Standing::Sole);
        let began = Duration::from_micros(now.elapsed_us);
        let took = self.clock.elapsed().saturating_sub(began);
        self.tally.checks.in_memory.observe(took);
        answer
    }

    async fn peek(&self, now: Moment, asks: &[Ask], afresh: bool) -> Answer {
        match &self.remote {
            Some(remote) => remote.peek(asks, afresh).await,
            None => self.memory.peek(now, asks, &|_, limit| limit),
        }
    }

    fn now(&self) -> Moment {
        let elapsed_us = u64::try_from(self.clock.elapsed().as_micros()).unwrap_or(u64::MAX);
        Moment {
            elapsed_us,
            unix_us: self.clock.now().as_millis().saturating_mul(1000),
        }
    }
}

/// The last clone that goes takes the background tasks with it.
impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Drops expired counters, a few shards at a time.
async fn sweep(memory: Arc<MemoryStore>, clock: Clock) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        for shard in 0..memory.shard_count() {
            let elapsed_us = u64::try_from(clock.elapsed().as_micros()).unwrap_or(u64::MAX);
            memory.sweep(
                Moment {
                    elapsed_us,
                    unix_us: 0,
                },
                shard,
            );
            if shard % SWEEP_STRETCH == SWEEP_STRETCH - 1 {
                tokio::task::yield_now().await;
            }
        }
    }
}
