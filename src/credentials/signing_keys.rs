//! The keys that sign and verify access tokens.

use super::WeakSecret;
use secrecy::SecretString;

/// The current signing key and the previous ones that still verify. Cheap to clone.
#[derive(Clone)]
pub struct SigningKeys;

/// Why a signing key was refused. Never repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// No PEM block with a private key.
    #[error("it holds no PEM block with a private key")]
    NoKey,
    /// A private key, but of another kind.
    #[error("it is neither an Ed25519 nor a P-256 private key")]
    UnknownKind,
    /// An HS256 secret that is too weak.
    #[error(transparent)]
    WeakSecret(#[from] WeakSecret),
}

impl SigningKeys {
    /// Ed25519 or P-256, PKCS#8 or SEC1 PEM.
    pub fn from_pem(_current: &SecretString, _previous: &[SecretString]) -> Result<Self, SigningKeyError> {
        todo!()
    }

    /// HS256 (`JWT_SECRET`), at least 32 bytes.
    pub fn from_secret(_secret: &SecretString) -> Result<Self, SigningKeyError> {
        todo!()
    }

    /// A new Ed25519 key, PKCS#8 PEM.
    #[must_use]
    pub fn generate_pem() -> SecretString {
        todo!()
    }

    /// What `SECRET_KEY` is when it is not set: HKDF-SHA256 of the current signing key.
    #[must_use]
    pub fn default_secret_key(&self) -> SecretString {
        todo!()
    }
}
