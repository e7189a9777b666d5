//! One take through Redis: the calls, the wait for them, and what their answers, or their silence, come to.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use super::key::CounterKey;
use super::patience;
use super::remote::{Phase, Remote};
use super::store::redis::{Failure, LATE, Link, TakeReply};
use super::store::{Answer, Ask, Count, Moment, Standing, Taken, rounded_up_ms};

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
    /// Asks Redis, and decides in memory what it does not answer in time.
    pub(super) async fn ask(
        self: &Arc<Self>,
        link: &Link,
        asks: &[Ask],
        known: &[Option<(u32, i64)>],
        unmerged: &[CounterKey],
    ) -> Answer {
        let mut groups = Self::call(link, asks, known);
        let budget = patience::left(self.settings.command_timeout);
        let began = self.elapsed();
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
        let waited = self.elapsed().saturating_sub(began);
        patience::spend(waited);
        self.tally.checks.through_redis.observe(waited);
        let now = self.now();
        for group in &mut groups {
            self.conclude(now, link, asks, group, timed_out);
        }
        let admitted = groups.iter().all(|group| group.answer.admitted);
        if !admitted {
            self.give_back(now, link, asks, &mut groups).await;
        }
        self.wait_for_late(link, asks, &mut groups, admitted);
        assemble(asks.len(), admitted, groups)
    }

    /// What `asks` would find, charging nothing. Redis is asked only if memory's word is old; `afresh`: in any case.
    pub(super) async fn peek(&self, asks: &[Ask], afresh: bool) -> Answer {
        let now = self.now();
        let whole = self.phase() != Phase::Lost;
        let share = |key: &CounterKey, limit| if whole { limit } else { self.share(key, limit) };
        let known = self.memory.peek(now, asks, &share);
        let Some(link) = self.link() else { return known };
        if !afresh && (known.admitted || self.memory.is_known_over(now, asks)) {
            return known;
        }
        // Windows of a client lie apart in a cluster; memory's word has to do there.
        if link.groups(asks).len() > 1 {
            return known;
        }
        let Ok(reply) = self.bounded(&link, link.peek(asks)).await else {
            return known;
        };
        let now = self.now();
        self.learn_time(reply.redis_us);
        for (place, ask) in asks.iter().enumerate() {
            if let Some(reply) = reply.reply(place) {
                self.memory.hear(now, ask, reply);
            }
        }
        let found = asks.iter().zip(&reply.counts);
        let counts: Vec<Count> = found.map(|(ask, count)| counted(ask, *count, &reply)).collect();
        Answer {
            admitted: Answer::admits(asks, &counts),
            void: false,
            counts,
        }
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
    fn conclude(&self, now: Moment, link: &Link, asks: &[Ask], group: &mut Group, timed_out: bool) {
        let of_group = || group.places.iter().filter_map(|place| asks.get(*place));
        let standing = match &group.result {
            Some(Ok(reply)) => {
                self.breaker.succeeded();
                self.learn_time(reply.redis_us);
                for (place, ask) in of_group().enumerate() {
                    if let Some(reply) = reply.reply(place) {
                        self.memory.hear(now, ask, reply);
                    }
                }
                let counts = of_group()
                    .zip(&reply.counts)
                    .map(|(ask, count)| counted(ask, *count, reply));
                let counts = counts.collect();
                group.answer = Answer {
                    admitted: reply.admitted,
                    void: reply.void,
                    counts,
                };
                return;
            }
            Some(Err(failure)) => {
                self.note_failure(link, failure);
                Standing::Instead
            }
            None => {
                if timed_out {
                    self.note_failure(link, &Failure::Timeout);
                }
                Standing::Doubtful
            }
        };
        let of_group: Vec<Ask> = of_group().cloned().collect();
        group.by = By::Memory(standing);
        group.answer = self.take_in_memory(now, &of_group, standing);
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
    // A unit of an exact limit is free after its period. The moment of the answer is rounded down and that of the reset
    // up, so that just after the unit was taken the difference is a millisecond more, and in a header a whole second.
    let most_ms = if ask.key.is_exact() {
        ask.period_ms
    } else {
        u64::MAX
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
        reset_after_ms: u64::try_from(resets_at.saturating_sub(redis_ms))
            .unwrap_or(0)
            .min(most_ms),
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
