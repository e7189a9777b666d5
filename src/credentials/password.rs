//! Passwords: stub of the signatures, filled in by the next commit.

use super::{Overloaded, PasswordPolicy, PasswordRefusal, PoolSettings, PoolState};
use zeroize::Zeroizing;

/// A password as typed, in NFC, at most 128 code points.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

/// More than 128 code points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the password is longer than 128 characters")]
pub struct PasswordTooLong;

impl Password {
    /// Reads a password that is to be verified: no policy, may be empty.
    pub fn parse(_raw: &str) -> Result<Self, PasswordTooLong> {
        todo!()
    }
}

/// What verifying a password against a stored hash found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not the password.
    Wrong,
    /// The password.
    Right,
    /// The password, but the stored hash is weaker than what is made today: hash it anew.
    RightButWeak,
}

/// Why a new password was not admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// It breaks the policy.
    #[error(transparent)]
    Refused(#[from] PasswordRefusal),
    /// The pool is full.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
}

/// Hashes, verifies and judges passwords in a fixed pool of threads. Cheap to clone.
#[derive(Clone)]
pub struct Passwords;

impl Passwords {
    /// Starts the pool's threads.
    pub fn start(_policy: PasswordPolicy, _pool: PoolSettings) -> std::io::Result<Self> {
        todo!()
    }

    /// Judges a new password; `own_words` are the user's own (local part, domain label, name parts).
    pub async fn admit(&self, _raw: &str, _own_words: &[&str]) -> Result<Password, AdmitError> {
        todo!()
    }

    /// A PHC string with the current parameters.
    pub async fn hash(&self, _password: &Password) -> Result<String, Overloaded> {
        todo!()
    }

    /// Verifies against a stored hash; `None` costs the same and is always [`Verdict::Wrong`].
    pub async fn verify(&self, _password: &Password, _stored: Option<&str>) -> Result<Verdict, Overloaded> {
        todo!()
    }

    /// How busy the pool is.
    #[must_use]
    pub fn pool(&self) -> PoolState {
        todo!()
    }
}
