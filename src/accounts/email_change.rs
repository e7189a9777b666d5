//! Changing the address.

use super::{Accounts, Caller, Identity, ReauthenticateError};

impl Accounts {
    /// Mails a link to the new address; the change takes effect when it is used.
    pub async fn change_email(
        &self,
        identity: &Identity,
        password: &str,
        new_email: &str,
        caller: &Caller,
    ) -> Result<(), ReauthenticateError> {
        todo!()
    }
}
