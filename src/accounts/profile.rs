//! The profile.

use super::{Accounts, FieldError, FullName, Identity, User};
use crate::storage::{self, StorageError};

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
        let full_name = FullName::of_field(full_name.as_deref())
            .map_err(|error| UpdateProfileError::Invalid(vec![error]))?;
        let full_name = full_name.as_ref().map(FullName::as_str);
        let mut on = self.0.database.write().await?;
        let account = storage::set_full_name(&mut on, identity.user.id, full_name).await?;
        Ok(account.ok_or(UpdateProfileError::SessionOver)?.into())
    }
}
