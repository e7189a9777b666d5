//! A request that may change something is carried out whole, also where its client hangs up in the middle: hyper drops
//! what answers a client that has left, and a change would stand without its audit row, a revoked token without its mark.

use std::convert::Infallible;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use tower::{Layer, Service};

use super::Answering;
use crate::http::Http;
use crate::http::error::ApiError;
use crate::rate_limit::Rule;

/// Puts it around the stages. It is none of them: what is behind it becomes a task of its own, so it must own it.
#[derive(Clone)]
pub struct Whole(pub Arc<Http>);

impl<S> Layer<S> for Whole {
    type Service = WholeService<S>;

    fn layer(&self, rest: S) -> WholeService<S> {
        WholeService {
            http: Arc::clone(&self.0),
            rest,
        }
    }
}

/// The service.
#[derive(Clone)]
pub struct WholeService<S> {
    http: Arc<Http>,
    rest: S,
}

impl<S> Service<Request> for WholeService<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future = Answering>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.rest.poll_ready(task)
    }

    fn call(&mut self, request: Request) -> Answering {
        let may_be_dropped = request.method().is_safe() || self.is_not_worth_it(&request);
        let answering = self.rest.call(request);
        if may_be_dropped {
            return answering;
        }
        // A task ends by itself.
        let work = tokio::spawn(answering);
        Box::pin(async move {
            match work.await.map_err(tokio::task::JoinError::try_into_panic) {
                Ok(answered) => answered,
                // The envelope has answered those of all that is behind it.
                Err(Ok(panic)) => resume_unwind(panic),
                Err(Err(_)) => Ok(ApiError::internal().into_response()),
            }
        })
    }
}

impl<S> WholeService<S> {
    /// Nearly all the work of a login or a registration is a hash, and nothing that was there ends by it: who has left
    /// gives his place in the queue to those who wait.
    fn is_not_worth_it(&self, request: &Request) -> bool {
        let path = request.extensions().get::<MatchedPath>();
        let rule = path.and_then(|path| self.http.endpoint_rules.find(request.method(), path.as_str()));
        matches!(rule, Some(Rule::Login | Rule::Registration))
    }
}
