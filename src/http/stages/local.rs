//! The local stage: a token bucket per client in this process (tower-governor), in front of the
//! limiter, so that a flood from one client costs no call to Redis.
//!
//! It enforces no documented limit: at its default it is never the tighter of the two.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::NoOpMiddleware;
use tower_governor::GovernorError;
use tower_governor::governor::{GovernorConfig, GovernorConfigBuilder};
use tower_governor::key_extractor::KeyExtractor;

use super::{Rest, Stage, limits};
use crate::clock::Clock;
use crate::http::error::ApiError;
use crate::http::stages::envelope::Context;
use crate::rate_limit::Client;
use crate::telemetry::metrics::Counter;

/// How often idle clients are dropped from the map. A bucket is full again, and so forgettable,
/// after two seconds without a request.
pub const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Counts by the client that the envelope found.
#[derive(Clone, Debug, Default)]
pub struct ByClient {
    /// How often all buckets were filled up. The library cannot empty its map, but those of an earlier generation are
    /// found by no key and go with the next sweeps.
    generation: Arc<AtomicU32>,
}

impl KeyExtractor for ByClient {
    type Key = (Client, u32);

    fn extract<T>(&self, request: &axum::http::Request<T>) -> Result<Self::Key, GovernorError> {
        let context = request.extensions().get::<Context>();
        context
            .map(|context| (context.client, self.generation.load(Ordering::Relaxed)))
            .ok_or(GovernorError::UnableToExtractKey)
    }
}

/// The buckets of all clients.
#[derive(Clone)]
pub struct LocalStage {
    by: ByClient,
    buckets: Arc<GovernorConfig<ByClient, NoOpMiddleware>>,
    burst: u32,
    clock: Clock,
    refusals: Arc<Counter>,
}

impl LocalStage {
    /// `burst` requests at once per client, refilled at half of it per second. `None` for a burst of 0.
    #[must_use]
    pub fn new(burst: u32, clock: Clock) -> Option<Self> {
        let per_second = f64::from(burst) / 2.0;
        let by = ByClient::default();
        let mut builder = GovernorConfigBuilder::default().key_extractor(by.clone());
        // `.period()` is the time for one token; `.per_second(n)` would mean one token every n seconds.
        let config = builder
            .period(Duration::from_secs_f64(1.0 / per_second.max(0.5)))
            .burst_size(burst)
            .finish()?;
        Some(Self {
            by,
            buckets: Arc::new(config),
            burst,
            clock,
            refusals: Arc::default(),
        })
    }

    /// Requests refused so far.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.refusals.get()
    }

    /// Fills everybody's bucket up.
    pub fn refill(&self) {
        self.by.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets every client whose bucket is full. Without it the map would grow with each new client.
    pub fn sweep(&self) {
        self.buckets.limiter().retain_recent();
        self.buckets.limiter().shrink_to_fit();
    }
}

/// Sends what the global limit covers through the bucket, and the rest straight on.
impl Stage for LocalStage {
    async fn answer(&self, request: &mut Request, rest: impl Rest) -> Response {
        if !limits::covered_by_global(request) {
            return rest.answer(request).await;
        }
        let Ok(key) = self.by.extract(request) else {
            return ApiError::internal().into_response();
        };
        match self.buckets.limiter().check_key(&key) {
            Ok(()) => rest.answer(request).await,
            Err(until) => {
                self.refusals.increment();
                let wait = until.wait_time_from(DefaultClock::default().now());
                // Rounded up: a client that waits as told must not come too early.
                limits::refuse_burst(self.burst, wait.as_secs() + 1, self.clock.now())
            }
        }
    }
}
