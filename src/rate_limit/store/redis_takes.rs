//! Takes on their way to Redis. Those that are asked at the same moment go in one call of the script, which costs Redis half
//! as much as a call for each; the script decides them one by one.

use std::fmt::Write as _;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use redis::{Cmd, Value};
use tokio::sync::{mpsc, oneshot};

use super::{Failure, Line, Link, NEVER, int};
use crate::rate_limit::store::Ask;
use crate::rate_limit::store::reply::TakeReply;

/// Most takes in one call: Redis serves nobody else meanwhile, for less than 100 µs.
const MOST: usize = 32;
/// Calls under way at once. Few, so that under load takes gather; more than one, so that Redis need not wait for us.
const UNDER_WAY: usize = 8;

/// A window to charge, and its count and end as Redis last told them.
type Window = (Ask, Option<(u32, i64)>);

/// A take that waits for its call.
pub(super) struct Job {
    windows: Vec<Window>,
    reply: oneshot::Sender<Result<TakeReply, Failure>>,
}

impl Job {
    /// The version that a token was proven under.
    fn version(&self) -> Option<i64> {
        self.windows.first()?.0.version
    }

    /// Limit, period and cost of a take of one fixed window, for which the script has a shorter way. Those that stand side
    /// by side and have them in common tell them once.
    fn terms(&self) -> Option<(u64, u64, u32)> {
        match self.windows.as_slice() {
            [(ask, _)] if !ask.key.is_exact() && ask.version.is_none() => {
                Some((limit(ask), ask.period_ms, ask.cost))
            }
            _ => None,
        }
    }
}

fn limit(ask: &Ask) -> u64 {
    if ask.shadow { NEVER } else { u64::from(ask.limit) }
}

impl Link {
    /// Charges all of `asks` or none. `known`: of each, count and end as Redis last told them.
    ///
    /// The future owns what it needs, so that it can be waited for in the background.
    pub fn take(
        &self,
        asks: &[&Ask],
        known: &[Option<(u32, i64)>],
    ) -> impl Future<Output = Result<TakeReply, Failure>> + Send + 'static {
        let known = known.iter().copied().chain(std::iter::repeat(None));
        let windows: Vec<Window> = asks.iter().copied().cloned().zip(known).collect();
        let link = self.clone();
        async move {
            let (reply, answer) = oneshot::channel();
            let job = Job { windows, reply };
            match &link.0.takes {
                // Where the task is gone, so is the job, and its end of the channel.
                Some(takes) => drop(takes.send(job)),
                None => link.0.call(vec![job]).await,
            }
            answer
                .await
                .unwrap_or_else(|_| Err(Failure::Disconnected("connection lost".to_owned())))
        }
    }
}

/// Sends what waits, for as long as there is a [`Link`].
pub(super) async fn deliver(line: Line, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut calls = FuturesUnordered::new();
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            Some(()) = calls.next() => {}
            count = jobs.recv_many(&mut batch, MOST), if calls.len() < UNDER_WAY => {
                if count == 0 {
                    break;
                }
                // Whoever is ready at this moment gets his turn and comes along; nobody else is waited for.
                tokio::task::yield_now().await;
                while batch.len() < MOST
                    && let Ok(job) = jobs.try_recv()
                {
                    batch.push(job);
                }
                calls.push(line.call(batch));
            }
        }
    }
    while calls.next().await.is_some() {}
}

impl Line {
    /// One call for all of `jobs`.
    async fn call(&self, jobs: Vec<Job>) {
        let asked = jobs.iter().map(|job| job.windows.len());
        let replies = match self.run(self.written(&jobs), |scripts| &scripts.take).await {
            Ok(value) => {
                replies(&value, asked).ok_or_else(|| Failure::Server("unexpected answer".to_owned()))
            }
            Err(failure) => Err(failure),
        };
        match replies {
            Ok(replies) => {
                for (job, reply) in jobs.into_iter().zip(replies) {
                    // Who has left is not interested.
                    let _ = job.reply.send(reply);
                }
            }
            Err(failure) => {
                for job in jobs {
                    let _ = job.reply.send(Err(failure.clone()));
                }
            }
        }
    }

