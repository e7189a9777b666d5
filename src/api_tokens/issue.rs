//! What a signed-in user does with his tokens: make, list, look, change, rotate, revoke.

use futures_util::future::join_all;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::scope::Scope;
use super::terms::{Terms, TermsChange};
use super::{ApiTokens, Owner};
use crate::audit::EventKind;
use crate::clock::Timestamp;
use crate::credentials::ApiTokenSecret;
use crate::field::FieldError;
use crate::rate_limit::{Checkpoint, Quota, Version, WindowUse};
use crate::storage::{
    self, ApiTokenAdded, ApiTokenRow, NewApiToken, StorageError, TokenVersion, Transaction,
};

/// Tries to change a token that others change at the same time.
const TRIES: usize = 8;

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

/// Why a token was not made, shown or changed.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// 422.
    #[error("a field is invalid")]
    Invalid(Vec<FieldError>),
    /// 404: the user has no such token.
    #[error("no such token")]
    NotFound,
    /// 409 `token_revoked`.
    #[error("the token is revoked")]
    Revoked,
    /// 409 `token_limit_reached`.
    #[error("the user has as many tokens as he may")]
    LimitReached,
    /// 401 `token_invalid`: the owner was deleted or deactivated meanwhile.
    #[error("the session is over")]
    SessionOver,
    /// 503 or 500.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl ApiTokens {
    /// Makes a token; its secret is in the answer and nowhere else.
    pub async fn create(&self, owner: &Owner<'_>, asked: &TermsChange) -> Result<ApiToken, IssueError> {
        let now = self.0.clock.now();
        let terms = asked
            .create(&self.0.settings, owner.is_admin, now)
            .map_err(IssueError::Invalid)?;
        let secret = ApiTokenSecret::generate();
        let id = storage::new_id(now);
        let scopes = terms.scope_text();
        let hash = secret.hash();
        let token = NewApiToken {
            id,
            user_id: owner.user_id,
            prefix: secret.prefix(),
            secret_hash: hash.as_str(),
            terms: terms.stored(&scopes),
            created_at: now,
        };
        let mut transaction = self.0.database.begin().await?;
        let most = i64::from(self.0.settings.per_user);
        match storage::add_api_token(&mut transaction, &token, most).await? {
            ApiTokenAdded::Added => {}
            ApiTokenAdded::AtCap => {
                transaction.rollback().await?;
                return Err(IssueError::LimitReached);
            }
            ApiTokenAdded::NoOwner => {
                transaction.rollback().await?;
                return Err(IssueError::SessionOver);
            }
        }
        let made = self.show_secret(transaction, owner, id, &secret).await?;
        self.record(EventKind::ApiTokenCreated, owner);
        Ok(made)
    }

    /// The owner's tokens, the newest first; revoked ones too, for 30 days.
    pub async fn list(&self, owner: &Owner<'_>) -> Result<Vec<ApiToken>, IssueError> {
        let mut on = self.0.database.read().await?;
        let rows = storage::api_tokens_of_user(&mut on, owner.user_id).await?;
        Ok(rows.iter().map(|row| self.view(row)).collect())
    }

    /// One token and what is used of its quotas.
    pub async fn get(&self, owner: &Owner<'_>, id: Uuid) -> Result<ApiToken, IssueError> {
        Ok(self.with_usage(&self.find(owner, id).await?).await)
    }

    /// The owner's tokens but the revoked ones, the newest first, each with what is used of its quotas.
    pub async fn list_with_usage(&self, owner: &Owner<'_>) -> Result<Vec<ApiToken>, IssueError> {
        let mut on = self.0.database.read().await?;
        let mut rows = storage::api_tokens_of_user(&mut on, owner.user_id).await?;
        drop(on);
        rows.retain(|row| row.revoked_at.is_none());
        Ok(join_all(rows.iter().map(|row| self.with_usage(row))).await)
    }

    async fn with_usage(&self, row: &ApiTokenRow) -> ApiToken {
        let [minute, hour, day] = self.0.limiter.token_usage(&self.quota_of(row)).await;
        ApiToken {
            usage: Some(Usage {
                minute: minute.into(),
                hour: hour.into(),
                day: day.into(),
            }),
            ..self.view(row)
        }
    }

    /// Changes what a token may do.
    pub async fn change(
        &self,
        owner: &Owner<'_>,
        id: Uuid,
        asked: &TermsChange,
    ) -> Result<ApiToken, IssueError> {
        for _ in 0..TRIES {
            let row = self.find(owner, id).await?;
            if row.revoked_at.is_some() {
                return Err(IssueError::Revoked);
            }
            let now = self.0.clock.now();
            let terms = asked
                .apply(Terms::of(&row), &self.0.settings, owner.is_admin, now)
                .map_err(IssueError::Invalid)?;
            let scopes = terms.scope_text();
            let mut on = self.0.database.write().await?;
            let changed = storage::change_api_token(&mut on, id, row.version, &terms.stored(&scopes)).await?;
            drop(on);
            if let Some(changed) = changed {
                self.void(changed).await;
                self.record(EventKind::ApiTokenChanged, owner);
                return Ok(self.view(&self.find(owner, id).await?));
            }
        }
        tracing::warn!("a token was changed by others each time that it was to be changed");
        Err(IssueError::NotFound)
    }

    /// Gives a token another secret; the old one ends at once, settings and counters stay.
    pub async fn rotate(&self, owner: &Owner<'_>, id: Uuid) -> Result<ApiToken, IssueError> {
        let secret = ApiTokenSecret::generate();
        let hash = secret.hash();
        let mut transaction = self.0.database.begin().await?;
        let rotated = storage::rotate_api_token(
            &mut transaction,
            owner.user_id,
            id,
            secret.prefix(),
            hash.as_str(),
        )
        .await?;
        let Some(rotated) = rotated else {
            transaction.rollback().await?;
            // Revoked, or not his: who asks for another's is told the same as of one that nobody has.
            self.find(owner, id).await?;
            return Err(IssueError::Revoked);
        };
        let made = self.show_secret(transaction, owner, id, &secret).await?;
        self.void(rotated).await;
        self.record(EventKind::ApiTokenRotated, owner);
        Ok(made)
    }

    /// Commits a token with a new secret, and answers both. The row is read first: nothing that can fail comes between the
    /// end of the old secret and the only answer that holds the new one.
    async fn show_secret(
        &self,
        mut transaction: Transaction,
        owner: &Owner<'_>,
        id: Uuid,
        secret: &ApiTokenSecret,
    ) -> Result<ApiToken, IssueError> {
        let row = storage::find_api_token(&mut transaction, owner.user_id, id).await?;
        let row = row.ok_or(IssueError::NotFound)?;
        transaction.commit().await?;
        Ok(ApiToken {
            token: Some(secret.expose().to_owned()),
            ..self.view(&row)
        })
    }

    /// Ends a token. Idempotent.
    pub async fn revoke(&self, owner: &Owner<'_>, id: Uuid) -> Result<(), IssueError> {
        let row = self.find(owner, id).await?;
        if self.end(&row).await?.is_none() {
            return Ok(());
        }
        self.record(EventKind::ApiTokenRevoked, owner);
        // Nothing is charged from here on, so the day window is known: until it ends the token counts against the cap,
        // or revoking and making anew would be a new quota. Should this fail, a whole day is assumed.
        let [_, _, day] = self.0.limiter.token_usage(&self.quota_of(&row)).await;
        let until = day.resets_at.unwrap_or_else(|| self.0.clock.now());
        let mut on = self.0.database.write().await?;
        storage::set_api_token_counts_until(&mut on, id, until).await?;
        Ok(())
    }

    /// Ends a token and counts it against the cap for a day. Answers whether every process knows by now; `None` where it
    /// was revoked already.
    pub(super) async fn end(&self, row: &ApiTokenRow) -> Result<Option<bool>, StorageError> {
        let now = self.0.clock.now();
        let mut on = self.0.database.write().await?;
        let revoked =
            storage::revoke_api_token(&mut on, row.user_id, row.id, now, now.plus(Quota::LONGEST_WINDOW))
                .await?;
        drop(on);
        match revoked {
            Some(revoked) => Ok(Some(self.void(revoked).await)),
            None => Ok(None),
        }
    }

    async fn find(&self, owner: &Owner<'_>, id: Uuid) -> Result<ApiTokenRow, IssueError> {
        let mut on = self.0.database.read().await?;
        let row = storage::find_api_token(&mut on, owner.user_id, id).await?;
        row.ok_or(IssueError::NotFound)
    }

    /// Has every process look the token up anew. Answers whether all know of it by now.
    async fn void(&self, token: TokenVersion) -> bool {
        self.0.proofs.outdate(token.id);
        let mark = vec![(token.id, Version(token.version))];
        self.0.limiter.void_tokens(mark).await
    }

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
