//! Where counts live. What is asked of a store ([`Ask`]) and what it answers ([`Answer`]); one file per store.

use super::key::CounterKey;

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
}

/// One window that was charged, and where: what a refund needs.
#[derive(Debug)]
pub struct Taken {
    pub(super) key: CounterKey,
    pub(super) cost: u32,
    /// The window's end, by which it is known again.
    pub(super) resets_at: i64,
}