    /// The call as `take.lua` reads it.
    fn written(&self, jobs: &[Job]) -> Cmd {
        let prefix = &self.names.prefix;
        let mark = |job: &Job| {
            job.windows
                .first()
                .filter(|(ask, _)| ask.version.is_some())?
                .0
                .key
                .mark(prefix)
        };
        let windows: usize = jobs.iter().map(|job| job.windows.len()).sum();
        let marks = jobs.iter().filter(|job| job.version().is_some()).count();
        let mut call = Cmd::with_capacity(3 + 2 * jobs.len() + 6 * windows, 64 + 96 * windows);
        call.arg("EVALSHA")
            .arg(&self.scripts.take.sha)
            .arg(windows + marks);
        let mut name = String::with_capacity(64);
        for job in jobs {
            for (ask, _) in &job.windows {
                name.clear();
                ask.key.write(prefix, &mut name);
                call.arg(name.as_str());
            }
            if let Some(mark) = mark(job) {
                call.arg(mark);
            }
        }
        for run in jobs.chunk_by(|job, next| job.terms().is_some_and(|terms| next.terms() == Some(terms))) {
            match run.first().and_then(Job::terms) {
                Some((limit, period_ms, cost)) => {
                    call.arg(0).arg(run.len()).arg(limit).arg(period_ms).arg(cost);
                    for (_, known) in run.iter().flat_map(|job| &job.windows) {
                        name.clear();
                        if let Some((count, ends)) = known {
                            // Writing into a String cannot fail.
                            let _ = write!(name, "{count} {ends}");
                        }
                        call.arg(name.as_str());
                    }
                }
                None => run.iter().for_each(|job| self.write_windows(job, &mut call)),
            }
        }
        call
    }

    fn write_windows(&self, job: &Job, call: &mut Cmd) {
        match job.version() {
            None => call.arg(job.windows.len()),
            Some(version) => call.arg(format!("-{}", job.windows.len())).arg(version),
        };
        for (ask, known) in &job.windows {
            call.arg(limit(ask)).arg(ask.period_ms).arg(ask.cost);
            if ask.key.is_exact() {
                call.arg(&self.names.process).arg(ask.id);
            } else {
                let (count, ends) = known.unwrap_or_default();
                call.arg(count).arg(ends);
            }
        }
    }
}

/// The answers to takes of so many windows each.
pub(super) fn replies(
    value: &Value,
    asked: impl IntoIterator<Item = usize>,
) -> Option<Vec<Result<TakeReply, Failure>>> {
    let Value::BulkString(bytes) = value else {
        return None;
    };
    let (numbers, []) = bytes.as_chunks::<8>() else {
        return None;
    };
    let mut numbers = numbers.iter().copied().map(i64::from_le_bytes);
    let redis_us = numbers.next()?;
    let mut replies = Vec::new();
    for windows in asked {
        let outcome = numbers.next()?;
        let mut counts = Vec::with_capacity(windows);
        for _ in 0..windows {
            counts.push((count(numbers.next()?), numbers.next()?));
        }
        replies.push(if outcome == 3 {
            Err(Failure::Value)
        } else {
            Ok(TakeReply {
                admitted: outcome == 1,
                void: outcome == 2,
                redis_us,
                counts,
            })
        });
    }
    numbers.next().is_none().then_some(replies)
}

/// Counts and resets, in turn.
pub(super) fn counts(parts: &[Value]) -> Option<Vec<(u32, i64)>> {
    let pair = |pair: &[Value]| match pair {
        [number, ends] => Some((count(int(number)?), int(ends)?)),
        _ => None,
    };
    parts.chunks(2).map(pair).collect()
}

/// Somebody else may have written more than a limit can be.
fn count(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}
