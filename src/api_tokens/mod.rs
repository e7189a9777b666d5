//! API tokens: issuing them to signed-in users, proving them at the gateway, spending their quotas.
//!
//! Composes [`crate::storage`], [`crate::credentials`], [`crate::rate_limit`] and [`crate::audit`]; knows neither HTTP
//! nor SQL nor sessions. What a token may do is in `terms.rs` and `scope.rs`, how it is shown in `token.rs`, use cases of
//! its owner are in `issue.rs`, an operator's in `operator.rs`, what a proxy asks is in `verify.rs`.

mod issue;
mod operator;
mod proofs;
mod scope;
mod terms;
mod token;
mod uses;
mod verify;

use std::net::IpAddr;
use std::sync::Arc;

use uuid::Uuid;

use crate::audit::{Audit, Event, EventKind, Outcome};
use crate::clock::Clock;
use crate::rate_limit::{Client, Limiter};
use crate::storage::Database;

pub use issue::IssueError;
pub use operator::{Revoked, SomebodysToken};
pub use scope::{AllowedScopes, Scope};
pub use terms::{Edit, TermsChange};
pub use token::{ApiToken, Status, Usage, UsageWindow};
pub use verify::{Pass, Presented, Refusal};

use proofs::Proofs;
use uses::Uses;

/// What `config` hands this room.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `API_TOKEN_RATE_LIMIT`: requests in a minute, an hour and a day, each at least the one before. The quota of a
    /// new token, and the most that may be asked for.
    pub quota: [u32; 3],
    /// `API_TOKENS_PER_USER`.
    pub per_user: u32,
    /// `API_TOKEN_SCOPES`.
    pub scopes: AllowedScopes,
}

/// All use cases of API tokens. Cheap to clone; clones are one.
#[derive(Clone)]
pub struct ApiTokens(Arc<Inner>);

struct Inner {
    database: Database,
    limiter: Limiter,
    audit: Audit,
    clock: Clock,
    settings: Settings,
    proofs: Proofs,
    uses: Uses,
}

/// A signed-in user who manages his tokens.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// The user.
    pub user_id: Uuid,
    /// May put `admin` scopes on a token.
    pub is_admin: bool,
    /// Where the request came from.
    pub ip: IpAddr,
    /// `X-Request-Id` of the answer.
    pub request_id: &'a str,
}

/// Who is at the gateway, not proven by anything.
#[derive(Clone, Copy, Debug)]
pub struct Visitor {
    /// The client as limits count it.
    pub client: Client,
    /// The client's own address.
    pub ip: IpAddr,
    /// On `RATE_LIMIT_ALLOWLIST`: its refused credentials are not counted. A token's quota is the token's and holds.
    pub exempt: bool,
}

impl ApiTokens {
    /// Puts the use cases together. Starts nothing; [`ApiTokens::run_uses`] is the background task to spawn.
    #[must_use]
    pub fn new(database: Database, limiter: Limiter, audit: Audit, clock: Clock, settings: Settings) -> Self {
        Self(Arc::new(Inner {
            database,
            limiter,
            audit,
            clock,
            settings,
            proofs: Proofs::default(),
            uses: Uses::default(),
        }))
    }

    /// `API_TOKEN_RATE_LIMIT`: requests in a minute, an hour and a day.
    #[must_use]
    pub fn default_quota(&self) -> [u32; 3] {
        self.0.settings.quota
    }

    /// Forgets what this process remembers of tokens, which are all deleted (`POST /api/v1/test/reset`).
    pub fn forget_everything(&self) {
        self.0.proofs.empty();
        self.0.uses.take();
    }

    fn record(&self, kind: EventKind, owner: &Owner<'_>) {
        let event = Event::new(kind, Outcome::Success).in_request(owner.ip, owner.request_id);
        self.0.audit.record(&event.of_user(owner.user_id));
    }
}
