//! `GET /metrics` on a listener of its own (`METRICS_ADDR`): every room's numbers as Prometheus reads them.
//!
//! The rooms count (`telemetry::metrics`); this file knows what to ask them and what each number is called. Names follow
//! <https://prometheus.io/docs/practices/naming/>; `docs/METRICS.md` lists them. A new number: the room counts it, a
//! line here, its line there.

mod requests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;
use tower::Service as _;

use crate::accounts::Accounts;
use crate::clock::Clock;
use crate::http::LocalStage;
use crate::http::connection::Answers;
use crate::http::stages::Answering;
use crate::rate_limit::{Limiter, StoreState};
use crate::storage::Database;
use crate::telemetry::metrics::{Exposition, Kind};

pub use requests::{Requests, UNMATCHED, method};

/// The longest that a scrape waits for the database. What it does not tell by then is missing from the answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whose numbers are shown.
pub struct Sources {
    /// What the surface has answered.
    pub requests: Arc<Requests>,
    /// The hash pool and the mail queue.
    pub accounts: Accounts,
    /// Its connections.
    pub database: Database,
    /// Decisions, and where they are made.
    pub limiter: Limiter,
    /// Floods; `None` while limiting is off.
    pub local_stage: Option<LocalStage>,
    /// The present moment.
    pub clock: Clock,
}

/// The listener's only route.
pub fn router(sources: Sources) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(Arc::new(sources))
}

impl Answers for Router {
    fn answer(&self, request: Request, _: SocketAddr) -> Answering {
        Box::pin(self.clone().call(request))
    }
}

async fn metrics(State(sources): State<Arc<Sources>>) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, sources.text().await)
}

impl Sources {
    async fn text(&self) -> String {
        let mut text = Exposition::default();
        build(&mut text);
        self.requests.write(&mut text);
        self.limiter(&mut text);
        self.hash_pool(&mut text);
        self.connections(&mut text);
        self.mail(&mut text).await;
        text.finish()
    }

    fn limiter(&self, text: &mut Exposition) {
        let (limiter, totals, checks) = (&self.limiter, self.limiter.totals(), self.limiter.checks());
        text.family(
            "stile_rate_limit_decisions_total",
            Kind::Counter,
            "Decisions of each rule: allowed (and charged), refused, or shadow (would have been refused). The rule burst is the local stage.",
        );
        for (rule, verdict, count) in &totals.decisions {
            text.sample(&[("rule", rule.name()), ("result", verdict.name())], count);
        }
        if let Some(stage) = &self.local_stage {
            text.sample(&[("rule", "burst"), ("result", "refused")], stage.refusals());
        }
        text.family(
            "stile_rate_limit_check_duration_seconds",
            Kind::Histogram,
            "Time of one decision over all rules known at a point, by the store that was asked.",
        );
        text.histogram(&[("store", "memory")], &checks.in_memory);
        text.histogram(&[("store", "redis")], &checks.through_redis);
        text.family(
            "stile_rate_limit_store_state",
            Kind::Gauge,
            "Where limits are counted: 1 for the present state, 0 for the others.",
        );
        for state in StoreState::ALL {
            text.sample(&[("state", state.name())], u8::from(state == limiter.state()));
        }
        if let Some(fleet) = limiter.fleet_size() {
            text.single(
                "stile_rate_limit_redis_failures_total",
                Kind::Counter,
                "Calls that Redis failed or did not answer in time; memory decided instead.",
                totals.failed_calls,
            );
            text.single(
                "stile_rate_limit_redis_outages_total",
                Kind::Counter,
                "How often Redis was lost.",
                totals.outages,
            );
            text.single(
                "stile_rate_limit_redis_outage_seconds_total",
                Kind::Counter,
                "How long Redis was lost, all outages that have ended together.",
                totals.lost_for.as_secs_f64(),
            );
            text.single(
                "stile_rate_limit_merged_total",
                Kind::Counter,
                "Requests admitted during outages and added to the counts of Redis afterwards.",
                totals.merged,
            );
            text.single(
                "stile_rate_limit_fleet_processes",
                Kind::Gauge,
                "Processes last known to share the limits, this one included.",
                fleet,
            );
        }
        text.single(
            "stile_rate_limit_memory_keys",
            Kind::Gauge,
            "Counters held in memory.",
            limiter.counters_in_memory(),
        );
        text.single(
            "stile_rate_limit_memory_keys_max",
            Kind::Gauge,
            "Most counters held in memory (RATE_LIMIT_MEMORY_KEYS).",
            limiter.settings().memory_keys,
        );
    }

    fn hash_pool(&self, text: &mut Exposition) {
        let pool = self.accounts.hash_pool();
        for (name, help, value) in [
            (
                "stile_hash_pool_workers",
                "Threads that hash passwords.",
                pool.workers,
            ),
            ("stile_hash_pool_busy", "Of them, at work.", pool.busy),
            (
                "stile_hash_pool_waiting",
                "Passwords that wait for a thread.",
                pool.waiting,
            ),
            (
                "stile_hash_pool_waiting_max",
                "Most passwords that may wait.",
                pool.room,
            ),
        ] {
            text.single(name, Kind::Gauge, help, value);
        }
        text.single(
            "stile_hash_pool_refused_total",
            Kind::Counter,
            "Passwords refused because too many waited, or waited too long (503 overloaded).",
            pool.refused,
        );
    }

    fn connections(&self, text: &mut Exposition) {
        let pool = self.database.pool_state();
        text.family(
            "stile_database_connections",
            Kind::Gauge,
            "Open connections to the database.",
        );
        text.sample(&[("state", "idle")], pool.idle);
        text.sample(&[("state", "in_use")], pool.open.saturating_sub(pool.idle));
        text.single(
            "stile_database_connections_max",
            Kind::Gauge,
            "Most connections to the database (DATABASE_MAX_CONNECTIONS).",
            pool.most,
        );
    }

    async fn mail(&self, text: &mut Exposition) {
        let tally = self.accounts.mail_tally();
        text.family(
            "stile_mails_total",
            Kind::Counter,
            "Mails of this process: sent, failed (and tried again), given_up, or held_back by their recipient's limit.",
        );
        for (result, counter) in [
            ("sent", &tally.sent),
            ("failed", &tally.failed),
            ("given_up", &tally.given_up),
            ("held_back", &tally.held_back),
        ] {
            text.sample(&[("result", result)], counter.get());
        }
        let queue = tokio::time::timeout(PATIENCE, self.accounts.mail_queue()).await;
        let queue = queue.ok().and_then(Result::ok);
        text.single(
            "stile_database_up",
            Kind::Gauge,
            "Whether the database answered this scrape within a second; the mail queue is read from it.",
            u8::from(queue.is_some()),
        );
        let Some(queue) = queue else { return };
        text.family(
            "stile_mail_queue_mails",
            Kind::Gauge,
            "Mails in the queue of all processes: waiting, being sent, or failed and to be tried again.",
        );
        for (state, count) in [
            ("waiting", queue.waiting),
            ("sending", queue.in_hand),
            ("failed", queue.retrying),
        ] {
            text.sample(&[("state", state)], count);
        }
        let age = queue.oldest.map(|oldest| self.clock.now().since(oldest));
        text.single(
            "stile_mail_queue_oldest_age_seconds",
            Kind::Gauge,
            "Age of the oldest mail in the queue; 0 where it is empty.",
            age.unwrap_or_default().as_secs_f64(),
        );
    }
}

fn build(text: &mut Exposition) {
    text.family(
        "stile_build_info",
        Kind::Gauge,
        "The version that runs. Always 1.",
    );
    text.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
}
