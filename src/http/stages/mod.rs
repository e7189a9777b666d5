//! What every request passes, from the outside in. `http::router` stacks them on one screen.
//!
//! A stage is a value with one method. axum's `from_fn` would do the same, but clones and boxes all that is
//! behind it for each request; with four stages that was a third of the time of a cheap answer.

pub mod envelope;
pub mod limits;
pub mod local;
pub mod origin;
mod spans;
pub mod suite;
pub mod whole;

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::Response;
use tower::{Layer, Service, ServiceExt};

/// What is behind a stage: the next one, or the route.
pub trait Rest:
    Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S> Rest for S where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

/// Something that is done with every request, around the rest.
pub trait Stage: Clone + Send + Sync + 'static {
    /// Answers the request, by the rest or by itself.
    fn answer(&self, request: Request, rest: impl Rest) -> impl Future<Output = Response> + Send;
}

/// Hands a request on.
pub async fn run(rest: impl Rest, request: Request) -> Response {
    let Ok(response) = rest.oneshot(request).await;
    response
}

/// Puts a stage around a service.
#[derive(Clone, Debug)]
pub struct Around<T>(pub T);

impl<T: Stage, S> Layer<S> for Around<T> {
    type Service = Staged<T, S>;

    fn layer(&self, rest: S) -> Staged<T, S> {
        Staged {
            stage: self.0.clone(),
            rest,
        }
    }
}

/// A service with a stage around it.
#[derive(Clone, Debug)]
pub struct Staged<T, S> {
    stage: T,
    rest: S,
}

impl<T: Stage, S: Rest> Service<Request> for Staged<T, S> {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The rest is asked when it is called.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Self { stage, rest } = self.clone();
        Box::pin(async move { Ok(stage.answer(request, rest).await) })
    }
}
