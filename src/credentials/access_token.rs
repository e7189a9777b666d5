//! Access tokens: short-lived JWTs in the manner of RFC 9068, issued and verified.
//!
//! What is accepted is as narrow as what is issued (RFC 8725): one header, one algorithm a key,
//! integers where integers belong. The signature is checked before a single claim is read.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Header, crypto};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::SigningKeys;
use super::genuine::Genuine;
use super::token::random_bytes;
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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessTokenError {
    /// Ours and unaltered, but over. What it said is good for nothing but ending its session.
    #[error("the access token has expired")]
    Expired(AccessClaims),
    /// Anything else.
    #[error("the access token is not valid")]
    Invalid,
}

/// Issues and verifies access tokens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AccessTokens {
    keys: SigningKeys,
    issuer: String,
    audience: String,
    lifetime: Duration,
    genuine: Genuine,
}

/// The header's `typ` (RFC 9068 2.1): no other JWT that the key signs can pass for an access token.
const TYPE: &str = "at+jwt";

/// How far two machines' clocks may differ.
const LEEWAY_SECONDS: i64 = 5;

/// Longer than any token issued here; longer ones are refused unread.
const LONGEST: usize = 4096;

/// The whole header. Others of RFC 7515 (`jku`, `jwk`, `crit`, …) are refused, not ignored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadHeader {
    alg: String,
    kid: String,
    typ: String,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    sid: Uuid,
    jti: String,
    iat: i64,
    exp: i64,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    nbf: Option<i64>,
    role: String,
    email_verified: bool,
}

/// An `nbf` that is there must be an integer; `null` is none.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    i64::deserialize(deserializer).map(Some)
}

impl AccessTokens {
    /// `issuer` and `audience` are what every token carries and must carry.
    #[must_use]
    pub fn new(keys: SigningKeys, issuer: String, audience: String, lifetime: Duration) -> Self {
        Self {
            keys,
            issuer,
            audience,
            lifetime,
            genuine: Genuine::default(),
        }
    }

    /// A signed token that lives from `now` for [`AccessTokens::lifetime`].
    ///
    /// # Panics
    /// Never with keys from [`SigningKeys`], which are checked when they are read.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "the key was proven to be of its algorithm when it was read"
    )]
    pub fn issue(&self, claims: &AccessClaims, now: Timestamp) -> String {
        let (signing_key, current) = self.keys.signing();
        let mut header = Header::new(current.algorithm);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(current.kid.clone());
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: claims.user_id,
            sid: claims.session_id,
            jti: URL_SAFE_NO_PAD.encode(random_bytes::<16>()),
            iat: now.as_seconds(),
            exp: now.plus(self.lifetime).as_seconds(),
            nbf: None,
            role: claims.role.clone(),
            email_verified: claims.email_verified,
        };
        jsonwebtoken::encode(&header, &claims, signing_key).expect("a checked key signs a token")
    }

    /// Reads a token that a client sent.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<AccessClaims, AccessTokenError> {
        let claims = self.verified_claims(token).ok_or(AccessTokenError::Invalid)?;
        let now = now.as_seconds();
        let named_rightly =
            claims.iss == self.issuer && claims.aud == self.audience && !claims.jti.is_empty();
        let begun = claims.iat <= now.saturating_add(LEEWAY_SECONDS)
            && claims
                .nbf
                .is_none_or(|nbf| nbf <= now.saturating_add(LEEWAY_SECONDS));
        if !named_rightly || !begun || claims.exp <= claims.iat {
            return Err(AccessTokenError::Invalid);
        }
        let is_over = claims.exp.saturating_add(LEEWAY_SECONDS) <= now;
        let claims = AccessClaims {
            user_id: claims.sub,
            session_id: claims.sid,
            role: claims.role,
            email_verified: claims.email_verified,
        };
        if is_over {
            return Err(AccessTokenError::Expired(claims));
        }
        Ok(claims)
    }

    /// The claims of a token that one of the keys signed.
    fn verified_claims(&self, token: &str) -> Option<Claims> {
        if token.len() > LONGEST {
            return None;
        }
        let (message, signature) = token.rsplit_once('.')?;
        let (header, payload) = message.split_once('.')?;
        let header: ReadHeader = read(header)?;
        let key = self.keys.find(&header.kid)?;
        if header.typ != TYPE || header.alg != key.alg {
            return None;
        }
        let verify = || {
            let genuine = crypto::verify(signature, message.as_bytes(), &key.key, key.algorithm);
            genuine.is_ok_and(|genuine| genuine)
        };
        // An HMAC is computed as fast as it is looked up.
        let genuine = match key.algorithm {
            Algorithm::HS256 => verify(),
            _ => self.genuine.or_verify(token, verify),
        };
        genuine.then(|| read(payload)).flatten()
    }

    /// The JWK Set: public keys only, empty with HS256.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        self.keys.jwks()
    }

    /// How long a token lives.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }
}

/// One part of a token. Duplicate members, padding and a non-canonical last character are refused.
fn read<T: serde::de::DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests;
