//! Pages and the rules that their forms are behind, written together so that neither is forgotten.

use std::sync::Arc;

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{get, post};

use crate::http::Http;
use crate::http::endpoints::Endpoints;
use crate::rate_limit::Rule;

/// Some pages.
#[derive(Default)]
pub struct Routes(pub Endpoints);

impl Routes {
    /// A page that is looked at.
    pub fn page<H, T>(mut self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Http>>,
        T: 'static,
    {
        self.0.add(path, get(handler), Vec::new());
        self
    }

    /// A form that only the global limit covers.
    pub fn form<H, T>(mut self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Http>>,
        T: 'static,
    {
        self.0.add(path, post(handler), Vec::new());
        self
    }

    /// A form behind the rule of the endpoint that does the same.
    pub fn limited<H, T>(mut self, rule: Rule, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Http>>,
        T: 'static,
    {
        self.0.add(path, post(handler), vec![(Method::POST, rule)]);
        self
    }

    /// Both together.
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}
