//! Whether Redis is given up: a pure value that is told of successes and failures.
//!
//! Three failures in a row, or ten among the last twenty calls, are enough. A refusal is a success: Redis answered.

use std::sync::atomic::{AtomicU32, Ordering};

/// The last calls, newest in the lowest bit; 1 is a failure.
#[derive(Debug, Default)]
pub struct Breaker(AtomicU32);

const LAST_20: u32 = (1 << 20) - 1;
const LAST_3: u32 = 0b111;

impl Breaker {
    /// A call was answered.
    pub fn succeeded(&self) {
        // The usual case writes nothing, so that callers do not fight for the cache line.
        if self.0.load(Ordering::Relaxed) != 0 {
            self.push(0);
        }
    }

    /// A call was not answered. Says whether that is enough to give up.
    pub fn failed(&self) -> bool {
        let recent = self.push(1);
        recent & LAST_3 == LAST_3 || recent.count_ones() >= 10
    }

    /// A new connection starts without a past.
    pub fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn push(&self, bit: u32) -> u32 {
        let shifted = |recent: u32| (recent << 1 | bit) & LAST_20;
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |recent| {
                Some(shifted(recent))
            })
            .map_or(0, shifted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_are_enough() {
        let breaker = Breaker::default();
        assert!(!breaker.failed());
        assert!(!breaker.failed());
        assert!(breaker.failed());
    }

    #[test]
    fn half_of_twenty_is_enough_and_old_failures_are_forgotten() {
        let breaker = Breaker::default();
        for _ in 0..9 {
            assert!(!breaker.failed());
            breaker.succeeded();
        }
        assert!(breaker.failed());

        let breaker = Breaker::default();
        for _ in 0..100 {
            assert!(!breaker.failed(), "one in four is not half");
            (0..3).for_each(|_| breaker.succeeded());
        }
    }

    #[test]
    fn a_new_connection_starts_without_a_past() {
        let breaker = Breaker::default();
        breaker.failed();
        breaker.failed();
        breaker.forget();
        assert!(!breaker.failed());
    }
}
