//! A request that may change something is carried out whole, also where its client hangs up in the middle: hyper drops
//! what answers a client that has left, and a change would stand without its audit row, a revoked token without its mark.

use std::panic::resume_unwind;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use tracing::Instrument as _;

use super::{Rest, Stage, run};
use crate::http::Http;
use crate::http::error::ApiError;
use crate::rate_limit::Rule;

/// The stage.
#[derive(Clone)]
pub struct Whole(pub Arc<Http>);

impl Stage for Whole {
    async fn answer(&self, request: Request, rest: impl Rest) -> Response {
        if request.method().is_safe() || self.is_not_worth_it(&request) {
            return run(rest, request).await;
        }
        // A task of its own ends by itself.
        let work = tokio::spawn(run(rest, request).in_current_span());
        match work.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(response) => response,
            // The envelope answers a panic.
            Err(Ok(panic)) => resume_unwind(panic),
            Err(Err(_)) => ApiError::internal().into_response(),
        }
    }
}

impl Whole {
    /// Nearly all the work of a login or a registration is a hash, and nothing that was there ends by it: who has left
    /// gives his place in the queue to those who wait.
    fn is_not_worth_it(&self, request: &Request) -> bool {
        let path = request.extensions().get::<MatchedPath>();
        let rule = path.and_then(|path| self.0.endpoint_rules.find(request.method(), path.as_str()));
        matches!(rule, Some(Rule::Login | Rule::Registration))
    }
}
