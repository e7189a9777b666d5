//! A token as its owner sees it, and what it may spend, out of the row that is stored.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::ApiTokens;
use super::scope::Scope;
use super::terms::Terms;
use crate::clock::Timestamp;
use crate::rate_limit::{Checkpoint, Quota, Version, WindowUse};
use crate::storage::ApiTokenRow;

/// How a token stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ApiTokenStatus)]
pub enum Status {
    /// It passes.
    Active,
    /// Its owner ended it.
    Revoked,
    /// Its time is over.
    Expired,
}

/// A token as its owner sees it (contract, section 3.5). Holds the secret only where it was just made.
#[derive(Serialize, ToSchema)]
pub struct ApiToken {
    /// A `UUIDv7`.
    pub id: Uuid,
    /// What its owner calls it.
    #[schema(example = "my script")]
    pub name: String,
    /// First characters of the secret.
    #[schema(example = "stile_4fQw")]
    pub prefix: String,
    /// What it may do.
    #[schema(example = json!(["read:things"]))]
    pub scopes: Vec<String>,
    /// How it stands.
    pub status: Status,
    /// When it stops by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The last pass at the gateway.
    pub last_used_at: Option<Timestamp>,
    /// Where that came from.
    #[schema(example = "203.0.113.7")]
    pub last_used_ip: Option<String>,
    /// Passes at the gateway.
    #[schema(minimum = 0, example = 1204)]
    pub request_count: i64,
    /// Most in a minute.
    #[schema(example = 60)]
    pub rate_limit_per_minute: u32,
    /// Most in an hour.
    #[schema(example = 1000)]
    pub rate_limit_per_hour: u32,
    /// Most in a day.
    #[schema(example = 10_000)]
    pub rate_limit_per_day: u32,
    /// What is used of that, where one token was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub usage: Option<Usage>,
    /// The secret, in the one answer that shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        nullable = false,
        example = "stile_4fQwZ0mJ8tKx2cVbN7yRpL3sHdG6aEuW1iOqT5kXjYzB0Ff3Qa"
    )]
    pub token: Option<String>,
}

/// How the windows of a token stand.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[expect(missing_docs, reason = "each is its window")]
pub struct Usage {
    pub minute: UsageWindow,
    pub hour: UsageWindow,
    pub day: UsageWindow,
}

/// How one window stands.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct UsageWindow {
    /// Most in it.
    pub limit: u32,
    /// Units used.
    pub used: u32,
    /// Its end; `None` where none is open: it opens at the next request.
    pub reset_at: Option<Timestamp>,
}

impl From<WindowUse> for UsageWindow {
    fn from(window: WindowUse) -> Self {
        Self {
            limit: window.limit,
            used: window.used,
            reset_at: window.resets_at,
        }
    }
}

impl ApiTokens {
    pub(super) fn quota_of(&self, row: &ApiTokenRow) -> Quota {
        let now = self.0.clock.now();
        let day = Checkpoint {
            used: u32::try_from(row.day_used).unwrap_or(u32::MAX),
            ends_at: row.day_ends_at,
        };
        Quota {
            token: row.id,
            version: Version(row.version),
            most: Terms::of(row).effective_quota(&self.0.settings),
            day: (day.used > 0 && day.ends_at > now).then_some(day),
        }
    }

    pub(super) fn view(&self, row: &ApiTokenRow) -> ApiToken {
        let terms = Terms::of(row);
        let [per_minute, per_hour, per_day] = terms.effective_quota(&self.0.settings);
        let status = if row.revoked_at.is_some() {
            Status::Revoked
        } else if row.expires_at.is_some_and(|at| at <= self.0.clock.now()) {
            Status::Expired
        } else {
            Status::Active
        };
        // What this process has not written down yet is shown all the same.
        let unwritten = self.0.uses.of(row.id);
        let newer = unwritten.filter(|used| row.last_used_at.is_none_or(|at| used.last_at >= at));
        ApiToken {
            id: row.id,
            name: terms.name,
            prefix: row.prefix.clone(),
            scopes: terms.scopes.iter().map(Scope::to_string).collect(),
            status,
            expires_at: row.expires_at,
            created_at: row.created_at,
            last_used_at: newer.map(|used| used.last_at).or(row.last_used_at),
            last_used_ip: newer
                .map(|used| used.last_ip.to_string())
                .or_else(|| row.last_used_ip.clone()),
            request_count: row.request_count + unwritten.map_or(0, |used| used.count),
            rate_limit_per_minute: per_minute,
            rate_limit_per_hour: per_hour,
            rate_limit_per_day: per_day,
            usage: None,
            token: None,
        }
    }
}
