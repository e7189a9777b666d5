//! The bounded pool of hashing threads.
//!
//! A fixed number of operating system threads takes jobs from a bounded queue, each with a scratch
//! memory of its own that it keeps from job to job. What does not fit is refused at once, what
//! waited too long is given up, and what nobody waits for any more is skipped without being done.
//! Knows nothing of passwords.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::telemetry::metrics::Counter;

/// Added to the nice value of the hashing threads.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// How large the pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// Threads, each with an argon2 buffer of 19 MiB from its first job on. At least 1.
    pub workers: usize,
    /// Jobs that may wait for a thread.
    pub queue: usize,
    /// The longest that a job waits for a thread. One that has begun is waited for to its end.
    pub patience: Duration,
}

impl Default for PoolSettings {
    /// One thread a core, since hashing is nothing but computing, and for each as many waiting jobs
    /// as it finishes in about a second (15 to 25 ms a hash). Where others keep the cores busy it takes longer, and a late
    /// answer is worth more than none; but a request should end within five seconds.
    fn default() -> Self {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            workers,
            queue: workers * 48,
            patience: Duration::from_secs(4),
        }
    }
}

/// How busy the pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolState {
    /// Threads.
    pub workers: usize,
    /// Threads at work.
    pub busy: usize,
    /// Jobs that wait.
    pub waiting: usize,
    /// Most jobs that may wait.
    pub room: usize,
    /// Jobs refused so far for want of room, or given up because they waited too long.
    pub refused: u64,
}

/// There is no room for another job, or it waited too long, or its computation broke down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are being hashed")]
pub struct Overloaded;

/// The pool. Dropping it lets the threads finish what they do and end.
pub(super) struct Pool<Scratch>(Arc<Shared<Scratch>>);

struct Shared<Scratch> {
    queue: Mutex<Queue<Scratch>>,
    /// Rung for one worker when a job comes, for all when the pool closes.
    bell: Condvar,
    settings: PoolSettings,
    refused: Counter,
}

struct Queue<Scratch> {
    waiting: VecDeque<Job<Scratch>>,
    busy: usize,
    closed: bool,
}

struct Job<Scratch> {
    taken: Taken,
    run: Box<dyn FnOnce(&mut Scratch) -> Delivery + Send>,
}

/// Hands the result to the caller. Done only when the worker counts as free again, so that a caller
/// who has his answer finds room for his next job.
type Delivery = Box<dyn FnOnce()>;

/// Who has a job: the first to take it, a worker to do it or its caller to give it up.
#[derive(Clone, Default)]
struct Taken(Arc<AtomicBool>);

impl Taken {
    fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

/// Gives the job up when its caller goes away.
struct GiveUpOnDrop(Taken);

impl Drop for GiveUpOnDrop {
    fn drop(&mut self) {
        self.0.take();
    }
}

impl<Scratch: Default + 'static> Pool<Scratch> {
    /// Starts the threads. Their scratch memory is made at their first job.
    pub(super) fn start(settings: PoolSettings) -> std::io::Result<Self> {
        let settings = PoolSettings {
            workers: settings.workers.max(1),
            ..settings
        };
        let queue = Queue {
            waiting: VecDeque::new(),
            busy: 0,
            closed: false,
        };
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            bell: Condvar::new(),
            settings,
            refused: Counter::default(),
        });
        let pool = Self(Arc::clone(&shared));
        for number in 0..settings.workers {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("hash-{number}"))
                .spawn(move || {
                    give_way();
                    shared.work();
                })?;
        }
        Ok(pool)
    }

    /// Does `work` on one of the threads.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Scratch) -> T + Send + 'static,
    ) -> Result<T, Overloaded> {
        let (answer, mut answered) = oneshot::channel();
        let taken = Taken::default();
        let _given_up = GiveUpOnDrop(taken.clone());
        self.submit(Job {
            taken: taken.clone(),
            run: Box::new(move |scratch| {
                let result = catch_unwind(AssertUnwindSafe(|| work(scratch)));
                if result.is_err() {
                    tracing::error!("a password computation panicked");
                    *scratch = Scratch::default();
                }
                Box::new(move || {
                    if let Ok(result) = result {
                        // The caller may have gone meanwhile; then nobody wants the answer.
                        let _ = answer.send(result);
                    }
                })
            }),
        })?;
        let outcome = match tokio::time::timeout(self.0.settings.patience, &mut answered).await {
            Ok(outcome) => outcome,
            Err(_) if taken.take() => {
                self.0.refused.increment();
                return Err(Overloaded);
            }
            Err(_) => answered.await,
        };
        // The sender is dropped unsent only if the work panicked.
        outcome.map_err(|_| Overloaded)
    }

    /// How busy the pool is at this moment.
    pub(super) fn state(&self) -> PoolState {
        let queue = self.0.lock();
        PoolState {
            workers: self.0.settings.workers,
            busy: queue.busy,
            waiting: queue.waiting.len(),
            room: self.0.settings.queue,
            refused: self.0.refused.get(),
        }
    }

    fn submit(&self, job: Job<Scratch>) -> Result<(), Overloaded> {
        let PoolSettings {
            workers, queue: room, ..
        } = self.0.settings;
        let mut queue = self.0.lock();
        // Idle workers count as room, also in the moment before they wake.
        if queue.busy + queue.waiting.len() >= workers + room {
            self.0.refused.increment();
            return Err(Overloaded);
        }
        queue.waiting.push_back(job);
        drop(queue);
        self.0.bell.notify_one();
        Ok(())
    }
}

/// Lets every other thread of the process go first: a hash takes thousands of times as long as a cheap request, and on a
/// busy core the kernel would let the request wait for it. On an idle core nothing changes. What is busy beside the hashing gets nine
/// tenths of a core, so hashing goes on slowly and never stops.
fn give_way() {
    // On Linux a thread has a nice value of its own; elsewhere this would be the process's.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "the hashing threads keep the priority of the others");
    }
}

impl<Scratch> Drop for Pool<Scratch> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.bell.notify_all();
    }
}

impl<Scratch> Shared<Scratch> {
    /// Jobs run outside the lock, so a panic cannot leave the queue half changed.
    fn lock(&self) -> MutexGuard<'_, Queue<Scratch>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Scratch: Default> Shared<Scratch> {
    /// A worker's life.
    fn work(&self) {
        let mut scratch = Scratch::default();
        while let Some(job) = self.next_job() {
            let deliver = (job.run)(&mut scratch);
            self.lock().busy -= 1;
            deliver();
        }
    }

    /// The next job that somebody still waits for, counted as busy. `None` when the pool closes.
    fn next_job(&self) -> Option<Job<Scratch>> {
        let mut queue = self.lock();
        while !queue.closed {
            while let Some(job) = queue.waiting.pop_front() {
                if job.taken.take() {
                    queue.busy += 1;
                    return Some(job);
                }
            }
            queue = self.bell.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }
}

#[cfg(test)]
mod tests;
