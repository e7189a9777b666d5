//! Refreshing a session.

use super::{Accounts, Caller, SessionTokens};
use crate::storage::StorageError;

/// Why a session was not refreshed.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// 401 `invalid_refresh_token`.
    #[error("the refresh token is invalid")]
    Invalid,
    /// 401 `refresh_token_reused`: the session is over.
    #[error("the refresh token was used before")]
    Reused,
    /// 503 or 500. The token still works.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Accounts {
    /// Ends a refresh token and gives its successor.
    pub async fn refresh(&self, refresh_token: &str, caller: &Caller) -> Result<SessionTokens, RefreshError> {
        todo!()
    }
}
