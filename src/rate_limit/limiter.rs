//! The limiter: who is asked, and what happens when Redis is lost.

use std::sync::Arc;

use super::Settings;
use super::decision::{Decision, Receipt};
use super::key::Charge;
use super::rule::Rules;
use crate::clock::Clock;

/// Decides whether a request may go on. Cheap to clone; clones share their counts.
#[derive(Clone)]
pub struct Limiter(Arc<Inner>);

struct Inner {
    settings: Settings,
    #[expect(dead_code, reason = "the stores arrive with the next commit")]
    clock: Clock,
}

/// Where counts are at the moment: `rate_limiter` of `/health`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreState {
    /// In Redis.
    Redis,
    /// In memory, as configured.
    Memory,
    /// In memory, because Redis is lost.
    Degraded,
    /// Nowhere: limiting is off.
    Off,
}

impl StoreState {
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

/// Why the limiter could not start. Never a lost Redis.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `REDIS_URL` does not parse. The text repeats nothing of it.
    #[error("REDIS_URL is no Redis address: {0}")]
    RedisUrl(String),
    /// `TLS_CA_FILE` cannot be read.
    #[error("TLS_CA_FILE cannot be read: {0}")]
    TlsCaFile(String),
}

impl Limiter {
    /// Starts the limiter and its background tasks on the current tokio runtime. Never waits for Redis.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "the Redis store arrives with the next commit"
    )]
    pub fn start(settings: Settings, clock: Clock) -> Result<Self, StartError> {
        Ok(Self(Arc::new(Inner { settings, clock })))
    }

    /// Charges all of `charges` or none of them: one decision, one round trip. Never fails.
    #[expect(clippy::unused_async, reason = "the stores arrive with the next commit")]
    pub async fn take(&self, _charges: &[Charge]) -> Decision {
        Decision::free()
    }

    /// Gives one take back, to the windows it was taken in; where a window has ended nothing happens.
    #[expect(clippy::unused_async, reason = "the stores arrive with the next commit")]
    pub async fn refund(&self, receipt: Receipt) {
        drop(receipt);
    }

    /// Empties the counters that `charges_like` would charge. Their windows end when they would have ended.
    #[expect(clippy::unused_async, reason = "the stores arrive with the next commit")]
    pub async fn clear(&self, _charges_like: &[Charge]) {}

    /// Where counts are at the moment.
    #[must_use]
    pub fn state(&self) -> StoreState {
        if self.0.settings.enabled {
            StoreState::Memory
        } else {
            StoreState::Off
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

    /// Ends the background tasks and takes this process off the list of living ones.
    #[expect(clippy::unused_async, reason = "the stores arrive with the next commit")]
    pub async fn shutdown(&self) {}
}
