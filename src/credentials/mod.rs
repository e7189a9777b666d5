//! Credentials: passwords, secret tokens, keys and access tokens. Knows no account and no database.

use std::time::Duration;

/// What `config` hands this room.
pub struct Settings {
    /// `PASSWORD_MIN_LENGTH` and `PASSWORD_MIN_SCORE`.
    pub password_policy: PasswordPolicy,
    /// The key that signs access tokens, and those that still verify.
    pub signing_keys: (), // helper: SigningKeys
    /// `SECRET_KEY`, `SECRET_KEY_PREVIOUS`, or what is derived from the signing key.
    pub secret_keys: (), // helper: SecretKeys
    /// `JWT_ISSUER`.
    pub issuer: String,
    /// `JWT_AUDIENCE`.
    pub audience: String,
    /// `ACCESS_TOKEN_EXPIRE_MINUTES`.
    pub access_token_lifetime: Duration,
}

/// What a new password must meet.
#[derive(Clone, Copy, Debug)]
pub struct PasswordPolicy {
    /// Fewest code points, 8 to 64.
    pub min_length: usize,
    /// Least zxcvbn score, 0 to 4.
    pub min_score: u8,
}
