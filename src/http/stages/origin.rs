//! Where cookies are on: an unsafe request that carries one of ours comes from an origin we know, or is
//! refused before anything of it is read (contract, section 3.7). It stands in front of all routes, so that
//! no endpoint can forget it.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};

use super::{Rest, Stage};
use crate::http::{Http, cookies};

/// The stage.
pub struct Origin(pub Arc<Http>);

impl Stage for Origin {
    async fn answer(&self, request: &mut Request, rest: impl Rest) -> Response {
        match cookies::check_origin(&self.0, request.method(), request.headers()) {
            Ok(()) => rest.answer(request).await,
            Err(refused) => refused.into_response(),
        }
    }
}
