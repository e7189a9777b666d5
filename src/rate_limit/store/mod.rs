//! Where counts live: what is asked of a store ([`Ask`]) and what it answers ([`Answer`]); one file per store.
//!
//! [`memory`] and [`redis`] answer alike; `tests/limits` holds them to it. A new store is a file here, a variant in the
//! limiter and a line in that suite.

mod exact;
mod fixed;
pub mod memory;
pub mod redis;
mod reply;
mod shard;

use super::key::CounterKey;
use super::limit::Window;
use super::rule::{Per, Rules};

/// One window to charge.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Which counter.
    pub key: CounterKey,
    /// Most in a window.
    pub limit: u32,
    /// Length of a window that opens now, in milliseconds.
    pub period_ms: u64,
    /// Units to take, at least 1.
    pub cost: u32,
    /// Counted, but never a reason to refuse.
    pub shadow: bool,
    /// Count and end (Unix milliseconds) of the window as written down elsewhere, for a store that has lost it.
    pub known: Option<(u32, i64)>,
    /// For the windows of an API token: the version it was proven under. Redis refuses an older one than the newest.
    pub version: Option<i64>,
    /// Names the first of these units; `cost` ids in a row belong to this ask and to no other of this process.
    pub id: u64,
}

/// What a store says about a set of asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// All were charged; else none was.
    pub admitted: bool,
    /// The asks were made under a version that is void ([`Ask::version`]); there are no counts then.
    pub void: bool,
    /// One for each ask, in order.
    pub counts: Vec<Count>,
}

impl Answer {
    /// Whether nothing in `counts` refuses `asks`.
    pub(super) fn admits(asks: &[Ask], counts: &[Count]) -> bool {
        asks.iter()
            .zip(counts)
            .all(|(ask, count)| ask.shadow || !count.over)
    }
}

/// One window after a take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Count {
    /// Units counted in the window.
    pub count: u32,
    /// Units left in it, here and now.
    pub remaining: u32,
    /// The window's end (`exact`: when the next unit is freed), Unix milliseconds, the same through a window.
    pub resets_at: i64,
    /// Milliseconds until then.
    pub reset_after_ms: u64,
    /// There was no room for this ask. A shadow one passes all the same.
    pub over: bool,
}

/// The present moment, read once for a whole decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// Microseconds since the process started: by these windows in memory end, so a wall clock that jumps moves none.
    pub elapsed_us: u64,
    /// Unix microseconds, for what clients are told.
    pub unix_us: i64,
}

impl Moment {
    /// Whole milliseconds since the process started.
    #[must_use]
    pub fn elapsed_ms(self) -> u64 {
        self.elapsed_us / 1000
    }

    /// Unix milliseconds.
    #[must_use]
    pub fn unix_ms(self) -> i64 {
        self.unix_us.div_euclid(1000)
    }

    /// Unix milliseconds, `millis` after this moment.
    fn unix_after(self, millis: u64) -> i64 {
        self.unix_ms().saturating_add_unsigned(millis)
    }
}

/// Microseconds as milliseconds, rounded up: nobody is told a reset that comes too early.
pub(super) fn rounded_up_ms(micros: i64) -> i64 {
    micros.saturating_add(999).div_euclid(1000)
}

/// One window that was charged: what a refund needs.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Which counter.
    pub key: CounterKey,
    /// Units to give back.
    pub cost: u32,
    /// First id of those units ([`Ask::id`]).
    pub id: u64,
    /// The window's end, by which it is known again.
    pub resets_at: i64,
}

/// On whose behalf memory counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Its own: no Redis is configured.
    Sole,
    /// Of Redis, which is lost and has to be told later.
    Instead,
    /// Of Redis, which did not answer in time and may count the same units yet.
    Doubtful,
}

/// An open window, as an operator sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// Which counter.
    pub key: CounterKey,
    /// Units counted in the window.
    pub count: u32,
    /// The window's end (`exact`: when the last unit is freed), Unix milliseconds.
    pub resets_at: i64,
}

impl Reading {
    /// The window that is counted, as `rules` have it now.
    #[must_use]
    pub fn limit(&self, rules: &Rules) -> Option<Window> {
        self.key.window(rules.get(self.key.rule()))
    }

    /// Seconds of that window. An API token's are the same for all, only its limits are its own.
    #[must_use]
    pub fn window_seconds(&self, rules: &Rules) -> Option<u32> {
        if self.key.rule().per() == Per::Token {
            return Some(self.key.rule().default_seconds());
        }
        self.limit(rules).map(Window::seconds)
    }

    /// How full it is, in thousandths of its limit: the fullest are looked for. Without a limit any count is full.
    #[must_use]
    pub fn fullness(&self, rules: &Rules) -> u64 {
        let limit = self.limit(rules).map_or(1, |window| window.count().max(1));
        u64::from(self.count) * 1000 / u64::from(limit)
    }
}

/// What Redis answered about one ask.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    /// The ask was charged.
    pub admitted: bool,
    /// Units in the window now.
    pub count: u32,
    /// The window's end, Unix milliseconds of Redis; 0 where none is open.
    pub resets_at: i64,
    /// The moment of the answer, Unix milliseconds of Redis.
    pub redis_ms: i64,
}

/// What Redis has to be told of one counter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Merge {
    /// A fixed window.
    Fixed {
        /// What Redis last said of it, in case it lost it.
        known: i64,
        /// The window's end, Unix milliseconds.
        resets_at: i64,
        /// Units to add; negative after a refund.
        add: i64,
        /// Redis adds the units of a ticket once; 0 where there are none.
        ticket: u64,
    },
    /// Single units of an exact limit. Redis keeps them by id, so it counts each once.
    Exact {
        /// When each was taken, in elapsed microseconds, and its id.
        stamps: Vec<(u64, u64)>,
        /// The limit's period.
        period_ms: u64,
    },
}

/// What Redis answered to [`Merge::Fixed`].
#[derive(Clone, Copy, Debug)]
pub struct Merged {
    /// Units in the window now.
    pub count: u32,
    /// The window's end; 0 where it is over and the units with it.
    pub resets_at: i64,
    /// The moment of the answer, Unix milliseconds of Redis.
    pub redis_ms: i64,
}
