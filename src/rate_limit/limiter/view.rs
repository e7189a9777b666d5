//! How the limiter stands: where it counts, what it has decided, whom it holds counters of; and emptying them.

use tokio::sync::watch;

use super::{Limiter, SWEEP_STRETCH};
use crate::rate_limit::Settings;
use crate::rate_limit::charge::Subject;
use crate::rate_limit::remote::Phase;
use crate::rate_limit::rule::Rules;
use crate::rate_limit::store::Reading;
use crate::rate_limit::store::redis::Failure;
use crate::rate_limit::tally::{Checks, Totals};

/// Where counts are at the moment: `rate_limiter` of `/health`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreState {
    /// In Redis.
    Redis,
    /// In memory, as configured.
    Memory,
    /// In memory, because Redis is lost or, just after the start, not found yet.
    Degraded,
    /// Nowhere: limiting is off.
    Off,
}

impl StoreState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Redis, Self::Memory, Self::Degraded, Self::Off];

    /// As `/health` shows it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Memory => "memory",
            Self::Degraded => "degraded",
            Self::Off => "off",
        }
    }
}

/// Redis did not drop its counters.
#[derive(Debug, thiserror::Error)]
#[error("Redis does not answer: {0}")]
pub struct EmptyError(Failure);

impl Limiter {
    /// Tells when Redis is lost and found again; `None` where none is used.
    #[must_use]
    pub fn phases(&self) -> Option<watch::Receiver<Phase>> {
        self.0.remote.as_ref().map(|remote| remote.phase.subscribe())
    }

    /// Where counts are at the moment.
    #[must_use]
    pub fn state(&self) -> StoreState {
        match &self.0.remote {
            _ if !self.0.settings.enabled => StoreState::Off,
            None => StoreState::Memory,
            Some(remote) if remote.phase() == Phase::Connected => StoreState::Redis,
            Some(_) => StoreState::Degraded,
        }
    }

    /// What the limiter was started with: `allowlist`, `ipv6_prefix`, `enabled`.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The limit of every rule.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.0.settings.rules
    }

    /// What was decided since the process started, and what became of Redis meanwhile.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.0.tally.totals()
    }

    /// How long decisions took, since the process started.
    #[must_use]
    pub fn checks(&self) -> &Checks {
        &self.0.tally.checks
    }

    /// Processes last known to share the limits, this one included; `None` where no Redis is configured.
    #[must_use]
    pub fn fleet_size(&self) -> Option<u32> {
        self.0.remote.as_ref().map(|remote| remote.fleet_size())
    }

    /// Counters held in memory at the moment, at most `memory_keys`.
    #[must_use]
    pub fn counters_in_memory(&self) -> usize {
        self.0.memory.len()
    }

    /// The counters in this process's memory that count anything, or those of `subjects`.
    pub async fn counters(&self, subjects: Option<&[Subject]>) -> Vec<Reading> {
        let memory = &self.0.memory;
        let mut readings = Vec::new();
        match subjects {
            Some(subjects) => {
                for subject in subjects {
                    readings.extend(memory.read_subject(self.0.now(), subject));
                }
            }
            None => {
                for shard in 0..memory.shard_count() {
                    readings.extend(memory.read(self.0.now(), shard, |_| true));
                    if shard % SWEEP_STRETCH == SWEEP_STRETCH - 1 {
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
        readings.retain(|reading| reading.count > 0);
        readings
    }

    /// Empties all that this process's memory counts of `subjects`; their windows end when they would have ended. Where
    /// Redis counts, see [`crate::rate_limit::operator`].
    pub fn reset(&self, subjects: &[Subject]) {
        for subject in subjects {
            for open in self.0.memory.read_subject(self.0.now(), subject) {
                self.0.memory.clear(&open.key, false);
            }
        }
    }

    /// Drops every counter of everybody, here and in Redis: the next request opens new windows. Fails, with the memory of
    /// this process emptied, where Redis does not answer. Not exact while others ask: for test endpoints, between runs.
    pub async fn empty(&self) -> Result<(), EmptyError> {
        if let (true, Some(remote)) = (self.0.settings.enabled, &self.0.remote) {
            return remote.empty().await.map_err(EmptyError);
        }
        self.0.memory.empty();
        Ok(())
    }
}
