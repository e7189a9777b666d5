//! Where cookies are on: an unsafe request that carries one of ours comes from an origin we know, or is
//! refused before anything of it is read (contract, section 3.7). It stands in front of all routes, so that
//! no endpoint can forget it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::http::{Http, cookies};

/// The stage.
pub async fn origin(State(http): State<Arc<Http>>, request: Request, next: Next) -> Response {
    match cookies::check_origin(&http, request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}
