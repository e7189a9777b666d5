//! What each mail says.
use std::time::Duration;

use super::Message;
use crate::clock::Timestamp;

/// Asks the owner of a new account to confirm his address.
#[must_use]
pub fn verify_email(_to: &str, _link: &str, _expires_in: Duration) -> Message {
    todo!()
}

/// Carries the link that sets a new password.
#[must_use]
pub fn reset_password(_to: &str, _link: &str, _expires_in: Duration) -> Message {
    todo!()
}

/// Tells the owner that the password was changed or reset.
#[must_use]
pub fn password_changed(_to: &str, _at: Timestamp) -> Message {
    todo!()
}

/// Asks the new address of an account to confirm itself.
#[must_use]
pub fn email_change_requested(_to: &str, _link: &str, _expires_in: Duration) -> Message {
    todo!()
}

/// Tells the old address that the account's address is being changed or has been changed.
#[must_use]
pub fn email_changed(_to: &str, _at: Timestamp) -> Message {
    todo!()
}

/// Tells the owner of an address that somebody tried to register it again.
#[must_use]
pub fn already_registered(_to: &str, _frontend_url: &str) -> Message {
    todo!()
}
