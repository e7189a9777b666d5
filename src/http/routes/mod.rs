//! Endpoints, one file a noun: its routes, its request and answer types, its handlers.
//!
//! A new endpoint is a line in its noun's `routes()`, the rule that limits it stands on that line, and a
//! `#[utoipa::path]` at its handler, which names method and path and says all that it answers.

pub mod admin_users;
pub mod api_gateway;
pub mod api_tokens;
pub mod auth;
pub mod docs;
pub mod email_verification;
pub mod health;
pub mod jwks;
pub mod me;
pub mod password_reset;
pub mod problems;
pub mod rate_limits;
pub mod sessions;
pub mod test;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::routing::MethodRouter;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::UtoipaMethodRouter;

use crate::http::Http;
use crate::http::endpoints::Endpoints;
use crate::http::extract::Answer;
use crate::http::openapi::{Counted, Operations, operations};
use crate::rate_limit::Rule;

/// Routes, the rule that each is behind and what the OpenAPI document says of it, written together so that none of
/// the three is forgotten.
#[derive(Default)]
pub struct Routes {
    /// What is served, and the rules of it.
    pub endpoints: Endpoints,
    /// What is documented.
    pub operations: Operations,
}

/// `routes!(handler)`: the handler with the path, method and document of its `#[utoipa::path]`.
pub type Endpoint = UtoipaMethodRouter<Arc<Http>>;

impl Routes {
    /// An endpoint that only the global limit covers.
    #[must_use]
    pub fn open(self, endpoint: Endpoint) -> Self {
        self.add(endpoint, Counted::PerClient)
    }

    /// An endpoint behind a rule of its own.
    #[must_use]
    pub fn limited(self, rule: Rule, endpoint: Endpoint) -> Self {
        self.add(endpoint, Counted::By(rule))
    }

    fn add(mut self, (schemas, paths, handlers): Endpoint, counted: Counted) -> Self {
        for (path, item) in &paths.paths {
            let rules = match counted {
                Counted::By(rule) => operations(&mut item.clone())
                    .map(|(method, _)| (method, rule))
                    .collect(),
                _ => Vec::new(),
            };
            self.endpoints.add(path, handlers.clone(), rules);
        }
        self.operations.add(paths, schemas, counted);
        self
    }

    /// What is no part of the API and stands in no document: pages and their files.
    #[must_use]
    pub fn undocumented(mut self, path: &str, handlers: MethodRouter<Arc<Http>>) -> Self {
        debug_assert!(!path.starts_with("/api/"), "{path}: the API is documented");
        self.endpoints.add(path, handlers, Vec::new());
        self
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.endpoints.extend(other.endpoints);
        self.operations.extend(other.operations);
        self
    }
}

/// All endpoints but the gateway's and those of E2E suites, which `http::front` puts beside them.
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
        .and(problems::routes())
}

/// Two human sentences.
#[derive(Serialize, ToSchema)]
pub struct Message {
    /// What happened.
    #[schema(example = "Please check your mailbox.")]
    message: &'static str,
    /// What it means.
    #[schema(example = "If this address has an account, a link to reset its password is on its way.")]
    detail: &'static str,
}

/// 200 with a Message.
#[must_use]
pub fn message(message: &'static str, detail: &'static str) -> Answer<Message> {
    Answer(StatusCode::OK, Message { message, detail })
}
