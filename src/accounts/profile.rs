//! The profile.

use super::{Accounts, FieldError, Identity, User};
use crate::storage::StorageError;

/// Why a profile was not changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateProfileError {
    /// 422.
    #[error("a field of the profile is invalid")]
    Invalid(Vec<FieldError>),
    /// 401 `token_invalid`: the account was deleted meanwhile.
    #[error("the session is over")]
    SessionOver,
    /// 503 or 500.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Accounts {
    /// Sets the name, or takes it away.
    pub async fn update_profile(
        &self,
        identity: &Identity,
        full_name: Option<String>,
    ) -> Result<User, UpdateProfileError> {
        todo!()
    }
}
