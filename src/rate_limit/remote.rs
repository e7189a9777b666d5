//! Counting in Redis, and going on in memory for the calls that Redis does not answer.
//!
//! This file decides one take, one refund, one clearing. Losing and finding the server is `recovery.rs`.

use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use uuid::Uuid;

use super::breaker::Breaker;
use super::fleet::Fleet;
use super::key::CounterKey;
use super::store::memory::{MemoryStore, Prepared};
use super::store::redis::{Failure, LATE, Link, RedisStore, TakeReply};
use super::store::{Answer, Ask, Count, Moment, Standing, Taken, rounded_up_ms};
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
    /// What turns elapsed into Unix microseconds of Redis; `i64::MIN` until Redis first spoke.
    offset_us: AtomicI64,
    pub(super) settings: RedisSettings,
    prefix: String,
    clock: Clock,
}

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

type Call = Pin<Box<dyn Future<Output = Result<TakeReply, Failure>> + Send>>;

/// Asks that are decided together: all, or in a cluster those of one slot.
struct Group {
    places: Vec<usize>,
    call: Call,
    result: Option<Result<TakeReply, Failure>>,
    answer: Answer,
    /// Where these asks were decided.
    by: By,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    Redis,
    Memory(Standing),
}

impl Remote {
    pub fn new(
        redis: &RedisSettings,
        settings: &Settings,
        memory: Arc<MemoryStore>,
        clock: Clock,
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
            offset_us: AtomicI64::new(i64::MIN),
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

    fn share(&self, key: &CounterKey, limit: u32) -> u32 {
        let fleet = self.fleet.read().unwrap_or_else(PoisonError::into_inner);
        if fleet.size() <= 1 {
            limit
        } else {
            fleet.share(&key.name(&self.prefix), limit)
        }
    }

    /// Charges all of `asks` or none.
    pub async fn take(self: &Arc<Self>, asks: &[Ask]) -> Answer {
        self.wait_for_the_first_connection().await;
        let now = self.now();
        let Some(link) = self.link() else {
            return self.take_in_memory(now, asks, Standing::Instead);
        };
        match self
            .memory
            .prepare(now, asks, &|key, limit| self.share(key, limit))
        {
            Prepared::Refused(answer) => answer,
            Prepared::Ask { known, unmerged } => self.ask(&link, asks, &known, &unmerged).await,
        }
    }

    /// What `asks` would find, charging nothing. Redis is asked only if memory's word is old; `afresh`: in any case.
    pub async fn peek(self: &Arc<Self>, asks: &[Ask], afresh: bool) -> Answer {
        let now = self.now();
        let known = self
            .memory
            .peek(now, asks, &|key, limit| self.share_here(key, limit));
        let Some(link) = self.link() else { return known };
        if !afresh && (known.admitted || self.memory.is_known_over(now, asks)) {
            return known;
        }
        let Ok(reply) = self.bounded(link.peek(asks)).await else {
            return known;
        };
        let now = self.now();
        self.learn_time(reply.redis_us);
        for (place, ask) in asks.iter().enumerate() {
            if let Some(reply) = reply.reply(place) {
                self.memory.hear(now, ask, reply);
            }
        }
        let counts: Vec<Count> = asks
            .iter()
            .zip(&reply.counts)
            .map(|(ask, count)| counted(ask, *count, &reply))
            .collect();
        Answer {
            admitted: asks
                .iter()
                .zip(&counts)
                .all(|(ask, count)| ask.shadow || !count.over),
            void: false,
            counts,
        }
    }

    /// While Redis counts, what this process may admit is all that is left.
    fn share_here(&self, key: &CounterKey, limit: u32) -> u32 {
        if self.phase() == Phase::Lost {
            self.share(key, limit)
        } else {
            limit
        }
    }

    /// Tells Redis, where it answers, that proofs of tokens are void.
    pub async fn void(&self, marks: &[(Uuid, Version)], life: Duration) {
        let Some(link) = self.link() else { return };
        let calls = marks
            .iter()
            .map(|(token, version)| link.void(*token, version.0, life));
        // Who does not hear of it forgets the proof by himself a few seconds later.
        let _ = self.bounded(futures_util::future::try_join_all(calls)).await;
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
            self.lose(&Failure::Timeout);
        }
    }

    fn take_in_memory(&self, now: Moment, asks: &[Ask], standing: Standing) -> Answer {
        let answer = self
            .memory
            .take(now, asks, &|key, limit| self.share(key, limit), standing);
        if answer.admitted {
            self.unmerged.store(true, Ordering::Relaxed);
        }
        answer
    }

