//! What an operator does with tokens: look at everybody's, free one, and revoke one. Mostly he acts beside the servers, so he
//! asks no session and knows only what is written down and counted.

use uuid::Uuid;

use super::ApiTokens;
use super::issue::IssueError;
use super::token::ApiToken;
use crate::audit::{Event, EventKind, Outcome};
use crate::rate_limit::Quota;
use crate::storage::{self, OwnedToken, StorageError};

/// Tokens in one query.
const PAGE: i64 = 1000;

/// Somebody's token.
pub struct SomebodysToken {
    /// As its owner sees it, without its usage.
    pub token: ApiToken,
    /// Whose.
    pub user_id: Uuid,
    /// Its owner's address.
    pub email: String,
    /// Its owner may log in; else none of his tokens passes.
    pub owner_is_active: bool,
    /// What it may spend: with it what is counted tells the usage.
    pub quota: Quota,
}

/// What came of revoking a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Revoked {
    /// It has ended, and every process knows.
    Everywhere,
    /// It has ended, and processes find out by themselves, within 5 s.
    Shortly,
    /// It had ended before.
    Before,
}

impl ApiTokens {
    /// Up to a thousand of everybody's tokens, or of one user's, the newest first; revoked ones too, for 30 days. Only those
    /// older than `before`; none means that there are no more.
    pub async fn page(
        &self,
        user_id: Option<Uuid>,
        before: Option<Uuid>,
    ) -> Result<Vec<SomebodysToken>, StorageError> {
        let mut on = self.0.database.read().await?;
        let before = before.unwrap_or_else(Uuid::max);
        let page = storage::owned_tokens_before(&mut on, before, user_id, PAGE).await?;
        Ok(page.into_iter().map(|owned| self.somebodys(owned)).collect())
    }

    /// Those of `ids` that there are, by a look-up each.
    pub async fn some(
        &self,
        ids: impl IntoIterator<Item = Uuid> + Send,
    ) -> Result<Vec<SomebodysToken>, StorageError> {
        let mut on = self.0.database.read().await?;
        let mut tokens = Vec::new();
        for id in ids {
            tokens.extend(storage::find_owned_token(&mut on, id).await?);
        }
        Ok(tokens.into_iter().map(|owned| self.somebodys(owned)).collect())
    }

    /// Forgets what is written down of a token's day: its counters are about to be emptied, and would be filled again
    /// from there where they are lost.
    pub async fn forget_day(&self, id: Uuid) -> Result<(), StorageError> {
        self.write_uses().await?;
        let mut on = self.0.database.write().await?;
        storage::forget_api_token_day(&mut on, id).await
    }

    /// Ends a token, whosever it is. Idempotent.
    pub async fn revoke_any(&self, id: Uuid) -> Result<Revoked, IssueError> {
        let mut on = self.0.database.read().await?;
        let found = storage::find_owned_token(&mut on, id).await?;
        drop(on);
        let OwnedToken { token, .. } = found.ok_or(IssueError::NotFound)?;
        let Some(everywhere) = self.end(&token).await? else {
            return Ok(Revoked::Before);
        };
        let event = Event::new(EventKind::ApiTokenRevoked, Outcome::Success).because("operator");
        self.0.audit.record(&event.of_user(token.user_id));
        Ok(if everywhere {
            Revoked::Everywhere
        } else {
            Revoked::Shortly
        })
    }

    fn somebodys(&self, owned: OwnedToken) -> SomebodysToken {
        SomebodysToken {
            token: self.view(&owned.token),
            user_id: owned.token.user_id,
            quota: self.quota_of(&owned.token),
            email: owned.email,
            owner_is_active: owned.is_active,
        }
    }
}
