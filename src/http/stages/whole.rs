//! A request that may change something is carried out whole, also where its client hangs up in the middle: hyper drops
//! what answers a client that has left, and a change would stand without its audit row, a revoked token without its mark.

use std::panic::resume_unwind;

use axum::response::IntoResponse;
use tokio::task::JoinError;

use super::Answering;
use crate::http::error::ApiError;

/// Makes a task of it: tasks end by themselves.
#[must_use]
pub fn to_its_end(answering: Answering) -> Answering {
    let work = tokio::spawn(answering);
    Box::pin(async move {
        match work.await.map_err(JoinError::try_into_panic) {
            Ok(answered) => answered,
            // The envelope has answered those of all that is behind it.
            Err(Ok(panic)) => resume_unwind(panic),
            Err(Err(_)) => Ok(ApiError::internal().into_response()),
        }
    })
}