    async fn ask(
        self: &Arc<Self>,
        link: &Link,
        asks: &[Ask],
        known: &[Option<(u32, i64)>],
        unmerged: &[CounterKey],
    ) -> Answer {
        let mut groups = Self::call(link, asks, known);
        let budget = patience::left(self.settings.command_timeout);
        let began = self.clock.elapsed();
        let timed_out = if budget.is_zero() {
            false
        } else {
            // What memory still holds of these counters goes ahead, on the same connection.
            let merges = self.merge_all(link, unmerged, false);
            let all = async { tokio::join!(merges, answers(&mut groups)) };
            let mut phase = self.phase.subscribe();
            tokio::select! {
                biased;
                _ = all => false,
                () = tokio::time::sleep(budget) => true,
                // Somebody else has waited long enough for all of us.
                _ = phase.wait_for(|phase| *phase != Phase::Connected) => false,
            }
        };
        patience::spend(self.clock.elapsed().saturating_sub(began));
        let now = self.now();
        for group in &mut groups {
            self.conclude(now, asks, group, timed_out);
        }
        let admitted = groups.iter().all(|group| group.answer.admitted);
        if !admitted {
            self.give_back(now, link, asks, &mut groups).await;
        }
        self.wait_for_late(link, asks, &mut groups, admitted);
        assemble(asks.len(), admitted, groups)
    }

    fn call(link: &Link, asks: &[Ask], known: &[Option<(u32, i64)>]) -> Vec<Group> {
        let group = |places: Vec<usize>| {
            let of_group: Vec<&Ask> = places.iter().filter_map(|place| asks.get(*place)).collect();
            let known: Vec<_> = places
                .iter()
                .map(|place| known.get(*place).copied().flatten())
                .collect();
            let call = Box::pin(link.take(&of_group, &known));
            let answer = Answer {
                admitted: false,
                void: false,
                counts: Vec::new(),
            };
            Group {
                places,
                call,
                result: None,
                answer,
                by: By::Redis,
            }
        };
        link.groups(asks).into_iter().map(group).collect()
    }

    /// Turns what Redis said to one group, or did not say, into an answer.
    fn conclude(&self, now: Moment, asks: &[Ask], group: &mut Group, timed_out: bool) {
        let of_group: Vec<Ask> = group
            .places
            .iter()
            .filter_map(|place| asks.get(*place))
            .cloned()
            .collect();
        let standing = match &group.result {
            Some(Ok(reply)) => {
                self.breaker.succeeded();
                self.learn_time(reply.redis_us);
                for (place, ask) in of_group.iter().enumerate() {
                    if let Some(reply) = reply.reply(place) {
                        self.memory.hear(now, ask, reply);
                    }
                }
                let counts = of_group
                    .iter()
                    .zip(&reply.counts)
                    .map(|(ask, count)| counted(ask, *count, reply));
                group.answer = Answer {
                    admitted: reply.admitted,
                    void: reply.void,
                    counts: counts.collect(),
                };
                return;
            }
            Some(Err(failure)) => {
                self.note_failure(failure);
                Standing::Instead
            }
            None => {
                if timed_out {
                    self.note_failure(&Failure::Timeout);
                }
                Standing::Doubtful
            }
        };
        group.by = By::Memory(standing);
        group.answer = self.take_in_memory(now, &of_group, standing);
    }

    pub(super) fn note_failure(&self, failure: &Failure) {
        match failure {
            Failure::Value => {
                // Once, not for each request that meets the key.
                if !self.told_of_value.swap(true, Ordering::Relaxed) {
                    tracing::warn!(reason = %failure, "a limit is counted in memory");
                }
            }
            // Nobody else can succeed on this connection, so there is nothing to wait for.
            Failure::Disconnected(_) => self.lose(failure),
            Failure::Server(_) | Failure::Timeout => {
                if self.breaker.failed() {
                    self.lose(failure);
                }
            }
        }
    }

    /// Gives up Redis. One line, however many calls fail.
    pub(super) fn lose(&self, failure: &Failure) {
        let changed = self.phase.send_if_modified(|phase| {
            let changed = *phase != Phase::Lost;
            *phase = Phase::Lost;
            changed
        });
        if changed {
            *self.link.write().unwrap_or_else(PoisonError::into_inner) = None;
            *self.outage.lock().unwrap_or_else(PoisonError::into_inner) = Some(Outage {
                since: self.clock.elapsed(),
            });
            let fleet = self.fleet.read().unwrap_or_else(PoisonError::into_inner).size();
            tracing::warn!(
                event = "rate_limiter_degraded",
                reason = %failure,
                fleet,
                "Redis is lost; limits go on in memory"
            );
        }
    }

    /// Some of several groups refused: the others get their charge back.
    async fn give_back(&self, now: Moment, link: &Link, asks: &[Ask], groups: &mut [Group]) {
        let mut refunds = Vec::new();
        for group in groups.iter_mut().filter(|group| group.answer.admitted) {
            for (place, count) in group.places.iter().zip(&mut group.answer.counts) {
                let Some(ask) = asks.get(*place) else { continue };
                let taken = taken(ask, count.resets_at);
                match group.by {
                    By::Redis => refunds.push(taken),
                    By::Memory(_) => self.memory.refund(now, &taken, true),
                }
                count.count = count.count.saturating_sub(ask.cost);
                count.remaining = count.remaining.saturating_add(ask.cost).min(ask.limit);
            }
        }
        futures_util::future::join_all(refunds.into_iter().map(|taken| self.refund_in_redis(link, taken)))
            .await;
    }

