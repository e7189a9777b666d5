//! Endpoints, one file a noun: its routes, its request and answer types, its handlers.
//!
//! A new endpoint is a line in its noun's `routes()`; the rule that limits it stands on that line.

pub mod admin_users;
pub mod api_gateway;
pub mod api_tokens;
pub mod auth;
pub mod email_verification;
pub mod health;
pub mod jwks;
pub mod me;
pub mod password_reset;
pub mod rate_limits;
pub mod sessions;

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::{Method, StatusCode};
use axum::routing::{MethodFilter, on};
use serde::Serialize;

use crate::http::Http;
use crate::http::extract::Answer;
use crate::http::stages::limits::EndpointRules;
use crate::rate_limit::Rule;

/// Routes and the rule that each is behind, written together so that neither is forgotten.
#[derive(Default)]
pub struct Routes {
    /// What axum serves.
    pub router: Router<Arc<Http>>,
    /// What the limits stage looks up.
    pub rules: EndpointRules,
}

/// The methods that endpoints answer. axum adds HEAD to GET.
#[derive(Clone, Copy, Debug)]
pub enum Verb {
    /// GET and HEAD.
    Get,
    /// POST.
    Post,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

impl Verb {
    fn filter_and_method(self) -> (MethodFilter, Method) {
        match self {
            Self::Get => (MethodFilter::GET, Method::GET),
            Self::Post => (MethodFilter::POST, Method::POST),
            Self::Patch => (MethodFilter::PATCH, Method::PATCH),
            Self::Delete => (MethodFilter::DELETE, Method::DELETE),
        }
    }
}

impl Routes {
    /// An endpoint that only the global limit covers.
    #[must_use]
    pub fn open<H, T>(self, verb: Verb, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Http>>,
        T: 'static,
    {
        let (filter, _) = verb.filter_and_method();
        Self {
            router: self.router.route(path, on(filter, handler)),
            rules: self.rules,
        }
    }

    /// An endpoint behind a rule of its own.
    #[must_use]
    pub fn limited<H, T>(mut self, rule: Rule, verb: Verb, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Http>>,
        T: 'static,
    {
        let (_, method) = verb.filter_and_method();
        self.rules.insert(method, path, rule);
        self.open(verb, path, handler)
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.rules.extend(other.rules);
        Self {
            router: self.router.merge(other.router),
            rules: self.rules,
        }
    }
}

/// All endpoints.
#[must_use]
pub fn all() -> Routes {
    auth::routes()
        .and(me::routes())
        .and(email_verification::routes())
        .and(password_reset::routes())
        .and(sessions::routes())
        .and(api_tokens::routes())
        .and(admin_users::routes())
        .and(rate_limits::routes())
        .and(health::routes())
        .and(jwks::routes())
}

/// The contract's Message: two human sentences.
#[derive(Serialize)]
pub struct Message {
    message: &'static str,
    detail: &'static str,
}

/// 200 with a Message.
#[must_use]
pub fn message(message: &'static str, detail: &'static str) -> Answer<Message> {
    Answer(StatusCode::OK, Message { message, detail })
}
