//! Is the service well, alive, ready?

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::http::Http;
use crate::http::extract::Answer;
use crate::http::routes::{Routes, Verb};
use crate::rate_limit::StoreState;

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    Routes::default()
        .open(Verb::Get, "/health", health)
        .open(Verb::Get, "/api/v1/health", health)
        .open(Verb::Get, "/livez", live)
        .open(Verb::Get, "/readyz", ready)
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    service: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    database: &'static str,
    rate_limiter: &'static str,
    timestamp: Timestamp,
}

/// Losing Redis is no illness: limits go on in memory, and `rate_limiter` says so.
async fn health(State(http): State<Arc<Http>>) -> Answer<Health> {
    let connected = http.database_health.is_connected(&http.clock).await;
    let (code, status, database) = if connected {
        (StatusCode::OK, "healthy", "connected")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unhealthy", "disconnected")
    };
    let rate_limiter = match http.limiter.state() {
        StoreState::Redis => "redis",
        StoreState::Memory => "memory",
        StoreState::Degraded => "degraded",
        StoreState::Off => "off",
    };
    let version = (!http.settings.production).then_some(env!("CARGO_PKG_VERSION"));
    let timestamp = http.clock.now();
    Answer(
        code,
        Health {
            status,
            service: "stile",
            version,
            database,
            rate_limiter,
            timestamp,
        },
    )
}

#[derive(Serialize)]
struct Probe {
    status: &'static str,
}

/// The process answers; nothing more is asked.
async fn live() -> Answer<Probe> {
    Answer(StatusCode::OK, Probe { status: "alive" })
}

/// New requests are welcome: the database answers and no shutdown has begun.
async fn ready(State(http): State<Arc<Http>>) -> Answer<Probe> {
    if http.drain.has_begun() {
        return Answer(
            StatusCode::SERVICE_UNAVAILABLE,
            Probe {
                status: "shutting_down",
            },
        );
    }
    if http.database_health.is_connected(&http.clock).await {
        Answer(StatusCode::OK, Probe { status: "ready" })
    } else {
        Answer(
            StatusCode::SERVICE_UNAVAILABLE,
            Probe {
                status: "database_unavailable",
            },
        )
    }
}
