//! Pages and the rules that their forms are behind, written together so that neither is forgotten.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{get, post};

use crate::http::Http;
use crate::http::stages::limits::EndpointRules;
use crate::rate_limit::Rule;

/// Some pages.
#[derive(Default)]
pub struct Routes {
    /// What axum serves.
    pub router: Router<Arc<Http>>,
    /// What the limits stage looks up.
    pub rules: EndpointRules,
}

impl Routes {
    /// A page that is looked at.
    pub fn page<H, T>(mut self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Http>>,
        T: 'static,
    {
        self.router = self.router.route(path, get(handler));
        self
    }

    /// A form that only the global limit covers.
    pub fn form<H, T>(mut self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Http>>,
        T: 'static,
    {
        self.router = self.router.route(path, post(handler));
        self
    }

    /// A form behind the rule of the endpoint that does the same.
    pub fn limited<H, T>(mut self, rule: Rule, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Http>>,
        T: 'static,
    {
        self.rules.insert(Method::POST, path.to_owned(), rule);
        self.form(path, handler)
    }

    /// Both together.
    pub fn and(mut self, other: Self) -> Self {
        self.rules.extend(other.rules);
        self.router = self.router.merge(other.router);
        self
    }
}
