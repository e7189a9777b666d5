//! What every request passes, from the outside in. `http::front` stacks them on one screen.
//!
//! A stage is a value with one method. axum's `from_fn` or a tower service would do the same, but clone and box all
//! that is behind them for each request. Here a row of stages is one value, shared by all requests, and one box holds the
//! work of all of them, and the request, which they lend each other: what is moved into the work of a stage is moved again
//! with it. So also what a stage seldom does and is large (a page, a call to Redis) goes into a box of its own.

pub mod envelope;
pub mod limits;
pub mod local;
pub mod origin;
mod spans;
pub mod suite;
pub mod whole;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use futures_util::FutureExt as _;
use futures_util::future::Either;
use tower::{Layer, Service, ServiceExt};

/// Something that is done with every request, around the rest.
pub trait Stage: Send + Sync + 'static {
    /// Answers the request, by the rest or by itself.
    fn answer(&self, request: &mut Request, rest: impl Rest) -> impl Future<Output = Response> + Send;
}

/// What is behind a stage: the next one, or the route.
pub trait Rest: Send {
    /// Answers the request. The route takes it: what a stage still wants to know of it afterwards, it notes before.
    fn answer(self, request: &mut Request) -> impl Future<Output = Response> + Send;
}

/// Two stages in a row; the first meets a request first.
impl<A: Stage, B: Stage> Stage for (A, B) {
    async fn answer(&self, request: &mut Request, rest: impl Rest) -> Response {
        let (first, second) = self;
        let behind = Behind { stage: second, rest };
        first.answer(request, behind).await
    }
}

/// A stage that is not always there.
impl<T: Stage> Stage for Option<T> {
    fn answer(&self, request: &mut Request, rest: impl Rest) -> impl Future<Output = Response> + Send {
        match self {
            Some(stage) => Either::Left(stage.answer(request, rest)),
            None => Either::Right(rest.answer(request)),
        }
    }
}

/// A stage, and what is behind it.
pub struct Behind<'a, T, R> {
    /// The stage.
    pub stage: &'a T,
    /// What is behind it.
    pub rest: R,
}

impl<T: Stage, R: Rest> Rest for Behind<'_, T, R> {
    fn answer(self, request: &mut Request) -> impl Future<Output = Response> + Send {
        self.stage.answer(request, self.rest)
    }
}

/// Routes behind all stages.
impl Rest for &Router {
    fn answer(self, request: &mut Request) -> impl Future<Output = Response> + Send {
        let routed = self.clone().call(std::mem::take(request));
        routed.map(|Ok(response)| response)
    }
}

/// A service behind a stage.
struct Last<S>(S);

impl<S> Rest for Last<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Send,
{
    fn answer(self, request: &mut Request) -> impl Future<Output = Response> + Send {
        let answered = self.0.oneshot(std::mem::take(request));
        answered.map(|Ok(response)| response)
    }
}

/// Puts a stage around a service.
#[derive(Debug)]
pub struct Around<T>(Arc<T>);

impl<T> Around<T> {
    /// This one.
    pub fn new(stage: T) -> Self {
        Self(Arc::new(stage))
    }
}

impl<T> Clone for Around<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T, S> Layer<S> for Around<T> {
    type Service = Staged<T, S>;

    fn layer(&self, rest: S) -> Staged<T, S> {
        Staged(Arc::new(Shared {
            stage: Arc::clone(&self.0),
            rest,
        }))
    }
}

/// A service with a stage around it. axum clones it for each request, so a clone is one count more.
#[derive(Debug)]
pub struct Staged<T, S>(Arc<Shared<T, S>>);

#[derive(Debug)]
struct Shared<T, S> {
    stage: Arc<T>,
    rest: S,
}

impl<T, S> Clone for Staged<T, S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// A request being answered.
pub type Answering = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl<T, S> Service<Request> for Staged<T, S>
where
    T: Stage,
    S: Service<Request, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The rest is asked when it is called.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let shared = Arc::clone(&self.0);
        let rest = Last(shared.rest.clone());
        Box::pin(async move { Ok(shared.stage.answer(&mut request, rest).await) })
    }
}
