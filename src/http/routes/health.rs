//! Is the service well, alive, ready?

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::clock::Timestamp;
use crate::http::Http;
use crate::http::extract::Answer;
use crate::http::routes::Routes;

/// The routes of this file.
#[must_use]
pub fn routes() -> Routes {
    Routes::default()
        .open(routes!(health))
        .open(routes!(health_at_root))
        .open(routes!(live))
        .open(routes!(ready))
}

#[derive(Serialize, ToSchema)]
struct Health {
    /// `healthy` or `unhealthy`.
    #[schema(pattern = "^(healthy|unhealthy)$", example = "healthy")]
    status: &'static str,
    /// `stile`.
    #[schema(example = "stile")]
    service: &'static str,
    /// Not told in production.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "0.1.0")]
    version: Option<&'static str>,
    /// `connected` or `disconnected`.
    #[schema(pattern = "^(connected|disconnected)$", example = "connected")]
    database: &'static str,
    /// Where limits are counted; `degraded`: in memory, because Redis is lost; `off`: nowhere.
    #[schema(pattern = "^(redis|memory|degraded|off)$", example = "redis")]
    rate_limiter: &'static str,
    timestamp: Timestamp,
}

/// How the service is.
///
/// The same as `/api/v1/health`, and never limited.
#[utoipa::path(
    get, path = "/health", operation_id = "get_health_at_root", tag = "Service",
    responses(
        (status = OK, description = "Well.", body = Health),
        (status = SERVICE_UNAVAILABLE, description = "Without its database.", body = Health),
    ),
)]
async fn health_at_root(state: State<Arc<Http>>) -> Answer<Health> {
    health(state).await
}

/// How the service is.
///
/// Losing Redis is no illness: limits go on in memory, and `rate_limiter` says so.
#[utoipa::path(
    get, path = "/api/v1/health", operation_id = "get_health", tag = "Service",
    responses(
        (status = OK, description = "Well.", body = Health),
        (status = SERVICE_UNAVAILABLE, description = "Without its database.", body = Health),
    ),
)]
async fn health(State(http): State<Arc<Http>>) -> Answer<Health> {
    let connected = http.database_health.is_connected(&http.clock).await;
    let (code, status, database) = if connected {
        (StatusCode::OK, "healthy", "connected")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unhealthy", "disconnected")
    };
    let version = (!http.settings.life.is_production()).then_some(env!("CARGO_PKG_VERSION"));
    let timestamp = http.clock.now();
    Answer(
        code,
        Health {
            status,
            service: "stile",
            version,
            database,
            rate_limiter: http.limiter.state().name(),
            timestamp,
        },
    )
}

#[derive(Serialize, ToSchema)]
struct Probe {
    /// `alive`, `ready`, `shutting_down` or `database_unavailable`.
    #[schema(
        pattern = "^(alive|ready|shutting_down|database_unavailable)$",
        example = "ready"
    )]
    status: &'static str,
}

/// Whether the process answers.
#[utoipa::path(
    get, path = "/livez", operation_id = "get_livez", tag = "Service",
    responses(
        (status = OK, description = "It does.", body = Probe),
    ),
)]
async fn live() -> Answer<Probe> {
    Answer(StatusCode::OK, Probe { status: "alive" })
}

/// Whether new requests are welcome.
///
/// The database answers and no shutdown has begun. Redis and the mail server may be away.
#[utoipa::path(
    get, path = "/readyz", operation_id = "get_readyz", tag = "Service",
    responses(
        (status = OK, description = "They are.", body = Probe),
        (status = SERVICE_UNAVAILABLE, description = "They are not.", body = Probe),
    ),
)]
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
