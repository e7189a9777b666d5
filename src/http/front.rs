//! The front door: finds the route of a request, and sends it through the stages that stand before its kind of route.
//!
//! axum could stand in front of the stages and tell them which route has matched. It would clone and box the whole row
//! once more for each request; the stages want two things of a route, its template and its rules, and a look at the path
//! tells them.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;

use super::Http;
use super::connection::Answers;
use super::endpoints::{Endpoints, Route};
use super::stages::envelope::{self, Arrived, Envelope};
use super::stages::{Answering, Behind, Stage, whole};
use crate::rate_limit::Rule;

/// Everything that is served on one listener. Cheap to clone.
#[derive(Clone)]
pub struct Front(Arc<Inner>);

struct Inner {
    places: matchit::Router<Place>,
    /// Where no route is.
    elsewhere: Arc<dyn AnyRow>,
}

struct Place {
    route: Arc<Route>,
    row: Arc<dyn AnyRow>,
}

/// A row of stages.
pub struct Row<T> {
    /// What stands around all.
    pub envelope: Envelope,
    /// What stands between it and the routes.
    pub stages: T,
    /// What a request begins here is ended also where its client hangs up.
    pub is_whole: bool,
}

/// A row with its routes.
struct Routed<T> {
    row: Row<T>,
    router: Router,
}

/// The same, whatever the stages are.
trait AnyRow: Send + Sync {
    fn answer(self: Arc<Self>, request: Request, arrived: Arrived) -> Answering;
}

impl<T: Stage> AnyRow for Routed<T> {
    fn answer(self: Arc<Self>, mut request: Request, arrived: Arrived) -> Answering {
        let may_be_dropped =
            !self.row.is_whole || request.method().is_safe() || is_not_worth_it(&request, &arrived);
        let answering = Box::pin(async move {
            let rest = Behind {
                stage: &self.row.stages,
                rest: &self.router,
            };
            Ok(self.row.envelope.answer(&mut request, arrived, rest).await)
        });
        if may_be_dropped {
            answering
        } else {
            whole::to_its_end(answering)
        }
    }
}

/// Nearly all the work of a login or a registration is a hash, and nothing that was there ends by it: who has left gives
/// his place in the queue to those who wait.
fn is_not_worth_it(request: &Request, arrived: &Arrived) -> bool {
    let route = arrived.route.as_ref();
    let rule = route.and_then(|route| route.rule(request.method()));
    matches!(rule, Some(Rule::Login | Rule::Registration))
}

impl<T: Stage> Row<T> {
    /// The row with what is behind it.
    pub fn before(self, endpoints: Endpoints, http: &Arc<Http>) -> Kind {
        let (router, known) = endpoints.into_router();
        let router = router.fallback(envelope::fallback).with_state(Arc::clone(http));
        let row = Arc::new(Routed { row: self, router });
        Kind { row, routes: known }
    }
}

/// The routes behind one row of stages.
pub struct Kind {
    row: Arc<dyn AnyRow>,
    routes: Vec<Route>,
}

impl Front {
    /// A front with these kinds of routes. The first also answers where nothing is.
    #[must_use]
    pub fn new(first: Kind, further: impl IntoIterator<Item = Kind>) -> Self {
        let elsewhere = Arc::clone(&first.row);
        let mut places = matchit::Router::new();
        for Kind { row, routes } in std::iter::once(first).chain(further) {
            for route in routes {
                let template = route.template().to_owned();
                let (route, row) = (Arc::new(route), Arc::clone(&row));
                let inserted = places.insert(template, Place { route, row });
                debug_assert!(inserted.is_ok(), "{inserted:?}");
            }
        }
        Self(Arc::new(Inner { places, elsewhere }))
    }
}

impl Answers for Front {
    fn answer(&self, request: Request, peer: SocketAddr) -> Answering {
        let inner = &*self.0;
        match inner.places.at(request.uri().path()) {
            Ok(place) => {
                let route = Some(Arc::clone(&place.value.route));
                Arc::clone(&place.value.row).answer(request, Arrived { peer, route })
            }
            Err(_) => Arc::clone(&inner.elsewhere).answer(request, Arrived { peer, route: None }),
        }
    }
}
