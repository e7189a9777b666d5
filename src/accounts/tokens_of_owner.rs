//! What becomes of a user's API tokens when he is deactivated, loses a role, or is deleted: they stop at once, in every
//! process.

use uuid::Uuid;

use super::Accounts;
use crate::rate_limit::Version;
use crate::storage::{self, StorageError, TokenVersion, Transaction};

/// What an open transaction did to an owner of API tokens.
#[derive(Debug)]
pub enum OwnerChange {
    /// He is the same user and may do less: deactivated, or without a role. His tokens stay; they are proven anew, and so
    /// refused while he is inactive.
    Restricted(Uuid),
    /// He is gone, and with him these tokens ([`storage::delete_user`]).
    Deleted(Vec<Uuid>),
}

impl Accounts {
    /// Commits `transaction` and ends what any process remembers of the owner's API tokens.
    ///
    /// In this order: before the commit every process would prove the tokens anew and find them good. Who does not hear of
    /// it, because this process dies in between or Redis is lost, forgets its proofs by itself within 5 s.
    ///
    /// The user's own row must have been changed in `transaction` already: its lock keeps tokens from being added meanwhile.
    pub async fn commit_and_end_api_tokens(
        &self,
        mut transaction: Transaction,
        change: OwnerChange,
    ) -> Result<(), StorageError> {
        let ended: Vec<(Uuid, Version)> = match change {
            OwnerChange::Restricted(user_id) => {
                let voided = storage::void_api_tokens_of_user(&mut transaction, user_id).await?;
                marks(&voided).collect()
            }
            OwnerChange::Deleted(tokens) => tokens.into_iter().map(|id| (id, Version::GONE)).collect(),
        };
        transaction.commit().await?;
        self.0.limiter.void_tokens(ended).await;
        Ok(())
    }

    /// Has every process ask again about API tokens that a use case ended.
    pub(super) async fn void_api_tokens(&self, ended: &[TokenVersion]) {
        self.0.limiter.void_tokens(marks(ended).collect()).await;
    }
}

fn marks(ended: &[TokenVersion]) -> impl Iterator<Item = (Uuid, Version)> {
    ended.iter().map(|token| (token.id, Version(token.version)))
}
