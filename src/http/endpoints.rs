//! What answers at which path, and behind which rules of the limiter.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::routing::MethodRouter;

use super::Http;
use super::stages::{Around, Stage};
use crate::rate_limit::Rule;

/// Paths with their handlers and rules, written together so that none is forgotten.
#[derive(Default)]
pub struct Endpoints(Vec<Endpoint>);

struct Endpoint {
    path: String,
    handlers: MethodRouter<Arc<Http>>,
    rules: Vec<(Method, Rule)>,
}

impl Endpoints {
    /// `handlers` at `path`; of their methods these are behind a rule of their own.
    pub fn add(&mut self, path: &str, handlers: MethodRouter<Arc<Http>>, rules: Vec<(Method, Rule)>) {
        let path = path.to_owned();
        self.0.push(Endpoint {
            path,
            handlers,
            rules,
        });
    }

    /// Takes over all of `other`.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// All of them behind a stage.
    #[must_use]
    pub fn behind(self, stage: impl Stage) -> Self {
        let stage = Around::new(stage);
        let around = |endpoint: Endpoint| Endpoint {
            handlers: endpoint.handlers.layer(stage.clone()),
            ..endpoint
        };
        Self(self.0.into_iter().map(around).collect())
    }

    /// What axum serves, and what is known of each path before axum is asked.
    pub fn into_router(self) -> (Router<Arc<Http>>, Vec<Route>) {
        let mut router = Router::new();
        let mut rules: BTreeMap<String, Vec<(Method, Rule)>> = BTreeMap::new();
        for endpoint in self.0 {
            router = router.route(&endpoint.path, endpoint.handlers);
            rules.entry(endpoint.path).or_default().extend(endpoint.rules);
        }
        let route = |(template, rules)| Route { template, rules };
        (router, rules.into_iter().map(route).collect())
    }
}

/// What is known of a request by its path.
#[derive(Debug)]
pub struct Route {
    template: String,
    rules: Vec<(Method, Rule)>,
}

impl Route {
    /// The path with names where it varies: `/api/v1/auth/sessions/{id}`. The path itself may carry what its sender should
    /// not have put there.
    #[must_use]
    pub fn template(&self) -> &str {
        &self.template
    }

    /// The rule that a method is behind, besides the global one.
    #[must_use]
    pub fn rule(&self, method: &Method) -> Option<Rule> {
        // HEAD is GET without the body, so it counts as GET.
        let method = if method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        let of_method = self.rules.iter().find(|(answered, _)| answered == method);
        of_method.map(|(_, rule)| *rule)
    }
}
