//! What a call to Redis comes to: an answer or a failure. Knows no connection.

use super::Reply;
use crate::rate_limit::charge::Subject;

/// Why Redis gave no answer. Holds no address, no password and no key.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The value of a key is no counter. Says nothing about the server.
    #[error("a key holds something that is no counter")]
    Value,
    /// The connection is gone; no call on it can succeed.
    #[error("{0}")]
    Disconnected(String),
    /// The server refused, for a reason that concerns more than this call.
    #[error("{0}")]
    Server(String),
    /// No answer in time.
    #[error("timed out")]
    Timeout,
}

/// What Redis answered to one take.
#[derive(Clone, Debug)]
pub struct TakeReply {
    /// All asks were charged; else none was.
    pub admitted: bool,
    /// The version that the asks were made under is void.
    pub void: bool,
    /// The moment of the answer, Unix microseconds of Redis.
    pub redis_us: i64,
    /// Of each ask, its count and the end of its window (0 where none is open).
    pub counts: Vec<(u32, i64)>,
}

impl TakeReply {
    /// What it says of the ask at `place`.
    #[must_use]
    pub fn reply(&self, place: usize) -> Option<Reply> {
        let (count, resets_at) = *self.counts.get(place)?;
        Some(Reply {
            admitted: self.admitted,
            count,
            resets_at,
            redis_ms: self.redis_us / 1000,
        })
    }
}

/// Who is alive.
#[derive(Clone, Debug)]
pub struct Roll {
    /// This process was on the list already; else Redis was emptied, or it was silent for long.
    pub was_known: bool,
    /// Everyone on the list, by their numbers.
    pub alive: Vec<u64>,
    /// Resets by operators that were not heard of before: the moment (Unix microseconds of Redis), and who was reset.
    pub resets: Vec<(i64, Subject)>,
}
