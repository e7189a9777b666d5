//! Changing the password.

use super::{Accounts, Caller, Identity, ReauthenticateError};

impl Accounts {
    /// Sets a new password; the other sessions end.
    pub async fn change_password(
        &self,
        identity: &Identity,
        current: &str,
        new: &str,
        caller: &Caller,
    ) -> Result<(), ReauthenticateError> {
        todo!()
    }
}
