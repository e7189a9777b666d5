//! Access tokens.

use std::time::Duration;

use uuid::Uuid;

use super::SigningKeys;
use crate::clock::Timestamp;

/// What an access token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessClaims {
    /// `sub`.
    pub user_id: Uuid,
    /// `sid`.
    pub session_id: Uuid,
    /// `role`.
    pub role: String,
    /// `email_verified`.
    pub email_verified: bool,
}

/// Why an access token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessTokenError {
    /// Ours and unaltered, but over.
    #[error("the access token has expired")]
    Expired,
    /// Anything else.
    #[error("the access token is not valid")]
    Invalid,
}

/// Issues and verifies access tokens. Cheap to clone.
#[derive(Clone)]
pub struct AccessTokens;

impl AccessTokens {
    /// `issuer` and `audience` are written and demanded.
    #[must_use]
    pub fn new(_keys: SigningKeys, _issuer: String, _audience: String, _lifetime: Duration) -> Self {
        todo!()
    }

    /// A signed token that lives from `now` for [`AccessTokens::lifetime`].
    #[must_use]
    pub fn issue(&self, _claims: &AccessClaims, _now: Timestamp) -> String {
        todo!()
    }

    /// Reads a token that a client sent.
    pub fn verify(&self, _token: &str, _now: Timestamp) -> Result<AccessClaims, AccessTokenError> {
        todo!()
    }

    /// The JWK Set: public keys only.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        todo!()
    }

    /// How long a token lives.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        todo!()
    }
}
