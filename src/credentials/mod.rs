//! Credentials: passwords, secret tokens, keys and access tokens.
//!
//! Holds everything that is secret or proves something secret. Knows no account, no database and
//! no request; the present moment is handed in. A new kind of stored hash goes into
//! [`stored_hash`], a new use of the secret key is a variant of [`Purpose`].

use std::time::Duration;

mod access_token;
mod api_token;
mod genuine;
mod keys;
mod password;
mod password_policy;
mod pool;
mod shared_key;
mod signing_keys;
pub mod stored_hash;
mod token;

pub use access_token::{AccessClaims, AccessTokenError, AccessTokens};
pub use api_token::ApiTokenSecret;
pub use keys::{Purpose, SecretKeys, WeakSecret, can_be_guessed};
pub use password::{AdmitError, Password, PasswordTooLong, Passwords, Verdict};
pub use password_policy::{PasswordPolicy, PasswordRefusal};
pub use pool::{Overloaded, PoolSettings, PoolState};
pub use shared_key::{SharedKey, ShortKey};
pub use signing_keys::{SigningKeyError, SigningKeys};
pub use token::{SecretToken, TokenHash};

/// What `config` hands this room.
pub struct Settings {
    /// `PASSWORD_MIN_LENGTH` and `PASSWORD_MIN_SCORE`.
    pub password_policy: PasswordPolicy,
    /// How many passwords are hashed at once, and how many wait.
    pub pool: PoolSettings,
    /// The key that signs access tokens, and those that still verify.
    pub signing_keys: SigningKeys,
    /// `SECRET_KEY`, `SECRET_KEY_PREVIOUS`, or what is derived from the signing key.
    pub secret_keys: SecretKeys,
    /// `JWT_ISSUER`.
    pub issuer: String,
    /// `JWT_AUDIENCE`.
    pub audience: String,
    /// `ACCESS_TOKEN_EXPIRE_MINUTES`.
    pub access_token_lifetime: Duration,
}