    /// A call that was given up may still be counted. Its answer decides what has to be merged.
    fn wait_for_late(self: &Arc<Self>, link: &Link, asks: &[Ask], groups: &mut [Group], stood: bool) {
        for group in groups.iter_mut().filter(|group| group.result.is_none()) {
            let call = std::mem::replace(&mut group.call, Box::pin(std::future::pending()));
            let charged = group.answer.admitted;
            let of_group: Vec<Ask> = group
                .places
                .iter()
                .filter_map(|place| asks.get(*place))
                .cloned()
                .collect();
            let (remote, link) = (self.clone(), link.clone());
            tokio::spawn(async move {
                let reply = tokio::time::timeout(LATE, call).await.ok().and_then(Result::ok);
                let counted = reply.as_ref().filter(|reply| reply.admitted);
                for (place, ask) in of_group.iter().enumerate() {
                    if charged {
                        remote
                            .memory
                            .settle(remote.now(), &taken(ask, 0), counted.is_some());
                    }
                    let resets_at = counted
                        .and_then(|reply| reply.counts.get(place))
                        .map(|(_, resets_at)| *resets_at);
                    if let Some(resets_at) = resets_at
                        && (!charged || ask.key.is_exact() && !stood)
                    {
                        // Nobody waits for this one; a failure leaves a unit too many until the window ends.
                        let _ = link.refund(&taken(ask, resets_at)).await;
                    }
                }
                remote.unmerged.store(true, Ordering::Relaxed);
            });
        }
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

    async fn refund_in_redis(&self, link: &Link, taken: Taken) {
        let given = self.bounded(link.refund(&taken)).await;
        let told = matches!(given, Ok(true));
        self.memory.refund(self.now(), &taken, !told);
        if !told {
            self.unmerged.store(true, Ordering::Relaxed);
        }
    }

    /// Empties counters, in Redis where it answers.
    pub async fn clear(&self, keys: impl Iterator<Item = CounterKey>) {
        let link = self.link();
        for key in keys {
            let told = match &link {
                Some(link) => self.bounded(link.clear(&key)).await.is_ok(),
                None => false,
            };
            self.memory.clear(&key, !told);
            if !told {
                self.unmerged.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Waits for one call within what is left to the request, and tells the breaker.
    async fn bounded<T>(&self, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let began = self.clock.elapsed();
        let result = tokio::time::timeout(patience::left(self.settings.command_timeout), call).await;
        patience::spend(self.clock.elapsed().saturating_sub(began));
        let result = result.unwrap_or(Err(Failure::Timeout));
        match &result {
            Ok(_) => self.breaker.succeeded(),
            Err(failure) => self.note_failure(failure),
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
            Ok(self.memory.confirm(self.now(), key, &merge, merged))
        });
        let results = futures_util::future::join_all(merges).await;
        results.into_iter().sum()
    }
}

/// Waits until each group has its result.
async fn answers(groups: &mut [Group]) {
    poll_fn(|context| {
        let mut waiting = false;
        for group in groups.iter_mut().filter(|group| group.result.is_none()) {
            match group.call.as_mut().poll(context) {
                Poll::Ready(result) => group.result = Some(result),
                Poll::Pending => waiting = true,
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}

fn taken(ask: &Ask, resets_at: i64) -> Taken {
    Taken {
        key: ask.key.clone(),
        cost: ask.cost,
        id: ask.id,
        resets_at,
    }
}

fn counted(ask: &Ask, (count, ends): (u32, i64), reply: &TakeReply) -> Count {
    let redis_ms = reply.redis_us / 1000;
    let resets_at = match ends {
        0 if ask.key.is_exact() => {
            rounded_up_ms(reply.redis_us.saturating_add_unsigned(ask.period_ms * 1000))
        }
        0 => redis_ms.saturating_add_unsigned(ask.period_ms),
        ends => ends,
    };
    let before = if reply.admitted {
        count.saturating_sub(ask.cost)
    } else {
        count
    };
    Count {
        count,
        remaining: ask.limit.saturating_sub(count),
        resets_at,
        reset_after_ms: u64::try_from(resets_at.saturating_sub(redis_ms)).unwrap_or(0),
        over: before.saturating_add(ask.cost) > ask.limit,
    }
}

/// Puts the answers of all groups into the order of the asks.
fn assemble(asked: usize, admitted: bool, groups: Vec<Group>) -> Answer {
    let void = groups.iter().any(|group| group.answer.void);
    let mut counts: Vec<(usize, Count)> = groups
        .into_iter()
        .flat_map(|group| group.places.into_iter().zip(group.answer.counts))
        .collect();
    counts.sort_unstable_by_key(|(place, _)| *place);
    debug_assert!(void || counts.len() == asked);
    Answer {
        admitted,
        void,
        counts: counts.into_iter().map(|(_, count)| count).collect(),
    }
}
