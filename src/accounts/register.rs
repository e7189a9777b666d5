//! Registering.

use super::{Accounts, Caller, FieldError, User};
use crate::storage::StorageError;

/// What a person registers with, as it came.
pub struct Registration {
    /// Address, not yet parsed.
    pub email: String,
    /// Password, not yet judged.
    pub password: String,
    /// Name, if given.
    pub full_name: Option<String>,
}

/// How a registration went well.
#[derive(Debug)]
pub enum Registered {
    /// 201: the account is there.
    Created(User),
    /// 202 with `REQUIRE_EMAIL_VERIFICATION`: the same for a new and a taken address.
    Pending,
}

/// Why an account was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// 422.
    #[error("a field of the registration is invalid")]
    Invalid(Vec<FieldError>),
    /// 409 `email_taken`; never with `REQUIRE_EMAIL_VERIFICATION`.
    #[error("the address is taken")]
    EmailTaken,
    /// 503 `overloaded`: the hash pool or the mail queue is full.
    #[error("overloaded")]
    Overloaded,
    /// 503 or 500.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Accounts {
    /// Registers an account.
    pub async fn register(
        &self,
        registration: Registration,
        caller: &Caller,
    ) -> Result<Registered, RegisterError> {
        todo!()
    }
}
