//! The bounded pool of hashing threads.

/// How large the pool is.
#[derive(Clone, Copy, Debug)]
pub struct PoolSettings {
    /// Threads, each with an argon2 buffer of 19 MiB.
    pub workers: usize,
    /// Jobs that may wait for a thread.
    pub queue: usize,
}

impl Default for PoolSettings {
    fn default() -> Self {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            workers,
            queue: workers * 40,
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
}

/// The pool's queue is full, or the job waited too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are being hashed")]
pub struct Overloaded;
