//! What a signed-in user does with his tokens: make, list, look, change, rotate, revoke.

use futures_util::future::join_all;
use uuid::Uuid;

use super::terms::{Terms, TermsChange};
use super::token::{ApiToken, Usage};
use super::{ApiTokens, Owner};
use crate::audit::EventKind;
use crate::credentials::ApiTokenSecret;
use crate::field::FieldError;
use crate::rate_limit::{Quota, Version};
use crate::storage::{
    self, ApiTokenAdded, ApiTokenRow, NewApiToken, StorageError, TokenVersion, Transaction,
};

/// Tries to change a token that others change at the same time.
const TRIES: usize = 8;

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
}
